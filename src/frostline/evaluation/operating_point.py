"""The score from which detections are shown: where F1 is best on the validation images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from frostline.boxes import box_iou
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.evaluation.detections import Detections, check_detections

__all__ = ["best_f1_threshold"]

_IOU = 0.5
_HIT, _MISS, _IGNORED = 1, 0, -1


def best_f1_threshold(index: DatasetIndex, detections: Sequence[Detections]) -> float | None:
    """The score threshold with the best F1 at IoU .5, for all classes and images together.

    In order of score each detection takes the best box of its class that is not yet taken, from an
    IoU of .5 on. F1 = 2 TP / (2 TP + FP + FN); what lies by half or more in a crowd region of its
    class counts as neither right nor wrong.

    Args:
        index: ground truth.
        detections: one entry for each image of ``index``, in its order.

    Returns:
        A score that a detection has; of equally good ones the highest. None where no detection is
        right.

    Raises:
        DatasetError: entries and images differ in number, or a label has no class.
    """
    check_detections(index, detections)
    pairs = list(zip(index.images, detections, strict=True))
    outcome = np.concatenate([_outcome(record, found) for record, found in pairs])
    scores = np.concatenate([found.scores for _, found in pairs])
    boxes = sum(int((~record.crowd).sum()) for record, _ in pairs)
    order = np.argsort(-scores, kind="stable")
    right, wrong = ((outcome[order] == kind).cumsum() for kind in (_HIT, _MISS))
    last = np.append(scores[order][1:] != scores[order][:-1], [True])[: len(scores)]
    f1 = np.where(last, 2 * right / np.maximum(right + wrong + boxes, 1), 0.0)
    if f1.max(initial=0.0) == 0:
        return None
    return float(scores[order][f1.argmax()])


def _outcome(record: ImageRecord, found: Detections) -> npt.NDArray[np.int64]:
    """Whether each detection of an image is right, wrong, or neither, in the order they are in."""
    outcome = np.full(len(found), _MISS)
    own, same = ~record.crowd, found.labels[:, None] == record.labels
    iou = np.where(same & own, box_iou(found.boxes, record.boxes), 0.0)  # (D, G)
    covered = np.where(same & record.crowd, _covered(found.boxes, record.boxes), 0.0)
    ignored = np.asarray((covered >= _IOU).any(axis=1))  # (D,)
    for d in np.argsort(-found.scores, kind="stable"):
        best = int(iou[d].argmax()) if iou.shape[1] else -1
        if best >= 0 and iou[d, best] >= _IOU:
            outcome[d] = _HIT
            iou[:, best] = 0.0
        elif ignored[d]:
            outcome[d] = _IGNORED
    return outcome


def _covered(
    boxes: npt.NDArray[np.float64], regions: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Which part of each box lies in each region, float64 (D, G)."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(shared / np.maximum(area, np.finfo(float).tiny)[:, None])
