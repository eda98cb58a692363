"""The command line: one function per command, heavy imports inside.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 a check said no or a
trial failed, 2 misuse or unreadable input, 130 interrupted.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cells import key_columns
from frostline.cli_advise import advise, tell
from frostline.cli_data import data_app
from frostline.cli_diff import diff
from frostline.cli_init import DeviceChoice, complete_backbone, init, schema
from frostline.cli_plan import plan as plan_command
from frostline.cli_predict import predict as predict_command
from frostline.cli_table import Format, print_csv, print_table
from frostline.depth import depth_of_label
from frostline.errors import FrostlineError, one_line

if TYPE_CHECKING:
    from frostline.estimate import Estimate
    from frostline.records import TrialRecord
    from frostline.study import Study
    from frostline.trial_folder import TrialState

__all__ = ["app", "main"]

_TENTHS = {"minutes", "disk_mb"}
#: Columns that a narrow terminal can miss, the first first.
_SPARE = ("batch norm", "weight", "role")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which pretrained weights should a detector start from, and how many layers to freeze?",
)
app.add_typer(data_app, name="data")
app.command()(init)
app.command()(schema)
app.command()(advise)
app.command("plan")(plan_command)
app.command("predict")(predict_command)
app.command()(diff)


StudyFile = Annotated[Path, typer.Argument(help="The study.yaml to run.", show_default=False)]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A study's output folder.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Output folder. Default: runs/<file stem> beside the file."),
]
Workers = Annotated[int, typer.Option(min=1, help="Trials side by side.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="CPU threads of each trial. Default: OMP_NUM_THREADS, else cores / workers."
    ),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How the result is printed.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"frostline {version('frostline')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Log more, and show tracebacks of errors.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    workers: Workers = 1,
    threads: Threads = None,
    device: Annotated[DeviceChoice, typer.Option(help="Where trials run.")] = DeviceChoice.auto,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything; print cells, time and disk.")
    ] = False,
    output: OutputFormat = Format.table,
) -> None:
    """Fine-tune inits x depths x seeds. Finished trials are kept, interrupted ones resume."""
    from frostline.cli_progress import follow
    from frostline.study import Study

    _wait_patiently()
    plan = Study.from_yaml(study, out)
    if dry_run:
        estimate = plan.estimate(workers=workers, threads=threads, device=device.value)
        if output is Format.table:
            _print_estimate(plan, estimate)
        else:
            row = estimate.to_dict()
            if output is Format.csv:
                row["waits"] = "; ".join(_waiting(estimate))
            _print_rows([row], output)
        return
    with _interruptible(), follow(len(plan.left())) as on_event:
        outcomes = plan.run(
            workers=workers, threads=threads, device=device.value, on_event=on_event
        )
    paused = [outcome for outcome in outcomes if outcome.paused_at is not None]
    failed = [outcome for outcome in outcomes if outcome.failed]
    elsewhere = [outcome for outcome in outcomes if outcome.elsewhere]
    _print_rows([_summary(record) for record in plan.records()], output)
    for outcome in failed:
        typer.echo(f"failed: {outcome.key.slug}: {outcome.message}", err=True)
    for outcome in paused:
        typer.echo(f"{outcome.key.slug}: {outcome.message}; run again to go on", err=True)
    for outcome in elsewhere:
        typer.echo(f"elsewhere: {outcome.key.slug}: {outcome.message}", err=True)
    typer.echo(f"next: frostline report {_shown_path(plan.folder)}", err=True)
    raise typer.Exit(1 if failed or elsewhere else 0)  # 0: every trial is done, or paused by order


@app.command()
def status(folder: Folder, output: OutputFormat = Format.table) -> None:
    """Where a study stands: which trials are done, failed, started or waiting."""
    from frostline.study import open_study

    study = open_study(folder)
    states = (*study.status(), *study.strays())
    _print_rows([_state_row(state) for state in states], output)
    tell(folder)
    _tell_notes(study)


def _tell_notes(study: "Study") -> None:
    """What is to be known of a folder; exit code 1 where a record in it is damaged."""
    from frostline.study_notes import notes_of

    for note in notes_of(study):
        typer.echo(note, err=True)
    if any(state.state == "damaged" for state in study.status()):
        raise typer.Exit(1)


@app.command()
def report(
    folder: Folder,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the study file, to find images. Default: as DIR says.",
        ),
    ] = None,
) -> None:
    """Write report.html, figures and tables from a study's finished trials."""
    from frostline.reporting import report as write_report
    from frostline.study import open_study

    paths = write_report(folder, base=base)
    typer.echo(_shown_path(paths.html))
    _tell_notes(open_study(folder))


@app.command()
def layers(
    model: Annotated[
        str,
        typer.Argument(
            help="A backbone, such as resnet50, mobilenet_v2 or timm:convnext_tiny.",
            autocompletion=complete_backbone,
        ),
    ],
    output: OutputFormat = Format.table,
) -> None:
    """Print a backbone's convolutions in forward order: what each depth k freezes."""
    from frostline.api import layers as layers_of

    table = layers_of(model)
    ends = {k: stage for stage, k in table.stage_ends().items()}
    rows = []
    for layer in table.layers:
        paper = table.paper_index(layer) if model in ("resnet50", "resnet101") else None
        rows.append(
            {
                "k": layer.index,
                "paper": paper,
                "convolution": layer.name,
                "stage": layer.stage,
                "role": layer.role,
                "weight": "x".join(map(str, layer.shape)),
                "batch norm": layer.norm,
                "completes": ends.get(layer.index),
            }
        )
    _print_rows(rows, output)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")] = Path("demo"),
    workers: Workers = 2,
) -> None:
    """Run the whole pipeline on embedded synthetic data: study, report, advice, lines of result."""
    from frostline.cli_progress import follow
    from frostline.doctor import require_torch

    _wait_patiently()
    require_torch()
    from frostline.demo import NOTICE, demo_trials, run_demo

    typer.echo(NOTICE, err=True)
    with _interruptible(), follow(demo_trials()) as on_event:
        result = run_demo(folder, workers=workers, on_event=on_event)
    for line in result.lines:
        typer.echo(line)
    typer.echo(_shown_path(result.report))
    typer.echo(result.advice)
    typer.echo(_shown_path(result.advice_report))
    raise typer.Exit(0 if result.ok else 1)


@app.command()
def doctor(output: OutputFormat = Format.table) -> None:
    """Versions, extras, devices, caches, and what is wrong. Exit code 1 if anything is."""
    import dataclasses

    from frostline.doctor import examine

    rows = [dataclasses.asdict(fact) for fact in examine()]
    problems = [row for row in rows if row["problem"]]
    if output is Format.table:
        _print_rows([{"what": row["what"], "value": row["value"]} for row in rows], output)
        for row in problems:
            typer.echo(f"problem: {row['what']}: {row['problem']}")
    else:
        _print_rows(rows, output)
    raise typer.Exit(1 if problems else 0)


def _wait_patiently() -> None:
    """Let torch's threads sleep while they wait for each other, unless the user says otherwise.

    Must come before torch is imported; workers inherit it. By default they spin. Measured with 2
    threads on 2 cores, 0.24 s a step with 1: on idle cores 0.15 s spinning and 0.16 s sleeping,
    beside two busy processes 1 to 7 s spinning and 0.3 to 0.5 s sleeping. Results are the same.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is no failure: say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command resumes", err=True)
        raise typer.Exit(130) from None


def _print_estimate(study: "Study", estimate: "Estimate") -> None:
    """The grid in words, then what is left of it; ``--format json`` has the plain numbers."""
    cells = study.cells()
    depths = [depth_of_label(key.plan) for key in cells]
    counted = " (paper numbering)" if study.config.numbering == "paper" else ""
    for what, values in (
        ("inits", [key.init for key in cells]),
        (f"depths{counted}", sorted(k for k in depths if k is not None)),
        ("plans", [key.plan for key, k in zip(cells, depths, strict=True) if k is None]),
        ("seeds", [key.seed for key in cells]),
    ):
        if values:
            typer.echo(f"{what}: {', '.join(str(value) for value in dict.fromkeys(values))}")
    for line in _waiting(estimate):
        typer.echo(f"waits: {line}")
    row = {
        "cells": estimate.cells,
        "left": estimate.left,
        "time": _duration(estimate.minutes),
        "disk": f"{estimate.disk_mb:.0f} MB",
    }
    _print_rows([row], Format.table)


def _waiting(estimate: "Estimate") -> list[str]:
    """The cells whose plans are made from other trials first, a line for each set of these."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for cell, trials in estimate.waits.items():
        cells.setdefault(tuple(trials), []).append(cell)
    return [f"{', '.join(names)} for {', '.join(trials)}" for trials, names in cells.items()]


def _duration(minutes: float) -> str:
    """A duration as people say it.

    Example:
        >>> _duration(0.3), _duration(42.4), _duration(1397.7)
        ('under 1 min', '42 min', '23 h 18 min')
    """
    if minutes < 1:
        return "under 1 min" if minutes else "none"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def _summary(record: "TrialRecord") -> dict[str, Any]:
    shown = [score for score in record.task.scores if score.headline]
    return {
        **key_columns(record.key, record.plan),
        **{score.label: record.scores["val"].get(score.key) for score in shown},
        "minutes": sum(record.seconds.values()) / 60,
        "flags": ", ".join(record.flags) or ("" if record.ranked else "unranked reference"),
    }


def _state_row(state: "TrialState") -> dict[str, Any]:
    return {**key_columns(state.key), "state": state.state, "detail": state.detail}


def _print_rows(rows: Sequence[Mapping[str, Any]], output: Format) -> None:
    if output is Format.json:
        typer.echo(json.dumps(list(rows), indent=1))
    elif output is Format.csv:
        print_csv(rows)
    else:
        print_table(_without_idle(rows), cell=_cell, spare=_SPARE)


def _without_idle(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows for people: without the variant where there is none, the plan where all are depths."""
    idle = set()
    if all(row.get("variant") is None for row in rows):
        idle.add("variant")
    if all(_is_depth(row) for row in rows):
        idle.add("plan")
    if all(row.get("numbering") in (None, "all") for row in rows):
        idle.add("numbering")
    return [{name: value for name, value in row.items() if name not in idle} for row in rows]


def _is_depth(row: Mapping[str, Any]) -> bool:
    """Whether a row's plan was given as a depth, not as a stage that ends at one."""
    depth = row.get("depth")
    return depth is not None and depth_of_label(row["plan"]) == depth


def _cell(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}" if column in _TENTHS else f"{value:.3f}"
    return str(value)


def _shown_path(path: Path) -> str:
    """Relative to where the user stands, if it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main() -> None:
    """Entry point: an error becomes one line and its exit code; ``--debug`` shows its origin."""
    try:
        app(prog_name="frostline")  # also under python -m
    except FrostlineError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {one_line(error)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that cannot be written, a disk that is full
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {one_line(error)}; check the path, its rights and the disk", err=True)
        sys.exit(FrostlineError.exit_code)
