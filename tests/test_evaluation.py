"""COCO AP against pycocotools, the wheat metric against a slow reading of its definition."""

import contextlib
import copy
import dataclasses
import doctest
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import frostline.evaluation
from frostline.datasets import DatasetIndex, ImageRecord, read_dataset
from frostline.datasets.targets import Boxes as BoxTarget
from frostline.errors import DatasetError
from frostline.evaluation import (
    WHEAT_IOU_THRESHOLDS,
    CocoScores,
    Detections,
    Evaluation,
    WheatScore,
    best_threshold,
    coco_scores,
    detection_limit,
    evaluate,
    from_coco_results,
    to_coco_results,
    wheat_curve,
    wheat_metric,
)
from frostline.evaluation.wheat import WheatTables

SIZE = 400
Boxes = npt.NDArray[np.float64]

# --- cases -------------------------------------------------------------------------------------


def record(
    name: str,
    boxes: Any = (),
    labels: Any = None,
    crowd: Any = None,
    *,
    group: str | None = None,
) -> ImageRecord:
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    n = len(corners)
    return ImageRecord(
        file=name,
        width=SIZE,
        height=SIZE,
        target=BoxTarget(
            corners,
            np.ones(n, np.int64) if labels is None else np.array(labels, np.int64).reshape(n),
            np.zeros(n, bool) if crowd is None else np.array(crowd, bool).reshape(n),
        ),
        group=group,
    )


def index_of(*images: ImageRecord, classes: Sequence[str] = ("ear",)) -> DatasetIndex:
    return DatasetIndex(Path(), tuple(classes), images, ())


def found(boxes: Any = (), scores: Any = (), labels: Any = None) -> Detections:
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    return Detections(
        corners,
        np.array(scores, np.float64),
        np.ones(len(corners), np.int64) if labels is None else np.array(labels, np.int64),
    )


def random_boxes(rng: np.random.Generator, n: int, size: int = SIZE) -> Boxes:
    """Integer corners, so that IoUs often fall exactly on a threshold, and all three sizes."""
    low = rng.integers(0, size - 20, (n, 2))
    span = np.exp(rng.uniform(np.log(4), np.log(size / 2), (n, 2))).astype(int) + 1
    return np.concatenate([low, np.minimum(low + span, size)], axis=1).astype(np.float64)


def perturbed(
    rng: np.random.Generator, image: ImageRecord, classes: int, *, ties: bool = True
) -> Detections:
    """Boxes missed, doubled, moved and mislabelled, and boxes of nothing; scores often equal."""
    picked = np.repeat(np.arange(len(image.boxes)), rng.integers(0, 4, len(image.boxes)))
    sides = image.boxes[picked, 2:] - image.boxes[picked, :2]
    moved = image.boxes[picked] + rng.normal(0, 0.12, (len(picked), 4)) * np.tile(sides, 2)
    moved = np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), moved[:, 2:]], axis=1)
    moved[:, 2:] = np.maximum(moved[:, :2], moved[:, 2:])
    moved[::3] = np.round(moved[::3])
    nothing = random_boxes(rng, int(rng.integers(0, 6)), min(image.width, image.height))
    boxes = np.concatenate([moved, nothing])
    labels = np.concatenate([image.labels[picked], rng.integers(1, classes + 1, len(nothing))])
    mislabelled = rng.random(len(labels)) < 0.1
    labels[mislabelled] = rng.integers(1, classes + 1, int(mislabelled.sum()))
    scores = rng.random(len(boxes))
    order = rng.permutation(len(boxes))
    return Detections(boxes[order], np.round(scores, 1) if ties else scores, labels[order])


def random_case(
    seed: int, *, images: int = 8, most: int = 12, classes: int = 3, crowds: float = 0.1
) -> tuple[DatasetIndex, list[Detections]]:
    """Ground truth and detections; the last class has no boxes, some images have none either."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(images):
        count = int(rng.integers(0, most + 1)) if rng.random() > 0.25 else 0
        records.append(
            record(
                f"{n}.jpg",
                random_boxes(rng, count),
                rng.integers(1, max(classes, 2), count),
                rng.random(count) < crowds,
                group=[None, "field", "greenhouse"][n % 3],
            )
        )
    index = index_of(*records, classes=[f"class {k}" for k in range(classes)])
    return index, [perturbed(rng, image, classes) for image in records]


# --- COCO AP against pycocotools ---------------------------------------------------------------


def pycocotools_stats(index: DatasetIndex, detections: Sequence[Detections]) -> Any:
    """The twelve numbers, -1 where there is nothing."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = index.to_coco()
        truth.createIndex()
        results = to_coco_results(index, detections)
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        evaluator.params.maxDets = [1, 10, detection_limit(index)]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    # The first number is for 100 detections whatever the parameters say.
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    evaluator.stats[0] = precision[precision > -1].mean() if (precision > -1).any() else -1
    return evaluator.stats


def assert_equals_pycocotools(index: DatasetIndex, detections: Sequence[Detections]) -> None:
    ours = np.nan_to_num(astuple(coco_scores(index, detections)), nan=-1)
    np.testing.assert_allclose(ours, pycocotools_stats(index, detections), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_ap_equals_pycocotools(seed: int) -> None:
    assert_equals_pycocotools(*random_case(seed))


@pytest.mark.parametrize("crowds", [0.0, 0.6, 1.0])
def test_ap_equals_pycocotools_with_crowds(crowds: float) -> None:
    assert_equals_pycocotools(*random_case(100, crowds=crowds))


def test_ap_equals_pycocotools_when_all_scores_are_equal() -> None:
    index, detections = random_case(7, images=12)
    assert_equals_pycocotools(
        index, [Detections(d.boxes, np.full(len(d), 0.5), d.labels) for d in detections]
    )


def test_ap_equals_pycocotools_on_crowded_images() -> None:
    index, detections = random_case(1, images=3, most=260, classes=2, crowds=0.02)
    assert detection_limit(index) == 300
    assert max(len(d) for d in detections) > 300
    assert_equals_pycocotools(index, detections)


def test_ap_of_over_100_detections_an_image_depends_on_the_limit() -> None:
    # 101 boxes: with COCO's 100 detections the recall could not reach 1.
    corners = [(20.0 * (n % 11), 20.0 * (n // 11)) for n in range(101)]
    boxes = np.array([[x, y, x + 15, y + 15] for x, y in corners])
    index = index_of(record("a", boxes))
    assert coco_scores(index, [found(boxes, np.linspace(0.1, 1, 101))]).ar == 1.0


def test_limit_is_coco_s_until_an_image_has_more_boxes() -> None:
    boxes = np.tile([0.0, 0, 10, 10], (101, 1))
    assert detection_limit(index_of(record("a", boxes[:100]))) == 100
    assert detection_limit(index_of(record("a"), record("b", boxes))) == 300


def test_detections_beyond_the_limit_are_counted_per_class() -> None:
    index = index_of(record("a", [[0, 0, 10, 10]]), classes=("a", "b"))
    many = found(np.tile([0.0, 0, 10, 10], (250, 1)), np.ones(250), [1] * 103 + [2] * 147)
    assert evaluate(index, [many]).coco.beyond_max_dets == 3 + 47


@pytest.mark.parametrize("images", [1, 4])
def test_no_boxes_is_nan(images: int) -> None:
    index = index_of(*(record(f"{n}") for n in range(images)))
    nothing = [Detections.none()] * images
    noise = [found([[1, 1, 9, 9]], [0.9])] * images
    assert all(map(math.isnan, astuple(coco_scores(index, nothing))))
    assert all(map(math.isnan, astuple(coco_scores(index, noise))))


def test_no_detections_is_zero_and_absent_sizes_are_nan() -> None:
    index = index_of(record("a", [[0, 0, 10, 10]]))
    scores = coco_scores(index, [Detections.none()])
    assert (scores.ap, scores.ap_small, scores.ar) == (0, 0, 0)
    assert math.isnan(scores.ap_medium)
    assert math.isnan(scores.ap_large)


def test_a_class_without_boxes_is_nan_and_not_averaged_in() -> None:
    index = index_of(record("a", [[0, 0, 40, 40]]), classes=("present", "absent"))
    both = found([[0, 0, 40, 40], [50, 50, 90, 90]], [0.9, 0.8], [1, 2])
    coco = evaluate(index, [both]).coco
    assert coco.overall.ap == coco.per_class["present"].ap == pytest.approx(1)
    assert math.isnan(coco.per_class["absent"].ap)


def wheat(result: Evaluation) -> WheatTables:
    assert result.wheat is not None
    return result.wheat


def test_the_wheat_metric_is_left_out_where_it_is_not_wanted() -> None:
    index, detections = random_case(3, images=12)
    without = evaluate(index, detections, wheat=False)
    assert without.wheat is None
    assert math.isnan(without.wheat_score)
    assert without.to_dict() == evaluate(index, detections).to_dict() | {"wheat": None}
    again = Evaluation.from_dict(without.to_dict())
    assert again.to_dict() == without.to_dict()  # Python 3.13 takes no NaN for equal to itself
    assert "wheat" not in without._repr_html_()
    assert "wheat" in evaluate(index, detections)._repr_html_()


def test_each_class_and_group_is_what_it_scores_alone() -> None:
    index, detections = random_case(3, images=12)
    result = evaluate(index, detections, wheat_threshold=0.3)
    assert list(result.coco.per_group) == list(wheat(result).per_group) == ["field", "greenhouse"]
    for group in result.coco.per_group:
        members = [n for n, image in enumerate(index.images) if image.group == group]
        part = index_of(*(index.images[n] for n in members), classes=index.classes)
        alone = evaluate(part, [detections[n] for n in members], wheat_threshold=0.3)
        assert_same_scores(result.coco.per_group[group], alone.coco.overall)
        assert wheat(result).per_group[group] == wheat(alone).overall
    for label, name in enumerate(index.classes, start=1):
        part = index_of(*(only(image, label) for image in index.images), classes=index.classes)
        kept = [d.keep(d.labels == label) for d in detections]
        alone = evaluate(part, kept, wheat_threshold=0.3)
        assert_same_scores(result.coco.per_class[name], alone.coco.overall)
        assert wheat(result).per_class[name] == wheat(alone).overall


def only(image: ImageRecord, label: int) -> ImageRecord:
    mask = image.labels == label
    return record(image.file, image.boxes[mask], image.labels[mask], image.crowd[mask])


def assert_same_scores(a: CocoScores, b: CocoScores) -> None:
    np.testing.assert_allclose(astuple(a), astuple(b), rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("annotations", ["bccd/test.json", "pear640/val.json", "wheat29/all.json"])
def test_ap_equals_pycocotools_on_real_boxes(real_data: Path, annotations: str) -> None:
    file = real_data / annotations
    index = read_dataset(file.parent / "images", file, on_problem="drop", check_files=False)
    rng = np.random.default_rng(0)
    detections = [perturbed(rng, i, len(index.classes), ties=False) for i in index.images]
    scores = coco_scores(index, detections)
    assert 0.05 < scores.ap < 0.95
    assert_equals_pycocotools(index, detections)


# --- the wheat metric --------------------------------------------------------------------------


def slow_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def slow_image(image: ImageRecord, detections: Detections, threshold: float, iou: float) -> float:
    """TP / (TP + FP + FN) of one image at one IoU, one detection and one box at a time."""
    free = [n for n in range(len(image.boxes)) if not image.crowd[n]]
    hits = misses = 0
    for d in sorted(range(len(detections)), key=lambda n: -detections.scores[n]):
        if detections.scores[d] < threshold:
            continue
        best, best_iou = None, 0.0
        for g in free:
            value = slow_iou(detections.boxes[d].tolist(), image.boxes[g].tolist())
            if image.labels[g] == detections.labels[d] and value >= iou and value > best_iou:
                best, best_iou = g, value
        if best is None:
            misses += 1
        else:
            free.remove(best)
            hits += 1
    return hits / (hits + misses + len(free)) if hits + misses + len(free) else 1.0


def slow_wheat(index: DatasetIndex, detections: Sequence[Detections], threshold: float) -> float:
    total = 0.0
    for image, d in zip(index.images, detections, strict=True):
        values = [slow_image(image, d, threshold, t / 100) for t in (50, 55, 60, 65, 70, 75)]
        total += sum(values) / len(values)
    return total / len(index.images)


def hand_case() -> tuple[DatasetIndex, list[Detections]]:
    """Four images.

    a: two boxes; found one of them exactly, the other with IoU 60/100 = 0.6, and one of nothing.
       To IoU .50, .55, .60: 2 TP, 1 FP: 2/3. From .65: 1 TP, 2 FP, 1 FN: 1/4.
    b: neither boxes nor detections: 1.   c: one box, nothing found: 0.   d: one of nothing: 0.
    """
    index = index_of(
        record("a", [[0, 0, 10, 10], [50, 50, 70, 70]]),
        record("b"),
        record("c", [[0, 0, 10, 10]]),
        record("d"),
    )
    in_a = found([[0, 0, 10, 6], [100, 100, 110, 110], [50, 50, 70, 70]], [0.7, 0.8, 0.9])
    return index, [in_a, found(), found(), found([[0, 0, 5, 5]], [0.4])]


def test_wheat_metric_worked_by_hand() -> None:
    image_a = (3 * 2 / 3 + 3 * 1 / 4) / 6
    low = wheat_metric(*hand_case(), threshold=0.1)
    assert low.score == pytest.approx((image_a + 1 + 0 + 0) / 4, abs=1e-15)
    assert low.score_at_half == pytest.approx((image_a + 1 + 0 + 1) / 4, abs=1e-15)
    assert low == WheatScore(
        score=low.score,
        threshold=0.1,
        threshold_source="given",
        score_at_half=low.score_at_half,
        images=4,
        empty_images=1,
        crowd_boxes=0,
    )
    # At 0.75 only "9" of a is left (1 TP, 1 FP, 1 FN with the "8"), and d is empty too.
    high = wheat_metric(*hand_case(), threshold=0.75)
    assert high.score == pytest.approx((1 / 3 + 1 + 0 + 1) / 4, abs=1e-15)
    assert high.empty_images == 2


def test_the_best_threshold_worked_by_hand() -> None:
    curve = wheat_curve(*hand_case())
    image_a = (3 * 2 / 3 + 3 * 1 / 4) / 6
    assert curve.thresholds.tolist() == [0.4, 0.7, 0.8, 0.9, 1.0]
    expected = [(image_a + 1) / 4, (image_a + 2) / 4, (1 / 3 + 2) / 4, (1 / 2 + 2) / 4, 2 / 4]
    np.testing.assert_allclose(curve.scores, expected, rtol=0, atol=1e-15)
    assert best_threshold(*hand_case()) == 0.9
    chosen = wheat_metric(*hand_case())
    assert (chosen.threshold, chosen.score) == (0.9, 0.625)
    assert chosen.threshold_source == "best on these images"


def test_the_better_detection_is_the_one_with_the_higher_score() -> None:
    # The first takes the box with IoU 0.5; the exact one comes too late, at IoU .50 only.
    index = index_of(record("a", [[0, 0, 10, 10]]))
    detections = [found([[0, 0, 10, 10], [0, 0, 10, 5]], [0.6, 0.7])]
    assert wheat_metric(index, detections, 0.0).score == pytest.approx(1 / 2)
    # TP is 1 at every IoU, by the first at .50 and by the second above.


def test_a_detection_takes_the_best_free_box_not_the_first() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8]]
    index = index_of(record("a", boxes))
    both = [found([[0, 0, 10, 8], [0, 0, 10, 10]], [0.9, 0.8])]
    assert wheat_metric(index, both, 0.5).score == 1.0


def test_an_iou_on_a_threshold_counts() -> None:
    for percent in (50, 55, 60, 65, 70, 75):
        index = index_of(record("a", [[0, 0, 100, 100]]))
        detections = [found([[0, 0, 100, percent]], [0.9])]
        reached = sum(percent / 100 >= t for t in WHEAT_IOU_THRESHOLDS)
        assert wheat_metric(index, detections, 0.5).score == pytest.approx(reached / 6)


def test_classes_do_not_match_each_other() -> None:
    index = index_of(record("a", [[0, 0, 10, 10]], [2]), classes=("a", "b"))
    assert wheat_metric(index, [found([[0, 0, 10, 10]], [0.9], [1])], 0.5).score == 0
    assert wheat_metric(index, [found([[0, 0, 10, 10]], [0.9], [2])], 0.5).score == 1


def test_crowd_regions_are_left_out_and_counted() -> None:
    index = index_of(record("a", [[0, 0, 10, 10], [0, 0, 90, 90]], crowd=[False, True]))
    score = wheat_metric(index, [found([[0, 0, 10, 10], [0, 0, 90, 90]], [0.9, 0.8])], 0.5)
    assert (score.score, score.crowd_boxes) == (0.5, 1)


def test_no_detections_at_all() -> None:
    index = index_of(record("a", [[0, 0, 10, 10]]), record("b"))
    score = wheat_metric(index, [found(), found()])
    assert (score.score, score.threshold, score.empty_images) == (0.5, 1.0, 1)


def test_wheat_metric_equals_the_slow_one_on_200_images() -> None:
    index, detections = random_case(11, images=200, most=25, crowds=0.05)
    for threshold in (0.0, 0.3, 0.5, 0.95, 1.0):
        expected = slow_wheat(index, detections, threshold)
        score = wheat_metric(index, detections, threshold)
        assert score.score == pytest.approx(expected, rel=0, abs=1e-12)
        assert score.score_at_half == pytest.approx(slow_wheat(index, detections, 0.5), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 5), classes=st.integers(1, 3))
def test_the_curve_equals_the_slow_metric_everywhere(seed: int, images: int, classes: int) -> None:
    index, detections = random_case(seed, images=images, most=6, classes=classes)
    curve = wheat_curve(index, detections)
    slow = [slow_wheat(index, detections, t) for t in curve.thresholds.tolist()]
    np.testing.assert_allclose(curve.scores, slow, rtol=0, atol=1e-12)
    best = wheat_metric(index, detections)
    assert best.score == pytest.approx(max(slow), rel=0, abs=1e-12)
    assert best.score == wheat_metric(index, detections, best.threshold).score


@pytest.mark.slow
def test_the_wheat_metric_takes_seconds_at_full_size() -> None:
    rng = np.random.default_rng(0)
    index = index_of(*(record(f"{n}", random_boxes(rng, 116)) for n in range(1000)))
    detections = []
    for image in index.images:
        boxes = image.boxes[rng.integers(0, 116, 300)] + rng.integers(-3, 4, (300, 1))
        detections.append(found(boxes, rng.random(300)))
    start = time.process_time()
    wheat_metric(index, detections)
    assert time.process_time() - start < 30  # about 2 s on a free core


# --- detections and results --------------------------------------------------------------------


def test_detections_are_copied_widened_and_read_only() -> None:
    boxes = np.array([[0, 1, 2, 3]], np.float32)
    d = Detections(boxes, np.array([0.5], np.float32), np.array([1], np.int32))  # type: ignore[arg-type]
    boxes[:] = 9
    assert [a.dtype.name for a in (d.boxes, d.scores, d.labels)] == ["float64", "float64", "int64"]
    assert d.boxes.tolist() == [[0, 1, 2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        d.scores[0] = 1


def test_empty_lists_are_no_detections() -> None:
    d = Detections([], [], [])  # type: ignore[arg-type]
    assert (len(d), d.boxes.shape, d.labels.dtype.name) == (0, (0, 4), "int64")


BOX = [[0.0, 0.0, 5.0, 5.0]]


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "message"),
    [
        ([[0.0, 0, 5]], [0.5], [1], r"boxes of shape \(N, 4\), got \(1, 3\)"),
        ([0.0, 0, 5, 5], [0.5], [1], r"boxes of shape \(N, 4\), got \(4,\)"),
        (BOX, 0.5, [1], r"scores of shape \(N,\), got \(\)"),
        (BOX, [0.5, 0.4], [1], "got 1 boxes, 2 scores, 1 labels"),
        (BOX, [0.5], [1.0], "labels as int64, got float64"),
        (BOX, [0.5], [0], "labels of at least 1"),
        (BOX, [1.5], [1], r"scores from 0 to 1, got 1.5 at position 0"),
        (BOX, [float("nan")], [1], "scores from 0 to 1, got nan"),
        ([[0.0, 0, float("inf"), 5]], [0.5], [1], "finite boxes"),
        ([[6.0, 0, 5, 5]], [0.5], [1], r"x2 >= x1 .* got \[6.0, 0.0, 5.0, 5.0\] at position 0"),
    ],
)
def test_bad_detections(boxes: Any, scores: Any, labels: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Detections(np.array(boxes), np.array(scores), np.array(labels))


def test_coco_results_there_and_back() -> None:
    index, detections = random_case(5)
    results = to_coco_results(index, detections)
    back = from_coco_results(index, json.loads(json.dumps(results)))
    assert len(back) == len(detections)
    for a, b in zip(detections, back, strict=True):
        np.testing.assert_allclose(b.boxes, a.boxes, rtol=1e-15, atol=1e-13)
        assert b.scores.tolist() == a.scores.tolist()
        assert b.labels.tolist() == a.labels.tolist()


def test_coco_results_are_one_dict_a_detection() -> None:
    index = index_of(record("a"), record("b"), classes=("x", "y"))
    assert to_coco_results(index, [found(), found([[10, 20, 40, 60]], [0.5], [2])]) == [
        {"image_id": 2, "category_id": 2, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5}
    ]
    assert [len(d) for d in from_coco_results(index, [])] == [0, 0]


def _numbered() -> DatasetIndex:
    """Two images 12 and "b7", categories cat 3, dog 8 and, a second time, cat 40."""
    first, second = record("a", [[0, 0, 10, 10]], [2]), record("b", [[5, 5, 25, 15]], [1])
    images = (dataclasses.replace(first, number=12), dataclasses.replace(second, number="b7"))
    categories = {3: "cat", 8: "dog", 40: "cat"}
    return DatasetIndex(Path(), ("cat", "dog"), images, (), categories=categories)


def test_results_have_the_ids_of_the_annotation_file() -> None:
    index = _numbered()
    results = [
        {"image_id": "b7", "category_id": 40, "bbox": [5, 5, 20, 10], "score": 0.5},
        {"image_id": 12, "category_id": 8, "bbox": [0, 0, 10, 10], "score": 0.5},
    ]
    detections = from_coco_results(index, results)
    assert [one.labels.tolist() for one in detections] == [[2], [1]]
    assert evaluate(index, detections).ap == pytest.approx(1, abs=1e-12)
    back = to_coco_results(index, detections)
    assert [(one["image_id"], one["category_id"]) for one in back] == [(12, 8), ("b7", 3)]
    plain = to_coco_results(index, detections, own_ids=False)
    assert [(one["image_id"], one["category_id"]) for one in plain] == [(1, 2), (2, 1)]
    assert from_coco_results(index, plain, own_ids=False)[1].labels.tolist() == [1]


def test_ids_that_the_annotation_file_does_not_have() -> None:
    index, row = _numbered(), {"bbox": [0, 0, 5, 5], "score": 0.5}
    with pytest.raises(DatasetError, match=r"image_id of the annotation file \(12, b7\), got"):
        from_coco_results(index, [row | {"image_id": 1, "category_id": 3}])
    with pytest.raises(DatasetError, match=r"category_id of the annotation file \(3, 8, 40\), got"):
        from_coco_results(index, [row | {"image_id": 12, "category_id": 1}])
    lacking = dataclasses.replace(index, categories={3: "cat"})
    with pytest.raises(DatasetError, match="file has none for 'dog'; own_ids=False numbers"):
        to_coco_results(lacking, [Detections.none(), Detections.none()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 0}, "result 1: expected image_id 1 to 1, got"),
        ({"image_id": 1.5}, "result 1: expected image_id, category_id, bbox and score"),
        ({"category_id": 2}, "result 1: expected category_id 1 to 1"),
        ({"bbox": [1, 2, 3]}, "result 1: expected bbox"),
        ({"bbox": [1, 2, -3, 4]}, "result 1: expected bbox"),
        ({"bbox": [1, 2, float("nan"), 4]}, "result 1: expected bbox"),
        ({"bbox": None}, "result 1: expected image_id, category_id, bbox and score"),
        ({"score": 2}, "result 1: expected score 0 to 1"),
        ({"score": "high"}, "result 1: expected image_id, category_id, bbox and score"),
    ],
)
def test_bad_coco_results(change: dict[str, Any], message: str) -> None:
    good = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}
    with pytest.raises(DatasetError, match=message):
        from_coco_results(index_of(record("a")), [good, good | change])


# --- the whole ---------------------------------------------------------------------------------


def test_evaluation_survives_json() -> None:
    result = evaluate(*random_case(2))
    assert math.isnan(result.coco.per_class["class 2"].ap)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["coco"]["per_class"]["class 2"]["ap"] is None
    assert ": -1" not in text
    again = Evaluation.from_dict(json.loads(text))
    assert again.to_dict() == result.to_dict()
    assert (again.ap, again.ap50, again.ap75) == (result.ap, result.ap50, result.ap75)
    assert (again.wheat_score, again.max_dets) == (result.wheat_score, 100)


def test_evaluation_counts() -> None:
    index = index_of(
        record("a", [[0, 0, 10, 10], [0, 0, 90, 90]], crowd=[False, True]), record("b")
    )
    result = evaluate(index, [found([[0, 0, 10, 10]], [0.9]), found()], wheat_threshold=0.5)
    assert (result.images, result.boxes, result.detections) == (2, 1, 1)
    assert result.coco.per_group == {}


@pytest.mark.parametrize(
    ("index", "detections", "threshold", "message"),
    [
        (index_of(), [], None, "at least one image"),
        (index_of(record("a")), [], None, "detections for 1 images, got 0 entries"),
        (index_of(record("a")), [found(BOX, [0.5], [2])], None, "a: expected labels 1 to 1, got 2"),
        (index_of(record("a")), [found()], 1.5, "threshold from 0 to 1, got 1.5"),
        (index_of(record("a")), [found()], float("nan"), "threshold from 0 to 1, got nan"),
    ],
)
def test_bad_arguments(
    index: DatasetIndex, detections: list[Detections], threshold: float | None, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        evaluate(index, detections, wheat_threshold=threshold)


def test_the_example_of_the_package() -> None:
    outcome = doctest.testmod(frostline.evaluation)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_importing_loads_neither_torch_nor_hotcoco() -> None:
    code = "import sys, frostline.evaluation as e; print({'torch', 'hotcoco'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
