"""Even shares or a ladder: every set of some candidates with nothing frozen that has two seeds."""

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping

from frostline.advice.cells import Policy
from frostline.advice.policies import even, ladder
from frostline.advice.replay import replay
from frostline.advice.scoring import regret
from grid_more_plan import More
from grid_plan import RATES, THREE
from grid_table import table
from replay_rows import Rows, Task, seeds_of, task

SIZES = ((3, 2.0), (4, 3.0), (5, 3.0), (6, 4.0), (9, 4.0))  # candidates, budget in 1x
POLICIES: Mapping[str, Policy] = {"even shares": even(), "ladder": ladder()}


def subset_lines(sets: Iterable[Rows]) -> list[str]:
    """Mean regret by number of candidates, policy and data set, over sets of starts and rates."""
    known = list(sets)
    rows = [[str(count), f"{budget:g}x", *_means(known, count, budget)] for count, budget in SIZES]
    return [
        "Every set of so many of a data set's starts, each at one or more of three rates, with "
        "nothing frozen and two seeds: mean regret in AP points, even shares / ladder. The sets of "
        "one data set share their trials: read a column as one observation.",
        "",
        *table(["candidates", "budget", *(rows.name for rows in known)], rows),
    ]


def _means(known: Iterable[Rows], count: int, budget: float) -> Iterator[str]:
    for rows in known:
        tasks = list(_tasks(rows, count))
        lost = [statistics.fmean(_lost(tasks, policy, budget)) for policy in POLICIES.values()
                if tasks]  # fmt: skip
        yield " / ".join(f"{value:.2f}" for value in lost)


def _tasks(rows: Rows, count: int) -> Iterator[Task]:
    arms = [More(init, 0, 0, "adamw", lr) for init in THREE for lr in RATES]
    twice = [arm for arm in arms if seeds_of(rows, arm) > 1]
    for some in itertools.combinations(twice, count):
        found = task(rows, some, f"{rows.name}, {count} of {len(twice)}", rates_open=True)
        if found is not None:
            yield found


def _lost(tasks: Iterable[Task], policy: Policy, budget: float) -> Iterator[float]:
    for one in tasks:
        for seed in one.seeds:
            problem = one.problem(seed)
            pick = replay(policy, problem, one.recorded, budget).pick
            yield 100 * regret(pick, seed, problem.unfrozen, one.scores)
