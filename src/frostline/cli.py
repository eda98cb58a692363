"""The command line: one function per command, heavy imports inside."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from frostline.errors import FrostlineError

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

@app.callback()
def _root() -> None:
    """Which weights to start from, and how many layers to freeze."""


Workers = Annotated[int, typer.Option(min=1, help="Trials side by side.")]


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="study.yaml")],
    out: Annotated[Path | None, typer.Option(help="Output folder; default runs/<file stem>.")] = None,
    workers: @app.callback()
def _root() -> None:
    """Which weights to start from, and how many layers to freeze."""


Workers = 1,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    device: str = "auto",
) -> None:
    """Fine-tune inits x depths x seeds; finished trials are kept, interrupted ones resume."""
    import os

    from frostline.study import Study

    plan = Study.from_yaml(study, out)
    outcomes = plan.run(
        workers=workers,
        threads=threads or max(1, (os.cpu_count() or 1) // workers),
        device=device,
        on_event=lambda e: print(e, file=sys.stderr, flush=True) if e.kind != "step" or e.progress.step % 20 == 0 else None,
    )
    raise typer.Exit(0 if all(outcome.ok for outcome in outcomes) else 1)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING)
    try:
        app()
    except FrostlineError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
