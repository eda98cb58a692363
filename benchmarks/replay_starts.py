"""What is known of starts before they are trained, as committed in ``starts.csv``."""

import functools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grid_plan import RESULTS, csv_rows

STARTS = RESULTS / "advice" / "starts.csv"
ANY = "any"  # data set of what does not depend on it
CLASSES, BOXES = "logme_classes", "logme_boxes"


@dataclass(frozen=True)
class Measured:
    """One signal of the starts of a data set.

    Attributes:
        values: by start.
        costs: of measuring it, by start, in ``1x``.
    """

    values: Mapping[str, float]
    costs: Mapping[str, float]

    def covers(self, starts: Iterable[str]) -> bool:
        return set(starts) <= self.values.keys()

    def cost(self, starts: Iterable[str]) -> float:
        return math.fsum(self.costs[init] for init in starts)


@functools.cache
def measured(name: str) -> dict[str, Measured]:
    """Every signal of a data set; empty where none was measured."""
    rows = [row for row in csv_rows(STARTS) if row["data"] in (name, ANY)]
    found = {
        signal: Measured(
            {row["init"]: float(row["value"]) for row in rows if row["signal"] == signal},
            {row["init"]: float(row["cost"]) for row in rows if row["signal"] == signal},
        )
        for signal in dict.fromkeys(row["signal"] for row in rows)
    }
    return found | _of_features(found)


def _of_features(found: Mapping[str, Measured]) -> dict[str, Measured]:
    """LogME of what there is, classes or else boxes, and TLogME: the mean of what there is."""
    parts = [found[key] for key in (CLASSES, BOXES) if key in found]
    if not parts:
        return {}
    first = parts[0]
    means = {
        init: statistics.fmean(part.values[init] for part in parts)
        for init in first.values
        if all(init in part.values for part in parts)
    }
    return {"logme": first, "tlogme": Measured(means, first.costs)}
