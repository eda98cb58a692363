"""Which trial next: what a policy sees, and what it answers.

A policy is a function of what was observed, a set without an order, and of the budget that is left:
it names the trials to advance in this round, or none to stop. Nothing is decided before a round has
ended, so that every engine, and a replay of recorded rows, comes to the same decisions.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence

from frostline.records import TrialKey

__all__ = ["Advance", "Observation", "Observed", "Policy", "grid"]


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """One epoch of one trial.

    Attributes:
        key: the trial.
        epoch: from 1.
        score: the ranking score on the validation images, of the last epoch as in the record;
            None where it was not evaluated.
        seconds: of training and evaluation up to here.
        last: whether the trial has ended with this epoch.
    """

    key: TrialKey
    epoch: int
    score: float | None
    seconds: float
    last: bool


Observed = frozenset[Observation]


@dataclasses.dataclass(frozen=True, slots=True)
class Advance:
    """Bring a trial of the study to the end of an epoch; None brings it to its end."""

    key: TrialKey
    until: int | None = None


Policy = Callable[[Observed, float | None], Sequence[Advance]]


def grid(cells: Collection[TrialKey]) -> Policy:
    """The policy that runs every cell to its end, in order, whatever it costs."""

    def advance(observed: Observed, _budget: float | None) -> Sequence[Advance]:
        ended = {seen.key for seen in observed if seen.last}
        return [Advance(key) for key in cells if key not in ended]

    return advance
