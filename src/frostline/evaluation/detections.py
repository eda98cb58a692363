"""The detections of one image, and COCO's result list."""

import math
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from frostline.datasets import DatasetIndex
from frostline.errors import DatasetError

__all__ = [
    "Detections",
    "check_detections",
    "from_coco_results",
    "group_members",
    "to_coco_results",
    "xywh_from_xyxy",
    "xyxy_from_xywh",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_LISTED = 8  # ids that a message names


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image.

    Anything that numpy can read is taken and copied; the arrays are read-only afterwards.

    Attributes:
        boxes: float64 (N, 4), ``x1, y1, x2, y2`` in pixels of the image as annotated (not of the
            resized one), finite, ``x2 >= x1`` and ``y2 >= y1``. They may reach outside the image.
        scores: float64 (N,) in [0, 1], in any order.
        labels: int64 (N,), 1-based index into the classes of the data set.

    Raises:
        DatasetError: Lengths differ, or a value is outside the bounds above.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _read_only(self.boxes, np.float64, "boxes", columns=4))
        object.__setattr__(self, "scores", _read_only(self.scores, np.float64, "scores"))
        object.__setattr__(self, "labels", _read_only(self.labels, np.int64, "labels"))
        _check_values(self.boxes, self.scores, self.labels)

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, mask: npt.NDArray[np.bool_]) -> "Detections":
        """The detections where ``mask``, bool (N,), is true, in the same order."""
        return Detections(self.boxes[mask], self.scores[mask], self.labels[mask])

    @classmethod
    def none(cls) -> "Detections":
        """An image in which nothing was found."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def to_coco_results(
    index: DatasetIndex, detections: Sequence[Detections], *, own_ids: bool = True
) -> list[dict[str, Any]]:
    """COCO's result list, as ``pycocotools.COCO.loadRes`` reads it.

    Args:
        index: The data set.
        detections: One entry per image of ``index``, in its order.
        own_ids: Whether ids are those of the annotation file, where it has any (COCO). Else image
            ids are 1, 2, ... in the order of ``index.images`` and category ids are labels, as in
            ``index.to_coco()``.

    Returns:
        One dict per detection: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in
        pixels) and ``score``.

    Raises:
        DatasetError: There are more or fewer entries than images, a label has no class, or a class
            no id in the annotation file.
    """
    check_detections(index, detections)
    ids = _ids(index, own_ids)
    categories = {label: number for number, label in reversed(ids.labels.items())}
    if nameless := [name for n, name in enumerate(index.classes, 1) if n not in categories]:
        raise DatasetError(
            f"expected a category id for each class, the annotation file has none for "
            f"{nameless[0]!r}; own_ids=False numbers classes from 1"
        )
    return [
        {"image_id": image_id, "category_id": categories[label], "bbox": box, "score": score}
        for image_id, found in zip(ids.positions, detections, strict=True)
        for box, score, label in zip(
            xywh_from_xyxy(found.boxes).tolist(),
            found.scores.tolist(),
            found.labels.tolist(),
            strict=True,
        )
    ]


class _Ids(NamedTuple):
    """Position by image id, and label by category id."""

    positions: dict[int | str, int]
    labels: dict[int, int]


def _ids(index: DatasetIndex, own: bool) -> _Ids:
    """Ids of the annotation file, where it has any and they are asked for; else from 1."""
    classes = {name: label for label, name in enumerate(index.classes, start=1)}
    numbers = [image.number for image in index.images]
    if own and index.categories and None not in numbers:
        named = {number: classes[name] for number, name in index.categories.items()
                 if name in classes}  # fmt: skip
        known = {number: n for n, number in enumerate(numbers) if number is not None}
        return _Ids(known, named)
    positions: dict[int | str, int] = {n + 1: n for n in range(len(numbers))}
    return _Ids(positions, {label: label for label in classes.values()})


def from_coco_results(
    index: DatasetIndex, results: Sequence[Mapping[str, Any]], *, own_ids: bool = True
) -> tuple[Detections, ...]:
    """Detections per image from COCO's result list, the inverse of ``to_coco_results``.

    Corners may differ from the originals in the last bit, because x + width rounds.

    Args:
        index: The data set that the ids refer to.
        results: Dicts with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and
            ``score``; other keys are ignored.
        own_ids: Whether ids are those of the annotation file, see ``to_coco_results``.

    Returns:
        One entry per image of ``index``; the order within an image is that of ``results``.

    Raises:
        DatasetError: An entry lacks a key, is malformed, or names an image or category that
            ``index`` does not have. The message gives the entry's position, counted from 0.
    """
    per_image: list[list[_Row]] = [[] for _ in index.images]
    ids = _ids(index, own_ids)
    for position, result in enumerate(results):
        row = _read_result(result, position, ids)
        per_image[row.image].append(row)
    return tuple(_stack(rows) for rows in per_image)


def check_detections(index: DatasetIndex, detections: Sequence[Detections]) -> None:
    """Raise DatasetError unless there are images, one entry each, and every label has a class."""
    if not index.images:
        raise DatasetError("expected at least one image to evaluate on, got an index with none")
    if len(detections) != len(index.images):
        raise DatasetError(
            f"expected detections for {len(index.images)} images, got {len(detections)} entries; "
            "give one Detections per image of the index, in its order (Detections.none() if empty)"
        )
    for record, found in zip(index.images, detections, strict=True):
        if found.labels.max(initial=1) > len(index.classes):
            raise DatasetError(
                f"{record.file}: expected labels 1 to {len(index.classes)}, got "
                f"{found.labels.max()}; labels are 1-based indices into {list(index.classes)}"
            )


def group_members(index: DatasetIndex) -> dict[str, list[int]]:
    """Group name -> positions of its images, names sorted."""
    members: dict[str, list[int]] = {}
    for position, record in enumerate(index.images):
        if record.group is not None:
            members.setdefault(record.group, []).append(position)
    return dict(sorted(members.items()))


def xywh_from_xyxy(boxes: FloatArray) -> FloatArray:
    """Boxes (N, 4) from corners ``x1, y1, x2, y2`` to COCO's ``x, y, width, height``."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xyxy_from_xywh(boxes: FloatArray) -> FloatArray:
    """Boxes (N, 4) from COCO's ``x, y, width, height`` to corners ``x1, y1, x2, y2``."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _read_only(
    value: npt.ArrayLike, dtype: type[np.generic], name: str, columns: int | None = None
) -> npt.NDArray[Any]:
    """A read-only copy of shape (N,), or (N, columns), refusing what a cast would spoil."""
    given = np.asarray(value)
    if given.shape == (0,):  # [] reads as float64 whatever was meant
        given = np.zeros((0,) if columns is None else (0, columns), dtype)
    expected = "(N,)" if columns is None else f"(N, {columns})"
    if given.ndim == 0 or given.shape[1:] != (() if columns is None else (columns,)):
        raise DatasetError(f"detections: expected {name} of shape {expected}, got {given.shape}")
    if not np.can_cast(given.dtype, dtype, casting="safe"):
        raise DatasetError(
            f"detections: expected {name} as {dtype.__name__}, got {given.dtype}; convert them"
        )
    copy = np.array(given, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


def _check_values(boxes: FloatArray, scores: FloatArray, labels: IntArray) -> None:
    if not len(boxes) == len(scores) == len(labels):
        raise DatasetError(
            "detections: expected one box, score and label each, got "
            f"{len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels"
        )
    bad_box = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    for bad, expected, values in (
        (bad_box, "finite boxes with x2 >= x1 and y2 >= y1", boxes),
        (~((scores >= 0) & (scores <= 1)), "scores from 0 to 1", scores),
        (labels < 1, "labels of at least 1 (0 is the background)", labels),
    ):
        if bad.any():
            first = int(bad.argmax())
            raise DatasetError(
                f"detections: expected {expected}, got {values[first].tolist()} at position {first}"
            )


class _Row(NamedTuple):
    """One COCO result: position of its image, box, score, label."""

    image: int
    xywh: list[float]
    score: float
    label: int


def _read_result(result: Mapping[str, Any], position: int, ids: _Ids) -> _Row:
    try:
        image, category = result["image_id"], operator.index(result["category_id"])
        image = image if isinstance(image, str) else operator.index(image)
        xywh, score = [float(value) for value in result["bbox"]], float(result["score"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"result {position}: expected image_id, category_id, bbox and score, "
            f"got {result!r:.120} ({type(error).__name__}: {error})"
        ) from error
    for expected, holds in (
        (f"image_id {_span(ids.positions)}", image in ids.positions),
        (f"category_id {_span(ids.labels)}", category in ids.labels),
        ("bbox [x, y, width, height], finite, no negative size", _is_xywh(xywh)),
        ("score 0 to 1", 0 <= score <= 1),
    ):
        if not holds:
            raise DatasetError(f"result {position}: expected {expected}, got {result!r:.120}")
    return _Row(ids.positions[image], xywh, score, ids.labels[category])


def _span(known: Collection[int | str]) -> str:
    """Ids for a message: ``1 to 7``, or the first few of those that leave some out."""
    names = list(known)
    if names == list(range(1, len(names) + 1)):
        return f"1 to {len(names)}"
    listed = ", ".join(str(name) for name in names[:_LISTED])
    return f"of the annotation file ({listed}{', …' if len(names) > _LISTED else ''})"


def _is_xywh(box: list[float]) -> bool:
    return len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0  # noqa: PLR2004


def _stack(rows: list[_Row]) -> Detections:
    if not rows:
        return Detections.none()
    _, boxes, scores, labels = zip(*rows, strict=True)
    return Detections(xyxy_from_xywh(np.array(boxes)), np.array(scores), np.array(labels))
