"""What a YOLO ``data.yaml``, or a file of class names, says."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.datasets.files import Tree, open_tree, plain_name, relative_name
from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.named import NamedFiles, Naming, split_words
from frostline.datasets.raw import Source
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = [
    "CLASS_FILES",
    "SPLIT_KEYS",
    "YAML",
    "YoloClasses",
    "YoloConfig",
    "is_class_file",
    "read_classes",
    "read_yolo_config",
]

SPLIT_KEYS = ("train", "val", "test")
"""Keys of ``data.yaml`` that name images."""

CLASS_FILES = (
    *("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "notes.json"),
    *("_darknet.labels", "predefined_classes.txt"),
)
"""Files in which class names are looked for, in this order, and last in any ``*.names``."""

YAML = (".yaml", ".yml")
"""Endings of YAML files, in lower case."""

_NOT_REQUIRED = "test"
_LEVELS_UP = 3  # how far above the annotations class names are looked for
_MAX_CONFIG_BYTES = 1 << 20
_MAX_NUMBER = 10**9  # as a class name
_MAX_POINTS = 10_000


@dataclass(frozen=True)
class YoloClasses:
    """Class names, and which number stands for which.

    Attributes:
        names: In the order of their numbers, each once.
        labels: Number in the label files to 1-based position in ``names``.
        merged: How many numbers have a name that a smaller number has.
    """

    names: tuple[str, ...]
    labels: dict[int, int]
    merged: int = 0


@dataclass(frozen=True)
class YoloConfig:
    """What is read of a ``data.yaml``; other keys, such as ``download``, are not looked at.

    Attributes:
        classes: Class names.
        splits: Split to the folders (ending with ``/``, or empty) or list files that it names,
            relative to the folder of the file.
        absent: The test split, where it is named but not there; train and val must be.
        found: Entries that were found by the ending of their path, or in another spelling.
        points: Numbers behind the box of a row (``kpt_shape``): 0 without points.
        outlines: Whether ``task`` says that rows are outlines.
    """

    classes: YoloClasses
    splits: dict[str, tuple[str, ...]]
    absent: dict[str, str] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    points: int = 0
    outlines: bool = False


def is_class_file(name: str) -> bool:
    """Whether a file, by its name, holds class names and no boxes."""
    file = name.rpartition("/")[2].lower()
    return file in CLASS_FILES or file.endswith(".names")


def read_yolo_config(tree: Tree, name: str) -> YoloConfig:
    """Read class names and splits of a ``data.yaml``.

    Names of folders may start with ``../`` where the file was made to lie one folder deeper, as
    exporting tools write it, or with a ``path`` from another machine; they are looked for inside
    the folder of the file all the same.

    Raises:
        DatasetError: If it is not such a file, or if train or val name nothing that is inside of
            its folder.
    """
    data = _load_yaml(tree, name)
    classes = _names(data.get("names"), name)
    _check_number(data.get("nc"), classes, name)
    places = _Places(tree, data.get("path"))
    splits: dict[str, tuple[str, ...]] = {}
    absent: dict[str, str] = {}
    for key in SPLIT_KEYS:
        values = data[key] if isinstance(data.get(key), list) else [data.get(key)]
        if not any(values):
            continue
        there = [places.find(value, key) for value in values]
        missing = [value for value, place in zip(values, there, strict=True) if place is None]
        if missing and key != _NOT_REQUIRED:
            raise DatasetError(
                f"{shown(name)}: expected {key} to name a folder or a list inside the folder of "
                f"this file, got {shown(missing[0])!r}"
            )
        if missing:
            absent[key] = shown(missing[0])
        else:
            splits[key] = tuple(place for place in there if place is not None)
    points = _points(data.get("kpt_shape"), name)
    outlines = str(data.get("task")).lower() in ("segment", "obb")
    return YoloConfig(classes, splits, absent, tuple(places.found), points, outlines)


def _load_yaml(tree: Tree, name: str, problems: Problems | None = None) -> Mapping[Any, Any]:
    import yaml

    text = read_text(tree, name, max_bytes=_MAX_CONFIG_BYTES, problems=problems)
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


def _names(names: Any, file: str) -> YoloClasses:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, Mapping) and names:
        numbers = {_whole(key): value for key, value in names.items()}
        if len(numbers) == len(names) and all(map(_is_class, numbers.keys(), numbers.values())):
            return _classes({int(str(n)): str(numbers[n]) for n in sorted(numbers, key=_order)})
    raise DatasetError(
        f"{shown(file)}: expected names as a list, or by their numbers from 0, and words such as "
        f"yes, no, on, off in quotes; got {shown(names)}"
    )


def _order(number: int | None) -> int:
    return -1 if number is None else number


def _classes(by_number: Mapping[int, str]) -> YoloClasses:
    """Names in the order of their numbers, equal ones together."""
    names = tuple(dict.fromkeys(by_number.values()))
    label = {name: n for n, name in enumerate(names, 1)}
    labels = {number: label[name] for number, name in by_number.items()}
    return YoloClasses(names, labels, len(labels) - len(names))


def _whole(value: Any) -> int | None:
    """A whole number, also one in quotes."""
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        return int(value) if len(value) <= len(str(_MAX_NUMBER)) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_class(number: int | None, name: Any) -> bool:
    """Text or a number as the name; YAML reads an unquoted ``no`` as False."""
    numeric = isinstance(name, int | float) and not isinstance(name, bool)
    named = isinstance(name, str) or (numeric and abs(name) < _MAX_NUMBER)
    return named and number is not None and 0 <= number < _MAX_NUMBER


def _check_number(number: Any, classes: YoloClasses, file: str) -> None:
    """Refuse another number of classes (``nc``) than there are names."""
    allowed = (len(classes.labels), max(classes.labels) + 1)
    if number is not None and _whole(number) not in allowed:
        raise DatasetError(
            f"{shown(file)}: expected {shown(number)} names, got {len(classes.labels)}"
        )


def _points(shape: Any, file: str) -> int:
    """Numbers of a row behind its box: points times numbers of each."""
    if shape is None:
        return 0
    if isinstance(shape, str):
        shape = shape.strip("[]() ").split(",")
    values = [_whole(v.strip() if isinstance(v, str) else v) for v in _listed(shape)]
    if len(values) == 2 and values[0] in range(_MAX_POINTS) and values[1] in (2, 3):  # noqa: PLR2004
        return int(values[0] or 0) * int(values[1])
    raise DatasetError(
        f"{shown(file)}: expected kpt_shape [number of points, 2 or 3], got {shown(shape)}"
    )


def _listed(value: Any) -> Iterable[Any]:
    return value[:3] if isinstance(value, list) else ()


class _Places:
    """Folders and lists below the folder of a ``data.yaml`` that its entries may mean."""

    def __init__(self, tree: Tree, path: Any) -> None:
        self._tree, self._path = tree, path
        self.found: list[str] = []

    def find(self, value: Any, key: str) -> str | None:
        """Folder (ending with ``/``, empty for all) or list file; None if there is none."""
        if not isinstance(value, str) or not value.strip():
            return None
        for candidate in self._candidates(value):
            if candidate in ("", "."):
                return ""
            place = self._place(candidate)
            if place is not None:
                return place
        naming = Naming("", split_words(key), self._tree.root.name)
        fits = NamedFiles(self._all, lambda _: False, naming).find(value.rstrip("/\\")).fits
        if len(fits) != 1 or self._holds_others(fits[0], split_words(value) or naming.splits):
            return None
        self.found.append(value)
        return self._place(fits[0])

    def _holds_others(self, folder: str, splits: Sequence[str]) -> bool:
        """Whether a folder has folders of other splits in it: then it is not that of this one."""
        below = (n[len(folder) + 1 :] for n in self._tree.names() if n.startswith(f"{folder}/"))
        words = (split_words(name.rpartition("/")[0]) for name in below)
        return any(its and set(its).isdisjoint(splits) for its in words)

    def _place(self, name: str) -> str | None:
        plain = plain_name(name)
        if plain and self._tree.has_folder(plain):
            return f"{plain}/"
        return plain if plain and self._tree.state(plain) == "file" else None

    def _candidates(self, value: str) -> Iterator[str]:
        """Where a name may be meant to be, most likely first."""
        path = self._path
        base = relative_name(path).rstrip("/") if isinstance(path, str) else ""
        root = self._tree.root.as_posix().rstrip("/") + "/"
        name = relative_name(value)
        for full in (f"{base}/{name}", name) if base not in ("", ".") else (name,):
            yield full.removeprefix(root).rstrip("/")
            yield full.removeprefix("../").rstrip("/")  # written for a file one folder deeper

    def _all(self) -> Iterator[str]:
        names = self._tree.names()
        yield from {"/".join(n.split("/")[:k]) for n in names for k in range(1, n.count("/") + 1)}
        yield from (n for n in names if n.lower().endswith(".txt") and not self._tree.is_link(n))


# --- class names without a data.yaml -------------------------------------------------------------


def read_classes(source: Source, problems: Problems | None = None) -> YoloClasses | None:
    """Class names of the ``data.yaml`` given, or of a file of names nearby.

    It is looked for in the folder of the annotations, in the folder ``labels`` that belongs to
    it, then above.
    """
    if source.name.lower().endswith(YAML):
        return _classes_of_file(source.annotations, source.name, problems)
    top = source.annotations.root
    for folder in (top, *list(top.parents)[:_LEVELS_UP]):
        for place in dict.fromkeys((folder, _labels_of(folder), folder / "labels")):
            tree = open_tree(place)
            name = _class_file(tree)
            if name is not None:
                return _classes_of_file(tree, name, problems)
    return None


def _labels_of(folder: Path) -> Path:
    """The folder of the labels of a folder of images."""
    parts = folder.parts
    lower = [part.lower() for part in parts]
    if "images" not in lower:
        return folder
    last = len(parts) - 1 - lower[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _class_file(tree: Tree) -> str | None:
    for name in CLASS_FILES:
        if tree.state(name) == "file" and (not name.endswith(YAML) or _has_names(tree, name)):
            return name
    return next((name for name in _beside(tree) if name.lower().endswith(".names")), None)


def _beside(tree: Tree) -> Sequence[str]:
    """Names of the files of a folder itself, where there are not too many to look at."""
    try:
        return sorted(path.name for path in Path(tree.root).iterdir() if path.is_file())
    except OSError:
        return [] if Path(tree.root).is_dir() else _top_names(tree)


def _top_names(tree: Tree) -> Sequence[str]:
    try:
        return [name for name in tree.names() if "/" not in name]
    except DatasetError:
        return []


def _has_names(tree: Tree, name: str) -> bool:
    try:
        _load_yaml(tree, name)
    except DatasetError as error:
        return "with names" not in str(error)  # broken YAML is told when it is read
    return True


def _classes_of_file(tree: Tree, name: str, problems: Problems | None) -> YoloClasses:
    if name.lower().endswith(YAML):
        return _names(_load_yaml(tree, name, problems).get("names"), name)
    text = read_text(tree, name, max_bytes=_MAX_CONFIG_BYTES, problems=problems)
    if name.lower().endswith(".json"):
        return _names(_names_of_notes(text, name), name)
    return _names([line.strip() for line in text.splitlines() if line.strip()], name)


def _names_of_notes(text: str, name: str) -> dict[Any, Any]:
    """Names by number, as Label Studio writes them beside its YOLO export."""
    try:
        notes = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise DatasetError(f"{shown(name)}: expected JSON, got {shown(error)}") from error
    entries = notes.get("categories") if isinstance(notes, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{shown(name)}: expected a list categories with ids and names")
    return {entry.get("id"): entry.get("name") for entry in entries}
