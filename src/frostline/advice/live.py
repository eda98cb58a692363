"""A policy for a study: the same functions decide on trials that train."""

from collections.abc import Sequence

from frostline.advice.cells import Candidate, Evaluated, Policy, Problem
from frostline.advice.replay import next_steps, spent
from frostline.policy import Advance, Observed
from frostline.policy import Policy as StudyPolicy
from frostline.records import TrialKey

__all__ = ["cell_of", "key_of", "seen", "study_policy"]


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
    begun: dict[Candidate, int] = {}
    for one in sorted(observed, key=lambda one: (one.key.slug, one.epoch)):
        cell = cell_of(one.key)
        if one.key.seed != problem.seed or cell not in problem.cells or one.score is None:
            continue
        epochs = one.epoch - begun.get(cell, 0)
        begun[cell] = one.epoch
        price = problem.cells[cell].price * epochs / problem.epochs
        found.append(Evaluated(cell, problem.seed, one.epoch, one.score, price))
    return frozenset(found)


def study_policy(policy: Policy, problem: Problem, budget: float) -> StudyPolicy:
    """A policy as ``Study.run`` takes it: it stops when the pick is finished.

    Args:
        policy: what decides.
        problem: the choice; other trials of the study are left alone.
        budget: in ``1x``; trials that ran before count.
    """

    def advance(observed: Observed, _budget: float | None) -> Sequence[Advance]:
        own = seen(observed, problem)
        steps = next_steps(policy(problem, own, budget - spent(own)), problem, own)
        return [
            Advance(
                key_of(step.cell, problem.seed), None if step.end == problem.epochs else step.end
            )
            for step in steps
        ]

    return advance
