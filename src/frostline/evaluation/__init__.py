"""Detections against ground truth: COCO AP and the wheat metric.

``evaluate`` gives both at once; ``coco_scores`` and ``wheat_metric`` give one each.

Example:
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from frostline.datasets import Boxes, DatasetIndex, ImageRecord
    >>> box = np.array([[10.0, 10.0, 60.0, 60.0]])
    >>> ear = np.array([1])
    >>> image = ImageRecord("a.jpg", 100, 100, Boxes(box, ear, np.array([False])))
    >>> index = DatasetIndex(Path("."), ("ear",), (image,), ())
    >>> found = Detections(box + [[0, 0, 0, 10]], np.array([0.9]), ear)  # IoU 5/6
    >>> result = evaluate(index, [found], wheat_threshold=0.5)
    >>> round(result.ap, 3), round(result.ap50, 3), result.wheat_score
    (0.7, 1.0, 1.0)
"""

from frostline.evaluation.coco_ap import CocoScores, coco_scores, detection_limit
from frostline.evaluation.detections import Detections, from_coco_results, to_coco_results
from frostline.evaluation.result import Evaluation, evaluate
from frostline.evaluation.wheat import (
    WHEAT_IOU_THRESHOLDS,
    WheatCurve,
    WheatScore,
    best_threshold,
    wheat_curve,
    wheat_metric,
)

__all__ = [
    "WHEAT_IOU_THRESHOLDS",
    "CocoScores",
    "Detections",
    "Evaluation",
    "WheatCurve",
    "WheatScore",
    "best_threshold",
    "coco_scores",
    "detection_limit",
    "evaluate",
    "from_coco_results",
    "to_coco_results",
    "wheat_curve",
    "wheat_metric",
]
