"""The figures of the page, each in a shape for a screen and one for a phone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from frostline.figures import (
    DepthTable,
    DifferenceTable,
    LossTable,
    Quantity,
    depths_figure,
    differences_figure,
    losses_figure,
)
from frostline.figures.inline import PAGE, inline_svg

__all__ = ["curves", "figure2", "figure3"]


def _both_shapes(draw: Any, name: str, title: str) -> dict[str, Markup]:
    return {
        shape: inline_svg(draw(shape), name=f"{name}-{shape}", title=title)
        for shape in ("wide", "narrow")
    }


def figure3(tables: Sequence[DepthTable]) -> dict[str, Markup]:
    """Score against depth, a panel per table."""
    names = " and ".join(table.axis for table in tables)
    return _both_shapes(
        lambda shape: depths_figure(tables, shape=shape, theme=PAGE),
        "f3",
        f"{names} against the number of frozen {tables[0].unit}s, one line per start; "
        "the table of cells below has the numbers",
    )


_VIEWS: tuple[tuple[str, Quantity, bool, str], ...] = (
    ("log", "cosine", True, "1 \u2212 |cos|"),
    ("linear", "cosine", False, "linear"),
    ("angle", "angle", False, "angle"),
    ("folded", "folded", True, "folded"),
)


def figure2(tables: Mapping[Quantity, DifferenceTable]) -> list[dict[str, Any]]:
    """One view per quantity and axis; empty if no trial with k = 0 has finished."""
    views = []
    for name, quantity, log, label in _VIEWS:
        table = tables[quantity]
        if not any(math.isfinite(value) for line in table.lines for value in line.mean):
            continue
        title = f"{label} of each convolution between start and end of training, a line per start"
        drawings = _both_shapes(
            lambda shape, table=table, log=log: differences_figure(
                table, log=log, shape=shape, theme=PAGE
            ),
            f"f2-{name}",
            title,
        )
        views.append({"name": name, "label": label, **drawings})
    return views


def curves(table: LossTable) -> dict[str, Markup]:
    """Training loss, a panel per plan."""
    return _both_shapes(
        lambda shape: losses_figure(table, shape=shape, theme=PAGE),
        "loss",
        "training loss by epoch, a panel per plan, a line per trial",
    )
