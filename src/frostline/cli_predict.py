"""``frostline predict``: what trained weights find in images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.cli_init import DeviceChoice

if TYPE_CHECKING:
    from frostline.datasets import DatasetIndex
    from frostline.predicting import LoadedModel, Predicted

__all__ = ["predict"]


def predict(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            help="weights.safetensors of a trial, or its folder.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...", help="Images, folders of images or zip files.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder to write to, new or empty.", show_default=False),
    ],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Score from which boxes are drawn. (Without it: the chosen one.)"
        ),
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Write the results alone.")
    ] = False,
    device: Annotated[DeviceChoice, typer.Option(help="Where it runs.")] = DeviceChoice.auto,
) -> None:
    """Find objects in images with trained weights: COCO results of all, pictures of the best."""
    from frostline.predicting import count_as_stored, find_images, load, write_predictions
    from frostline.predicting.writing import require_unused
    from frostline.training import choose_device

    require_unused(out)
    model = load(weights, device=choose_device(device.value))
    indexes = find_images(images, model.header)
    parts = _predicted(model, indexes)
    from_score = model.header.shown_from if threshold is None else threshold
    write_predictions(out, parts, model.header, threshold=from_score, pictures=not no_pictures)
    typer.echo(_summary(model, parts, from_score))
    stored = count_as_stored(indexes)
    if stored:
        typer.echo(
            f"{stored} images are turned by viewers (EXIF): they were seen, and are drawn, as "
            "stored, as in training",
            err=True,
        )
    typer.echo(
        f"wrote {out}: results.json (everything found), images.json (what its ids are)"
        f"{'' if no_pictures else ', pictures'}",
        err=True,
    )


def _predicted(model: "LoadedModel", indexes: "list[DatasetIndex]") -> "list[Predicted]":
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from frostline.predicting import Predicted, predict_images

    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.completed:.0f} images"), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("images", total=None)
        return [
            Predicted(index, predict_images(model, index, lambda n: bar.advance(task, n)))
            for index in indexes
        ]


def _summary(model: "LoadedModel", parts: "list[Predicted]", threshold: float) -> str:
    images = sum(len(part.index) for part in parts)
    noun = "image" if images == 1 else "images"
    if model.threshold is None:
        return f"{images} {noun}: the class of every pixel, of {', '.join(model.classes)}"
    found = [one for part in parts for one in part.found]
    shown = sum(int((one.scores >= threshold).sum()) for one in found)
    chosen = "chosen on the validation images" if threshold == model.header.threshold else "given"
    if model.header.threshold is None and threshold == model.header.shown_from:
        chosen = "none was chosen"
    return (
        f"{images} {noun}: {shown} boxes with a score of {threshold:.3g} or more ({chosen}), "
        f"{sum(map(len, found))} in all"
    )
