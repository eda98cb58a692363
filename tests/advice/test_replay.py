"""The loop: what runs, what it costs, and that order and cuts change nothing."""

import pytest

from frostline.advice.cells import Candidate, Decision, Evaluated, Goal, Policy, Problem
from frostline.advice.model import Constants
from frostline.advice.policies import (
    always,
    even,
    everything,
    halving,
    ladder,
    of_known_starts,
    priced,
    probe,
)
from frostline.advice.racing import race
from frostline.advice.replay import Recorded, Step, World, play, replay
from frostline.errors import ConfigError
from tests.advice.toy import EPOCHS, FROZEN, A, B, C, problem, recorded


def test_the_pick_is_finished_and_paid() -> None:
    """Three starts to epoch 4 and six epochs more: 3 x .4 + .6."""
    outcome = replay(probe(0.4), problem(), recorded())
    assert outcome.pick == B
    assert outcome.spent == pytest.approx(1.8)
    assert [len(decision.advance) for decision in outcome.decisions] == [3, 0]
    assert max(one.epoch for one in outcome.observed if one.cell == B) == EPOCHS
    assert max(one.epoch for one in outcome.observed if one.cell == C) == 4
    assert not any(one.cell == FROZEN for one in outcome.observed)


def test_a_frozen_cell_has_its_own_price() -> None:
    assert replay(always(FROZEN), problem(), recorded()).spent == pytest.approx(0.6)


CONSTANTS = Constants(
    start=0.3, rate=0.0, slope=0.5, slope_task=0.2, slope_start=0.1, shape=((0.0, 0.0), (1.0, 1.0)),
    rest=0.05, seed=0.0, noise=0.1,
    gaps=((0.1, 1.0, 0.3, 0.1, 0.1, 0.3), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    offset=0.2, offset_task=0.05, offset_cell=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    "policy",
    [
        probe(0.3),
        probe(0.5, everything),
        even(),
        ladder(),
        priced(ladder(), 0.3),
        halving(0.2, 2),
        of_known_starts({"a": 1.0, "b": 0.5}, 2, 0.2),
        race(CONSTANTS, (0.2, 0.5), 0.2),
    ],
)
def test_stopped_anywhere_it_ends_with_the_same_pick_and_bill(policy: Policy) -> None:
    """Also amid a round, or while the pick is finished, whose later scores are lower here."""
    whole = play(policy, problem(), world_of(falling()), 2.5)
    order = by_round(policy)
    assert frozenset(order) == whole.observed
    for count in range(len(order)):
        again = play(policy, problem(), world_of(falling()), 2.5, observed=order[:count])
        assert again.pick == whole.pick, count
        assert again.observed == whole.observed, count


def falling() -> Recorded:
    """As the toy, but every curve falls by half in its last three epochs."""
    curves = recorded().curves
    return Recorded({key: (*c[:7], *(x / 2 for x in c[7:])) for key, c in curves.items()})


def world_of(rows: Recorded) -> World:
    return lambda steps: [one for step in steps for one in rows.observe(problem(), step)]


def by_round(policy: Policy) -> list[Evaluated]:
    """Observations in the order in which one worker makes them."""
    order: list[Evaluated] = []

    def world(steps: tuple[Step, ...]) -> list[Evaluated]:
        found = list(world_of(falling())(steps))
        order.extend(found)
        return found

    play(policy, problem(), world, 2.5)
    return order


def test_a_larger_budget_goes_on_from_what_a_smaller_one_saw() -> None:
    small = replay(even(), problem(), recorded(), 1.4)
    more = play(even(), problem(), world_of(recorded()), 3.0, observed=small.observed)
    assert small.pick == A
    assert more.pick == B
    assert more.spent == pytest.approx(3.0)


def test_a_missing_trial_and_a_standstill_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"expected 10 recorded epochs of a k00 .* run it, or leave"
    ):
        replay(always(A), problem(), Recorded({}))

    def standing(problem: Problem, observed: frozenset[Evaluated], left: float) -> Decision:
        return Decision((Goal(A, 1),))

    with pytest.raises(ConfigError, match="a round that advances a trial"):
        replay(standing, problem(), recorded())


def test_a_decision_is_a_round_or_a_pick() -> None:
    with pytest.raises(ConfigError, match="got neither"):
        Decision()
    with pytest.raises(ConfigError, match="got both"):
        Decision((Goal(A, 1),), pick=Candidate("a", "k00"))
