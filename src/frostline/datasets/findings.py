"""What was noticed while reading a data set, and the rule that stops or goes on."""

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from frostline.errors import DatasetError, printable

__all__ = [
    "PATH_FOUND",
    "UNLISTED",
    "Finding",
    "OnProblem",
    "Place",
    "Problems",
    "Severity",
    "several",
    "shown",
]

Severity = Literal["error", "warning", "note"]
OnProblem = Literal["raise", "drop"]

PATH_FOUND = "path-found"
"""Code of the finding about files that are there under another path or spelling."""

UNLISTED = "image-unlisted"
"""Code of the finding about images without an entry, where that means images without boxes."""

_MAX_SHOWN = 120

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist = 2, 8, 8
_REPR.maxstring = _REPR.maxother = _MAX_SHOWN


def shown(text: object) -> str:
    """Text or a value from a data file, made safe for one line of output.

    Line ends, terminal escapes and other characters that do not print are written as Python
    escapes, and long text is cut: an annotation must not be able to draw on the terminal. Of
    lists and dictionaries only the first entries are looked at: through YAML aliases a short
    file can stand for more of them than can be printed.
    """
    raw = text if isinstance(text, str) else _brief(text)
    plain = printable(raw[: _MAX_SHOWN + 1])
    return plain if len(plain) <= _MAX_SHOWN else plain[: _MAX_SHOWN - 3] + "..."


def several(names: Sequence[str]) -> str:
    """Names in words, the first three of them.

    Example:
        >>> several(["a"]), several(["a", "b"]), several(["a", "b", "c", "d"])
        ('a', 'a and b', 'a, b, c and 1 more')
    """
    first = [shown(name) for name in names[:3]]
    if len(names) > len(first):
        return f"{', '.join(first)} and {len(names) - len(first)} more"
    return " and ".join(part for part in (", ".join(first[:-1]), *first[-1:]) if part)


def _brief(value: object) -> str:
    if isinstance(value, BaseException | PurePath):
        return str(value)
    try:
        return _REPR.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return f"a very long {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a data set something stands.

    Attributes:
        file: Annotation or image file, relative to its data set; never an absolute path.
        line: 1-based line of a text file, or None.
        entry: Position in a structured file, such as ``annotations[12]``, or None.
    """

    file: str
    line: int | None = None
    entry: str | None = None

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        entry = shown(self.entry) if self.entry else None
        return ", ".join(part for part in (shown(self.file), line, entry) if part)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was noticed in a data set.

    Attributes:
        severity: ``error`` (the data cannot be used as it stands; the item was left out),
            ``warning`` (probably not what was meant; the item was kept or repaired), or
            ``note`` (worth knowing).
        code: Stable slug of the kind of finding, such as ``box-outside``.
        file: See `Place`; empty for what concerns a whole data set.
        message: What was expected and what came.
        line: See `Place`.
        entry: See `Place`.
    """

    severity: Severity
    code: str
    file: str
    message: str
    line: int | None = None
    entry: str | None = None

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warning", "note"):
            raise ValueError(f"expected severity error, warning or note, got {self.severity!r}")

    @property
    def place(self) -> Place:
        """File with line or entry."""
        return Place(self.file, self.line, self.entry)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.file else self.message

    def to_dict(self) -> dict[str, str | int | None]:
        """Plain values for JSON."""
        return {
            "severity": self.severity,
            "code": self.code,
            "file": self.file,
            "line": self.line,
            "entry": self.entry,
            "message": self.message,
        }


class Problems:
    """Collects findings; the first error stops the reading, unless asked to drop and go on."""

    def __init__(self, on_problem: OnProblem = "raise") -> None:
        if on_problem not in ("raise", "drop"):
            raise DatasetError(f"expected on_problem 'raise' or 'drop', got {on_problem!r}")
        self._stops = on_problem == "raise"
        self._found: list[Finding] = []
        self._line_of: dict[str, Callable[[str], int | None]] = {}

    def number_lines(self, file: str, line_of: Callable[[str], int | None]) -> None:
        """Say how the line of an entry of a file is found, for files whose parser counts none.

        It is asked only once there is something to tell about an entry.
        """
        self._line_of[file] = line_of

    @property
    def found(self) -> tuple[Finding, ...]:
        """Everything noticed so far, in order."""
        return tuple(self._found)

    def error(self, code: str, place: Place, message: str, advice: str = "") -> None:
        """Note data that cannot be used; the caller leaves the item out.

        Args:
            code: See `Finding`.
            place: See `Finding`.
            message: What was expected and what came.
            advice: What to do, where dropping would lose what can be kept.

        Raises:
            DatasetError: If problems are to stop the reading.
        """
        if self._stops:
            usual = "correct it, or allow problems to be dropped and counted (on_problem: drop)"
            raise DatasetError(f"{self.numbered(place)}: {message}; {advice or usual}")
        message = f"{message}; {advice}" if advice else message
        self._add("error", code, place, message)

    def warning(self, code: str, place: Place, message: str) -> None:
        """Note data that was repaired, or that is probably not meant."""
        self._add("warning", code, place, message)

    def note(self, code: str, place: Place, message: str) -> None:
        """Note something worth knowing."""
        self._add("note", code, place, message)

    def numbered(self, place: Place) -> Place:
        """The place with its line, where `number_lines` knows how to find it."""
        if place.entry is None or place.line is not None or place.file not in self._line_of:
            return place
        return replace(place, line=self._line_of[place.file](place.entry))

    def _add(self, severity: Severity, code: str, place: Place, message: str) -> None:
        place = self.numbered(place)
        self._found.append(Finding(severity, code, place.file, message, place.line, place.entry))
