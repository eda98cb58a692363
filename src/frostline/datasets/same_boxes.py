"""Boxes that stand for one object twice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frostline.datasets.index import ImageRecord

__all__ = ["SameBoxes", "same_boxes"]

_ONE_CLASS = 0.9
"""IoU from which two boxes of a class are one object.

Of all pairs in the three files of GWHD 2021 10 have an IoU between 0.80 and 0.90, and 161 a larger
one; the seven pairs of BCCD above 0.90 are one cell each, annotated twice with a shift of 2 pixels.
"""
_TWO_CLASSES = 0.98
"""IoU from which two boxes of different classes are one box."""


@dataclass(frozen=True)
class SameBoxes:
    """Two boxes of an image that stand for one object.

    Attributes:
        first: Position of one in the image's record.
        second: Position of the other, larger than ``first``.
        one_class: Whether both have the same class.
        iou: Intersection over union of the two.
    """

    first: int
    second: int
    one_class: bool
    iou: float


def same_boxes(image: ImageRecord) -> Iterator[SameBoxes]:
    """Pairs of boxes with an IoU of 0.9 in one class, or of 0.98 across classes.

    Boxes of groups of objects (crowd) are compared among themselves.
    """
    if len(image.labels) < 2:  # noqa: PLR2004 - a pair
        return
    iou = np.triu(_iou(image.boxes), 1)  # (N, N)
    one_class = image.labels[:, None] == image.labels
    same = iou >= np.where(one_class, _ONE_CLASS, _TWO_CLASSES)
    same &= image.crowd[:, None] == image.crowd
    for first, second in np.argwhere(same):
        pair = int(first), int(second)
        yield SameBoxes(*pair, bool(one_class[pair]), float(iou[pair]))


def _iou(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU of each box with each, (N, N) for xyxy (N, 4)."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(shared / (area[:, None] + area - shared))
