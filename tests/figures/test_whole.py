"""Every figure as a whole: tables in JSON, drawings in SVG and PNG."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from frostline.figures import (
    depth_table,
    depths_figure,
    difference_table,
    differences_figure,
    draw_depths,
    draw_differences,
    is_collapsed,
    loss_table,
    losses_figure,
    svg_text,
    write_png,
)
from tests.factories import make_grid, make_record
from tests.figures.samples import COLLAPSED, axes


def test_collapsed_is_read_from_the_flags() -> None:
    assert is_collapsed(make_record(flags=COLLAPSED))
    assert not is_collapsed(make_record(flags=("resumed",)))


@pytest.mark.parametrize("build", [difference_table, depth_table, loss_table])
def test_tables_are_plain_json(build: object) -> None:
    table = build([make_record(ap=None), make_record(seed=1)])  # type: ignore[operator]
    json.dumps(table.to_dict(), allow_nan=False)


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
