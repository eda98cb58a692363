"""The policy that ``frostline advise`` follows: of those replayed, the simplest near the best.

With nothing frozen, up to three starts (or rates) go as far as the budget lets the best be finished
then; of more, the lowest goes out at evenly spaced epochs, so that the last ones are looked at
late. What freezing costs its start is looked at with everything frozen, for a third of the epochs,
and with what is left of the budget at further depths.
"""

import math
from collections.abc import Mapping
from typing import Literal

from frostline.advice.cells import Candidate, Decision, Evaluated, Goal, Policy, Problem, reached
from frostline.advice.model import Constants
from frostline.advice.policies import (
    deepest,
    even,
    even_plan,
    ladder,
    ladder_plan,
    smallest_budget,
)
from frostline.advice.summary import fastest, summarise
from frostline.errors import ConfigError

__all__ = [
    "LOOK",
    "Prefer",
    "advised",
    "are_few",
    "kept_for_depth",
    "knockout_epochs",
    "short_runs",
]

LOOK = 0.34  # of the epochs: how far everything frozen is looked at
_FEW = 3  # candidates that share evenly
_ROUNDING = 1e-9
Prefer = Literal["accuracy", "speed"]
Observed = frozenset[Evaluated]


def advised(constants: Constants, prefer: Prefer = "accuracy") -> Policy:
    """Even shares of few candidates or a ladder of many, and the price of depth.

    Args:
        constants: of the model, which says what depth costs where ``speed`` is preferred.
        prefer: ``speed`` finishes the cheapest cell of the best start whose expected loss is at
            most a point, if the budget can; else nothing is frozen in what is finished.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        budget = left + math.fsum(one.price for one in observed)
        aside = kept_for_depth(problem, budget)
        own = frozenset(one for one in observed if one.cell in problem.unfrozen)
        spent = math.fsum(one.price for one in own)
        decision = (even if are_few(problem) else ladder)()(problem, own, budget - aside - spent)
        if decision.pick is None:
            return Decision(decision.advance, why="which is best with nothing frozen")
        chosen = _chosen_at(problem, budget - aside)
        pick, why = decision.pick, _lead(problem, decision.pick, chosen)
        if aside:
            look = Goal(deepest(problem, pick), problem.until(LOOK))
            if _epoch(observed, look.cell) < look.epoch:
                return Decision((look,), why=f"{why}; what freezing everything costs it")
        if prefer == "speed":
            seen = _decisive(problem, observed, chosen)
            found = fastest(summarise(problem, seen, constants, pick))
            if _rest(problem, observed, found) <= left + _ROUNDING:
                pick = found
        if step := _fewer_images(problem, observed, pick, left):
            return Decision((step,), why="what it learns from a share of the training images")
        step = _next_depth(problem, observed, pick, left)
        return Decision((step,), why="what this depth costs") if step else Decision((), pick, why)

    return policy


def short_runs(whole: Mapping[Candidate, Candidate], percent: int) -> Policy:
    """For trainers that cannot pause: short complete runs; the start of the best runs whole.

    Args:
        whole: short run -> the candidate that it is the forerunner of.
        percent: of the epochs that a short run has.
    """

    def policy(problem: Problem, observed: Observed, left: float) -> Decision:
        last, budget = reached(observed), left + math.fsum(one.price for one in observed)
        of = {cell: run for run, cell in whole.items()}
        asked = [cell for cell in problem.unfrozen if cell in of]
        ended = {cell for cell in asked if cell in last and last[cell].epoch == problem.epochs}
        if len(asked) == 1:
            return Decision(pick=asked[0], why="the only candidate")
        if ended == set(asked):
            return Decision(pick=max(asked, key=lambda cell: last[cell].score), why="highest end")
        price = max(problem.cells[cell].price for cell in asked)
        short = max(problem.cells[run].price * problem.cells[run].share for run in whole)
        least = price + short * len(asked)
        if least > budget + _ROUNDING:
            raise ConfigError(
                f"expected a budget of at least {least:.2f} trainings (one, and a short run of "
                f"{percent} % for each candidate), got {budget:.2f}: raise it"
            )
        todo = [
            Goal(of[cell], _epochs(problem, of[cell])) for cell in asked if of[cell] not in last
        ]
        if todo:
            return Decision(tuple(todo), why=f"short complete runs of {percent} % of the epochs")
        best = max(asked, key=lambda cell: last[of[cell]].score)
        return Decision(pick=best, why="highest end of a short run")

    return policy


def are_few(problem: Problem) -> bool:
    """Whether the candidates share the budget evenly; else the lowest go out one by one."""
    return len(problem.unfrozen) <= _FEW


def knockout_epochs(problem: Problem, budget: float) -> tuple[int, ...]:
    """The epochs at which the candidates but the best go out, one each, in rising order.

    Args:
        problem: the choice.
        budget: ``x``, without what is kept for the price of depth.

    Raises:
        ConfigError: the budget is too small for an epoch of each.
    """
    plan = even_plan if are_few(problem) else ladder_plan
    return plan(problem, problem.unfrozen, budget)


def kept_for_depth(problem: Problem, budget: float) -> float:
    """What is kept of a budget for the price of depth: none where it would leave too little."""
    frozen = [facts.price for facts in problem.cells.values() if facts.depth > 0]
    if not frozen:
        return 0.0
    deep = max((facts.depth, facts.price) for facts in problem.cells.values())
    aside = deep[1] * problem.until(LOOK) / problem.epochs
    return aside if budget - aside >= smallest_budget(problem) - _ROUNDING else 0.0


def _epochs(problem: Problem, cell: Candidate) -> int:
    return min(problem.epochs, max(2, math.ceil(problem.cells[cell].share * problem.epochs)))


def _chosen_at(problem: Problem, budget: float) -> int:
    """The epoch after which the candidates are told apart."""
    return (problem.epochs, *knockout_epochs(problem, budget))[-1]


def _lead(problem: Problem, pick: Candidate, chosen: int) -> str:
    """Why one is picked."""
    if len(problem.unfrozen) == 1:
        return "the only candidate"
    return f"{pick.arm_name} is highest after epoch {chosen}"


def _decisive(problem: Problem, observed: Observed, chosen: int) -> list[Evaluated]:
    """What was known when the choice was made: later epochs must not change it."""
    look = problem.until(LOOK)
    return [
        one
        for one in observed
        if (one.cell in problem.unfrozen and one.epoch <= chosen)
        or (one.cell == deepest(problem, one.cell) and one.epoch <= look)
    ]


def _epoch(observed: Observed, cell: Candidate) -> int:
    last = reached(observed).get(cell)
    return last.epoch if last else 0


def _rest(problem: Problem, observed: Observed, cell: Candidate) -> float:
    """Price of finishing a candidate."""
    epochs = problem.epochs - _epoch(observed, cell)
    return problem.cells[cell].price * epochs / problem.epochs


def _fewer_images(
    problem: Problem, observed: Observed, pick: Candidate, left: float
) -> Goal | None:
    """The pick with fewer training images, where the budget has a training left for it."""
    fewer = problem.fewer(pick) if pick in problem.unfrozen else None
    if fewer is None or not (rest := _rest(problem, observed, fewer)):
        return None
    left -= _rest(problem, observed, pick)
    return Goal(fewer, problem.epochs) if rest <= left + _ROUNDING else None


def _next_depth(problem: Problem, observed: Observed, pick: Candidate, left: float) -> Goal | None:
    """The depth of the pick's start to run to its end next: the farthest from those that did."""
    left -= _rest(problem, observed, pick)
    own = {cell: facts.depth for cell, facts in problem.cells.items() if cell.arm == pick.arm}
    ended = {0.0, own[pick]} | {d for c, d in own.items() if not _rest(problem, observed, c)}
    todo = [
        cell
        for cell, depth in own.items()
        if depth not in ended and _rest(problem, observed, cell) <= left + _ROUNDING
    ]
    far = max(todo, key=lambda cell: min(abs(own[cell] - d) for d in ended), default=None)
    return None if far is None else Goal(far, problem.epochs)
