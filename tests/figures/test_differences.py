"""Figure 2: the table by hand, and a drawing that says what it draws."""

import math

import numpy as np
import pytest

from frostline.errors import RecordError
from frostline.figures import difference_table, draw_differences, profiles_table
from tests.factories import make_difference, make_grid, make_record
from tests.figures.samples import COLLAPSED, axes, texts


def rows(*values: float | None) -> list[dict[str, object]]:
    stages = ("stem", "stage1", "stage1", "stage2")
    return [
        make_difference(i, f"conv{i}", stages[i - 1], (8, 8, 3, 3), value)
        for i, value in enumerate(values, start=1)
    ]


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
