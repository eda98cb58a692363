"""What was observed in the end says: the pick, what cannot be told from it, and the price list."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from frostline.advice.cells import Candidate, Evaluated, Problem
from frostline.advice.model import Constants, Posterior, condition, inverse, log_odds

__all__ = ["Against", "Summary", "doubled", "fastest", "summarise"]

TOLERANCE = 0.01  # score that speed may cost, where it is preferred


@dataclass(frozen=True)
class Against:
    """A candidate beside the pick.

    Attributes:
        cell: the candidate.
        observed: whether it was trained at all; else all is from other data sets and its start.
        loss: expected test score of the pick minus the candidate's.
        low: lower end of the 95 % interval of the loss.
        high: upper end.
        price: of one training, in ``1x``.
    """

    cell: Candidate
    observed: bool
    loss: float
    low: float
    high: float
    price: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Summary:
    """The answer.

    Attributes:
        pick: the recommended candidate.
        score: its expected score for a new seed on new images like the selection images.
        low: lower end of the 95 % interval of that.
        high: upper end.
        chance: probability that no other candidate that freezes nothing is better.
        regret: expected score lost against the best of these.
        others: every other candidate that freezes nothing, the least loss first.
        prices: the pick's start at every depth, from shallow to deep.
    """

    pick: Candidate
    score: float
    low: float
    high: float
    chance: float
    regret: float
    others: tuple[Against, ...]
    prices: tuple[Against, ...]

    @property
    def ties(self) -> tuple[Against, ...]:
        """What cannot be told from the pick."""
        return tuple(other for other in self.others if not other.told_apart)


def summarise(
    problem: Problem, observed: Iterable[Evaluated], constants: Constants, pick: Candidate
) -> Summary:
    """What was observed says of a pick and of everything else.

    The score's interval is of one further seed; losses are of means over seeds.
    """
    seen = frozenset(observed)
    posterior = condition(problem, seen, constants)
    trained = {one.cell for one in seen}
    low, high = posterior.interval(pick, seeds=1)
    others = (
        against(posterior, problem, pick, cell, cell in trained)
        for cell in problem.unfrozen
        if cell != pick
    )
    deeper = sorted(
        (
            cell
            for cell, facts in problem.cells.items()
            if cell.arm == pick.arm and facts.depth > problem.cells[pick].depth
        ),
        key=lambda cell: problem.cells[cell].depth,
    )
    among = problem.unfrozen
    return Summary(
        pick,
        posterior.score(pick),
        low,
        high,
        posterior.chances(among).get(pick, 0.0),
        posterior.expected_regret(pick, among) if pick in among else 0.0,
        tuple(sorted(others, key=lambda other: other.loss)),
        tuple(against(posterior, problem, pick, cell, cell in trained) for cell in deeper),
    )


def against(
    posterior: Posterior, problem: Problem, pick: Candidate, cell: Candidate, observed: bool
) -> Against:
    """One candidate beside the pick."""
    return Against(cell, observed, *posterior.difference(pick, cell), problem.cells[cell].price)


def doubled(
    posterior: Posterior, fewer: float, whole: float, share: float
) -> tuple[float, float, float]:
    """What a doubling of the labels gave between a share of them and all; with 95 % interval.

    Args:
        posterior: knows the spread of one seed; both trainings have theirs.
        fewer: score with a share of the images.
        whole: score with all.
        share: in (0, 1).
    """
    doublings, sd = -math.log2(share), math.sqrt(2) * posterior.spread
    ends = (inverse(log_odds(fewer) + 1.96 * side * sd) for side in (0, 1, -1))
    mean, low, high = ((whole - end) / doublings for end in ends)
    return mean, low, high


def fastest(found: Summary, tolerance: float = TOLERANCE) -> Candidate:
    """The cheapest cell of the pick's start whose expected loss is small; else the pick."""
    within = [price for price in found.prices if price.loss <= tolerance]
    return min(within, key=lambda price: price.price).cell if within else found.pick
