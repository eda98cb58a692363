"""Tables of the figures by hand, and drawings that say what they draw."""

import itertools
import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from frostline.errors import RecordError
from frostline.figures import (
    DARK,
    LIGHT,
    DepthPoint,
    Theme,
    _spread,
    depth_table,
    depths_figure,
    difference_table,
    differences_figure,
    draw_depths,
    draw_differences,
    is_collapsed,
    loss_table,
    losses_figure,
    profiles_table,
    score_of,
    svg_text,
    write_png,
)
from frostline.records import TrialRecord
from tests.factories import make_difference, make_grid, make_record

COLLAPSED = ("collapsed: AP50 near 0",)


def rows(*values: float | None) -> list[dict[str, object]]:
    stages = ("stem", "stage1", "stage1", "stage2")
    return [
        make_difference(i, f"conv{i}", stages[i - 1], (8, 8, 3, 3), value)
        for i, value in enumerate(values, start=1)
    ]


def axes() -> Axes:
    return Figure(figsize=(8, 4)).add_subplot()


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


# Tables


def test_difference_table_mean_and_band_by_hand() -> None:
    table = profiles_table({"a": [rows(0.1, 0.2, 0.3), rows(0.3, 0.2, 0.6)]})
    (line,) = table.lines
    assert line.mean == pytest.approx((0.2, 0.2, 0.45))
    assert line.low == (0.1, 0.2, 0.3)
    assert line.high == (0.3, 0.2, 0.6)
    assert line.profiles == 2
    assert table.layers == ("conv1", "conv2", "conv3")
    assert [(s.name, s.first, s.last) for s in table.stages] == [("stem", 1, 1), ("stage1", 2, 3)]


def test_a_layer_that_is_not_comparable_is_nan_and_not_averaged_in() -> None:
    table = profiles_table({"a": [rows(0.1, None), rows(None, None)]})
    (line,) = table.lines
    assert line.mean[0] == 0.1
    assert math.isnan(line.mean[1])
    assert math.isnan(line.low[1])
    assert table.to_dict()["lines"][0]["mean"] == [0.1, None]


@pytest.mark.parametrize(("quantity", "expected"), [("angle", 60.0), ("folded", 1.0)])
def test_other_quantities(quantity: str, expected: float) -> None:
    table = profiles_table({"a": [rows(0.5)]}, quantity)  # type: ignore[arg-type]
    assert table.lines[0].mean[0] == pytest.approx(expected)


def test_folded_is_nan_without_a_batch_norm() -> None:
    row = rows(0.5)[0] | {"folded": None}
    table = profiles_table({"a": [[row]]}, "folded")
    assert math.isnan(table.lines[0].mean[0])


def test_profiles_of_different_models_are_refused() -> None:
    with pytest.raises(RecordError, match="same 2 layers"):
        profiles_table({"a": [rows(0.1, 0.2)], "b": [rows(0.1)]})


def test_only_trials_that_froze_nothing_are_compared() -> None:
    table = difference_table(make_grid(seeds=(0, 1)))
    assert [line.init for line in table.lines] == ["imagenet", "coco"]
    assert all(line.profiles == 2 for line in table.lines)
    assert len(table.layers) == 52
    assert table.stages[-1].last == 52


def test_a_collapsed_trial_is_left_out_of_the_band_and_named() -> None:
    good, bad = make_record(seed=0), make_record(seed=1, flags=COLLAPSED, scale=0.5)
    (line,) = difference_table([good, bad]).lines
    assert line.left_out == (1,)
    assert line.mean == pytest.approx([row["cosine"] for row in good.differences])


def test_a_start_whose_trials_all_collapsed_has_no_line() -> None:
    table = difference_table([make_record(flags=COLLAPSED)])
    assert table.lines == ()
    assert table.inits == ("imagenet",)


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
    paper = record.model_copy(update={"spec": record.spec | {"numbering": "paper"}})
    table = depth_table([paper])
    assert table.deepest == 48
    assert [(s.name, s.last) for s in table.stages][:2] == [("layer1", 9), ("layer2", 21)]


def test_an_unknown_backbone_has_no_stages() -> None:
    record = make_record(depth=9)
    strange = record.model_copy(update={"spec": {"model": {"backbone": "other"}}})
    table = depth_table([strange])
    assert (table.deepest, table.stages) == (9, ())


def test_scores_of_a_record() -> None:
    record = make_record(ap=0.5)
    assert score_of(record, "ap") == 0.5
    assert score_of(record, "wheat") == 0.5
    assert score_of(record, "ap50") == pytest.approx(0.8)
    assert math.isnan(score_of(record, "ap", "test"))
    assert math.isnan(score_of(make_record(ap=None), "ap"))


def test_collapsed_is_read_from_the_flags() -> None:
    assert is_collapsed(make_record(flags=COLLAPSED))
    assert not is_collapsed(make_record(flags=("resumed",)))


def test_loss_table_sums_the_losses_of_each_epoch() -> None:
    record = make_record(epochs=3)
    (line,) = loss_table([record]).lines
    assert line.losses == tuple(sum(epoch.losses.values()) for epoch in record.history)
    assert len(line.losses) == 3


@pytest.mark.parametrize("build", [difference_table, depth_table, loss_table])
def test_tables_are_plain_json(build: object) -> None:
    table = build([make_record(ap=None), make_record(seed=1)])  # type: ignore[operator]
    json.dumps(table.to_dict(), allow_nan=False)


# Drawing


def test_figure_2_has_a_line_and_a_band_per_start_on_a_log_axis() -> None:
    ax = axes()
    table = difference_table(make_grid())
    table.plot(ax)
    assert ax.get_yscale() == "log"
    assert len(ax.collections) == 2
    assert {"imagenet", "coco"} <= set(texts(ax))
    assert "stage4" in texts(ax)
    means = [line for line in ax.lines if line.get_label() == "imagenet"]
    np.testing.assert_allclose(np.asarray(means[0].get_ydata()), table.lines[0].mean)


def test_an_exact_zero_gets_a_mark_on_a_log_axis() -> None:
    ax = axes()
    draw_differences(ax, profiles_table({"a": [rows(0.1, 0.0, 0.2)]}))
    (zeros,) = [line for line in ax.lines if line.get_marker() == "v"]
    assert list(np.asarray(zeros.get_xdata())) == [2]


def test_a_linear_axis_starts_at_zero() -> None:
    ax = axes()
    draw_differences(ax, profiles_table({"a": [rows(0.1, 0.0)]}), log=False)
    assert ax.get_ylim()[0] == 0
    assert not [line for line in ax.lines if line.get_marker() == "v"]


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


def test_nothing_finished_draws_an_empty_frame() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(ap=None)]))
    assert ax.get_ylim() == (0, 1)
    draw_differences(axes(), difference_table([]))


@pytest.mark.parametrize("shape", ["wide", "narrow"])
def test_whole_figures_are_deterministic_well_formed_svg(shape: str) -> None:
    records = make_grid(inits=("a$b$", "c<d>&"), seeds=(0, 1))
    build: list[Callable[[], Figure]] = [
        lambda: depths_figure([depth_table(records)], shape=shape),  # type: ignore[arg-type]
        lambda: differences_figure(difference_table(records), shape=shape),  # type: ignore[arg-type]
        lambda: losses_figure(loss_table(records), shape=shape),  # type: ignore[arg-type]
    ]
    for draw in build:
        text = svg_text(draw())
        assert text == svg_text(draw())
        ET.fromstring(text)
    names = svg_text(build[0]())
    assert "a$b$" in names
    assert "c&lt;d&gt;&amp;" in names


def test_text_can_become_outlines() -> None:
    figure = depths_figure([depth_table(make_grid(seeds=(0,)))])
    assert "<text" in svg_text(figure)
    assert "<text" not in svg_text(figure, text_as_paths=True)


def test_png(tmp_path: Path) -> None:
    file = tmp_path / "figure.png"
    write_png(differences_figure(difference_table(make_grid(seeds=(0,)))), file, dpi=72)
    with Image.open(file) as image:
        assert image.width == 980


def test_drawing_leaves_the_global_style_and_pyplot_alone() -> None:
    before = dict(mpl.rcParams)
    svg_text(depths_figure([depth_table(make_grid(seeds=(0,)))]))
    assert dict(mpl.rcParams) == before


def test_more_starts_than_colours_still_look_different() -> None:
    ax = axes()
    draw_depths(ax, depth_table([make_record(f"start{i}") for i in range(13)]))
    looks = [
        (line.get_color(), line.get_marker())
        for line in ax.lines
        if str(line.get_label()).startswith("start")
    ]
    assert len(set(looks)) == len(looks) == 13


def test_names_that_would_overlap_are_pushed_apart() -> None:
    assert _spread([0.5, 0.9], 0.1) == [0.5, 0.9]
    assert _spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert _spread([0.52, 0.5, 0.51], 0.1) == pytest.approx([0.61, 0.41, 0.51])


def test_spread_keeps_order_and_distance() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        places = random.random(6).tolist()
        moved = _spread(places, 0.08)
        order = np.argsort(places)
        assert (np.diff(np.array(moved)[order]) >= 0.08 - 1e-12).all()


def luminance(color: str) -> float:
    """WCAG 2 relative luminance of ``#rrggbb``."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast(theme: Theme) -> None:
    for colors, least in ((theme.lines, 3.0), ((theme.ink, theme.muted, theme.alert), 4.5)):
        for color in colors:
            a, b = sorted((luminance(color), luminance(theme.paper)))
            assert (b + 0.05) / (a + 0.05) >= least, color


def deuteranope(color: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """What is left of a colour without the middle cones (Vienot, Brettel and Mollon 1999)."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]) ** 2.2
    matrix = [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]
    seen: np.ndarray[tuple[int], np.dtype[np.float64]] = np.clip(np.array(matrix) @ rgb, 0, 1) ** (
        1 / 2.2
    )
    return seen


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_first_colours_differ_without_red_green_vision(theme: Theme) -> None:
    for a, b in itertools.combinations(theme.lines[:2], 2):
        assert np.abs(deuteranope(a) - deuteranope(b)).max() > 0.25
