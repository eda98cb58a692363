"""Budgets as they are typed, and what minutes are worth."""

import pytest

from frostline.advice.budget import Budget, parse_budget, trainings
from frostline.advice.cells import Candidate
from frostline.errors import ConfigError
from tests.advice.toy import A, B, C, problem


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2x", Budget(2.0, None)),
        (" 1.5 x ", Budget(1.5, None)),
        (2, Budget(2.0, None)),
        ("90min", Budget(None, 90.0)),
        ("1.5h", Budget(None, 90.0)),
    ],
)
def test_forms(text: str | float, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "x", "2 trainings", "-1x", "0x", "1e3x", "nan"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a budget such as 2x"):
        parse_budget(text)


def _x(minutes: float, workers: int, *, unit_seconds: float = 600.0) -> float:
    return trainings(Budget(None, minutes), problem((A, B, C)), unit_seconds, workers)


def test_minutes_with_one_worker_are_what_they_say() -> None:
    """Ten minutes each: 20 minutes are 2x, 45 minutes 4.5x."""
    assert _x(20, 1) == pytest.approx(2.0)
    assert _x(45, 1) == pytest.approx(4.5)


def test_two_workers_share_the_rounds() -> None:
    """Three to epoch 5 take two turns, the best to epoch 10 half of one: 15 min for 1.5 + .5."""
    assert _x(15, 2) == pytest.approx(2.0)
    assert _x(12.5, 2) == pytest.approx(1.5)


def test_three_workers_take_all_at_once() -> None:
    """Ten minutes are enough for 3x; what is left runs alone."""
    assert _x(10, 3) == pytest.approx(3.0)
    assert _x(12, 3) == pytest.approx(3.2)
    assert _x(9, 3) == pytest.approx(0.9)


def test_of_many_candidates_one_less_runs_on_each_stretch() -> None:
    """Four to a third of e, three to two thirds, two to e: 2, 2 and 1 turns, mean 5/3, of 3."""
    many = problem([Candidate(init, "k00") for init in "abcd"])
    found = trainings(Budget(None, 40 / 3), many, 600.0, 2)  # 1 1/3 x of time: e is 1/2
    assert found == pytest.approx(1 + 0.5 * 2)


def test_trainings_are_taken_as_they_are() -> None:
    assert trainings(Budget(2.0, None), problem(), 600.0, 2) == 2.0
