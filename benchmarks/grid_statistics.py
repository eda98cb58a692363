"""Means, contrasts, correlations of the grid, each with its 95 % interval over seeds."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from frostline.reporting.tukey import tukey_quantile

Estimate = tuple[float, float]  # value, half of its interval; NaN where nothing tells the spread


def student(freedom: int) -> float:
    """Two-sided 95 % point of Student's t: Tukey's range of two means is sqrt(2) times it."""
    return tukey_quantile(0.95, 2, freedom) / math.sqrt(2)


def interval(values: Sequence[float]) -> Estimate:
    """Mean and half width of its interval."""
    mean = statistics.fmean(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    return mean, student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def differences(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """a - b by common seed."""
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation; NaN if one side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if one side is constant."""
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    array = np.asarray(values)
    return [float((array < v).sum() + ((array == v).sum() - 1) / 2) for v in array]


def jackknife(seeds: Sequence[int], statistic: Callable[[Sequence[int]], float]) -> Estimate:
    """A statistic of all seeds, and half its interval by leaving out one seed at a time.

    For what is no mean of independent values: n estimates without one seed, spread by
    (n - 1) / n times their sum of squares (Tukey's jackknife), with t of n - 1.
    """
    whole, count = statistic(seeds), len(seeds)
    if count < 3:
        return whole, math.nan
    without = [statistic([seed for seed in seeds if seed != left_out]) for left_out in seeds]
    squares = float(np.square(np.subtract(without, np.mean(without))).sum())
    return whole, student(count - 1) * math.sqrt((count - 1) / count * squares)
