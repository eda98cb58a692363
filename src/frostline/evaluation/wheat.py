"""The metric of the Global Wheat Detection competition on Kaggle.

Mean over images of the mean over IoU thresholds .50:.05:.75 of TP / (TP + FP + FN). A detection is
kept when its score is at least the score threshold. Kept detections, highest score first (equal
scores in the order given), each take the best box that is still free and has IoU >= t (the first
of equals); taken ones are TP, the others FP, free boxes FN. Every kept detection counts: there is
no limit. Boxes of another class never match. Crowd regions are no boxes here: they are left out
and counted, and a detection on one is an FP. An image with neither boxes nor kept detections
scores 1 by convention and is counted.

What the n best detections match does not depend on the others, so one matching of an image gives
its value for *every* score threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from frostline.boxes import box_iou
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.errors import DatasetError
from frostline.evaluation.detections import Detections, check_detections, group_members

__all__ = [
    "WHEAT_IOU_THRESHOLDS",
    "ThresholdSource",
    "WheatCurve",
    "WheatScore",
    "WheatTables",
    "best_threshold",
    "wheat_curve",
    "wheat_metric",
    "wheat_tables",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WHEAT_IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
"""Literals, not a computed range: 60/100 has to reach 0.6."""

HALF = 0.5
"""The score threshold that is reported beside the chosen one."""

ThresholdSource = Literal["given", "best on these images"]


@dataclass(frozen=True)
class WheatScore:
    """The wheat metric of some images at one score threshold.

    Attributes:
        score: The metric at ``threshold``, in [0, 1].
        threshold: Score threshold, in [0, 1].
        threshold_source: ``given``, or ``best on these images``: then ``score`` is a maximum over
            thresholds on the very images it describes, so a little too good.
        score_at_half: The metric at score threshold 0.5.
        images: Images averaged over.
        empty_images: Those with neither boxes nor kept detections; each scores 1.
        crowd_boxes: Crowd regions left out.
    """

    score: float
    threshold: float
    threshold_source: ThresholdSource
    score_at_half: float
    images: int
    empty_images: int
    crowd_boxes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "WheatScore":
        """The inverse of ``to_dict``."""
        return cls(**data)


@dataclass(frozen=True)
class WheatTables:
    """The wheat metric of a data set and of its parts, at one threshold.

    Attributes:
        overall: All images and classes.
        per_class: Class name -> boxes and detections of this class only, over all images. An
            image without the class is then an empty image: read ``empty_images`` beside the score.
        per_group: Group name -> its images, sorted; images without a group are in none.
    """

    overall: WheatScore
    per_class: Mapping[str, WheatScore]
    per_group: Mapping[str, WheatScore]


@dataclass(frozen=True, eq=False)
class WheatCurve:
    """The wheat metric at every score threshold that makes a difference.

    Attributes:
        thresholds: float64 (K,), ascending: the distinct scores of the detections, and 1.
        scores: float64 (K,), the metric at each.
    """

    thresholds: FloatArray
    scores: FloatArray

    def best(self) -> float:
        """The threshold of the highest score; of equals the highest, which keeps the fewest."""
        return float(self.thresholds[::-1][self.scores[::-1].argmax()])


def wheat_metric(
    index: DatasetIndex, detections: Sequence[Detections], threshold: float | None = None
) -> WheatScore:
    """The wheat metric (defined in the module's text) over all images.

    Args:
        index: Ground truth.
        detections: One entry per image of ``index``, in its order, not yet thresholded.
        threshold: Score threshold in [0, 1], chosen on validation data. None: the best on these
            images, for validation data themselves.

    Raises:
        DatasetError: Entries and images differ in number, a label has no class, or the threshold
            is not in [0, 1].
    """
    return wheat_tables(index, detections, threshold).overall


def best_threshold(index: DatasetIndex, detections: Sequence[Detections]) -> float:
    """The score threshold with the highest wheat metric on these (validation) images.

    Arguments and errors as in ``wheat_metric``.
    """
    return wheat_curve(index, detections).best()


def wheat_curve(index: DatasetIndex, detections: Sequence[Detections]) -> WheatCurve:
    """The wheat metric at every distinct score; arguments and errors as in ``wheat_metric``."""
    return _curve([_profile(image) for image in _match_all(index, detections)])


def wheat_tables(
    index: DatasetIndex, detections: Sequence[Detections], threshold: float | None = None
) -> WheatTables:
    """The wheat metric overall, per class and per group; arguments as in ``wheat_metric``."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise DatasetError(f"expected a wheat score threshold from 0 to 1, got {threshold}")
    matched = _match_all(index, detections)
    profiles = [_profile(image) for image in matched]
    source: ThresholdSource = "best on these images" if threshold is None else "given"
    at = _curve(profiles).best() if threshold is None else float(threshold)
    by_class = {
        name: [_profile(image, label) for image in matched]
        for label, name in enumerate(index.classes, start=1)
    }
    return WheatTables(
        overall=_score(profiles, at, source),
        per_class={name: _score(part, at, source) for name, part in by_class.items()},
        per_group={
            group: _score([profiles[i] for i in members], at, source)
            for group, members in group_members(index).items()
        },
    )


@dataclass(frozen=True, eq=False)
class _Matched:
    """One image after matching: D detections in order of score, G boxes, T IoU thresholds."""

    scores: FloatArray  # (D,) descending
    labels: IntArray  # (D,)
    hits: npt.NDArray[np.bool_]  # (T, D): the detection took a box
    box_labels: IntArray  # (G,)
    crowd_labels: IntArray  # (C,) of the crowd regions left out


@dataclass(frozen=True, eq=False)
class _Profile:
    """One image's value as a function of how many detections are kept."""

    scores: FloatArray  # (D,) descending
    values: FloatArray  # (D + 1,): the image's value with the n best detections kept
    boxes: int
    crowd_boxes: int

    def kept(self, threshold: float) -> int:
        return int(np.count_nonzero(self.scores >= threshold))


def _match_all(index: DatasetIndex, detections: Sequence[Detections]) -> list[_Matched]:
    check_detections(index, detections)
    return [
        _match_image(record, found) for record, found in zip(index.images, detections, strict=True)
    ]


def _match_image(record: ImageRecord, found: Detections) -> _Matched:
    order = np.argsort(-found.scores, kind="stable")
    labels = found.labels[order]
    box_labels = record.labels[~record.crowd]
    iou = box_iou(found.boxes[order], record.boxes[~record.crowd])
    iou[labels[:, None] != box_labels] = 0
    hits = _match(iou, np.array(WHEAT_IOU_THRESHOLDS))
    return _Matched(found.scores[order], labels, hits, box_labels, record.labels[record.crowd])


def _match(iou: FloatArray, thresholds: FloatArray) -> npt.NDArray[np.bool_]:
    """Which detections take a box, at each threshold at once.

    All pairs above the lowest threshold are visited by detection, best box first. Bit t of an
    integer says "taken at threshold t", so a pair costs one step whatever the number of thresholds.

    Args:
        iou: float64 (D, G); detections in the order in which they choose.
        thresholds: float64 (T,), ascending.

    Returns:
        bool (T, D).
    """
    rows, columns = np.nonzero(iou >= thresholds[0])
    pair_iou = iou[rows, columns]
    order = np.lexsort((columns, -pair_iou, rows))
    reached = (1 << np.searchsorted(thresholds, pair_iou, side="right")) - 1
    found, taken = [0] * iou.shape[0], [0] * iou.shape[1]
    for d, g, bits in zip(
        rows[order].tolist(), columns[order].tolist(), reached[order].tolist(), strict=True
    ):
        new = bits & ~found[d] & ~taken[g]
        found[d] |= new
        taken[g] |= new
    bit = np.arange(len(thresholds))[:, None]
    return (np.array(found, dtype=np.int64) >> bit & 1).astype(bool)


def _profile(image: _Matched, label: int | None = None) -> _Profile:
    """Values of an image for 0 to D kept detections, of one class only if ``label`` is given."""
    chosen = np.ones(len(image.labels), bool) if label is None else image.labels == label
    boxes, crowd = (
        len(labels) if label is None else int(np.count_nonzero(labels == label))
        for labels in (image.box_labels, image.crowd_labels)
    )
    hits = image.hits[:, chosen]
    true_positives = np.pad(hits.cumsum(axis=1), ((0, 0), (1, 0)))  # (T, D + 1)
    # TP + FP is the number kept, TP + FN the number of boxes.
    total = np.arange(hits.shape[1] + 1) + boxes - true_positives
    values = np.divide(true_positives, total, out=np.ones(total.shape), where=total > 0)
    return _Profile(image.scores[chosen], values.mean(axis=0), boxes, crowd)


def _score(profiles: Sequence[_Profile], threshold: float, source: ThresholdSource) -> WheatScore:
    return WheatScore(
        score=_mean_value(profiles, threshold),
        threshold=threshold,
        threshold_source=source,
        score_at_half=_mean_value(profiles, HALF),
        images=len(profiles),
        empty_images=sum(p.boxes == 0 and p.kept(threshold) == 0 for p in profiles),
        crowd_boxes=sum(p.crowd_boxes for p in profiles),
    )


def _mean_value(profiles: Sequence[_Profile], threshold: float) -> float:
    return float(np.mean([p.values[p.kept(threshold)] for p in profiles]))


def _curve(profiles: Sequence[_Profile]) -> WheatCurve:
    """Lowering the threshold past a score changes only that detection's image: add up changes."""
    scores = np.concatenate([p.scores for p in profiles])
    order = np.argsort(-scores, kind="stable")
    changes = np.concatenate([np.diff(p.values) for p in profiles])[order]
    totals = sum(p.values[0] for p in profiles) + np.concatenate([[0.0], changes.cumsum()])
    thresholds = np.unique(np.append(scores, 1.0))
    kept = len(scores) - np.searchsorted(scores[order][::-1], thresholds, side="left")
    return WheatCurve(thresholds, totals[kept] / len(profiles))
