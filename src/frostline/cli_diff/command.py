"""``frostline diff`` as a Typer command: its options, their help and their checks."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from frostline.cli_diff.running import Request, run
from frostline.cli_table import Format

__all__ = ["diff"]


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
        typer.Option(
            help="Tensors to compare. (Without it: conv, or all where there are more than twice as "
            "many matrices.)"
        ),
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
        str | None, typer.Option(help="Backbone, for forward order. (Without it: recognised.)")
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(min=0, help="BatchNorm eps of the model. (Without it: torchvision's.)"),
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
        typer.Option(metavar="X", help="Exit 1 if any 1-|cos| is above X, not comparable or gone."),
    ] = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help="Exit 0 even where the networks look different."),
    ] = False,
) -> None:
    """Compare weight files layer by layer: 1 - |cos|, angle, relative L2, BatchNorm drift."""
    code = run(
        Request(
            base=base,
            others=others,
            kind=kind.value if kind else None,
            include=include or (),
            exclude=exclude or (),
            rename=rename or (),
            show_map=show_map,
            model=model,
            eps=eps,
            section=section,
            exact=exact,
            seeds=seeds,
            control=control,
            factor=factor,
            output=output.value,
            plot=plot,
            html=html,
            fail_above=fail_above,
            allow_different=allow_different,
        )
    )
    raise typer.Exit(code)
