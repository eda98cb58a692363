"""Rows on stdout: as CSV, or as a table of what fits, where the rest is named."""

import sys
from collections.abc import Callable, Mapping, Sequence, Set
from enum import StrEnum
from typing import Any, Final

from frostline.errors import printable

__all__ = ["Format", "print_csv", "print_table"]

_WIDE: Final = 400  # characters: a file or a pipe has no width of its own
_BETWEEN: Final = 3  # characters between two columns of the frame
_ENDS: Final = 2  # and at both ends together
_COMFORTABLE: Final = 28  # characters of folded text before other columns must go
_NARROWEST: Final = 12  # characters of folded text where nothing more can go

Cell = Callable[[str, Any], str]


class Format(StrEnum):
    """How a result is written to stdout."""

    table = "table"
    json = "json"
    csv = "csv"


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows on stdout as CSV that neither a spreadsheet nor a terminal obeys."""
    from frostline.csv_text import rows_to_csv

    shown = [{printable(k): _shown(value) for k, value in row.items()} for row in rows]
    sys.stdout.write(rows_to_csv(shown))


def print_table(
    rows: Sequence[Mapping[str, Any]], *, cell: Cell, spare: Sequence[str] = ()
) -> None:
    """Print rows on stdout, in as many columns as the terminal has room for.

    Columns without any value are left out; those of ``spare`` are left out where they do not fit,
    which a line on stderr says. Text is folded, a number never is: where even the rest is too
    wide, the terminal breaks the lines.

    Args:
        rows: values by column; the columns are those of all rows, in order of appearance.
        cell: the text of a value, by its column.
        spare: columns that can be missed, the least important first.
    """
    from rich.console import Console

    columns = dict.fromkeys(key for row in rows for key in row)
    texts = {key: [printable(cell(key, row.get(key))) for row in rows] for key in columns}
    filled = {key: cells for key, cells in texts.items() if any(cells)}
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    is_text = {key for key in filled if any(isinstance(row.get(key), str) for row in rows)}
    widths = {key: _widest(key, cells) for key, cells in filled.items()}
    left_out = _left_out(widths, is_text, console.width, spare)
    for key in left_out:
        del filled[key], widths[key]
    if _total(widths, is_text, _NARROWEST) > console.width:
        console = Console(width=_total(widths, is_text, _NARROWEST))
    folded = is_text if _total(widths) > console.width else set()
    console.print(_table(filled, is_text, folded))
    if left_out:
        sys.stderr.write(
            f"no room for {', '.join(left_out)}: widen the terminal, or --format csv\n"
        )


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


def _left_out(
    widths: Mapping[str, int], is_text: set[str], room: int, spare: Sequence[str]
) -> list[str]:
    """The columns of ``spare`` that must go."""
    shown, left_out = dict(widths), []
    for key in spare:
        if _total(shown, is_text, _COMFORTABLE) <= room:
            break
        if shown.pop(key, None) is not None:
            left_out.append(key)
    return left_out


def _total(widths: Mapping[str, int], is_text: Set[str] = frozenset(), most: int = 0) -> int:
    """Characters of the whole table, where text is folded to ``most`` and no number is cut."""
    folded = [min(width, most) if key in is_text else width for key, width in widths.items()]
    return sum(folded) + _BETWEEN * (len(folded) - 1) + _ENDS


def _widest(key: str, cells: Sequence[str]) -> int:
    return max(len(line) for text in (key, *cells) for line in text.split("\n"))


def _table(columns: Mapping[str, Sequence[str]], is_text: set[str], folded: set[str]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in columns:
        table.add_column(
            Text("\n".join(printable(line) for line in key.split("\n"))),
            justify="left" if key in is_text else "right",
            no_wrap=key not in folded,
            overflow="fold",
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    return table
