"""COCO average precision and recall, computed by hotcoco.

The protocol is pycocotools' ``COCOeval`` for boxes (https://cocodataset.org/#detection-eval):
IoU .50:.05:.95, 101 recall points, crowd regions ignored. Two things differ from its printout:
the limit of detections may be 300 (``detection_limit``), and a quantity that has no ground truth
is NaN where pycocotools prints -1. Sizes go by the area of the *box*: an index keeps no masks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from frostline.datasets import DatasetIndex
from frostline.evaluation.detections import (
    Detections,
    check_detections,
    group_members,
    xywh_from_xyxy,
)

if TYPE_CHECKING:
    from hotcoco import COCOeval

__all__ = ["CocoScores", "CocoTables", "coco_scores", "coco_tables", "detection_limit"]

COCO_LIMIT = 100
DENSE_LIMIT = 300
"""Wheat images reach 116 boxes; torchvision's detectors can return any number."""

# Positions in hotcoco's arrays: IoU thresholds .50, .55, ..., area ranges, detection limits.
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_LIMIT_1, _LIMIT_10, _LIMIT_MAX = range(3)


@dataclass(frozen=True)
class CocoScores:
    """COCO's twelve numbers over some images and classes, each in [0, 1].

    NaN (in JSON: null) means that there was no box of that kind to find.

    Attributes:
        ap: AP averaged over IoU .50:.05:.95 and over the classes that have boxes.
        ap50: AP at IoU 0.50.
        ap75: AP at IoU 0.75.
        ap_small: AP of boxes with an area under 32 x 32 pixels.
        ap_medium: AP of boxes with an area from 32 x 32 to 96 x 96 pixels.
        ap_large: AP of boxes with an area over 96 x 96 pixels.
        ar_1: Largest recall with 1 detection an image and class, averaged like ``ap``.
        ar_10: The same with 10 detections.
        ar: The same with as many as ``max_dets``.
        ar_small: ``ar`` of small boxes.
        ar_medium: ``ar`` of medium boxes.
        ar_large: ``ar`` of large boxes.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar: float
    ar_small: float
    ar_medium: float
    ar_large: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-safe: NaN becomes None."""
        return {name: _none_if_nan(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, float | None]) -> "CocoScores":
        """The inverse of ``to_dict``."""
        return cls(**{name: math.nan if value is None else value for name, value in data.items()})


@dataclass(frozen=True)
class CocoTables:
    """COCO scores of a data set and of its parts.

    Attributes:
        overall: All images and classes.
        per_class: Class name -> scores, every class of the index.
        per_group: Group name -> scores over its images, sorted; images without a group are in none.
        max_dets: Detections counted per image and class, the highest scores first.
        beyond_max_dets: Detections that this limit left out.
    """

    overall: CocoScores
    per_class: Mapping[str, CocoScores]
    per_group: Mapping[str, CocoScores]
    max_dets: int
    beyond_max_dets: int


def detection_limit(index: DatasetIndex) -> int:
    """COCO's 100 detections per image and class, or 300 where an image has over 100 boxes."""
    most = max((len(record.boxes) for record in index.images), default=0)
    return DENSE_LIMIT if most > COCO_LIMIT else COCO_LIMIT


def coco_scores(index: DatasetIndex, detections: Sequence[Detections]) -> CocoScores:
    """COCO's twelve numbers over the whole data set.

    Args:
        index: Ground truth.
        detections: One entry per image of ``index``, in its order.

    Raises:
        DatasetError: Entries and images differ in number, or a label has no class.
    """
    return coco_tables(index, detections).overall


def coco_tables(index: DatasetIndex, detections: Sequence[Detections]) -> CocoTables:
    """COCO scores overall, per class and per group; arguments as in ``coco_scores``."""
    check_detections(index, detections)
    limit = detection_limit(index)
    evaluator = _evaluator(index, detections, limit)
    arrays = _accumulate(evaluator, range(1, len(index.images) + 1))
    return CocoTables(
        overall=_scores(*arrays),
        per_class={
            name: _scores(*(array[..., [k], :, :] for array in arrays))
            for k, name in enumerate(index.classes)
        },
        per_group={
            group: _scores(*_accumulate(evaluator, [position + 1 for position in members]))
            for group, members in group_members(index).items()
        },
        max_dets=limit,
        beyond_max_dets=sum(_count_beyond(found, limit) for found in detections),
    )


def _evaluator(index: DatasetIndex, detections: Sequence[Detections], max_dets: int) -> "COCOeval":
    from hotcoco import COCOeval

    truth = _ground_truth(index)
    evaluator = COCOeval(truth, truth.load_res(_result_rows(detections)), "bbox")
    evaluator.params.max_dets = [1, 10, max_dets]
    return evaluator


def _ground_truth(index: DatasetIndex) -> Any:
    """The index as hotcoco's data set; ids as in ``index.to_coco()``, all of them from 1.

    Ids stand for names, which play no part in scores: a name that is not UTF-8 is refused.
    """
    from hotcoco import COCO

    records = index.images
    return COCO.from_arrays(
        images=[
            {"id": i, "file_name": str(i), "width": r.width, "height": r.height}
            for i, r in enumerate(records, start=1)
        ],
        categories=[{"id": k, "name": str(k)} for k in range(1, len(index.classes) + 1)],
        image_ids=np.repeat(np.arange(1, len(records) + 1), [len(r.boxes) for r in records]),
        category_ids=_join([r.labels for r in records], np.zeros(0, np.int64)),
        boxes=xywh_from_xyxy(_join([r.boxes for r in records], np.zeros((0, 4)))),
        iscrowd=_join([r.crowd for r in records], np.zeros(0, bool)),
    )


def _result_rows(detections: Sequence[Detections]) -> npt.NDArray[np.float64]:
    """(N, 7): image id, x, y, width, height, score, category id."""
    parts = [
        np.column_stack(
            [np.full(len(found), i), xywh_from_xyxy(found.boxes), found.scores, found.labels]
        )
        for i, found in enumerate(detections, start=1)
    ]
    return _join(parts, np.zeros((0, 7)))


def _join(parts: Sequence[npt.NDArray[Any]], empty: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Concatenate along the first axis; ``empty`` gives dtype and shape when there is nothing."""
    return np.concatenate([empty, *parts])


def _accumulate(
    evaluator: "COCOeval", image_ids: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision (IoU 10, recall 101, class K, area 4, limit 3) and recall (10, K, 4, 3).

    The tables of the evaluator are read, never its printout: summaries fix the limit at 100.
    """
    assert image_ids  # an empty list means *all* images to COCOeval
    evaluator.params.img_ids = list(image_ids)
    evaluator.evaluate()
    evaluator.accumulate()
    tables = evaluator.eval
    assert tables is not None
    return tables["precision"], tables["recall"]


def _scores(precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]) -> CocoScores:
    at_most = precision[..., _LIMIT_MAX]  # (10, 101, K, 4)
    return CocoScores(
        ap=_mean(at_most[..., _ALL]),
        ap50=_mean(at_most[_IOU_50, ..., _ALL]),
        ap75=_mean(at_most[_IOU_75, ..., _ALL]),
        ap_small=_mean(at_most[..., _SMALL]),
        ap_medium=_mean(at_most[..., _MEDIUM]),
        ap_large=_mean(at_most[..., _LARGE]),
        ar_1=_mean(recall[..., _ALL, _LIMIT_1]),
        ar_10=_mean(recall[..., _ALL, _LIMIT_10]),
        ar=_mean(recall[..., _ALL, _LIMIT_MAX]),
        ar_small=_mean(recall[..., _SMALL, _LIMIT_MAX]),
        ar_medium=_mean(recall[..., _MEDIUM, _LIMIT_MAX]),
        ar_large=_mean(recall[..., _LARGE, _LIMIT_MAX]),
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    """Mean over the entries that exist; COCO marks the others -1."""
    present = values[values > -1]
    return float(present.mean()) if present.size else math.nan


def _count_beyond(found: Detections, limit: int) -> int:
    """Detections of one image that ``limit`` detections a class leave out."""
    return int(np.maximum(np.bincount(found.labels) - limit, 0).sum())


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
