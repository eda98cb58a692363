"""One tensor against another: every measure of :class:`Difference` from one pass."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from frostline.difference.cosine import one_minus_cosine, whole_cosine
from frostline.difference.filters import FilterQuantiles, quantiles_of
from frostline.difference.results import Difference, not_comparable, undefined
from frostline.difference.sums import AnyArray, Block, Blocks, Sums, array_blocks, sum_blocks

__all__ = ["difference", "difference_of_blocks", "measure"]

_TINY: Final = 1e-200  # squared norms outside are computed again with scaled values
_HUGE: Final = 1e200


def difference(before: AnyArray, after: AnyArray) -> Difference:
    """How far a tensor moved, in float64 whatever its type.

    Args:
        before: real numbers of any shape; for per-filter quantiles the filters are axis 0.
        after: the same shape; another shape gives a "not comparable" result, not an error.

    Returns:
        The measures. Both norms zero: 0, and ``note`` says so. One norm zero, or a value that is
        not finite: NaN, and ``note`` says which.

    Example:
        >>> import numpy as np
        >>> round(difference(np.array([1.0, 0.0]), np.array([1.0, 1.0])).angle, 9)
        45.0
    """
    if before.shape != after.shape:
        return not_comparable(f"shape {list(before.shape)} against {list(after.shape)}")
    if before.dtype.kind not in "fiub" or after.dtype.kind not in "fiub":
        return not_comparable(f"type {before.dtype} against {after.dtype}")
    rows = before.shape[0] if before.ndim > 1 else 1
    if before.size == 0:
        return not_comparable("it has no elements")
    u, v = before.reshape(rows, -1), after.reshape(rows, -1)
    return difference_of_blocks(lambda: array_blocks(u, v), rows, filters=before.ndim > 1)


def difference_of_blocks(blocks: Blocks, rows: int, *, filters: bool) -> Difference:
    """The same as :func:`difference` for tensors that come in pieces.

    Args:
        blocks: each call gives all pieces again: (first row, before, after), both of shape
            (rows here, columns here) in float64, or float32 for faster, coarser sums; they may be
            overwritten. Called once, and again where the norm changed more than the direction.
        rows: number of rows (filters) in all; 1 for a vector.
        filters: whether to give the spread over rows.
    """
    return measure(blocks, sum_blocks(blocks, rows), filters=filters)


def measure(blocks: Blocks, sums: Sums, *, filters: bool) -> Difference:
    """The measures from the sums, which a second pass over scaled values replaces if need be."""
    total = sums.total()
    if not _in_range(total):
        scale = _power_of_two(blocks)
        if scale is None:
            return undefined("a value is not finite")
        if scale != 1.0:
            return _measure_scaled(blocks, len(sums.dd), scale, filters=filters)
    each = quantiles_of(one_minus_cosine(blocks, sums)) if filters else None
    return _finish(total, whole_cosine(blocks, total), each)


def _in_range(total: Sums) -> bool:
    largest = float(total.dd[0] + total.pp[0])
    return _TINY < largest < _HUGE


def _power_of_two(blocks: Blocks) -> float | None:
    """A power of two that brings the largest value near 1: 1 if all are 0, None if not finite."""
    largest = 0.0
    for _, u, v in blocks():
        if not (np.isfinite(u).all() and np.isfinite(v).all()):
            return None
        largest = max(largest, float(np.abs(u).max()), float(np.abs(v).max()))
    return math.ldexp(1.0, -max(-1000, min(1000, math.frexp(largest)[1]))) if largest else 1.0


def _measure_scaled(blocks: Blocks, rows: int, scale: float, *, filters: bool) -> Difference:
    def scaled() -> Iterator[Block]:
        for top, u, v in blocks():
            yield top, u * scale, v * scale

    sums = sum_blocks(scaled, rows)
    total = sums.total()
    each = quantiles_of(one_minus_cosine(scaled, sums)) if filters else None
    return _finish(total, whole_cosine(scaled, total), each)


def _finish(total: Sums, cosine: float, filters: FilterQuantiles | None) -> Difference:
    u, v = math.sqrt(total.uu[0]), math.sqrt(total.vv[0])
    if u == 0 and v == 0:
        return Difference(0.0, 1.0, 0.0, 0.0, 1.0, filters, "both are zero")
    if u == 0:
        return undefined("it was zero before")
    same = bool(total.dd[0] <= total.pp[0])
    angle = math.degrees(2 * math.asin(math.sqrt(cosine / 2))) if v else math.nan
    return Difference(
        cosine=cosine,
        signed_cosine=(1 - cosine) if same else (cosine - 1),
        angle=angle if same else 180.0 - angle,
        relative_l2=math.sqrt(total.dd[0]) / u,
        norm_ratio=v / u,
        filters=filters,
        note="" if v else "it is zero after",
    )
