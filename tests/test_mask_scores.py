"""Counts and scores of masks: by hand, by a slow loop over pixels, and by torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.classification import multiclass_jaccard_index as jaccard

from frostline.evaluation.masks import confusion, constant_floor, dice, iou, mean_present

IGNORED = 255


def test_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
    found = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    counts = confusion(truth, found, 3, IGNORED)
    assert counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert iou(counts)[:2].tolist() == [1 / 3, 2 / 4]
    assert np.isnan(iou(counts)[2])  # neither there nor found
    assert dice(counts)[:2].tolist() == [2 / 4, 4 / 6]
    assert mean_present(iou(counts)) == (1 / 3 + 1 / 2) / 2


def test_a_class_that_is_found_where_none_is_scores_0() -> None:
    counts = confusion(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8), 2, IGNORED)
    assert iou(counts).tolist() == [3 / 4, 0]


def _slow(truth: np.ndarray, found: np.ndarray, label: int) -> float:
    both = either = 0
    for t, f in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
        if t != IGNORED:
            both += t == label and f == label
            either += label in (t, f)
    return both / either if either else float("nan")


LABELS = arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, IGNORED]))


@settings(max_examples=40, deadline=None)
@given(LABELS, arrays(np.uint8, (5, 7), elements=st.integers(0, 2)))
def test_equal_to_a_slow_loop_and_to_torchmetrics(
    truth: np.ndarray, found: np.ndarray
) -> None:  # fmt: skip
    counts = confusion(truth, found, 3, IGNORED)
    for label in range(3):
        np.testing.assert_equal(iou(counts)[label], _slow(truth, found, label))
    there, given_ = torch.from_numpy(truth).int(), torch.from_numpy(found).int()
    theirs = multiclass_confusion_matrix(given_, there, 3, ignore_index=IGNORED)
    assert counts.tolist() == theirs.tolist()
    if counts.any():
        mean = jaccard(given_, there, 3, average="macro", ignore_index=IGNORED)
        assert mean_present(iou(counts)) == pytest.approx(float(mean), abs=1e-6)


def test_the_floor_is_the_best_mask_of_one_class() -> None:
    assert constant_floor(np.array([80, 20])) == 0.4
    assert constant_floor(np.array([10, 60, 30])) == pytest.approx(0.2)
    assert constant_floor(np.array([5, 0])) == 1.0  # all of one class
    assert constant_floor(np.array([0, 0])) == 0.0
