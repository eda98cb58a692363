"""Policies with fixed rules: from one start to the whole grid, and searches in between.

Each function returns a policy. Ties go to the candidate that the problem lists first, so that a
policy says the same whatever the order in which observations came.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from frostline.advice.cells import Candidate, Decision, Evaluated, Goal, Policy, Problem, reached
from frostline.errors import ConfigError

__all__ = [
    "always",
    "asha",
    "best_at",
    "deepest",
    "even",
    "even_plan",
    "forerunners",
    "halving",
    "hyperband",
    "ladder",
    "ladder_plan",
    "near_rates",
    "of_known_starts",
    "priced",
    "probe",
    "rewound",
    "scored",
    "signalled",
    "smallest_budget",
]

_ROUNDING = 1e-9  # of sums of prices

Which = Callable[[Problem], tuple[Candidate, ...]]
Observed = frozenset[Evaluated]


def unfrozen(problem: Problem) -> tuple[Candidate, ...]:
    """Every start, and rate, with nothing frozen."""
    return problem.unfrozen


def everything(problem: Problem) -> tuple[Candidate, ...]:
    """The whole grid."""
    return tuple(cell for cell, facts in problem.cells.items() if facts.complete)


def at_depth(label: str) -> Which:
    """Every start at one depth."""
    return lambda problem: tuple(cell for cell in everything(problem) if cell.label == label)


def near_rates(rates: Mapping[str, float]) -> Which:
    """Every start with nothing frozen, at the candidate rate nearest to the one suggested for it.

    Near by the logarithm. The suggestion itself may be no candidate.

    Args:
        rates: start -> learning rate, > 0.
    """

    def which(problem: Problem) -> tuple[Candidate, ...]:
        found: dict[str, Candidate] = {}
        for cell in problem.unfrozen:
            best = found.setdefault(cell.init, cell)
            if _distance(problem, cell, rates) < _distance(problem, best, rates):
                found[cell.init] = cell
        return tuple(found.values())

    return which


def _distance(problem: Problem, cell: Candidate, rates: Mapping[str, float]) -> float:
    return abs(math.log(problem.cells[cell].rate / rates[cell.init]))


def always(cell: Candidate) -> Policy:
    """One candidate, whatever is seen; it must be one of the problem's."""
    return lambda problem, observed, left: Decision(pick=cell)


def probe(share: float, which: Which = unfrozen) -> Policy:
    """Candidates to a share of the epochs; the best is finished. With share 1, a grid."""

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells, epoch = which(problem), problem.until(share)
        if todo := _not_at(reached(observed), cells, epoch):
            return Decision(todo, why=f"{len(todo)} candidates to epoch {epoch}")
        return Decision(pick=best_at(observed, cells, epoch), why=f"highest after epoch {epoch}")

    return policy


def forerunners(share: float) -> Policy:
    """Each candidate's short but complete schedule; the pick then trains from the beginning.

    What is left for trainers that cannot pause. The rate falls to zero in both, so that the order
    of short runs may say more than the order at a share of long ones; but nothing is reused.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        pairs = problem.short(share)
        epoch = min(problem.epochs, max(2, math.ceil(share * problem.epochs)))
        if todo := _not_at(reached(observed), pairs, epoch):
            return Decision(todo, why=f"{len(todo)} short schedules of {epoch} epochs")
        return Decision(pick=pairs[best_at(observed, tuple(pairs), epoch)], why="best short run")

    return policy


def even(which: Which = unfrozen) -> Policy:
    """All candidates as far as the budget lets the best be finished; then the best.

    With n equal candidates and a budget of B trainings that is (B - 1) / (n - 1) of the epochs.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells = which(problem)
        budget = left + math.fsum(one.price for one in observed)
        return _knocked_out(problem, observed, cells, even_plan(problem, cells, budget))

    return policy


def even_plan(problem: Problem, cells: Sequence[Candidate], budget: float) -> tuple[int, ...]:
    """The one epoch at which all candidates but the best go out, as late as it can be finished.

    Raises:
        ConfigError: there is none within the budget.
    """
    plans = ((epoch,) * (len(cells) - 1) for epoch in range(problem.epochs, 0, -1))
    return _first_affordable(problem, plans, budget)


def ladder(which: Which = unfrozen) -> Policy:
    """One candidate less at each of n - 1 evenly spaced epochs, as late as the budget lets it.

    The lowest goes first, so that close ones are looked at longest.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells = which(problem)
        budget = left + math.fsum(one.price for one in observed)
        return _knocked_out(problem, observed, cells, ladder_plan(problem, cells, budget))

    return policy


def ladder_plan(problem: Problem, cells: Sequence[Candidate], budget: float) -> tuple[int, ...]:
    """The epochs at each of which one candidate goes out, as late as one can be finished then.

    Raises:
        ConfigError: there is no such plan within the budget.
    """
    steps = len(cells) - 1
    plans = (
        tuple(max(1, top * i // steps) for i in range(1, steps + 1))
        for top in range(problem.epochs, 0, -1)
    )
    return _first_affordable(problem, plans, budget)


def priced(policy: Policy, share: float) -> Policy:
    """Another policy, and with the pick's start the deepest freeze to a share: what depth costs.

    Its price is set aside from the budget at the beginning; it does not change the pick.
    """

    def with_price(problem: Problem, observed: Observed, left: float) -> Decision:
        epoch = problem.until(share)
        own = frozenset(one for one in observed if problem.cells[one.cell].depth == 0)
        deep = max((facts.depth, facts.price) for facts in problem.cells.values())
        aside = deep[1] * epoch / problem.epochs
        paid = math.fsum(one.price for one in observed - own)
        decision = policy(problem, own, left + paid - aside)
        if decision.pick is None:
            return decision
        step = Goal(deepest(problem, decision.pick), epoch)
        last = reached(observed)
        if step.cell == decision.pick or (step.cell in last and last[step.cell].epoch >= epoch):
            return decision
        return Decision((step,), why="what freezing everything costs this start")

    return with_price


def deepest(problem: Problem, cell: Candidate) -> Candidate:
    """The candidate of a cell's start and rate that freezes most."""
    same = [c for c in everything(problem) if c.arm == cell.arm]
    return max(same, key=lambda c: problem.cells[c].depth)


def smallest_budget(problem: Problem) -> float:
    """One training and one epoch of each other candidate with nothing frozen, in ``1x``."""
    return _price(problem, (1,) * (len(problem.unfrozen) - 1))


def _price(problem: Problem, plan: Sequence[int]) -> float:
    """Highest cost of a plan: the epoch at which each but one candidate goes out."""
    dearest = max(problem.cells[cell].price for cell in problem.unfrozen)
    return dearest * (problem.epochs + sum(plan)) / problem.epochs


def _first_affordable(
    problem: Problem, plans: Iterable[tuple[int, ...]], budget: float
) -> tuple[int, ...]:
    for plan in plans:
        if _price(problem, plan) <= budget + _ROUNDING:
            return plan
    raise ConfigError(
        f"expected a budget of at least {smallest_budget(problem):.2f} trainings (one, and an "
        f"epoch of each other candidate), got {budget:.2f}: raise it, or leave candidates out"
    )


def _knocked_out(
    problem: Problem, observed: Observed, cells: Sequence[Candidate], plan: Sequence[int]
) -> Decision:
    """Where a plan stands: at each of its epochs the lowest candidate goes out."""
    for epoch in plan:
        if todo := _not_at(reached(observed), cells, epoch):
            return Decision(todo, why=f"{len(todo)} candidates to epoch {epoch}")
        scores = scores_at(observed, epoch)
        lowest = min(reversed(cells), key=lambda cell: scores[cell])
        cells = [cell for cell in cells if cell != lowest]
    return Decision(pick=cells[0], why="the last one left")


def of_known_starts(means: Mapping[str, float], keep: int, share: float) -> Policy:
    """The starts that did best on other data sets, then a probe among them.

    Args:
        means: start -> mean score on other data sets, relative to their mean.
        keep: how many starts.
        share: of the epochs.
    """

    def kept(problem: Problem) -> tuple[Candidate, ...]:
        starts = dict.fromkeys(cell.init for cell in problem.unfrozen)
        order = sorted(starts, key=lambda init: -means.get(init, 0.0))[:keep]
        return tuple(cell for cell in problem.unfrozen if cell.init in order)

    return probe(share, kept)


def scored(values: Mapping[str, float], sign: int) -> Policy:
    """The start with the largest (sign 1) or smallest (-1) value of what needs no training.

    Args:
        values: start -> what was computed from its weights, or from its features of the images.
        sign: which end is taken.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        return Decision(pick=max(problem.unfrozen, key=lambda cell: sign * values[cell.init]))

    return policy


def signalled(name: str, share: float, sign: int) -> Policy:
    """The start with the largest (sign 1) or smallest (-1) signal after a share of the epochs."""

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells, epoch = problem.unfrozen, problem.until(share)
        if todo := _not_at(reached(observed), cells, epoch):
            return Decision(todo)
        values = {cell: sign * signal_of(observed, cell, name, epoch) for cell in cells}
        return Decision(pick=max(cells, key=lambda cell: values[cell]))

    return policy


def rewound(share: float, loss: float) -> Policy:
    """The best start after a share, frozen as deep as rewinding costs it at most ``loss``.

    The rewind curve is among the signals: ``rewind k09`` is the score with the first nine
    convolutions put back to their starting values.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells, epoch = problem.unfrozen, problem.until(share)
        if todo := _not_at(reached(observed), cells, epoch):
            return Decision(todo)
        start = best_at(observed, cells, epoch)
        whole = signal_of(observed, start, f"rewind {start.label}", epoch)
        deep = [
            cell for cell in everything(problem)
            if cell.arm == start.arm
            and signal_of(observed, start, f"rewind {cell.label}", epoch) >= whole - loss
        ]  # fmt: skip
        return Decision(pick=max(deep, key=lambda cell: problem.cells[cell].depth, default=start))

    return policy


def halving(share: float, eta: int = 2, which: Which = everything) -> Policy:
    """Successive halving: all to a share, the best 1/eta to eta times it, until one is left."""

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        return bracket(problem, observed, which(problem), share, eta)

    return policy


def bracket(
    problem: Problem, observed: Observed, cells: Sequence[Candidate], share: float, eta: int
) -> Decision:
    """One bracket of successive halving, as far as it has come."""
    epoch = problem.until(share)
    while True:
        if todo := _not_at(reached(observed), cells, epoch):
            return Decision(todo, why=f"{len(cells)} candidates to epoch {epoch}")
        scores = scores_at(observed, epoch)
        order = sorted(cells, key=lambda cell: -scores[cell])
        if epoch == problem.epochs or len(cells) == 1:
            return Decision(pick=order[0])
        cells = order[: max(1, len(cells) // eta)]
        share *= eta
        epoch = problem.until(share)


def hyperband(eta: int = 3, which: Which = everything) -> Policy:
    """Hyperband: brackets from many candidates and few epochs to few candidates and all epochs.

    Candidates are taken in the order of a fixed permutation, a bracket after the other; a
    candidate counts with its last score.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells = _scattered(which(problem), problem.seed)
        rungs = int(math.log(problem.epochs) / math.log(eta) + 1e-9)
        taken, winners = 0, []
        for s in range(rungs, -1, -1):
            count = math.ceil((rungs + 1) / (s + 1) * eta**s)
            some = [cells[i % len(cells)] for i in range(taken, taken + min(count, len(cells)))]
            taken += len(some)
            decision = bracket(problem, observed, some, eta**-s, eta)
            if decision.pick is None:
                return decision
            winners.append(decision.pick)
        return Decision(pick=best(reached(observed), tuple(dict.fromkeys(winners))))

    return policy


def asha(share: float, eta: int = 3, which: Which = everything) -> Policy:
    """Asynchronous successive halving with one worker, until the budget is left to finish one.

    A candidate is promoted as soon as it is among the best 1/eta of its rung; otherwise a new one
    starts, in the order of a fixed permutation.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        cells = _scattered(which(problem), problem.seed)
        levels = [share * eta**i for i in range(int(math.log(1 / share, eta) + 1e-9) + 1)]
        rungs = list(dict.fromkeys(problem.until(level) for level in [*levels, 1.0]))
        step = _promotion(observed, rungs, eta) or _newcomer(observed, cells, rungs[0])
        last = reached(observed)
        if step is None or (last and not _affordable(problem, last, step, left)):
            return Decision(pick=_highest_rung(last, rungs))
        return Decision((step,))

    return policy


def _promotion(observed: Observed, rungs: Sequence[int], eta: int) -> Goal | None:
    for rung, after in reversed(list(itertools.pairwise(rungs))):
        scores = scores_at(observed, rung)
        order = sorted(scores, key=lambda cell: (-scores[cell], cell))
        above = scores_at(observed, after)
        for cell in order[: len(order) // eta]:
            if cell not in above:
                return Goal(cell, after)
    return None


def _newcomer(observed: Observed, cells: Iterable[Candidate], epoch: int) -> Goal | None:
    last = reached(observed)
    return next((Goal(cell, epoch) for cell in cells if cell not in last), None)


def _affordable(
    problem: Problem, last: Mapping[Candidate, Evaluated], step: Goal, left: float
) -> bool:
    """Whether the step leaves enough to finish any candidate that has begun."""

    def price(cell: Candidate, begin: int, end: int) -> float:
        return problem.cells[cell].price * (end - begin) / problem.epochs

    begun = {cell: one.epoch for cell, one in last.items()}
    cost = price(step.cell, begun.get(step.cell, 0), step.epoch)
    begun[step.cell] = step.epoch
    finish = max(price(cell, epoch, problem.epochs) for cell, epoch in begun.items())
    return cost + finish <= left


def _highest_rung(last: Mapping[Candidate, Evaluated], rungs: Sequence[int]) -> Candidate:
    top = max(one.epoch for one in last.values())
    return best(last, sorted(cell for cell, one in last.items() if one.epoch == top))


def best(last: Mapping[Candidate, Evaluated], cells: Sequence[Candidate]) -> Candidate:
    """The candidate with the highest last score."""
    return max(cells, key=lambda cell: last[cell].score)


def best_at(observed: Observed, cells: Sequence[Candidate], epoch: int) -> Candidate:
    """The candidate with the highest score after one epoch, whatever came later."""
    scores = scores_at(observed, epoch)
    return max(cells, key=lambda cell: scores[cell])


def scores_at(observed: Observed, epoch: int) -> dict[Candidate, float]:
    """Scores of the trials that have come to an epoch.

    Where it was not evaluated, the last one before; of a trial with an end score alone, that.
    """
    last = reached(observed)
    found: dict[Candidate, Evaluated] = {}
    for one in sorted(observed, key=lambda one: (one.epoch > epoch, -one.epoch)):
        if last[one.cell].epoch >= epoch:
            found.setdefault(one.cell, one)
    return {cell: one.score for cell, one in found.items()}


def signal_of(observed: Observed, cell: Candidate, name: str, until: int) -> float:
    """A signal's last value up to an epoch; minus infinity where it was not measured."""
    found = [
        (one.epoch, value)
        for one in observed
        if one.cell == cell and one.epoch <= until
        for label, value in one.signals
        if label == name
    ]
    return max(found)[1] if found else -math.inf


def _not_at(
    last: Mapping[Candidate, Evaluated], cells: Iterable[Candidate], epoch: int
) -> tuple[Goal, ...]:
    return tuple(
        Goal(cell, epoch) for cell in cells if cell not in last or last[cell].epoch < epoch
    )


def _scattered(cells: Sequence[Candidate], seed: int) -> list[Candidate]:
    """A permutation fixed by the seed: 64-bit mixing of position, as no order is neutral."""
    key = {cell: _mix(seed * 1_000_003 + number) for number, cell in enumerate(cells)}
    return sorted(cells, key=lambda cell: key[cell])


def _mix(value: int) -> int:
    """SplitMix64's finaliser."""
    mask = (1 << 64) - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)
