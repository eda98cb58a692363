"""The grid's committed rows, read back: one data set's trials, layers and rewind curves."""

import csv
import functools
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frostline.figures import is_collapsed
from frostline.records import TrialRecord
from frostline.reporting.answer import Answer, answer
from grid_plan import (
    DATASETS,
    DEPTHS,
    RESULTS,
    Arm,
    arms,
    cell_arms,
    chosen_rates,
    failures_of,
    rate_arms,
    rows_of,
)

Row = dict[str, str]
Curves = dict[Arm, dict[int, dict[int, float]]]


class Grid:
    """The rows of one data set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = {Arm.of_row(row): row for row in rows_of(name)}
        self.diverged = failures_of(name)
        self.rates = chosen_rates(name, list(self.rows.values()))
        wanted = arms(name, self.rates) if self.rates else rate_arms(name)
        self.planned = len(wanted)
        cells = set(cell_arms(name, self.rates)) if self.rates else set()
        self.cells = [arm for arm in self.rows if arm in cells]
        records = read_records(RESULTS / name)
        self.records = {arm: records[arm.slug] for arm in self.rows}

    @property
    def starts(self) -> tuple[str, ...]:
        return DATASETS[self.name].starts

    def cell_records(self) -> list[TrialRecord]:
        return [self.records[arm] for arm in self.cells]

    @functools.cached_property
    def answer(self) -> Answer:
        return answer(self.cell_records(), deepest=DEPTHS[-1], score="ap", split="test")

    def collapsed(self, arm: Arm) -> bool:
        return is_collapsed(self.records[arm])

    def values(self, column: str, **wanted: Any) -> dict[int, float]:
        """Seed to value of one column, of the trials that did not collapse and fit."""
        return {
            arm.seed: float(row[column])
            for arm, row in self.rows.items()
            if all(getattr(arm, name) == value for name, value in wanted.items())
            and not self.collapsed(arm)
        }

    def cell(self, column: str, init: str, depth: int) -> dict[int, float]:
        """Seed to value of one cell at the chosen rate."""
        if not self.rates:
            return {}
        return self.values(
            column, init=init, depth=depth, optimizer="adamw", lr=self.rates[init], boxes="true"
        )

    def chosen(self, init: str, depth: int, seed: int) -> Arm:
        """The arm of one cell and seed at the chosen rate."""
        return Arm(init, depth, seed, "adamw", (self.rates or {})[init])


def read_records(folder: Path) -> dict[str, TrialRecord]:
    """The engine's records by the slug of their arm."""
    with gzip.open(folder / "records.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    return {line["slug"]: TrialRecord.from_dict(line["record"]) for line in lines}


def layer_rows(name: str) -> Iterator[Row]:
    """Rows of ``layers.csv.gz``."""
    path = RESULTS / name / "layers.csv.gz"
    if path.exists():
        yield from csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))


def rewind_curves(name: str) -> Curves:
    """Arm -> step -> rewound depth -> selection AP."""
    curves: Curves = {}
    for row in rows_of(name, "rewind"):
        by_step = curves.setdefault(Arm.of_row(row), {})
        by_step.setdefault(int(row["step"]), {})[int(row["rewound"])] = float(row["ap"])
    return curves


def layer_curves(name: str) -> tuple[Curves, Curves]:
    """Arm -> step -> layer -> 1 - |cos|, and the norm of the mean gradient over the weight's.

    Of k=0 trials; layers are numbered from 1 in forward order.
    """
    moved: Curves = {}
    gradient: Curves = {}
    for row in layer_rows(name):
        if row["depth"] != "0":
            continue
        arm, step, layer = Arm.of_row(row), int(row["step"]), int(row["index"])
        moved.setdefault(arm, {}).setdefault(step, {})[layer] = float(row["cosine"])
        gradient.setdefault(arm, {}).setdefault(step, {})[layer] = _relative_gradient(row)
    return moved, gradient


def _relative_gradient(row: Mapping[str, str]) -> float:
    return float(row["norm_of_mean_gradient"]) / float(row["weight_norm"])
