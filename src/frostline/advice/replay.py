"""One loop, two worlds: a policy is asked, its trials advance, and it is asked again.

``play`` does not know whether trials train or are looked up. ``replay`` gives it recorded ones:
milliseconds instead of hours, the same decisions.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from frostline.advice.cells import Candidate, Decision, Evaluated, Policy, Problem, reached
from frostline.errors import ConfigError

__all__ = ["Played", "Recorded", "Step", "World", "next_steps", "play", "replay", "spent"]

Signals = tuple[tuple[str, float], ...]


@dataclass(frozen=True, order=True)
class Step:
    """Train a candidate, with the problem's seed, from the end of one epoch to that of another."""

    cell: Candidate
    begin: int
    end: int


World = Callable[[tuple[Step, ...]], Iterable[Evaluated]]
"""Advances the trials of a round, side by side or not, and says what their new epochs gave."""


@dataclass(frozen=True)
class Played:
    """How a policy ended.

    Attributes:
        pick: the recommended candidate, trained to its end.
        spent: all that ran, the pick's complete training included, in ``1x``.
        decisions: every one since the loop began, the last of which is the pick.
        observed: everything that was seen.
    """

    pick: Candidate
    spent: float
    decisions: tuple[Decision, ...]
    observed: frozenset[Evaluated]


def play(
    policy: Policy,
    problem: Problem,
    world: World,
    budget: float = math.inf,
    *,
    observed: Iterable[Evaluated] = (),
    on_decision: Callable[[Decision], None] = lambda decision: None,
) -> Played:
    """Ask, advance, and ask again until the policy picks; then finish the pick.

    Args:
        policy: what decides.
        problem: the choice.
        world: where trials run.
        budget: in ``1x``, of which what was observed before is a part.
        observed: by an earlier loop that was stopped, or ran with a smaller budget.
        on_decision: called with each decision before it is carried out.

    Raises:
        ConfigError: a policy advances nothing, or the budget is too small for it.
    """
    seen = frozenset(observed)
    decisions: list[Decision] = []
    while True:
        decision = policy(problem, seen, budget - spent(seen))
        decisions.append(decision)
        on_decision(decision)
        steps = next_steps(decision, problem, seen)
        seen |= frozenset(world(steps)) if steps else frozenset()
        if decision.pick is not None:
            return Played(decision.pick, spent(seen), tuple(decisions), seen)
        if not steps:
            raise ConfigError(f"expected a round that advances a trial, got {decision.advance}")


def next_steps(
    decision: Decision, problem: Problem, observed: frozenset[Evaluated]
) -> tuple[Step, ...]:
    """What a decision asks for beyond what was observed; the pick to its end."""
    wanted = {step.cell: step.epoch for step in decision.advance}
    if decision.pick is not None:
        wanted = {decision.pick: problem.epochs}
    at = {cell: one.epoch for cell, one in reached(observed).items()}
    return tuple(
        Step(cell, at.get(cell, 0), epoch)
        for cell, epoch in wanted.items()
        if at.get(cell, 0) < epoch
    )


def spent(observed: Iterable[Evaluated]) -> float:
    """Price of everything observed, ``1x``; exact, so that no order of observations matters."""
    return math.fsum(one.price for one in observed)


@dataclass(frozen=True)
class Recorded:
    """Trials that ran already.

    Attributes:
        curves: (cell, seed) -> selection score after each epoch, from epoch 1; of a paused
            trial as far as it came.
        signals: (cell, seed, epoch) -> what else was measured.
    """

    curves: Mapping[tuple[Candidate, int], tuple[float, ...]]
    signals: Mapping[tuple[Candidate, int, int], Signals] = field(default_factory=dict)

    def observe(self, problem: Problem, step: Step) -> list[Evaluated]:
        """What the epochs of one step gave."""
        cell, seed = step.cell, problem.seed
        curve = self.curves.get((cell, seed))
        if curve is None or len(curve) < step.end:
            raise ConfigError(
                f"expected {step.end} recorded epochs of {cell.init} {cell.label} {cell.variant} "
                f"with seed {seed}, found {len(curve or ())}: run it, or leave the cell out"
            )
        price = problem.cells[cell].price / problem.epochs
        return [
            Evaluated(cell, seed, epoch, curve[epoch - 1], price,
                        self.signals.get((cell, seed, epoch), ()))
            for epoch in range(step.begin + 1, step.end + 1)
        ]  # fmt: skip


def replay(
    policy: Policy, problem: Problem, recorded: Recorded, budget: float = math.inf
) -> Played:
    """Play a policy on recorded trials.

    Raises:
        ConfigError: as ``play``, or a trial that the policy wants is not recorded.
    """

    def world(steps: tuple[Step, ...]) -> list[Evaluated]:
        return [one for step in steps for one in recorded.observe(problem, step)]

    return play(policy, problem, world, budget)
