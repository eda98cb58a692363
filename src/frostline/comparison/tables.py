"""Comparisons as HTML tables, for notebooks and for the page."""

import math
from collections.abc import Iterable, Sequence

from frostline.comparison.formats import number_format
from frostline.comparison.rows import LayerFloor, Lines, TensorDifference
from frostline.notebook import table_html

__all__ = ["comparison_table", "floor_table", "trajectory_table"]


def comparison_table(caption: str, rows: Sequence[TensorDifference]) -> str:
    """Two files, tensor by tensor."""
    head = ("#", "layer", "stage", "shape", "1 - |cos|", "angle / deg", "relative L2", "norm ratio",
            "median filter", "folded", "note")  # fmt: skip
    cells = (
        (
            _whole(row.index),
            row.name,
            row.stage,
            _shape(row.shape),
            row.difference.cosine,
            row.difference.angle,
            row.difference.relative_l2,
            _fixed(row.difference.norm_ratio, 6),
            row.difference.filters.median if row.difference.filters else "",
            row.folded.cosine if row.folded else "",
            row.difference.note,
        )
        for row in rows
    )
    return _table(caption, head, cells)


def trajectory_table(caption: str, steps: Lines) -> str:
    """1 - |cos| of each tensor at every step, a column for each (label, rows)."""
    values = [{row.name: row for row in rows} for _, rows in steps]
    names = dict.fromkeys(row.name for _, rows in steps for row in rows)
    cells = (
        (
            *_place(next(v[name] for v in values if name in v)),
            *(v[name].cosine if name in v else "" for v in values),
        )
        for name in names
    )
    head = ("#", "layer", "stage", *(label for label, _ in steps))
    return _table(caption, head, cells)


def _place(row: TensorDifference) -> tuple[str, str, str]:
    return _whole(row.index), row.name, row.stage


def floor_table(caption: str, rows: Sequence[LayerFloor]) -> str:
    """Signal, floor and verdict of each tensor."""
    head = ("#", "layer", "stage", "signal / deg", "floor / deg", "agreement", "1 - |cos|",
            "threshold t", "moved", "control / deg")  # fmt: skip
    cells = (
        (
            _whole(row.index),
            row.name,
            row.stage,
            row.signal,
            row.floor,
            _fixed(row.agreement, 3),
            row.cosine,
            row.threshold,
            row.note or ("yes" if row.moved else "no"),
            "" if row.control is None else row.control,
        )
        for row in rows
    )
    return _table(caption, head, cells)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """Columns of text and numbers; a column without any value is left out."""
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    filled = [(name, cells) for name, cells in zip(head, columns, strict=False) if any(cells)]
    return table_html(
        caption, [name for name, _ in filled], zip(*(cells for _, cells in filled), strict=True)
    )


def _column(cells: Sequence[str | float]) -> list[str]:
    write = number_format(cells)
    return [cell if isinstance(cell, str) else write(cell) for cell in cells]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape) or "scalar"


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else ""
