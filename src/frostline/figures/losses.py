"""Training curves, a panel per plan. The table, then the drawing."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from frostline.cells import FROZEN_RANDOM, cell_plan
from frostline.figures.axes import finish
from frostline.figures.panels import Shape
from frostline.figures.theme import LIGHT, TEXT, Theme, look
from frostline.figures.values import inits_of, is_collapsed, plain_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from frostline.records import TrialRecord

__all__ = ["LossLine", "LossTable", "draw_losses", "loss_table", "losses_figure"]


@dataclass(frozen=True, slots=True)
class LossLine:
    """Total training loss of one trial, the mean over each epoch."""

    init: str
    ranked: bool
    plan: str
    seed: int
    collapsed: bool
    losses: tuple[float, ...]
    frozen_random: bool = False


@dataclass(frozen=True, slots=True)
class LossTable:
    """Training curves, one panel per plan and variant (``k=9``), by what they freeze."""

    inits: tuple[str, ...]
    plans: tuple[str, ...]
    lines: tuple[LossLine, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        return plain_values(asdict(self))  # type: ignore[no-any-return]


def loss_table(records: Iterable["TrialRecord"]) -> LossTable:
    """Training curves of every trial: the sum of torchvision's losses, the mean over each epoch."""
    every = list(records)
    lines = tuple(
        LossLine(
            record.key.init,
            record.ranked,
            cell_plan(record).name,
            record.key.seed,
            is_collapsed(record),
            tuple(sum(epoch.losses.values()) for epoch in record.history),
            cell_plan(record).frozen_random,
        )
        for record in every
    )
    plans = sorted({cell_plan(record) for record in every}, key=lambda plan: plan.order)
    return LossTable(inits_of(every), tuple(dict.fromkeys(p.name for p in plans)), lines)


def draw_losses(ax: "Axes", table: LossTable, plan: str, *, theme: Theme = LIGHT) -> None:
    """Draw the training curves of one plan on ``ax``: one line per trial, coloured by init."""
    from matplotlib.ticker import MaxNLocator

    for line in table.lines:
        if line.plan != plan:
            continue
        color, _ = look(table.inits, line.init, line.ranked, theme)
        epochs = range(1, len(line.losses) + 1)
        dash: Any = "-" if line.ranked else (0, (5, 3))
        dash = ":" if line.frozen_random else dash
        marker = "." if len(line.losses) == 1 else ""
        ax.plot(epochs, line.losses, color=color, linewidth=1.3, linestyle=dash, alpha=0.85,
                marker=marker)  # fmt: skip
        if line.collapsed:
            ax.plot(epochs[-1], line.losses[-1], "x", color=theme.alert, markeredgewidth=2)
    dotted = any(line.plan == plan and line.frozen_random for line in table.lines)
    title = f"{plan} (dotted: {FROZEN_RANDOM})" if dotted else plan
    ax.set_title(title, fontsize=TEXT, color=theme.ink, loc="left", parse_math=False)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    finish(ax, theme)


def losses_figure(table: LossTable, *, shape: Shape = "wide", theme: Theme = LIGHT) -> "Figure":
    """Training curves, small multiples: a panel per plan on shared axes."""
    from matplotlib.figure import Figure

    columns = min(3 if shape == "wide" else 2, max(1, len(table.plans)))
    rows = -(-len(table.plans) // columns)
    width, height = (980 if shape == "wide" else 360), 60 + 150 * rows
    figure = Figure(figsize=(width / 72, height / 72), facecolor=theme.paper, dpi=72)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    figure.subplots_adjust(
        left=50 / width, right=1 - 12 / width, top=1 - 26 / height, bottom=48 / height,
        wspace=0.08 if shape == "wide" else 0.12, hspace=0.28,
    )  # fmt: skip
    for ax, plan in zip(axes, table.plans, strict=False):
        draw_losses(ax, table, plan, theme=theme)
    for n, ax in enumerate(axes):
        ax.set_visible(n < len(table.plans))
        if n + columns >= len(table.plans):  # no panel below it
            ax.tick_params(labelbottom=True)
    figure.supxlabel("epoch", fontsize=TEXT, color=theme.ink, y=6 / height)
    figure.supylabel("training loss", fontsize=TEXT, color=theme.ink, x=4 / width)
    return figure
