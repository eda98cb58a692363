"""``frostline advise``: which start to take, for the price of a few trainings."""

import json
import os
import shutil
import textwrap
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli_init import DeviceChoice
from frostline.cli_table import Format, print_csv, print_table

if TYPE_CHECKING:
    from frostline.advice.result import Advice, Other
    from frostline.advising import Outlook

__all__ = ["Preference", "advise", "tell"]

_WIDEST = 100  # characters of a line of prose


class Preference(StrEnum):
    """What a recommendation is to be."""

    accuracy = "accuracy"
    speed = "speed"


def advise(
    study: Annotated[Path, typer.Argument(help="The study.yaml to advise on.", show_default=False)],
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="2x (trainings), 90min or 3h. Default: 2x, with lists of rates 4x."
        ),
    ] = None,
    prefer: Annotated[
        Preference,
        typer.Option(help="speed takes the cheapest depth expected to lose a point at most."),
    ] = Preference.accuracy,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Output folder. Default: runs/<file stem> beside the file."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials side by side.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of each trial. Default: OMP_NUM_THREADS, else cores / workers.",
        ),
    ] = None,
    device: Annotated[DeviceChoice, typer.Option(help="Where trials run.")] = DeviceChoice.auto,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the weights of trials that ended and lost.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything; print what it would cost.")
    ] = False,
    output: Annotated[
        Format, typer.Option("--format", help="How the result is printed.")
    ] = Format.table,
) -> None:
    """Say which start (and rate) to take and what freezing costs, for about two trainings.

    Shares folder and trials with ``run``. Killed or stopped, the same command goes on; with a
    larger budget it goes on from there.
    """
    from frostline.study import Study

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch comes; see cli.run
    plan = Study.from_yaml(study, out)
    options: dict[str, Any] = {"workers": workers, "threads": threads, "device": device.value}
    if dry_run:
        from frostline.advising import outlook

        _print_outlook(outlook(plan, budget=budget, **options), output)
        return
    from frostline.api import advise as advise_on
    from frostline.cli_progress import follow

    try:
        with follow(0) as on_event:
            found = advise_on(
                plan, budget=budget, prefer=prefer.value, keep=keep, on_event=on_event,
                say=lambda line: typer.echo(line, err=True), **options,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on", err=True)
        raise typer.Exit(130) from None
    typed = shown_path(study) + ("" if out is None else f" --out {out}")
    _print_advice(found, shown_path(plan.folder), typed, output)


def tell(folder: Path) -> None:
    """A line of a folder's advice, if it has one, on stderr."""
    from frostline.advice.result import Advice
    from frostline.advice.words import verdict

    found = Advice.read(folder)
    if found is not None:
        cost = found.cost
        typer.echo(f"advice for {cost.spent:.2f} of {cost.budget:.4g} trainings: {verdict(found)}",
                   err=True)  # fmt: skip


def shown_path(path: Path) -> str:
    """Relative to where the user stands, if it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _print_outlook(found: "Outlook", output: Format) -> None:
    if output is Format.json:
        typer.echo(json.dumps([found.to_dict()], indent=1))
        return
    if output is Format.csv:
        print_csv([found.to_dict()])
        return
    from frostline.advice.words import lasting

    row = {
        "candidates": found.candidates,
        "budget": f"{found.budget:.4g}x",
        "1x": "" if found.unit_minutes is None else lasting(60 * found.unit_minutes),
        "all of it": "" if found.minutes is None else lasting(60 * found.minutes),
        "each at first": f"{found.first} of {found.epochs} epochs",
        "disk": f"{found.disk_mb:.0f} MB",
    }
    print_table([row], cell=lambda _, value: str(value))


def _print_advice(found: "Advice", folder: str, study: str, output: Format) -> None:
    if output is Format.json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    if output is Format.csv:
        rows = (found.base, *found.others, *found.prices)
        print_csv([_row(row) for row in rows])
        return
    from frostline.advice.words import next_commands, price_cells, sentences, verdict

    typer.echo(_wrapped(verdict(found)))
    for line in sentences(found):
        typer.echo(_wrapped(f"- {line}"))
    if found.prices and found.learned:
        typer.echo(f"\nWhat freezing costs {found.base.init}, in {found.label} points:")
        priced = [price_cells(found, row) for row in found.prices]
        print_table(priced, cell=lambda _, value: str(value))
    for line in found.remarks:
        typer.echo(_wrapped(f"- {line}"))
    typer.echo("\nNext:")
    for line in next_commands(found, folder, study):
        typer.echo(f"  {line}")
    typer.echo(f"  open {folder}/report.html")


def _wrapped(line: str) -> str:
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns)
    hanging = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False)


def _row(row: "Other") -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(row)
