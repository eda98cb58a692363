"""Several files against one: how training moved away from where it began."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from frostline.comparison.pairs import diff
from frostline.comparison.results import Trajectory
from frostline.comparison.selection import as_checkpoints, distinct_names
from frostline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from frostline.checkpoints import Checkpoint

__all__ = ["trajectory"]


def trajectory(
    base: "str | Path | Checkpoint", steps: "Sequence[str | Path | Checkpoint]", **options: Any
) -> Trajectory:
    """Compare a file with each of several later ones, such as the checkpoints of one training.

    Args:
        base: where training began.
        steps: at least one later file, in order.
        options: as for ``diff``.

    Raises:
        ConfigError: no later file.
        CheckpointError: a file cannot be read.
        AlignmentError: names are ambiguous, or nothing is left to compare.
    """
    if not steps:
        raise ConfigError("expected at least one file after the base, got none; name its steps")
    start, *files = as_checkpoints([base, *steps], options.pop("section", None))
    compared = zip(files, distinct_names(files), strict=True)
    return Trajectory(
        start.path.name,
        tuple(replace(diff(start, file, **options), after=name) for file, name in compared),
    )
