"""The difference in long double, and pairs of tensors that are a given way apart."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
LONG = np.longdouble
needs_long_double = pytest.mark.skipif(
    np.finfo(LONG).nmant < 60, reason="this platform's long double is no better than double"
)


def reference(u: Array, v: Array) -> float:
    """1 - |cos| by unit vectors in long double: |u/|u| - v/|v||^2 / 2."""
    u, v = u.astype(LONG).ravel(), v.astype(LONG).ravel()
    a, b = u / np.sqrt((u * u).sum()), v / np.sqrt((v * v).sum())
    sign = 1 if (a * b).sum() >= 0 else -1
    return float(((a - sign * b) ** 2).sum() / 2)


def moved(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: type, target: float, ratio: float
) -> tuple[Array, Array]:
    """A pair whose 1 - |cos| is about ``target`` and whose norms differ by ``ratio``."""
    u: Array = rng.standard_normal(shape).astype(dtype)
    step = rng.standard_normal(shape) * math.sqrt(2 * target)
    return u, (ratio * (u.astype(np.float64) + step)).astype(dtype)
