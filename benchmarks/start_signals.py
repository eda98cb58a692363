"""What is known of a start before it is trained to the end, as rows for the replay.

    python benchmarks/start_signals.py run --out OUT            # resumes by the committed rows

``starts.csv`` has a row for each data set, start and signal, ``range_tests.csv`` the losses of the
range tests. Network, pixels, batches, augmentation, optimiser and frozen BatchNorm are the grid's
own, nothing is frozen, seed 0, one thread. OUT holds nothing but annotations.
"""

import argparse
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torchvision.ops import roi_align

import grid
import grid_more
from frostline.architectures import architecture_of
from frostline.config import ScheduleConfig
from frostline.seeds import derived_seed
from frostline.tasks.boxes import PlacedImages, float_image
from frostline.training import batch_at
from frostline.trial import Start, begin
from grid_more_plan import BOARDS, CARDS, CELLS, PEARS, TREES, WHEAT, More
from grid_plan import COMMON_RATE, RESULTS, THREE, csv_rows, write_annotations
from start_scores import Floats, logme, one_hot, signal_to_noise, steepest, tenth_of_lowest

TARGET = RESULTS / "advice"
NAMES = (CELLS, WHEAT, CARDS, BOARDS, TREES, PEARS)
ANY = "any"  # data set of what does not depend on it
IMAGES = 200  # at most, for features
STRIDE = 32  # px, of the map that features are taken from
STEPS = 100
RANGE = (1e-5, 1e-1)
DIVERGED = 4.0  # times the lowest loss so far: the range test ends
FORWARD = 1 / 3  # of a training step

Row = grid.Row


def run(out: Path, names: tuple[str, ...] = NAMES, steps: int = STEPS) -> None:
    """Measure what has no row yet."""
    done = {(row["data"], row["init"], row["signal"]) for row in csv_rows(TARGET / "starts.csv")}
    for measure, name, init in itertools.product(MEASURES, names, THREE):
        data = ANY if measure is weight_scores else name
        if not any((data, init, signal) in done for signal in MEASURES[measure]):
            found = list(_timed(begun(name, init, out), measure, steps))
            table = [{"data": data, "init": init, **row} for row in found]
            grid.append_csv(TARGET / "starts.csv", table)
            done |= {(data, init, row["signal"]) for row in found}
            print(data, init, [(row["signal"], row["value"]) for row in found], flush=True)


def begun(name: str, init: str, out: Path) -> Start:
    """The grid's cell of a start, nothing frozen, before its first step."""
    write_annotations(name, out / "data" / name)
    return begin(grid_more.spec_of(name, More(init, 0, 0, "adamw", COMMON_RATE), out))


Found = Mapping[str, tuple[float, float, str]]  # signal -> value, cost in 1x, details


def _timed(start: Start, measure: Callable[[Start, int], Found], steps: int) -> Iterator[Row]:
    began = time.process_time()
    found = measure(start, steps)
    seconds = time.process_time() - began
    for signal, (value, cost, details) in found.items():
        yield {
            "signal": signal,
            "value": float(f"{value:.7g}"),
            "cost": float(f"{cost:.4g}"),
            "cpu_seconds": round(seconds, 1),
            "details": details,
            "processor": grid.processor(),
            "torch": torch.__version__,
        }


def steps_in_all(start: Start) -> int:
    """Optimiser steps of a complete training."""
    schedule = start.spec.schedule
    return math.ceil(len(start.placed["train"]) / schedule.batch_size) * schedule.epochs


# Features


def feature_scores(start: Start, steps: int) -> Found:
    """LogME of the boxes' classes, where there are several, and of the boxes themselves."""
    images = start.placed["train"]
    assert isinstance(images, PlacedImages)
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), IMAGES)).round())
    features, boxes, labels = box_features(start.model, images, [int(i) for i in chosen])
    cost = FORWARD * len(chosen) / start.spec.schedule.batch_size / steps_in_all(start)
    classes = len(np.unique(labels))
    details = f"{len(chosen)} images; {len(labels)} boxes; {classes} classes"
    found = {"logme_boxes": (logme(features, boxes), cost, details)}
    if classes > 1:
        found["logme_classes"] = (logme(features, one_hot(labels)), cost, details)
    return found


@torch.no_grad()
def box_features(
    model: Any, images: PlacedImages, chosen: list[int]
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Of every box: mean of the backbone's last map in it, its place, its class.

    Returns:
        (N, channels) features; (N, 4) centre and size as shares of the canvas; (N,) labels.
    """
    model.eval()
    features, boxes, labels = [], [], []
    height, width = images.canvas.height, images.canvas.width
    for i in chosen:
        sample = images[i]
        placed, _ = model.transform([float_image(sample.image, torch.device("cpu"))])
        last = list(model.backbone.body(placed.tensors).values())[-1]
        # Not ``aligned``: cell 0 of strided 3x3 convolutions looks at pixel 0, not at 16.
        pooled = roi_align(last, [sample.boxes], 7, 1 / STRIDE, sampling_ratio=2)
        features.append(pooled.mean(dim=(2, 3)).numpy())
        low, high = sample.boxes[:, :2], sample.boxes[:, 2:]
        place = torch.cat(((low + high) / 2, high - low), dim=1)
        boxes.append((place / torch.tensor([width, height] * 2)).numpy())
        labels.append(sample.labels.numpy())
    return np.concatenate(features), np.concatenate(boxes), np.concatenate(labels)


# Weights


def weight_scores(start: Start, steps: int) -> Found:
    """Spectrum: mean signal-to-noise ratio of the convolutions that depth counts."""
    architecture, model = architecture_of(start.spec.model), start.spec.model
    layers = architecture.backbone(model).table.layers
    names = [f"{architecture.prefix}{layer.name}.weight" for layer in layers]
    ratios = [signal_to_noise(start.before[name]) for name in names]
    return {"spectrum": (float(np.mean(ratios)), 0.0, f"{len(ratios)} convolutions")}


# Range tests


def rate_scores(start: Start, steps: int) -> Found:
    """Learning rates that a range test suggests."""
    rates, losses = range_test(start, steps)
    key = start.spec.key
    name = Path(str(start.spec.data.train)).parent.name
    table = [
        {"data": name, "init": key.init, "step": step, "rate": f"{rate:.6g}", "loss": f"{loss:.6g}"}
        for step, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    grid.append_csv(TARGET / "range_tests.csv", table)
    cost, details = len(rates) / steps_in_all(start), f"{len(rates)} steps of {steps}"
    return {
        "range_steepest": (steepest(rates, losses), cost, details),
        "range_tenth": (tenth_of_lowest(rates, losses), cost, details),
    }


def range_test(start: Start, steps: int) -> tuple[Floats, Floats]:
    """Rates, rising geometrically, and the loss of the batch before the step at each."""
    schedule, seed = start.spec.schedule, start.spec.key.seed
    model, images = start.model.to(memory_format=torch.channels_last), start.placed["train"]
    optimizer, parameters = adamw(model, schedule)
    per_epoch = math.ceil(len(images) / schedule.batch_size)
    rates, losses = np.geomspace(*RANGE, steps), []
    for step, rate in enumerate(rates):
        torch.manual_seed(derived_seed(seed, "step", step))
        batch = batch_at(images, start.task, schedule, seed, *divmod(step, per_epoch))
        start.frozen.train()
        loss = torch.stack(list(start.task.loss(model, batch, torch.device("cpu")).values())).sum()
        losses.append(float(loss.detach()))
        if not losses[-1] <= DIVERGED * min(losses):
            break
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, schedule.clip_norm or math.inf)
        optimizer.step()
    kept = np.isfinite(losses)
    return rates[: len(losses)][kept], np.array(losses)[kept]


def adamw(
    model: nn.Module, schedule: ScheduleConfig
) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """The grid's optimiser: weight decay on weights alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=True), parameters


MEASURES: dict[Callable[[Start, int], Found], tuple[str, ...]] = {
    weight_scores: ("spectrum",),
    feature_scores: ("logme_boxes", "logme_classes"),
    rate_scores: ("range_steepest", "range_tenth"),
}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="What is known of starts before training.")
    runner = parser.add_subparsers(dest="command", required=True).add_parser("run")
    runner.add_argument("names", nargs="*", default=NAMES, metavar="NAME",
                        help=f"data sets; all of {', '.join(NAMES)}")  # fmt: skip
    runner.add_argument("--out", type=Path, required=True)
    runner.add_argument("--steps", type=int, default=STEPS, help="of a range test")
    arguments = parser.parse_args()
    for variable in ("FROSTLINE_DATA", "FROSTLINE_WEIGHTS"):
        if variable not in os.environ:
            parser.error(f"expected {variable}, a folder, got none: set it")
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"expected some of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    run(arguments.out.resolve(), tuple(arguments.names), arguments.steps)


if __name__ == "__main__":
    main()
