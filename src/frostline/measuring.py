"""Seconds and memory of a few steps of a cell: measured, not guessed.

``measure_apart`` does it in a process of its own, whose peak memory is then that of a training.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from frostline.architectures import architecture_of
from frostline.datasets import DatasetIndex
from frostline.errors import TrainingError, one_line
from frostline.identity import Identity
from frostline.prices import Price, PriceKey
from frostline.tasks import common_canvas, task_named
from frostline.training import choose_device, torch_as_before, train
from frostline.trial import Start, TrialSpec, prepare

__all__ = [
    "STEPS",
    "Timed",
    "measure_apart",
    "measure_cells",
    "measure_step",
    "price_key",
    "weights_mb",
]

STEPS = 6  # the first is up to twice as slow; of the others the median, as some are disturbed
_IMAGES = 8  # that are evaluated
_MEGA = 1e6


class Timed(NamedTuple):
    """Seconds of a step: the median of some, and the least, which other processes disturb least."""

    median: float
    least: float


def price_key(spec: TrialSpec) -> PriceKey:
    """What the cost of a cell's steps depends on."""
    model, schedule = spec.model, spec.schedule
    network = f"{model.architecture} {model.backbone} {model.preset} {model.image_size} px"
    if model.width_mult != 1.0:
        network += f" x{model.width_mult:g}"
    return PriceKey(
        network, spec.key.plan, model.batch_norm, schedule.batch_size, schedule.precision
    )


def measure_apart(specs: Sequence[TrialSpec]) -> tuple[Price, ...]:
    """Measure cells in a new process; see ``measure_cells``.

    Raises:
        TrainingError: it failed; says with what.
    """
    done = subprocess.run(
        [sys.executable, "-m", "frostline.measuring"],
        input=pickle.dumps(list(specs)),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise TrainingError(
            f"cannot measure what a step costs: {text[-1] if text else 'the process was killed'}; "
            "try a smaller batch or image"
        )
    rows = json.loads(done.stdout.splitlines()[-1])
    return tuple(Price(**(row | {"key": PriceKey(*row["key"])})) for row in rows)


def measure_cells(specs: Sequence[TrialSpec]) -> tuple[Price, ...]:
    """Time a few steps, and the evaluation of a few images, of each kind of cell.

    Args:
        specs: cells of one study, which share their data; of several that cost the same, the first
            is measured.

    Returns:
        One price a kind. Prices are compared by their least steps; all are raised by what the usual
        step of the shallowest cell takes more than its least. What needs least memory is measured
        first: a process knows its largest peak alone, and in one of its own each peak is then that
        of its cell.
    """
    data = specs[0].load()
    kinds = {price_key(spec): spec for spec in reversed(specs)}
    order = sorted(kinds.items(), key=lambda kind: -(kind[1].plan.depth or 0))
    found: list[Price] = []
    with torch_as_before():
        for key, spec in order:  # freezing does not change what an evaluation costs
            timed, price = _price(key, spec, data, found[0].image if found else None)
            found.append(_at_least(price, found[-1]) if found else price)
    usual = timed.median / timed.least
    return tuple(dataclasses.replace(price, step=price.step * usual) for price in found)


def _at_least(price: Price, deeper: Price) -> Price:
    """A step that freezes less is not cheaper: what says so is a disturbed measurement."""
    same = price.key._replace(plan="") == deeper.key._replace(plan="")
    return dataclasses.replace(price, step=max(price.step, deeper.step)) if same else price


def _price(
    key: PriceKey, spec: TrialSpec, data: Mapping[str, DatasetIndex], image: float | None
) -> tuple[Timed, Price]:
    device = choose_device(spec.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = prepare(spec, data)
    timed = measure_step(spec, start)
    image = image or _seconds_of_an_image(start, device)
    return timed, Price(key, timed.least, image, _peak_mb(device), weights_mb(start))


def weights_mb(start: Start) -> float:
    """Megabytes of a model's tensors."""
    total: int = sum(tensor.nbytes for tensor in start.model.state_dict().values())
    return total / _MEGA


def measure_step(spec: TrialSpec, start: Start) -> Timed:
    """Seconds of a training step; of several short epochs where there are few images."""
    torch.set_num_threads(spec.threads)
    train_set = start.data["train"]
    canvas = common_canvas(tuple(start.data.values()), spec.model.image_size)
    few = train_set.select([x.file for x in train_set.images[: STEPS * spec.schedule.batch_size]])
    steps = math.ceil(len(few) / spec.schedule.batch_size)
    epochs = math.ceil(STEPS / steps)
    task = task_named(spec.task)
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
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return Timed(statistics.median(seconds), min(seconds))


def _seconds_of_an_image(start: Start, device: torch.device) -> float:
    """Evaluation of the second batches: the first also decodes and warms up."""
    val = start.data["val"]
    few = start.task.place(
        val.select([image.file for image in val.images[:_IMAGES]]), start.placed["val"].canvas
    )
    times = []
    for _ in range(2):
        began = time.monotonic()
        start.task.predict(start.model, few, device, start.spec.schedule.batch_size)
        times.append(time.monotonic() - began)
    return max(min(times), 1e-6) / len(few)


def _peak_mb(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEGA
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / _MEGA if sys.platform == "darwin" else peak * 1024 / _MEGA
    return None


def _main() -> None:
    """Cells on stdin, pickled by ``measure_apart``; prices on stdout, as a line of JSON."""
    specs: list[TrialSpec] = pickle.load(sys.stdin.buffer)  # noqa: S301  (our own parent's)
    try:
        prices = measure_cells(specs)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {one_line(error)}")
    sys.stdout.write(json.dumps([dataclasses.asdict(price) for price in prices]) + "\n")


if __name__ == "__main__":
    _main()
