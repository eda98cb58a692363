"""Policies that ask the Gaussian model: drop candidates that are unlikely to be the best."""

from collections.abc import Sequence

from frostline.advice.cells import Decision, Evaluated, Goal, Policy, Problem, reached
from frostline.advice.model import Constants, condition

__all__ = ["race"]


def race(constants: Constants, shares: Sequence[float], chance: float) -> Policy:
    """Candidates with nothing frozen to each share in turn, without the unlikely ones.

    Args:
        constants: of the model, from other data sets.
        shares: of the epochs, rising; after the last the pick is made.
        chance: candidates less likely than this to be the best are dropped.
    """

    def policy(problem: Problem, observed: frozenset[Evaluated], left: float) -> Decision:
        kept = problem.unfrozen
        for share in shares:
            epoch, last = problem.until(share), reached(observed)
            todo = [cell for cell in kept if cell not in last or last[cell].epoch < epoch]
            if todo:
                why = f"{len(todo)} candidates to epoch {epoch}"
                return Decision(tuple(Goal(cell, epoch) for cell in todo), why=why)
            so_far = [one for one in observed if one.epoch <= epoch]
            chances = condition(problem, so_far, constants).chances(kept)
            best = max(kept, key=lambda cell: chances[cell])
            kept = tuple(cell for cell in kept if cell == best or chances[cell] >= chance)
            if len(kept) == 1:
                break
        return Decision(pick=best, why=f"chance to be the best {chances[best]:.0%}")

    return policy
