"""COCO object detection json (https://cocodataset.org/#format-data)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.json_kinds import COCO_TABLES, JSON, json_kind
from frostline.datasets.json_lines import EntryLines
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.outlines import box_of
from frostline.datasets.painting import Outlined, painted_mask, with_background
from frostline.datasets.raw import (
    RawBoxes,
    RawDataset,
    RawImage,
    ReadOptions,
    Source,
    mention_sizes,
    no_boxes,
)
from frostline.datasets.targets import IGNORED
from frostline.datasets.text import read_text
from frostline.datasets.values import as_number, json_of_text, numbers, whole
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_coco"]

_GROUP_KEYS = ("group", "source", "domain")
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "", "none", "null")


def read_coco(source: Source, options: ReadOptions) -> RawDataset:
    """Read a COCO json.

    Classes are the categories in the order of their ids. An image's group is its ``group``,
    ``source`` or ``domain``, the first that is there. Boxes are ``x, y, width, height``; where an
    object has none, or one of zeros, it is the box around its segmentation. Image sizes that are
    missing or 0 are those of the pictures. Both are counted in a note.

    Where masks are wanted (``source.masks.outlines``), segmentations are painted (see `painting`);
    class 0 is the background.

    Raises:
        DatasetError: If the file is not COCO, or at the first problem (see `ReadOptions`).
    """
    name = source.name
    tables = _tables(read_text(source.annotations, name, problems=options.problems), name)
    options.problems.number_lines(name, EntryLines(source.annotations, name))
    used = {whole(entry.get("category_id")) for entry in tables["annotations"] if _is_map(entry)}
    labels, classes = _categories(tables["categories"], used, name, options.problems)
    images, positions = _images(tables["images"], name, options.problems)
    mention_sizes(images, name, options.problems)
    if source.masks.outlines:
        return _painted(source, tables["annotations"], (labels, classes), (images, positions),
                        options)  # fmt: skip
    boxes = _boxes(tables["annotations"], name, labels, positions, options.problems)
    named = {number: classes[label - 1] for number, label in labels.items()}
    return RawDataset(classes, images, boxes, categories=named)


def _tables(text: str, name: str) -> dict[str, list[Any]]:
    data = json_of_text(text, name, "COCO JSON")
    tables = {}
    for key in COCO_TABLES:
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
    if None in size and any(entry.get(key) not in (None, "") for key in ("width", "height")):
        problems.error(
            "image-entry", place, f"expected integer width and height, got {shown(entry)}"
        )
        return None
    groups = [entry[key] for key in _GROUP_KEYS if isinstance(entry.get(key), str | int)]
    group = str(groups[0]) if groups else None
    known = (size[0], size[1]) if size[0] and size[1] else None  # 0: the writer did not know it
    return RawImage(file, known, group, place, number=_identity(entry))


def _is_map(entry: Any) -> bool:
    return isinstance(entry, Mapping)


def _integer(entry: Any, key: str) -> int | None:
    return whole(entry.get(key)) if isinstance(entry, Mapping) else None


def _identity(entry: Any) -> int | str | None:
    """Image ids are integers by the definition; text is met in exported files."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _known(value: Any, known: Collection[Any]) -> Any:
    """An id as it is known: ``"7"`` and 7 are one where only one of them is there."""
    if isinstance(value, int | str) and not isinstance(value, bool) and value not in known:
        other = str(value) if isinstance(value, int) else whole(value)
        return other if other in known else value
    return value


def _painted(
    source: Source,
    entries: list[Any],
    known: tuple[dict[int, int], tuple[str, ...]],
    listed: tuple[list[RawImage], dict[Any, int]],
    options: ReadOptions,
) -> RawDataset:
    """The data set with masks instead of boxes.

    Args:
        source: of the annotation file.
        entries: its annotations.
        known: label by category id, and the categories' names.
        listed: images, and their position by id.
        options: how it is read.

    Raises:
        DatasetError: the study says what pixels mean, there are too many classes, or at the first
            problem.
    """
    name, (labels, categories), (images, positions) = source.name, known, listed
    if source.masks.said:
        raise DatasetError(
            f"{shown(name)}: data.masks is of layout masks, expected none: classes are the "
            "categories, and what no object covers is background"
        )
    classes = options.classes or with_background(categories)
    if len(classes) > IGNORED:
        raise DatasetError(f"{shown(name)}: expected at most {IGNORED} classes, got {len(classes)}")
    places = {number: categories[label - 1] for number, label in labels.items()}
    objects = _outlined(entries, name, places, classes, positions, options.problems)
    where = (source.annotations.root, name)
    return RawDataset(
        classes,
        images,
        no_boxes(),
        paint=lambda n, size: painted_mask(
            where, size, objects.get(n, ()), len(classes), options.problems
        ),
    )


def _outlined(
    entries: list[Any],
    name: str,
    categories: dict[int, str],
    classes: Sequence[str],
    positions: dict[Any, int],
    problems: Problems,
) -> dict[int, list[Outlined]]:
    """What is painted, by the position of its image, in the order of the file."""
    labels = {n: classes.index(own) for n, own in categories.items() if own in classes}
    found: dict[int, list[Outlined]] = {}
    seen: set[int | str] = set()
    for n, entry in enumerate(entries):
        place = Place(name, entry=f"annotations[{n}]")
        try:
            image, label, crowd = _whose(entry, labels, positions, seen)
            if not entry.get("segmentation"):
                raise _BadEntryError("outline-missing", "expected a segmentation, got a box alone")
        except _BadEntryError as bad:
            problems.error(bad.args[0], place, bad.args[1])
            continue
        one = Outlined(label, bool(crowd), entry["segmentation"], f"annotations[{n}]")
        found.setdefault(image, []).append(one)
    return found


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
    outlined = 0
    for n, entry in enumerate(entries):
        try:
            row = _row(entry, labels, positions, seen)
            outlined += _has_no_box(entry)
        except _BadEntryError as bad:
            problems.error(bad.args[0], Place(name, entry=f"annotations[{n}]"), bad.args[1])
            continue
        if row[0] >= 0:  # -1: its image was left out, and counted there
            rows.append([*row, n])
    if outlined:
        message = f"{outlined} objects have an outline and no bbox: the box around it is used"
        problems.note("outline-boxed", Place(name), message)
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
    image, label, crowd = _whose(entry, labels, positions, seen)
    box = _around(entry) if _has_no_box(entry) else _four_numbers(entry.get("bbox"))
    return [image, label, crowd, *box]


def _whose(
    entry: Any, labels: dict[int, int], positions: dict[Any, int], seen: set[int | str]
) -> tuple[int, int, bool]:
    """Position of the image (-1 for one that was left out), label, crowd."""
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
    return positions[image], labels[category], _crowd(entry.get("iscrowd"))


def _crowd(value: Any) -> bool:
    """Whether ``iscrowd`` is set: a number or a word, also as text; unset where it is left out."""
    word = str(value).strip().lower()
    if value is None or word in _NO:
        return False
    if word in _YES:
        return True
    raise _BadEntryError("annotation-entry", f"expected iscrowd 0 or 1, got {shown(value)}")


def _has_no_box(entry: Mapping[str, Any]) -> bool:
    """Whether an object has an outline, and no box or one of zeros."""
    if not entry.get("segmentation"):
        return False
    box = entry.get("bbox")
    return not box or (isinstance(box, list) and all(as_number(value) == 0 for value in box))


def _around(entry: Mapping[str, Any]) -> list[float]:
    """The box around an outline, as `_four_numbers` has it."""
    try:
        box = box_of(entry["segmentation"])
    except DatasetError as error:
        raise _BadEntryError("outline-entry", str(error)) from error
    if box is None:
        message = f"expected an outline around pixels, got {shown(entry['segmentation'])}"
        raise _BadEntryError("outline-entry", message)
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _four_numbers(box: Any) -> tuple[float, ...]:
    """Values of a box; NaN stays NaN and is judged with the other boxes."""
    found = numbers(box, 4)
    if found is None:
        raise _BadEntryError("box-entry", f"expected bbox [x, y, width, height], got {shown(box)}")
    return found


def _recognise(source: Source) -> bool:
    """Also JSON that is nothing else, which is told when it is read."""
    is_json = source.name.lower().endswith(JSON)
    return is_json and json_kind(source.annotations, source.name) in ("coco", "")


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.count("/") <= 1]
    mine = [name for name in files if json_kind(folder.tree, name) == "coco"]
    if mine:
        yield DatasetLocation("coco", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout("coco", "COCO json", _recognise, _find, read_coco)
