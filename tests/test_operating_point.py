"""The score threshold with the best F1, by hand and against matching anew at every threshold."""

from pathlib import Path

import numpy as np
import pytest

from frostline.datasets import Boxes, DatasetIndex, ImageRecord
from frostline.evaluation import Detections
from frostline.evaluation.operating_point import best_f1_threshold


def image(file: str, boxes: list[list[float]], labels: list[int], crowd: list[bool]) -> ImageRecord:
    target = Boxes(
        np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(crowd, bool)
    )
    return ImageRecord(file, 200, 200, target)


def found(*rows: tuple[float, float, int]) -> Detections:
    """Detections of 10 x 10 px at (x, 0): x, score, label."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], float).reshape(-1, 4)
    return Detections(
        boxes, np.array([r[1] for r in rows]), np.array([r[2] for r in rows], np.int64)
    )


def index(*images: ImageRecord) -> DatasetIndex:
    return DatasetIndex(Path("x"), ("a", "b"), images)


ONE = image("1", [[0, 0, 10, 10], [50, 0, 60, 10]], [1, 2], [False, False])


@pytest.mark.parametrize(
    ("detections", "threshold"),
    [
        # 2 boxes. At .9: TP 1, F1 2/3. At .5: TP 2, FP 1, F1 4/5. At .3: FP 2, F1 4/6
        ([(0, 0.9, 1), (90, 0.6, 1), (50, 0.5, 2), (70, 0.3, 2)], 0.5),
        # the second on the same box is wrong: .9 has 2/3, .8 has 2/4
        ([(0, 0.9, 1), (1, 0.8, 1)], 0.9),
        # another class takes nothing
        ([(0, 0.9, 2), (50, 0.4, 2)], 0.4),
        # equal scores are kept or left together: both at .7, TP 1, FP 1; alone it would be better
        ([(0, 0.7, 1), (90, 0.7, 1)], 0.7),
        # as good at .8 as at .2 (2/3 = 4/6): the higher one
        ([(0, 0.8, 1), (90, 0.7, 1), (80, 0.6, 1), (50, 0.2, 2)], 0.8),
        ([(90, 0.9, 1)], None),
        ([], None),
    ],
)
def test_by_hand(detections: list[tuple[float, float, int]], threshold: float | None) -> None:
    assert best_f1_threshold(index(ONE), [found(*detections)]) == threshold


def test_crowds_are_neither_right_nor_wrong() -> None:
    crowd = image("1", [[0, 0, 10, 10], [40, 0, 190, 10]], [1, 1], [False, True])
    inside = [(float(x), 0.9, 1) for x in range(50, 100, 12)]
    assert best_f1_threshold(index(crowd), [found(*inside, (0, 0.2, 1))]) == 0.2
    of_another_class = [(x, s, 2) for x, s, _ in inside]
    both = image("2", [[0, 0, 10, 10]], [1], [False])
    detections = [found(*of_another_class, (0, 0.2, 1)), found((0, 0.95, 1))]
    assert best_f1_threshold(index(crowd, both), detections) == 0.95


def _f1(images: list[ImageRecord], detections: list[Detections], threshold: float) -> float:
    right = kept = 0
    for record, all_ in zip(images, detections, strict=True):
        taken: set[int] = set()
        rows = [n for n in np.argsort(-all_.scores, kind="stable") if all_.scores[n] >= threshold]
        kept += len(rows)
        for n in rows:
            best, at = 0.0, -1
            for g, (x0, y0, x1, y1) in enumerate(record.boxes.tolist()):
                a, b, c, d = all_.boxes[n].tolist()
                w, h = min(c, x1) - max(a, x0), min(d, y1) - max(b, y0)
                shared = max(w, 0) * max(h, 0)
                iou = shared / ((c - a) * (d - b) + (x1 - x0) * (y1 - y0) - shared)
                if g not in taken and all_.labels[n] == record.labels[g] and iou > best:
                    best, at = iou, g
            if best >= 0.5:
                taken.add(at)
                right += 1
    return 2 * right / (kept + sum(len(record.boxes) for record in images))


@pytest.mark.parametrize("seed", range(8))
def test_against_matching_anew(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for n in range(6):
        corner = rng.uniform(0, 80, (7, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (7, 2))], axis=1)
        labels = rng.integers(1, 3, 7)
        images.append(image(str(n), boxes.tolist(), labels.tolist(), [False] * 7))
        moved = np.concatenate(
            [boxes + np.tile(rng.normal(0, 5, (7, 2)), 2), boxes[::-1] + np.array([30, 5, 30, 5])]
        )
        scores = rng.integers(1, 20, 14) / 20
        detections.append(Detections(moved, scores, np.concatenate([labels, labels])))
    every = sorted({float(s) for d in detections for s in d.scores}, reverse=True)
    values = [_f1(images, detections, t) for t in every]
    assert best_f1_threshold(index(*images), detections) == every[int(np.argmax(values))]
