"""COCO object detection json (https://cocodataset.org/#format-data)."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from frostline.datasets.files import relative_name
from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.json_lines import EntryLines
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import images_folder, ordered, split_name
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_coco"]

_JSON = (".json", ".json.gz")
_TABLES = ("images", "annotations", "categories")
_GROUP_KEYS = ("group", "source", "domain")
_HUGE = 1e15  # beyond this a number is no pixel, and an integer of JSON may not fit a float


def read_coco(source: Source, options: ReadOptions) -> RawDataset:
    """Read a COCO json.

    Classes are the categories in the order of their ids. An image's group is its ``group``,
    ``source`` or ``domain``, the first that is there. Boxes are ``x, y, width, height``;
    segmentations are not read, so the size of an object is the size of its box. Where the images
    are not at the root as named, they are looked for in one folder below it (``train/``).

    Raises:
        DatasetError: If the file is not COCO, or at the first problem (see `ReadOptions`).
    """
    name = source.name
    tables = _tables(read_text(source.annotations, name), name)
    options.problems.number_lines(name, EntryLines(source.annotations, name))
    labels, classes = _categories(tables["categories"], name, options.problems)
    images, positions = _images(tables["images"], name, options.problems)
    boxes = _boxes(tables["annotations"], name, labels, positions, options.problems)
    prefix = source.image_prefix([image.file for image in images])
    return RawDataset(classes, [replace(i, file=prefix + i.file) for i in images], boxes)


def _tables(text: str, name: str) -> dict[str, list[Any]]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{name}, line {error.lineno}: expected JSON, got {shown(error.msg)} at column "
            f"{error.colno}; is the file complete?"
        ) from error
    except (RecursionError, ValueError) as error:  # nested thousands deep, or a number too long
        raise DatasetError(f"{name}: expected COCO JSON, got {shown(error)}") from error
    tables = {}
    for key in _TABLES:
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, list):
            raise DatasetError(
                f"{name}: expected COCO JSON with lists images, annotations and categories, "
                f"found no list {key!r}"
            )
        tables[key] = value
    return tables


def _categories(
    entries: list[Any], name: str, problems: Problems
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Category id to label, and the class names in the order of the ids."""
    names: dict[int, str] = {}
    for n, entry in enumerate(entries):
        number = _integer(entry, "id")
        expected = None
        if number is None or not isinstance(entry.get("name"), str) or not entry["name"]:
            expected = "an integer id and a name"
        elif number in names or entry["name"] in names.values():
            expected = "another id and name than before"
        if number is None or expected:
            place = problems.numbered(Place(name, entry=f"categories[{n}]"))
            raise DatasetError(f"{place}: expected {expected}, got {shown(entry)}")
        names[number] = entry["name"]
    ids = sorted(names)
    return {number: n for n, number in enumerate(ids, 1)}, tuple(names[number] for number in ids)


def _images(
    entries: list[Any], name: str, problems: Problems
) -> tuple[list[RawImage], dict[Any, int]]:
    """Images, and the position of each image id (-1 where the image was left out)."""
    images: list[RawImage] = []
    positions: dict[Any, int] = {}
    files: set[str] = set()
    for n, entry in enumerate(entries):
        place = Place(name, entry=f"images[{n}]")
        image, number = _image(entry, place, problems), _identity(entry)
        if number is None or image is None:
            if number is None:
                problems.error("image-entry", place, f"expected an image id, got {shown(entry)}")
            positions.setdefault(number, -1)
            continue
        if number in positions or image.file in files:
            what = f"id {shown(number)}" if number in positions else f"file {shown(image.file)}"
            problems.error("image-duplicate", place, f"expected each image once, got {what} again")
            positions.setdefault(number, -1)
            continue
        positions[number] = len(images)
        files.add(image.file)
        images.append(image)
    return images, positions


def _image(entry: Any, place: Place, problems: Problems) -> RawImage | None:
    file = entry.get("file_name") if isinstance(entry, Mapping) else None
    if not isinstance(file, str) or not file:
        problems.error("image-entry", place, f"expected a file_name, got {shown(entry)}")
        return None
    size = (_integer(entry, "width"), _integer(entry, "height"))
    if None in size and any(entry.get(key) is not None for key in ("width", "height")):
        problems.error(
            "image-entry", place, f"expected integer width and height, got {shown(entry)}"
        )
        return None
    groups = [entry[key] for key in _GROUP_KEYS if isinstance(entry.get(key), str | int)]
    group = str(groups[0]) if groups else None
    known = None if size[0] is None or size[1] is None else (size[0], size[1])
    return RawImage(relative_name(file), known, group, place)


def _integer(entry: Any, key: str) -> int | None:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _identity(entry: Any) -> int | str | None:
    """Image ids are integers by the definition; text is met in exported files."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


class _BadEntryError(Exception):
    """An annotation that cannot be used: code and message of the finding."""


def _boxes(
    entries: list[Any],
    name: str,
    labels: dict[int, int],
    positions: dict[Any, int],
    problems: Problems,
) -> RawBoxes:
    rows: list[list[float]] = []
    seen: set[int | str] = set()
    for n, entry in enumerate(entries):
        try:
            row = _row(entry, labels, positions, seen)
        except _BadEntryError as bad:
            problems.error(bad.args[0], Place(name, entry=f"annotations[{n}]"), bad.args[1])
            continue
        if row[0] >= 0:  # -1: its image was left out, and counted there
            rows.append([*row, n])
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    xyxy = table[:, 3:7].copy()
    xyxy[:, 2:] += xyxy[:, :2]
    return RawBoxes(
        image=table[:, 0].astype(np.int64),
        xyxy=xyxy,
        labels=table[:, 1].astype(np.int64),
        crowd=table[:, 2] != 0,
        place=lambda n: Place(name, entry=f"annotations[{int(table[n, 7])}]"),
    )


def _row(
    entry: Any, labels: dict[int, int], positions: dict[Any, int], seen: set[int | str]
) -> list[float]:
    """Position of the image, label, crowd, x, y, width, height."""
    if not isinstance(entry, Mapping):
        raise _BadEntryError("annotation-entry", f"expected an object, got {shown(entry)}")
    number = _identity(entry)
    if number in seen:
        raise _BadEntryError(
            "annotation-duplicate", f"expected each id once, got {shown(number)} again"
        )
    if number is not None:
        seen.add(number)
    image, category = entry.get("image_id"), entry.get("category_id")
    if not isinstance(image, int | str) or image not in positions:
        raise _BadEntryError("image-unknown", f"expected the id of an image, got {shown(image)}")
    if not isinstance(category, int | float) or category not in labels:
        raise _BadEntryError(
            "category-unknown",
            f"expected the id of a category ({shown(', '.join(map(str, labels)))}), "
            f"got {shown(category)}",
        )
    crowd = bool(entry.get("iscrowd", 0))
    return [positions[image], labels[int(category)], crowd, *_four_numbers(entry.get("bbox"))]


def _four_numbers(box: Any) -> list[float]:
    """Values of a box; NaN stays NaN and is judged with the other boxes."""
    four = isinstance(box, list) and len(box) == 4  # noqa: PLR2004 - x, y, width, height
    if four and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box):
        return [float(v) if not abs(v) >= _HUGE else math.inf for v in box]
    raise _BadEntryError("box-entry", f"expected bbox [x, y, width, height], got {shown(box)}")


def _recognise(source: Source) -> bool:
    return source.name.lower().endswith(_JSON)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [n for n in folder.names if n.count("/") <= 1 and n.lower().endswith(_JSON)]
    mine = []
    for name in files:
        text = read_text(folder.tree, name)
        if all(f'"{key}"' in text for key in _TABLES):
            mine.append(name)
    if mine:
        splits = {split_name(name, mine): folder.path / name for name in mine}
        yield DatasetLocation("coco", images_folder(folder), ordered(splits))


LAYOUT = Layout("coco", "COCO json", _recognise, _find, read_coco)
