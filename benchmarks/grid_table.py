"""What the grid's rows show: tables on stdout, tables and figures beside the rows.

    python benchmarks/grid_table.py [DATA SET ...]

Everything is computed from the committed rows under ``benchmarks/results/grid``; no data set or
weight file is needed. Scores are of the official val/test images; learning rates were chosen on a
split of the training images. Intervals are 95 %: Tukey's over all cells of a data set where cells
are compared, Student's t over seeds elsewhere. Collapsed trials are counted and in no mean.
"""

import argparse
import csv
import gzip
import io
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frostline.figures import depth_table, depths_figure, difference_table, differences_figure
from frostline.figures import svg_text as svg
from frostline.records import TrialRecord
from frostline.reporting.answer import Answer, answer
from grid_plan import (
    COMMON_RATE,
    DATASETS,
    DEPTHS,
    RATES,
    RESULTS,
    SGD_RATE,
    Arm,
    arms,
    cell_arms,
    chosen_rates,
    rate_arms,
    rows_of,
)

Row = dict[str, str]
# Two-sided 95 % points of Student's t by degrees of freedom.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Grid:
    """The rows of one data set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = {Arm.of_row(row): row for row in rows_of(name)}
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

    def answer(self) -> Answer:
        return answer(self.cell_records(), deepest=DEPTHS[-1], score="ap", split="test")

    def values(self, column: str, **wanted: Any) -> list[float]:
        """One column of the trials that did not collapse and fit, in the order of rows."""
        return [
            float(row[column])
            for arm, row in self.rows.items()
            if all(getattr(arm, name) == value for name, value in wanted.items())
            and not row["flags"].startswith("collapsed")
        ]

    def cell(self, column: str, init: str, depth: int) -> dict[int, float]:
        """Seed to value of one cell at the chosen rate."""
        return {
            arm.seed: float(self.rows[arm][column])
            for arm in self.cells
            if (arm.init, arm.depth) == (init, depth)
            and not self.rows[arm]["flags"].startswith("collapsed")
        }


def read_records(folder: Path) -> dict[str, TrialRecord]:
    """The engine's records by the slug of their arm."""
    with gzip.open(folder / "records.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    return {line["slug"]: TrialRecord.model_validate(line["record"]) for line in lines}


def layer_rows(name: str) -> Iterator[Row]:
    """Rows of ``layers.csv.gz``."""
    path = RESULTS / name / "layers.csv.gz"
    if path.exists():
        yield from csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval; NaN where one value says nothing of spread."""
    mean = statistics.fmean(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    half = T95.get(len(values) - 1, 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, half


def points(values: Sequence[float]) -> str:
    """Mean of scores in [0, 1], in AP points, with its interval over seeds."""
    mean, half = interval([100 * value for value in values])
    return (
        "" if math.isnan(mean) else f"{mean:.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(map(str, row)) for row in rows]
    return [f"| {line} |" for line in lines] + [""]


# Parts of the page


def state(grid: Grid) -> list[str]:
    flagged = [arm.slug for arm, row in grid.rows.items() if row["flags"]]
    failed = [arm.slug for arm, row in grid.rows.items() if row["audit"] != "passed"]
    devices = {
        (row["processor"], f"torch {row['torch']}", f"torchvision {row['torchvision']}")
        for row in grid.rows.values()
    }
    lines = [
        f"{len(grid.rows)} of {grid.planned} trials; flagged: {', '.join(flagged) or 'none'}; "
        f"failed audits: {', '.join(failed) or 'none'}.",
        f"Made on: {'; '.join(', '.join(device) for device in sorted(devices))}.",
        "",
    ]
    return lines + settled(grid)


def settled(grid: Grid) -> list[str]:
    """How far apart the last three evaluations lie (selection split): training had converged."""
    by_arm: dict[Arm, dict[int, float]] = {}
    for row in rows_of(grid.name, "evaluations"):
        if row["select_ap"]:
            by_arm.setdefault(Arm.of_row(row), {})[int(row["epoch"])] = float(row["select_ap"])
    spans = [
        100 * float(np.ptp([by_epoch[epoch] for epoch in sorted(by_epoch)[-3:]]))
        for arm, by_epoch in by_arm.items()
        if arm.boxes == "true" and arm in grid.cells
    ]
    if not spans:
        return []
    within = sum(span <= 1 for span in spans)
    return [
        f"Last three evaluations within one AP point: {within} of {len(spans)} cells' trials; "
        f"median span {statistics.median(spans):.2f}, largest {max(spans):.2f} points.",
        "",
    ]


def rates(grid: Grid) -> list[str]:
    """Selection AP by rate: mean over k=0 and k=all at seed 0."""
    rows = []
    for init in grid.starts:
        means: list[str] = []
        for lr in RATES:
            pair = [
                float(row["select_ap"])
                for arm, row in grid.rows.items()
                if arm in (Arm(init, 0, 0, "adamw", lr), Arm(init, DEPTHS[-1], 0, "adamw", lr))
            ]
            means.append(f"{100 * sum(pair) / 2:.1f}" if len(pair) == 2 else "")
        chosen = f"{grid.rates[init]:g}" if grid.rates else ""
        rows.append([init, *means, chosen])
    header = ["start", *(f"{lr:g}" for lr in RATES), "chosen"]
    return ["Learning rate, selection AP (points):", "", *table(header, rows)]


def cells(grid: Grid) -> list[str]:
    """AP by cell, with what cannot be told from the best."""
    found = grid.answer()
    rows = []
    for comparison in found.comparisons:
        cell = comparison.cell
        difference = f"{100 * comparison.difference:+.1f}"
        if not math.isnan(comparison.low):
            difference += f" [{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"
        wheat = list(grid.cell("wheat", cell.init, cell.depth).values())
        ap50 = list(grid.cell("ap50", cell.init, cell.depth).values())
        rows.append(
            [
                cell.init,
                cell.depth,
                len(cell.values),
                len(cell.collapsed),
                f"{100 * cell.mean:.1f}",
                f"{100 * statistics.stdev(cell.values):.1f}" if len(cell.values) > 1 else "",
                f"{100 * statistics.fmean(ap50):.1f}" if ap50 else "",
                f"{100 * statistics.fmean(wheat):.1f}" if wheat else "",
                difference,
                comparison.verdict,
                f"{cell.train_seconds:.0f}",
            ]
        )
    header = ["start", "k", "seeds", "collapsed", "AP", "SD", "AP50", "wheat",
              "AP minus best [95 %]", "verdict", "train s"]  # fmt: skip
    means = [c.cell.mean for c in found.comparisons if c.cell.values]
    lines = table(header, rows)
    if len(means) > 1 and found.noise.freedom:
        between = statistics.stdev(means)
        lines += [
            f"SD between cells {100 * between:.2f} points; SD of one trial around its cell and "
            f"seed {100 * found.noise.sd:.2f} points ({found.noise.freedom} degrees of freedom); "
            f"{len(found.ties)} of {len(means) - 1} other cells cannot be told from the best.",
            "",
        ]
    return lines


def starts(grid: Grid) -> list[str]:
    """Each start at k=0: tuned AdamW, the common rate, SGD; and how much its layers moved."""
    rows = []
    for init in (*grid.starts, "random"):
        tuned = list(grid.cell("ap", init, 0).values())
        common = grid.values(
            "ap", init=init, depth=0, optimizer="adamw", lr=COMMON_RATE, boxes="true"
        )
        sgd = grid.values("ap", init=init, depth=0, optimizer="sgd", lr=SGD_RATE, boxes="true")
        rows.append([init, points(tuned), points(common), points(sgd),
                     movement(grid, init, "true"), movement(grid, init, "shuffled")])  # fmt: skip
    header = ["start, k=0", "AP, chosen rate", f"AP, AdamW {COMMON_RATE:g}",
              f"AP, SGD {SGD_RATE:g}", "mean 1-abs(cos)", "the same, boxes shuffled"]  # fmt: skip
    return table(header, rows)


def movement(grid: Grid, init: str, boxes: str) -> str:
    """Mean over layers and seeds of 1 - |cos| at the end, k=0, chosen rate."""
    if not grid.rates or init not in grid.rates:
        return ""
    values = [
        statistics.fmean(row["cosine"] for row in grid.records[arm].differences)
        for arm in grid.rows
        if (arm.init, arm.depth, arm.optimizer, arm.boxes) == (init, 0, "adamw", boxes)
        and arm.lr == grid.rates[init]
    ]
    return f"{statistics.fmean(values):.2e}" if values else ""


def predictors(grid: Grid) -> list[str]:
    """Rank correlation, over depths, of what one k=0 trial shows with AP of the other seeds.

    Each seed's k=0 trial predicts the order of the depths; it is held against the mean AP of every
    depth over the *other* seeds. One value per start and seed; the interval is over seeds.
    """
    rewound = rewind_curves(grid.name)
    moved = early_movement(grid.name)
    names = ("rewind, early", "rewind, end", "movement, early", "movement, end", "k itself")
    rows = []
    for init in grid.starts:
        found: dict[str, list[float]] = {name: [] for name in names}
        for seed in grid.cell("ap", init, 0):
            truth = [_others(grid.cell("ap", init, depth), seed) for depth in DEPTHS]
            if any(math.isnan(value) for value in truth):
                continue
            arm = Arm(init, 0, seed, "adamw", (grid.rates or {})[init])
            for name, values in _signals(rewound.get(arm), moved.get(arm)).items():
                found[name].append(spearman(values, truth))
        rows.append([init, *(correlation(found[name]) for name in names)])
    return [
        "Spearman correlation over the six depths with AP of the other seeds (mean over seeds ± "
        "95 %); `movement` is minus the sum of 1-abs(cos) over the first k layers:",
        "",
        *table(["start", *names], rows),
    ]


def _signals(
    curves: Mapping[int, Mapping[int, float]] | None, moved: Mapping[int, Sequence[float]] | None
) -> dict[str, list[float]]:
    signals: dict[str, list[float]] = {"k itself": [-float(k) for k in DEPTHS]}
    for source, prefix in ((curves, "rewind"), (moved, "movement")):
        steps = sorted(source) if source else []
        for label, step in zip(("early", "end"), [*steps[-2:]], strict=False):
            assert source is not None
            here: Any = source[step]
            signals[f"{prefix}, {label}"] = (
                [here[k] for k in DEPTHS] if prefix == "rewind"
                else [-math.fsum(here[:k]) for k in DEPTHS]
            )  # fmt: skip
    return signals


def _others(cell: Mapping[int, float], seed: int) -> float:
    values = [value for other, value in cell.items() if other != seed]
    return statistics.fmean(values) if values else math.nan


def rewind_curves(name: str) -> dict[Arm, dict[int, dict[int, float]]]:
    """Arm -> step -> rewound depth -> selection AP."""
    curves: dict[Arm, dict[int, dict[int, float]]] = {}
    for row in rows_of(name, "rewind"):
        by_step = curves.setdefault(Arm.of_row(row), {})
        by_step.setdefault(int(row["step"]), {})[int(row["rewound"])] = float(row["ap"])
    return curves


def early_movement(name: str) -> dict[Arm, dict[int, list[float]]]:
    """Arm -> step -> 1 - |cos| in forward order; k=0 trials, without step 0."""
    found: dict[Arm, dict[int, dict[int, float]]] = {}
    for row in layer_rows(name):
        if row["depth"] == "0" and row["step"] != "0":
            by_step = found.setdefault(Arm.of_row(row), {})
            by_step.setdefault(int(row["step"]), {})[int(row["index"])] = float(row["cosine"])
    return {
        arm: {step: [by[i] for i in sorted(by)] for step, by in by_step.items()}
        for arm, by_step in found.items()
    }


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if one side is constant."""
    x, y = _ranks(a), _ranks(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Sequence[float]) -> Any:
    array = np.asarray(values)
    return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])


def correlation(values: Sequence[float]) -> str:
    good = [value for value in values if not math.isnan(value)]
    mean, half = interval(good)
    if math.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")


def write_figures(grid: Grid) -> None:
    """Figure 2 and Figure 3 of the cells, as SVG."""
    folder = RESULTS / grid.name / "figures"
    folder.mkdir(exist_ok=True)
    records = grid.cell_records()
    reference = [grid.records[arm] for arm in grid.rows if arm.init == "random"]
    depths = [depth_table([*records, *reference], score, "test") for score in ("ap", "ap50")]
    drawings = {"figure3": depths_figure(depths)}
    differences = difference_table(records)
    if differences.lines:
        drawings["figure2"] = differences_figure(differences)
    for name, figure in drawings.items():
        (folder / f"{name}.svg").write_text(svg(figure, text_as_paths=True, salt=name))


def page(name: str) -> list[str]:
    """Everything about one data set, as Markdown."""
    grid = Grid(name)
    lines = [f"## {name}", "", *state(grid), *rates(grid)]
    if grid.cells:
        write_figures(grid)
        lines += [*cells(grid), *starts(grid), *predictors(grid)]
    return lines


def main() -> None:
    """Print the pages of all data sets that have rows, and write them beside the rows."""
    parser = argparse.ArgumentParser(description="Tables and figures of the grid.")
    parser.add_argument("names", nargs="*", metavar="DATA SET")
    names = parser.parse_args().names or [name for name in DATASETS if rows_of(name)]
    if unknown := set(names) - set(DATASETS):
        parser.error(f"expected some of {', '.join(DATASETS)}, got {', '.join(unknown)}")
    lines = ["# The grid in tables", "", "Made by `make grid-table` from the rows beside it.", ""]
    for name in names:
        lines += page(name)
    text = "\n".join(lines).rstrip() + "\n"
    (RESULTS / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
