"""Values as a reader would write them: the filters of the templates."""

import math
import re
from collections.abc import Mapping

from markupsafe import Markup, escape

__all__ = [
    "breakable",
    "duration",
    "number",
    "percent",
    "score",
    "text",
    "thousandths",
    "unplaced",
    "with_code",
]

#: An absolute path, POSIX or Windows; the group is its last part.
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"]*)*[\\/]([^\s\\/:;,'\"]+)")
#: Where a long name may be broken; a number such as 0.5 has no such place.
_JOINTS = re.compile(r"(?<=\w)([_./-])(?=[^\W\d])")
_CODE = re.compile(r"`([^`\n]+)`")
_HALF_PER_CENT = 0.005
#: Up to so many seconds, in units of so many, with so many decimals.
_UNITS = ((10, 1, 1, "s"), (100, 1, 0, "s"), (5400, 60, 1, "min"))


def score(value: float | None) -> str:
    """A score from 0 to 1 with three decimals."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def thousandths(value: float | None) -> str:
    """A small number times 1000, with three digits."""
    return "n/a" if value is None or math.isnan(value) else f"{1000 * value:#.3g}".rstrip(".")


def percent(value: float) -> str:
    """A share in whole per cent; what is little but not nothing says so."""
    if math.isnan(value):
        return "n/a"
    return "<1\u2009%" if 0 < value < _HALF_PER_CENT else f"{100 * value:.0f}\u2009%"


def duration(seconds: float | None) -> str:
    """Three digits or so, in the unit that suits: seconds, minutes or hours."""
    if seconds is None or math.isnan(seconds):
        return "n/a"
    for most, unit, digits, name in _UNITS:
        if seconds < most:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 3600:.1f} h"


def number(value: float) -> str:
    """A count in groups of three digits."""
    return f"{value:,}".replace(",", "\u2009")


def text(value: object) -> str:
    """A setting as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(part)}" for name, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def breakable(text: str) -> Markup:
    """A name or a sentence with names in it, which a narrow line may break behind ``_ . - /``."""
    return Markup(_JOINTS.sub(r"\1<wbr>", str(escape(text))))  # noqa: S704  (escaped just before)


def with_code(text: str) -> Markup:
    """A sentence; what stands between backticks in it is set as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped)


def unplaced(text: str) -> str:
    """A message without the folders of the machine it came from: a page may be sent to others."""
    return _PATH.sub(lambda match: match[1], text)
