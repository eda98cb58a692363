"""The figures of a comparison: 1 - |cos| against the layer, and signal against noise.

First the table (``lines_drawing``, ``floor_drawing``), then the drawing of it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from frostline.comparison.rows import LayerFloor, Lines, TensorDifference
from frostline.errors import ConfigError, printable
from frostline.figures import (
    LIGHT,
    DifferenceTable,
    Shape,
    Theme,
    differences_figure,
    draw_differences,
    profiles_table,
    svg_text,
    write_png,
)
from frostline.records import atomic_write

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Drawing",
    "figure_svgs",
    "floor_drawing",
    "lines_drawing",
    "lines_table",
    "write_figure",
]

_OUTSIDE = "neck, heads"


class Drawing(NamedTuple):
    """What a figure shows.

    Attributes:
        table: its lines.
        axis: what the horizontal axis counts.
    """

    table: DifferenceTable
    axis: str

    def draw(self, ax: "Axes", *, theme: Theme = LIGHT) -> None:
        """Draw on ``ax``, logarithmic, with stage marks."""
        draw_differences(ax, self.table, theme=theme)
        ax.set_xlabel(self.axis)

    def figure(self, theme: Theme = LIGHT, shape: Shape = "wide") -> "Figure":
        """A figure of its own, for a screen or (``narrow``) for a phone."""
        figure = differences_figure(self.table, theme=theme, shape=shape)
        figure.axes[0].set_xlabel(self.axis)
        return figure


def lines_drawing(lines: Lines) -> Drawing:
    """1 - |cos| against the layer, a line for each (label, rows)."""
    return Drawing(lines_table(lines), _axis(lines[0][1]))


def floor_drawing(rows: Sequence[LayerFloor], factor: float) -> Drawing:
    """Signal, c x floor and the control's angle in degrees against the layer."""
    return Drawing(_floor_table(rows, factor), _axis(rows))


def lines_table(lines: Lines) -> DifferenceTable:
    """The values to draw: for each line 1 - |cos| of every tensor that any line has.

    Args:
        lines: (label, rows); a tensor that a line lacks is a gap in it.
    """
    places: dict[str, str] = {}
    for _, rows in lines:
        for row in rows:
            places.setdefault(row.name, row.stage)
    known = any(places.values())
    profiles = {}
    for number, (label, rows) in enumerate(lines, start=1):
        values = {row.name: row.cosine for row in rows}
        name = printable(label)  # fonts have no half of a surrogate pair
        name = name if name not in profiles else f"{name} ({number})"
        profiles[name] = [
            [
                {
                    "index": index,
                    "name": tensor,
                    "stage": stage or (_OUTSIDE if known else ""),
                    "cosine": values.get(tensor, math.nan),
                }
                for index, (tensor, stage) in enumerate(places.items(), start=1)
            ]
        ]
    return profiles_table(profiles)


def _axis(rows: Sequence[TensorDifference] | Sequence[LayerFloor]) -> str:
    """What is counted: convolutions only where each of them, and nothing else, has a place."""
    inside = [row.index for row in rows if row.index is not None]
    if not inside:
        return "tensor, in file order"
    counted = inside == list(range(1, len(inside) + 1))
    name = "convolution, counted from the input" if counted else "tensor, in forward order"
    return name + ("; behind the backbone in file order" if len(inside) < len(rows) else "")


def _floor_table(rows: Sequence[LayerFloor], factor: float) -> DifferenceTable:
    series: dict[str, list[float]] = {
        "signal (mean of seeds)": [row.signal for row in rows],
        f"{factor:g} x floor": [factor * row.floor for row in rows],
    }
    if any(row.control is not None for row in rows):
        control = [math.nan if row.control is None else row.control for row in rows]
        series["control"] = control
    known = any(row.stage for row in rows)
    profiles = {
        name: [
            [
                {
                    "index": index,
                    "name": row.name,
                    "stage": row.stage or (_OUTSIDE if known else ""),
                    "angle": value,
                }
                for index, (row, value) in enumerate(zip(rows, values, strict=True), start=1)
            ]
        ]
        for name, values in series.items()
    }
    return profiles_table(profiles, "angle")


def write_figure(drawing: Drawing, path: Path) -> None:
    """Write a figure as SVG or PNG, by the file's suffix, whole or not at all.

    Raises:
        ConfigError: another suffix.
        RecordError: the file cannot be written.
    """
    if path.suffix not in {".svg", ".png"}:
        raise ConfigError(f"expected a figure file ending in .svg or .png, got {path.name!r}")
    figure = drawing.figure()
    with atomic_write(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(svg_text(figure), encoding="utf-8")
        else:
            write_png(figure, temporary)


def figure_svgs(drawing: Drawing, title: str) -> "tuple[Markup, Markup]":
    """The figure as SVG elements for a page: for a screen and for a phone.

    Their colours are CSS variables of the page; see ``frostline.figures.inline``.

    Args:
        drawing: what to draw.
        title: what a screen reader says.
    """
    from frostline.figures.inline import PAGE, inline_svg

    shapes: tuple[Shape, Shape] = ("wide", "narrow")
    wide, narrow = (
        inline_svg(drawing.figure(PAGE, shape), name=shape, title=title) for shape in shapes
    )
    return wide, narrow
