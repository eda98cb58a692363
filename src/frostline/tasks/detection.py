"""Detection: boxes of objects, scored by COCO's AP and, where it is asked for, the wheat metric."""

import functools
from collections.abc import Collection, Mapping, Sequence

from frostline.datasets import DatasetIndex
from frostline.detection_scores import DETECTION_SCORES, scores_and_details
from frostline.evaluation import Detections, evaluate, to_coco_results
from frostline.evaluation.operating_point import best_f1_threshold
from frostline.records import SplitDetails
from frostline.tasks.later import later
from frostline.tasks.task import Measured, Placed, Task

__all__ = ["TASK"]


def _remarks(images: Placed) -> dict[str, int]:
    tiny = images.tiny_boxes()  # type: ignore[attr-defined]  # they are this task's own
    return {"box-under-2-px-on-canvas": tiny} if tiny else {}


def _evaluate(
    index: DatasetIndex,
    found: Sequence[Detections],
    thresholds: Mapping[str, float] | None,
    asked: Collection[str],
) -> Measured:
    threshold = (thresholds or {}).get("wheat")
    result = evaluate(index, found, wheat_threshold=threshold, wheat="wheat" in asked)
    scores, details = scores_and_details(result.to_dict())
    return Measured(scores, SplitDetails.model_validate(details))


TASK = Task(
    declares=DETECTION_SCORES,
    build=later("frostline.architectures.building:build_model"),
    place=later("frostline.tasks.boxes:PlacedImages"),
    remarks=_remarks,
    augment=later("frostline.tasks.boxes:augment"),
    loss=later("frostline.tasks.boxes:loss"),
    predict=later("frostline.tasks.boxes:predict"),
    evaluate=_evaluate,
    write=functools.partial(to_coco_results, own_ids=False),
    show_from=best_f1_threshold,
)
