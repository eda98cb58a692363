"""Where the names of lines go, and that the figure makes room for them."""

import pytest

from frostline.figures import LIGHT, Shape, differences_figure, profiles_table
from frostline.figures.panels import naming, panels
from tests.figures.test_differences import rows


@pytest.mark.parametrize(
    ("name", "shape", "how"),
    [("coco", "wide", "direct"), ("coco", "narrow", "legend"), ("a" * 40, "wide", "legend")],
)
def test_names_stand_beside_the_lines_where_there_is_room(
    name: str, shape: Shape, how: str
) -> None:
    assert naming([name, "b"], shape) == how


def test_long_names_do_not_squeeze_the_panel() -> None:
    widths = [
        panels(1, [name], "wide", LIGHT, 300)[1][0].get_position().width for name in ("a", "a" * 50)
    ]
    assert min(widths) > 0.8


def test_an_axis_of_cosines_ends_just_above_one() -> None:
    (ax,) = differences_figure(profiles_table({"a": [rows(0.9, 0.95, 1.0)]})).axes
    assert ax.get_ylim() == pytest.approx((0.1, 1.3))
    (ax,) = differences_figure(profiles_table({"a": [rows(0.9, 0.95)]}, "angle")).axes
    assert ax.get_ylim()[1] > 60


def test_the_name_in_a_legend_stays_in_the_figure() -> None:
    figure = differences_figure(profiles_table({"b" * 90: [rows(0.1, 0.2)]}), shape="narrow")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    (text,) = legend.get_texts()
    assert len(text.get_text()) < 45
