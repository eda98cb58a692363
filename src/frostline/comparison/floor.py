"""``noise_floor``: how far a layer goes where another seed would take it elsewhere.

See ``frostline.difference.scatter`` for the arithmetic. A layer counts as moved where
signal > c x floor.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from frostline.checkpoints import Checkpoint, TensorRef
from frostline.checkpoints.messages import quoted
from frostline.comparison.results import NoiseFloor
from frostline.comparison.rows import LayerFloor
from frostline.comparison.selection import (
    Files,
    Kind,
    Selected,
    as_checkpoints,
    distinct_names,
    look_different,
    match,
    select,
)
from frostline.difference.scatter import Scatter, moved_beyond, scatter
from frostline.errors import AlignmentError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["noise_floor"]

FACTOR: Final = 2.0
_MIN_SEEDS = 2


def noise_floor(
    base: "str | Path | Checkpoint",
    seeds: "Sequence[str | Path | Checkpoint]",
    *,
    control: "str | Path | Checkpoint | None" = None,
    factor: float = FACTOR,
    kind: Kind | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    renames: Sequence[tuple[str, str]] = (),
    model: str | None = None,
    section: str | None = None,
) -> NoiseFloor:
    """Which layers moved further than another seed of the same training would scatter them.

    Args:
        base: the weights all seeds began from.
        seeds: at least two files: the same training, differing in nothing but the seed.
        control: a run of the same schedule on shuffled boxes: what optimisation alone moves.
        factor: c, > 0: how many floors the signal must exceed.
        kind: as for ``diff``, as are the options below.
        include: shell patterns.
        exclude: shell patterns.
        renames: (old, new) pairs.
        model: the backbone.
        section: the part of each file.

    Raises:
        ConfigError: fewer than two seeds, or a factor that is not positive.
        CheckpointError: a file cannot be read.
        AlignmentError: names are ambiguous, or a seed lacks a tensor that another has.
    """
    if len(seeds) < _MIN_SEEDS:
        raise ConfigError(f"expected two or more seeds after the base, got {len(seeds)}")
    if not factor > 0:
        raise ConfigError(f"expected a factor above 0, got {factor}")
    extra = [control] if control is not None else []
    start, *every = as_checkpoints([base, *seeds, *extra], section)
    ends = every[: len(seeds)]
    matched = [match(start, end, renames=renames, model=model) for end in every]
    chosen, kind = select(matched[0], kind, include, exclude)
    names = [{pair.before: pair.after for pair in files.alignment.pairs} for files in matched]
    for files in matched[1 : len(seeds)]:  # what the first seed lacks would go unnoticed
        for item in select(files, kind, include, exclude)[0]:
            if item.pair.before not in names[0]:
                raise _lacking(item.pair.before, matched[0])
    rows = tuple(_row(item, matched, names, len(seeds), factor) for item in chosen)
    backbone = matched[0].backbone
    return NoiseFloor(
        base=start.path.name,
        seeds=distinct_names(ends),
        control=every[-1].path.name if extra else None,
        factor=factor,
        rows=rows,
        architecture=backbone.table.architecture if backbone else None,
        order="forward" if backbone else "file",
        looks_different=any(map(look_different, matched)),
    )


def _row(
    item: Selected,
    matched: Sequence[Files],
    names: Sequence[dict[str, str]],
    seeds: int,
    factor: float,
) -> LayerFloor:
    name = item.pair.before
    ref = matched[0].before[name]
    arrays = []
    for files, other in zip(matched, names, strict=True):
        if name not in other:
            raise _lacking(name, files)
        arrays.append(files.after[other[name]])
    found, note = _measure(ref, arrays, seeds)
    return LayerFloor(
        name=name,
        index=item.layer.index if item.layer else None,
        stage=item.layer.stage if item.layer else "",
        shape=ref.shape,
        signal=found.signal,
        floor=found.floor,
        agreement=found.agreement,
        cosine=found.cosine,
        threshold=moved_beyond(found.floor, factor),
        moved=found.signal > factor * found.floor,
        control=found.control,
        note=note,
    )


def _measure(ref: TensorRef, others: Sequence[TensorRef], seeds: int) -> tuple[Scatter, str]:
    """Numbers of one tensor; NaN and why where it has none."""
    nothing = Scatter(math.nan, math.nan, math.nan, math.nan, None)
    note = _unusable([ref, *others])
    if note:
        return nothing, note
    base, *ends = (tensor.read() for tensor in (ref, *others))
    note = _not_finite([base, *ends])
    if note:
        return nothing, note
    found = scatter(base, ends, seeds)
    lost = math.isnan(found.signal + found.floor)
    return found, "it is zero in one of the files" if lost else ""


def _lacking(name: str, files: Files) -> AlignmentError:
    return AlignmentError(
        f"expected {quoted(name)} in every file, got none in {files.after.path.name}; "
        "compare runs of one training, or leave it out with --exclude"
    )


def _unusable(tensors: Sequence[TensorRef]) -> str:
    shape = tensors[0].shape
    for tensor in tensors:
        if tensor.shape != shape:
            return f"not comparable: shape {list(shape)} against {list(tensor.shape)}"
        if tensor.dtype.startswith("complex"):
            return f"not comparable: type {tensor.dtype}"
    return "" if math.prod(shape) else "not comparable: it has no elements"


def _not_finite(values: Sequence[npt.NDArray[Any]]) -> str:
    return "" if all(np.isfinite(value).all() for value in values) else "a value is not finite"
