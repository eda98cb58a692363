"""The policy that is shipped, decision by decision, on a choice worked out by hand."""

import dataclasses

import pytest

from frostline.advice.cells import Candidate, Evaluated, Facts, Goal, Problem
from frostline.advice.constants import shipped
from frostline.advice.replay import Recorded, replay
from frostline.advice.shipped import advised, kept_for_depth, short_runs
from frostline.errors import ConfigError
from tests.advice.toy import ENDS, EPOCHS, FROZEN, A, B, C, problem, straight

POLICY = advised(shipped())
DEEP = {start: Candidate(start, "k52") for start in "abc"}
ALL = (A, B, C, *DEEP.values())


def _recorded(ends: dict[Candidate, float]) -> Recorded:
    return Recorded(straight(ends))


def _rounds(budget: float, cells: tuple[Candidate, ...] = ALL) -> list[tuple[Goal, ...]]:
    ends = {cell: ENDS.get(cell, 0.3) for cell in cells}
    played = replay(POLICY, problem(cells), _recorded(ends), budget)
    assert played.spent <= budget + 1e-9
    return [decision.advance for decision in played.decisions]


def test_even_shares_then_the_price_of_depth() -> None:
    """2x: .6 x 3 of 10 epochs is .18 aside; .82 is epoch 4 of two others (.8).

    B is highest then; its all-frozen cell goes to epoch 3.
    """
    assert _rounds(2.0) == [
        (Goal(A, 4), Goal(B, 4), Goal(C, 4)),
        (Goal(DEEP["b"], 3),),
        (),
    ]


def test_of_many_candidates_the_lowest_goes_out_first() -> None:
    """2.5x, no depths: 1.5 is epochs 2, 4 and 7 of three (1.3); 2, 5 and 8 are 1.5, too: later.

    Ends .4, .5, .6 and .7 in the order d, a, b, c.
    """
    many = {cell: 0.4 + 0.1 * n for n, cell in enumerate((Candidate("d", "k00"), A, B, C))}
    played = replay(POLICY, problem(tuple(many)), _recorded(many), 2.5)
    rounds = [{goal.cell.init: goal.epoch for goal in step.advance} for step in played.decisions]
    assert rounds == [dict.fromkeys("abcd", 2), dict.fromkeys("abc", 5), dict.fromkeys("bc", 8), {}]
    assert played.pick == C


def test_a_budget_that_has_no_room_for_the_price_of_depth() -> None:
    """1.2x is the smallest: .18 aside would leave too little for an epoch of the two others."""
    assert kept_for_depth(problem(ALL), 1.2) == 0.0
    assert _rounds(1.2) == [(Goal(A, 1), Goal(B, 1), Goal(C, 1)), ()]
    with pytest.raises(ConfigError, match=r"at least 1\.20 trainings .* got 1\.10"):
        _rounds(1.1)


def test_what_is_left_prices_further_depths() -> None:
    """3.6x: A, B and C to the end, everything frozen to epoch 3 (.18) and to its end (.42)."""
    assert _rounds(3.6) == [
        (Goal(A, EPOCHS), Goal(B, EPOCHS), Goal(C, EPOCHS)),
        (Goal(DEEP["b"], 3),),
        (Goal(DEEP["b"], EPOCHS),),
        (),
    ]


def test_one_start_is_the_pick_and_its_depths_are_the_farthest_first() -> None:
    """1x for it, .18 and .42 for everything frozen, then the middle depth at .8."""
    middle, low = Candidate("a", "k26"), Candidate("a", "k09")
    facts = {A: Facts(0.0, 1.0, 1e-3), low: Facts(0.17, 0.9, 1e-3), middle: Facts(0.5, 0.8, 1e-3),
             FROZEN: Facts(1.0, 0.6, 1e-3)}  # fmt: skip
    choice = Problem(facts, EPOCHS, 0)
    played = replay(POLICY, choice, _recorded(dict.fromkeys(facts, 0.5)), 2.5)
    rounds = [decision.advance for decision in played.decisions]
    assert rounds == [(Goal(FROZEN, 3),), (Goal(FROZEN, EPOCHS),), (Goal(middle, EPOCHS),), ()]
    assert played.spent == pytest.approx(2.4)


def test_a_training_that_is_left_goes_to_fewer_images() -> None:
    """1x for the only start and .18 for the look: at 2.18 a quarter of the images, below none."""
    fewer = Candidate("a", "k00", "i25")
    facts = {A: Facts(0.0, 1.0, 1e-3), FROZEN: Facts(1.0, 0.6, 1e-3),
             fewer: Facts(0.0, 1.0, 1e-3, images=0.25)}  # fmt: skip
    choice, recorded = Problem(facts, EPOCHS, 0), _recorded(dict.fromkeys(facts, 0.5))
    rounds = {
        budget: [d.advance for d in replay(POLICY, choice, recorded, budget).decisions]
        for budget in (2.17, 2.18)
    }
    assert rounds[2.18] == [(Goal(FROZEN, 3),), (Goal(fewer, EPOCHS),), ()]
    assert rounds[2.17] == [(Goal(FROZEN, 3),), (Goal(FROZEN, EPOCHS),), ()]


def test_speed_takes_a_depth_that_costs_nothing_and_no_other() -> None:
    """Everything frozen rises faster than nothing frozen, or far more slowly."""
    policy = advised(shipped(), "speed")
    for end, pick in ((0.9, DEEP["b"]), (0.2, B)):
        ends = {cell: ENDS.get(cell, 0.3) for cell in ALL} | {DEEP["b"]: end}
        played = replay(policy, problem(ALL), _recorded(ends), 2.0)
        assert played.pick == pick
        assert played.spent <= 2.0


def test_speed_keeps_to_its_choice_once_it_is_made() -> None:
    """What the frozen cell shows after the look decides nothing: a killed run comes back to it."""
    policy, choice = advised(shipped(), "speed"), problem(ALL)
    ends = {cell: ENDS.get(cell, 0.3) for cell in ALL} | {DEEP["b"]: 0.9}
    played = replay(policy, choice, _recorded(ends), 2.0)
    later = {
        dataclasses.replace(one, score=0.01) if one.cell == DEEP["b"] and one.epoch > 3 else one
        for one in played.observed
    }
    again = policy(choice, frozenset(later), 2.0 - played.spent)
    assert again.pick == DEEP["b"]


def test_nothing_that_comes_later_changes_the_pick() -> None:
    """At every moment after the choice, whatever the epochs beyond it say."""
    choice = problem(ALL)
    played = replay(POLICY, choice, _recorded({c: ENDS.get(c, 0.3) for c in ALL}), 2.0)
    late = {Evaluated(B, 0, epoch, 0.0, 0.1) for epoch in range(6, 11)}
    until = {one for one in played.observed if not (one.cell == B and one.epoch > 5)}
    for more in range(6):
        seen = frozenset(until | {one for one in late if one.epoch < 6 + more})
        decision = POLICY(choice, seen, 2.0 - sum(one.price for one in seen))
        assert decision.pick == B


def test_short_complete_runs_choose_and_the_best_runs_anew() -> None:
    """Three runs of 3 of 10 epochs at .3x each; 1.9x is the least."""
    short = {Candidate(start, "k00", "e25"): cell for start, cell in zip("abc", (A, B, C))}  # noqa: B905
    facts = dict(problem((A, B, C)).cells) | {
        run: Facts(0.0, 1.0, 3e-4, share=0.3) for run in short
    }
    choice = Problem(facts, EPOCHS, 0)
    curves = straight({A: 0.5, B: 0.6, C: 0.4})
    ends = dict(zip(short, (0.1, 0.2, 0.3), strict=True))
    recorded = Recorded(curves | {(run, 0): (0.0, 0.0, end) for run, end in ends.items()})
    played = replay(short_runs(short, 25), choice, recorded, 2.0)
    assert played.pick == C
    assert [sorted(d.advance) for d in played.decisions] == [[Goal(run, 3) for run in short], []]
    assert played.spent == pytest.approx(1.9)
    with pytest.raises(ConfigError, match=r"at least 1\.90 trainings"):
        replay(short_runs(short, 25), choice, recorded, 1.8)
