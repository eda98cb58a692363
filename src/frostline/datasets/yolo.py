"""YOLO text files: ``class x_centre y_centre width height`` in parts of the image size.

Layout of https://docs.ultralytics.com/datasets/detect: a text file an image, in a folder
``labels`` beside ``images``; ``data.yaml`` gives class names and splits.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from frostline.datasets.files import (
    Tree,
    image_prefix,
    is_image,
    open_tree,
    plain_name,
    relative_name,
    stems,
)
from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import ordered, split_name
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = ["CLASS_FILES", "LAYOUT", "SPLIT_KEYS", "YoloConfig", "read_yolo", "read_yolo_config"]

SPLIT_KEYS = ("train", "val", "test")
"""Keys of ``data.yaml`` that name images."""

CLASS_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
"""Files in which class names are looked for, in this order."""

_YAML = (".yaml", ".yml")
_LEVELS_UP = 3  # how far above the labels class names are looked for
_MAX_CONFIG_BYTES = 1 << 20
_MAX_LABEL_BYTES = 1 << 26
_MAX_CLASSES = 10_000
_MAX_NUMBER = 10**9  # as a class name
_BOX_FIELDS = 5
_OUTLINE_FIELDS = 7  # class and three points
_MOST_RELATIVE = 2.0  # a part of the image size beyond this is a number of pixels


@dataclass(frozen=True)
class YoloConfig:
    """What is read of a ``data.yaml``; other keys, such as ``download``, are not looked at.

    Attributes:
        classes: Names in the order of their numbers.
        splits: Split to the folders or list files it names, relative to the file's folder.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]


def read_yolo(source: Source, options: ReadOptions) -> RawDataset:
    """Read the splits of a ``data.yaml``, a list of images, a folder of images, or of labels.

    An image without a text file, or with an empty one, has no boxes. Rows of more than four
    numbers are outlines, as segmentation data has them: their bounding box is used, and counted
    in a note. Without class names (`CLASS_FILES`, in the folder or above it) numbers are those of
    ``options.classes``, or else classes are called ``class_0`` and so on, with a warning.

    Raises:
        DatasetError: If there are no images or no labels, or at the first problem.
    """
    pairs = _pairs(source, options)
    if not any(pair.label for pair in pairs):
        raise DatasetError(
            f"expected YOLO label files for the images of {_name(source)}, found none; they belong "
            f"in a folder 'labels' beside the folder 'images'"
        )
    classes = _classes(source) or options.classes
    rows = _Rows(options.problems, None if classes is None else len(classes))
    for pair in pairs:
        rows.add(pair)
    rows.mention_outlines(_name(source))
    return rows.dataset(classes or rows.numbered(_name(source)))


def _name(source: Source) -> str:
    return shown(source.name or source.annotations.root.name)


# --- data.yaml -----------------------------------------------------------------------------------


def read_yolo_config(tree: Tree, name: str) -> YoloConfig:
    """Read class names and splits of a ``data.yaml``.

    Names of folders may start with ``../`` where the file was made to lie one folder deeper, as
    exporting tools write it, or with a ``path`` from another machine; they are looked for inside
    the folder of the file all the same.

    Raises:
        DatasetError: If it is not such a file, or names something outside of its folder.
    """
    data = _load_yaml(tree, name)
    classes = _names(data.get("names"), name)
    if data.get("nc") not in (None, len(classes)):
        raise DatasetError(f"{shown(name)}: expected {shown(data['nc'])} names, got {len(classes)}")
    splits: dict[str, tuple[str, ...]] = {}
    for key in SPLIT_KEYS:
        values = data[key] if isinstance(data.get(key), list) else [data.get(key)]
        if any(values):
            splits[key] = tuple(_inside(data.get("path"), v, key, tree, name) for v in values)
    return YoloConfig(classes, splits)


def _load_yaml(tree: Tree, name: str) -> Mapping[Any, Any]:
    import yaml

    text = read_text(tree, name, max_bytes=_MAX_CONFIG_BYTES)
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(name, None if mark is None else mark.line + 1)
        problem = getattr(error, "problem", None) or error
        raise DatasetError(f"{place}: expected plain YAML, got {shown(problem)}") from error
    if not isinstance(data, Mapping) or "names" not in data:
        raise DatasetError(f"{shown(name)}: expected a YOLO data.yaml with names, train and val")
    return data


def _names(names: Any, file: str) -> tuple[str, ...]:
    if isinstance(names, Mapping) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and names and all(_is_name(n) for n in names):
        classes = tuple(str(n) for n in names)
        if len(set(classes)) == len(classes):
            return classes
    raise DatasetError(
        f"{shown(file)}: expected names as a list, or numbered from 0, all different, and words "
        f"such as yes, no, on, off in quotes; got {shown(names)}"
    )


def _is_name(value: Any) -> bool:
    """Text or a number; YAML reads an unquoted ``no`` as False."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (number and abs(value) < _MAX_NUMBER)


def _inside(path: Any, value: Any, key: str, tree: Tree, file: str) -> str:
    """Folder (ending with ``/``) or list file that a split names, relative to the root."""
    for candidate in _candidates(path, value, tree) if isinstance(value, str) else ():
        if candidate in ("", "."):
            return ""
        plain = plain_name(candidate)
        if plain and tree.has_folder(plain):
            return f"{plain}/"
        if plain and tree.state(plain) == "file":
            return plain
    raise DatasetError(
        f"{shown(file)}: expected {key} to name a folder or a list inside the folder of this file, "
        f"got {shown(value)!r}"
    )


def _candidates(path: Any, value: str, tree: Tree) -> Iterator[str]:
    """Where a name may be meant to be, most likely first."""
    base = relative_name(path).rstrip("/") if isinstance(path, str) else ""
    root = tree.root.as_posix().rstrip("/") + "/"
    name = relative_name(value)
    for full in (f"{base}/{name}", name) if base not in ("", ".") else (name,):
        yield full.removeprefix(root).rstrip("/")
        yield full.removeprefix("../").rstrip("/")  # written for a file one folder deeper


def _classes(source: Source) -> tuple[str, ...] | None:
    """Class names of the ``data.yaml`` given, or of a file of names in the folder or above."""
    if source.name.endswith(_YAML):
        return _names(_load_yaml(source.annotations, source.name).get("names"), source.name)
    top = source.annotations.root
    for folder in (top, *list(top.parents)[:_LEVELS_UP]):
        tree = open_tree(folder)
        for name in CLASS_FILES:
            if tree.state(name) == "file":
                if name.endswith(_YAML):
                    return _names(_load_yaml(tree, name).get("names"), name)
                lines = read_text(tree, name, max_bytes=_MAX_CONFIG_BYTES).splitlines()
                return _names([line.strip() for line in lines if line.strip()], name)
    return None


# --- which images, and where their labels are ----------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """An image, relative to the data root, and its label file (None: no boxes)."""

    image: str
    place: Place
    labels: Tree
    label: str | None


def _pairs(source: Source, options: ReadOptions) -> list[_Pair]:
    tree, name = source.annotations, source.name
    if name.endswith(_YAML):
        return _pairs_of_config(source, options)
    if name:
        return _pairs_of_list(source, tree, name, options.problems)
    names = tree.names()
    if any(is_image(n) for n in names):
        top, prefix = _above_images(tree.root)
        return _pairs_of_folder(source, top, prefix, options.problems)
    return _pairs_of_labels(source, names, options)


def _pairs_of_config(source: Source, options: ReadOptions) -> list[_Pair]:
    tree, name = source.annotations, source.name
    splits = read_yolo_config(tree, name).splits
    if not splits or options.split not in (None, *splits):
        raise DatasetError(
            f"{shown(name)}: expected a split {shown(options.split or 'train')}, "
            f"got {shown(', '.join(splits) or 'none')}"
        )
    pairs: list[_Pair] = []
    for split, places in splits.items():
        for place in places if options.split in (None, split) else ():
            if place == "" or place.endswith("/"):
                pairs += _pairs_of_folder(source, tree, place, options.problems)
            else:
                pairs += _pairs_of_list(source, tree, place, options.problems)
    return pairs


def _above_images(folder: Path) -> tuple[Tree, str]:
    """The folder that ``images`` is in, and the rest; or the folder itself and nothing."""
    parts = folder.parts
    if "images" not in parts:
        return open_tree(folder), ""
    last = len(parts) - 1 - parts[::-1].index("images")
    return open_tree(Path(*parts[:last])), "/".join(parts[last:]) + "/"


def _pairs_of_folder(source: Source, top: Tree, prefix: str, problems: Problems) -> list[_Pair]:
    names = top.names()
    images = [name for name in names if name.startswith(prefix) and is_image(name)]
    there = {name for name in names if name.endswith(".txt")}
    used = {_label_name(image) for image in images}
    folder = _label_name(f"{prefix}x").removesuffix("x.txt")
    if folder:  # labels beside the images may have other text files among them
        _mention_orphans((n for n in there - used if n.startswith(folder)), problems)
    return [
        _Pair(*_in_root(source, top, image), top, label if label in there else None)
        for image, label in ((image, _label_name(image)) for image in images)
    ]


def _pairs_of_list(source: Source, tree: Tree, name: str, problems: Problems) -> list[_Pair]:
    lines = read_text(tree, name).splitlines()
    entries = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise DatasetError(f"{shown(name)}: expected a list of images, got an empty file")
    top, lead = _folder_of_list(tree, name, entries[0][1])
    pairs, seen = [], set()
    for number, entry in entries:
        place = Place(name, number)
        image = relative_name(relative_name(entry).removeprefix(lead))
        if image in seen:
            problems.error(
                "image-duplicate", place, f"expected each image once, got {shown(image)} again"
            )
            continue
        seen.add(image)
        label = _label_name(image)
        there = plain_name(image) is not None and top.state(label) == "file"
        pairs.append(_Pair(_in_root(source, top, image)[0], place, top, label if there else None))
    return pairs


def _folder_of_list(tree: Tree, name: str, first: str) -> tuple[Tree, str]:
    """The folder that the names of a list are relative to, and what they start with besides.

    It is that of the list, or one above it. Lists made on another machine or for another folder
    (``/home/me/data/images/a.jpg``) lose as many leading folders as it takes to find the first.
    """
    tops = [open_tree(parent) for parent in list((tree.root / name).parents)[: _LEVELS_UP + 1]]
    for top in tops:
        lead = f"{top.root.as_posix()}/"
        if top.state(relative_name(first.removeprefix(lead))) == "file":
            return top, lead
    parts = relative_name(first).split("/")
    for cut in range(1, len(parts)):
        for top in tops:
            if top.state("/".join(parts[cut:])) == "file":
                return top, "/".join(parts[:cut]) + "/"
    return tops[0], f"{tops[0].root.as_posix()}/"


def _pairs_of_labels(source: Source, names: tuple[str, ...], options: ReadOptions) -> list[_Pair]:
    tree = source.annotations
    labels = {name.removesuffix(".txt"): name for name in names if name.endswith(".txt")}
    by_stem = stems(name for name in source.images.names() if is_image(name))
    prefix = image_prefix(source.images, list(labels), by_stem=True)
    _mention_orphans((n for s, n in labels.items() if prefix + s not in by_stem), options.problems)
    pairs = []
    for stem, files in by_stem.items():
        label = labels.get(stem.removeprefix(prefix)) if stem.startswith(prefix) else None
        # In a folder of their own, images without labels belong to the split; else it is asked.
        if label or (stem.startswith(prefix) and (prefix or options.unlisted_empty)):
            pairs.append(_Pair(files[0], Place(files[0]), tree, label))
    return pairs


def _label_name(image: str) -> str:
    """Label file of an image: ``labels`` for the last ``images`` in the path, and ``.txt``.

    Example:
        >>> _label_name("images/train/a.jpg")
        'labels/train/a.txt'
    """
    head, images, tail = f"/{image}".rpartition("/images/")
    swapped = f"{head}/labels/{tail}" if images else tail
    stem, dot, _ = swapped.rpartition(".")
    return f"{stem if dot and '/' not in _ else swapped}.txt".removeprefix("/")


def _in_root(source: Source, top: Tree, image: str) -> tuple[str, Place]:
    """Name of an image of ``top`` relative to the data root, which may be above or below it."""
    root, above = (Path(os.path.realpath(tree.root)) for tree in (source.images, top))
    place = Place(image)
    if root.is_relative_to(above):
        below = "" if root == above else root.relative_to(above).as_posix() + "/"
        return (image.removeprefix(below) if image.startswith(below) else f"../{image}"), place
    if above.is_relative_to(root):
        return f"{above.relative_to(root).as_posix()}/{image}", place
    raise DatasetError(
        f"expected annotations and images under one folder, got {shown(above)} and {shown(root)}"
    )


def _mention_orphans(names: Iterable[str], problems: Problems) -> None:
    for name in sorted(names):
        if name.rpartition("/")[2] not in CLASS_FILES:
            problems.warning("label-without-image", Place(name), "expected an image of this name")


# --- rows ----------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Images and boxes as the files come in."""

    problems: Problems
    classes: int | None
    images: list[RawImage] = field(default_factory=list)
    table: list[tuple[float, ...]] = field(default_factory=list)  # image, box, class
    places: list[Place] = field(default_factory=list)
    outlines: int = 0

    def add(self, pair: _Pair) -> None:
        """Read the rows of one image."""
        position = len(self.images)
        self.images.append(RawImage(pair.image, None, None, pair.place))
        if pair.label is None:
            return
        try:
            text = read_text(pair.labels, pair.label, max_bytes=_MAX_LABEL_BYTES)
        except DatasetError as error:
            self.problems.error("annotation-unreadable", Place(pair.label), str(error))
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                self._row(position, line.split(), Place(pair.label, number))

    def _row(self, position: int, fields: list[str], place: Place) -> None:
        try:
            number, *values = map(float, fields)
        except ValueError:
            message = f"expected numbers, got {shown(' '.join(fields))!r}"
            self.problems.error("row-values", place, message)
            return
        outline = len(fields) >= _OUTLINE_FIELDS and len(fields) % 2 == 1
        if len(fields) != _BOX_FIELDS and not outline:
            message = f"expected class x_centre y_centre width height, got {len(fields)} values"
            self.problems.error("row-columns", place, message)
        elif not number.is_integer() or not 0 <= number < (self.classes or _MAX_CLASSES):
            limit = "" if self.classes is None else f" below {self.classes}"
            message = f"expected a class number from 0{limit}, got {shown(fields[0])}"
            self.problems.error("category-unknown", place, message)
        elif max(values) > _MOST_RELATIVE:
            message = f"expected parts of the image size (0 to 1), got {shown(' '.join(fields))}"
            self.problems.error("box-not-relative", place, message)
        else:
            self.outlines += outline
            box = _outline_box(values) if outline else _centred_box(values)
            self.table.append((position, *box, number))
            self.places.append(place)

    def mention_outlines(self, name: str) -> None:
        """Say how many outlines became boxes."""
        if self.outlines:
            message = f"{self.outlines} rows are outlines: took the box around each"
            self.problems.note("outline-boxed", Place(name), message)

    def numbered(self, name: str) -> tuple[str, ...]:
        """Names for classes that have only numbers."""
        message = f"no class names: expected one of {', '.join(CLASS_FILES)}; numbered them"
        self.problems.warning("class-unnamed", Place(name), message)
        highest = int(max((row[5] for row in self.table), default=0))
        return tuple(f"class_{n}" for n in range(highest + 1))

    def dataset(self, classes: tuple[str, ...]) -> RawDataset:
        """All that was added."""
        table = np.array(self.table, dtype=np.float64).reshape(-1, 6)
        boxes = RawBoxes(
            image=table[:, 0].astype(np.int64),
            xyxy=table[:, 1:5],
            labels=table[:, 5].astype(np.int64) + 1,
            crowd=np.zeros(len(table), np.bool_),
            place=self.places.__getitem__,
        )
        return RawDataset(classes, self.images, boxes, relative=True)


def _centred_box(values: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _outline_box(values: Sequence[float]) -> tuple[float, float, float, float]:
    xs, ys = values[0::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


# --- the row -------------------------------------------------------------------------------------


def _recognise(source: Source) -> bool:
    if source.name:
        return source.name.lower().endswith((*_YAML, ".txt"))
    names = source.annotations.names()
    return any(n.lower().endswith(".txt") or is_image(n) for n in names)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    top, tree, names = folder.path, folder.tree, folder.names
    for name in (n for n in names if "/" not in n and n.lower().endswith(_YAML)):
        if re.search(r"^names\s*:", read_text(tree, name, max_bytes=1 << 20), re.MULTILINE):
            splits = dict.fromkeys(read_yolo_config(tree, name).splits, top / name)
            yield DatasetLocation("yolo", top, ordered(splits))
            return
    labels = [n for n in names if n.endswith(".txt") and "labels" in n.split("/")[:-1]]
    if any(name.rpartition("/")[2] not in CLASS_FILES for name in labels):
        folders = {name.rpartition("/")[0] for name in labels}
        images = [_labelled_images(labels) for labels in sorted(folders)]
        there = [name for name in images if tree.has_folder(name)]
        splits = {split_name(name, there): top / name for name in there}
        if splits:
            yield DatasetLocation("yolo", top, ordered(splits))
            return
    mixed = _folders_with_labels_beside(tree, names)
    if mixed:
        splits = {split_name(name, mixed): top / name for name in mixed}
        yield DatasetLocation("yolo", top, ordered(splits))


def _folders_with_labels_beside(tree: Tree, names: tuple[str, ...]) -> list[str]:
    """Folders in which images have a text file of their name that starts with five numbers."""
    there = set(names)
    pairs = [(n, f"{n.rpartition('.')[0]}.txt") for n in names if is_image(n)]
    labels = {label.rpartition("/")[0]: label for _, label in pairs if label in there}
    return [folder for folder, label in sorted(labels.items()) if _is_label(tree, label)]


def _is_label(tree: Tree, name: str) -> bool:
    fields = read_text(tree, name, max_bytes=1 << 20).split("\n", 1)[0].split()
    try:
        return len([float(field) for field in fields]) >= 5  # noqa: PLR2004 - class and box
    except ValueError:
        return False


def _labelled_images(labels: str) -> str:
    """Folder of the images whose labels are in a folder: the last ``labels`` is ``images``."""
    head, _, tail = f"/{labels}/".rpartition("/labels/")
    return f"{head}/images/{tail}".strip("/")


LAYOUT = Layout("yolo", "YOLO data.yaml or txt in a folder labels", _recognise, _find, read_yolo)
