"""Reading annotation files: plain or gzip, of bounded size, in one encoding."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from frostline.datasets.files import MAX_FILE_BYTES, Tree
from frostline.datasets.findings import Place, Problems, shown
from frostline.errors import DatasetError

__all__ = ["CSV", "CsvRow", "csv_has", "csv_rows", "read_bytes", "read_text"]

CSV = (".csv", ".csv.gz")
"""Endings of csv files, in lower case."""

_GZIP_MAGIC = b"\x1f\x8b"


def read_text(tree: Tree, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> str:
    """Text of an annotation file: UTF-8 with or without a byte order mark, gzip or plain.

    Raises:
        DatasetError: If the file is absent, unreadable, not text, or larger than ``max_bytes``.
    """
    data = read_bytes(tree, name, max_bytes=max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{shown(name)}, line {line}: expected UTF-8 text, got byte "
            f"0x{data[error.start]:02x}; save the file as UTF-8"
        ) from error


def read_bytes(tree: Tree, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Content of an annotation file, unpacked if it is gzip.

    Raises:
        DatasetError: If the file is absent, unreadable, or larger than ``max_bytes``.
    """
    try:
        with tree.open(name, max_bytes) as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            data = stream.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{shown(name)}: cannot be read: {shown(getattr(error, 'strerror', None) or error)}"
        ) from error
    if len(data) > max_bytes:
        raise DatasetError(f"{shown(name)}: expected at most {max_bytes} bytes of annotations")
    return data


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row of a csv file: values by column name, and the line on which it ends."""

    line: int
    values: dict[str, str]


def csv_has(tree: Tree, name: str, columns: Sequence[str]) -> bool:
    """Whether a file is a csv, by its ending, whose header has these columns."""
    if not name.lower().endswith(CSV):
        return False
    header = read_text(tree, name).partition("\n")[0].split(",")
    return set(columns) <= {column.strip() for column in header}


def csv_rows(text: str, name: str, columns: Sequence[str], problems: Problems) -> Iterator[CsvRow]:
    """Rows of a csv text that has at least these columns; rows of another length are problems.

    Raises:
        DatasetError: If the header lacks a column, or the text is not csv.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
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
