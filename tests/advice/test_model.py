"""The model against closed forms and simulation, its constants against what made the data."""

import dataclasses
import math

import numpy as np
import pytest

from frostline.advice.cells import Candidate, Evaluated, Facts
from frostline.advice.constants import widened
from frostline.advice.fitting import History, fit
from frostline.advice.model import FLOOR, LEVEL_SD, Constants, condition, log_odds
from frostline.advice.racing import race
from frostline.advice.replay import replay
from tests.advice.toy import EPOCHS, FROZEN, A, B, C, problem, recorded

LAST = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
PLAIN = Constants(
    start=0.3,
    rate=0.0,
    slope=0.5,
    slope_task=0.2,
    slope_start=0.1,
    shape=((0.0, 0.0), (1.0, 1.0)),
    rest=0.05,
    seed=0.0,
    noise=0.1,
    gaps=((0.1, 1.0, 0.3, 0.2, 0.1, 0.3), LAST),
    offset=0.2,
    offset_task=0.05,
    offset_cell=0.0,
)


def seen(cell: Candidate, epoch: int, score: float, seed: int = 0) -> Evaluated:
    return Evaluated(cell, seed, epoch, score, 0.1)


def test_one_finished_trial_by_hand() -> None:
    """Precision-weighted mean of prior and observation; another start shares the level."""
    post = condition(problem(), [seen(A, EPOCHS, 0.6)], PLAIN)
    prior = LEVEL_SD**2 + 0.3**2
    gain = prior / (prior + 0.1**2)
    assert post.selection_mean[0] == pytest.approx(gain * log_odds(0.6), rel=1e-6)
    assert post.selection_covariance[0, 0] == pytest.approx(prior * (1 - gain), rel=1e-6)
    shared = LEVEL_SD**2 / (prior + 0.1**2)
    assert post.selection_mean[1] == pytest.approx(shared * log_odds(0.6), rel=1e-6)
    assert post.mean[0] == pytest.approx(post.selection_mean[0] - 0.2)
    assert post.covariance[0, 1] == pytest.approx(post.selection_covariance[0, 1] + 0.05**2)


def test_what_all_trials_still_gain_is_learnt_from_the_finished_one() -> None:
    """A gained 2 where 1 was expected; B, seen as early, is expected to gain more as well."""
    early = [seen(A, 1, 0.2), seen(B, 1, 0.2)]
    middle = log_odds(0.2)
    before = condition(problem(), early, PLAIN).selection_mean[1]
    later = 1 / (1 + math.exp(-(middle + 2)))
    after = condition(problem(), [*early, seen(A, EPOCHS, later)], PLAIN).selection_mean[1]
    assert after > before + 0.3


@pytest.mark.parametrize(("gained", "expected"), [(2.0, 2.0), (0.1, 0.5)])
def test_starts_differ_in_shares_of_what_the_task_gained(gained: float, expected: float) -> None:
    """By hand: A ended sure, B is seen at a tenth; of its gap .2 of A's, half the mean at least."""
    sure = dataclasses.replace(
        PLAIN, noise=1e-4, offset_task=0.0, start=5.0, gaps=((0.1, 1.0, 1e-4, 0.2, 1e-4, 0.0), LAST)
    )
    end = 1 / (1 + math.exp(-log_odds(0.4) - gained))
    some = [seen(A, 1, 0.4), seen(A, EPOCHS, end), seen(B, 1, 0.4)]
    post = condition(problem(), some, sure)
    assert math.sqrt(post.selection_covariance[1, 1]) == pytest.approx(0.2 * expected, rel=0.01)


def test_conditioning_is_what_simulation_gives() -> None:
    """Draw level, starts, trials and gaps; keep the draws that fit what was seen."""
    random = np.random.default_rng(3)
    n = 150_000
    constants = dataclasses.replace(PLAIN, rest=0.0, seed=0.15)
    level, start = random.normal(0, LEVEL_SD, n), random.normal(0, 0.3, (2, n))
    f = level + start
    end = f + random.normal(0, 0.15, n) + random.normal(0, 0.1, (2, n))
    gap = (
        1.0
        + random.normal(0, 0.3, n)
        + random.normal(0, 0.2, (2, n))
        + random.normal(0, 0.1, (2, n))
    )
    y = end - gap
    target = np.array([-0.5, -0.2])
    near = (np.abs(y - target[:, None]) < 0.08).all(0)
    assert near.sum() > 200
    scores = [1 / (1 + math.exp(-v)) for v in target]
    post = condition(problem((A, B)), [seen(A, 1, scores[0]), seen(B, 1, scores[1])], constants)
    assert post.selection_mean == pytest.approx(f[:, near].mean(1), abs=0.08)
    assert post.selection_covariance == pytest.approx(np.cov(f[:, near]), abs=0.06)
    chance = float((f[0, near] > f[1, near]).mean())
    assert post.chances((A, B))[A] == pytest.approx(chance, abs=0.1)


def test_order_of_observations_changes_nothing() -> None:
    some = [seen(A, 1, 0.2), seen(B, 1, 0.3), seen(A, 2, 0.3), seen(FROZEN, 1, 0.1)]
    first = condition(problem(), some, PLAIN)
    assert np.array_equal(first.mean, condition(problem(), some[::-1], PLAIN).mean)
    assert first.difference(A, FROZEN) == first.difference(A, FROZEN)


def test_depth_costs_what_others_say_until_it_is_seen() -> None:
    before = condition(problem(), [seen(A, EPOCHS, 0.5)], PLAIN).difference(A, FROZEN)
    after = condition(
        problem(), [seen(A, EPOCHS, 0.5), seen(FROZEN, EPOCHS, 0.49)], PLAIN
    ).difference(A, FROZEN)
    assert before[0] > 0.08  # half a log odd at 0.5 is 0.12
    assert after[0] < 0.05
    assert after[2] - after[1] < before[2] - before[1]


def test_a_small_loss_leaves_little_between_the_depths() -> None:
    """Around the shape, depths scatter in shares of the loss that the all-frozen trial showed."""
    middle = Candidate("a", "k26")
    choice = problem((A, middle, FROZEN))
    facts = {**choice.cells, middle: Facts(0.5, 0.8, 3e-4)}
    choice = dataclasses.replace(choice, cells=facts)
    sure = dataclasses.replace(PLAIN, noise=0.01, slope_task=1.0, rest=0.3, offset_task=0.0)

    def width(end: float) -> float:
        some = [seen(A, EPOCHS, 0.5), seen(FROZEN, EPOCHS, end)]
        post = condition(choice, some, sure)
        return math.sqrt(post.selection_covariance[1, 1])

    lost = log_odds(0.5) - log_odds(0.4)
    assert width(0.4) == pytest.approx(0.3 * lost, rel=0.05)  # 2 sqrt(1/4) is 1
    assert width(0.49) < width(0.4) / 4


def test_an_early_look_at_depth_may_drift_in_shares_of_its_loss() -> None:
    def sd(end: float) -> float:
        some = [seen(A, 1, 0.5), seen(FROZEN, 1, end)]
        sure = dataclasses.replace(PLAIN, slope_task=1.0, gaps=((0.1, 1.0, 0, 0, 0.01, 0.5), LAST))
        _, low, high = condition(problem(), some, sure).difference(A, FROZEN)
        return high - low

    assert sd(0.3) > 2 * sd(0.48)


def test_intervals_narrow_with_seeds_and_widen_by_hand() -> None:
    post = condition(problem(), [seen(A, EPOCHS, 0.5)], PLAIN)
    one, many = post.interval(A, 1), post.interval(A)
    assert one[0] < many[0] < many[1] < one[1]
    wide = condition(problem(), [seen(A, EPOCHS, 0.5)], widened(PLAIN, 2.0)).interval(A)
    assert wide[0] < many[0]
    sd = math.sqrt(post.covariance[0, 0])
    assert log_odds(many[1]) - log_odds(many[0]) == pytest.approx(2 * 1.96 * sd)


def test_scores_of_nothing_and_of_all_stay_finite() -> None:
    assert log_odds(0.0) == log_odds(FLOOR)
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0))


def test_regret_is_expected_of_what_is_not_the_best() -> None:
    post = condition(problem(), [seen(A, EPOCHS, 0.5), seen(B, EPOCHS, 0.6)], PLAIN)
    assert post.expected_regret(A, (A, B)) > 0.05 > post.expected_regret(B, (A, B))


def test_a_race_drops_what_is_unlikely() -> None:
    """With little noise B leads at epoch 5 beyond doubt; with much noise A goes on."""
    sure = dataclasses.replace(
        PLAIN, noise=0.01, gaps=((0.1, 1.0, 0.1, 0.01, 0.01, 0.0), PLAIN.gaps[1])
    )
    outcome = replay(race(sure, (0.5, 0.8), 0.05), problem(), recorded())
    assert outcome.pick == B
    assert outcome.spent == pytest.approx(1 + 2 * 0.5)
    doubtful = widened(PLAIN, 3.0)
    assert replay(race(doubtful, (0.5, 0.8), 0.05), problem(), recorded()).spent > 2.0


# Constants


def made_up(seed: int, slope: float) -> History:
    """Starts, depths and seeds drawn from known parts."""
    random = np.random.default_rng(seed)
    facts, curves, test = {}, {}, {}
    for start in "abcdef":
        level = random.normal(0, 0.3)
        for depth, lost in ((0.0, 0.0), (0.5, 0.25), (1.0, 1.0)):
            cell = Candidate(start, f"k{depth:g}", "lr1")
            facts[cell] = Facts(depth, 1.0, 1.0)
            for s in range(8):
                end = level - slope * lost + random.normal(0, 0.05)
                steps = np.linspace(0.1, 1.0, EPOCHS)
                odds = end - (1 - steps) * 2.0
                curves[cell, s] = tuple((1 / (1 + np.exp(-odds))).tolist())
                test[cell, s] = float(1 / (1 + np.exp(-(end - 0.1))))
    return History(facts, curves, test)


def test_constants_come_back_from_data_made_with_them() -> None:
    histories = [made_up(seed, slope) for seed, slope in enumerate((0.4, 0.8, 0.6, 0.6))]
    found = fit(histories, ["w", "x", "y", "z"])
    assert found.slope == pytest.approx(0.6, abs=0.03)
    assert found.lost(0.5) == pytest.approx(0.25, abs=0.04)
    assert found.noise == pytest.approx(0.05, rel=0.2)
    assert found.seed < 0.02
    assert found.start == pytest.approx(0.3, rel=0.4)
    assert found.offset == pytest.approx(0.1, abs=0.01)
    gains = np.ones(len(found.gaps))
    assert found.gap(np.array([0.5]), gains)[0, 0] == pytest.approx(1.0, abs=0.02)
    assert found.gaps[-1] == LAST
    sds = np.array(found.gaps)[:, [2, 4, 5]]
    assert (np.diff(sds, axis=0) <= 0).all()


def test_data_sets_of_one_family_count_once() -> None:
    quiet, loud = made_up(0, 0.4), made_up(1, 0.4)
    loud = dataclasses.replace(
        loud, curves={k: tuple(v[0] if k[1] % 2 else x for x in v) for k, v in loud.curves.items()}
    )
    twice = fit([quiet, quiet, loud], ["a", "a", "b"])
    once = fit([quiet, loud], ["a", "b"])
    assert twice.noise == pytest.approx(once.noise)


def test_a_data_set_scored_on_other_images_says_nothing_of_offsets() -> None:
    """What it says of everything else counts."""
    one, other = made_up(0, 0.4), made_up(1, 0.8)
    known = fit([one, other], ["a", "b"])
    unlike = dataclasses.replace(other, test={})
    found = fit([one, unlike], ["a", "b"])
    assert found.offset == pytest.approx(0.1, abs=0.01)
    assert (found.slope, found.noise, found.gaps) == (known.slope, known.noise, known.gaps)
    assert found.offset_cell == fit([one], ["a"]).offset_cell


def test_candidates_without_rows_have_the_prior() -> None:
    post = condition(problem(), [], PLAIN)
    assert post.selection_mean[0] == 0
    assert post.chances((A, B, C))[A] == pytest.approx(1 / 3, abs=0.03)
