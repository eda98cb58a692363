"""What the grid's rows show: tables on stdout; tables and figures beside the rows.

    python benchmarks/grid_table.py [DATA SET ...]    # of some data sets: prints, writes nothing

Everything is computed from the committed rows under ``benchmarks/results/grid``; no data set or
weight file is needed. Scores are of the official val/test images; learning rates were chosen on a
split of the training images. Intervals are 95 %: Tukey's, with the noise of all cells, where cells
are compared with the best of several; paired over seeds where two starts or two ways to train are;
Student's over seeds for one mean; a jackknife over seeds for correlations. Collapsed trials are
counted and in no mean.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from frostline.figures import depth_table, depths_figure, difference_table, differences_figure
from frostline.figures import svg_text as svg
from frostline.reporting.answer import CellComparison, StartComparison
from grid_plan import (
    COMMON_RATE,
    DATASETS,
    DEEPEST,
    DEPTHS,
    RATES,
    RESULTS,
    SGD_RATE,
    Arm,
    rate_means,
    rows_of,
)
from grid_rows import Grid
from grid_signals import Evidence, evidence
from grid_statistics import Estimate, differences, interval

# Writing


def plus_minus(estimate: Estimate, form: str = ".1f") -> str:
    """``mean ± half``, without what is NaN."""
    mean, half = estimate
    if math.isnan(mean):
        return ""
    return f"{mean:{form}}" + ("" if math.isnan(half) else f" ± {half:{form.lstrip('+')}}")


def points(values: Sequence[float]) -> str:
    """Mean of scores in [0, 1], in AP points, with its interval over seeds."""
    return plus_minus(interval([100 * value for value in values]))


def contrast(a: Mapping[int, float], b: Mapping[int, float]) -> str:
    """Mean of a - b over common seeds in AP points, its paired interval, and how many seeds."""
    found = [100 * value for value in differences(a, b).values()]
    seeds = f"{len(found)} seed" + "s" * (len(found) != 1)
    return f"{plus_minus(interval(found), '+.1f')} ({seeds})" if found else ""


def compared(comparison: CellComparison | StartComparison) -> str:
    """Difference from the best in AP points, with its interval where noise could be measured."""
    text = f"{100 * comparison.difference:+.1f}"
    if math.isnan(comparison.low):
        return text
    return f"{text} [{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"


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
    diverged = [arm.slug for arm in grid.diverged]
    lines = [
        f"{len(grid.rows)} of {grid.planned} trials; flagged: {', '.join(flagged) or 'none'}; "
        f"failed audits: {', '.join(failed) or 'none'}; diverged, and without a score: "
        f"{', '.join(diverged) or 'none'}.",
        f"Controls on shuffled boxes, which have no task to learn: {len(control)}"
        + (f", highest AP {100 * max(control):.1f}." if control else "."),
        f"Made on: {'; '.join(', '.join(device) for device in sorted(devices))}.",
        "",
    ]
    return lines + settled(grid)


def settled(grid: Grid) -> list[str]:
    """How far apart the last three evaluations lie (selection split): training had settled.

    The learning rate ends at zero, so this does not say that longer training would give no more.
    """
    by_arm: dict[Arm, dict[int, float]] = {}
    for row in rows_of(grid.name, "evaluations"):
        if row["select_ap"]:
            by_arm.setdefault(Arm.of_row(row), {})[int(row["epoch"])] = float(row["select_ap"])
    lasts = [
        [100 * by_epoch[epoch] for epoch in sorted(by_epoch)[-3:]]
        for arm, by_epoch in by_arm.items()
        if arm.boxes == "true" and arm in grid.cells
    ]
    if not lasts:
        return []
    spans = [float(np.ptp(three)) for three in lasts]
    trend = plus_minus(interval([three[-1] - three[0] for three in lasts]), "+.2f")
    return [
        f"Last three evaluations within one AP point: {sum(span <= 1 for span in spans)} of "
        f"{len(spans)} cells' trials; median span {statistics.median(spans):.2f}, largest "
        f"{max(spans):.2f} points. The last of them minus the first: {trend} points on average.",
        "",
    ]


def rates(grid: Grid) -> list[str]:
    """Selection AP by rate: mean over k=0 and k=all at seed 0."""
    rows = []
    for init in grid.starts:
        found = rate_means(init, grid.rows.values(), grid.diverged)
        means = [f"{100 * found[lr]:.1f}" if lr in found else "" for lr in RATES]
        chosen = f"{grid.rates[init]:g}" if grid.rates else ""
        rows.append([init, *means, chosen])
    header = ["start", *(f"{lr:g}" for lr in RATES), "chosen"]
    return ["Learning rate, selection AP (points):", "", *table(header, rows)]


def cells(grid: Grid) -> list[str]:
    """AP by cell, with what cannot be told from the best."""
    found = grid.answer
    rows = []
    for comparison in found.comparisons:
        cell = comparison.cell
        difference = "" if comparison.verdict == "best" else compared(comparison)
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
                points(wheat),
                difference,
                comparison.verdict,
                f"{cell.train_seconds:.0f}",
            ]
        )
    header = ["start", "k", "seeds", "collapsed", "AP", "SD", "AP50",
              "wheat metric", "AP minus best [95 %]", "verdict", "median train s"]  # fmt: skip
    means = [c.cell.mean for c in found.comparisons if c.cell.values]
    lines = table(header, rows)
    if len(means) > 1 and found.noise.freedom:
        between = statistics.stdev(means)
        lines += [
            f"SD between cells {100 * between:.2f} points; SD of one trial around its cell and "
            f"seed {100 * found.noise.sd:.2f} points ({found.noise.freedom} degrees of freedom); "
            f"{len(found.ties)} of {len(means) - 1} other cells cannot be told from the best.",
            "",
            f"SD between the depths of one start: {between_depths(grid)}.",
            "",
        ]
    return lines


def between_depths(grid: Grid) -> str:
    """SD of the cell means of each start."""
    found = []
    for init in grid.starts:
        cells_ = [grid.cell("ap", init, depth).values() for depth in DEPTHS]
        means = [100 * statistics.fmean(values) for values in cells_ if values]
        found += [f"{init} {statistics.stdev(means):.2f} points"] if len(means) > 1 else []
    return "; ".join(found)


def starts(grid: Grid) -> list[str]:
    """Each start at k=0: tuned AdamW, the common rate, SGD; and how much its layers moved."""
    rows = []
    for init in (*grid.starts, "random"):
        scores = [points(list(found.values())) for found in settings(grid, init).values()]
        moved, control = (movement(grid, init, boxes) for boxes in ("true", "shuffled"))
        ratios = ", ".join(f"{control[s] / moved[s]:.2f}" for s in control if s in moved)
        size = f"{statistics.fmean(moved.values()):.2e}" if moved else ""
        rows.append([init, *scores, size, ratios])
    ways = [f"AP, {name}" for name in settings(grid, grid.starts[0])]
    header = ["start, k=0", *ways, "mean 1-abs(cos)", "with shuffled boxes times that, by seed"]
    return table(header, rows)


def settings(grid: Grid, init: str) -> dict[str, dict[int, float]]:
    """AP at k=0 by seed under each way to train."""
    here = {"init": init, "depth": 0, "boxes": "true"}
    common = grid.values("ap", **here, optimizer="adamw", lr=COMMON_RATE)
    sgd = grid.values("ap", **here, optimizer="sgd", lr=SGD_RATE)
    tuned = grid.cell("ap", init, 0) if init in grid.starts else {}
    return {"chosen rate": tuned, f"AdamW {COMMON_RATE:g}": common, f"SGD {SGD_RATE:g}": sgd}


def questions(grid: Grid) -> list[str]:
    """Start, way to train, depth: contrasts with intervals, in AP points."""
    return [
        *start_contrasts(grid),
        *pair_contrasts(grid),
        *way_contrasts(grid),
        *depth_contrasts(grid),
    ]


def start_contrasts(grid: Grid) -> list[str]:
    first, found = grid.starts[0], grid.answer
    ways = settings(grid, first)
    rows = [
        [init, *map(contrast, settings(grid, init).values(), ways.values())]
        for init in grid.starts[1:]
    ]
    lines = ["Starts at k=0 (AP points, paired over common seeds):", ""]
    lines += table([f"k=0, minus {first}", *ways], rows)
    for start in found.starts:
        assert found.best is not None
        lines += [
            f"Over {len(start.plans)} depths at the chosen rates, {start.init} minus "
            f"{found.best.init}: {compared(start)} points.",
            "",
        ]
    return lines


def pair_contrasts(grid: Grid) -> list[str]:
    """Any two starts at the chosen rates: trained whole, frozen whole, and over all depths."""
    rows = []
    for first, other in itertools.combinations(grid.starts, 2):
        ends = [[grid.cell("ap", init, k) for init in (other, first)] for k in (0, DEEPEST)]
        means = [over_depths(grid, init) for init in (other, first)]
        rows.append([f"{other} minus {first}", *(contrast(*pair) for pair in (*ends, means))])
    header = ["AP at the chosen rates, paired", "k=0", f"k={DEEPEST}", "mean over all depths"]
    return table(header, rows)


def over_depths(grid: Grid, init: str) -> dict[int, float]:
    """Mean AP over the depths, of each seed that has them all."""
    curves = [grid.cell("ap", init, depth) for depth in DEPTHS]
    seeds = [seed for seed in curves[0] if all(seed in curve for curve in curves)]
    return {seed: statistics.fmean(curve[seed] for curve in curves) for seed in seeds}


def way_contrasts(grid: Grid) -> list[str]:
    """What the way to train does to one start, and whether it does the same to another."""
    first = grid.starts[0]
    apart = {init: ways_apart(grid, init) for init in grid.starts}
    effects = {init: [differences(*pair) for pair in pairs] for init, pairs in apart.items()}
    rows = []
    for init in grid.starts:
        rows.append([init, *(way_contrast(*pair) for pair in apart[init])])
        if init != first:
            row = map(way_contrast, effects[init], effects[first])
            rows.append([f"{init} minus {first}", *row])
    header = [f"k=0, {way} minus the chosen rate" for way in list(settings(grid, first))[1:]]
    return ["Ways to train at k=0 (AP points, paired):", "", *table(["start", *header], rows)]


def way_contrast(a: Mapping[int, float], b: Mapping[int, float]) -> str:
    """The contrast, unless both are the same trials."""
    return "the same" if a and a == b else contrast(a, b)


def ways_apart(grid: Grid, init: str) -> list[tuple[Mapping[int, float], Mapping[int, float]]]:
    """(AP by seed under another way, at the chosen rate) for each other way."""
    tuned, *others = settings(grid, init).values()
    return [(other, tuned) for other in others]


def depth_contrasts(grid: Grid) -> list[str]:
    found = grid.answer
    rows = []
    for init in grid.starts:
        whole = [
            contrast(grid.cell(score, init, 0), grid.cell(score, init, DEPTHS[-1]))
            for score in ("ap", "wheat")
        ]
        compared = found.within.get(init, ())
        lower = [str(c.cell.depth) for c in compared if c.verdict == "lower"]
        best, deepest = found.best_of(init), found.deepest_tie(init)
        rows.append([init, *whole, best.depth if best else "", deepest.depth if deepest else "",
                     ", ".join(lower) or "none"])  # fmt: skip
    header = ["start", "k=0 minus k=52", "the same, wheat metric", "best k",
              "deepest k not told from it", "k below it"]  # fmt: skip
    text = (
        "Depth within one start (points; the first two columns paired over seeds, the rest by "
        "Tukey's intervals over its own six cells, narrower than those over all cells above):"
    )
    return [text, "", *table(header, rows)]


def movement(grid: Grid, init: str, boxes: str) -> dict[int, float]:
    """Seed to mean over layers of 1 - |cos| at the end; k=0, chosen rate, nothing collapsed."""
    if not grid.rates or init not in grid.rates:
        return {}
    return {
        arm.seed: statistics.fmean(row["cosine"] for row in grid.records[arm].differences)
        for arm in grid.rows
        if (arm.init, arm.depth, arm.optimizer, arm.boxes) == (init, 0, "adamw", boxes)
        and arm.lr == grid.rates[init]
        and (boxes != "true" or not grid.collapsed(arm))
    }


def predictors(grid: Grid) -> list[str]:
    """What one k=0 trial shows, held against AP by depth of the other seeds."""
    found = list(evidence(grid))
    if not found:
        return []
    return [
        "Pearson correlation over the six depths of what one k=0 trial shows with AP of the other "
        "seeds (mean over seeds ± 95 % by a jackknife over seeds); `movement` is minus the sum of "
        "1-abs(cos) over the first k layers, `AP of this seed` the whole sweep of that one seed:",
        "",
        *agreements([(init, by_depth) for init, by_depth, _ in found]),
        "Spearman correlation over the five bands of layers between two depths: mean of the band "
        "in the k=0 trial, with the AP that freezing the band as well costs the other seeds; "
        "`position` is minus the number of the band, that is, early bands cost more:",
        "",
        *agreements([(init, by_band) for init, _, by_band in found]),
    ]


def agreements(found: Sequence[tuple[str, Evidence]]) -> list[str]:
    """Two rows a start: the correlations, and what they are above the baseline's."""
    rows = []
    for init, here in found:
        rows.append([init, *(plus_minus(here.estimate(name), "+.2f") for name in here.names)])
        gains = [
            "" if name == here.baseline else plus_minus(here.against_baseline(name), "+.2f")
            for name in here.names
        ]
        rows.append([f"{init}, minus that of {here.baseline}", *gains])
    return table(["start", *found[0][1].names], rows)


def write_figures(grid: Grid) -> None:
    """Figure 2 and Figure 3 of the cells, as SVG."""
    folder = RESULTS / grid.name / "figures"
    folder.mkdir(exist_ok=True)
    records = grid.cell_records()
    reference = [grid.records[arm] for arm in grid.rows if arm.init == "random"]
    depths = [depth_table([*records, *reference], score, "test") for score in ("ap", "ap50")]
    drawings = {"figure3": depths_figure(depths)}
    moved = difference_table(records)
    if moved.lines:
        drawings["figure2"] = differences_figure(moved)
    for name, figure in drawings.items():
        (folder / f"{name}.svg").write_text(svg(figure, text_as_paths=True, salt=name))


def page(grid: Grid) -> list[str]:
    """Everything about one data set, as Markdown."""
    lines = [f"## {grid.name}", "", *state(grid), *rates(grid)]
    if grid.cells:
        lines += [*cells(grid), *starts(grid), *questions(grid), *predictors(grid)]
    return lines


def text_of(grids: Iterable[Grid]) -> str:
    """The pages of some data sets."""
    lines = ["# The grid in tables", "", "Made by `make grid-table` from the rows beside it.", ""]
    for grid in grids:
        lines += page(grid)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Print the pages; without names those of all data sets that have rows, and write them."""
    parser = argparse.ArgumentParser(description="Tables and figures of the grid.")
    parser.add_argument("names", nargs="*", metavar="DATA SET")
    asked = parser.parse_args().names
    if unknown := set(asked) - set(DATASETS):
        parser.error(f"expected some of {', '.join(DATASETS)}, got {', '.join(unknown)}")
    grids = [Grid(name) for name in asked or DATASETS if rows_of(name)]
    text = text_of(grids)
    print(text)
    if not asked:
        (RESULTS / "tables.md").write_text(text)
        for grid in grids:
            if grid.cells:
                write_figures(grid)


if __name__ == "__main__":
    main()
