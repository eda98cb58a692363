"""``frostline diff``: what changed between weight files, layer by layer.

Start-up is most of the time that this command takes, so what it imports is counted: numpy and our
own modules for JSON and CSV, rich for a table, matplotlib for a figure.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.errors import ConfigError

if TYPE_CHECKING:
    from frostline.comparison import Comparison, NoiseFloor, Trajectory

    Result = Comparison | Trajectory | NoiseFloor

__all__ = ["diff"]


class Format(StrEnum):
    """How the result is written to stdout."""

    table = "table"
    json = "json"
    csv = "csv"


class Kind(StrEnum):
    """Which tensors are compared."""

    conv = "conv"
    linear = "linear"
    norm = "norm"
    all = "all"


def diff(
    base: Annotated[
        Path, typer.Argument(help="Weights before: a file or a model folder.", show_default=False)
    ],
    others: Annotated[
        list[Path],
        typer.Argument(
            metavar="AFTER...",
            help="Weights after. Several: the steps of one training, or its --seeds.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(help="Tensors to compare. [default: conv if there are any, else all]"),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only names that fit, like '*fpn*'.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No names that fit.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="What a name or prefix is called after."),
    ] = None,
    show_map: Annotated[
        bool, typer.Option("--show-map", help="Print which name was matched to which, and stop.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Backbone, for forward order. [default: recognised]")
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(min=0, help="BatchNorm eps of the model. [default: torchvision's]"),
    ] = None,
    section: Annotated[
        str | None, typer.Option(metavar="KEY", help="Part of a file, such as model or ema.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Sum 16-bit weights in float64 too; slower.")
    ] = False,
    seeds: Annotated[
        bool,
        typer.Option("--seeds", help="The files are seeds of one training: give the noise floor."),
    ] = False,
    control: Annotated[
        Path | None, typer.Option(help="With --seeds: the same training on shuffled boxes.")
    ] = None,
    factor: Annotated[
        float, typer.Option(help="With --seeds: a layer moved if signal > FACTOR x floor.")
    ] = 2.0,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the figure: a file ending in .svg or .png.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with figure and table.")] = (
        None
    ),
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="X", help="Exit 1 if any 1-|cos| is above X or not comparable."),
    ] = None,
) -> None:
    """Compare weight files layer by layer: 1 - |cos|, angle, relative L2, BatchNorm drift."""
    # One thread is all we use, and starting the others takes numpy a third of its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _check(plot, seeds, control)
    options: dict[str, Any] = {
        "kind": kind.value if kind else None,
        "include": include or (),
        "exclude": exclude or (),
        "renames": [_rename(text) for text in rename or ()],
        "model": model,
        "section": section,
    }
    if show_map:
        _show_map(base, others, options, output)
        return
    if seeds:
        result = _floor(base, others, options, control, factor)
    else:
        result = _compare(base, others, options | {"eps": eps, "exact": exact})
    _write_files(result, plot, html)
    _print(result, output)
    if fail_above is not None and _above(result, fail_above):
        raise typer.Exit(1)


def _check(plot: Path | None, seeds: bool, control: Path | None) -> None:
    """Refuse before any work what can only end badly."""
    if plot is not None and plot.suffix not in {".svg", ".png"}:
        raise ConfigError(f"expected --plot with a file ending in .svg or .png, got {plot.name!r}")
    if control is not None and not seeds:
        raise ConfigError("expected --control together with --seeds, got it alone; add --seeds")


def _rename(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not sign:
        raise ConfigError(f"expected --map OLD=NEW, got {text!r}")
    return old, new


def _compare(base: Path, others: Sequence[Path], options: Mapping[str, Any]) -> "Result":
    from frostline.comparison.pairs import diff as compare

    if len(others) == 1:
        return compare(base, others[0], **options)
    from frostline.comparison.steps import trajectory

    return trajectory(base, others, **options)


def _floor(
    base: Path,
    others: Sequence[Path],
    options: Mapping[str, Any],
    control: Path | None,
    factor: float,
) -> "Result":
    from frostline.comparison.floor import noise_floor

    return noise_floor(base, others, control=control, factor=factor, **options)


def _write_files(result: "Result", plot: Path | None, html: Path | None) -> None:
    if plot is not None:
        from frostline.comparison.drawing import write_figure

        write_figure(result, plot)
    if html is not None:
        from frostline.comparison.page import page

        html.write_text(page(result), encoding="utf-8")


def _above(result: "Result", limit: float) -> bool:
    """Whether a value is above the limit, or missing; says so on stderr."""
    steps: Any = getattr(result, "steps", (result,))
    rows = [row for step in steps for row in step.rows]
    bad = [row for row in rows if not row.cosine <= limit]  # NaN is not <= anything
    if bad:
        typer.echo(
            f"{len(bad)} of {len(rows)} values are above {limit:g} or not comparable, "
            f"the first: {_printable(bad[0].name)}",
            err=True,
        )
    return bool(bad)


# Printing


def _print(result: "Result", output: Format) -> None:
    if output is Format.json:
        import json

        typer.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    rows = list(_rows(result))
    if output is Format.csv:
        _print_csv(rows)
        return
    _print_table([_short(row) for row in rows])
    for line in _notes(result):
        typer.echo(line, err=True)


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
    """Spreadsheets run cells that begin like a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


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


def _show_map(
    base: Path, others: Sequence[Path], options: Mapping[str, Any], output: Format
) -> None:
    from frostline.comparison.selection import as_checkpoint, match

    before = as_checkpoint(base, options["section"])
    rows: list[dict[str, Any]] = []
    for other in others:
        after = as_checkpoint(other, options["section"])
        found = match(before, after, renames=options["renames"], model=options["model"]).alignment
        file = {"file": other.name} if len(others) > 1 else {}
        rows += [file | {"before": p.before, "after": p.after, "how": p.how} for p in found.pairs]
        rows += [file | {"before": x, "after": None, "how": None} for x in found.only_before]
        rows += [file | {"before": None, "after": x, "how": None} for x in found.only_after]
    if output is Format.json:
        import json

        typer.echo(json.dumps(rows, indent=1))
    elif output is Format.csv:
        _print_csv(rows)
    else:
        _print_table(rows)
