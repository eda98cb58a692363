"""What a study will cost, from a few measured steps instead of a guess."""

import dataclasses
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from frostline.architectures import architecture_of
from frostline.datasets import DatasetIndex
from frostline.identity import Identity
from frostline.tasks import common_canvas, task_named
from frostline.training import choose_device, torch_as_before, train
from frostline.trial import TrialSpec, prepare

__all__ = ["Estimate", "estimate"]

_STEPS = 6  # the first is up to twice as slow; of the others the median, as some are disturbed
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
) -> Estimate:
    """Time a few steps of the shallowest and the deepest cell; the others lie between.

    Args:
        left: the cells still to run, of one study: they share their data.
        cells: number of cells of the study.
        workers: trials side by side, >= 1. They are assumed not to slow each other down.
        waits: cells that wait for others.
    """
    if not left:
        return Estimate(cells, 0, 0.0, 0.0)
    data = left[0].load()
    ends = min(left, key=_depth), max(left, key=_depth)
    with torch_as_before():
        costs = {
            depth: _measure(spec, data) for depth, spec in {_depth(s): s for s in ends}.items()
        }
    seconds = sum(_images(spec, data) * _seconds_per_image(costs, _depth(spec)) for spec in left)
    minutes = (seconds / workers + _STARTING_SECONDS) / 60
    megabytes = len(left) * costs[_depth(ends[0])].megabytes
    return Estimate(cells, len(left), round(minutes, 1), round(megabytes, 1), waits or {})


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
    """A few steps; several short epochs of them where there are few images."""
    torch.set_num_threads(spec.threads)
    canvas = common_canvas(tuple(data.values()), spec.model.image_size)
    train_set = data["train"]
    few = train_set.select([x.file for x in train_set.images[: _STEPS * spec.schedule.batch_size]])
    steps = math.ceil(len(few) / spec.schedule.batch_size)
    epochs = math.ceil(_STEPS / steps)
    task = task_named(spec.task)
    start = prepare(spec, data)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        train(
            start.frozen,
            task.place(few, canvas),
            task=task,
            schedule=spec.schedule.model_copy(update={"epochs": epochs, "eval_every": None}),
            seed=spec.key.seed,
            device=choose_device(spec.device),
            checkpoint=Path(folder) / "checkpoint.pt",
            identity=Identity({}, {}),
            backbone=architecture_of(spec.model).prefix,
            score=lambda model: {},
            on_step=lambda _: ends.append(time.monotonic()),
        )
    step = statistics.median(after - before for before, after in itertools.pairwise(ends))
    size = sum(tensor.nbytes for tensor in start.model.state_dict().values()) / 1e6
    return _Cost(step * steps / len(few), size)
