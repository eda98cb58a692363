"""The loop: what runs, what it costs, and that order and cuts change nothing."""

import math

import pytest

from frostline.advice.cells import Advance, Cell, Decision, Observation, Problem
from frostline.advice.policies import always, even, probe
from frostline.advice.replay import Recorded, replay
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


def test_a_policy_decides_the_same_from_any_order_of_observations() -> None:
    """Killed after any decision, what it saw is enough to go on as before."""
    whole = replay(even(), problem(), recorded(), 2.0)
    seen: frozenset[Observation] = frozenset()
    for decision in whole.decisions:
        left = 2.0 - math.fsum(one.price for one in seen)
        shuffled = frozenset(sorted(seen, key=lambda one: (-one.epoch, one.cell)))
        assert even()(problem(), shuffled, left) == decision
        for step in decision.advance:
            begun = max((one.epoch for one in seen if one.cell == step.cell), default=0)
            seen |= frozenset(recorded().observe(problem(), step, begun))


def test_a_missing_trial_and_a_standstill_are_named() -> None:
    with pytest.raises(ConfigError, match=r"expected a recorded trial .* run it, or leave"):
        replay(always(A), problem(), Recorded({}))

    def standing(problem: Problem, observed: frozenset[Observation], left: float) -> Decision:
        return Decision((Advance(A, 1),))

    with pytest.raises(ConfigError, match="a round that advances a trial"):
        replay(standing, problem(), recorded())


def test_a_decision_is_a_round_or_a_pick() -> None:
    with pytest.raises(ConfigError, match="got neither"):
        Decision()
    with pytest.raises(ConfigError, match="got both"):
        Decision((Advance(A, 1),), pick=Cell("a", "k00"))
