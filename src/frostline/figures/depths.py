"""Figure 3: score against the number of frozen convolutions. The table, then the drawing."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from frostline.cells import FROZEN_RANDOM, CellPlan, cell_plan
from frostline.figures.axes import (
    Names,
    finish,
    mark_stages,
    name_lines,
    shortened,
    size_of,
)
from frostline.figures.collapsed import (
    MOST_NAMED,
    Collapse,
    draw_collapsed,
    labels_of,
    room_for,
)
from frostline.figures.panels import Shape, naming, panels
from frostline.figures.stages import Stage, backbone_of
from frostline.figures.theme import LIGHT, Theme, label_of, look
from frostline.figures.values import inits_of, is_collapsed, plain_values
from frostline.scores import merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from frostline.records import TrialRecord

__all__ = [
    "DepthLine",
    "DepthPoint",
    "DepthTable",
    "depth_table",
    "depths_figure",
    "draw_depths",
]

_NARROWEST_TICK = 20.0  # px
_SHORTEST_PANEL = 0.04  # of the score: less than this is not blown up to a full axis
_LONGEST_LABEL = 18  # characters of a plan's label below the axis
_UPRIGHT = 5.2  # px of each, upright
_LINE = 15  # px of a second line below the axis
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (3, 2)), (0, (1, 1.5)))


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """The scores of one cell.

    Attributes:
        depth: k, number of frozen convolutions; None for a plan that was not given as a depth.
        seeds: seeds of ``values``.
        values: score of each trial that did not collapse, in [0, 1].
        collapsed: (seed, score) of each trial that did; in no mean.
        plan: label of a plan that was not given as a depth; else "".
        frozen_random: whether random weights are kept as they are.
    """

    depth: int | None
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    collapsed: tuple[tuple[int, float], ...] = ()
    plan: str = ""
    frozen_random: bool = False

    @property
    def mean(self) -> float:
        """Mean over the trials that did not collapse; NaN if all did."""
        return sum(self.values) / len(self.values) if self.values else math.nan


@dataclass(frozen=True, slots=True)
class DepthLine:
    """One init in one variant.

    Attributes:
        init: name of the start.
        ranked: False for the random reference.
        points: its cells over the depths, ascending.
        others: its cells whose plans were not given as a depth.
        variant: what differs from the start's own schedule; None for nothing.
    """

    init: str
    ranked: bool
    points: tuple[DepthPoint, ...]
    others: tuple[DepthPoint, ...] = ()
    variant: str | None = None

    @property
    def cells(self) -> tuple[DepthPoint, ...]:
        """All of its cells."""
        return self.points + self.others

    @property
    def all_collapsed(self) -> bool:
        """Whether it has trials, and none of them counts."""
        return bool(self.cells) and not any(point.values for point in self.cells)

    @property
    def name(self) -> str:
        """What a figure calls it."""
        name = self.init if self.variant is None else f"{self.init}, {self.variant}"
        return label_of(name, self.ranked)


@dataclass(frozen=True, slots=True)
class DepthTable:
    """Figure 3: score against the number of frozen convolutions, a line per init and variant.

    Attributes:
        score: key of the score.
        axis: what the vertical axis says.
        split: ``val`` or ``test``.
        inits: every init of the study in its order; the position decides the colour.
        numbering: how depths count.
        unit: what they count: ``convolution`` or ``block``.
        deepest: the depth that freezes all that depth counts, or the largest one tried if unknown.
        stages: the stages of what depth counts, in that numbering.
        lines: one per init and variant.
        plans: labels of the plans that were not given as a depth, by what they freeze.
    """

    score: str
    axis: str
    split: str
    inits: tuple[str, ...]
    numbering: str
    unit: str
    deepest: int
    stages: tuple[Stage, ...]
    lines: tuple[DepthLine, ...]
    plans: tuple[str, ...] = ()

    @property
    def frozen_random(self) -> bool:
        """Whether some of its cells keep random weights as they are."""
        return any(point.frozen_random for line in self.lines for point in line.cells)

    @property
    def counts_collapsed(self) -> bool:
        """Whether so many trials collapsed that cells show their number, not each trial."""
        cells = (point for line in self.lines for point in line.cells)
        return sum(len(point.collapsed) for point in cells) > MOST_NAMED

    def plot(self, ax: "Axes") -> None:
        """Draw on ``ax`` with the light theme; see ``draw_depths``."""
        draw_depths(ax, self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return plain_values(asdict(self))  # type: ignore[no-any-return]


def depth_table(
    records: Iterable["TrialRecord"], score: str | None = None, split: str = "val"
) -> DepthTable:
    """The table of Figure 3: every seed of every cell, collapsed trials apart.

    Args:
        records: finished trials of one study, at least one.
        score: key of the score; None takes the one that ranks the cells.
        split: ``val`` or ``test``; trials without it are passed over.

    Raises:
        ConfigError: no trial declares the score.
    """
    every = list(records)
    shown = merged(record.task for record in every).score(score)
    found = [record for record in every if not math.isnan(record.score(shown.key, split))]
    lines = []
    for init in inits_of(every):
        own = [record for record in found if record.key.init == init]
        for variant in sorted({record.key.variant for record in own}, key=lambda v: v or ""):
            same = [record for record in own if record.key.variant == variant]
            cells = sorted({cell_plan(record) for record in same}, key=lambda plan: plan.order)
            points = [_depth_point(same, plan, shown.key, split) for plan in cells]
            lines.append(_depth_line(init, own[0].ranked, variant, points))
    numbering, deepest, stages = backbone_of(every)
    plans = sorted({cell_plan(record) for record in found}, key=lambda plan: plan.order)
    tried = max((plan.k for plan in map(cell_plan, every) if plan.k is not None), default=0)
    others = tuple(dict.fromkeys(plan.label for plan in plans if plan.k is None))
    return DepthTable(
        score=shown.key,
        axis=shown.axis,
        split=split,
        inits=inits_of(every),
        numbering=numbering,
        unit=next((record.plan.unit for record in every), "convolution"),
        deepest=max(deepest, tried),
        stages=stages,
        lines=tuple(lines),
        plans=others,
    )


def _depth_line(
    init: str, ranked: bool, variant: str | None, points: Sequence[DepthPoint]
) -> DepthLine:
    curve = tuple(point for point in points if point.depth is not None)
    others = tuple(point for point in points if point.depth is None)
    return DepthLine(init, ranked, curve, others, variant)


def _depth_point(
    records: Sequence["TrialRecord"], plan: CellPlan, score: str, split: str
) -> DepthPoint:
    here = sorted((r for r in records if cell_plan(r) == plan), key=lambda r: r.key.seed)
    good = [record for record in here if not is_collapsed(record)]
    return DepthPoint(
        plan.k,
        tuple(record.key.seed for record in good),
        tuple(record.score(score, split) for record in good),
        tuple((r.key.seed, r.score(score, split)) for r in here if is_collapsed(r)),
        "" if plan.is_depth else plan.label,
        plan.frozen_random,
    )


def draw_depths(
    ax: "Axes", table: DepthTable, *, theme: Theme = LIGHT, names: Names = "direct"
) -> None:
    """Draw Figure 3 on ``ax``: a line per init through the mean, every seed as a point.

    Points of different inits at one depth stand side by side, so that none hides another. Plans
    that were not given as a depth stand in a zone of their own at the right, by name and with
    hollow markers; a short bar is their mean. A ring marks trials that keep random weights as they
    are, as the axis says. A random reference is a dashed level with its seeds as ticks. A collapsed
    trial is a cross on the lower edge with its seed and score, and is in no mean; where there are
    many, the cells have their number, as the axis says.

    Args:
        ax: where to draw; its limits, ticks and labels are set.
        table: what to draw.
        theme: colours.
        names: ``direct`` beside the ends of the lines, a ``legend`` above the axes, or ``none``.
    """
    ranked = [line for line in table.lines if line.ranked]
    for i, line in enumerate(ranked):
        shift = (i - (len(ranked) - 1) / 2) * 0.011 * max(table.deepest, 1)
        _draw_depth_line(ax, table, line, shift, theme)
        _draw_others(ax, table, line, shift, theme)
        _draw_rings(ax, table, line, shift, theme)
    references = [line for line in table.lines if not line.ranked]
    for line in references:
        _draw_reference(ax, line, theme)
    margin = 0.04 * max(table.deepest, 1)
    ax.set_xlim(-margin, _places(table).get(table.plans[-1], 0) + 2 * margin if table.plans
                else table.deepest + margin)  # fmt: skip
    labels = labels_of(ax, list(_collapses(table, theme)))
    _fit_scores(ax, table, room_for(labels))
    draw_collapsed(ax, labels, theme)
    _name_ticks(ax, table)
    ax.set_xlabel(_depth_words(table), color=theme.ink)
    ax.set_ylabel(table.axis, color=theme.ink)
    finish(ax, theme)
    mark_stages(ax, table.stages, theme, edge=0.0)
    _mark_zone(ax, table, theme)
    shown = ranked + references
    bottom = ax.get_ylim()[0]  # where the crosses are of a line that has nothing else
    ends = [(line.name, bottom if line.all_collapsed else _last_mean(line)) for line in shown]
    name_lines(ax, ends, [look(table.inits, x.init, x.ranked, theme)[0] for x in shown],
                theme, names)  # fmt: skip


def _depth_words(table: DepthTable) -> str:
    """What the horizontal axis counts."""
    text = f"frozen {table.unit}s k, counted from the input"
    if table.numbering == "paper":
        text = f"frozen main-path {table.unit}s k (numbering: paper)"
    return "\n".join([text, *_mark_words(table)])


def _mark_words(table: DepthTable) -> list[str]:
    """What marks mean, a line each below the axis."""
    lines = [f"ringed: {FROZEN_RANDOM}"] if table.frozen_random else []
    if table.counts_collapsed:
        lines.append("red cross: collapsed trials, and how many")
    return lines


def _places(table: DepthTable) -> dict[str, float]:
    """Where the plans that were not given as a depth stand, right of the deepest."""
    unit = max(table.deepest, 1)
    return {plan: unit * (1.12 + 0.09 * n) for n, plan in enumerate(table.plans)}


def _place(table: DepthTable, point: DepthPoint) -> float:
    return _places(table)[point.plan] if point.depth is None else point.depth


def _name_ticks(ax: "Axes", table: DepthTable) -> None:
    """Depths by their numbers, the other plans by their labels, upright."""
    depths = sorted({p.depth for line in table.lines for p in line.points if p.depth is not None})
    shown, zone = _with_room(ax, depths), _places(table)
    ax.set_xticks([*shown, *zone.values()])
    plans = [shortened(plan, _LONGEST_LABEL) for plan in zone]
    for label in ax.set_xticklabels([*map(str, shown), *plans], parse_math=False)[len(shown) :]:
        label.set_rotation(90)


def _mark_zone(ax: "Axes", table: DepthTable, theme: Theme) -> None:
    """A line between the depths and the other plans."""
    if table.plans:
        edge = max(table.deepest, 1) * 1.06
        ax.axvline(edge, color=theme.muted, linewidth=1.0, linestyle=(0, (2, 3)), zorder=0)


def _with_room(ax: "Axes", depths: Sequence[int]) -> list[int]:
    """Depths whose tick labels do not touch."""
    low, high = ax.get_xlim()
    pixels = size_of(ax)[1] / (high - low)
    kept: list[int] = []
    for depth in depths:
        if not kept or (depth - kept[-1]) * pixels >= _NARROWEST_TICK:
            kept.append(depth)
    return kept


def _draw_depth_line(
    ax: "Axes", table: DepthTable, line: DepthLine, shift: float, theme: Theme
) -> None:
    color, marker = look(table.inits, line.init, True, theme)
    means = [(_place(table, point) + shift, point.mean) for point in line.points if point.values]
    dash = _dash(table, line)
    ax.plot([x for x, _ in means], [y for _, y in means], color=color, linewidth=1.8,
            linestyle=dash, zorder=3)  # fmt: skip
    seeds = [(_place(table, p) + shift, value) for p in line.points for value in p.values]
    ax.plot(
        [x for x, _ in seeds],
        [y for _, y in seeds],
        linestyle="none",
        marker=marker,
        markersize=5.5,
        color=color,
        alpha=0.75,
        markeredgewidth=0,
        zorder=4,
    )
    ax.plot([], [], color=color, marker=marker, linewidth=1.8, linestyle=dash, label=line.name)


def _dash(table: DepthTable, line: DepthLine) -> Any:
    """Solid for the start's own schedule, then dashes that grow shorter."""
    variants = [other.variant for other in table.lines if other.init == line.init]
    return _DASHES[variants.index(line.variant) % len(_DASHES)]


def _draw_others(
    ax: "Axes", table: DepthTable, line: DepthLine, shift: float, theme: Theme
) -> None:
    color, marker = look(table.inits, line.init, True, theme)
    for point in line.others:
        x = _place(table, point) + shift
        ax.plot([x] * len(point.values), point.values, linestyle="none", marker=marker,
                markersize=5.5, markerfacecolor="none", markeredgecolor=color,
                markeredgewidth=1.3, zorder=4)  # fmt: skip
        if len(point.values) > 1:
            ax.plot([x], [point.mean], linestyle="none", marker="_", markersize=13, color=color,
                    markeredgewidth=1.8, zorder=3)  # fmt: skip


def _draw_rings(ax: "Axes", table: DepthTable, line: DepthLine, shift: float, theme: Theme) -> None:
    for point in line.cells:
        if point.frozen_random:
            x = _place(table, point) + shift
            ax.plot([x] * len(point.values), point.values, linestyle="none", marker="o",
                    markersize=12, markerfacecolor="none", markeredgecolor=theme.ink,
                    markeredgewidth=0.9, zorder=5)  # fmt: skip


def _draw_reference(ax: "Axes", line: DepthLine, theme: Theme) -> None:
    values = [value for point in line.cells for value in point.values]
    if not values:
        return
    level = sum(values) / len(values)
    ax.axhline(level, color=theme.muted, linewidth=1.4, linestyle=(0, (5, 3)),
               label=line.name)  # fmt: skip
    ax.plot([0] * len(values), values, linestyle="none", marker="_", markersize=11,
            markeredgewidth=1.6, color=theme.muted)  # fmt: skip


def _fit_scores(ax: "Axes", table: DepthTable, below: float) -> None:
    """Limits around what did not collapse, with ``below`` px left free under it."""
    low, high = _score_limits(table)
    ax.set_ylim(low - (high - low) * below / (size_of(ax)[0] - below), high)
    if below:
        ax.set_yticks([tick for tick in ax.get_yticks() if max(low, 0) <= tick <= high])


def _score_limits(table: DepthTable) -> tuple[float, float]:
    """From the lowest to the highest score, never so narrow that noise fills the axis."""
    values = [v for line in table.lines for point in line.cells for v in point.values]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    missing = max(0.0, _SHORTEST_PANEL - (high - low)) / 2
    low, high = low - missing, high + missing
    room = 0.09 * (high - low)
    return max(low - room, -0.02), min(high + room, 1.02)


def _collapses(table: DepthTable, theme: Theme) -> Iterator[Collapse]:
    """The cells with collapsed trials, in the colours of their starts."""
    for line in table.lines:
        color = look(table.inits, line.init, line.ranked, theme)[0]
        for point in line.cells:
            if point.collapsed:
                yield Collapse(_place(table, point), color, point.collapsed)


def _last_mean(line: DepthLine) -> float:
    if not line.ranked:
        values = [value for point in line.points for value in point.values]
        return sum(values) / len(values) if values else math.nan
    return next((p.mean for p in reversed(line.points or line.others) if p.values), math.nan)


def depths_figure(
    tables: Sequence[DepthTable], *, shape: Shape = "wide", theme: Theme = LIGHT
) -> "Figure":
    """Figure 3, one panel per score; the lines are named once, in the first."""
    names = [line.name for line in tables[0].lines]
    longest = max((min(len(plan), _LONGEST_LABEL) for plan in tables[0].plans), default=0)
    below = 46 + longest * _UPRIGHT + _LINE * len(_mark_words(tables[0]))
    figure, axes = panels(len(tables), names, shape, theme, height=290, below=below)
    for n, (ax, table) in enumerate(zip(axes, tables, strict=True)):
        here: Names = "none" if n > 0 else naming(names, shape)
        draw_depths(ax, table, theme=theme, names=here)
    return figure
