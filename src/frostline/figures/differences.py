"""Figure 2: how far each convolution moved, a line per init. The table, then the drawing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frostline.cells import CellPlan, cell_plan
from frostline.errors import RecordError
from frostline.figures.axes import Names, finish, mark_stages, name_lines
from frostline.figures.panels import Shape, naming, panels
from frostline.figures.stages import Stage, stages_of_rows
from frostline.figures.theme import LIGHT, Theme, label_of, look
from frostline.figures.values import inits_of, is_collapsed, number_of, plain_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from frostline.records import TrialRecord

__all__ = [
    "QUANTITIES",
    "DifferenceLine",
    "DifferenceTable",
    "Quantity",
    "difference_table",
    "differences_figure",
    "draw_differences",
    "profiles_table",
]

Quantity = Literal["cosine", "angle", "folded"]
_ABOVE_ONE = 1.3  # end of an axis of 1 - |cos|, which has no value above 1
_ALL_ZERO = (1e-16, 1.0)  # limits where nothing but zeros is drawn

#: What the vertical axis of Figure 2 says.
QUANTITIES: Mapping[Quantity, str] = {
    "cosine": "difference l = 1 \u2212 |cos|",
    "angle": "angle between weights, degrees",
    "folded": "1 \u2212 |cos| of the folded weight",
}


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """Figure 2: how far each convolution moved, a line per init.

    Attributes:
        quantity: ``cosine`` (Algorithm 1), ``angle`` in degrees, or ``folded`` (with BatchNorm).
        inits: every init of the study in its order; the position decides the colour.
        layers: module names in forward order; the first has index 1.
        stages: the backbone's stages.
        lines: one per init that has profiles, in the order of ``inits``.
        counts: what one position is: a convolution, or a layer of any kind.
    """

    quantity: Quantity
    inits: tuple[str, ...]
    layers: tuple[str, ...]
    stages: tuple[Stage, ...]
    lines: tuple[DifferenceLine, ...]
    counts: str = "convolution"

    def plot(self, ax: "Axes", *, log: bool = True) -> None:
        """Draw on ``ax`` with the light theme; see ``draw_differences``."""
        draw_differences(ax, self, log=log)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return plain_values(asdict(self))  # type: ignore[no-any-return]


def difference_table(
    records: Iterable["TrialRecord"], quantity: Quantity = "cosine"
) -> DifferenceTable:
    """The table of Figure 2 from the trials that froze nothing (k = 0).

    Args:
        records: finished trials of one study; those that froze layers are passed over, and of
            several cells of a start that froze none all but the first (its own schedule).
        quantity: which difference.

    Returns:
        The table; without lines if no trial that froze nothing has finished. Where all of them
        compared the layers of every section, these stand behind those that depth counts.

    Raises:
        RecordError: the records are of different models.
    """
    every = list(records)
    chosen = _nothing_frozen(every)
    every_section = bool(chosen) and all(record.other_differences for record in chosen)
    profiles: dict[str, list[Sequence[Mapping[str, Any]]]] = {}
    left_out: dict[str, list[int]] = {}
    for record in chosen:
        profiles.setdefault(record.key.init, [])
        if is_collapsed(record):
            left_out.setdefault(record.key.init, []).append(record.key.seed)
        else:
            profiles[record.key.init].append(_profile(record, every_section))
    return profiles_table(
        {init: found for init, found in profiles.items() if found},
        quantity,
        inits=inits_of(every),
        unranked={record.key.init for record in chosen if not record.ranked},
        left_out=left_out,
        counts="layer" if every_section else "convolution",
    )


def _profile(record: "TrialRecord", every_section: bool) -> Sequence[Mapping[str, Any]]:
    """The rows of a trial; those of other sections go on counting, a stage for each section."""
    if not every_section:
        return record.differences
    last = len(record.differences)
    others = [
        {**row, "index": index, "stage": row["section"], "name": f"{row['section']}.{row['name']}"}
        for index, row in enumerate(record.other_differences, start=last + 1)
    ]
    return (*record.differences, *others)


def _nothing_frozen(records: Sequence["TrialRecord"]) -> list["TrialRecord"]:
    found = [record for record in records if record.plan.nothing_frozen]
    first: dict[str, CellPlan] = {}
    for record in sorted(found, key=lambda record: cell_plan(record).order):
        first.setdefault(record.key.init, cell_plan(record))
    return [record for record in found if cell_plan(record) == first[record.key.init]]


def profiles_table(
    profiles: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    quantity: Quantity = "cosine",
    *,
    inits: Sequence[str] | None = None,
    unranked: Iterable[str] = (),
    left_out: Mapping[str, Sequence[int]] | None = None,
    counts: str = "convolution",
) -> DifferenceTable:
    """The table of Figure 2 from difference profiles, whatever they are of.

    Args:
        profiles: name of a line -> one or more profiles, each the rows of
            ``LayerDifference.to_dict()`` in forward order.
        quantity: which difference.
        inits: names in the order of their colours; None: the order of ``profiles``.
        unranked: names that are references.
        left_out: name -> seeds that are in no profile.
        counts: what one row is.

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
    return DifferenceTable(quantity, names, layers, stages_of_rows(rows), lines, counts)


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
        return math.nan if folded is None else number_of(folded["cosine"])
    return number_of(row[quantity])


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
        color, marker = look(table.inits, line.init, line.ranked, theme)
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
            label=label_of(line.init, line.ranked),
        )
        _mark_zeros(ax, positions, line.mean, color, log)
    if log:
        ax.set_yscale("log")
        if not any(value > 0 for line in table.lines for value in line.high):
            ax.set_ylim(*_ALL_ZERO)  # matplotlib finds no limits by itself
        _show_a_decade(ax, math.inf if table.quantity == "angle" else _ABOVE_ONE)
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlim(0.2, len(table.layers) + 0.8)
    ax.set_xlabel(f"{table.counts}, counted from the input", color=theme.ink)
    ax.set_ylabel(QUANTITIES[table.quantity], color=theme.ink)
    finish(ax, theme)
    mark_stages(ax, table.stages, theme, edge=0.5)
    ends = [(label_of(x.init, x.ranked), x.mean[-1]) for x in table.lines]
    name_lines(ax, ends, [look(table.inits, x.init, x.ranked, theme)[0] for x in table.lines],
                theme, names)  # fmt: skip


def _show_a_decade(ax: "Axes", most: float) -> None:
    """Widen a logarithmic axis to whole powers of ten where it spans less than two.

    The labels between powers are long ("5.45 x 10^-7") and would be cut off at the left.
    """
    from matplotlib.ticker import NullFormatter

    ax.yaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_ylim()
    if 0 < low < high < 100 * low:
        top = 10.0 ** math.ceil(math.log10(high))
        ax.set_ylim(10.0 ** math.floor(math.log10(low)), min(top, most))


def _positive(values: Sequence[float], log: bool) -> Any:
    array = np.array(values, dtype=float)
    return np.where(array > 0, array, math.nan) if log else array


def _mark_zeros(ax: "Axes", positions: Any, values: Sequence[float], color: str, log: bool) -> None:
    zeros = [x for x, value in zip(positions, values, strict=True) if log and value == 0]
    if zeros:
        ax.plot(zeros, [0.012] * len(zeros), "v", color=color, markersize=4,
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip


def differences_figure(
    table: DifferenceTable, *, log: bool = True, shape: Shape = "wide", theme: Theme = LIGHT
) -> "Figure":
    """Figure 2 on its own: ``wide`` is laid out for 980 px, ``narrow`` for a phone."""
    names = [label_of(line.init, line.ranked) for line in table.lines]
    figure, axes = panels(1, names, shape, theme, height=300)
    draw_differences(axes[0], table, theme=theme, log=log,
                     names=naming(names, shape))  # fmt: skip
    return figure
