"""Whole figures: Axes at exact places in px."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from frostline.figures.axes import CHARACTER, STAGE_ROOM, Names, legend_columns
from frostline.figures.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Shape", "naming", "panels"]

Shape = Literal["wide", "narrow"]

_LONGEST_BESIDE = 24  # characters of a name that leave the panels enough room
_LEGEND_LINE = 19.0  # px


def naming(names: Sequence[str], shape: Shape) -> Names:
    """Names beside the ends of the lines, or in a legend where they would take the room."""
    longest = max((len(name) for name in names), default=0)
    return "direct" if shape == "wide" and longest <= _LONGEST_BESIDE else "legend"


def panels(
    count: int,
    names: Sequence[str],
    shape: Shape,
    theme: Theme,
    height: float,
    below: float = 46.0,
) -> tuple["Figure", list["Axes"]]:
    """Axes at exact places in px: side by side when wide, below each other when narrow."""
    from matplotlib.figure import Figure

    legend, right = 0.0, 10.0
    width, columns, left = (980.0, count, 62.0) if shape == "wide" else (360.0, 1, 54.0)
    if naming(names, shape) == "direct":
        right = max((len(name) for name in names), default=0) * CHARACTER + 22
    else:
        lines = -(-len(names) // legend_columns(names, width - left))
        legend = lines * _LEGEND_LINE + 6
    above, gap = STAGE_ROOM + 6, 62.0
    rows = -(-count // columns)
    total = legend + rows * (above + height + below)
    figure = Figure(figsize=(width / 72, total / 72), facecolor=theme.paper, dpi=72)
    last = right if columns == 1 else 12.0
    panel = (width - left - last - (right + gap) * (columns - 1)) / columns
    axes = []
    for n in range(count):
        row, column = divmod(n, columns)
        x = left + column * (panel + right + gap)
        y = total - legend - row * (above + height + below) - above - height
        place = (x / width, y / total, panel / width, height / total)
        axes.append(figure.add_axes(place))
    return figure, axes
