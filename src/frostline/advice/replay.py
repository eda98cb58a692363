"""A policy played on recorded trials: milliseconds instead of hours, the same decisions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from frostline.advice.cells import Advance, Cell, Decision, Observation, Policy, Problem
from frostline.errors import ConfigError

__all__ = ["Outcome", "Recorded", "replay"]

Signals = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Recorded:
    """Trials that ran already.

    Attributes:
        curves: (cell, seed) -> selection score after each epoch, the first after epoch 1.
        signals: (cell, seed, epoch) -> what else was measured.
    """

    curves: Mapping[tuple[Cell, int], tuple[float, ...]]
    signals: Mapping[tuple[Cell, int, int], Signals] = field(default_factory=dict)

    def observe(self, problem: Problem, step: Advance, begin: int) -> list[Observation]:
        """What the epochs after ``begin`` up to the step's give."""
        cell, seed = step.cell, problem.seed
        curve = self.curves.get((cell, seed))
        if curve is None or len(curve) != problem.epochs:
            raise ConfigError(
                f"expected a recorded trial of {cell} with seed {seed} over {problem.epochs} "
                f"epochs, found {len(curve or ())}: run it, or leave the cell out"
            )
        price = problem.cells[cell].price / problem.epochs
        return [
            Observation(cell, seed, epoch, curve[epoch - 1], price,
                        self.signals.get((cell, seed, epoch), ()))
            for epoch in range(begin + 1, step.epoch + 1)
        ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a policy ended.

    Attributes:
        pick: the recommended candidate, trained to its end.
        spent: all that ran, the pick's complete training included, in ``1x``.
        decisions: every one, the last of which is the pick.
        observed: everything that was seen.
    """

    pick: Cell
    spent: float
    decisions: tuple[Decision, ...]
    observed: frozenset[Observation]


def replay(
    policy: Policy, problem: Problem, recorded: Recorded, budget: float = math.inf
) -> Outcome:
    """Ask, advance, and ask again until the policy picks; then finish the pick.

    Raises:
        ConfigError: a trial is not recorded, or a policy advances nothing.
    """
    observed: frozenset[Observation] = frozenset()
    epochs = dict.fromkeys(problem.cells, 0)
    decisions: list[Decision] = []

    def advance(step: Advance) -> None:
        nonlocal observed
        observed |= frozenset(recorded.observe(problem, step, epochs[step.cell]))
        epochs[step.cell] = max(epochs[step.cell], step.epoch)

    while True:
        decision = policy(problem, observed, budget - spent(observed))
        decisions.append(decision)
        if decision.pick is not None:
            advance(Advance(decision.pick, problem.epochs))
            return Outcome(decision.pick, spent(observed), tuple(decisions), observed)
        if all(step.epoch <= epochs[step.cell] for step in decision.advance):
            raise ConfigError(f"expected a round that advances a trial, got {decision.advance}")
        for step in decision.advance:
            advance(step)


def spent(observed: frozenset[Observation]) -> float:
    """Price of everything observed, ``1x``; exact, so that no order of observations matters."""
    return math.fsum(one.price for one in observed)
