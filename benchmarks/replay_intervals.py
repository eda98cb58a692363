"""How true the model's intervals are: the pick's score, and the price list of its start."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.advice.cells import Candidate
from frostline.advice.model import Posterior, condition
from frostline.advice.policies import even, ladder, priced
from frostline.advice.replay import replay
from grid_plan import DATASETS
from grid_table import table

if TYPE_CHECKING:
    from replay import Context

BUDGET = 2.0
POLICIES = {
    "even shares": even(),
    "ladder": ladder(),
    "even shares, and the price of depth": priced(even(), 0.34),
    "ladder, and the price of depth": priced(ladder(), 0.34),
}


@dataclass(frozen=True)
class Interval:
    """A 95 % interval and what it was for, in AP points."""

    low: float
    high: float
    truth: float

    @property
    def covers(self) -> bool:
        return self.low <= self.truth <= self.high

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def score(self) -> float:
        """Interval score (Gneiting and Raftery, 2007, equation 43): lower is better."""
        outside = max(self.low - self.truth, self.truth - self.high, 0.0)
        return self.high - self.low + 2 / 0.05 * outside


def interval_lines(contexts: "Sequence[Context]") -> list[str]:
    """Coverage, half width and interval score: of the pick, its price list, the other starts."""
    rows = []
    for name, policy in POLICIES.items():
        found = [one for context in contexts for one in _of(context, policy)]
        picks = [one.pick for one in found if one.alike]
        prices = [i for one in found for i in one.prices]
        others = [i for one in found for i in one.others]
        rows.append([name, *_summary(picks), *_summary(prices), *_summary(others)])
    prior = [i for context in contexts for i in depth_only(context, contexts)]
    rows.append(
        ["depth only: losses of the other families", "", "", "", *_summary(prior), "", "", ""]
    )
    header = ["after"]
    for what in ("pick", "prices", "other starts"):
        header += [f"{what} covered", "half width", "interval score"]
    return [
        f"95 % intervals after {BUDGET:g}x, for the mean test score over the held-out seeds; "
        "median half widths, mean interval scores (lower is better), AP points. Of the pick where "
        "the scored images are like the selection images:",
        "",
        *table(header, rows),
    ]


def _summary(found: Sequence[Interval]) -> list[str]:
    if not found:
        return ["", "", ""]
    return [
        f"{statistics.fmean(i.covers for i in found):.0%} of {len(found)}",
        f"{statistics.median(i.half for i in found):.1f}",
        f"{statistics.fmean(i.score for i in found):.1f}",
    ]


@dataclass(frozen=True)
class Found:
    """Intervals of one replay: of the pick's score, and of its lead over other cells."""

    pick: Interval
    prices: list[Interval]
    others: list[Interval]
    alike: bool  # whether the pick was scored on images like those that selected it


def _of(context: "Context", policy: object) -> Iterator[Found]:
    task = context.task
    for seed in task.seeds:
        problem = task.problem(seed)
        outcome = replay(policy, problem, task.recorded, BUDGET)  # type: ignore[arg-type]
        posterior = condition(problem, outcome.observed, context.constants)
        held = task.scores.held_out(outcome.pick, seed)
        low, high = posterior.interval(outcome.pick, len(held))
        pick = Interval(100 * low, 100 * high, 100 * _mean(context, outcome.pick, held))
        frozen = _frozen(context, outcome.pick)
        starts = [cell for cell in problem.unfrozen if cell != outcome.pick]
        prices, others = (
            [i for cell in cells if (i := _lead(context, posterior, outcome.pick, cell, seed))]
            for cells in (frozen, starts)
        )
        yield Found(pick, prices, others, DATASETS[task.name].alike)


def _lead(
    context: "Context", posterior: Posterior, pick: Candidate, cell: Candidate, seed: int
) -> Interval | None:
    """How far the pick lies above a cell, over the seeds that both have beside the observed one."""
    shared = _shared(context, pick, cell, seed)
    if not shared:
        return None
    _, low, high = posterior.difference(pick, cell, len(shared))
    return Interval(100 * low, 100 * high, _lost(context, pick, cell, shared))


def _frozen(context: "Context", pick: Candidate) -> list[Candidate]:
    facts = context.task.facts
    return [c for c in facts if c.arm == pick.arm and facts[c].depth]


def _mean(context: "Context", cell: Candidate, seeds: frozenset[int]) -> float:
    return statistics.fmean(context.task.scores.test[cell, seed] for seed in sorted(seeds))


def _lost(context: "Context", whole: Candidate, cell: Candidate, seeds: frozenset[int]) -> float:
    return 100 * (_mean(context, whole, seeds) - _mean(context, cell, seeds))


def depth_only(context: "Context", contexts: "Sequence[Context]") -> Iterator[Interval]:
    """What is known of depth without a look at the task: mean and SD of the others' losses."""
    others = [c for c in contexts if c.task.family != context.task.family]
    known: dict[str, list[float]] = {}
    for other in others:
        for whole in other.task.problem(0).unfrozen:
            for cell in _frozen(other, whole):
                seeds = _shared(other, whole, cell, -1)
                known.setdefault(cell.label, []).append(_lost(other, whole, cell, seeds))
    for seed in context.task.seeds:
        problem = context.task.problem(seed)
        pick = replay(even(), problem, context.task.recorded, BUDGET).pick
        for cell in _frozen(context, pick):
            shared = _shared(context, pick, cell, seed)
            losses = known.get(cell.label, [])
            if shared and len(losses) > 1:
                middle, sd = statistics.fmean(losses), statistics.stdev(losses)
                half = 1.96 * sd * math.sqrt(1 + 1 / len(losses))
                yield Interval(middle - half, middle + half, _lost(context, pick, cell, shared))


def _shared(context: "Context", a: Candidate, b: Candidate, seed: int) -> frozenset[int]:
    scores = context.task.scores
    return scores.held_out(a, seed) & scores.held_out(b, seed)
