"""The study's figures in two steps: a table of what is to be drawn, then the drawing on given Axes.

The tables are plain frozen values, so every number in a figure can be tested and written out. The
drawing needs matplotlib, which is imported at its first use; pyplot and the global style are left
alone.
"""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frostline.depth import Numbering, layer_table
from frostline.errors import PlanError, RecordError
from frostline.records import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "LIGHT",
    "QUANTITIES",
    "SCORES",
    "DepthLine",
    "DepthPoint",
    "DepthTable",
    "DifferenceLine",
    "DifferenceTable",
    "LossLine",
    "LossTable",
    "Names",
    "Quantity",
    "Score",
    "Shape",
    "Stage",
    "Theme",
    "depth_table",
    "depths_figure",
    "difference_table",
    "differences_figure",
    "draw_depths",
    "draw_differences",
    "draw_losses",
    "is_collapsed",
    "loss_table",
    "losses_figure",
    "profiles_table",
    "score_of",
    "svg_text",
    "write_png",
]

Quantity = Literal["cosine", "angle", "folded"]
Score = Literal["ap", "ap50", "ap75", "wheat"]
Shape = Literal["wide", "narrow"]
Names = Literal["direct", "legend", "none"]

#: What the vertical axis of Figure 2 says.
QUANTITIES: Mapping[Quantity, str] = {
    "cosine": "difference l = 1 \u2212 |cos|",
    "angle": "angle between weights, degrees",
    "folded": "1 \u2212 |cos| of the folded weight",
}
#: What the vertical axis of Figure 3 says.
SCORES: Mapping[Score, str] = {
    "ap": "AP (IoU .50:.95)",
    "ap50": "AP50 (IoU .50)",
    "ap75": "AP75 (IoU .75)",
    "wheat": "wheat metric",
}


# Tables


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A backbone's stage: its first and last convolution, counted from 1 in a numbering."""

    name: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class DifferenceLine:
    """The difference profile of one init over its seeds, one value per layer in forward order.

    Attributes:
        init: name of the start.
        ranked: False for the random reference.
        profiles: how many profiles (seeds) the values are over, >= 1.
        left_out: seeds that collapsed and are in no value.
        mean: arithmetic mean over seeds; NaN where a layer is not comparable in any of them.
        low: smallest value over seeds.
        high: largest value over seeds.
    """

    init: str
    ranked: bool
    profiles: int
    left_out: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class DifferenceTable:
    """Figure 2: how far each convolution moved, a line per init.

    Attributes:
        quantity: ``cosine`` (Algorithm 1), ``angle`` in degrees, or ``folded`` (with BatchNorm).
        inits: every init of the study in its order; the position decides the colour.
        layers: module names in forward order; the first has index 1.
        stages: the backbone's stages.
        lines: one per init that has profiles, in the order of ``inits``.
    """

    quantity: Quantity
    inits: tuple[str, ...]
    layers: tuple[str, ...]
    stages: tuple[Stage, ...]
    lines: tuple[DifferenceLine, ...]

    def plot(self, ax: "Axes", *, log: bool = True) -> None:
        """Draw on ``ax`` with the light theme; see ``draw_differences``."""
        draw_differences(ax, self, log=log)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, slots=True)
class DepthPoint:
    """The scores of one init at one depth.

    Attributes:
        depth: k, number of frozen convolutions.
        seeds: seeds of ``values``.
        values: score of each trial that did not collapse, in [0, 1].
        collapsed: (seed, score) of each trial that did; in no mean.
    """

    depth: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    collapsed: tuple[tuple[int, float], ...] = ()

    @property
    def mean(self) -> float:
        """Mean over the trials that did not collapse; NaN if all did."""
        return sum(self.values) / len(self.values) if self.values else math.nan


@dataclasses.dataclass(frozen=True, slots=True)
class DepthLine:
    """One init over the depths, ascending."""

    init: str
    ranked: bool
    points: tuple[DepthPoint, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class DepthTable:
    """Figure 3: score against the number of frozen convolutions, a line per init.

    Attributes:
        score: which score.
        split: ``val`` or ``test``.
        inits: every init of the study in its order; the position decides the colour.
        numbering: how depths count.
        deepest: the depth that freezes the whole backbone, or the largest one tried if unknown.
        stages: the backbone's stages in that numbering.
        lines: one per init.
    """

    score: Score
    split: str
    inits: tuple[str, ...]
    numbering: str
    deepest: int
    stages: tuple[Stage, ...]
    lines: tuple[DepthLine, ...]

    def plot(self, ax: "Axes") -> None:
        """Draw on ``ax`` with the light theme; see ``draw_depths``."""
        draw_depths(ax, self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, slots=True)
class LossLine:
    """Total training loss of one trial, the mean over each epoch."""

    init: str
    ranked: bool
    depth: int
    seed: int
    collapsed: bool
    losses: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LossTable:
    """Training curves, one panel per depth."""

    inits: tuple[str, ...]
    depths: tuple[int, ...]
    lines: tuple[LossLine, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


def is_collapsed(record: TrialRecord) -> bool:
    """Whether a trial is flagged as collapsed: its loss did not fall, or its AP50 is near 0."""
    return any(flag.startswith("collapsed") for flag in record.flags)


def score_of(record: TrialRecord, score: Score, split: str = "val") -> float:
    """One overall score of a trial, in [0, 1]; NaN if the split or the quantity is absent."""
    tables = record.metrics.get(split)
    if tables is None:
        return math.nan
    overall = tables["wheat" if score == "wheat" else "coco"]["overall"]
    return _number(overall["score" if score == "wheat" else score])


def difference_table(
    records: Iterable[TrialRecord], quantity: Quantity = "cosine"
) -> DifferenceTable:
    """The table of Figure 2 from the trials that froze nothing (k = 0).

    Args:
        records: finished trials of one study; those with another depth are passed over.
        quantity: which difference.

    Returns:
        The table; without lines if no trial with k = 0 has finished.

    Raises:
        RecordError: the records are of different models.
    """
    every = list(records)
    chosen = [record for record in every if record.key.depth == 0]
    profiles: dict[str, list[Sequence[Mapping[str, Any]]]] = {}
    left_out: dict[str, list[int]] = {}
    for record in chosen:
        profiles.setdefault(record.key.init, [])
        if is_collapsed(record):
            left_out.setdefault(record.key.init, []).append(record.key.seed)
        else:
            profiles[record.key.init].append(record.differences)
    return profiles_table(
        {init: found for init, found in profiles.items() if found},
        quantity,
        inits=_inits(every),
        unranked={record.key.init for record in chosen if not record.ranked},
        left_out=left_out,
    )


def profiles_table(
    profiles: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    quantity: Quantity = "cosine",
    *,
    inits: Sequence[str] | None = None,
    unranked: Iterable[str] = (),
    left_out: Mapping[str, Sequence[int]] | None = None,
) -> DifferenceTable:
    """The table of Figure 2 from difference profiles, whatever they are of.

    Args:
        profiles: name of a line -> one or more profiles, each the rows of
            ``LayerDifference.to_dict()`` in forward order.
        quantity: which difference.
        inits: names in the order of their colours; None: the order of ``profiles``.
        unranked: names that are references.
        left_out: name -> seeds that are in no profile.

    Raises:
        RecordError: the profiles do not have the same layers.
    """
    rows = next((found[0] for found in profiles.values() if found), ())
    layers = tuple(str(row["name"]) for row in rows)
    names = tuple(inits if inits is not None else profiles)
    lines = tuple(
        _difference_line(
            name, profiles[name], quantity, layers, name not in set(unranked), (left_out or {})
        )
        for name in names
        if profiles.get(name)
    )
    return DifferenceTable(quantity, names, layers, _stages_of_rows(rows), lines)


def _difference_line(
    name: str,
    profiles: Sequence[Sequence[Mapping[str, Any]]],
    quantity: Quantity,
    layers: tuple[str, ...],
    ranked: bool,
    left_out: Mapping[str, Sequence[int]],
) -> DifferenceLine:
    for profile in profiles:
        if tuple(row["name"] for row in profile) != layers:
            raise RecordError(
                f"expected profiles over the same {len(layers)} layers, '{name}' has others; "
                "draw different models in different figures"
            )
    # shape (profiles, layers)
    values = np.array([[_difference(row, quantity) for row in profile] for profile in profiles])
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), math.nan)
    low = np.where(count > 0, np.where(known, values, np.inf).min(axis=0), math.nan)
    high = np.where(count > 0, np.where(known, values, -np.inf).max(axis=0), math.nan)
    return DifferenceLine(
        name,
        ranked,
        len(profiles),
        tuple(left_out.get(name, ())),
        tuple(mean.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
    )


def _difference(row: Mapping[str, Any], quantity: Quantity) -> float:
    if quantity == "folded":
        folded = row["folded"]
        return math.nan if folded is None else _number(folded["cosine"])
    return _number(row[quantity])


def _stages_of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    spans: dict[str, tuple[int, int]] = {}
    for row in rows:
        first, _ = spans.get(row["stage"], (row["index"], 0))
        spans[row["stage"]] = (first, row["index"])
    return tuple(Stage(name, first, last) for name, (first, last) in spans.items())


def depth_table(
    records: Iterable[TrialRecord], score: Score = "ap", split: str = "val"
) -> DepthTable:
    """The table of Figure 3: every seed of every cell, collapsed trials apart.

    Args:
        records: finished trials of one study.
        score: which score.
        split: ``val`` or ``test``; trials without it are passed over.
    """
    every = list(records)
    found = [record for record in every if not math.isnan(score_of(record, score, split))]
    lines = []
    for init in _inits(every):
        own = [record for record in found if record.key.init == init]
        depths = sorted({record.key.depth for record in own})
        points = tuple(_depth_point(own, depth, score, split) for depth in depths)
        if points:
            lines.append(DepthLine(init, own[0].ranked, points))
    numbering, deepest, stages = _backbone_of(every)
    tried = max((record.key.depth for record in every), default=0)
    return DepthTable(
        score, split, _inits(every), numbering, max(deepest, tried), stages, tuple(lines)
    )


def _depth_point(
    records: Sequence[TrialRecord], depth: int, score: Score, split: str
) -> DepthPoint:
    here = sorted((r for r in records if r.key.depth == depth), key=lambda r: r.key.seed)
    good = [record for record in here if not is_collapsed(record)]
    return DepthPoint(
        depth,
        tuple(record.key.seed for record in good),
        tuple(score_of(record, score, split) for record in good),
        tuple((r.key.seed, score_of(r, score, split)) for r in here if is_collapsed(r)),
    )


def _backbone_of(records: Sequence[TrialRecord]) -> tuple[str, int, tuple[Stage, ...]]:
    """Numbering, largest depth and stages; empty where the records' backbone is not one of ours."""
    spec = records[0].spec if records else {}
    numbering: Numbering = "paper" if spec.get("numbering") == "paper" else "all"
    model = spec.get("model", {})
    try:
        table = layer_table(model.get("backbone", ""), width_mult=model.get("width_mult", 1.0))
        ends = [(name, end) for name, end in table.stage_ends(numbering).items() if end > 0]
    except PlanError:
        return numbering, 0, ()
    starts = [1, *(end + 1 for _, end in ends)]
    stages = tuple(
        Stage(name, first, last) for (name, last), first in zip(ends, starts, strict=False)
    )
    return numbering, table.max_depth(numbering), stages


def loss_table(records: Iterable[TrialRecord]) -> LossTable:
    """Training curves of every trial: the sum of torchvision's losses, the mean over each epoch."""
    every = list(records)
    lines = tuple(
        LossLine(
            record.key.init,
            record.ranked,
            record.key.depth,
            record.key.seed,
            is_collapsed(record),
            tuple(sum(epoch.losses.values()) for epoch in record.history),
        )
        for record in every
    )
    return LossTable(_inits(every), tuple(sorted({line.depth for line in lines})), lines)


def _inits(records: Iterable[TrialRecord]) -> tuple[str, ...]:
    """Inits in the order of their first record, references last."""
    seen = {record.key.init: record.ranked for record in records}
    return tuple(sorted(seen, key=lambda init: not seen[init]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Drawing


@dataclasses.dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a figure, each ``#rrggbb``, ``paper`` also ``none``.

    Attributes:
        ink: text and axes.
        muted: stage names, the random reference.
        grid: grid and stage marks.
        paper: background.
        alert: marks of collapsed trials.
        lines: colours of the inits, in turn; told apart also by people with red-green blindness
            (after Okabe and Ito), with a contrast of at least 3:1 to the background.
    """

    ink: str
    muted: str
    grid: str
    paper: str
    alert: str
    lines: tuple[str, ...]


LIGHT = Theme(
    ink="#17202a",
    muted="#5b6774",
    grid="#d9dfe5",
    paper="#ffffff",
    alert="#b3123a",
    lines=("#0b6fb8", "#c8500a", "#00805e", "#a0408a", "#8a6a00", "#4a5a6a"),
)
DARK = Theme(
    ink="#e8eef4",
    muted="#9aa8b5",
    grid="#2e3944",
    paper="#10161c",
    alert="#ff7d98",
    lines=("#5cb8f2", "#ff9a52", "#3ed6a6", "#ea9ad3", "#e6c04a", "#b4c2d0"),
)

_MARKERS = ("o", "s", "^", "D", "v", "P")
_TEXT, _SMALL = 12.0, 10.5  # pt; a figure is laid out at 72 dpi, so 1 pt is 1 px of the page
_CHARACTER = 6.6  # px, mean width of one character at _TEXT
_LINE = 16.0  # px between baselines of labels
_NARROWEST_TICK = 20.0  # px
_STAGE_ROOM = 46.0  # px above the data for upright stage names
_SHORTEST_PANEL = 0.04  # AP: less than this is not blown up to a full axis


def draw_differences(
    ax: "Axes",
    table: DifferenceTable,
    *,
    theme: Theme = LIGHT,
    log: bool = True,
    names: Names = "direct",
) -> None:
    """Draw Figure 2 on ``ax``: a line per init, its band over seeds, stage marks.

    The line is the mean over seeds, the band reaches from the smallest to the largest. A value of
    exactly 0 has no place on a logarithmic axis: it is drawn as a small triangle on the lower
    edge. A layer that is not comparable leaves a gap.

    Args:
        ax: where to draw; its limits, ticks and labels are set.
        table: what to draw.
        theme: colours.
        log: logarithmic vertical axis.
        names: ``direct`` beside the ends of the lines, a ``legend`` above the axes, or ``none``.
    """
    positions = np.arange(1, len(table.layers) + 1)
    for line in table.lines:
        color, marker = _look(table.inits, line.init, line.ranked, theme)
        mean, low, high = (_positive(v, log) for v in (line.mean, line.low, line.high))
        ax.fill_between(positions, low, high, color=color, alpha=0.22, linewidth=0)
        dash: Any = "-" if line.ranked else (0, (5, 3))
        marker_size = 3.4 if line.ranked else 0
        ax.plot(
            positions,
            mean,
            color=color,
            marker=marker,
            markersize=marker_size,
            linewidth=1.5,
            linestyle=dash,
            label=_label(line.init, line.ranked),
        )
        _mark_zeros(ax, positions, line.mean, color, log)
    if log:
        ax.set_yscale("log")
        _show_a_decade(ax)
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlim(0.2, len(table.layers) + 0.8)
    ax.set_xlabel("convolution, counted from the input", color=theme.ink)
    ax.set_ylabel(QUANTITIES[table.quantity], color=theme.ink)
    _finish(ax, theme)
    _mark_stages(ax, table.stages, theme, edge=0.5)
    ends = [(_label(x.init, x.ranked), x.mean[-1]) for x in table.lines]
    _name_lines(ax, ends, [_look(table.inits, x.init, x.ranked, theme)[0] for x in table.lines],
                theme, names)  # fmt: skip


def _show_a_decade(ax: "Axes") -> None:
    """Widen a logarithmic axis to whole powers of ten where it spans less than two.

    The labels between powers are long ("5.45 x 10^-7") and would be cut off at the left.
    """
    low, high = ax.get_ylim()
    if 0 < low < high < 100 * low:
        ax.set_ylim(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)))


def draw_depths(
    ax: "Axes", table: DepthTable, *, theme: Theme = LIGHT, names: Names = "direct"
) -> None:
    """Draw Figure 3 on ``ax``: a line per init through the mean, every seed as a point.

    Points of different inits at one depth stand side by side, so that none hides another. A random
    reference is a dashed level with its seeds as ticks. A collapsed trial is a cross on the
    lower edge with its seed and score, and is in no mean.

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
    references = [line for line in table.lines if not line.ranked]
    for line in references:
        _draw_reference(ax, line, theme)
    margin = 0.04 * max(table.deepest, 1)
    ax.set_xlim(-margin, table.deepest + margin)
    _fit_scores(ax, table)
    _draw_collapsed(ax, table, theme)
    depths = sorted({point.depth for line in table.lines for point in line.points})
    ax.set_xticks(_with_room(ax, depths))
    ax.set_xlabel("frozen convolutions k, counted from the input", color=theme.ink)
    ax.set_ylabel(SCORES[table.score], color=theme.ink)
    _finish(ax, theme)
    _mark_stages(ax, table.stages, theme, edge=0.0)
    shown = ranked + references
    ends = [(_label(x.init, x.ranked), _last_mean(x)) for x in shown]
    _name_lines(ax, ends, [_look(table.inits, x.init, x.ranked, theme)[0] for x in shown],
                theme, names)  # fmt: skip


def draw_losses(ax: "Axes", table: LossTable, depth: int, *, theme: Theme = LIGHT) -> None:
    """Draw the training curves of one depth on ``ax``: one line per trial, coloured by init."""
    from matplotlib.ticker import MaxNLocator

    for line in table.lines:
        if line.depth != depth:
            continue
        color, _ = _look(table.inits, line.init, line.ranked, theme)
        epochs = range(1, len(line.losses) + 1)
        dash: Any = "-" if line.ranked else (0, (5, 3))
        marker = "." if len(line.losses) == 1 else ""
        ax.plot(epochs, line.losses, color=color, linewidth=1.3, linestyle=dash, alpha=0.85,
                marker=marker)  # fmt: skip
        if line.collapsed:
            ax.plot(epochs[-1], line.losses[-1], "x", color=theme.alert, markeredgewidth=2)
    ax.set_title(f"k = {depth}", fontsize=_TEXT, color=theme.ink, loc="left")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _finish(ax, theme)


def _with_room(ax: "Axes", depths: Sequence[int]) -> list[int]:
    """Depths whose tick labels do not touch."""
    low, high = ax.get_xlim()
    pixels = _size(ax)[1] / (high - low)
    kept: list[int] = []
    for depth in depths:
        if not kept or (depth - kept[-1]) * pixels >= _NARROWEST_TICK:
            kept.append(depth)
    return kept


def _draw_depth_line(
    ax: "Axes", table: DepthTable, line: DepthLine, shift: float, theme: Theme
) -> None:
    color, marker = _look(table.inits, line.init, True, theme)
    means = [(point.depth + shift, point.mean) for point in line.points if point.values]
    ax.plot([x for x, _ in means], [y for _, y in means], color=color, linewidth=1.8, zorder=3)
    seeds = [(p.depth + shift, value) for p in line.points for value in p.values]
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
    ax.plot([], [], color=color, marker=marker, linewidth=1.8, label=_label(line.init, True))


def _draw_reference(ax: "Axes", line: DepthLine, theme: Theme) -> None:
    values = [value for point in line.points for value in point.values]
    if not values:
        return
    level = sum(values) / len(values)
    ax.axhline(level, color=theme.muted, linewidth=1.4, linestyle=(0, (5, 3)),
               label=_label(line.init, False))  # fmt: skip
    ax.plot([0] * len(values), values, linestyle="none", marker="_", markersize=11,
            markeredgewidth=1.6, color=theme.muted)  # fmt: skip


def _fit_scores(ax: "Axes", table: DepthTable) -> None:
    """Limits around what did not collapse, never so narrow that noise fills the axis."""
    values = [v for line in table.lines for point in line.points for v in point.values]
    if not values:
        ax.set_ylim(0, 1)
        return
    low, high = min(values), max(values)
    missing = max(0.0, _SHORTEST_PANEL - (high - low)) / 2
    low, high = low - missing, high + missing
    room = 0.09 * (high - low)
    ax.set_ylim(max(low - room, -0.02), min(high + room, 1.02))


def _draw_collapsed(ax: "Axes", table: DepthTable, theme: Theme) -> None:
    """A cross on the lower edge for each collapsed trial, beside its seed and score."""
    bottom = ax.get_ylim()[0]
    rows = itertools.count()
    for line in table.lines:
        for point in line.points:
            for seed, value in point.collapsed:
                ax.plot(point.depth, bottom, "X", color=theme.alert, markersize=9,
                        clip_on=False, zorder=6)  # fmt: skip
                right = point.depth > table.deepest / 2
                ax.annotate(
                    f"seed {seed} collapsed: {value:.3f}",
                    (point.depth, bottom),
                    (-8 if right else 8, 9 + next(rows) * 14),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    color=_look(table.inits, line.init, line.ranked, theme)[0],
                    fontsize=_SMALL,
                )


def _look(inits: Sequence[str], init: str, ranked: bool, theme: Theme) -> tuple[str, str]:
    """Colour and marker of an init, the same in every figure of a study."""
    if not ranked:
        return theme.muted, "_"
    place = list(inits).index(init)
    turn, color = divmod(place, len(theme.lines))
    return theme.lines[color], _MARKERS[(color + turn) % len(_MARKERS)]


def _label(init: str, ranked: bool) -> str:
    return init if ranked else f"{init} (unranked)"


def _last_mean(line: DepthLine) -> float:
    if not line.ranked:
        values = [value for point in line.points for value in point.values]
        return sum(values) / len(values) if values else math.nan
    return next((p.mean for p in reversed(line.points) if p.values), math.nan)


def _positive(values: Sequence[float], log: bool) -> Any:
    array = np.array(values, dtype=float)
    return np.where(array > 0, array, math.nan) if log else array


def _mark_zeros(ax: "Axes", positions: Any, values: Sequence[float], color: str, log: bool) -> None:
    zeros = [x for x, value in zip(positions, values, strict=True) if log and value == 0]
    if zeros:
        ax.plot(zeros, [0.012] * len(zeros), "v", color=color, markersize=4,
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip


def _finish(ax: "Axes", theme: Theme) -> None:
    ax.set_facecolor("none")
    ax.grid(True, axis="y", color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    ax.tick_params(colors=theme.ink, labelsize=_SMALL, which="both", labelcolor=theme.ink)
    ax.tick_params(which="minor", length=0)
    ax.xaxis.label.set_fontsize(_TEXT)
    ax.yaxis.label.set_fontsize(_TEXT)


def _mark_stages(ax: "Axes", stages: Sequence[Stage], theme: Theme, edge: float) -> None:
    """A line where each stage ends and its name, upright, in a strip above the data.

    A name that would touch the one before it is left out; the line stays.
    """
    width = _size(ax)[1]
    low, high = ax.get_xlim()
    last = -math.inf
    for n, stage in enumerate(stages):
        if n < len(stages) - 1:
            ax.axvline(stage.last + edge, color=theme.grid, linewidth=1.0, zorder=0)
        middle = (stage.first + stage.last) / 2 - (0.5 if edge == 0 else 0)
        x = (middle - low) / (high - low) * width
        if x - last < _SMALL + 3:
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
            fontsize=_SMALL,
            parse_math=False,
        )


def _size(ax: "Axes") -> tuple[float, float]:
    """Height and width of the axes in px at 72 dpi."""
    box, figure = ax.get_position(), ax.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    width, height = (float(side) * 72 for side in figure.get_size_inches())
    return box.height * height, box.width * width


def _name_lines(
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
    height, _ = _size(ax)
    shown = [(name, y, color) for (name, y), color in zip(ends, colors, strict=True)]
    shown = [part for part in shown if math.isfinite(part[1])]
    places = [_fraction(ax, y) for _, y, _ in shown]
    spread = _spread(places, _LINE / height)
    for (name, _, color), place, at in zip(shown, spread, places, strict=True):
        ax.annotate(
            name,
            (1.0, min(max(at, 0.0), 1.0)),
            (1.0 + 12 / _size(ax)[1], place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=color,
            fontsize=_TEXT,
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


def _legend(ax: "Axes", theme: Theme) -> None:
    legend = ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=_above_stages(ax),
        borderaxespad=0,
        frameon=False,
        fontsize=_TEXT,
        labelcolor=theme.ink,
        handlelength=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _above_stages(ax: "Axes") -> Any:
    from matplotlib.transforms import ScaledTranslation

    figure: Any = ax.figure
    return ax.transAxes + ScaledTranslation(0, _STAGE_ROOM / 72, figure.dpi_scale_trans)


def _fraction(ax: "Axes", y: float) -> float:
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        if y <= 0:
            return 0.0
        low, high, y = math.log(low), math.log(high), math.log(y)
    return (y - low) / (high - low)


def _spread(places: Sequence[float], gap: float) -> list[float]:
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


# Whole figures


def differences_figure(
    table: DifferenceTable, *, log: bool = True, shape: Shape = "wide", theme: Theme = LIGHT
) -> "Figure":
    """Figure 2 on its own: ``wide`` is laid out for 980 px, ``narrow`` for a phone."""
    names = [_label(line.init, line.ranked) for line in table.lines]
    figure, axes = _panels(1, names, shape, theme, height=300)
    draw_differences(axes[0], table, theme=theme, log=log,
                     names="direct" if shape == "wide" else "legend")  # fmt: skip
    return figure


def depths_figure(
    tables: Sequence[DepthTable], *, shape: Shape = "wide", theme: Theme = LIGHT
) -> "Figure":
    """Figure 3, one panel per score; the lines are named once, in the first."""
    names = [_label(line.init, line.ranked) for line in tables[0].lines]
    figure, axes = _panels(len(tables), names, shape, theme, height=290)
    for n, (ax, table) in enumerate(zip(axes, tables, strict=True)):
        here: Names = "none" if n > 0 else "direct" if shape == "wide" else "legend"
        draw_depths(ax, table, theme=theme, names=here)
    return figure


def losses_figure(table: LossTable, *, shape: Shape = "wide", theme: Theme = LIGHT) -> "Figure":
    """Training curves, small multiples: a panel per depth on shared axes."""
    from matplotlib.figure import Figure

    columns = min(3 if shape == "wide" else 2, max(1, len(table.depths)))
    rows = -(-len(table.depths) // columns)
    width, height = (980 if shape == "wide" else 360), 60 + 150 * rows
    figure = Figure(figsize=(width / 72, height / 72), facecolor=theme.paper, dpi=72)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    figure.subplots_adjust(
        left=50 / width, right=1 - 12 / width, top=1 - 26 / height, bottom=48 / height,
        wspace=0.08 if shape == "wide" else 0.12, hspace=0.28,
    )  # fmt: skip
    for ax, depth in zip(axes, table.depths, strict=False):
        draw_losses(ax, table, depth, theme=theme)
    for ax in axes[len(table.depths) :]:
        ax.set_visible(False)
    figure.supxlabel("epoch", fontsize=_TEXT, color=theme.ink, y=6 / height)
    figure.supylabel("training loss", fontsize=_TEXT, color=theme.ink, x=4 / width)
    return figure


def _panels(
    count: int, names: Sequence[str], shape: Shape, theme: Theme, height: float
) -> tuple["Figure", list["Axes"]]:
    """Axes at exact places in px: side by side when wide, below each other when narrow."""
    from matplotlib.figure import Figure

    beside = max((len(name) for name in names), default=0) * (_CHARACTER + 0.6) + 22
    if shape == "wide":
        width, columns, left, right = 980.0, count, 62.0, beside
        above, legend = _STAGE_ROOM + 6, 0.0
    else:
        width, columns, left, right = 360.0, 1, 54.0, 10.0
        above, legend = _STAGE_ROOM + 6, len(names) * 19.0 + 6
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


def svg_text(figure: "Figure", *, text_as_paths: bool = False, salt: str = "frostline") -> str:
    """The figure as an SVG document, the same text for the same figure.

    Args:
        figure: what to write.
        text_as_paths: outlines instead of text, for files that must look the same everywhere.
        salt: makes the ids inside differ between figures of one page.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    kind = "path" if text_as_paths else "none"
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": kind, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def write_png(figure: "Figure", path: Path, *, dpi: float = 200) -> None:
    """Write the figure as PNG, laid out as at 72 dpi and drawn at ``dpi``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})
