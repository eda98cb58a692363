"""Axes to draw on, and what was written on them."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLLAPSED = ("collapsed: AP50 near 0",)


def axes() -> Axes:
    return Figure(figsize=(8, 4)).add_subplot()


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]
