"""Too short to answer: by the score that was reached, and by its curve over the epochs."""

from collections.abc import Sequence

import pytest

from frostline.records import TrialRecord
from frostline.reporting.answer import answer
from frostline.reporting.words import cautions, headline
from tests.factories import make_record


def said(records: list[TrialRecord]) -> str:
    return headline(answer(records, deepest=52))


def with_curve(record: TrialRecord, scores: Sequence[float | None]) -> TrialRecord:
    """A history with one score on the validation images after each epoch."""
    epochs = [
        record.history[0].model_copy(
            update={"epoch": n, "metrics": None if value is None else {"ap": value}}
        )
        for n, value in enumerate(scores, start=1)
    ]
    return record.model_copy(update={"history": tuple(epochs)})


def test_a_study_that_learned_little_recommends_nothing() -> None:
    text = said([make_record(depth=k, seed=s, ap=0.03 + k / 1e4) for k in (0, 52) for s in (0, 1)])
    assert text.startswith("Too short to answer: the highest mean AP on the validation images is")
    assert "0.035, less than 5.0 points above what a constant prediction scores (0.000)" in text
    assert "No start or depth is recommended; train for more epochs" in text


def test_a_study_in_which_all_collapsed_says_what_it_reached() -> None:
    records = [make_record(depth=k, ap=0.02, flags=("collapsed: x",)) for k in (0, 9)]
    text = said(records)
    assert "the highest trial's AP on the validation images is 0.020" in text
    assert text.endswith("imagenet collapsed in 2 of its 2 trials.")


@pytest.mark.parametrize(
    ("scores", "short"),
    [
        # epochs 6 to 9 rise by 0.012 each, so by 0.0108 in a tenth of nine epochs
        ([0.1, 0.2, 0.3, 0.4, 0.45, 0.50, 0.512, 0.524, 0.536], True),
        # by 0.010 each: 0.009 in a tenth
        ([0.1, 0.2, 0.3, 0.4, 0.45, 0.50, 0.51, 0.52, 0.53], False),
        ([0.1, 0.2, 0.3, 0.4, 0.45, 0.50, 0.50, 0.49, 0.50], False),
        ([None, None, 0.3, None, None, 0.4, None, None, 0.5], True),  # 0.1 in three epochs
    ],
)
def test_a_curve_that_rises_at_the_end(scores: list[float | None], short: bool) -> None:
    text = said([with_curve(make_record(seed=s, ap=0.53), scores) for s in (0, 1)])
    assert text.startswith("Too short to answer") == short
    if short:
        assert "in 2 of 2 trials of imagenet" in text
        assert "was still rising by more than a point in a tenth of the epochs" in text


def test_half_of_the_best_starts_trials_decide() -> None:
    rising, flat = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.5] * 6
    best = [with_curve(make_record(seed=s, ap=0.5), c) for s, c in enumerate((rising, flat, flat))]
    other = [with_curve(make_record("coco", 0, s, ap=0.3), rising) for s in range(3)]
    assert not said(best + other).startswith("Too short")
    assert said([*best, with_curve(make_record(seed=3, ap=0.5), rising)]).startswith("Too short")


def test_without_a_curve_it_is_said_to_be_unknown() -> None:
    found = answer([make_record(), with_curve(make_record(seed=1), [None, None, 0.5])], deepest=52)
    assert not found.length.short
    assert "is not known: eval_every: 1" in " ".join(cautions(found, waiting=0))
    known = answer([with_curve(make_record(), [0.5] * 6)], deepest=52)
    assert "is not known" not in " ".join(cautions(known, waiting=0))


def test_a_start_that_collapsed_in_more_than_half_its_trials_is_named() -> None:
    bad = [make_record("coco", 0, s, ap=0.01, flags=("collapsed: x",)) for s in (0, 1)]
    good = [make_record("imagenet", 0, s) for s in (0, 1, 2)]
    once = make_record("coco", 0, 2, ap=0.4)
    assert said([*good, *bad, once]).endswith("coco collapsed in 2 of its 3 trials.")
    twice = make_record("coco", 0, 3, ap=0.4)
    assert "collapsed" not in said([*good, *bad, once, twice])


def test_a_score_that_does_not_rank_has_no_least_gain() -> None:
    records = [make_record(ap=0.03, seed=s) for s in (0, 1)]
    assert answer(records, deepest=52).length.short == "learned little"
    assert answer(records, deepest=52, score="wheat").length.short == ""
