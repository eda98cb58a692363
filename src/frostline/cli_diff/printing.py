"""The results of ``frostline diff`` on stdout, and what to know besides on stderr."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.cli_diff.running import Result

__all__ = ["print_result", "print_rows", "say_what_is_above"]


def print_result(result: "Result", output: str) -> None:
    """Print a result as ``table``, ``json`` or ``csv``."""
    if output == "json":
        _print_json(result.to_dict())
        return
    rows = list(_rows(result))
    if output == "csv":
        _print_csv(rows)
        return
    _print_table([_short(row) for row in rows])
    for line in _notes(result):
        sys.stderr.write(f"{line}\n")


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows of text as ``table``, ``json`` or ``csv``."""
    if output == "json":
        _print_json({"rows": rows})
    elif output == "csv":
        _print_csv(rows)
    else:
        _print_table(rows)


def say_what_is_above(result: "Result", limit: float) -> bool:
    """Whether a value is above the limit, or missing; says so on stderr."""
    steps: Any = getattr(result, "steps", (result,))
    rows = [row for step in steps for row in step.rows]
    bad = [row for row in rows if not row.cosine <= limit]  # NaN is not <= anything
    if bad:
        sys.stderr.write(
            f"{len(bad)} of {len(rows)} values are above {limit:g} or not comparable, "
            f"the first: {_printable(bad[0].name)}\n"
        )
    return bool(bad)


def _print_json(content: Mapping[str, Any]) -> None:
    """One line for each row: readable, and left to json's compiled encoder (indent is not)."""
    import json

    rest = {key: value for key, value in content.items() if key != "rows"}
    lines = [json.dumps({key: value}, allow_nan=False)[1:-1] for key, value in rest.items()]
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in content["rows"])
    lines.append(f'"rows": [\n  {rows}\n ]')
    sys.stdout.write("{\n " + ",\n ".join(lines) + "\n}\n")


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


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    import csv

    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(sys.stdout, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe_cell(value) for key, value in row.items()} for row in rows)


def _safe_cell(value: object) -> object:
    """Spreadsheets run cells that begin like a formula; terminals obey control characters."""
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else _printable(value)


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


_FOLDED = {"layer", "note", "before", "after"}
_SPARE = {"shape", "rel L2", "norm ratio"}  # left out of narrow terminals
_ROOMY, _WIDE = 100, 400  # characters


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that fit a terminal, under short names."""
    short = {_SHORT[key]: row[key] for key in _SHORT if key in row}
    steps = {key.partition(" ")[2]: row[key] for key in row if key.startswith("cosine ")}
    return short | steps


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = dict.fromkeys(key for row in rows for key in row)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=_WIDE)
    filled = [key for key in columns if any(row.get(key) not in {None, ""} for row in rows)]
    if console.width < _ROOMY:
        filled = [key for key in filled if key not in _SPARE]
    for key in filled:
        text = any(isinstance(row.get(key), str) for row in rows)
        table.add_column(
            Text(_printable(key)),
            justify="left" if text else "right",
            no_wrap=key not in _FOLDED,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(_cell(key, row.get(key))) for key in filled))
    console.print(table)


def _cell(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if column in {"norm ratio", "agreement"}:
            return f"{value:.5f}"
        return "0" if value == 0 else f"{value:.2e}"
    return _printable(str(value))


def _printable(text: str) -> str:
    """Names come from files: no terminal escapes, no line breaks."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _notes(result: "Result") -> Iterable[str]:
    """What a reader of the table must know besides it."""
    first: Any = result.steps[0] if hasattr(result, "steps") else result
    if first.order == "forward":
        yield f"forward order of {first.architecture}, recognised by its names"
    else:
        yield "file order: no known backbone was recognised (--model names one)"
    if hasattr(first, "factor"):
        yield f"{len(first.moved)} of {len(first.rows)} moved: signal > {first.factor:g} x floor"
        return
    if first.eps is not None:
        yield f"folded with BatchNorm eps {first.eps:g} (--eps if the model has another)"
    if any(row.precision == "float32" for row in first.rows):
        yield "16-bit weights: float32 sums within pieces, errors to 1e-6 (--exact: float64)"
    left = len(first.only_before), len(first.only_after)
    if any(left):
        yield f"without counterpart: {left[0]} tensors before, {left[1]} after (--format json)"
