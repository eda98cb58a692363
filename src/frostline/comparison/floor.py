"""The noise floor: how far a layer goes where another seed would take it elsewhere.

With updates d_s = w_s - w_0 over S seeds of one training, ``signal`` is the angle between w_0 and
the mean of the w_s, ``floor`` the root mean square angle between two of the w_s, divided by
sqrt(2 S). Were the updates independent noise around no change at all, signal and floor would be
equal; a layer counts as moved where signal > c x floor.

All of it follows from the products of w_0 and the d_s with each other, summed in float64 over the
elements in one pass.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from frostline.checkpoints import Checkpoint, TensorRef
from frostline.checkpoints.messages import shown
from frostline.comparison.selection import (
    Files,
    Kind,
    Selected,
    as_checkpoints,
    distinct_names,
    match,
    select,
)
from frostline.difference.results import plain_values
from frostline.errors import AlignmentError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["LayerFloor", "NoiseFloor", "noise_floor"]

FACTOR: Final = 2.0
_MIN_SEEDS = 2
_CHUNK = 1 << 15
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerFloor:
    """Signal and noise of one tensor; angles in degrees.

    Attributes:
        name: in the base file.
        index: position of its convolution in forward order, from 1; None outside the backbone.
        stage: stage of the backbone; "" outside.
        shape: its sizes.
        signal: angle between the base and the mean over seeds.
        floor: what that angle would be without any common change.
        agreement: mean cosine between the updates of two seeds, from -1 to 1; NaN where a seed
            did not move it at all.
        cosine: mean over seeds of 1 - |cos| against the base.
        threshold: t in units of 1 - |cos|: 1 - cos(c x floor); the layer moved when 1 - |cos| of
            the mean exceeds it.
        moved: whether signal > c x floor.
        control: angle between the base and the control run; None without one.
        note: why numbers are NaN; "" otherwise.
    """

    name: str
    index: int | None
    stage: str
    shape: tuple[int, ...]
    signal: float
    floor: float
    agreement: float
    cosine: float
    threshold: float
    moved: bool
    control: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return plain_values(self) | {"shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Which layers several seeds of one training moved together.

    Attributes:
        base: name of the file they all began from.
        seeds: names of the files they ended with.
        control: name of the control run's file, or None.
        factor: c.
        rows: one for each compared tensor.
        architecture: the recognised backbone, or None.
        order: ``forward`` or ``file``.
    """

    base: str
    seeds: tuple[str, ...]
    control: str | None
    factor: float
    rows: tuple[LayerFloor, ...]
    architecture: str | None
    order: str

    @property
    def moved(self) -> tuple[LayerFloor, ...]:
        """The rows whose common change stands out of the noise."""
        return tuple(row for row in self.rows if row.moved)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "base": self.base,
            "seeds": list(self.seeds),
            "control": self.control,
            "factor": self.factor,
            "architecture": self.architecture,
            "order": self.order,
            "rows": [row.to_dict() for row in self.rows],
        }

    def plot(self, ax: "Axes") -> None:
        """Draw signal, c x floor and the control's angle against the layer on ``ax``."""
        from frostline.comparison.drawing import draw_floor

        draw_floor(ax, self)

    def _repr_html_(self) -> str:
        from frostline.comparison.page import floor_table

        return floor_table(self)


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
    nan = math.nan
    signal, floor, agreement, cosine, control = nan, nan, nan, nan, None
    note = _unusable([ref, *arrays])
    if not note:
        base, *ends = (a.read() for a in (ref, *arrays))
        note = _not_finite([base, *ends])
    if not note:
        signal, floor, agreement, cosine, control = _angles(base, ends, seeds)
        note = "it is zero in one of the files" if math.isnan(signal + floor) else ""
    threshold = 2 * math.sin(math.radians(min(factor * floor, 180.0)) / 2) ** 2
    return LayerFloor(
        name=name,
        index=item.layer.index if item.layer else None,
        stage=item.layer.stage if item.layer else "",
        shape=ref.shape,
        signal=signal,
        floor=floor,
        agreement=agreement,
        cosine=cosine,
        threshold=threshold,
        moved=signal > factor * floor,
        control=control,
        note=note,
    )


def _lacking(name: str, files: Files) -> AlignmentError:
    return AlignmentError(
        f"expected {shown(name)} in every file, got none in {files.after.path.name}; "
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


def _angles(
    base: npt.NDArray[Any], others: Sequence[npt.NDArray[Any]], seeds: int
) -> tuple[float, float, float, float, float | None]:
    """(signal, floor, agreement, mean 1 - |cos|, control) of one tensor."""
    products = _products(base, others)
    w, wd, dd = products[0, 0], products[0, 1:], products[1:, 1:]
    mean_wd, mean_dd = wd[:seeds].mean(), dd[:seeds, :seeds].mean()
    signal = _angle(w, mean_wd, mean_dd)
    each = [_angle(w, wd[s], dd[s, s]) for s in range(len(others))]
    pairs = list(itertools.combinations(range(seeds), 2))
    between = [_angle_between(w, wd, dd, s, t) for s, t in pairs]
    floor = math.sqrt(sum(a * a for a in between) / len(pairs)) / math.sqrt(2 * seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        agreement = float(np.mean([dd[s, t] / np.sqrt(dd[s, s] * dd[t, t]) for s, t in pairs]))
    cosine = sum(2 * math.sin(math.radians(min(a, 180 - a)) / 2) ** 2 for a in each[:seeds]) / seeds
    return signal, floor, agreement, cosine, each[seeds] if len(each) > seeds else None


def _products(base: npt.NDArray[Any], others: Sequence[npt.NDArray[Any]]) -> Floats:
    """Products of w_0, d_1, d_2 ... with each other, float64 of shape (1 + files, 1 + files)."""
    flat = [array.reshape(-1) for array in (base, *others)]
    products = np.zeros((len(flat), len(flat)))
    for first in range(0, flat[0].size, _CHUNK):
        # (1 + files, elements of the piece)
        piece = np.stack([a[first : first + _CHUNK].astype(np.float64) for a in flat])
        piece[1:] -= piece[0]
        products += piece @ piece.T
    return products


def _angle(w: float, wd: float, dd: float) -> float:
    """Angle in degrees between w and w + d from |w|^2, w d and |d|^2 (see ``difference``)."""
    return _turn(w, w + 2 * wd + dd, dd, 2 * wd + dd)


def _angle_between(w: float, wd: Floats, dd: Floats, s: int, t: int) -> float:
    """Angle in degrees between w + d_s and w + d_t."""
    u, v = w + 2 * wd[s] + dd[s, s], w + 2 * wd[t] + dd[t, t]
    apart = dd[s, s] + dd[t, t] - 2 * dd[s, t]
    return _turn(u, v, apart, 2 * (wd[t] - wd[s]) + dd[t, t] - dd[s, s])


def _turn(uu: float, vv: float, apart: float, longer: float) -> float:
    """Angle in degrees from |u|^2, |v|^2, |v - u|^2 and |v|^2 - |u|^2; NaN where one is zero."""
    if not (uu > 0 and vv > 0):
        return 0.0 if uu == vv == 0 else math.nan
    u, v = math.sqrt(uu), math.sqrt(vv)
    e = longer / (u + v)
    half = max(0.0, min(4.0, (apart - e * e) / (u * v))) / 4
    return math.degrees(2 * math.asin(math.sqrt(half)))
