"""The figures of a comparison: 1 - |cos| against the layer, and signal against noise."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.comparison.floor import LayerFloor, NoiseFloor
from frostline.comparison.pairs import Comparison, TensorDifference
from frostline.comparison.steps import Trajectory
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
    from matplotlib.axes import Axes

__all__ = ["draw", "draw_floor", "figure_svgs", "lines_table", "write_figure"]

Lines = Sequence[tuple[str, Sequence[TensorDifference]]]
_OUTSIDE = "neck, heads"


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


def draw(ax: "Axes", lines: Lines, *, theme: Theme = LIGHT) -> None:
    """Draw a line for each comparison on ``ax``, logarithmic, with stage marks."""
    draw_differences(ax, lines_table(lines), theme=theme)
    _name_axis(ax, lines[0][1])


def _name_axis(ax: "Axes", rows: Sequence[TensorDifference] | Sequence[LayerFloor]) -> None:
    """Say what is counted: convolutions only where each of them, and nothing else, has a place."""
    inside = [row.index for row in rows if row.index is not None]
    if not inside:
        ax.set_xlabel("tensor, in file order")
        return
    counted = inside == list(range(1, len(inside) + 1))
    name = "convolution, counted from the input" if counted else "tensor, in forward order"
    behind = "; behind the backbone in file order" if len(inside) < len(rows) else ""
    ax.set_xlabel(name + behind)


def draw_floor(ax: "Axes", result: NoiseFloor, *, theme: Theme = LIGHT) -> None:
    """Draw signal, c x floor and the control's angle in degrees against the layer on ``ax``."""
    draw_differences(ax, _floor_table(result), theme=theme)
    _name_axis(ax, result.rows)


def _floor_table(result: NoiseFloor) -> DifferenceTable:
    series: dict[str, list[float]] = {
        "signal (mean of seeds)": [row.signal for row in result.rows],
        f"{result.factor:g} x floor": [result.factor * row.floor for row in result.rows],
    }
    if result.control is not None:
        control = [math.nan if row.control is None else row.control for row in result.rows]
        series["control"] = control
    known = any(row.stage for row in result.rows)
    profiles = {
        name: [
            [
                {
                    "index": index,
                    "name": row.name,
                    "stage": row.stage or (_OUTSIDE if known else ""),
                    "angle": value,
                }
                for index, (row, value) in enumerate(zip(result.rows, values, strict=True), start=1)
            ]
        ]
        for name, values in series.items()
    }
    return profiles_table(profiles, "angle")


def _figure(
    result: Comparison | Trajectory | NoiseFloor, theme: Theme, shape: Shape = "wide"
) -> Any:
    if isinstance(result, NoiseFloor):
        figure = differences_figure(_floor_table(result), theme=theme, shape=shape)
        _name_axis(figure.axes[0], result.rows)
    else:
        steps = result.steps if isinstance(result, Trajectory) else (result,)
        lines = [(step.after, step.rows) for step in steps]
        figure = differences_figure(lines_table(lines), theme=theme, shape=shape)
        _name_axis(figure.axes[0], lines[0][1])
    return figure


def write_figure(result: Comparison | Trajectory | NoiseFloor, path: Path) -> None:
    """Write the figure of a result as SVG or PNG, by the file's suffix, whole or not at all.

    Raises:
        ConfigError: another suffix.
        RecordError: the file cannot be written.
    """
    if path.suffix not in {".svg", ".png"}:
        raise ConfigError(f"expected a figure file ending in .svg or .png, got {path.name!r}")
    figure = _figure(result, LIGHT)
    with atomic_write(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(svg_text(figure), encoding="utf-8")
        else:
            write_png(figure, temporary)


def figure_svgs(result: Comparison | Trajectory | NoiseFloor, title: str) -> tuple[str, str]:
    """The figure as SVG elements for a page: for a screen and for a phone.

    Their colours are CSS variables of the page; see ``frostline.figures.inline``.

    Args:
        result: what to draw.
        title: what a screen reader says.
    """
    from frostline.figures.inline import PAGE, inline_svg

    shapes: tuple[Shape, Shape] = ("wide", "narrow")
    wide, narrow = (
        str(inline_svg(_figure(result, PAGE, shape), name=shape, title=title)) for shape in shapes
    )
    return wide, narrow
