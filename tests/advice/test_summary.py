"""The answer after the toy choice."""

import dataclasses
import math

import pytest

from frostline.advice.cells import Candidate, Evaluated, Facts, Problem
from frostline.advice.model import condition
from frostline.advice.policies import even, priced
from frostline.advice.replay import replay
from frostline.advice.summary import doubled, fastest, summarise
from tests.advice.test_model import PLAIN
from tests.advice.toy import EPOCHS, FROZEN, A, B, C, problem, recorded


def finished(**ends: float) -> list[Evaluated]:
    return [
        Evaluated(cell, 0, EPOCHS, ends[name], 1.0)
        for name, cell in (("a", A), ("b", B), ("c", C), ("frozen", FROZEN))
        if name in ends
    ]


def test_what_is_close_is_a_tie_and_what_is_far_is_not() -> None:
    found = summarise(problem(), finished(a=0.61, b=0.60, c=0.2), PLAIN, A)
    assert [other.cell for other in found.others] == [B, C]
    assert [tie.cell for tie in found.ties] == [B]
    assert found.others[1].told_apart
    assert 0.4 < found.chance < 0.8
    assert 0 < found.regret < 0.03
    assert all(other.observed for other in found.others)


def test_the_score_is_what_new_images_give() -> None:
    """Selection scores lie above: 0.2 log odds, five points at one half."""
    found = summarise(problem(), finished(a=0.5), PLAIN, A)
    assert found.score == pytest.approx(0.45, abs=0.01)
    assert found.low < found.score < found.high
    post = condition(problem(), finished(a=0.5), PLAIN)
    assert (found.low, found.high) == post.interval(A, 1)


def test_the_price_list_is_of_the_picks_start() -> None:
    unseen = summarise(problem(), finished(a=0.6), PLAIN, A)
    (price,) = unseen.prices
    assert (price.cell, price.observed, price.price) == (FROZEN, False, 0.6)
    seen = summarise(problem(), finished(a=0.6, frozen=0.595), PLAIN, A).prices[0]
    assert seen.observed
    assert seen.loss < price.loss
    assert seen.high - seen.low < price.high - price.low
    assert summarise(problem(), finished(b=0.6), PLAIN, B).prices == ()


def test_what_a_doubling_of_the_labels_gave() -> None:
    """From .4 to .6 in two doublings; the interval by hand, from the log odds of .4."""
    posterior = condition(problem(), [], PLAIN)
    mean, low, high = doubled(posterior, 0.4, 0.6, 0.25)
    sd = 1.96 * math.sqrt(2) * posterior.spread
    odds = math.log(0.4 / 0.6)
    assert mean == pytest.approx(0.1)
    assert low == pytest.approx((0.6 - 1 / (1 + math.exp(-odds - sd))) / 2)
    assert high == pytest.approx((0.6 - 1 / (1 + math.exp(-odds + sd))) / 2)
    assert low < mean < high


def test_fewer_images_say_nothing_of_the_cells() -> None:
    fewer = Candidate("a", "k00", "i25")
    cells = dict(problem().cells) | {fewer: Facts(0.0, 1.0, 3e-4, images=0.25)}
    choice = Problem(cells, EPOCHS, 0)
    seen = finished(a=0.6, b=0.5)
    found = summarise(choice, [*seen, Evaluated(fewer, 0, EPOCHS, 0.1, 1.0)], PLAIN, A)
    assert found == summarise(choice, seen, PLAIN, A)
    assert fewer not in choice.unfrozen
    assert (choice.fewer(A), choice.fewer(B)) == (fewer, None)


def test_the_fastest_within_a_point() -> None:
    cheap = dataclasses.replace(PLAIN, slope=0.0, slope_task=0.01, slope_start=0.01, rest=0.01)
    assert fastest(summarise(problem(), finished(a=0.6), cheap, A)) == FROZEN
    assert fastest(summarise(problem(), finished(a=0.6), PLAIN, A)) == A


def test_after_a_replay_the_pick_is_likely() -> None:
    outcome = replay(priced(even(), 0.3), problem(), recorded(), 2.0)
    found = summarise(problem(), outcome.observed, PLAIN, outcome.pick)
    assert found.chance > 0.5
    assert found.pick == outcome.pick
