"""The scores of detection, and their values out of the plain form of an ``Evaluation``.

Records of version 1 are all of detection and declare nothing: they are read with this.
"""

from collections.abc import Mapping
from typing import Any

from frostline.scores import Declaration, Score

__all__ = ["DETECTION_SCORES", "scores_and_details"]

_Json = dict[str, Any]

_WHEAT_LAYOUTS = ("kaggle", "gwhd2021")
_SIZES = {
    "ap_small": "AP, boxes under 32 x 32 px",
    "ap_medium": "AP, boxes from 32 x 32 to 96 x 96 px",
    "ap_large": "AP, boxes over 96 x 96 px",
    "ar_1": "recall with 1 detection an image and class",
    "ar_10": "recall with 10 detections an image and class",
    "ar": "recall with as many as count",
    "ar_small": "recall, boxes under 32 x 32 px",
    "ar_medium": "recall, boxes from 32 x 32 to 96 x 96 px",
    "ar_large": "recall, boxes over 96 x 96 px",
}

DETECTION_SCORES = Declaration(
    task="detection",
    least_gain=0.05,
    examples="boxes",
    scores=(
        Score(
            key="ap",
            label="AP",
            axis="AP (IoU .50:.95)",
            meaning="COCO average precision, the mean over IoU thresholds .50 to .95 and over "
            "classes, from 0 to 1.",
            ranks=True,
            chart=True,
            headline=True,
            by_trial=True,
            by_part=True,
        ),
        Score(
            key="ap50",
            label="AP50",
            axis="AP50 (IoU .50)",
            meaning="The same at IoU .50 alone, which forgives loose boxes.",
            chart=True,
            headline=True,
            by_trial=True,
            by_part=True,
        ),
        Score(
            key="ap75",
            label="AP75",
            axis="AP75 (IoU .75)",
            meaning="The same at IoU .75 alone.",
            by_trial=True,
        ),
        *(Score(key=key, label=label, axis=label) for key, label in _SIZES.items()),
        Score(
            key="wheat",
            label="wheat metric",
            axis="wheat metric",
            meaning="Kaggle's Global Wheat score: the mean over images and over IoU .50 to .75 of "
            "TP/(TP+FP+FN). Every kept box counts, so it depends on the score threshold; the one "
            "shown is the best on these very images, and the value at 0.5 stands beside it. An "
            "image with neither boxes nor detections scores 1.",
            headline=True,
            by_trial=True,
            by_part=True,
            asked="wheat",
            layouts=_WHEAT_LAYOUTS,
        ),
        Score(
            key="wheat_at_half",
            label="wheat metric at 0.5",
            axis="wheat metric at score threshold 0.5",
            by_trial=True,
            asked="wheat",
            layouts=_WHEAT_LAYOUTS,
        ),
    ),
)


def scores_and_details(result: Mapping[str, Any]) -> tuple[_Json, _Json]:
    """What a record keeps of one split.

    Args:
        result: as ``Evaluation.to_dict`` gives it, now or in records of version 1.

    Returns:
        Score by key, and the task's own part: counts, thresholds, classes and groups.

    Raises:
        KeyError: it lacks what every evaluation has.
    """
    coco, wheat = result["coco"], result.get("wheat")
    counts = {name: result[name] for name in ("images", "boxes", "detections")}
    counts |= {name: coco[name] for name in ("max_dets", "beyond_max_dets")}
    whole = _part(coco["overall"], wheat and wheat["overall"])
    details = {
        "floor": 0.0,  # no constant prediction finds anything
        "thresholds": {"wheat": wheat["overall"]["threshold"]} if wheat else {},
        "counts": counts | whole["counts"],
        "by_class": _parts(coco["per_class"], wheat and wheat["per_class"]),
        "by_group": _parts(coco["per_group"], wheat and wheat["per_group"]),
    }
    return whole["scores"], details


def _parts(coco: Mapping[str, Any], wheat: Mapping[str, Any] | None) -> _Json:
    return {name: _part(scores, wheat and wheat.get(name)) for name, scores in coco.items()}


def _part(coco: Mapping[str, Any], wheat: Mapping[str, Any] | None) -> _Json:
    if not wheat:
        return {"scores": dict(coco), "counts": {}}
    scores = {**coco, "wheat": wheat["score"], "wheat_at_half": wheat["score_at_half"]}
    names = ("threshold_source", "images", "empty_images", "crowd_boxes")
    return {"scores": scores, "counts": {f"wheat_{name}": wheat[name] for name in names}}
