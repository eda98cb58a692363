"""Figure 3: the table by hand, and a drawing that says what it draws."""

import math

import numpy as np
import pytest

from frostline.figures import DepthPoint, depth_table, difference_table, draw_depths
from frostline.records import TrialRecord
from tests.factories import make_grid, make_record
from tests.figures.samples import COLLAPSED, axes, texts


def test_depth_table_keeps_every_seed_and_sets_collapsed_ones_apart() -> None:
    records = [
        make_record(depth=0, seed=0, ap=0.4),
        make_record(depth=0, seed=1, ap=0.5),
        make_record(depth=9, seed=1, ap=0.6),
        make_record(depth=9, seed=0, ap=0.001, flags=COLLAPSED),
    ]
    table = depth_table(records)
    assert table.lines[0].points == (
        DepthPoint(0, (0, 1), (0.4, 0.5)),
        DepthPoint(9, (1,), (0.6,), ((0, 0.001),)),
    )
    assert [point.mean for point in table.lines[0].points] == [pytest.approx(0.45), 0.6]
    assert (table.deepest, table.numbering) == (52, "all")
    assert table.stages[0].name == "stem"


def test_a_mean_over_nothing_is_nan() -> None:
    assert math.isnan(DepthPoint(0, (), (), ((0, 0.001),)).mean)


def test_references_come_last_and_are_marked() -> None:
    records = [make_record("random", ranked=False), make_record("imagenet")]
    table = depth_table(records)
    assert table.inits == ("imagenet", "random")
    assert [line.ranked for line in table.lines] == [True, False]


def test_stages_follow_the_numbering_of_the_records() -> None:
    record = make_record(backbone="resnet50", depth=10)
    plan = record.plan.model_copy(update={"numbering": "paper"})
    table = depth_table([record.model_copy(update={"plan": plan})])
    assert table.deepest == 48
    assert [(s.name, s.last) for s in table.stages][:2] == [("layer1", 9), ("layer2", 21)]


def test_stages_of_a_network_of_timm_come_from_its_records() -> None:
    known = make_record(depth=9)
    timm = known.model_copy(update={"spec": {"model": {"backbone": "timm:other"}}})
    assert depth_table([timm]).stages == depth_table([known]).stages
    assert depth_table([timm]).deepest == 52


def test_a_backbone_without_differences_has_no_stages() -> None:
    record = make_record(depth=9)
    bare = {"spec": {"model": {"backbone": "other"}}, "differences": ()}
    table = depth_table([record.model_copy(update=bare)])
    assert (table.deepest, table.stages) == (9, ())


def grid_with_a_collapse() -> list[TrialRecord]:
    bad = make_record("coco", 39, 1, ap=0.003, flags=COLLAPSED)
    return [bad if record.key == bad.key else record for record in make_grid()]


def test_figure_3_shows_every_seed_and_marks_the_collapsed_one() -> None:
    ax = axes()
    table = depth_table(grid_with_a_collapse())
    draw_depths(ax, table)
    assert "seed 1 collapsed: 0.003" in texts(ax)
    assert len([line for line in ax.lines if line.get_marker() == "X"]) == 1
    seeds = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert sum(len(np.asarray(line.get_xdata())) for line in seeds) == 36
    assert ax.get_ylim()[0] > 0.2, "a collapsed trial does not squeeze the others"


def test_figure_3_draws_the_reference_dashed_and_says_it_is_unranked() -> None:
    ax = axes()
    records = [*make_grid(), make_record("random", ranked=False, ap=0.42)]
    depth_table(records).plot(ax)
    assert "random (unranked)" in texts(ax)
    level = [line for line in ax.lines if line.get_label() == "random (unranked)"]
    assert level[0].is_dashed()


def test_small_differences_are_not_blown_up() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(depth=k, ap=0.5 + k / 1e5) for k in (0, 9)]))
    low, high = ax.get_ylim()
    assert high - low >= 0.04


def test_crowded_depths_keep_their_tick_labels_apart() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(depth=k) for k in range(53)]))
    assert 5 < len(ax.get_xticks()) < 40


def test_legend_instead_of_direct_names() -> None:
    ax = axes()
    draw_depths(ax, depth_table(make_grid()), names="legend")
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["imagenet", "coco"]


def test_more_starts_than_colours_still_look_different() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(f"start{i}") for i in range(13)]))
    looks = [
        (line.get_color(), line.get_marker())
        for line in ax.lines
        if str(line.get_label()).startswith("start")
    ]
    assert len(set(looks)) == len(looks) == 13


def test_plans_that_are_no_depth_stand_apart_from_the_curve() -> None:
    records = [
        make_record(depth=0, ap=0.4),
        make_record(depth=9, ap=0.5),
        make_record(plan_label="late", layers=(51, 52), ap=0.3),
        make_record(plan_label="early", layers=(2,), ap=0.2),
        make_record(depth=9, variant="lr1e-3", ap=0.1),
    ]
    table = depth_table(records)
    own, faster = table.lines
    assert [point.depth for point in own.points] == [0, 9]
    assert own.others == (
        DepthPoint(None, (0,), (0.2,), plan="early"),
        DepthPoint(None, (0,), (0.3,), plan="late"),
    )
    assert (faster.variant, faster.name) == ("lr1e-3", "imagenet, lr1e-3")
    assert table.plans == ("early", "late"), "by the number of layers that they freeze"
    assert table.deepest == 52, "no plan moves the end of the depths"
    ax = axes()
    draw_depths(ax, table)
    ticks = {t.get_text(): t.get_position()[0] for t in ax.get_xticklabels()}
    assert ticks["0"] == 0
    assert 52 < ticks["early"] < ticks["late"]
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [float(np.asarray(line.get_ydata())[0]) for line in hollow] == [0.2, 0.3]


def test_the_axis_says_which_convolutions_are_counted() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(backbone="resnet50", depth=9, numbering="paper")]))
    assert ax.get_xlabel() == "frozen main-path convolutions k (numbering: paper)"


def test_two_plans_that_freeze_nothing_give_one_profile() -> None:
    records = [
        make_record(depth=0, scale=1e-3),
        make_record(plan_label="heads", layers=(), scale=5e-3),
        make_record(variant="lr1e-3", scale=9e-3),
    ]
    (line,) = difference_table(records).lines
    assert line.profiles == 1
    assert line.mean[0] == pytest.approx(1e-3 * (1 + 1 / 20))
