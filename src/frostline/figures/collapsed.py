"""Collapsed trials in Figure 3: crosses on the lower edge, with labels that do not overlap."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from frostline.figures.axes import size_of
from frostline.figures.theme import SMALL, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_NAMED", "Collapse", "Label", "draw_collapsed", "labels_of", "room_for"]

MOST_NAMED = 3  # trials with seed and score each; of more their number stands at each cell
_CHARACTER = 5.8  # px, of a small label, on average
_ABOVE = 9.0  # px from the lower edge to the first row
_ROW = 14.0  # px between rows
_APART = 5.0  # px between labels of a row


@dataclasses.dataclass(frozen=True, slots=True)
class Collapse:
    """The collapsed trials of one cell.

    Attributes:
        x: where the cell stands, in the units of the axis.
        color: of its start.
        trials: (seed, score) of each, at least one.
    """

    x: float
    color: str
    trials: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """What stands beside a cross.

    Attributes:
        text: seed and score of a trial, or how many trials.
        x: of the cross, in the units of the axis.
        shift: px from there to the label's anchor.
        align: which side of the label is its anchor.
        row: from 0, upwards.
        color: of its start.
    """

    text: str
    x: float
    shift: float
    align: str
    row: int
    color: str


def labels_of(ax: "Axes", found: Sequence[Collapse]) -> list[Label]:
    """Labels of some cells' collapsed trials, in as few rows as keep them apart.

    Up to ``MOST_NAMED`` trials have seed and score each; of more, each cell has their number.
    The limits of the horizontal axis must be set.
    """
    width, (low, high) = size_of(ax)[1], ax.get_xlim()
    named = sum(len(cell.trials) for cell in found) <= MOST_NAMED
    labels: list[Label] = []
    ends: list[list[tuple[float, float]]] = []  # by row: from and to, px
    for cell in found:
        at = (cell.x - low) / (high - low) * width
        for text in _texts(cell, named):
            align = ("right" if at > width / 2 else "left") if named else "center"
            shift = {"right": -8.0, "left": 8.0, "center": 0.0}[align]
            span = _span(at + shift, len(text) * _CHARACTER + _APART, align)
            row = next((n for n, row in enumerate(ends) if _free(row, span)), len(ends))
            ends[row:] = ends[row:] or [[]]
            ends[row].append(span)
            labels.append(Label(text, cell.x, shift, align, row, cell.color))
    return labels


def _texts(cell: Collapse, named: bool) -> list[str]:
    if not named:
        return [str(len(cell.trials))]
    return [f"seed {seed} collapsed: {value:.3f}" for seed, value in cell.trials]


def _span(anchor: float, width: float, align: str) -> tuple[float, float]:
    start = anchor - width * {"left": 0.0, "center": 0.5, "right": 1.0}[align]
    return start, start + width


def _free(row: Sequence[tuple[float, float]], span: tuple[float, float]) -> bool:
    return all(end <= span[0] or start >= span[1] for start, end in row)


def room_for(labels: Sequence[Label]) -> float:
    """Height in px of the strip above the lower edge that labels take; 0 without any."""
    return _ABOVE + _ROW * (1 + max(label.row for label in labels)) if labels else 0.0


def draw_collapsed(ax: "Axes", labels: Sequence[Label], theme: Theme) -> None:
    """A cross on the lower edge at each cell, and the labels above it; limits must be set."""
    bottom = ax.get_ylim()[0]
    for x in dict.fromkeys(label.x for label in labels):
        ax.plot(x, bottom, "X", color=theme.alert, markersize=9,
                clip_on=False, zorder=6)  # fmt: skip
    for label in labels:
        ax.annotate(
            label.text,
            (label.x, bottom),
            (label.shift, _ABOVE + _ROW * label.row),
            textcoords="offset points",
            ha=label.align,
            color=label.color,
            fontsize=SMALL,
        )
