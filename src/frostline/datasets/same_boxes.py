"""Boxes that stand for one object twice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frostline.boxes import box_iou
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
    iou = np.triu(box_iou(image.boxes, image.boxes), 1)  # (N, N)
    one_class = image.labels[:, None] == image.labels
    same = iou >= np.where(one_class, _ONE_CLASS, _TWO_CLASSES)
    same &= image.crowd[:, None] == image.crowd
    for first, second in np.argwhere(same):
        pair = int(first), int(second)
        yield SameBoxes(*pair, bool(one_class[pair]), float(iou[pair]))
