"""COCO object detection json (https://cocodataset.org/#format-data)."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.json_lines import EntryLines
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_coco"]

_JSON = (".json", ".json.gz")
_TABLES = ("images", "annotations", "categories")
_GROUP_KEYS = ("group", "source", "domain")
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "", "none", "null")
_HUGE = 1e15  # beyond this a number is no pixel, and an integer of JSON may not fit a float


def read_coco(source: Source, options: ReadOptions) -> RawDataset:
    """Read a COCO json.

    Classes are the categories in the order of their ids. An image's group is its ``group``,
    ``source`` or ``domain``, the first that is there. Boxes are ``x, y, width, height``;
    segmentations are not read, so the size of an object is the size of its box.

    Raises:
        DatasetError: If the file is not COCO, or at the first problem (see `ReadOptions`).
    """
    name = source.name
    tables = _tables(read_text(source.annotations, name), name)
    options.problems.number_lines(name, EntryLines(source.annotations, name))
    used = {_whole(entry.get("category_id")) for entry in tables["annotations"] if _is_map(entry)}
    labels, classes = _categories(tables["categories"], used, name, options.problems)
    images, positions = _images(tables["images"], name, options.problems)
    boxes = _boxes(tables["annotations"], name, labels, positions, options.problems)
    return RawDataset(classes, images, boxes)


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
    entries: list[Any], used: Collection[int | None], name: str, problems: Problems
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Category id to label, and the class names in the order of the ids, each once."""
    names: dict[int, str] = {}
    for n, entry in enumerate(entries):
        number = _integer(entry, "id")
        if number is None or not isinstance(entry.get("name"), str) or not entry["name"]:
            expected = "an integer id and a name"
        elif number in names:
            expected = "another id than before"
        else:
            names[number] = entry["name"]
            continue
        place = problems.numbered(Place(name, entry=f"categories[{n}]"))
        raise DatasetError(f"{place}: expected {expected}, got {shown(entry)}")
    for number in _supercategories(entries, names, used):
        message = f"{shown(names.pop(number))} has no boxes and stands above others: no class"
        problems.note("class-above", Place(name), message)
    ids = sorted(names)
    classes = tuple(dict.fromkeys(names[number] for number in ids))
    if len(classes) < len(ids):
        message = f"{len(ids) - len(classes)} ids have the name of another: one class for both"
        problems.note("class-merged", Place(name), message)
    label = {class_name: n for n, class_name in enumerate(classes, 1)}
    return {number: label[names[number]] for number in ids}, classes


def _supercategories(
    entries: list[Any], names: dict[int, str], used: Collection[int | None]
) -> list[int]:
    """Ids without boxes that others name as what they belong to, as one exporter writes them."""
    above = [(entry.get("supercategory"), entry.get("name")) for entry in entries]
    named = {above_it for above_it, own in above if isinstance(above_it, str) and above_it != own}
    self_named = {own for above_it, own in above if above_it == own}
    found = [n for n, own in names.items() if own in named - self_named and n not in used]
    return found if len(found) < len(names) else []


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
    return RawImage(file, known, group, place)


def _is_map(entry: Any) -> bool:
    return isinstance(entry, Mapping)


def _integer(entry: Any, key: str) -> int | None:
    return _whole(entry.get(key)) if isinstance(entry, Mapping) else None


def _whole(value: Any) -> int | None:
    """A whole number, also one written as text or with a point."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _number(value: Any) -> float | None:
    """A number, also one written as text; None for anything else, and for true and false."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if not abs(value) >= _HUGE else math.inf
    return None


def _identity(entry: Any) -> int | str | None:
    """Image ids are integers by the definition; text is met in exported files."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _known(value: Any, known: Collection[Any]) -> Any:
    """An id as it is known: ``"7"`` and 7 are one where only one of them is there."""
    if isinstance(value, int | str) and not isinstance(value, bool) and value not in known:
        other = str(value) if isinstance(value, int) else _whole(value)
        return other if other in known else value
    return value


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
    image, category = _known(entry.get("image_id"), positions), _integer(entry, "category_id")
    if not isinstance(image, int | str) or isinstance(image, bool) or image not in positions:
        raise _BadEntryError("image-unknown", f"expected the id of an image, got {shown(image)}")
    if category not in labels:
        raise _BadEntryError(
            "category-unknown",
            f"expected the id of a category ({shown(', '.join(map(str, labels)))}), "
            f"got {shown(entry.get('category_id'))}",
        )
    crowd = _crowd(entry.get("iscrowd"))
    return [positions[image], labels[category], crowd, *_four_numbers(entry.get("bbox"))]


def _crowd(value: Any) -> bool:
    """Whether ``iscrowd`` is set: a number or a word, also as text; unset where it is left out."""
    word = str(value).strip().lower()
    if value is None or word in _NO:
        return False
    if word in _YES:
        return True
    raise _BadEntryError("annotation-entry", f"expected iscrowd 0 or 1, got {shown(value)}")


def _four_numbers(box: Any) -> list[float]:
    """Values of a box; NaN stays NaN and is judged with the other boxes."""
    if isinstance(box, list) and len(box) == 4:  # noqa: PLR2004 - x, y, width, height
        numbers = [_number(value) for value in box]
        if None not in numbers:
            return [math.nan if n is None else n for n in numbers]
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
        yield DatasetLocation("coco", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout("coco", "COCO json", _recognise, _find, read_coco)
