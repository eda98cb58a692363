"""Numbers as people's files have them: as numbers, or as text."""

import json
import math
import re
from typing import Any

from frostline.datasets.findings import shown
from frostline.errors import DatasetError

__all__ = ["as_number", "json_of_text", "numbers", "whole"]

_NUMBER = re.compile(r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,3})?")
_WORDS = ("nan", "inf", "-inf", "infinity", "-infinity")  # judged with the other boxes
_HUGE = 1e15  # beyond this a number is no pixel, and an integer of JSON may not fit a float


def as_number(value: Any) -> float | None:
    """A number, also one written as text; None for anything else, and for true and false.

    Example:
        >>> as_number(3), as_number(" 2.5 "), as_number("1e2"), as_number("x"), as_number(True)
        (3.0, 2.5, 100.0, None, None)
    """
    if isinstance(value, str):
        text = value.strip()
        known = _NUMBER.fullmatch(text) or text.lower() in _WORDS
        return float(text) if known else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if not abs(value) >= _HUGE else math.inf
    return None


def numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """A list of so many numbers, or None."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    found = [as_number(value) for value in values]
    return None if None in found else tuple(math.nan if n is None else n for n in found)


def whole(value: Any) -> int | None:
    """A whole number, also one written as text or with a point."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = as_number(value)
    return int(found) if found is not None and found.is_integer() else None


def json_of_text(text: str, name: str, expected: str = "JSON") -> Any:
    """Value of a JSON text.

    Raises:
        DatasetError: If it is none, with its line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{shown(name)}, line {error.lineno}: expected JSON, got {shown(error.msg)} at column "
            f"{error.colno}; is the file complete?"
        ) from error
    except (RecursionError, ValueError) as error:  # nested thousands deep, or a number too long
        raise DatasetError(f"{shown(name)}: expected {expected}, got {shown(error)}") from error
