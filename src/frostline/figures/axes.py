"""What is drawn the same way on any Axes: frame, stage marks, names of the lines."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from frostline.figures.stages import Stage
from frostline.figures.theme import SMALL, TEXT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CHARACTER",
    "STAGE_ROOM",
    "Names",
    "finish",
    "legend_columns",
    "mark_stages",
    "name_lines",
    "shortened",
    "size_of",
    "spread",
]

Names = Literal["direct", "legend", "none"]

STAGE_ROOM = 46.0  # px above the data for upright stage names
CHARACTER = 7.2  # px, a bold character of a name, on average
_HANDLE = 44.0  # px before a name in a legend, and the gap behind it
_LINE = 16.0  # px between baselines of labels


def finish(ax: "Axes", theme: Theme) -> None:
    """Give ``ax`` the frame, grid and tick labels of every figure; its labels must be set."""
    ax.set_facecolor("none")
    ax.grid(True, axis="y", color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    ax.tick_params(colors=theme.ink, labelsize=SMALL, which="both", labelcolor=theme.ink)
    ax.tick_params(which="minor", length=0)
    ax.xaxis.label.set_fontsize(TEXT)
    ax.yaxis.label.set_fontsize(TEXT)


def mark_stages(ax: "Axes", stages: Sequence[Stage], theme: Theme, edge: float) -> None:
    """A line where each stage ends and its name, upright, in a strip above the data.

    A name that would touch the one before it is left out; the line stays.
    """
    width = size_of(ax)[1]
    low, high = ax.get_xlim()
    last = -math.inf
    for n, stage in enumerate(stages):
        if n < len(stages) - 1:
            ax.axvline(stage.last + edge, color=theme.grid, linewidth=1.0, zorder=0)
        middle = (stage.first + stage.last) / 2 - (0.5 if edge == 0 else 0)
        x = (middle - low) / (high - low) * width
        if x - last < SMALL + 3:
            continue
        last = x
        ax.annotate(
            stage.name,
            (middle, 1),
            (0, 5),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90,
            color=theme.muted,
            fontsize=SMALL,
            parse_math=False,
        )


def size_of(ax: "Axes") -> tuple[float, float]:
    """Height and width of the axes in px at 72 dpi."""
    box, figure = ax.get_position(), ax.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    width, height = (float(side) * 72 for side in figure.get_size_inches())
    return box.height * height, box.width * width


def name_lines(
    ax: "Axes",
    ends: Sequence[tuple[str, float]],
    colors: Sequence[str],
    theme: Theme,
    names: Names,
) -> None:
    """Names at the right end of the lines, pushed apart where they would overlap; or a legend."""
    if names == "none" or not ends:
        return
    if names == "legend":
        _legend(ax, theme)
        return
    height, _ = size_of(ax)
    shown = [(name, y, color) for (name, y), color in zip(ends, colors, strict=True)]
    shown = [part for part in shown if math.isfinite(part[1])]
    places = [_fraction(ax, y) for _, y, _ in shown]
    apart = spread(places, _LINE / height)
    for (name, _, color), place, at in zip(shown, apart, places, strict=True):
        ax.annotate(
            name,
            (1.0, min(max(at, 0.0), 1.0)),
            (1.0 + 12 / size_of(ax)[1], place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=color,
            fontsize=TEXT,
            fontweight="bold",
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def legend_columns(names: Sequence[str], width: float) -> int:
    """How many names a line of a legend holds in ``width`` px, at least 1."""
    longest = max((len(name) for name in names), default=0)
    return max(1, min(len(names), int(width / (longest * CHARACTER + _HANDLE))))


def _legend(ax: "Axes", theme: Theme) -> None:
    names = [str(name) for name in ax.get_legend_handles_labels()[1]]
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    room = 72 * float(figure.get_size_inches()[0]) * (1 - ax.get_position().x0)
    legend = ax.legend(
        ncols=legend_columns(names, room),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=_above_stages(ax),
        borderaxespad=0,
        frameon=False,
        fontsize=TEXT,
        labelcolor=theme.ink,
        handlelength=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_text(shortened(text.get_text(), int((room - _HANDLE) / CHARACTER)))


def shortened(name: str, most: int) -> str:
    """A name of at most ``most`` characters, its middle left out: both ends tell files apart."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - end :]}"


def _above_stages(ax: "Axes") -> Any:
    from matplotlib.transforms import ScaledTranslation

    figure: Any = ax.figure
    return ax.transAxes + ScaledTranslation(0, STAGE_ROOM / 72, figure.dpi_scale_trans)


def _fraction(ax: "Axes", y: float) -> float:
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        if y <= 0:
            return 0.0
        low, high, y = math.log(low), math.log(high), math.log(y)
    return (y - low) / (high - low)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart to at least ``gap``, keeping their order and, as a group, their middle."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[list[int], float]] = []  # members, lowest place
    for i in order:
        members, start = [i], places[i]
        while groups and groups[-1][1] + len(groups[-1][0]) * gap > start:
            before, _ = groups.pop()
            members = before + members
            middle = sum(places[m] for m in members) / len(members)
            start = middle - gap * (len(members) - 1) / 2
        groups.append((members, start))
    moved = list(places)
    for members, start in groups:
        for n, member in enumerate(members):
            moved[member] = start + n * gap
    return moved
