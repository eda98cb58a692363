"""From a request to its result, the files written and the exit code."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frostline.errors import ConfigError

if TYPE_CHECKING:
    from frostline.comparison.results import Result

__all__ = ["Request", "run"]


class Request(NamedTuple):
    """What the user asks ``frostline diff`` for; see the options of the same names."""

    base: Path
    others: Sequence[Path]
    kind: Any = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    rename: Sequence[str] = ()
    show_map: bool = False
    model: str | None = None
    eps: float | None = None
    section: str | None = None
    exact: bool = False
    seeds: bool = False
    control: Path | None = None
    factor: float = 2.0
    output: str = "table"
    plot: Path | None = None
    html: Path | None = None
    fail_above: float | None = None
    allow_different: bool = False


def run(request: Request) -> int:
    """Compare, write what was asked for, print; 1 if a check says no, else 0.

    Raises:
        FrostlineError: misuse, or a file that cannot be read or matched.
    """
    # One thread is all we use, and starting the others takes numpy a third of its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _check(request)
    from frostline.cli_diff import printing

    options: dict[str, Any] = {
        "kind": request.kind,
        "include": request.include,
        "exclude": request.exclude,
        "renames": [_rename(text) for text in request.rename],
        "model": request.model,
        "section": request.section,
    }
    if request.show_map:
        printing.print_rows(_map_rows(request, options["renames"]), request.output)
        return 0
    result = _floor(request, options) if request.seeds else _compare(request, options)
    _write_files(result, request)
    printing.print_result(result, request.output)
    different = printing.say_if_different(result) and not request.allow_different
    limit = request.fail_above
    return int(different | (limit is not None and printing.say_what_is_above(result, limit)))


def _check(request: Request) -> None:
    """Refuse before any work what can only end badly."""
    plot = request.plot
    if plot is not None and plot.suffix not in {".svg", ".png"}:
        raise ConfigError(f"expected --plot with a file ending in .svg or .png, got {plot.name!r}")
    if request.control is not None and not request.seeds:
        raise ConfigError("expected --control together with --seeds, got it alone; add --seeds")


def _rename(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not sign:
        raise ConfigError(f"expected --map OLD=NEW, got {text!r}")
    return old, new


def _compare(request: Request, options: dict[str, Any]) -> "Result":
    more = options | {"eps": request.eps, "exact": request.exact}
    if len(request.others) == 1:
        from frostline.comparison.pairs import diff

        return diff(request.base, request.others[0], **more)
    from frostline.comparison.steps import trajectory

    return trajectory(request.base, request.others, **more)


def _floor(request: Request, options: dict[str, Any]) -> "Result":
    from frostline.comparison.floor import noise_floor

    return noise_floor(
        request.base, request.others, control=request.control, factor=request.factor, **options
    )


def _write_files(result: "Result", request: Request) -> None:
    if request.plot is not None:
        from frostline.comparison.drawing import write_figure

        write_figure(result.drawing(), request.plot)
    if request.html is not None:
        from frostline.comparison.page import page
        from frostline.records import atomic_write

        with atomic_write(request.html) as temporary:
            # File and tensor names may hold half of a surrogate pair.
            temporary.write_text(page(result), encoding="utf-8", errors="backslashreplace")


def _map_rows(request: Request, renames: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Which name of the first file was matched to which of each other file, and how."""
    from frostline.comparison.selection import as_checkpoints, match

    before, *others = as_checkpoints([request.base, *request.others], request.section)
    rows: list[dict[str, Any]] = []
    for other, after in zip(request.others, others, strict=True):
        found = match(before, after, renames=renames, model=request.model).alignment
        file = {"file": other.name} if len(request.others) > 1 else {}
        rows += [file | {"before": p.before, "after": p.after, "how": p.how} for p in found.pairs]
        rows += [file | {"before": x, "after": None, "how": None} for x in found.only_before]
        rows += [file | {"before": None, "after": x, "how": None} for x in found.only_after]
    return rows
