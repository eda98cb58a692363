"""``frostline data``: what is in a data set, and what is wrong with it."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.layouts import LAYOUTS

if TYPE_CHECKING:
    from frostline.datasets import DataCheck, DatasetIndex, DatasetLocation
    from frostline.datasets.raw import MaskOptions

__all__ = ["LayoutOption", "Target", "data_app", "find_target"]

data_app = typer.Typer(no_args_is_help=True, help="Look at a data set before training on it.")


_LISTED = 20  # classes or groups named in one line


class CheckFormat(StrEnum):
    """How a check is written to stdout."""

    table = "table"
    json = "json"


LayoutOption = Annotated[
    str,
    typer.Option(
        metavar=f"[{'|'.join(('auto', *LAYOUTS))}]",
        help="Annotation layout.",
        autocompletion=lambda: ["auto", *LAYOUTS],
    ),
]
"""Name of a layout; ``auto`` recognises it."""


class Preset(StrEnum):
    """Model presets, for their anchors."""

    slim = "slim"
    stock = "stock"


@data_app.callback()
def _data() -> None:
    """Look at a data set before training on it."""


@data_app.command()
def check(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder or zip file of a data set, an annotation file, data.yaml or study.yaml.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, where PATH is an annotation file."),
    ] = None,
    layout: LayoutOption = "auto",
    image_size: Annotated[
        int | None,
        typer.Option(min=64, max=4096, help="Longest side in training, px (320)."),
    ] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="Model preset, for its anchors (slim).")
    ] = None,
    fix_to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a cleaned COCO copy and the list of what changed."),
    ] = None,
    annotations_only: Annotated[
        bool, typer.Option("--annotations-only", help="Do not look at the images.")
    ] = False,
    examples: Annotated[int, typer.Option(min=1, help="Findings of one kind that are shown.")] = 3,
    output: Annotated[
        CheckFormat, typer.Option("--format", help="How the result is printed.")
    ] = CheckFormat.table,
    explain: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Say what a kind of finding means, and do nothing else."),
    ] = None,
) -> None:
    """List what is in a data set and what is wrong with it. Exit code 1 if there are errors."""
    from frostline.datasets import check_dataset, clean_copy
    from frostline.datasets.raw import AS_FOUND

    if explain is not None:
        _explain(explain)
        return
    if path is None:
        raise typer.BadParameter("expected a data set, got none: name a folder or a file")

    if annotations_only and fix_to is not None:
        raise typer.BadParameter("--fix-to copies images: leave out --annotations-only")
    target = find_target(path, images, layout)
    location = target.location
    with _progress(output is CheckFormat.table) as on_image:
        result = check_dataset(
            location,
            image_size=image_size or target.image_size,
            preset=preset.value if preset else target.preset,
            divide=target.divide,
            annotations_only=annotations_only,
            on_image=on_image,
            masks=target.masks or AS_FOUND,
            grey_levels=target.grey_levels,
        )
    if output is CheckFormat.json:
        typer.echo(json.dumps({"layout": location.layout, **result.to_dict()}, indent=1))
    else:
        _print_check(f"{path}: layout {location.layout}", result, examples)
    if fix_to is not None:
        copy = clean_copy(result, fix_to)
        typer.echo(
            f"wrote {', '.join(f'{name}.json' for name in copy.splits)}, images and dropped.csv "
            f"({len(copy.dropped)} lines) to {fix_to}",
            err=True,
        )
    raise typer.Exit(0 if result.ok else 1)


def _explain(code: str) -> None:
    from frostline.datasets.codes import explain

    typer.echo(explain(code))


@dataclass(frozen=True)
class Target:
    """What is to be checked, and for which model."""

    location: "DatasetLocation"
    image_size: int = 320
    preset: str = "slim"
    divide: "Callable[[DatasetIndex], dict[str, DatasetIndex]] | None" = None
    masks: "MaskOptions | None" = None
    grey_levels: int | None = None


def find_target(path: Path, images: Path | None, layout: str) -> Target:
    """Where the data is, and what a study.yaml says of it and of its model."""
    from frostline.datasets import DatasetLocation, find_dataset

    if path.suffix in (".yaml", ".yml") and _is_study(path):
        return _target_of_study(path)
    if images is None and not _is_annotations(path):
        return Target(find_dataset(path, layout))
    root = images or next((p for p in (path.parent / "images",) if p.is_dir()), path.parent)
    name = layout if layout != "auto" else _recognised(root, path)
    return Target(DatasetLocation(name, root, {path.name.partition(".")[0] or "all": path}))


_ANNOTATIONS = (".json", ".csv", ".json.gz", ".csv.gz", ".txt", ".xml")


def _is_annotations(path: Path) -> bool:
    return path.is_file() and path.name.endswith(_ANNOTATIONS)


def _recognised(images: Path, annotations: Path) -> str:
    from frostline.datasets.locations import open_source, recognise

    return recognise(open_source(images, annotations))


def _is_study(path: Path) -> bool:
    """Whether a YAML file has a study's keys, and is not the data.yaml of a YOLO data set."""
    try:
        head = path.read_bytes()[: 1 << 20].decode("utf-8", "replace")
    except OSError:
        return False
    return re.search(r"^inits\s*:", head, re.MULTILINE) is not None


def _target_of_study(path: Path) -> Target:
    """The splits that the study trains and is scored on, and its model."""
    from frostline.config import load_study
    from frostline.datasets import DatasetLocation, train_and_val
    from frostline.loading import mask_options
    from frostline.tasks import task_named

    study = load_study(path)
    data, base = study.data, path.parent
    named = {"train": data.train, "val": data.val, "test": data.test, "all": data.annotations}
    files = {name: base / file for name, file in named.items() if file is not None}
    images = base / data.images
    layout = data.layout
    if layout == "auto":
        layout = _recognised(images, next(iter(files.values())))
    divide = None if data.split is None else partial(train_and_val, **data.split.model_dump())
    location = DatasetLocation(layout, images, files)
    masks = mask_options(data, outlines=task_named(study.task).declares.masks)
    size, preset = study.model.image_size, study.model.preset
    return Target(location, size, preset, divide, masks, data.grey_levels)


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[], None] | None]:
    """A counter of images on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield None
        return
    columns = SpinnerColumn(), TextColumn("{task.completed:.0f} images"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=None)
        yield lambda: progress.advance(task)


def _print_check(title: str, result: "DataCheck", examples: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(title), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    counted = result.counts()
    boxes = not any(counts.masks for counts in counted.values())
    for name in ("split", "images", *(("without boxes", "boxes") if boxes else ())):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, counts in counted.items():
        more = (str(counts.empty_images), str(counts.boxes)) if boxes else ()
        table.add_row(Text(split), str(counts.images), *more)
    console.print(table)
    for line in (*_totals(result), *_sizes_lines(result), *_finding_lines(result, examples)):
        console.print(Text(line), soft_wrap=True)
    found = result.by_severity()
    console.print(", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in found.items()))
    if not result.ok and "split-without-boxes" in result.codes():
        console.print("correct the errors: a copy without them would have no boxes to score")
    elif not result.ok and any(index.counts().masks for index in result.splits.values()):
        console.print("correct the errors, or leave them out: on_problem: drop in the study")
    elif not result.ok:
        console.print("correct the errors, or write a copy without them: --fix-to DIR")


def _totals(result: "DataCheck") -> Iterator[str]:
    """Boxes of each class and images of each group, over all splits."""
    from frostline.datasets.findings import shown

    counts = result.counts().values()
    for what, parts in (
        ("boxes by class", [c.boxes_per_class for c in counts]),
        ("pixels by class", [c.pixels_per_class for c in counts]),
        ("images by group", [c.images_per_group for c in counts]),
    ):
        total: Counter[str] = Counter()
        for part in parts:
            total.update(part)
        if total:
            first = ", ".join(f"{shown(name)} {n}" for name, n in list(total.items())[:_LISTED])
            rest = len(total) - _LISTED
            yield f"{what}: {first}{f', and {rest} more' if rest > 0 else ''}"


def _sizes_lines(result: "DataCheck") -> Iterator[str]:
    sizes = result.sizes
    if sizes is None:
        return
    low, middle, high = sizes.quantiles
    yield (
        f"box sizes at image size {sizes.image_size}: 5 % below {low:.0f} px, half below "
        f"{middle:.0f} px, 95 % below {high:.0f} px; {sizes.misfit_share:.0%} fit no anchor of "
        f"preset {sizes.preset}"
    )


def _finding_lines(result: "DataCheck", examples: int) -> Iterator[str]:
    """Findings by kind, the worst and most frequent kinds first, the first few of each."""
    kinds: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for split, part in result.findings.items():
        for finding in part:
            line = f"{split}: {finding}" if split else str(finding)
            kinds[finding.severity, finding.code].append(line)
    rank = {"error": 0, "warning": 1, "note": 2}
    for (severity, code), lines in sorted(
        kinds.items(), key=lambda item: (rank[item[0][0]], -len(item[1]), item[0][1])
    ):
        if len(lines) == 1:
            yield f"{severity}: {code}: {lines[0]}"
            continue
        yield f"{severity}: {code}: {len(lines)} times"
        yield from (f"  {line}" for line in lines[:examples])
        if len(lines) > examples:
            yield f"  and {len(lines) - examples} more (--examples {len(lines)}, or --format json)"
