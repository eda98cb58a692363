"""Several files against one: how training moved away from where it began."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from frostline.comparison.pairs import Comparison, diff
from frostline.comparison.selection import as_checkpoints, distinct_names
from frostline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from frostline.checkpoints import Checkpoint

__all__ = ["Trajectory", "trajectory"]

_ABSENT = "no counterpart"


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One file, and each of several later ones compared with it.

    Attributes:
        base: name of the first file.
        steps: the comparisons of the base with each later file, in the order given.
    """

    base: str
    steps: tuple[Comparison, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: a row for each tensor with its 1 - |cos| at every step.

        ``only_before`` and ``only_after`` have a list for each step, and so has what a row lists.
        """
        values = [{row.name: row.to_dict() for row in step.rows} for step in self.steps]
        names = list(dict.fromkeys(row.name for step in self.steps for row in step.rows))
        first = {name: next(v[name] for v in values if name in v) for name in names}
        return {
            "base": self.base,
            "steps": [step.after for step in self.steps],
            "kind": self.steps[0].kind,
            "architecture": self.steps[0].architecture,
            "order": self.steps[0].order,
            "only_before": [list(step.only_before) for step in self.steps],
            "only_after": [list(step.only_after) for step in self.steps],
            "rows": [
                {
                    **{
                        key: first[name][key] for key in ("index", "name", "stage", "role", "shape")
                    },
                    **{
                        key: [v[name][key] if name in v else None for v in values]
                        for key in ("cosine", "angle", "relative_l2", "norm_ratio", "precision")
                    },
                    "note": [v[name]["note"] if name in v else _ABSENT for v in values],
                }
                for name in names
            ],
        }

    def plot(self, ax: "Axes") -> None:
        """Draw 1 - |cos| against the layer on ``ax``, one line for each step."""
        from frostline.comparison.drawing import draw

        draw(ax, [(step.after, step.rows) for step in self.steps])

    def _repr_html_(self) -> str:
        from frostline.comparison.page import trajectory_table

        return trajectory_table(self)


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
