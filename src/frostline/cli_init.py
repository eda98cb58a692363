"""``frostline init`` and ``frostline schema``: the first study file, and editors' help with it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.cli_data import LayoutOption, find_target
from frostline.depth import BACKBONES

if TYPE_CHECKING:
    from frostline.starter import Starter

__all__ = ["DeviceChoice", "complete_backbone", "init", "schema"]


class DeviceChoice(StrEnum):
    """Where trials run; ``auto`` takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def complete_backbone(incomplete: str) -> list[str]:
    """Names of backbones for the shell's completion."""
    return [name for name in BACKBONES if name.startswith(incomplete)]


def init(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder or zip file of a data set, an annotation file, or a data.yaml.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")] = Path(
        "study.yaml"
    ),
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the images, where DATA is an annotation file."),
    ] = None,
    layout: LayoutOption = "auto",
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Weights to start from; may be given several times."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Backbone. (Without it: the one with most starting weights here.)",
            autocompletion=complete_backbone,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="detection, or segmentation, for which COCO's outlines are masks. (Without it: "
            "by the data.)",
        ),
    ] = None,
    device: Annotated[
        DeviceChoice, typer.Option(help="Where the study will run.")
    ] = DeviceChoice.auto,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented study.yaml for a data set, which runs as it stands."""
    from frostline.starter import this_machine, write_starter
    from frostline.tasks import task_named

    starter = write_starter(
        find_target(data, images, layout).location,
        out,
        weights=weights or (),
        backbone=backbone,
        masks=None if task is None else task_named(task).declares.masks,
        machine=this_machine(device.value),
        force=force,
    )
    for line in _found(starter):
        typer.echo(line)
    typer.echo(f"next: frostline data check {out}", err=True)
    typer.echo(f"then: frostline run {out} --dry-run", err=True)


def _found(starter: "Starter") -> list[str]:
    """What was found and chosen, for the eye; the file has the reasons."""
    material, choice = starter.material, starter.choice
    total = material.total()
    parts = ", ".join(f"{name} {counts.images}" for name, counts in material.counts().items())
    starts = [file.path.name for file in choice.files] + [row.enum for row in choice.cached]
    count = len(total.boxes_per_class) or len(total.pixels_per_class)
    what = "a mask each" if total.masks else f"{total.boxes} boxes"
    lines = [
        f"data: layout {material.layout}, {total.images} images ({parts}), {what}, "
        f"{count} {'class' if count == 1 else 'classes'}",
        f"model: {choice.backbone}, {choice.reason}",
        f"starting weights: {', '.join(starts) or 'will be downloaded at first use'}",
        f"wrote {starter.path}: {starter.trials} trials",
    ]
    notes = list(material.notes)
    if material.problems:
        notes.append(f"{material.left_out()}: `frostline data check` names them")
    unused = [f"not used: {line}" for line in choice.left_out]
    return [lines[0], *(f"data: {note}" for note in notes), *lines[1:-1], *unused, lines[-1]]


def schema() -> None:
    """Print the JSON Schema of study.yaml, for editors that complete and check it."""
    from frostline.schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=1))
