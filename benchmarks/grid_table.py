"""What the grid's rows show: tables on stdout, tables and figures beside the rows.

    python benchmarks/grid_table.py [DATA SET ...]

Everything is computed from the committed rows under ``benchmarks/results/grid``; no data set or
weight file is needed. Scores are of the official val/test images; learning rates were chosen on a
split of the training images. Intervals are 95 %: Tukey's over all cells of a data set where cells
are compared with the best, Student's t elsewhere. Collapsed trials are counted and in no mean.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from frostline.figures import depth_table, depths_figure, difference_table, differences_figure
from frostline.figures import svg_text as svg
from frostline.reporting.answer import Noise
from frostline.reporting.tukey import tukey_quantile
from grid_plan import (
    COMMON_RATE,
    DATASETS,
    DEPTHS,
    RATES,
    RESULTS,
    SGD_RATE,
    Arm,
    rate_means,
    rows_of,
)
from grid_rows import Grid, layer_curves, rewind_curves

BANDS = tuple(itertools.pairwise(DEPTHS))  # the layers between two depths


# Statistics


def student(freedom: int) -> float:
    """Two-sided 95 % point of Student's t: Tukey's range of two means is sqrt(2) times it."""
    return tukey_quantile(0.95, 2, freedom) / math.sqrt(2)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval; NaN where one value says nothing of spread."""
    mean = statistics.fmean(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    return mean, student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def contrast(
    a: Mapping[int, float], b: Mapping[int, float], noise: Noise
) -> tuple[float, float, int]:
    """Mean of a - b over common seeds, half its interval by the noise of all cells, seeds."""
    seeds = a.keys() & b.keys()
    if not seeds:
        return math.nan, math.nan, 0
    mean = statistics.fmean(a[seed] - b[seed] for seed in seeds)
    if not noise.freedom:
        return mean, math.nan, len(seeds)
    half = student(noise.freedom) * noise.sd * math.sqrt(2 / len(seeds))
    return mean, half, len(seeds)


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation; NaN if one side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN if one side is constant."""
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    array = np.asarray(values)
    return [float((array < v).sum() + ((array == v).sum() - 1) / 2) for v in array]


# Writing


def plus_minus(mean: float, half: float, form: str = ".1f") -> str:
    """``mean ± half``, without what is NaN."""
    if math.isnan(mean):
        return ""
    return f"{mean:{form}}" + ("" if math.isnan(half) else f" ± {half:{form.lstrip('+')}}")


def points(values: Sequence[float]) -> str:
    """Mean of scores in [0, 1], in AP points, with its interval over seeds."""
    return plus_minus(*interval([100 * value for value in values]))


def correlation(values: Sequence[float]) -> str:
    """Mean of correlations with its interval over seeds."""
    return plus_minus(*interval([v for v in values if not math.isnan(v)]), "+.2f")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(map(str, row)) for row in rows]
    return [f"| {line} |" for line in lines] + [""]


# Parts of the page


def state(grid: Grid) -> list[str]:
    flagged = [arm.slug for arm, row in grid.rows.items() if row["flags"] and arm.boxes == "true"]
    control = [float(row["ap"]) for arm, row in grid.rows.items() if arm.boxes != "true"]
    failed = [arm.slug for arm, row in grid.rows.items() if row["audit"] != "passed"]
    devices = {
        (row["processor"], f"torch {row['torch']}", f"torchvision {row['torchvision']}")
        for row in grid.rows.values()
    }
    lines = [
        f"{len(grid.rows)} of {grid.planned} trials; flagged: {', '.join(flagged) or 'none'}; "
        f"failed audits: {', '.join(failed) or 'none'}.",
        f"Controls on shuffled boxes, which have no task to learn: {len(control)}, "
        f"highest AP {100 * max(control, default=math.nan):.1f}.",
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
        found = rate_means(init, grid.rows.values())
        means = [f"{100 * found[lr]:.1f}" if lr in found else "" for lr in RATES]
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
        if comparison.verdict == "best":
            difference = ""
        elif not math.isnan(comparison.low):
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
        scores = [points(list(found.values())) for found in settings(grid, init).values()]
        moved = [movement(grid, init, boxes) for boxes in ("true", "shuffled")]
        rows.append([init, *scores, *moved])
    header = ["start, k=0", *settings(grid, grid.starts[0]), "mean 1-abs(cos)",
              "the same, boxes shuffled"]  # fmt: skip
    return table([header[0], *(f"AP, {name}" for name in header[1:4]), *header[4:]], rows)


def settings(grid: Grid, init: str) -> dict[str, dict[int, float]]:
    """AP at k=0 by seed under each way to train."""
    here = {"init": init, "depth": 0, "boxes": "true"}
    common = grid.values("ap", **here, optimizer="adamw", lr=COMMON_RATE)
    sgd = grid.values("ap", **here, optimizer="sgd", lr=SGD_RATE)
    tuned = grid.cell("ap", init, 0) if init in grid.starts else {}
    return {"chosen rate": tuned, f"AdamW {COMMON_RATE:g}": common, f"SGD {SGD_RATE:g}": sgd}


def questions(grid: Grid) -> list[str]:
    """Start, optimiser, depth: contrasts with intervals, in AP points."""
    found = grid.answer()
    noise, first = found.noise, grid.starts[0]
    lines = []
    rows = []
    for init in grid.starts[1:]:
        own, other = settings(grid, init), settings(grid, first)
        rows.append([init, *(_contrast(own[name], other[name], noise) for name in own)])
    header = [f"k=0, minus {first}", *settings(grid, first)]
    lines += ["Starts at k=0 (AP points, common seeds, noise of all cells):", ""]
    lines += table(header, rows)
    for start in found.starts:
        assert found.best is not None
        low, high = 100 * start.low, 100 * start.high
        lines += [
            f"Over {len(start.depths)} depths at the chosen rates, {start.init} minus "
            f"{found.best.init}: {100 * start.difference:+.1f} [{low:+.1f}, {high:+.1f}] points.",
            "",
        ]
    rows = []
    for init in grid.starts:
        whole = _contrast(grid.cell("ap", init, 0), grid.cell("ap", init, DEPTHS[-1]), noise)
        compared = found.within.get(init, ())
        lower = [str(c.cell.depth) for c in compared if c.verdict == "lower"]
        best, deepest = found.best_of(init), found.deepest_tie(init)
        rows.append([init, whole, best.depth if best else "", deepest.depth if deepest else "",
                     ", ".join(lower) or "none"])  # fmt: skip
    header = ["start", "k=0 minus k=52", "best k", "deepest k not told from it", "k below it"]
    return [*lines, "Depth (AP points):", "", *table(header, rows)]


def _contrast(a: Mapping[int, float], b: Mapping[int, float], noise: Noise) -> str:
    mean, half, seeds = contrast(a, b, noise)
    count = f"{seeds} seed" + "s" * (seeds != 1)
    return f"{plus_minus(100 * mean, 100 * half, '+.1f')} ({count})" if seeds else ""


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
    """What one k=0 trial shows, held against AP by depth of the *other* seeds.

    One value per start and seed. The other seeds of two trials overlap, so an interval over seeds
    is somewhat too narrow. ``AP of this seed`` is the whole sweep of one seed: no signal of a k=0
    trial can be expected to do better.
    """
    rewound, (moved, gradient) = rewind_curves(grid.name), layer_curves(grid.name)
    by_depth: list[list[object]] = []
    by_band: list[list[object]] = []
    names: tuple[list[str], list[str]] = ([], [])
    for init in grid.starts:
        levels: dict[str, list[float]] = {}
        bands: dict[str, list[float]] = {}
        for seed in grid.cell("ap", init, 0):
            truth = [_others(grid.cell("ap", init, depth), seed) for depth in DEPTHS]
            arm = grid.chosen(init, 0, seed)
            if any(math.isnan(value) for value in truth) or arm not in moved:
                continue
            own = [grid.cell("ap", init, depth).get(seed, math.nan) for depth in DEPTHS]
            shown = depth_signals(rewound[arm], moved[arm]) | {"AP of this seed": own}
            for name, values in shown.items():
                levels.setdefault(name, []).append(pearson(values, truth))
            drops = [a - b for a, b in itertools.pairwise(truth)]
            for name, values in band_signals(moved[arm], gradient[arm]).items():
                bands.setdefault(name, []).append(spearman(values, drops))
        if levels:
            names = list(levels), list(bands)
            by_depth.append([init, *map(correlation, levels.values())])
            by_band.append([init, *map(correlation, bands.values())])
    if not by_depth:
        return []
    return [
        "Pearson correlation over the six depths of what one k=0 trial shows with AP of the other "
        "seeds (mean over seeds ± 95 %); `movement` is minus the sum of 1-abs(cos) over the first "
        "k layers:",
        "",
        *table(["start", *names[0]], by_depth),
        "Spearman correlation over the five bands of layers between two depths: mean of the band "
        "in the k=0 trial, with the AP that freezing the band as well costs the other seeds:",
        "",
        *table(["start", *names[1]], by_band),
    ]


def depth_signals(
    rewound: Mapping[int, Mapping[int, float]], moved: Mapping[int, Mapping[int, float]]
) -> dict[str, list[float]]:
    """One number a depth, that is expected to rise with AP."""
    signals = {}
    for label, step in zip(("early", "end"), sorted(rewound), strict=True):
        signals[f"rewind, {label}"] = [rewound[step][k] for k in DEPTHS]
    for label, step in zip(("early", "end"), sorted(moved)[-2:], strict=True):
        signals[f"movement, {label}"] = [
            -math.fsum(v for layer, v in moved[step].items() if layer <= k) for k in DEPTHS
        ]
    return signals | {"k itself": [-float(k) for k in DEPTHS]}


def band_signals(
    moved: Mapping[int, Mapping[int, float]], gradient: Mapping[int, Mapping[int, float]]
) -> dict[str, list[float]]:
    """One number for the layers between two depths, expected to rise with what freezing costs."""
    early, end = sorted(moved)[-2:]
    sources = {
        "movement, early": moved[early],
        "movement, end": moved[end],
        "relative gradient, step 0": gradient[0],
        "relative gradient, early": gradient[early],
    }
    return {
        name: [statistics.fmean(layers[i] for i in range(a + 1, b + 1)) for a, b in BANDS]
        for name, layers in sources.items()
    }


def _others(cell: Mapping[int, float], seed: int) -> float:
    values = [value for other, value in cell.items() if other != seed]
    return statistics.fmean(values) if values else math.nan


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
        lines += [*cells(grid), *starts(grid), *questions(grid), *predictors(grid)]
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
