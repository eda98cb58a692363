"""Sums over the elements of each row of two matrices that come in pieces, in float64."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "AnyArray",
    "Block",
    "Blocks",
    "Floats",
    "Sums",
    "array_blocks",
    "row_dots",
    "sum_blocks",
]

Floats = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]
#: Index of the first row, and the same part of both tensors as rows of float64 (or float32).
Block = tuple[int, AnyArray, AnyArray]
Blocks = Callable[[], Iterable[Block]]

_CHUNK: Final = 1 << 15  # elements at a time: two float64 buffers stay within a 1 MiB L2
_EXTREME: Final = 1e3  # ratio of squared norms beyond which they are summed on their own
_OPPOSITE: Final = 0.25  # S/D below which S is summed on its own
_HAS_VECDOT: Final = hasattr(np, "vecdot")  # from numpy 2.0 on
_FEW: Final = 32  # columns below which einsum beats a dot product for each row


def array_blocks(u: AnyArray, v: AnyArray) -> Iterator[Block]:
    """Both matrices, shape (rows, columns), in float64 pieces of some 16,000 elements."""
    rows, columns = u.shape
    height = max(1, _CHUNK // columns)
    for top in range(0, rows, height):
        for left in range(0, columns, _CHUNK):
            part = slice(top, top + height), slice(left, left + _CHUNK)
            yield top, u[part].astype(np.float64), v[part].astype(np.float64)


class Sums:
    """Sums over the elements of each row, float64 of shape (rows,)."""

    __slots__ = ("dd", "pp", "s", "uu", "vv")

    def __init__(self, dd: Floats, pp: Floats, s: Floats, uu: Floats, vv: Floats) -> None:
        self.dd = dd  # (after - before)^2
        self.pp = pp  # (after + before)^2
        self.s = s  # after^2 - before^2
        self.uu = uu  # before^2
        self.vv = vv  # after^2

    def total(self) -> "Sums":
        """The same over all rows, shape (1,)."""
        if len(self.dd) == 1:
            return self
        return Sums(*(x.sum(keepdims=True) for x in (self.dd, self.pp, self.s, self.uu, self.vv)))


def row_dots(x: AnyArray, y: AnyArray) -> AnyArray:
    """Dot product of each row of two (rows, columns) matrices."""
    if x.shape[1] < _FEW or not _HAS_VECDOT:
        return np.einsum("ij,ij->i", x, y)  # type: ignore[no-any-return]
    return np.vecdot(x, y)  # type: ignore[no-any-return]


def sum_blocks(blocks: Blocks, rows: int) -> Sums:
    """The five sums of each row from three; each on its own where that would lose digits.

    Args:
        blocks: each call gives all pieces again; they are overwritten.
        rows: number of rows in all.
    """
    dd, du, uu = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    with np.errstate(over="ignore", invalid="ignore"):  # measure looks at the sums
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            d = np.subtract(v, u, out=v)
            dd[part] += row_dots(d, d)
            du[part] += row_dots(d, u)
            uu[part] += row_dots(u, u)
        s = 2 * du + dd
        vv = np.maximum(uu + s, 0.0)
        sums = Sums(dd, np.maximum(2 * (uu + vv) - dd, 0.0), s, uu, vv)
        extreme = np.minimum(uu, vv) < np.maximum(uu, vv) / _EXTREME
        opposite = sums.pp < _OPPOSITE * dd
    if extreme.any() or opposite.any():  # a sum is lost in the rounding of a larger one
        return _sum_all(blocks, rows)
    return sums


def _sum_all(blocks: Blocks, rows: int) -> Sums:
    """The same sums, each on its own."""
    sums = Sums(*(np.zeros(rows) for _ in range(5)))
    with np.errstate(over="ignore", invalid="ignore"):
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            sums.uu[part] += row_dots(u, u)
            sums.vv[part] += row_dots(v, v)
            d = v - u
            p = np.add(v, u, out=v)
            sums.dd[part] += row_dots(d, d)
            sums.pp[part] += row_dots(p, p)
            sums.s[part] += row_dots(d, p)
    return sums
