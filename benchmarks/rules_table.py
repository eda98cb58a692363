"""What the rows of the threshold rules show: tables and figures beside them.

    python benchmarks/rules_table.py      # writes results/unet/tables.md and two figures

Everything is computed from the committed rows under ``benchmarks/results/unet`` and, for the
prefixes of detection sets, ``benchmarks/results/grid``. Scores are of images that chose nothing.
Intervals are 95 %. Cells of one start are compared by Tukey's range, with the spread that is left
after cell and seed in all of them; movement is described by quartiles over layers. A rule whose
plan is that of a depth has that depth's scores, and takes no part in the comparison.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from frostline.figures import LIGHT, svg_text
from frostline.reporting.tukey import tukey_quantile
from grid_plan import DEPTHS, Arm, chosen_rates, csv_rows, rows_of
from grid_statistics import Estimate, interval, student
from grid_table import plus_minus, table

RESULTS = Path(__file__).parent / "results" / "unet"
UNET = "isbi_membrane"
DETECTION = ("bccd", "wheat29_tiles512")
NOTHING = "k00"
AGAIN = "k00, trained again"
SEEDS = (0, 1, 2)
RULES = ("above-floor", "below-floor", "above-median", "below-median")

Row = dict[str, str]
Cell = tuple[str, str]  # start, plan
Scores = dict[Cell, dict[int, float]]  # by seed


def read(name: str, file: str) -> list[Row]:
    """Committed rows; none where there is no file yet."""
    return csv_rows(RESULTS / name / f"{file}.csv")


def equals(name: str) -> dict[str, str]:
    """Rule -> the depth that freezes the same, of the rules for which there is one."""
    return {row["plan"]: row["same_as"] for row in read(name, "rules") if row["same_as"]}


def equal_lines(name: str, score: str) -> Iterator[list[str]]:
    """Rule, layers, t and what it equals, of the rules that are a depth.

    With how many of its seeds were trained all the same, and how many of these have the depth's
    score in every digit, on the same processor.
    """
    trained = read(name, "trials") + read(name, "first_processor")
    for row in read(name, "rules"):
        if depth := row["same_as"]:
            both = [
                (own[score], other[score])
                for own in trained
                for other in trained
                if (own["plan"], other["plan"]) == (row["plan"], depth) and _alike(own, other)
            ]
            same = sum(own == other for own, other in both)
            told = f"is {depth}" + (f" ({same} of {len(both)} trained: equal)" if both else "")
            yield [row["plan"], row["frozen_layers"], _threshold(row), told]


def _alike(row: Row, other: Row) -> bool:
    return all(row[name] == other[name] for name in ("init", "seed", "lr", "processor"))


def contrasts(cells: Mapping[str, Mapping[int, float]], against: str) -> dict[str, Estimate]:
    """Mean difference of each cell from one of them, over the seeds that all have, and half widths.

    The spread is what cell and seed leave over (two-way analysis of variance), the factor Tukey's
    for as many cells as there are.
    """
    seeds = sorted(set.intersection(*(set(cell) for cell in cells.values())))
    names = list(cells)
    values = np.array([[cells[name][seed] for seed in seeds] for name in names])
    means = dict(zip(names, values.mean(1), strict=True))
    half = math.nan
    if len(seeds) > 1 and len(names) > 1:
        left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        freedom = (len(names) - 1) * (len(seeds) - 1)
        spread = math.sqrt(float((left**2).sum()) / freedom)
        half = tukey_quantile(0.95, len(names), freedom) * spread / math.sqrt(len(seeds))
    return {name: (float(means[name] - means[against]), half) for name in names if name != against}


# The U-Net


def rates(rows: Sequence[Row]) -> dict[str, float]:
    """The rate of each start: the best by the selection images, seed 0, nothing frozen."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        if (row["plan"], row["seed"]) == (NOTHING, "0"):
            found.setdefault(row["init"], {})[float(row["lr"])] = float(row["val_miou"])
    return {init: max(scores, key=lambda lr: scores[lr]) for init, scores in found.items()}


def unet(rows: Sequence[Row]) -> Iterator[str]:
    """Rates, and the cells of both starts."""
    yield "## U-Net on the membranes"
    yield ""
    tried = [[row["init"], f"{float(row['lr']):g}", _points(row["val_miou"])]
             for row in rows if (row["plan"], row["seed"]) == (NOTHING, "0")]  # fmt: skip
    yield from table(["start", "rate", "mean IoU, selection images, seed 0"], tried)
    chosen = rates(rows)
    kept = [row for row in rows if float(row["lr"]) == chosen[row["init"]]]
    for init in chosen:
        yield from _cells(init, [row for row in kept if row["init"] == init])
    yield from between_starts(kept)
    yield from processors(rows)


def between_starts(rows: Sequence[Row]) -> Iterator[str]:
    """ImageNet against random at equal depths; the decoder's random values differ, so unpaired."""
    lines = []
    for plan in (NOTHING, "k52"):
        a, b = ([100 * float(row["test_miou"]) for row in rows
                 if (row["init"], row["plan"]) == (init, plan)]
                for init in ("imagenet", "random"))  # fmt: skip
        if len(a) == len(b) == len(SEEDS):
            spread = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(SEEDS))
            gain = statistics.fmean(a) - statistics.fmean(b)
            lines.append([plan, plus_minus((gain, student(2 * len(SEEDS) - 2) * spread), "+.2f")])
    yield from table(["plan", "imagenet minus random, mean IoU"], lines)


def processors(rows: Sequence[Row]) -> Iterator[str]:
    """The same trials on two processors: what a machine changes beside a seed."""
    key = ("init", "plan", "seed", "lr")
    first = read(UNET, "first_processor")
    lines = []
    for row in first:
        other = next(found for found in rows if all(found[name] == row[name] for name in key))
        lines.append([row["plan"], row["seed"], _points(row["test_miou"]),
                      _points(other["test_miou"])])  # fmt: skip
    if first:
        yield (
            f"Nothing frozen was trained on {first[0]['processor']} and again on "
            f"{other['processor']}; the column `processor` of the rows says where the others ran."
        )
        yield ""
        yield from table(["plan", "seed", "mean IoU, the first", "the second"], lines)


def _cells(init: str, rows: Sequence[Row]) -> Iterator[str]:
    every = _by_seed(rows, "test_miou")
    same = equals(UNET) if init == "imagenet" else {}
    cells = {plan: scores for plan, scores in every.items() if plan not in same}
    fewest = min(map(len, cells.values()))
    found = contrasts(cells, NOTHING) if fewest > 1 and NOTHING in cells else {}
    first = {row["plan"]: row for row in rows}
    lines = [
        [init, plan, first[plan]["frozen_layers"], first[plan]["frozen_tensors"],
         f"{int(first[plan]['frozen_parameters']) / 1e6:.2f}", _threshold(first[plan]),
         len(scores), f"{100 * statistics.fmean(scores.values()):.2f}",
         plus_minus((100 * found[plan][0], 100 * found[plan][1]), "+.2f") if plan in found else ""]
        for plan, scores in cells.items()
    ]  # fmt: skip
    if same:
        lines += [[init, plan, frozen, "", "", t, "", told, ""]
                  for plan, frozen, t, told in equal_lines(UNET, "test_miou")]  # fmt: skip
    header = ["start", "plan", "frozen layers", "tensors", "parameters, million", "t", "seeds",
              "mean IoU, scored images", "against nothing frozen"]  # fmt: skip
    yield from table(header, lines)


def _threshold(row: Row) -> str:
    number = f" = {float(row['threshold']):.2g}" if row["threshold"] else ""
    return f"{row['t']}{number}" if row["rule"] else ""


def _points(value: str) -> str:
    return f"{100 * float(value):.2f}"


def _by_seed(rows: Sequence[Row], score: str) -> dict[str, dict[int, float]]:
    cells: dict[str, dict[int, float]] = {}
    for row in rows:
        cells.setdefault(row["plan"], {})[int(row["seed"])] = float(row[score])
    return cells


def mean_difference(row: Row) -> float:
    """Mean over seeds of 1 - |cos| of one layer."""
    return statistics.fmean(float(v) for k, v in row.items() if k.startswith("cosine_s") and v)


def movement(rows: Sequence[Row]) -> Iterator[str]:
    """How far the layers of each section moved with nothing frozen, and which beyond the floor."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["init"], row["section"]), []).append(row)
    lines = []
    for (init, section), found in groups.items():
        values = [mean_difference(row) for row in found]
        low, middle, high = (f"{q:.3g}" for q in np.quantile(values, (0.25, 0.5, 0.75)))
        told = [row["moved"] for row in found if row["moved"]]
        moved = f"{told.count('True')} of {len(told)}" if told else "no common start"
        lines.append([init, section, len(found), low, middle, high, moved])
    header = ["start", "section", "layers", "1-abs(cos), lower quartile", "median",
              "upper quartile", "beyond the floor"]  # fmt: skip
    yield from table(header, lines)
    yield from _against_the_encoder(groups)
    halves = []
    for row in rows:
        below, skip = ([float(row[f"{part}_s{s}"]) for s in SEEDS if row.get(f"{part}_s{s}")]
                       for part in ("below", "skip"))  # fmt: skip
        if below:
            halves.append([row["init"], row["name"], f"{statistics.fmean(below):.3g}",
                           f"{statistics.fmean(skip):.3g}", _ratio(skip, below)])  # fmt: skip
    header = ["start", "decoder layer", "reads from below", "reads the skip", "skip / below [95 %]"]
    yield from table(header, halves)


def _against_the_encoder(groups: Mapping[tuple[str, str], Sequence[Row]]) -> Iterator[str]:
    """Median over layers of each section, over that of the encoder, seed by seed."""
    lines = []
    for (init, section), rows in groups.items():
        if section != "counted":
            own, encoder = (_medians(some) for some in (rows, groups[init, "counted"]))
            lines.append([init, section, _ratio(own, encoder)])
    yield from table(["start", "section", "its median over the encoder's [95 %]"], lines)


def _medians(rows: Sequence[Row]) -> list[float]:
    return [statistics.median(float(row[f"cosine_s{seed}"]) for row in rows) for seed in SEEDS]


def _ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """Geometric mean of ratios by seed, with Student's interval of their logarithms."""
    logs = [math.log(a / b) for a, b in zip(values, others, strict=True)]
    middle, half = interval(logs)
    low, mean, high = (f"{math.exp(middle + side * half):.2f}" for side in (-1, 0, 1))
    return f"{mean} [{low}, {high}]"


# Detection


def detection(name: str) -> Iterator[str]:
    """The rules beside the prefixes of the grid, at the same rate and seeds."""
    rows = read(name, "trials")
    chosen = chosen_rates(name, rows_of(name))
    if not rows or chosen is None:
        return
    seeds = sorted({int(row["seed"]) for row in rows})
    prefixes: dict[str, dict[int, float]] = {}
    select: dict[str, dict[int, float]] = {}
    for row in rows_of(name):
        arm = Arm.of_row(row)
        if arm in [Arm("imagenet", k, s, "adamw", chosen["imagenet"]) for k in DEPTHS
                   for s in seeds]:  # fmt: skip
            prefixes.setdefault(f"k{arm.depth:02d}", {})[arm.seed] = float(row["ap"])
            select.setdefault(f"k{arm.depth:02d}", {})[arm.seed] = float(row["select_ap"])
    again = {int(r["seed"]): float(r["test_ap"]) for r in rows if r["plan"] == NOTHING}
    equal = sum(again[seed] == prefixes[NOTHING].get(seed) for seed in again)
    rules = {AGAIN if k == NOTHING else k: v for k, v in _by_seed(rows, "test_ap").items()}
    cells = {plan: scores for plan, scores in (prefixes | rules).items() if len(scores) > 1}
    best = max(prefixes, key=lambda plan: statistics.fmean(select[plan].values()))
    yield f"## {name}: rules as detection cells"
    yield ""
    yield (
        f"ImageNet at {chosen['imagenet']:g}, seeds {', '.join(map(str, seeds))}; the best prefix "
        f"by the selection images is {best}. Nothing frozen was trained again for the floor, "
        f"with torch {rows[0]['torch']} on {rows[0]['processor']}, as the rules were: {equal} of "
        f"{len(again)} AP are equal in every digit to the grid's, which are of {_made_on(name)}."
    )
    yield ""
    found = contrasts(cells, best) if len(cells) > 1 else {}
    first = {AGAIN if row["plan"] == NOTHING else row["plan"]: row for row in rows}
    lines = [
        [plan, first[plan]["frozen_layers"] if plan in rules else int(plan[1:]),
         _threshold(first[plan]) if plan in rules else "", len(scores),
         f"{100 * statistics.fmean(scores.values()):.2f}",
         plus_minus((100 * found[plan][0], 100 * found[plan][1]), "+.2f") if plan in found else ""]
        for plan, scores in (dict(sorted(prefixes.items())) | rules).items()
    ]  # fmt: skip
    lines += [[plan, frozen, t, "", told, ""]
              for plan, frozen, t, told in equal_lines(name, "test_ap")]  # fmt: skip
    header = ["plan", "frozen layers", "t", "seeds", "AP, scored images", f"against {best}"]
    yield from table(header, lines)


def directions() -> Iterator[str]:
    """Freeze-below minus freeze-above, paired by seed: on each data set, and over the detectors."""
    scores = {UNET: "test_miou", **dict.fromkeys(DETECTION, "test_ap")}
    lines = []
    for t in ("floor", "median"):
        pooled: list[float] = []
        for name, score in scores.items():
            rows = [row for row in read(name, "trials") if row["init"] == "imagenet"]
            cells = _by_seed(rows, score)
            pair = [cells.get(f"{side}-{t}", {}) for side in ("below", "above")]
            both = sorted(pair[0].keys() & pair[1].keys())
            gains = [100 * (pair[0][seed] - pair[1][seed]) for seed in both]
            pooled += gains if name in DETECTION else []
            lines.append([t, name, len(gains), plus_minus(interval(gains), "+.2f")])
        lines.append([t, "both detectors", len(pooled), plus_minus(interval(pooled), "+.2f")])
    yield "## Freeze-below minus freeze-above"
    yield ""
    yield from table(["t", "data set", "pairs", "points"], lines)


def _made_on(name: str) -> str:
    """Torch and processors of the grid's rows."""
    found = {(row["torch"], row["processor"]) for row in rows_of(name)}
    return " and ".join(f"torch {torch} on {processor}" for torch, processor in sorted(found))


# Figures


def movement_figure(rows: Sequence[Row]) -> str:
    """1 - |cos| of every layer, in order, a line for each start; filled where beyond the floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.8, 4.2), dpi=72)
    ax, theme = figure.add_subplot(), LIGHT
    for init, color, marker in zip(dict.fromkeys(r["init"] for r in rows), theme.lines, "os",
                                   strict=False):  # fmt: skip
        found = [row for row in rows if row["init"] == init]
        values = [max(mean_difference(row), 1e-9) for row in found]
        ax.plot(range(len(found)), values, color=color, linewidth=0.8, label=init)
        for n, (row, value) in enumerate(zip(found, values, strict=True)):
            face = color if row["moved"] == "True" else theme.paper
            ax.plot([n], [value], marker, color=color, markerfacecolor=face, markersize=4)
    one = [row for row in rows if row["init"] == rows[0]["init"]]
    for n, row in enumerate(one):
        if n and row["section"] != one[n - 1]["section"]:
            ax.axvline(n - 0.5, color=theme.muted, linewidth=0.8)
            ax.text(n, 0.02, f" {row['section']}", color=theme.muted,
                    transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("layer, from the input; filled: beyond the floor of the seeds", color=theme.ink)
    ax.set_ylabel("1 - |cos|, mean over seeds", color=theme.ink)
    ax.grid(color=theme.grid, linewidth=0.8)
    ax.legend(frameon=False)
    figure.tight_layout()
    return svg_text(figure, text_as_paths=True, salt="movement")


def cells_figure(rows: Sequence[Row]) -> str:
    """Mean IoU of every cell, its seeds as dots."""
    from matplotlib.figure import Figure

    chosen = rates(rows)
    kept = [row for row in rows if float(row["lr"]) == chosen[row["init"]]]
    cells: dict[Cell, list[float]] = {}
    for row in sorted(kept, key=lambda row: list(chosen).index(row["init"])):
        cells.setdefault((row["init"], row["plan"]), []).append(100 * float(row["test_miou"]))
    figure = Figure(figsize=(9.8, 0.35 * len(cells) + 1.2), dpi=72)
    ax, theme = figure.add_subplot(), LIGHT
    colors = dict(zip(chosen, theme.lines, strict=False))
    for n, ((init, _), values) in enumerate(cells.items()):
        ax.plot(values, [n] * len(values), ".", color=colors[init])
        ax.plot([statistics.fmean(values)], [n], "D", color=colors[init])
    ax.set_yticks(range(len(cells)), [f"{init}, {plan}" for init, plan in cells])
    ax.invert_yaxis()
    ax.set_xlabel("mean IoU of the scored images, %; dots are seeds", color=theme.ink)
    ax.grid(color=theme.grid, linewidth=0.8)
    figure.tight_layout()
    return svg_text(figure, text_as_paths=True, salt="cells")


def main() -> None:
    """Write tables and figures."""
    rows, layers = read(UNET, "trials"), read(UNET, "layers")
    lines = ["# Threshold rules: every table", "", "Made by `benchmarks/rules_table.py`.", ""]
    if rows:
        chosen = rates(rows)
        layers = [row for row in layers if float(row["lr"]) == chosen[row["init"]]]
        lines += [*unet(rows)]
        (RESULTS / "cells.svg").write_text(cells_figure(rows))
    if layers:
        lines += ["## How far the layers moved, nothing frozen", "", *movement(layers)]
        (RESULTS / "movement.svg").write_text(movement_figure(layers))
    for name in DETECTION:
        lines += detection(name)
    lines += directions()
    text = "\n".join(lines).rstrip() + "\n"
    (RESULTS / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
