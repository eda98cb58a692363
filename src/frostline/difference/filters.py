"""Per filter: the spread of 1 - |cos| over the output channels of a layer."""

import math
from dataclasses import dataclass

import numpy as np

from frostline.difference.sums import Floats

__all__ = ["FilterQuantiles", "quantiles_of"]


@dataclass(frozen=True, slots=True)
class FilterQuantiles:
    """Spread of 1 - |cos| over the filters (output channels) of one layer.

    Filters that are zero on one side only have no cosine: ``undefined`` counts them, and the
    quantiles leave them out (NaN where none is left).
    """

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    undefined: int = 0


def quantiles_of(values: Floats) -> FilterQuantiles:
    """Quantiles of one value for each filter, shape (filters,); NaN marks the undefined."""
    known = np.sort(values[np.isfinite(values)])
    undefined = int(values.size - known.size)
    if not known.size:
        return FilterQuantiles(math.nan, math.nan, math.nan, math.nan, math.nan, undefined)
    low, quarter, median, three, high = (_at(known, part) for part in (0, 0.25, 0.5, 0.75, 1))
    return FilterQuantiles(low, quarter, median, three, high, undefined)


def _at(ordered: Floats, part: float) -> float:
    """Linearly interpolated quantile (method 7 of Hyndman and Fan 1996; numpy's default)."""
    place = part * (ordered.size - 1)
    low = int(place)
    high = min(low + 1, ordered.size - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
