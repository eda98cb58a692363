"""Recognising a layout, and finding images and annotations in a folder or zip file."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from frostline.datasets.files import FolderTree, is_image, locate, open_tree
from frostline.datasets.findings import shown
from frostline.datasets.layouts import (
    DatasetLocation,
    Folder,
    layout_named,
    layouts,
    require_layout,
)
from frostline.datasets.named import split_word
from frostline.datasets.raw import AS_FOUND, MaskOptions, Source
from frostline.datasets.text import csv_has
from frostline.errors import DatasetError
from frostline.layouts import LAYOUTS

__all__ = [
    "find_csv",
    "find_dataset",
    "images_folder",
    "is_folder",
    "open_source",
    "ordered",
    "part_of_file",
    "recognise",
    "split_name",
    "splits_of",
]

_MEANT_FOLDERS = ("images", "annotations")  # they say what is in them: not looked past
_YAML = (".yaml", ".yml")
_ENDINGS = (".json", ".csv", ".txt", ".xml")


def is_folder(path: Path) -> bool:
    """Whether a path is that of a folder, a zip file, or a folder inside a zip file."""
    tree = open_tree(path)
    if isinstance(tree, FolderTree) and not tree.inner:
        return os.path.isdir(path)  # noqa: PTH112
    return bool(tree.names())


def open_source(images: Path, annotations: Path, masks: MaskOptions = AS_FOUND) -> Source:
    """Open what the user named, and was said of its masks.

    Raises:
        DatasetError: If there is no such file or folder.
    """
    if is_folder(annotations):
        real = Path(os.path.realpath(annotations))
        return Source(open_tree(images), open_tree(real), "", masks)
    return Source(open_tree(images), *locate(annotations), masks)


def part_of_file(split: str, file: Path) -> str | None:
    """The part of an annotation file that is a split; None where it has no parts.

    A ``data.yaml``, and an XML file of CVAT's with subsets, have one for each of their splits.
    """
    return split if file.name.lower().endswith((*_YAML, ".xml")) else None


def recognise(source: Source) -> str:
    """Layout of an annotation file or folder.

    Raises:
        DatasetError: If it is none of `LAYOUTS`.
    """
    for row in layouts():
        if row.recognise(source):
            return row.name
    raise DatasetError(
        f"expected annotations in one of the layouts {', '.join(LAYOUTS)}, cannot recognise "
        f"{shown(source.name or source.annotations.root)}; name the layout"
    )


def find_dataset(data: Path, layout: str = "auto") -> DatasetLocation:
    """Find images and annotations below a folder, in a zip file, or beside a ``data.yaml``.

    Args:
        data: Folder, zip file, or ``data.yaml``.
        layout: One of `LAYOUTS`, or ``auto``.

    Raises:
        DatasetError: If no layout, or more than one, is found.
    """
    require_layout(layout)
    top = data.parent if data.name.lower().endswith(_YAML) and not is_folder(data) else data
    if not is_folder(top):
        raise DatasetError(
            f"expected a folder or zip file with a data set, found none at {shown(data)}"
        )
    top = _sole_folder(top)
    tree = open_tree(top)
    folder = Folder(top, tree, tree.names(), data.name if data.name.lower().endswith(_YAML) else "")
    rows = layouts() if layout == "auto" else (layout_named(layout),)
    found = [location for row in rows for location in row.find(folder)]
    if any(location.layout != "masks" for location in found):  # of boxes and masks, the boxes
        found = [location for location in found if location.layout != "masks"]
    names = sorted({location.layout for location in found})
    if len(names) == 1:
        return found[0]
    if names:
        raise DatasetError(
            f"expected one data set in {shown(data)}, found {' and '.join(names)}; choose a "
            f"layout, or name the annotation file and the folder of its images"
        )
    raise DatasetError(_none_found(data, [row.files for row in rows], folder.names))


def _none_found(data: Path, wanted: Iterable[str], names: Iterable[str]) -> str:
    images = sum(map(is_image, names))
    return (
        f"expected one data set in {shown(data)}, found {images} images and no annotations that "
        f"were recognised ({', '.join(wanted)}); name the annotation file, or a folder of masks "
        "with layout masks and the folder of its images"
    )


def _sole_folder(top: Path) -> Path:
    """The folder inside, and so on, where a folder or zip file holds nothing but one folder."""
    for _ in range(8):
        names = [name for name in open_tree(top).names() if _counts(name)]
        heads = {name.partition("/")[0] for name in names}
        only = next(iter(heads)) if len(heads) == 1 else ""
        if not only or only in names or only.lower() in _MEANT_FOLDERS:
            return top
        top = top / only
    return top


def _counts(name: str) -> bool:
    """Whether a file is one of the data set, and not hidden."""
    return not name.rpartition("/")[2].startswith(".")


def find_csv(
    folder: Folder, layout: str, columns: Sequence[str], *, deep: int = 1
) -> Iterator[DatasetLocation]:
    """The data set of a layout that is told by the columns of its csv files.

    They lie in the folder, or up to ``deep`` folders down.
    """
    files = [name for name in folder.names if name.count("/") <= deep]
    mine = [name for name in files if csv_has(folder.tree, name, columns)]
    if mine:
        yield DatasetLocation(layout, images_folder(folder), splits_of(folder, mine))


def images_folder(folder: Folder) -> Path:
    """The folder that holds the images, or the whole folder where several do."""
    heads = {name.partition("/")[0] for name in folder.names if "/" in name}
    for wanted in ("images", "jpegimages"):
        same = [name for name in heads if name.lower() == wanted]
        if len(same) == 1:
            return folder.path / same[0]
    tops = {n.rpartition("/")[0].partition("/")[0] for n in folder.names if is_image(n)}
    return folder.path / next(iter(tops)) if len(tops) == 1 else folder.path


def splits_of(folder: Folder, names: Sequence[str]) -> dict[str, Path]:
    """Annotation files or folders by the split that each is, train, val and test first."""
    splits: dict[str, Path] = {}
    for name in names:
        split = base = split_name(name, names)
        for number in itertools.count(2):
            if split not in splits:
                break
            split = f"{base}-{number}"
        splits[split] = folder.path / name
    return ordered(splits)


def split_name(name: str, names: Sequence[str]) -> str:
    """What an annotation file or folder is called: by its words, else by its name.

    Example:
        >>> split_name("annotations/instances_train2017.json", [])
        'train'
    """
    word = split_word(name)
    if word and [split_word(other) for other in names].count(word) <= 1:
        return word
    if len(names) == 1:
        return "all"
    stem = name.removesuffix(".gz")
    stem = stem.rpartition(".")[0] if stem.lower().endswith(_ENDINGS) else stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "all"


def ordered(splits: dict[str, Path]) -> dict[str, Path]:
    """Splits with train, val and test first."""
    order = {"train": 0, "val": 1, "test": 2}
    return dict(sorted(splits.items(), key=lambda item: (order.get(item[0], 3), item[0])))
