"""YOLO text files: ``class x_centre y_centre width height`` in parts of the image size.

Layout of https://docs.ultralytics.com/datasets/detect: a text file an image, in a folder
``labels`` beside ``images``, or beside the images; ``data.yaml`` gives class names and splits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from frostline.datasets.files import is_image
from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import ordered, splits_of
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.datasets.yolo_config import (
    CLASS_FILES,
    YAML,
    YoloClasses,
    read_classes,
    read_yolo_config,
)
from frostline.datasets.yolo_pairs import Pair, labelled_folders, yolo_pairs
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_yolo"]

_MAX_LABEL_BYTES = 1 << 26
_MAX_CLASSES = 10_000
_BOX_FIELDS = 5
_OUTLINE_FIELDS = 7  # class and three points
_SLACK = 0.002  # of the image size, by which rounded points may leave their box
_MOST_RELATIVE = 2.0  # a part of the image size beyond this is a number of pixels


def read_yolo(source: Source, options: ReadOptions) -> RawDataset:
    """Read the splits of a ``data.yaml``, a list of images, a folder of images, or of labels.

    An image without a text file, or with an empty one, has no boxes. Rows of more than four
    numbers are outlines or the corners of turned boxes: the box around them is used, and counted
    in a note; where ``kpt_shape`` says so, they are a box and points. Without class names
    (`CLASS_FILES`, in the folder or above it) numbers are those of ``options.classes``, or else
    classes are called ``class_0`` and so on, with a warning.

    Raises:
        DatasetError: If there are no images or no labels, or at the first problem.
    """
    pairs = yolo_pairs(source, options)
    name = shown(source.name or source.annotations.root.name)
    if not any(pair.label for pair in pairs):
        warned = [f.message for f in options.problems.found if f.code == "labels-unused"]
        raise DatasetError(
            f"expected YOLO label files for the images of {name}, found none; they belong in a "
            f"folder 'labels' beside the folder 'images'{''.join(f'; {m}' for m in warned)}"
        )
    rows = _Rows(options.problems, _numbered(source, options))
    if source.name.lower().endswith(YAML):
        config = read_yolo_config(source.annotations, source.name)
        rows.points, rows.told_outlines = config.points, config.outlines
    for pair in pairs:
        rows.add(pair)
    rows.mention(name)
    return rows.dataset(rows.classes.names if rows.classes else rows.numbered(name))


def _numbered(source: Source, options: ReadOptions) -> YoloClasses | None:
    """Names by number: of a file of names, or those asked for."""
    classes = read_classes(source, options.problems)
    if classes is None and options.classes is not None:
        numbers = {n: n + 1 for n in range(len(options.classes))}
        return YoloClasses(options.classes, numbers)
    return classes


# --- rows ----------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Images and boxes as the files come in."""

    problems: Problems
    classes: YoloClasses | None
    points: int = 0  # numbers behind the box
    told_outlines: bool = False
    images: list[RawImage] = field(default_factory=list)
    table: list[tuple[float, ...]] = field(default_factory=list)  # image, box, label
    places: list[Place] = field(default_factory=list)
    outlines: list[tuple[float, ...]] = field(default_factory=list)
    posed: int = 0

    def add(self, pair: Pair) -> None:
        """Read the rows of one image."""
        position = len(self.images)
        self.images.append(pair.image)
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
        pose = len(fields) == _BOX_FIELDS + self.points
        outline = len(fields) >= _OUTLINE_FIELDS and len(fields) % 2 == 1 and not self.points
        if len(fields) != _BOX_FIELDS and not pose and not outline:
            behind = f" and {self.points} numbers of points" if self.points else ""
            message = (
                f"expected class x_centre y_centre width height{behind}, got {len(fields)} values"
            )
            self.problems.error("row-columns", place, message)
        elif not number.is_integer() or self._label(int(number)) is None:
            message = f"expected a class number{self._limit()}, got {shown(fields[0])}"
            self.problems.error("category-unknown", place, message)
        elif max(values if outline else values[:4]) > _MOST_RELATIVE:
            message = f"expected parts of the image size (0 to 1), got {shown(' '.join(fields))}"
            self.problems.error("box-not-relative", place, message)
        else:
            self.outlines += [tuple(values)] if outline else []
            self.posed += len(fields) > _BOX_FIELDS and not outline
            box = _outline_box(values) if outline else _centred_box(values[:4])
            self.table.append((position, *box, self._label(int(number)) or 0))
            self.places.append(place)

    def _label(self, number: int) -> int | None:
        if self.classes is None:
            return number + 1 if 0 <= number < _MAX_CLASSES else None
        return self.classes.labels.get(number)

    def _limit(self) -> str:
        if self.classes is None:
            return " from 0"
        numbers = sorted(self.classes.labels)
        if numbers == list(range(len(numbers))):
            return f" from 0 below {len(numbers)}"
        return f" out of {shown(', '.join(map(str, numbers)))}"

    def mention(self, name: str) -> None:
        """Say how many outlines became boxes, and how many rows have points.

        Raises:
            DatasetError: If rows look like a box and points, and nothing says what they are.
        """
        if self.outlines and not self.told_outlines and _like_poses(self.outlines):
            numbers = len(self.outlines[0])
            raise DatasetError(
                f"{name}: rows of {numbers} numbers look like a box and points, and may be "
                f"outlines: write kpt_shape: [{(numbers - 4) // 2}, 2], or task: segment, into a "
                f"data.yaml"
            )
        if self.outlines:
            message = f"{len(self.outlines)} rows are outlines: took the box around each"
            self.problems.note("outline-boxed", Place(name), message)
        if self.posed:
            message = f"{self.posed} rows have points behind the box: the points are not read"
            self.problems.note("points-unread", Place(name), message)

    def numbered(self, name: str) -> tuple[str, ...]:
        """Names for classes that have only numbers."""
        message = f"no class names: expected one of {', '.join(CLASS_FILES)}; numbered them"
        self.problems.warning("class-unnamed", Place(name), message)
        highest = int(max((row[5] for row in self.table), default=1))
        return tuple(f"class_{n}" for n in range(highest))

    def dataset(self, classes: tuple[str, ...]) -> RawDataset:
        """All that was added."""
        table = np.array(self.table, dtype=np.float64).reshape(-1, 6)
        boxes = RawBoxes(
            image=table[:, 0].astype(np.int64),
            xyxy=table[:, 1:5],
            labels=table[:, 5].astype(np.int64),
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


def _like_poses(rows: Sequence[Sequence[float]]) -> bool:
    """Whether all rows are as long, with points inside the box that the first four would be.

    Of outlines that may be true by chance, but then the second point, read as width and height,
    is inside that box too; of a pose it is not, unless the box is large.
    """
    if len({len(row) for row in rows}) != 1:
        return False
    table = np.array(rows, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        low, high = table[:, :2] - table[:, 2:4] / 2, table[:, :2] + table[:, 2:4] / 2  # (N, 2)
        points = table[:, 4:].reshape(len(table), -1, 2)
        inside = (points >= low[:, None] - _SLACK) & (points <= high[:, None] + _SLACK)
        boxes = bool(((low >= -_SLACK) & (high <= 1 + _SLACK)).all())
        second = (table[:, 2:4] < low - _SLACK) | (table[:, 2:4] > high + _SLACK)
    return boxes and bool(inside.all()) and bool(second.any())


# --- the row -------------------------------------------------------------------------------------


def _recognise(source: Source) -> bool:
    if source.name:
        return source.name.lower().endswith((*YAML, ".txt"))
    names = source.annotations.names()
    return any(n.lower().endswith(".txt") or is_image(n) for n in names)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    configs = [name for name in folder.names if _is_config(folder, name)]
    for name in sorted(configs, key=lambda n: (n != folder.named, n.count("/"), n))[:1]:
        splits = read_yolo_config(folder.tree, name).splits
        path = folder.path / name
        if splits:  # without, it says no more than the names of the classes
            yield DatasetLocation("yolo", path.parent, ordered(dict.fromkeys(splits, path)))
            return
    labelled = labelled_folders(folder.tree, folder.names)
    if labelled:
        yield DatasetLocation("yolo", folder.path, splits_of(folder, labelled))


def _is_config(folder: Folder, name: str) -> bool:
    """Whether a file is a ``data.yaml``, in the folder or one in it."""
    if name.count("/") > 1 or not name.lower().endswith(YAML):
        return False
    text = read_text(folder.tree, name, max_bytes=1 << 20)
    return re.search(r"^names\s*:", text, re.MULTILINE) is not None


LAYOUT = Layout("yolo", "YOLO data.yaml or txt in a folder labels", _recognise, _find, read_yolo)
