"""The statistics against printed tables, a paired t test by hand, and a simulation."""

import json
import math

import numpy as np
import pytest

from frostline.records import TrialRecord
from frostline.reporting.answer import answer
from frostline.reporting.tukey import tukey_quantile
from tests.factories import make_grid, make_record

COLLAPSED = ("collapsed: AP50 near 0",)


def trials(values: dict[tuple[str, int], list[float]]) -> list[TrialRecord]:
    """Cell -> score of seed 0, 1, ...; NaN is a trial that was not run."""
    return [
        make_record(init, depth, seed, ap=value)
        for (init, depth), found in values.items()
        for seed, value in enumerate(found)
        if not math.isnan(value)
    ]


@pytest.mark.parametrize(
    ("groups", "freedom", "printed"),
    [  # Harter's tables, upper 5 %
        (2, 1, 17.97),
        (3, 2, 8.331),
        (3, 10, 3.877),
        (5, 60, 3.977),
        (10, 20, 5.008),
        (12, 11, 5.713),
        (20, 1, 59.56),
    ],
)
def test_studentised_range_equals_printed_tables(groups: int, freedom: int, printed: float) -> None:
    assert tukey_quantile(0.95, groups, freedom) == pytest.approx(printed, rel=2e-4)


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.30265), (10, 2.22814), (60, 2.0003)]
)
def test_two_groups_are_students_t(freedom: int, t: float) -> None:
    assert tukey_quantile(0.95, 2, freedom) / math.sqrt(2) == pytest.approx(t, rel=1e-4)


def test_two_cells_are_a_paired_t_test() -> None:
    a, b = [0.50, 0.53, 0.51], [0.47, 0.49, 0.49]
    found = answer(trials({("a", 0): a, ("b", 0): b}), deepest=52)
    difference = np.subtract(b, a)
    half = 4.302652729911275 * difference.std(ddof=1) / math.sqrt(3)  # t(0.975, 2)
    (other,) = [c for c in found.comparisons if c.verdict != "best"]
    assert other.difference == pytest.approx(difference.mean())
    assert other.low == pytest.approx(difference.mean() - half, rel=1e-4)
    assert other.high == pytest.approx(difference.mean() + half, rel=1e-4)
    assert other.verdict == "lower"
    assert found.noise.freedom == 2
    assert found.noise.sd == pytest.approx(difference.std(ddof=1) / math.sqrt(2))


def test_starts_are_a_paired_t_test_of_their_means_over_depths() -> None:
    values = {
        ("a", 0): [0.50, 0.52, 0.53], ("a", 9): [0.54, 0.53, 0.55], ("a", 18): [0.50, 0.50, 0.49],
        ("b", 0): [0.47, 0.48, 0.50], ("b", 9): [0.48, 0.50, 0.51],
    }  # fmt: skip
    (start,) = answer(trials(values), deepest=52).starts
    assert [plan.name for plan in start.plans] == ["k=0", "k=9"]
    by_seed = np.mean(np.subtract([values["b", k] for k in (0, 9)],
                                  [values["a", k] for k in (0, 9)]), axis=0)  # fmt: skip
    half = 4.302652729911275 * by_seed.std(ddof=1) / math.sqrt(3)  # t(0.975, 2)
    assert start.difference == pytest.approx(by_seed.mean())
    assert start.high - start.difference == pytest.approx(half, rel=1e-4)
    assert start.verdict == "lower"


def test_a_seed_that_lacks_a_depth_is_not_taken_for_different() -> None:
    """Freezing costs b 0.1 more than a; seed 2 did not get that far."""
    values = {
        ("a", 0): [0.50, 0.52, 0.51], ("a", 9): [0.50, 0.52, math.nan],
        ("b", 0): [0.48, 0.50, 0.49], ("b", 9): [0.38, 0.40, math.nan],
    }  # fmt: skip
    (start,) = answer(trials(values), deepest=52).starts
    assert start.difference == pytest.approx(-0.07)
    assert start.high - start.low == pytest.approx(0, abs=1e-9)


def test_starts_with_one_common_seed_are_not_told_apart() -> None:
    (start,) = answer(trials({("a", 0): [0.5, 0.52], ("b", 0): [0.4]}), deepest=52).starts
    assert start.verdict == "unknown"
    assert start.difference == pytest.approx(-0.11)


def test_seeds_that_suit_one_start_are_noise_that_depths_do_not_average() -> None:
    """Equal starts, each seed with its own liking for them: intervals hold 0 in 95 % of studies."""
    random = np.random.default_rng(3)
    studies, held = 300, 0
    template = make_grid(inits=("a", "b"), seeds=(0, 1, 2))
    for _ in range(studies):
        liking = random.normal(0, 0.01, (2, 3))
        records = [
            _with_ap(r, 0.5 + liking["ab".index(r.key.init), r.key.seed] + random.normal(0, 0.01))
            for r in template
        ]
        (start,) = answer(records, deepest=52).starts
        held += start.low <= 0 <= start.high
    assert held / studies >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / studies)


def test_starts_without_a_common_depth_are_not_compared() -> None:
    values = {("a", 0): [0.5, 0.52], ("b", 9): [0.4, 0.43]}
    (start,) = answer(trials(values), deepest=52).starts
    assert (start.plans, start.verdict) == ((), "unknown")


def test_a_start_may_be_higher_on_average_than_that_of_the_best_cell() -> None:
    values = {
        ("a", 0): [0.60, 0.61], ("a", 9): [0.20, 0.21],
        ("b", 0): [0.55, 0.561], ("b", 9): [0.55, 0.56],
    }  # fmt: skip
    (start,) = answer(trials(values), deepest=52).starts
    assert start.verdict == "higher"


def test_an_effect_of_the_seed_is_no_noise() -> None:
    values = {("a", k): [0.5 + k / 100, 0.6 + k / 100] for k in (0, 1, 2)}
    found = answer(trials(values), deepest=52)
    assert found.noise.sd == pytest.approx(0, abs=1e-9)
    assert found.best is not None
    assert found.best.depth == 2
    assert [c.verdict for c in found.comparisons] == ["lower", "lower", "best"]


def test_close_cells_are_ties() -> None:
    values = {("a", 0): [0.50, 0.52], ("a", 9): [0.52, 0.505], ("a", 18): [0.30, 0.31]}
    found = answer(trials(values), deepest=52)
    assert [c.verdict for c in found.comparisons] == ["tie", "best", "lower"]
    assert [cell.depth for cell in found.ties] == [0]
    tie = found.deepest_tie("a")
    assert tie is not None
    assert tie.depth == 9


def test_one_seed_cannot_tell() -> None:
    found = answer(make_grid(seeds=(0,)), deepest=52)
    assert found.noise.freedom == 0
    assert {c.verdict for c in found.comparisons} == {"best", "unknown"}
    assert found.best is not None


def test_cells_without_a_common_seed_cannot_be_compared() -> None:
    nan = math.nan
    values = {
        ("a", 0): [0.5, 0.51, nan, nan],
        ("a", 9): [0.5, 0.52, nan, nan],
        ("b", 0): [nan, nan, 0.4, 0.41],
        ("b", 9): [nan, nan, 0.4, 0.42],
    }
    found = answer(trials(values), deepest=52)
    verdicts = {(c.cell.init, c.cell.depth): c.verdict for c in found.comparisons}
    assert verdicts["b", 0] == verdicts["b", 9] == "unknown"
    assert verdicts["a", 0] == "tie"


def test_a_missing_seed_is_allowed_for() -> None:
    """Seed 1 is 0.1 better for every cell; the cell that lacks it is not punished for that."""
    values = {("a", 0): [0.5, 0.6], ("a", 9): [0.48, 0.58], ("a", 18): [0.5, math.nan]}
    found = answer(trials(values), deepest=52)
    last = found.comparisons[-1]
    assert last.cell.mean == 0.5
    assert last.difference == pytest.approx(0, abs=1e-9)


def test_collapsed_and_unranked_trials_are_in_no_mean() -> None:
    records = [
        *trials({("a", 0): [0.5, 0.52], ("a", 9): [0.4, 0.42]}),
        make_record("a", 0, 2, ap=0.001, flags=COLLAPSED),
        make_record("random", 0, 0, ap=0.9, ranked=False),
    ]
    found = answer(records, deepest=52)
    assert found.best is not None
    assert found.best.init == "a"
    assert found.best.mean == pytest.approx(0.51)
    assert found.best.collapsed == (2,)
    assert [cell.init for cell in found.references] == ["random"]


def test_nothing_left_to_rank() -> None:
    records = [make_record("a", 0, 0, ap=0.0, flags=COLLAPSED), make_record("a", 9, 0, ap=None)]
    found = answer(records, deepest=52)
    assert found.best is None
    assert found.best_of("a") is None
    assert found.deepest_tie("a") is None
    assert {c.verdict for c in found.comparisons} == {"unknown"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_no_records_at_all() -> None:
    found = answer([], deepest=52)
    assert (found.best, found.comparisons, found.starts) == (None, (), ())
    assert found.score.ranks
    assert found.noise.freedom == 0
    assert math.isnan(found.noise.sd)


def test_equal_cells_are_rarely_told_apart() -> None:
    """Twelve equal cells, two seeds: in at most some 5 % of studies is any called lower."""
    random = np.random.default_rng(7)
    template = make_grid(seeds=(0, 1))
    studies, wrong = 120, 0
    for _ in range(studies):
        seed_effect = random.normal(0, 0.02, 2)
        records = [
            _with_ap(r, 0.5 + seed_effect[r.key.seed] + random.normal(0, 0.01)) for r in template
        ]
        found = answer(records, deepest=52)
        wrong += any(c.verdict == "lower" for c in found.comparisons)
    assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def _with_ap(record: TrialRecord, ap: float) -> TrialRecord:
    return record.model_copy(update={"scores": {"val": {"ap": ap}}})


def test_the_answer_is_plain_json() -> None:
    row = answer(make_grid(), deepest=52).to_dict()
    json.dumps(row, allow_nan=False)
    assert row["best"] == ["imagenet", "k09"]
    assert len(row["cells"]) == 12


def test_trials_that_are_all_equal_are_ties_to_the_bit() -> None:
    zeros = [0.0, 0.0, 0.0]
    values = {(init, k): zeros for init in "ab" for k in (0, 9)}
    found = answer(trials(values), deepest=52)
    assert sorted(c.verdict for c in found.comparisons) == ["best", "tie", "tie", "tie"]
    assert [start.verdict for start in found.starts] == ["tie"]


def test_a_cell_by_hand() -> None:
    records = [
        make_record("a", 9, 2, ap=0.25, seconds=30.0),
        make_record("a", 9, 0, ap=0.5, seconds=10.0),
        make_record("a", 9, 1, ap=0.375, seconds=100.0),
        make_record("a", 9, 3, ap=0.0, seconds=40.0, flags=COLLAPSED),
        make_record("a", 0, 0, ap=0.125, seconds=7.0),
        make_record("b", 9, 0, ap=0.0625, seconds=8.0),
    ]
    found = answer(records, deepest=52)
    cells = {c.cell.name: c.cell for c in found.comparisons}
    assert list(cells) == ["a, k=0", "a, k=9", "b, k=9"]
    cell = cells["a, k=9"]
    assert (cell.seeds, cell.values, cell.collapsed) == ((0, 1, 2), (0.5, 0.375, 0.25), (3,))
    assert (cell.mean, cell.low, cell.high) == (0.375, 0.25, 0.5)
    assert (cell.value_of(1), cell.depth) == (0.375, 9)
    assert math.isnan(cell.value_of(3))
    assert cell.train_seconds == 35.0  # the median of 10, 30, 40 and 100
    assert cells["b, k=9"].train_seconds == 8.0
    assert found.best is cell
    (best,) = [c for c in found.comparisons if c.verdict == "best"]
    assert (best.difference, best.low, best.high) == (0.0, 0.0, 0.0)


def test_a_cell_that_wholly_collapsed_stands_beside_the_others_and_has_no_verdict() -> None:
    values = {("a", 0): [0.5, 0.52], ("a", 9): [0.5, 0.51], ("b", 0): [0.3, 0.33]}
    lost = [make_record("b", 9, seed, ap=0.0, flags=COLLAPSED) for seed in (0, 1)]
    lost = [record.model_copy(update={"seconds": {}}) for record in lost]
    found = answer([*trials(values), *lost], deepest=52)
    last = found.comparisons[-1]
    assert (last.cell.name, last.verdict, last.cell.collapsed) == ("b, k=9", "unknown", (0, 1))
    for number in (last.difference, last.low, last.high, last.cell.mean, last.cell.low):
        assert math.isnan(number)
    assert math.isnan(last.cell.train_seconds)
    (start,) = found.starts
    assert [plan.name for plan in start.plans] == ["k=0"]
    assert start.difference == pytest.approx(-0.195)


def test_a_start_that_collapsed_in_more_than_half_of_its_trials_is_unsteady() -> None:
    def lost(init: str, *seeds: int) -> list[TrialRecord]:
        return [make_record(init, 0, seed, ap=0.0, flags=COLLAPSED) for seed in seeds]

    records = [
        *trials({("steady", 0): [0.5, 0.52], ("half", 0): [0.4], ("rare", 0): [0.6]}),
        *lost("half", 1),
        *lost("rare", 1, 2),
    ]
    assert answer(records, deepest=52).unsteady == {"rare": (2, 3)}


def test_the_row_of_a_comparison_by_hand() -> None:
    values = {("a", 0): [0.5, 0.75], ("b", 0): [0.25]}
    rows = answer(trials(values), deepest=52).to_dict()
    assert rows["score"] == "ap"
    assert rows["split"] == "val"
    assert rows["best"] == ["a", "k00"]
    assert rows["noise_sd"] is None, "two cells and two seeds leave none"
    assert rows["noise_freedom"] == 0
    first, second = rows["cells"]
    told = ("init", "plan", "seeds", "collapsed", "mean", "low", "high", "difference", "verdict")
    assert [first[name] for name in told] == ["a", "k00", 2, 0, 0.625, 0.5, 0.75, 0.0, "best"]
    assert [second[name] for name in told] == [
        *("b", "k00", 1, 0, 0.25, 0.25, 0.25, -0.375, "unknown")
    ]
    assert second["difference_low"] is second["difference_high"] is None
    assert [row["init"] for row in rows["starts"]] == ["b"]
    assert rows["starts"][0]["plans"] == ["k=0"]
    assert answer([], deepest=52).to_dict()["best"] is None


def test_the_length_of_a_study_is_that_of_its_best_cell() -> None:
    """And of the trials of the best cell's start that did not collapse, at any plan."""

    def rising(record: TrialRecord) -> TrialRecord:
        history = [e.model_copy(update={"metrics": {"ap": 0.1 * e.epoch}}) for e in record.history]
        return record.model_copy(update={"history": tuple(history)})

    records = [
        rising(make_record("a", 0, 0, ap=0.5)),
        rising(make_record("a", 9, 0, ap=0.375)),
        rising(make_record("a", 9, 1, ap=0.0, flags=COLLAPSED)),
        make_record("b", 0, 0, ap=0.01),
        rising(make_record("b", 9, 0, ap=0.02)),
    ]
    found = answer(records, deepest=52).length
    assert (found.reached, found.rising, found.curves) == (0.5, 2, 2)
    assert found.short == "still rising"
    little = answer(records[3:4], deepest=52).length
    assert (little.reached, little.curves, little.short) == (0.01, 0, "learned little")
