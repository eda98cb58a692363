"""What a study will cost, from a few measured steps instead of a guess."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.datasets import DatasetIndex
from frostline.loading import load_data
from frostline.measuring import STEPS, measure_step, price_key, weights_mb
from frostline.prices import Price, Prices
from frostline.training import torch_as_before
from frostline.trial import TrialSpec, prepare

__all__ = ["Estimate", "estimate"]

_STARTING_SECONDS = 5.0  # importing torch and reading data, once a worker


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of what is left of a study.

    Attributes:
        cells: trials of the whole study.
        left: trials still to run.
        minutes: wall-clock minutes for them, with the given workers.
        disk_mb: megabytes they will leave on disk.
    """

    cells: int
    left: int
    minutes: float
    disk_mb: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for tables and JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds of one training image; megabytes of one trial's weights."""

    seconds_per_image: float
    megabytes: float


def estimate(
    left: Sequence[TrialSpec], *, cells: int, workers: int, prices: Prices | None = None
) -> Estimate:
    """Time a few steps of the shallowest and the deepest cell; the others lie between.

    Args:
        left: the cells still to run, of one study: they share their data.
        cells: number of cells of the study.
        workers: trials side by side, >= 1. They are assumed not to slow each other down.
        prices: what was measured before; where it has all of the cells, nothing is measured.
    """
    if not left:
        return Estimate(cells, 0, 0.0, 0.0)
    data = load_data(left[0].data, left[0].base)
    known = _known(left, prices or Prices())
    if known:
        seconds = sum(_priced(spec, p, data) for spec, p in zip(left, known, strict=True))
        return _estimate(cells, len(left), seconds / workers, known[0].weights_mb)
    ends = min(left, key=_depth), max(left, key=_depth)
    with torch_as_before():
        costs = {
            depth: _measure(spec, data) for depth, spec in {_depth(s): s for s in ends}.items()
        }
    seconds = sum(_images(spec, data) * _seconds_per_image(costs, _depth(spec)) for spec in left)
    return _estimate(cells, len(left), seconds / workers, costs[_depth(ends[0])].megabytes)


def _estimate(cells: int, left: int, seconds: float, megabytes: float) -> Estimate:
    minutes = (seconds + _STARTING_SECONDS) / 60
    return Estimate(cells, left, round(minutes, 1), round(left * megabytes, 1))


def _depth(spec: TrialSpec) -> int:
    return spec.plan.depth or 0


def _seconds_per_image(costs: dict[int, _Cost], depth: int) -> float:
    low, high = min(costs), max(costs)
    share = 0.0 if low == high else (depth - low) / (high - low)
    ends = costs[low].seconds_per_image, costs[high].seconds_per_image
    return ends[0] * (1 - share) + ends[1] * share


def _images(spec: TrialSpec, data: Mapping[str, DatasetIndex]) -> float:
    """Images that one trial trains on, and a third of those it evaluates: forward only."""
    during = spec.schedule.epochs // (spec.schedule.eval_every or math.inf)
    return len(data["train"].images) * spec.schedule.epochs + len(data["val"].images) * (
        (1 + during) / 3
    )


def _measure(spec: TrialSpec, data: Mapping[str, DatasetIndex]) -> _Cost:
    start, batch = prepare(spec, data), spec.schedule.batch_size
    few = min(len(data["train"]), STEPS * batch)
    step = measure_step(spec, start)
    return _Cost(step * math.ceil(few / batch) / few, weights_mb(start))


def _known(left: Sequence[TrialSpec], prices: Prices) -> tuple[Price, ...] | None:
    """The price of each cell, where all of them were measured before."""
    found = tuple(price for spec in left if (price := prices.of(price_key(spec))))
    return found if len(found) == len(left) else None


def _priced(spec: TrialSpec, price: Price, data: Mapping[str, DatasetIndex]) -> float:
    """Seconds of a trial at a measured price: training, and its evaluations."""
    evaluations = 1 + spec.schedule.epochs // (spec.schedule.eval_every or math.inf)
    training = spec.schedule.epochs * price.epoch(len(data["train"]), 0)
    return training + evaluations * len(data["val"]) * price.image
