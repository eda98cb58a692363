"""Overlap of boxes."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["box_iou"]

_Floats = npt.NDArray[np.float64]


def box_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> _Floats:
    """Intersection over union of every box of one set with every box of another.

    Args:
        a: (N, 4) as ``xyxy``.
        b: (M, 4) as ``xyxy``.

    Returns:
        float64 (N, M) in [0, 1]; 0 where neither box has an area.
    """
    width, height = (
        np.minimum.outer(a[:, axis + 2], b[:, axis + 2]) - np.maximum.outer(a[:, axis], b[:, axis])
        for axis in (0, 1)
    )
    overlap = width.clip(min=0) * height.clip(min=0)
    union = _area(a)[:, None] + _area(b) - overlap
    iou: _Floats = np.divide(overlap, union, out=np.zeros(overlap.shape), where=union > 0)
    return iou


def _area(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area: npt.NDArray[Any] = width * height
    return area
