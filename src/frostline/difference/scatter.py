"""How far several seeds of one training go together, and how far apart.

With updates d_s = w_s - w_0 over S seeds, ``signal`` is the angle between w_0 and the mean of the
w_s, ``floor`` the root mean square angle between two of the w_s, divided by sqrt(2 S). Were the
updates independent noise around no change at all, signal and floor would be equal.

All of it follows from the products of w_0 and the d_s with each other, summed in float64 over the
elements in one pass.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from frostline.difference.sums import Floats

__all__ = ["Scatter", "moved_beyond", "scatter"]

_CHUNK = 1 << 15


class Scatter(NamedTuple):
    """What several ends of one training have in common; angles in degrees.

    Attributes:
        signal: angle between the base and the mean over seeds.
        floor: what that angle would be without any common change.
        agreement: mean cosine between the updates of two seeds, from -1 to 1; NaN where a seed
            did not move it at all.
        cosine: mean over seeds of 1 - |cos| against the base.
        control: angle between the base and the control run; None without one.
    """

    signal: float
    floor: float
    agreement: float
    cosine: float
    control: float | None


def moved_beyond(floor: float, factor: float) -> float:
    """1 - cos(c x floor): beyond it a layer counts as moved.

    Example:
        >>> round(moved_beyond(30.0, 2.0), 12)
        0.5
    """
    return 2 * math.sin(math.radians(min(factor * floor, 180.0)) / 2) ** 2


def scatter(base: npt.NDArray[Any], others: Sequence[npt.NDArray[Any]], seeds: int) -> Scatter:
    """Signal, noise and control of one tensor.

    Args:
        base: w_0, any shape and number type, finite.
        others: w_1, w_2 ... of the same shape: the seeds, then the control run, if there is one.
        seeds: how many of ``others`` are seeds, at least 2.
    """
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
    control = each[seeds] if len(each) > seeds else None
    return Scatter(signal, floor, agreement, cosine, control)


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
