"""The results of ``frostline diff`` on stdout, and what to know besides on stderr."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.errors import printable

if TYPE_CHECKING:
    from frostline.comparison.results import Result

__all__ = ["print_result", "print_rows", "say_if_different", "say_what_is_above"]


def print_result(result: "Result", output: str) -> None:
    """Print a result as ``table``, ``json`` or ``csv``."""
    if output == "json":
        _print_json(result.to_dict())
        return
    rows = list(_rows(result))
    if output == "csv":
        _print_csv(rows)
        return
    from frostline.comparison.words import notes

    _print_table([_short(row) for row in rows])
    for line in notes(result):
        sys.stderr.write(f"{line}\n")


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows of text as ``table``, ``json`` or ``csv``."""
    if output == "json":
        _print_json({"rows": rows})
    elif output == "csv":
        _print_csv(rows)
    else:
        _print_table(rows)


def say_if_different(result: "Result") -> bool:
    """Whether two of the files look like different networks; says so on stderr."""
    steps: Any = getattr(result, "steps", (result,))
    found = [step for step in steps if step.looks_different]
    for step in found:
        names = (step.before, step.after) if hasattr(step, "before") else (step.base, "a seed")
        sys.stderr.write(
            f"{printable(names[0])} and {printable(names[1])} look like different networks: what "
            "matches is less than half of the smaller file; --show-map lists it, "
            "--allow-different makes this no failure\n"
        )
    return bool(found)


def say_what_is_above(result: "Result", limit: float) -> bool:
    """Whether a value is above the limit, or not there to be compared; says so on stderr."""
    steps: Any = getattr(result, "steps", (result,))
    rows = [row for step in steps for row in step.rows]
    bad = [row for row in rows if not row.cosine <= limit]  # NaN is not <= anything
    if bad:
        sys.stderr.write(
            f"{len(bad)} of {len(rows)} values are above {limit:g} or not comparable, "
            f"the first: {printable(bad[0].name)}\n"
        )
    gone = [name for step in steps for name in getattr(step, "missing", ())]
    if gone:
        sys.stderr.write(
            f"{len(gone)} tensors have no counterpart, the first: {printable(gone[0])}; "
            "leave out by --exclude what may go\n"
        )
    return bool(bad or gone)


def _print_json(content: Mapping[str, Any]) -> None:
    """One line for each row: readable, and left to json's compiled encoder (indent is not)."""
    import json

    rest = {key: value for key, value in content.items() if key != "rows"}
    lines = [json.dumps({key: value}, allow_nan=False)[1:-1] for key, value in rest.items()]
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in content["rows"])
    lines.append(f'"rows": [\n  {rows}\n ]')
    sys.stdout.write("{\n " + ",\n ".join(lines) + "\n}\n")


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    from frostline.cli_table import print_csv

    print_csv(rows)


def _rows(result: "Result") -> Iterator[dict[str, Any]]:
    """The rows of any result with one plain value for each column."""
    steps = [step.after for step in result.steps] if hasattr(result, "steps") else []
    for row in result.to_dict()["rows"]:
        flat: dict[str, Any] = {}
        for key, value in row.items():
            if key == "shape":
                flat[key] = "x".join(str(n) for n in value)
            elif isinstance(value, dict):
                flat |= {f"{key}_{part}": item for part, item in value.items() if part != "filters"}
            elif steps and isinstance(value, list):
                flat |= {f"{key} {step}": item for step, item in zip(steps, value, strict=True)}
            elif key in {"filters", "folded", "norm"}:
                continue
            else:
                flat[key] = value
        yield flat


_SHORT = {
    "index": "#",
    "name": "layer",
    "stage": "stage",
    "shape": "shape",
    "cosine": "1-|cos|",
    "angle": "angle/deg",
    "relative_l2": "rel L2",
    "norm_ratio": "norm ratio",
    "folded_cosine": "folded",
    "signal": "signal/deg",
    "floor": "floor/deg",
    "agreement": "agreement",
    "threshold": "t",
    "moved": "moved",
    "control": "control/deg",
    "note": "note",
}


#: Left out of narrow terminals, the first first. What decides stays.
_SPARE = ("shape", "norm ratio", "rel L2", "agreement", "t", "stage", "folded")
_FIVE_DECIMALS = {"norm ratio", "agreement"}
_STEP = 11  # characters of a line in a heading that is a file's name


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that fit a terminal, under short names."""
    short = {_SHORT[key]: row[key] for key in _SHORT if key in row}
    steps = {_folded(key.partition(" ")[2]): row[key] for key in row if key.startswith("cosine ")}
    return short | steps


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from frostline.cli_table import print_table
    from frostline.comparison.formats import number_format

    columns = dict.fromkeys(key for row in rows for key in row)
    formats = {
        key: number_format([row.get(key) for row in rows])
        for key in columns
        if key not in _FIVE_DECIMALS
    }

    def cell(column: str, value: object) -> str:
        if isinstance(value, float):
            return formats[column](value) if column in formats else f"{value:.5f}"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return "" if value is None else str(value)

    print_table(rows, cell=cell, spare=_SPARE)


def _folded(name: str) -> str:
    """A file's name as a heading of several lines, broken behind ``_ . -`` where that helps."""
    import re

    lines = [""]
    for part in re.findall(r"[^_.-]*[_.-]?", name):
        for piece in [part[i : i + _STEP] for i in range(0, len(part), _STEP)]:
            if lines[-1] and len(lines[-1] + piece) > _STEP:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)
