"""The arguments of ``frostline diff`` without Typer.

Typer and what it imports take 200 ms of processor time, twice numpy; argparse would take 20. This
parser knows the same options (a test compares the two), without their help and without explaining
mistakes: whatever it does not understand is left to Typer.
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from frostline.cli_diff.running import Request, run
from frostline.errors import FrostlineError, one_line

__all__ = ["parse", "run_quickly"]

_INTERRUPTED: Final = 130
FLAGS: Final = {
    "--show-map": "show_map", "--exact": "exact", "--seeds": "seeds",
    "--allow-different": "allow_different",
}  # fmt: skip
LISTS: Final = {"--include": "include", "--exclude": "exclude", "--map": "rename"}
CHOICES: Final = {
    "--kind": ("kind", ("conv", "linear", "norm", "all")),
    "--format": ("output", ("table", "json", "csv")),
}
VALUES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "--model": ("model", str),
    "--section": ("section", str),
    "--eps": ("eps", float),
    "--factor": ("factor", float),
    "--fail-above": ("fail_above", float),
    "--control": ("control", Path),
    "--plot": ("plot", Path),
    "--html": ("html", Path),
}


def parse(arguments: Sequence[str]) -> Request | None:
    """What is asked for; None where Typer should read the arguments (a mistake, or ``--help``)."""
    found: dict[str, Any] = {field: [] for field in LISTS.values()}
    files: list[Path] = []
    left = list(reversed(arguments))
    while left:
        argument = left.pop()
        if not argument.startswith("-"):
            files.append(Path(argument))
        elif argument in FLAGS:
            found[FLAGS[argument]] = True
        elif not _take_value(found, argument, left):
            return None
    if len(files) < 2 or not found.get("eps", 0.0) >= 0:  # noqa: PLR2004  (before and after)
        return None
    return Request(files[0], files[1:], **found)


def _take_value(found: dict[str, Any], argument: str, left: list[str]) -> bool:
    """Read ``--option value`` or ``--option=value`` into ``found``; False if it makes no sense."""
    option, sign, value = argument.partition("=")
    if not sign:
        if not left or left[-1].startswith("-"):
            return False
        value = left.pop()
    if option in LISTS:
        found[LISTS[option]].append(value)
    elif option in CHOICES and value in CHOICES[option][1]:
        found[CHOICES[option][0]] = value
    elif option in VALUES:
        field, make = VALUES[option]
        try:
            found[field] = make(value)
        except ValueError:
            return False
    else:
        return False
    return True


def run_quickly(arguments: Sequence[str]) -> int | None:
    """Run ``frostline diff``; its exit code, or None where Typer should."""
    request = parse(arguments)
    if request is None:
        return None
    gc.disable()  # a tenth of the time; what little garbage there is goes with the process
    try:
        code = run(request)
        sys.stdout.flush()  # here, where a closed pipe is expected
    except FrostlineError as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command starts over\n")
        code = _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:  # a disk that is full; 1 would say that --fail-above found something
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"error: {one_line(error)}; check the path, its rights and the disk\n")
        code = FrostlineError.exit_code
    return code
