"""A policy for a study: the same functions decide on trials that train."""

import dataclasses
from collections.abc import Callable, Collection, Sequence

from frostline.advice.cells import Candidate, Decision, Evaluated, Policy, Problem
from frostline.advice.replay import Step, next_steps, spent
from frostline.policy import Advance, Observed
from frostline.policy import Policy as StudyPolicy
from frostline.records import TrialKey

__all__ = ["cell_of", "key_of", "seen", "study_policy", "without"]


def key_of(cell: Candidate, seed: int) -> TrialKey:
    """The trial of a candidate with a seed."""
    return TrialKey(init=cell.init, plan=cell.label, variant=cell.variant or None, seed=seed)


def cell_of(key: TrialKey) -> Candidate:
    """The candidate that a trial is of."""
    return Candidate(key.init, key.plan, key.variant or "")


def seen(observed: Observed, problem: Problem) -> frozenset[Evaluated]:
    """What a study observed of the problem's candidates, at the problem's prices.

    Seconds are not used: they differ from run to run, and a killed study must decide the same. An
    epoch without a score is paid with the next that has one.
    """
    found = []
    begun: dict[Candidate, float] = {}
    for one in sorted(observed, key=lambda one: (one.key.slug, one.epoch)):
        cell = cell_of(one.key)
        score = 0.0 if one.score is None and one.last else one.score  # nothing to be measured
        if one.key.seed != problem.seed or cell not in problem.cells or score is None:
            continue
        epoch = one.epoch * problem.cells[cell].images  # of all images: as many steps
        price = problem.cells[cell].price * (epoch - begun.get(cell, 0)) / problem.epochs
        begun[cell] = epoch
        found.append(Evaluated(cell, problem.seed, max(1, round(epoch)), score, price))
    return frozenset(found)


def without(problem: Problem, failed: Collection[Candidate]) -> Problem:
    """The same choice without some candidates."""
    kept = {cell: facts for cell, facts in problem.cells.items() if cell not in failed}
    return dataclasses.replace(problem, cells=kept)


def study_policy(
    policy: Policy,
    problem: Problem,
    budget: float,
    *,
    failed: Callable[[], Collection[Candidate]] = tuple,
    on_decision: Callable[[Problem, Decision, tuple[Step, ...], frozenset[Evaluated]], None]
    | None = None,
) -> StudyPolicy:
    """A policy as ``Study.run`` takes it: it stops when the pick is finished.

    Args:
        policy: what decides.
        problem: the choice; other trials of the study are left alone.
        budget: in ``1x``; trials that ran before count.
        failed: candidates whose trial has failed until now: they are out of the choice.
        on_decision: called with what is left of the choice, a decision, what it asks for, and what
            was observed before it.
    """

    def advance(observed: Observed, _budget: float | None) -> Sequence[Advance]:
        choice = without(problem, failed())
        if not choice.unfrozen:
            return []
        own = seen(observed, choice)
        decision = policy(choice, own, budget - spent(own))
        steps = next_steps(decision, choice, own)
        if on_decision is not None:
            on_decision(choice, decision, steps, own)
        trained = _trained(observed, problem.seed)
        ends = {step.cell: max(step.end, trained.get(step.cell, 0) + 1) for step in steps}
        return [
            Advance(key_of(cell, problem.seed), None if end >= problem.epochs else end)
            for cell, end in ends.items()
        ]

    return advance


def _trained(observed: Observed, seed: int) -> dict[Candidate, int]:
    """Epochs that each trial has, also where none was evaluated: it must go beyond them."""
    found: dict[Candidate, int] = {}
    for one in observed:
        if one.key.seed == seed:
            cell = cell_of(one.key)
            found[cell] = max(found.get(cell, 0), one.epoch)
    return found
