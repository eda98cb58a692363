"""The arguments of ``frostline diff`` without Typer.

Typer and what it imports take 200 ms of processor time, twice numpy. This parser knows the same
options (a test compares the two), without their help and without explaining mistakes: whatever it
does not understand is left to Typer.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from frostline.cli_diff.running import Request, run
from frostline.errors import FrostlineError

__all__ = ["parse", "run_quickly"]

_INTERRUPTED = 130


class _NotUnderstoodError(Exception):
    """Arguments that Typer should look at."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _NotUnderstoodError(message)


def parser() -> argparse.ArgumentParser:
    """The options of ``frostline diff``; their help is in ``command``."""
    result = _Parser(add_help=False, allow_abbrev=False)
    add = result.add_argument
    add("base", type=Path)
    add("others", type=Path, nargs="+")
    add("--kind", choices=["conv", "linear", "norm", "all"])
    for name in ("--include", "--exclude"):
        add(name, action="append", default=[])
    add("--map", dest="rename", action="append", default=[])
    for name in ("--show-map", "--exact", "--seeds"):
        add(name, action="store_true")
    for name in ("--model", "--section"):
        add(name)
    add("--eps", type=_not_negative)
    add("--factor", type=float, default=2.0)
    add("--fail-above", type=float)
    for name in ("--control", "--plot", "--html"):
        add(name, type=Path)
    add("--format", dest="output", choices=["table", "json", "csv"], default="table")
    return result


def _not_negative(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise ValueError
    return value


def parse(arguments: Sequence[str]) -> Request | None:
    """What is asked for; None where Typer should read the arguments (a mistake, or ``--help``)."""
    try:
        found: dict[str, Any] = vars(parser().parse_intermixed_args(list(arguments)))
    except _NotUnderstoodError:
        return None
    return Request(**found)


def run_quickly(arguments: Sequence[str]) -> int | None:
    """Run ``frostline diff``; its exit code, or None where Typer should."""
    request = parse(arguments)
    if request is None:
        return None
    try:
        return run(request)
    except FrostlineError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command starts over\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
