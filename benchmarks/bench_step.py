"""What each speed-up of a training step on a CPU is worth: the step without it over the step with.

    python benchmarks/bench_step.py --rounds 20 --out benchmarks/results/step

The slim MobileNetV2 detector on random images, forward, backward and AdamW step, one thread. Rounds
are interleaved: in each, every variant makes one step, in turning order; ratios are taken within a
round. The losses of all variants are compared too: they agree but for rounding, which now and then
moves a proposal in or out of a sample.
"""

import argparse
import contextlib
import csv
import datetime
import importlib.metadata
import json
import os
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import nn

from bench_diff import processor_name
from frostline.architectures import faster_rcnn_network
from frostline.architectures.building import build_model
from frostline.config import ModelConfig
from frostline.depth import layer_table
from frostline.freezing import Frozen
from frostline.plans import FreezePlan

IMAGES, SIDE, BOXES = 4, 256, 12
VARIANTS = ("all speed-ups", "without channels_last", "without folding", "without oneDNN for 1x1")


@contextlib.contextmanager
def without(variant: str) -> Iterator[None]:
    """Build models, and run them, without one of the speed-ups."""
    patches: dict[str, Any] = {
        "without folding": mock.patch.object(
            faster_rcnn_network, "_fold_frozen_norms", return_value=None
        ),
        "without oneDNN for 1x1": mock.patch.object(
            faster_rcnn_network, "_convolve", plain_convolution
        ),
    }
    with patches.get(variant, contextlib.nullcontext()):
        yield


def plain_convolution(
    conv: nn.Conv2d, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    return conv._conv_forward(features, weight, bias)


class Bench:
    """One variant: its model, its optimiser, and one step."""

    def __init__(self, variant: str, depth: int) -> None:
        self.variant = variant
        config = ModelConfig(backbone="mobilenet_v2", preset="slim", image_size=SIDE)
        with without(variant):
            self.model = build_model(config, 3, seed=0)
        plan = FreezePlan.at_depth(layer_table("mobilenet_v2"), depth, batch_norm="frozen")
        self.frozen = Frozen(self.model, plan)
        if variant != "without channels_last":
            self.model.to(memory_format=torch.channels_last)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step(self, number: int) -> tuple[float, float]:
        """Seconds and loss of one step."""
        torch.manual_seed(number)
        images = [torch.rand(3, SIDE, SIDE) for _ in range(IMAGES)]
        corners = torch.rand(IMAGES, BOXES, 2) * SIDE / 2
        boxes = torch.cat([corners, corners + SIDE / 5], dim=2)
        labels = torch.ones(BOXES, dtype=torch.int64)
        targets = [{"boxes": b, "labels": labels} for b in boxes]
        self.frozen.train()
        with without(self.variant):
            began = time.perf_counter()
            loss = torch.stack(list(self.model(images, targets).values())).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return time.perf_counter() - began, float(loss.detach())


def measure(depth: int, rounds: int) -> list[dict[str, Any]]:
    """Raw rows of one freeze depth; a first round warms up and is left out."""
    benches = [Bench(variant, depth) for variant in VARIANTS]
    rows: list[dict[str, Any]] = []
    for number in range(rounds + 1):
        turn = number % len(benches)
        for bench in benches[turn:] + benches[:turn]:
            seconds, loss = bench.step(number)
            row = {"depth": depth, "round": number, "variant": bench.variant}
            rows.append({**row, "seconds": seconds, "loss": loss})
    return [row for row in rows if row["round"] > 0]


def summary(rows: list[dict[str, Any]]) -> str:
    """Medians of the ratio of each variant to the step with everything on."""
    lines = ["| frozen | variant | its time / ours (min to max) | largest difference of a loss |",
             "|---|---|---|---|"]  # fmt: skip
    for depth in dict.fromkeys(row["depth"] for row in rows):
        ours, *others = (
            {r["round"]: r for r in rows if (r["depth"], r["variant"]) == (depth, variant)}
            for variant in VARIANTS
        )
        for variant, other in zip(VARIANTS[1:], others, strict=True):
            ratios = [other[n]["seconds"] / ours[n]["seconds"] for n in ours]
            gap = max(abs(other[n]["loss"] / ours[n]["loss"] - 1) for n in ours)
            lines.append(
                f"| k={depth} | {variant} | **{statistics.median(ratios):.2f}** "
                f"({min(ratios):.2f} to {max(ratios):.2f}) | {gap:.0e} |"
            )
        median = statistics.median(row["seconds"] for row in ours.values())
        lines.append(f"| k={depth} | {VARIANTS[0]} | {1000 * median:.0f} ms a step | |")
    return "\n".join(lines) + "\n"


def environment(rounds: int) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python benchmarks/bench_step.py --rounds {rounds}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_average_at_start": os.getloadavg()[0],
        "threads": 1,
        "seed": "the number of the round",
        "versions": {n: importlib.metadata.version(n) for n in ("torch", "torchvision")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = environment(args.rounds)
    rows = [row for depth in (0, 52) for row in measure(depth, args.rounds)]
    print(summary(rows))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        with (args.out / "step.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (args.out / "step.json").write_text(json.dumps(about, indent=1) + "\n")
        (args.out / "step.md").write_text(summary(rows))


if __name__ == "__main__":
    main()
