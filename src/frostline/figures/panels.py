"""Whole figures: Axes at exact places in px."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from frostline.figures.axes import STAGE_ROOM
from frostline.figures.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Shape", "panels"]

Shape = Literal["wide", "narrow"]

_CHARACTER = 6.6  # px, mean width of one character of a line's name


def panels(
    count: int, names: Sequence[str], shape: Shape, theme: Theme, height: float
) -> tuple["Figure", list["Axes"]]:
    """Axes at exact places in px: side by side when wide, below each other when narrow."""
    from matplotlib.figure import Figure

    beside = max((len(name) for name in names), default=0) * (_CHARACTER + 0.6) + 22
    if shape == "wide":
        width, columns, left, right = 980.0, count, 62.0, beside
        above, legend = STAGE_ROOM + 6, 0.0
    else:
        width, columns, left, right = 360.0, 1, 54.0, 10.0
        above, legend = STAGE_ROOM + 6, len(names) * 19.0 + 6
    rows = -(-count // columns)
    below = 46.0
    total = legend + rows * (above + height + below)
    figure = Figure(figsize=(width / 72, total / 72), facecolor=theme.paper, dpi=72)
    gap = 62.0
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
