"""Rows as CSV text that a spreadsheet shows and does not run."""

import csv
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

__all__ = ["rows_to_csv"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_END = "\r\n"  # of a row as the writer makes it: up to Python 3.12 a cell is quoted for these only


def rows_to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV, each ending with a line feed.

    A text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay
    as they are, None is empty.

    Args:
        rows: values by column.
        columns: what to write; None: the columns of all rows, in order of appearance.
    """
    if columns is None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
    lines: list[str] = []
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator=_END)
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return "".join(f"{line.removesuffix(_END)}\n" for line in lines)


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
