"""Reading annotation files: plain or gzip, of bounded size, in the encoding they have."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from frostline.datasets.decoding import decoded
from frostline.datasets.files import MAX_FILE_BYTES, Tree
from frostline.datasets.findings import Place, Problems, shown
from frostline.errors import DatasetError

__all__ = [
    "CSV",
    "CsvRow",
    "csv_has",
    "csv_head",
    "csv_header",
    "csv_lines",
    "csv_rows",
    "header_of",
    "read_bytes",
    "read_text",
]

CSV = (".csv", ".csv.gz")
"""Endings of csv files, in lower case."""

_GZIP_MAGIC = b"\x1f\x8b"
_NO_BYTE_LINES = (_GZIP_MAGIC, b"\xff\xfe", b"\xfe\xff")  # gzip, UTF-16: lines are not seen
_HEAD_BYTES = 1 << 16
_PIECE = 1 << 20


def read_text(
    tree: Tree, name: str, *, max_bytes: int = MAX_FILE_BYTES, problems: Problems | None = None
) -> str:
    """Text of an annotation file, gzip or plain: UTF-8, marked, or in an encoding that is found.

    Args:
        tree: Where the file is.
        name: The file.
        max_bytes: Largest file that is read.
        problems: Where it is noted that another encoding than UTF-8 was found.

    Raises:
        DatasetError: If the file is absent, unreadable, not text, or larger than ``max_bytes``.
    """
    text, encoding = decoded(read_bytes(tree, name, max_bytes=max_bytes), name)
    if encoding is not None and problems is not None:
        problems.note("text-encoding", Place(name), f"expected UTF-8 text: read as {encoding}")
    return text


def read_bytes(tree: Tree, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Content of an annotation file, unpacked if it is gzip.

    Raises:
        DatasetError: If the file is absent, unreadable, or larger than ``max_bytes``.
    """
    try:
        with tree.open(name, max_bytes) as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            data = _at_most(stream, max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{shown(name)}: cannot be read: {shown(getattr(error, 'strerror', None) or error)}"
        ) from error
    if len(data) > max_bytes:
        raise DatasetError(f"{shown(name)}: expected at most {max_bytes} bytes of annotations")
    return data


def _at_most(stream: BinaryIO, count: int) -> bytes:
    """Content up to a length, piece by piece: one read would first make room for all of it."""
    parts = []
    while count and (part := stream.read(min(count, _PIECE))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row of a csv file: values by column name, and the line on which it ends."""

    line: int
    values: dict[str, str]


def csv_has(tree: Tree, name: str, columns: Sequence[str]) -> bool:
    """Whether a file is a csv, by its ending, whose header has these columns."""
    header = header_of(tree, name)
    return header is not None and set(columns) <= set(header)


def header_of(tree: Tree, name: str) -> list[str] | None:
    """First row of a file that is a csv by its ending; None of other files."""
    return csv_header(csv_head(tree, name)) if name.lower().endswith(CSV) else None


def csv_head(tree: Tree, name: str) -> str:
    """The first whole lines of a file, at most 64 KB of them.

    Raises:
        DatasetError: If it is absent, unreadable or no text.
    """
    with tree.open(name) as raw:
        data = raw.read(_HEAD_BYTES)
    if len(data) < _HEAD_BYTES or data.startswith(_NO_BYTE_LINES):
        return read_text(tree, name)
    return decoded(data[: data.rfind(b"\n") + 1], name)[0]


def csv_header(text: str) -> list[str]:
    r"""First row of a csv text, without white space around its values.

    Example:
        >>> csv_header('"a";b\n1;2')
        ['a', 'b']
    """
    first = text.partition("\n")[0].rstrip("\r")
    try:
        row = next(csv.reader([first], delimiter=_delimiter(text)), [])
    except csv.Error:
        return []
    return [column.strip() for column in row]


def _delimiter(text: str) -> str:
    """What is between the values: a comma, or the semicolon or tab that the first line has more."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def csv_rows(text: str, name: str, columns: Sequence[str], problems: Problems) -> Iterator[CsvRow]:
    """Rows of a csv text that has at least these columns; rows of another length are problems.

    Raises:
        DatasetError: If the header lacks a column, or the text is not csv.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        header = [column.strip() for column in next(reader, [])]
        missing = [column for column in columns if column not in header]
        if missing or len(set(header)) != len(header):
            raise DatasetError(
                f"{shown(name)}, line 1: expected columns {','.join(columns)}, "
                f"got {shown(','.join(header))}"
            )
        for values in reader:
            if len(values) == len(header):
                yield CsvRow(reader.line_num, dict(zip(header, values, strict=True)))
            elif values:  # a line without anything is no row
                place = Place(name, reader.line_num)
                message = f"expected {len(header)} columns, got {len(values)}"
                problems.error("row-columns", place, message)
    except csv.Error as error:
        raise DatasetError(f"{shown(name)}, line {reader.line_num}: {shown(error)}") from error


def csv_lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a csv text without a header, each with the line on which it ends.

    Raises:
        DatasetError: If the text is not csv.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        for values in reader:
            if values:
                yield reader.line_num, [value.strip() for value in values]
    except csv.Error as error:
        raise DatasetError(f"{shown(name)}, line {reader.line_num}: {shown(error)}") from error
