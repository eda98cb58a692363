"""Sentences for every kind of study: what is claimed, and what is not."""

import math

from frostline.figures import difference_table
from frostline.records import TrialRecord
from frostline.reporting.answer import Answer, answer
from frostline.reporting.words import (
    cautions,
    compare_with_rule,
    findings,
    headline,
    points,
    signed_points,
)
from tests.factories import make_grid, make_record

COLLAPSED = ("collapsed: AP50 near 0",)


def found(records: list[TrialRecord]) -> Answer:
    return answer(records, deepest=52)


def text(records: list[TrialRecord]) -> str:
    return " ".join(findings(found(records)))


def test_headline_names_the_cell_its_seeds_and_its_ties() -> None:
    assert headline(found(make_grid())) == (
        "The highest mean AP on the validation images, 0.503 over 3 seeds, came from imagenet "
        "with the first 9 of 52 convolutions frozen (k=9); 1 of the 11 other cells cannot be "
        "told apart from it."
    )


def test_headline_at_both_ends() -> None:
    assert "nothing frozen (k=0)" in headline(found([make_record(depth=0)]))
    assert "the whole backbone frozen (k=52)" in headline(found([make_record(depth=52)]))


def test_headline_without_repeated_seeds_claims_nothing() -> None:
    records = make_grid(seeds=(0,))
    assert "it cannot be told apart from any other cell" in headline(found(records))
    assert "no cell can be told apart from another" in text(records)


def test_headline_when_all_tie() -> None:
    records = [
        make_record(depth=k, seed=s, ap=0.5 + 0.1 * ((k + s) % 2)) for k in (0, 9) for s in (0, 1)
    ]
    assert "; the one other cell cannot be told apart from it." in headline(found(records))
    assert "no cell is clearly lower" in text(records)


def test_headline_when_none_ties() -> None:
    records = [make_record(depth=k, seed=s, ap=0.5 - k / 100) for k in (0, 9) for s in (0, 1)]
    assert "no other cell comes near enough" in headline(found(records))
    assert "told apart from the one other cell with a result" in text(records)


def test_headline_with_nothing_to_rank() -> None:
    nothing = found([make_record(flags=COLLAPSED)])
    assert headline(nothing).startswith("No ranked trial has a score")
    assert findings(nothing) == ()


def test_one_cell() -> None:
    assert "nothing is known of its spread" in text([make_record()])
    assert "nothing to compare it with" in text([make_record()])


def test_what_freezing_costs_and_saves() -> None:
    said = text(make_grid())
    assert (
        "imagenet: the deepest freeze that cannot be told apart from its best (k=9) is k=18, "
        "which took 10% less time than k=0; freezing the whole backbone costs 7.7 points" in said
    )


def test_time_is_not_praised_for_nothing() -> None:
    assert "which trains as long as k=0" in text(make_grid(seconds=100.0))


def test_the_other_start_stands_beside_the_best() -> None:
    said = text(make_grid())
    assert "coco reaches 0.443 at its best (k=9)" in said
    assert "over the 6 depths that both ran it is 6.0 points lower than imagenet" in said


def test_a_start_that_ties() -> None:
    records = [
        make_record(init, k, seed, ap=0.5 + 0.01 * ((seed + n + k) % 2))
        for n, init in enumerate(("a", "b"))
        for k in (0, 9)
        for seed in (0, 1)
    ]
    assert "over the 2 depths that both ran it cannot be told apart from a" in text(records)


def test_a_start_at_one_depth() -> None:
    records = [
        make_record(init, 0, seed, ap=0.5 - n / 10 + seed / 1000 * n)
        for n, init in enumerate(("a", "b"))
        for seed in (0, 1, 2)
    ]
    assert "at the depth that both ran it is 9.9 points lower than a" in text(records)


def test_the_reference_is_said_to_be_outside_the_ranking() -> None:
    records = [*make_grid(), make_record("random", ranked=False, ap=0.41)]
    assert "random, a reference outside the ranking" in text(records)
    assert "reaches 0.410 with 1 seed" in text(records)


def test_a_collapsed_trial_is_told() -> None:
    records = [*make_grid(seeds=(0, 1)), make_record("imagenet", 9, 2, ap=0.0, flags=COLLAPSED)]
    assert "1 seed more collapsed" in text(records)
    assert any(
        "1 trial collapsed; it is marked" in line for line in cautions(found(records), waiting=0)
    )


def test_noise_that_is_hardly_known_is_said() -> None:
    said = "hardly tell how large that noise is"
    few = cautions(found(make_grid(depths=(0, 9), seeds=(0, 1))), waiting=0)
    assert "3 degrees of freedom" in " ".join(few)
    assert said in " ".join(few)
    assert said not in " ".join(cautions(found(make_grid()), waiting=0))


def test_cautions() -> None:
    lines = " ".join(cautions(found(make_grid()), waiting=2))
    assert "3 seeds a cell is few" in lines
    assert "2 trials are not finished" in lines
    assert "22 degrees of freedom" in lines
    assert "learning rate" in lines
    assert "few" not in " ".join(cautions(found(make_grid(seeds=range(5))), waiting=0))


def test_the_rule_of_small_differences_is_tested_not_assumed() -> None:
    records = make_grid()
    sentence = compare_with_rule(found(records), difference_table(records))
    assert "would pick coco" in sentence
    assert "the rule disagrees with this study" in sentence


def test_starts_that_tie_test_no_rule() -> None:
    records = make_grid(seeds=(0,))
    sentence = compare_with_rule(found(records), difference_table(records))
    assert "this is no test of the rule" in sentence


def test_one_start_tests_no_rule() -> None:
    records = make_grid(inits=("imagenet",))
    assert compare_with_rule(found(records), difference_table(records)) == ""


def test_points() -> None:
    assert points(-0.0123) == "1.2"
    assert signed_points(-0.0123) == "\N{MINUS SIGN}1.2"
    assert signed_points(0.0123) == "+1.2"
    assert signed_points(-0.00001) == "0.0"
    assert points(math.nan) == signed_points(math.nan) == "n/a"


def test_a_plan_that_is_no_depth_is_named_with_what_it_freezes() -> None:
    plan = make_record(plan_label="late", layers=(50, 51, 52), ap=0.6, variant="lr1e-3")
    assert "came from imagenet with plan late, 3 convolutions frozen, variant lr1e-3" in headline(
        found([plan, make_record(depth=9)])
    )
    records = [
        make_record(init, k, seed, ap=0.5 + seed / 100, plan_label=label, layers=layers)
        for init in ("a", "b")
        for seed in (0, 1)
        for k, label, layers in ((0, None, None), (9, None, None), (0, "late", (52,)))
    ]
    said = text(records)
    assert "cannot be told apart from a at k=9, late and b at k=0, 9, late" in said
    assert "over the 3 plans that both ran" in said
    assert "a: the deepest freeze that cannot be told apart from its best (k=0) is k=9" in said


def test_the_papers_numbering_is_said() -> None:
    answered = answer(
        [make_record(backbone="resnet50", depth=9, numbering="paper", ap=0.5)], deepest=48
    )
    assert (
        "the first 9 of 48 main-path convolutions frozen (k=9 in the paper's numbering, 11 "
        "convolutions in all)" in headline(answered)
    )
    assert answered.best is not None
    assert answered.best.name == "imagenet, paper k=9"
