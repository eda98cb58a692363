"""What validation images can tell, against the textbook's standard error."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.advising.resolving import half_width
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.datasets.targets import Boxes
from frostline.evaluation import Detections
from frostline.records import SplitDetails
from frostline.tasks import Measured, task_named

IMAGES = 100


def _mean(
    index: DatasetIndex, found: Sequence[Any], _: Mapping[str, float] | None, asked: Collection[str]
) -> Measured:
    """The mean of a number an image."""
    assert len(index) == len(found)
    assert not asked
    return Measured({"ap": float(np.mean(found))}, SplitDetails(floor=0.0))


MEAN = dataclasses.replace(task_named("detection"), evaluate=_mean)


def squares_index(images: int) -> DatasetIndex:
    """Images of 64 px with a box each."""
    box, label, crowd = np.array([[8.0, 8.0, 40.0, 40.0]]), np.ones(1, np.int64), np.zeros(1, bool)
    records = (ImageRecord(f"{n}.png", 64, 64, Boxes(box, label, crowd)) for n in range(images))
    return DatasetIndex(Path(), ("square",), tuple(records))


def test_of_a_mean_it_is_the_usual_interval() -> None:
    """Differences of n images with standard deviation s: 1.96 s / sqrt(n)."""
    random = np.random.default_rng(1)
    a, b = random.normal(0.5, 0.2, (2, IMAGES))
    found = half_width(MEAN, squares_index(IMAGES), a.tolist(), b.tolist())
    assert found == pytest.approx(1.96 * (a - b).std() / math.sqrt(IMAGES), rel=0.2)


def test_what_both_models_share_tells_nothing_apart() -> None:
    """Images of very different difficulty, the same for both: the pairs differ by .1 throughout."""
    a = np.linspace(0, 1, IMAGES)
    found = half_width(MEAN, squares_index(IMAGES), a.tolist(), (a - 0.1).tolist())
    assert found == pytest.approx(0.0, abs=1e-12)


def test_of_average_precision() -> None:
    """Equal detections differ by nothing; where one model misses half of the images, they do."""
    index = squares_index(20)
    task = task_named("detection")
    whole = [Detections(i.boxes, np.ones(len(i.boxes)), i.labels) for i in index.images]
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    half = [one if n % 2 else none for n, one in enumerate(whole)]
    assert half_width(task, index, whole, whole) == 0.0
    found = half_width(task, index, whole, half)
    assert found is not None
    assert 0.1 < found < 0.4  # of a share of .5 in 20 images: 1.96 x .11


def test_images_without_a_score_have_no_width() -> None:
    """No box at all: average precision is absent."""
    target = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))
    index = squares_index(4)
    images = tuple(dataclasses.replace(image, target=target) for image in index.images)
    none = [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * 4
    empty = dataclasses.replace(index, images=images)
    assert half_width(task_named("detection"), empty, none, none) is None
