"""Recognising a layout, and finding images and annotations in a folder or zip file."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.datasets.files import (
    FolderTree,
    Tree,
    is_image,
    locate,
    open_tree,
)
from frostline.datasets.findings import shown
from frostline.datasets.gwhd import GWHD_COLUMNS
from frostline.datasets.kaggle import KAGGLE_COLUMNS
from frostline.datasets.raw import Source
from frostline.datasets.text import read_text
from frostline.datasets.voc import VOC_FOLDER
from frostline.datasets.yolo import CLASS_FILES, read_yolo_config
from frostline.errors import DatasetError

__all__ = ["LAYOUTS", "DatasetLocation", "find_dataset", "is_folder", "open_source", "recognise"]

LAYOUTS = ("coco", "kaggle", "gwhd2021", "voc", "yolo")
"""Names of the layouts, for ``layout``."""

_YAML = (".yaml", ".yml")
_CSV = (".csv", ".csv.gz")
_JSON = (".json", ".json.gz")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class DatasetLocation:
    """Where a data set is.

    Attributes:
        layout: One of `LAYOUTS`.
        images: Folder of the images, for ``read_dataset``; may be, or be inside, a zip file.
        splits: Split to its annotation file or folder; ``train`` first if there is one. A
            ``data.yaml`` stands for all of its splits.
    """

    layout: str
    images: Path
    splits: dict[str, Path]


def is_folder(path: Path) -> bool:
    """Whether a path is that of a folder, a zip file, or a folder inside a zip file."""
    tree = open_tree(path)
    return os.path.isdir(path) if isinstance(tree, FolderTree) else bool(tree.names())  # noqa: PTH112


def open_source(images: Path, annotations: Path) -> Source:
    """Open what the user named.

    Raises:
        DatasetError: If there is no such file or folder.
    """
    if is_folder(annotations):
        real = Path(os.path.realpath(annotations))
        return Source(open_tree(images), open_tree(real), "")
    return Source(open_tree(images), *locate(annotations))


def recognise(source: Source) -> str:
    """Layout of an annotation file or folder.

    Raises:
        DatasetError: If it is none of `LAYOUTS`.
    """
    tree, name = source.annotations, source.name
    lower = name.lower()
    layout = None
    if lower.endswith(_JSON):
        layout = "coco"
    elif lower.endswith(_CSV):
        layout = _csv_layout(tree, name)
    elif lower.endswith(".xml"):
        layout = "voc"
    elif lower.endswith(_YAML):
        layout = "yolo"
    elif lower.endswith(".txt"):
        layout = "voc" if "ImageSets" in (tree.root / name).parts else "yolo"
    elif not name:
        layout = _folder_layout(tree.names())
    if layout is None:
        raise DatasetError(
            f"expected annotations in one of the layouts {', '.join(LAYOUTS)}, cannot recognise "
            f"{shown(name or tree.root)}; name the layout"
        )
    return layout


def _csv_layout(tree: Tree, name: str) -> str | None:
    header = [column.strip() for column in read_text(tree, name).partition("\n")[0].split(",")]
    if set(KAGGLE_COLUMNS) <= set(header):
        return "kaggle"
    return "gwhd2021" if set(GWHD_COLUMNS) <= set(header) else None


def _folder_layout(names: Iterable[str]) -> str | None:
    endings = {name.rpartition(".")[2].lower() for name in names}
    if "xml" in endings:
        return "voc"
    return "yolo" if "txt" in endings or any(is_image(f"x.{e}") for e in endings) else None


def find_dataset(data: Path, layout: str = "auto") -> DatasetLocation:
    """Find images and annotations below a folder, in a zip file, or beside a ``data.yaml``.

    Args:
        data: Folder, zip file, or ``data.yaml``.
        layout: One of `LAYOUTS`, or ``auto``.

    Raises:
        DatasetError: If no layout, or more than one, is found.
    """
    if layout not in ("auto", *LAYOUTS):
        raise DatasetError(f"expected layout auto, {', '.join(LAYOUTS)}, got {shown(layout)!r}")
    top = data.parent if data.name.endswith(_YAML) and not is_folder(data) else data
    if not is_folder(top):
        raise DatasetError(
            f"expected a folder or zip file with a data set, found none at {shown(data)}"
        )
    top = _sole_folder(top)
    tree = open_tree(top)
    names = tree.names()
    found = [
        location
        for find in (_find_yolo, _find_voc, _find_csv, _find_coco)
        for location in find(top, tree, names)
        if layout in ("auto", location.layout)
    ]
    layouts = sorted({location.layout for location in found})
    if len(layouts) == 1:
        return found[0]
    raise DatasetError(
        f"expected one data set in {shown(data)}, found {' and '.join(layouts) or 'none'}; "
        f"name images, annotations and layout"
    )


def _sole_folder(top: Path) -> Path:
    """The folder inside, and so on, where a folder or zip file holds nothing but one folder."""
    for _ in range(8):
        heads = {name.partition("/")[0] for name in open_tree(top).names() if _counts(name)}
        only = next(iter(heads)) if len(heads) == 1 else ""
        if not only or not open_tree(top).has_folder(only) or only in ("images", VOC_FOLDER):
            return top
        top = top / only
    return top


def _counts(name: str) -> bool:
    """Whether a file is one that somebody put there, and not a system's own."""
    return not name.startswith("__MACOSX/") and not name.rpartition("/")[2].startswith(".")


def _find_yolo(top: Path, tree: Tree, names: tuple[str, ...]) -> Iterator[DatasetLocation]:
    for name in (n for n in names if "/" not in n and n.lower().endswith(_YAML)):
        if re.search(r"^names\s*:", read_text(tree, name, max_bytes=1 << 20), re.MULTILINE):
            splits = dict.fromkeys(read_yolo_config(tree, name).splits, top / name)
            yield DatasetLocation("yolo", top, _ordered(splits))
            return
    labels = [n for n in names if n.endswith(".txt") and "labels" in n.split("/")[:-1]]
    if any(name.rpartition("/")[2] not in CLASS_FILES for name in labels):
        folders = {name.rpartition("/")[0] for name in labels}
        images = [_labelled_images(folder) for folder in sorted(folders)]
        there = [folder for folder in images if tree.has_folder(folder)]
        splits = {_split_name(folder, there): top / folder for folder in there}
        if splits:
            yield DatasetLocation("yolo", top, _ordered(splits))


def _labelled_images(labels: str) -> str:
    """Folder of the images whose labels are in a folder: the last ``labels`` is ``images``."""
    head, _, tail = f"/{labels}/".rpartition("/labels/")
    return f"{head}/images/{tail}".strip("/")


def _find_voc(top: Path, tree: Tree, names: tuple[str, ...]) -> Iterator[DatasetLocation]:
    folders = sorted({n.rpartition("/")[0] for n in names if n.endswith(".xml")})
    if not folders:
        return
    lists = [f"ImageSets/Main/{split}.txt" for split in ("train", "val", "test", "trainval")]
    listed = {Path(n).stem: top / n for n in lists if tree.state(n) == "file"}
    if {"train", "trainval"} <= set(listed):
        del listed["trainval"]
    splits = listed or {_split_name(folder, folders): top / folder for folder in folders}
    yield DatasetLocation("voc", _images_folder(top, tree, names), _ordered(splits))


def _find_csv(top: Path, tree: Tree, names: tuple[str, ...]) -> Iterator[DatasetLocation]:
    files = [n for n in names if n.count("/") <= 1 and n.lower().endswith(_CSV)]
    for layout in ("kaggle", "gwhd2021"):
        mine = [name for name in files if _csv_layout(tree, name) == layout]
        if mine:
            splits = {_split_name(name, mine): top / name for name in mine}
            yield DatasetLocation(layout, _images_folder(top, tree, names), _ordered(splits))


def _find_coco(top: Path, tree: Tree, names: tuple[str, ...]) -> Iterator[DatasetLocation]:
    files = [n for n in names if n.count("/") <= 1 and n.lower().endswith(_JSON)]
    mine = []
    for name in files:
        text = read_text(tree, name)
        if all(f'"{key}"' in text for key in ("images", "annotations", "categories")):
            mine.append(name)
    if mine:
        splits = {_split_name(name, mine): top / name for name in mine}
        yield DatasetLocation("coco", _images_folder(top, tree, names), _ordered(splits))


def _images_folder(top: Path, tree: Tree, names: Iterable[str]) -> Path:
    """The folder that holds the images, or ``top`` where several do."""
    for name in ("images", "JPEGImages"):
        if tree.has_folder(name):
            return top / name
    folders = {n.rpartition("/")[0].partition("/")[0] for n in names if is_image(n)}
    return top / next(iter(folders)) if len(folders) == 1 else top


def _split_name(name: str, names: Sequence[str]) -> str:
    """What an annotation file or folder is called: by its words, else by its name.

    Example:
        >>> _split_name("annotations/instances_train2017.json", [])
        'train'
    """
    word = _split_word(name)
    if word and [_split_word(other) for other in names].count(word) <= 1:
        return word
    if len(names) == 1:
        return "all"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.partition(".")[0]).strip("-") or "all"


def _split_word(name: str) -> str | None:
    words = re.findall(r"[a-z]+", name.lower())
    return next((_SPLIT_WORDS[word] for word in reversed(words) if word in _SPLIT_WORDS), None)


def _ordered(splits: dict[str, Path]) -> dict[str, Path]:
    """Splits with train, val and test first."""
    order = {"train": 0, "val": 1, "test": 2}
    return dict(sorted(splits.items(), key=lambda item: (order.get(item[0], 3), item[0])))
