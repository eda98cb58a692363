"""Every policy replayed on the grid's committed rows: regret, cost, and how true intervals are.

    python benchmarks/replay.py          # tables on stdout; tables and the figure beside the rows

No data set or weight file is needed. Regret is in AP points (docs: mean over held-out seeds of the
cell that selection scores call best, minus that of the pick; test scores); cost in complete
nothing-frozen trainings, the pick's own included. A policy sees the selection scores of one seed.
Whatever is fitted is fitted on the other families. Intervals are 95 %, by a bootstrap over
families.
"""

import argparse
import functools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import frostline.advice
from frostline.advice.cells import Candidate, Policy
from frostline.advice.constants import FILE, to_dict
from frostline.advice.fitting import fit
from frostline.advice.model import Constants, log_odds
from frostline.advice.policies import (
    Which,
    always,
    asha,
    at_depth,
    even,
    everything,
    forerunners,
    halving,
    hyperband,
    ladder,
    near_rates,
    of_known_starts,
    priced,
    probe,
    rewound,
    scored,
    signalled,
)
from frostline.advice.racing import race
from frostline.advice.replay import Played, replay
from frostline.advice.scoring import family_interval, family_mean, reference, regret
from frostline.advice.shipped import LOOK, advised
from grid_more_plan import LIKELY, SHARES, More, rate
from grid_plan import DEPTHS, RATES, RESULTS, THREE
from grid_table import table
from replay_figure import regret_figure
from replay_intervals import interval_lines
from replay_live import live_lines
from replay_rows import Rows, Task, five_starts, given, history, names, open_rates, read
from replay_starts import Measured, measured
from replay_subsets import subset_lines

FOLDER = RESULTS / "advice"
CONSTANTS = Path(frostline.advice.__file__).parent / FILE
GRID = "exhaustive grid, one seed"
ALL_STARTS = "every start at k=0 to the end"
SHIPPED = "even shares, and the price of depth, 2x"


@dataclass(frozen=True)
class Context:
    """A task, what the other families say, and what is known of its starts before training."""

    task: Task
    constants: Constants
    means: Mapping[str, float]
    measured: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def starts(self) -> set[str]:
        return {cell.init for cell in self.task.facts}


@dataclass(frozen=True)
class Entry:
    """A row of the table: a policy for tasks that have a candidate, and its budget in ``1x``."""

    name: str
    make: Callable[[Context], Policy]
    budget: float = math.inf
    needs: Candidate | None = None
    known_starts: bool = False  # works only for starts that ran on other data sets
    signal: str | None = None  # of ``starts.csv``, without which it cannot play; its cost is paid

    def plays(self, context: Context) -> bool:
        """Whether the task has what the policy needs."""
        if self.needs is not None and self.needs not in context.task.facts:
            return False
        known = context.measured.get(self.signal) if self.signal is not None else None
        return self.signal is None or (known is not None and known.covers(context.starts))

    def fee(self, context: Context) -> float:
        """What measuring the task's starts cost, in ``1x``."""
        return 0.0 if self.signal is None else context.measured[self.signal].cost(context.starts)


@dataclass(frozen=True)
class Result:
    """One policy on one task and seed; regret in AP points."""

    context: Context
    seed: int
    regret: float
    spent: float
    outcome: Played


def fixed(policy: Policy) -> Callable[[Context], Policy]:
    return lambda context: policy


def entries() -> list[Entry]:
    """Rates given: every policy of the table, cheapest idea first."""
    return [
        *(Entry(f"always {init}, k=0", fixed(always(cell)), needs=cell)
          for init in THREE for cell in [Candidate(init, "k00")]),
        Entry(GRID, fixed(probe(1, everything))),
        Entry(ALL_STARTS, fixed(probe(1))),
        *(Entry(f"every start at k=0 to {s:.0%}", fixed(probe(s))) for s in (0.34, 0.1)),
        *(Entry(f"every start at {label}, to the end", fixed(probe(1, at_depth(depth))),
                needs=Candidate("imagenet", depth))
          for label, depth in (("k=9", "k09"), ("all frozen", "k52"))),
        *(Entry(f"halving all cells, from {share:.0%} by {eta}", fixed(halving(share, eta)))
          for share in (0.05, 0.1) for eta in (2, 3)),
        Entry("Hyperband over all cells", fixed(hyperband())),
        *(Entry(f"ASHA over all cells, {b}x", fixed(asha(0.1)), b) for b in (2, 4)),
        Entry("founding rule: smallest l_i, full runs", fixed(signalled("movement", 1, -1))),
        Entry("founding rule: smallest l_i, at 10%", fixed(signalled("movement", 0.1, -1))),
        Entry("largest l_i, at 10%", fixed(signalled("movement", 0.1, 1))),
        Entry("smallest gradient at step 0", fixed(signalled("gradient", 0.01, -1))),
        *(Entry(name, scored_by(signal, sign), signal=signal) for name, signal, sign in SCORES),
        Entry("rewind curve at 10%, depth within 1 point", fixed(rewound(0.1, 0.01))),
        Entry("rewind curve at the end, within 1 point", fixed(rewound(1, 0.01))),
        Entry("two starts recalled from other sets, to 50%",
              lambda c: of_known_starts(c.means, 2, 0.5),
              known_starts=True),
        Entry("one start recalled from other sets", lambda c: of_known_starts(c.means, 1, 0.01),
              known_starts=True),
        *(Entry(f"short schedules of {s:.0%}, then the best anew", fixed(forerunners(s)),
                needs=Candidate("imagenet", "k00", f"e{s:g}")) for s in SHARES),
        Entry("race by the model, to 34%", lambda c: race(c.constants, (0.1, 0.2, 0.34), 0.1)),
        Entry("race by the model, to 70%", lambda c: race(c.constants, (0.2, 0.34, 0.5, 0.7), 0.1)),
        *(Entry(f"{name}, {b:g}x", fixed(make()), b)
          for name, make in BUDGETED.items() for b in (1.25, 1.5, 2, 2.5, 3)),
        Entry(SHIPPED, lambda c: advised(c.constants), 2),
        Entry("ladder, and the price of depth, 2x", fixed(priced(ladder(), LOOK)), 2),
    ]  # fmt: skip


BUDGETED = {"even shares": even, "ladder": ladder}
SCORES = (  # policy, signal of ``starts.csv``, whether the largest or the smallest
    ("highest LogME of the objects", "logme", 1),
    ("highest TLogME of the objects", "tlogme", 1),
    ("highest signal to noise (Spectrum)", "spectrum", 1),
    ("lowest signal to noise (Spectrum)", "spectrum", -1),
)
RANGE_TESTS = {"range_steepest": "steepest", "range_tenth": "a tenth of the lowest"}


def scored_by(signal: str, sign: int) -> Callable[[Context], Policy]:
    return lambda context: scored(context.measured[signal].values, sign)


def ranged(make: Callable[[Which], Policy], signal: str) -> Callable[[Context], Policy]:
    """Starts at the rates that their range tests suggest."""
    return lambda context: make(near_rates(context.measured[signal].values))


def at_rate(make: Callable[[Which], Policy], lr: float) -> Callable[[Context], Policy]:
    """Starts at one rate that nobody measured."""
    return lambda context: make(near_rates(dict.fromkeys(context.starts, lr)))


def open_entries() -> list[Entry]:
    """Rates open, nothing frozen: start and rate are chosen together."""
    return [
        *searches("every start and rate", (2, 3, 4)),
        *(Entry(f"range test, {rule}: {name}, {b}x", ranged(make, signal), b, signal=signal)
          for signal, rule in RANGE_TESTS.items()
          for name, make in BUDGETED.items() for b in (2, 3)),
        *(Entry(f"{lr:g} for all: {name}, {b}x", at_rate(make, lr), b)
          for lr in LIKELY for name, make in BUDGETED.items() for b in (2, 3)),
    ]  # fmt: skip


def searches(what: str, budgets: Iterable[float]) -> list[Entry]:
    """Policies for many candidates with nothing frozen."""
    return [
        Entry(GRID, fixed(probe(1))),
        *(Entry(f"{what} to {s:.0%}", fixed(probe(s))) for s in (0.34, 0.1)),
        Entry("halving, from 10% by 2", fixed(halving(0.1, 2))),
        Entry("race by the model, to 70%", lambda c: race(c.constants, (0.2, 0.34, 0.5, 0.7), 0.1)),
        *(Entry(f"{name}, {b:g}x", fixed(make()), b)
          for name, make in BUDGETED.items() for b in budgets),
    ]  # fmt: skip


# Playing


def contexts(tasks: Sequence[Task], sets: Mapping[str, Rows]) -> list[Context]:
    """Each task with constants and means of the other families; needs two families."""
    family = {task.name: task.family for task in tasks}
    found = []
    for task in tasks:
        others = [name for name, kin in family.items() if kin != task.family]
        bases = [_base(name) for name in others]
        histories = [history(sets[name]) for name in bases]
        kin = [family[name] for name in others]
        means = recalled([sets[base] for base in bases])
        found.append(Context(task, fit(histories, kin), means, measured(_base(task.name))))
    return found


def _base(name: str) -> str:
    """Data set of a task."""
    return name.partition(",")[0]


def recalled(others: Iterable[Rows]) -> dict[str, float]:
    """Start -> mean log odds at k=0, seed 0 and its rate, minus that of all starts of the set."""
    found: dict[str, list[float]] = {}
    for rows in others:
        rates = {init: rate(rows.name, init, rows.selection) for init in THREE}
        values = {
            init: log_odds(rows.selection[More(init, 0, 0, "adamw", lr)])
            for init, lr in rates.items()
            if lr
        }
        for init, value in values.items():
            found.setdefault(init, []).append(value - statistics.fmean(values.values()))
    return {init: statistics.fmean(values) for init, values in found.items()}


def play(entry: Entry, context: Context) -> list[Result]:
    """A policy on every seed of a task; none where the task lacks what it needs."""
    task, found = context.task, []
    if not entry.plays(context):
        return []
    fee = entry.fee(context)
    for seed in task.seeds:
        policy, problem = entry.make(context), task.problem(seed)
        if entry.needs is not None and (entry.needs, seed) not in task.recorded.curves:
            continue
        outcome = replay(policy, problem, task.recorded, entry.budget - fee)
        lost = 100 * regret(outcome.pick, seed, everything(problem), task.scores)
        found.append(Result(context, seed, lost, outcome.spent + fee, outcome))
    return found


def play_all(entries_: Iterable[Entry], known: Sequence[Context]) -> dict[str, list[Result]]:
    """Results of each policy that can play on any task."""
    found = {entry.name: [r for c in known for r in play(entry, c)] for entry in entries_}
    return {name: results for name, results in found.items() if results}


def by_family(
    results: Iterable[Result], value: Callable[[Result], float]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for result in results:
        if not math.isnan(value(result)):
            found.setdefault(result.context.task.family, []).append(value(result))
    return found


def _mean(results: Iterable[Result], value: Callable[[Result], float]) -> float:
    return family_mean(by_family(results, value))


# Tables


def estimate(values: Mapping[str, Sequence[float]], form: str = ".2f") -> str:
    low, high = family_interval(values)
    return f"{family_mean(values):{form}} [{low:{form}}, {high:{form}}]"


def policy_lines(
    played: Mapping[str, Sequence[Result]], tasks: Sequence[Task], baseline: str
) -> list[str]:
    """A row a policy: cost, regret by task (worst seed), over families, and minus the grid's."""
    base = {(r.context.task.name, r.seed): r.regret for r in played[baseline]}
    rows = []
    for name, results in played.items():
        lost = by_family(results, lambda r: r.regret)
        paired = by_family(results, lambda r: r.regret - base[r.context.task.name, r.seed])
        cells = [_cell([r.regret for r in results if r.context.task is task]) for task in tasks]
        cost = _mean(results, lambda r: r.spent)
        every = {task.family for task in tasks} == set(lost)
        rows.append([name, f"{cost:.1f}x", *cells, estimate(lost) if every else "",
                     estimate(paired, "+.2f") if every and name != baseline else ""])  # fmt: skip
    random = [_cell(_random(task), worst=False) for task in tasks]
    lost = {task.family: _random(task) for task in tasks}
    rows.insert(0, ["a random cell", "", *random, estimate(lost), ""])
    header = ["policy", "cost", *(task.name for task in tasks), "mean [95 %]", "minus the grid's"]
    return table(header, rows)


def _random(task: Task) -> list[float]:
    return [
        100 * regret(cell, seed, task.facts, task.scores)
        for cell in everything(task.problem(0))
        for seed in task.seeds
    ]


def _cell(values: Sequence[float], *, worst: bool = True) -> str:
    found = [value for value in values if not math.isnan(value)]
    if not found:
        return ""
    return f"{statistics.fmean(found):.2f}" + (f" ({max(found):.1f})" if worst else "")


def remarks(tasks: Sequence[Task]) -> list[str]:
    """Tasks to read with care: close starts; selection images that point elsewhere than test."""
    close, astray = [], []
    for task in tasks:
        whole = task.problem(0).unfrozen
        means = {c: statistics.fmean(task.scores.test[c, s] for s in task.seeds) for c in whole}
        order = sorted(whole, key=means.__getitem__)
        if not _apart(task, order[-1], order[0]):
            close.append(task.name)
        if _apart(task, order[-1], reference(whole, -1, task.scores)):
            astray.append(task.name)
    return [
        "Starts that cannot be told apart (twice the standard error): "
        f"{', '.join(close) or 'none'}. Tasks whose selection images name another start than the "
        f"test images do, where regret may be negative: {', '.join(astray) or 'none'}.",
        "",
    ]


def _apart(task: Task, high: Candidate, low: Candidate) -> bool:
    """Whether test scores over seeds differ by more than twice the paired standard error."""
    paired = [task.scores.test[high, s] - task.scores.test[low, s] for s in task.seeds]
    error = statistics.stdev(paired) / math.sqrt(len(paired)) if len(paired) > 1 else math.inf
    return statistics.fmean(paired) > 2 * error


def simplest(played: Mapping[str, Sequence[Result]]) -> list[str]:
    """Policies that never cost more than 2x, and take any start, within 0.1 point of the best."""
    special = {entry.name for entry in entries() if entry.known_starts}
    means = {
        name: _mean(results, lambda r: r.regret)
        for name, results in played.items()
        if max(r.spent for r in results) <= 2 + 1e-6 and _everywhere(results, played)
    }
    open_to_all = {name: mean for name, mean in means.items() if name not in special}
    best = min(open_to_all, key=open_to_all.__getitem__)
    near = [name for name, mean in open_to_all.items() if mean <= open_to_all[best] + 0.1]
    recalled_ = [f"{means[name]:.2f}, {name}" for name in means if name in special]
    return [
        f"Of the policies that take any start and never cost more than 2x, {best} has the lowest "
        f"regret, {open_to_all[best]:.2f}; within 0.1 point of it: {', '.join(near)}. With starts "
        f"that are known from other sets: {'; '.join(recalled_) or 'none'}.",
        "",
    ]


def above_grid(played: Mapping[str, Sequence[Result]], tasks: Iterable[Task]) -> list[str]:
    """Tasks on which a policy with a budget of 2x lies above the grid by more than its error."""
    found = []
    for name in (*(f"{policy}, 2x" for policy in BUDGETED), SHIPPED):
        for task in tasks:
            own, grid = (
                [r.regret for r in played[key] if r.context.task is task] for key in (name, GRID)
            )
            error = statistics.stdev(grid) / math.sqrt(len(grid)) if len(grid) > 1 else 0.0
            if statistics.fmean(own) > statistics.fmean(grid) + error:
                found.append(f"{name} on {task.name}")
    return ["Above the exhaustive grid by more than the standard error of its regret, at 2x: "
            f"{'; '.join(found) or 'none'}.", ""]  # fmt: skip


def beside_all_starts(played: Mapping[str, Sequence[Result]]) -> list[str]:
    """What is shipped against training every start to its end, seed by seed."""
    whole = {(r.context.task.name, r.seed): r.regret for r in played[ALL_STARTS]}
    paired = by_family(played[SHIPPED], lambda r: r.regret - whole[r.context.task.name, r.seed])
    return [f"Regret of {SHIPPED}, minus that of {ALL_STARTS}: {estimate(paired, '+.2f')}.", ""]


def _everywhere(results: Sequence[Result], played: Mapping[str, Sequence[Result]]) -> bool:
    tasks = {r.context.task.name for r in played[GRID]}
    return {r.context.task.name for r in results} == tasks


@functools.cache
def text() -> tuple[str, list[tuple[str, float, float]]]:
    """The page, and (policy, cost, regret) of what the figure shows."""
    sets = {name: read(name) for name in names()}
    tasks = [task for rows in sets.values() if (task := given(rows, DEPTHS))]
    wide = {
        "Two rates": [open_rates(rows, LIKELY) for rows in sets.values()],
        "Three rates": [open_rates(rows, RATES) for rows in sets.values()],
        "Five starts": [five_starts(rows) for rows in sets.values()],
    }
    known = contexts(tasks, sets)
    played = play_all(entries(), known)
    lines = ["# Policies, replayed", "", "Made by `make replay` from the rows beside it.", "",
             "Regret in AP points, mean over seeds (worst seed); cost in complete trainings.", "",
             "## Rates given", "", *policy_lines(played, tasks, GRID)]  # fmt: skip
    lines += [*simplest(played), *above_grid(played, tasks), *beside_all_starts(played)]
    lines += remarks(tasks)
    for title, found in wide.items():
        lines += wide_lines(title, [task for task in found if task], sets)
    lines += ["## Even shares or a ladder", "", *subset_lines(sets.values())]
    lines += ["## Intervals", "", *interval_lines(known)]
    if live := live_lines(FOLDER):
        lines += ["## Live", "", *live]
    whole = {name: results for name, results in played.items() if _everywhere(results, played)}
    points = [(name, _mean(r, lambda x: x.spent), _mean(r, lambda x: x.regret))
              for name, r in whole.items()]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n", points


def wide_lines(title: str, tasks: Sequence[Task], sets: Mapping[str, Rows]) -> list[str]:
    """A table of more candidates with nothing frozen, where two families have them."""
    if len({task.family for task in tasks}) < 2:
        return []
    many = searches("every start", (2, 3)) if title == "Five starts" else open_entries()
    played = play_all(many, contexts(tasks, sets))
    return [f"## {title}", "", *policy_lines(played, tasks, GRID)]


def shipped_constants(without: str = "") -> dict[str, Any]:
    """What the package comes with: constants of every family but one, and where they are from."""
    sets = {name: read(name) for name in names()}
    tasks = [task for rows in sets.values() if (task := given(rows, DEPTHS))]
    kept = [task for task in tasks if task.family != without]
    found = fit([history(sets[task.name]) for task in kept], [task.family for task in kept])
    return {
        "made_by": "make replay",
        "families": sorted({task.family for task in kept}),
        "trials": {task.name: len(sets[task.name].selection) for task in kept},
        "constants": to_dict(found),
    }


def main() -> None:
    """Print the page, and write it, the figure and the package's constants."""
    parser = argparse.ArgumentParser(description="Policies, replayed on the committed rows.")
    parser.add_argument("--constants-without", metavar="FAMILY",
                        help="only print the constants of the other families")  # fmt: skip
    if without := parser.parse_args().constants_without:
        print(json.dumps(shipped_constants(without), indent=1))
        return
    page, points = text()
    print(page)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "tables.md").write_text(page)
    (FOLDER / "regret.svg").write_text(regret_figure(points, list(BUDGETED)))
    CONSTANTS.write_text(json.dumps(shipped_constants(), indent=1) + "\n")


if __name__ == "__main__":
    main()
