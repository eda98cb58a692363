"""Write the pages under docs/ that are made from the code: ``python scripts/make_docs.py``.

docs/errors.md: the exception classes, their docstrings, and a message that a real command gave.
A test makes the page again and compares.
"""

import argparse
import inspect
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.provocations import PROVOCATIONS, Provocation, Ran, provoke  # noqa: E402

__all__ = ["errors_page", "main"]

_HEAD = """\
# Errors

<!-- Made by scripts/make_docs.py from src/frostline/errors.py: do not edit. -->

What frostline refuses, it refuses in one line on stderr that begins with `error: ` and says what
was expected, what came, and what to do. Nothing half-written is left behind. With
`frostline --debug COMMAND` it shows where the error came from. Every message below was printed by
the command above it.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a check said no, a trial failed, or another process is running it |
| 2 | misuse, or unreadable input |
| 130 | interrupted with Ctrl-C; the same command resumes |

An error inside one trial of `frostline run` stops that trial alone. It is told in a line that
begins with `failed: ` and the trial's name; the others go on, and the exit code is 1. An option or
argument that does not exist is answered with the usage of the command and exit code 2.
"""


def errors_page(provoked: Iterable[tuple[Provocation, Ran]]) -> str:
    """The page, a section for each error class."""
    return "\n".join([_HEAD, *(_section(provocation, ran) for provocation, ran in provoked)])


def _section(provocation: Provocation, ran: Ran) -> str:
    kind = provocation.error
    when, _, advice = inspect.cleandoc(kind.__doc__ or "").partition("\n\nWhat to do:\n")
    parent = kind.__mro__[1].__name__
    base = "" if parent == "FrostlineError" else f" A kind of `{parent}`."
    return f"""\
## {kind.__name__}

{_markdown(when)}{base}

Here, {provocation.cause}:

```text
$ frostline {" ".join(provocation.command)}
{ran.message}
```

Exit code {ran.code}. {_markdown(inspect.cleandoc(advice))}
"""


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def main() -> None:
    """Write the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        provoked = [(p, provoke(p, Path(folder) / p.error.__name__)) for p in PROVOCATIONS]
    (ROOT / "docs" / "errors.md").write_text(errors_page(provoked), encoding="utf-8")


if __name__ == "__main__":
    main()
