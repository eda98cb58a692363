"""What a study will cost, from a few measured steps instead of a guess."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from frostline.architectures import architecture_of
from frostline.datasets import DatasetIndex
from frostline.measuring import STEPS, measure_step, price_key, weights_mb
from frostline.prices import Price, Prices
from frostline.training import torch_as_before
from frostline.trial import TrialSpec, plan_of, prepare

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
        waits: cells whose plan a rule makes from other trials first, by name, and those trials.
            They are reckoned as if nothing were frozen, which is the most that they can cost.
    """

    cells: int
    left: int
    minutes: float
    disk_mb: float
    waits: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for tables and JSON."""
        return dataclasses.asdict(self) | {"waits": {k: list(v) for k, v in self.waits.items()}}


@dataclasses.dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds of one training image; megabytes of one trial's weights."""

    seconds_per_image: float
    megabytes: float


def estimate(
    left: Sequence[TrialSpec],
    *,
    cells: int,
    workers: int,
    waits: Mapping[str, tuple[str, ...]] | None = None,
    prices: Prices | None = None,
) -> Estimate:
    """Time a few steps of the shallowest and the deepest cell; the others lie between.

    What a plan saves is counted in the layers from the input that it freezes without a gap: there
    the backward pass stops. Layers that are frozen behind one that trains save next to nothing.

    Args:
        left: the cells still to run, of one study: they share their data and their network.
        cells: number of cells of the study.
        workers: trials side by side, >= 1. They are assumed not to slow each other down.
        waits: cells that wait for others.
        prices: what was measured before; where it has all of the cells, nothing is measured.
    """
    if not left:
        return Estimate(cells, 0, 0.0, 0.0)
    data = left[0].load()
    known = _known(left, prices or Prices())
    if known:
        seconds = sum(_priced(spec, p, data) for spec, p in zip(left, known, strict=True))
        return _estimate(cells, len(left), seconds / workers, known[0].weights_mb, waits)
    with torch_as_before():
        names = prepare(left[0], data).model.state_dict().keys()
        depths = [_frozen_from_the_input(spec, names) for spec in left]
        ends = {depth: left[depths.index(depth)] for depth in (min(depths), max(depths))}
        costs = {depth: _measure(spec, data) for depth, spec in ends.items()}
    each = (_seconds_per_image(costs, depth) for depth in depths)
    seconds = sum(_images(spec, data) * cost for spec, cost in zip(left, each, strict=True))
    return _estimate(cells, len(left), seconds / workers, costs[min(depths)].megabytes, waits)


def _estimate(
    cells: int,
    left: int,
    seconds: float,
    megabytes: float,
    waits: Mapping[str, tuple[str, ...]] | None,
) -> Estimate:
    minutes, disk = (seconds + _STARTING_SECONDS) / 60, left * megabytes
    return Estimate(cells, left, round(minutes, 1), round(disk, 1), waits or {})


def _frozen_from_the_input(spec: TrialSpec, names: Collection[str]) -> int:
    """Layers from the input that a cell's plan freezes without a gap."""
    architecture, frozen = architecture_of(spec.model), frozenset(plan_of(spec, names))
    table = architecture.backbone(spec.model).table
    whole = (
        all(architecture.prefix + n in frozen for n in layer.tensors or (f"{layer.name}.weight",))
        for layer in table.layers
    )
    return sum(1 for _ in itertools.takewhile(bool, whole))


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
    step = measure_step(spec, start).median
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
