"""How results look in a notebook: plain HTML tables, everything in them escaped."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["facts_html", "table_html"]


def table_html(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with column headings.

    Args:
        caption: what the table shows.
        head: names of the columns.
        rows: texts of the cells.
    """
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{first}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table>"
    )


def facts_html(caption: str, facts: Iterable[tuple[str, object]]) -> str:
    """A table of names and values, one a row."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>\n'
        for name, value in facts
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>\n{body}</tbody></table>"
