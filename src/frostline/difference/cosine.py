"""1 - |cos| from the sums, with a second pass where the norm changed more than the direction."""

import math

import numpy as np

from frostline.difference.sums import AnyArray, Blocks, Floats, Sums, row_dots

__all__ = ["one_minus_cosine", "whole_cosine"]


def whole_cosine(blocks: Blocks, total: Sums) -> float:
    """1 - |cos| of all rows together; arithmetic on plain floats where one pass is enough."""
    u, v = math.sqrt(total.uu[0]), math.sqrt(total.vv[0])
    if u and v:
        low, e = min(float(total.dd[0]), float(total.pp[0])), float(total.s[0]) / (u + v)
        if e * e <= low / 2:
            return min(max((low - e * e) / (2 * u * v), 0.0), 1.0)
    return float(one_minus_cosine(blocks, total)[0])


def one_minus_cosine(blocks: Blocks, sums: Sums) -> Floats:
    """1 - |cos| of each row, or of the whole where ``sums`` has one entry; NaN if one is zero."""
    u, v = np.sqrt(sums.uu), np.sqrt(sums.vv)
    low = np.minimum(sums.dd, sums.pp)
    with np.errstate(divide="ignore", invalid="ignore"):
        e = sums.s / (u + v)
        result: Floats = (low - e * e) / (2 * u * v)
        turn_is_lost = (e * e > low / 2) & (low > 0) & (u > 0) & (v > 0)
    result[(u == 0) != (v == 0)] = np.nan
    result[(u == 0) & (v == 0)] = 0.0
    if turn_is_lost.any():
        ratio = np.where(sums.dd <= sums.pp, 1.0, -1.0) * v / np.where(u > 0, u, 1.0)
        refined = _after_scaling(blocks, ratio, turn_is_lost, v)
        result[turn_is_lost] = refined[turn_is_lost]
    return np.minimum(np.maximum(result, 0.0), 1.0)


def _after_scaling(blocks: Blocks, ratio: Floats, wanted: AnyArray, v_norm: Floats) -> Floats:
    """1 - cos with u brought to the norm of v first: w = ratio u, d = v - w.

    Args:
        blocks: the pieces.
        ratio: factor for each row, or one for the whole, shape (rows,) or (1,).
        wanted: rows to compute, bool of the same shape; the others stay 0.
        v_norm: |v| of the same shape.
    """
    dd, s = np.zeros_like(ratio), np.zeros_like(ratio)
    for top, u, v in blocks():
        rows = np.arange(len(u))
        if len(ratio) == 1:
            into = np.zeros_like(rows)
        else:
            rows = rows[wanted[top : top + len(u)]]
            into = rows + top
        r = ratio[into, None]
        d, w = _exact_difference(u[rows].astype(np.float64), v[rows].astype(np.float64), r)
        np.add.at(dd, into, row_dots(d, d))
        np.add.at(s, into, row_dots(d, w))
    with np.errstate(divide="ignore", invalid="ignore"):
        e = s / (2 * v_norm)  # |v| - |w|; |v| + |w| is 2 |v| up to rounding of the ratio
        result: Floats = (dd - e * e) / (2 * v_norm * (v_norm - e))
    return result


def _exact_difference(u: Floats, v: Floats, r: Floats) -> tuple[Floats, Floats]:
    """(v - r u, v + r u), the first with a relative error of 1e-15 even where it nearly vanishes.

    The rounding of r u alone would be 1e-9 of a difference that small. Both factors are split
    into halves of 26 bits (Dekker 1971, section 4), whose leading product is exact.
    """
    u_high, u_low = _halves(u)
    r_high, r_low = _halves(r)
    d = v - u_high * r_high
    d -= u_high * r_low + u_low * r_high
    d -= u_low * r_low
    return d, v + u * r


def _halves(x: Floats) -> tuple[Floats, Floats]:
    stretched = x * 134217729.0  # 2^27 + 1
    high = stretched - (stretched - x)
    return high, x - high
