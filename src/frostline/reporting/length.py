"""Whether trainings were long enough for their scores to answer anything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from frostline.records import TrialRecord
from frostline.scores import Score

__all__ = ["Length", "measure_length"]

_STEEP = 0.01  # of the score, in a tenth of the epochs
_LAST = 2 / 3  # share of the epochs after which the score should have settled


@dataclass(frozen=True, slots=True)
class Length:
    """What says whether a study trained long enough.

    Attributes:
        reached: mean score of the best cell, or the highest of any ranked trial where there is no
            best cell; NaN without any.
        floor: score of a constant prediction.
        least_gain: what must be gained above it.
        rising: trials of the best cell's start whose score still rose in the last third of their
            epochs, by more than a point in a tenth of the epochs.
        curves: trials of that start whose score was measured often enough to tell.
    """

    reached: float
    floor: float
    least_gain: float
    rising: int
    curves: int

    @property
    def short(self) -> Literal["", "learned little", "still rising"]:
        """Why the study is too short to answer; "" where nothing says so."""
        if self.reached - self.floor < self.least_gain:
            return "learned little"
        return "still rising" if self.curves and 2 * self.rising >= self.curves else ""


def measure_length(
    ranked: Sequence[TrialRecord], own: Sequence[TrialRecord], best: float, by: Score, split: str
) -> Length:
    """How long the trainings of a study were, as far as their scores say.

    Args:
        ranked: all ranked trials.
        own: the trials of the best cell's start that did not collapse.
        best: mean score of the best cell; NaN without one.
        by: the score that decides.
        split: where it was measured; the curve over the epochs is of the validation images.
    """
    scores = [score for r in ranked if not math.isnan(score := r.score(by.key, split))]
    reached = max(scores, default=math.nan) if math.isnan(best) else best
    known = [rise for r in own if (rise := _rise(r, by.key)) is not None]
    return Length(
        reached,
        max((r.details[split].floor for r in ranked if split in r.details), default=0.0),
        ranked[0].task.least_gain if ranked and by.ranks else -math.inf,
        sum(rise > _STEEP for rise in known),
        len(known),
    )


def _rise(record: TrialRecord, key: str) -> float | None:
    """What the score rose in a tenth of the epochs, by the line through those of the last third."""
    epochs = record.history[-1].epoch if record.history else 0
    points = [
        (epoch.epoch, value)
        for epoch in record.history
        if epoch.epoch >= _LAST * epochs
        and epoch.metrics is not None
        and (value := epoch.metrics.get(key)) is not None
    ]
    if len(points) < 2:  # noqa: PLR2004  (a line takes two)
        return None
    middle = sum(x for x, _ in points) / len(points)
    level = sum(y for _, y in points) / len(points)
    slope = sum((x - middle) * (y - level) for x, y in points)
    return slope / sum((x - middle) ** 2 for x, _ in points) * epochs / 10
