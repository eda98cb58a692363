"""The grid's committed rows as tasks on which policies are replayed."""

import dataclasses
import functools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from frostline.advice.cells import Candidate, Facts, Problem
from frostline.advice.fitting import History
from frostline.advice.replay import Recorded
from frostline.advice.scoring import Scores
from grid_more_plan import MORE, OTHERS, OWN, SHARES, More, pair_of, rate, rows_of_more
from grid_plan import DATASETS, DEEPEST, RESULTS, THREE, Arm, rows_of
from grid_rows import layer_rows

Row = dict[str, str]
Signals = dict[tuple[More, int], tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class Task:
    """One choice that can be replayed.

    Attributes:
        name: data set, and what is open.
        family: data sets of the same images; constants are never fitted on it.
        facts: candidates.
        epochs: of a complete trial.
        seeds: with which every candidate has a complete trial, at least two; others do not count.
        recorded: what a policy can see.
        scores: of complete trials.
        boxes: on the selection images.
    """

    name: str
    family: str
    facts: Mapping[Candidate, Facts]
    epochs: int
    seeds: tuple[int, ...]
    recorded: Recorded
    scores: Scores
    boxes: int

    def problem(self, seed: int) -> Problem:
        return Problem(self.facts, self.epochs, seed, self.boxes)


@dataclass(frozen=True)
class Rows:
    """Everything of one data set: rows of ``grid.py`` and of ``grid_more.py``, as one."""

    name: str
    selection: Mapping[More, float]
    test: Mapping[More, float]
    curves: Mapping[More, tuple[float, ...]]
    seconds: Mapping[More, tuple[str, float]]
    signals: Signals
    boxes: int

    @functools.cached_property
    def prices(self) -> dict[int, float]:
        """Depth -> price in ``1x``: median seconds of complete trials, over those of k=0.

        The network and its freezing do not depend on the start. Where trials were timed in
        processor seconds these count, as other work on the machine does not slow them. Only
        trials of one processor are compared; a depth has the median over the processors.
        """
        timed: dict[str, dict[int, list[float]]] = {}
        for arm, (processor, seconds) in self.seconds.items():
            timed.setdefault(processor, {}).setdefault(arm.depth, []).append(seconds)
        ratios: dict[int, list[float]] = {}
        for by_depth in timed.values():
            medians = {depth: statistics.median(found) for depth, found in by_depth.items()}
            for depth in medians if 0 in medians else ():
                ratios.setdefault(depth, []).append(medians[depth] / medians[0])
        return {depth: statistics.median(found) for depth, found in ratios.items()}


@functools.cache
def read(name: str) -> Rows:
    """Rows of one data set; controls, references and SGD are left out."""
    trials = list(_arms(rows_of(name), rows_of_more(name)))
    curves: dict[More, dict[int, float]] = {}
    for arm, row in _arms(rows_of(name, "evaluations"), rows_of_more(name, "evaluations")):
        curves.setdefault(arm, {})[int(row["epoch"])] = float(row["select_ap"])
    old = {
        arm: ("", float(row["train_seconds"])) for arm, row in _arms(rows_of(name), ()) if arm.plain
    }
    timed = {
        arm: (row["processor"], float(row["step_cpu_seconds"]))
        for arm, row in _arms((), rows_of_more(name, "costs"))
        if arm.plain
    }
    return Rows(
        name,
        selection={arm: float(row["select_ap"]) for arm, row in trials},
        test={arm: float(row["ap"]) for arm, row in trials},
        curves={arm: tuple(curves[arm][e] for e in sorted(curves[arm])) for arm, _ in trials},
        seconds=old or timed,
        signals=_signals(name, dict(trials)),
        boxes=_boxes(name),
    )


def _boxes(name: str) -> int:
    """On the selection images."""
    paths = [folder / name / "facts.json" for folder in (RESULTS, MORE)]
    facts = json.loads(next(path for path in paths if path.exists()).read_bytes())
    found: int = facts["data"]["val"]["boxes"]
    return found


def _arms(old: Iterable[Row], new: Iterable[Row]) -> Iterator[tuple[More, Row]]:
    for row in old:
        arm = More(**dataclasses.asdict(Arm.of_row(row)))
        if arm.optimizer == "adamw" and arm.boxes == "true" and arm.init in THREE:
            yield arm, row
    for row in new:
        yield pair_of(row)[1], row


def _signals(name: str, trials: Mapping[More, Row]) -> Signals:
    """By trial and the epoch at whose end it is known: movement, gradient and rewind curve."""
    found: dict[tuple[More, int], dict[str, float]] = {}

    def place(arm: More, row: Row) -> dict[str, float]:
        trial = trials[arm]
        epoch = math.ceil(int(row["step"]) * int(trial["epochs"]) / int(trial["steps"]))
        return found.setdefault((arm, max(1, epoch)), {})

    layers: dict[tuple[More, int, str], list[float]] = {}
    old, new = layer_rows(name), layer_rows(f"more/{name}")
    for arm, row in _arms(old, new):
        if arm.depth or arm not in trials:
            continue
        step = int(row["step"])
        layers.setdefault((arm, step, "movement"), []).append(float(row["cosine"]))
        if row["norm_of_mean_gradient"]:
            relative = float(row["norm_of_mean_gradient"]) / float(row["weight_norm"])
            layers.setdefault((arm, step, "gradient"), []).append(relative)
    for (arm, step, label), values in layers.items():
        if step or label == "gradient":
            place(arm, {"step": str(step)})[label] = statistics.fmean(values)
    for arm, row in _arms(rows_of(name, "rewind"), rows_of_more(name, "rewind")):
        if arm in trials:
            place(arm, row)[f"rewind k{int(row['rewound']):02d}"] = float(row["ap"])
    return {key: tuple(values.items()) for key, values in found.items()}


def cell_of(arm: More, rates_open: bool) -> Candidate:
    rate_ = f"lr{arm.lr:g}" if rates_open else ""
    share = f"e{arm.share:g}" if arm.share != 1 else ""
    return Candidate(arm.init, f"k{arm.depth:02d}", "-".join(filter(None, (rate_, share))))


def task(rows: Rows, arms: Iterable[More], name: str, rates_open: bool = False) -> Task | None:
    """A choice among cells, all seeds of which ``rows`` may have; None without two seeds."""
    cells = {cell_of(arm, rates_open): arm for arm in arms}
    facts = {
        cell: Facts(arm.depth / DEEPEST, rows.prices[arm.depth], arm.lr, arm.share)
        for cell, arm in cells.items()
    }
    trials = {
        (cell, seed): found
        for cell, arm in cells.items()
        for seed in range(5)
        if (found := dataclasses.replace(arm, seed=seed)) in rows.selection
    }
    complete = [cell for cell, arm in cells.items() if arm.share == 1]
    whole = [s for s in range(5) if all((cell, s) in trials for cell in complete)]
    if len(whole) < 2:
        return None
    trials = {key: arm for key, arm in trials.items() if key[1] in whole}
    return Task(
        name,
        DATASETS[rows.name].folder or rows.name,
        facts,
        epochs=max(map(len, rows.curves.values())),
        seeds=tuple(whole),
        recorded=Recorded(
            {key: rows.curves[arm] for key, arm in trials.items()},
            {
                (cell, seed, epoch): values
                for (arm, epoch), values in rows.signals.items()
                for (cell, seed), other in trials.items()
                if other == arm
            },
        ),
        scores=Scores(
            {key: rows.selection[arm] for key, arm in trials.items() if arm.share == 1},
            {key: rows.test[arm] for key, arm in trials.items() if arm.share == 1},
        ),
        boxes=rows.boxes,
    )


def given(rows: Rows, depths: Iterable[int]) -> Task | None:
    """Starts and depths that have a price, each start at its rate."""
    arms = [
        More(init, depth, 0, "adamw", lr)
        for init in THREE
        if (lr := rate(rows.name, init, rows.selection))
        for depth in depths
    ]
    complete = [arm for arm in arms if seeds_of(rows, arm) > 1 and arm.depth in rows.prices]
    short = [
        found
        for arm in complete
        for share in SHARES
        if (found := dataclasses.replace(arm, share=share)) in rows.selection
    ]
    return task(rows, [*complete, *short], rows.name) if complete else None


def open_rates(rows: Rows, rates: Sequence[float]) -> Task | None:
    """Starts and several rates, nothing frozen; None where no start has all of them twice."""
    arms = [More(init, 0, 0, "adamw", lr) for init in THREE for lr in rates]
    complete = [arm for arm in arms if seeds_of(rows, arm) > 1]
    if not any(sum(a.init == init for a in complete) == len(rates) for init in THREE):
        return None
    return task(rows, complete, f"{rows.name}, {len(rates)} rates", rates_open=True)


def five_starts(rows: Rows) -> Task | None:
    """All starts, also the winners of two other families, nothing frozen, each at its rate."""
    inits = [*THREE, *(OWN + other for other in OTHERS.get(rows.name, ()))]
    arms = [
        More(init, 0, 0, "adamw", lr)
        for init in inits
        if (lr := rate(rows.name, init, rows.selection))
    ]
    complete = [arm for arm in arms if seeds_of(rows, arm) > 1]
    whole = len(complete) == len(THREE) + 2
    return task(rows, complete, f"{rows.name}, five starts") if whole else None


def history(rows: Rows) -> History:
    """Every complete trial of a data set, as what constants are fitted on."""
    arms = [arm for arm in rows.selection if arm.plain]
    cells = {arm: cell_of(arm, rates_open=True) for arm in arms}
    return History(
        {cells[a]: Facts(a.depth / DEEPEST, rows.prices.get(a.depth, 1.0), a.lr) for a in arms},
        {(cells[a], a.seed): rows.curves[a] for a in arms},
        {(cells[a], a.seed): rows.test[a] for a in arms if DATASETS[rows.name].alike},
        rows.boxes,
    )


def seeds_of(rows: Rows, arm: More) -> int:
    """How many seeds of an arm have ended."""
    return sum(dataclasses.replace(arm, seed=seed) in rows.selection for seed in range(5))


def names() -> list[str]:
    """Data sets that have rows."""
    return [name for name in DATASETS if rows_of(name) or (MORE / name / "trials.csv").exists()]
