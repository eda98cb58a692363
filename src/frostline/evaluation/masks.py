"""Segmentation, measured from counts of pixels: counts[t, p] pixels of class t found to be p."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["confusion", "constant_floor", "dice", "iou", "mean_present"]

_Labels = npt.NDArray[np.uint8]
_Counts = npt.NDArray[np.int64]


def confusion(truth: _Labels, found: _Labels, classes: int, ignored: int) -> _Counts:
    """Pixels by what they are and what they were found to be.

    Args:
        truth: uint8 (H, W), labels 0 to ``classes`` - 1, or ``ignored``.
        found: uint8 (H, W), labels 0 to ``classes`` - 1.
        classes: how many there are.
        ignored: label of pixels that do not count.

    Returns:
        int64 (classes, classes), by true and found class.
    """
    assert truth.shape == found.shape, "scores are measured at the mask's own size"
    counted = truth != ignored
    pairs = truth[counted].astype(np.int64) * classes + found[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(counts: _Counts) -> npt.NDArray[np.float64]:
    """Intersection over union of each class, TP / (TP + FP + FN), float64 (C,).

    NaN for a class that is neither there nor found.
    """
    right, there, found = _sums(counts)
    return _ratio(right, there + found - right)


def dice(counts: _Counts) -> npt.NDArray[np.float64]:
    """Dice of each class, 2 TP / (2 TP + FP + FN), float64 (C,); NaN as in ``iou``."""
    right, there, found = _sums(counts)
    return _ratio(2 * right, there + found)


def mean_present(values: Iterable[float]) -> float:
    """The mean of those that are no NaN; NaN where all are."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def constant_floor(pixels: _Counts) -> float:
    """The best mean IoU of a mask that is one class all over; 0 without pixels.

    Args:
        pixels: int64 (C,), pixels of each class in the truth.

    Example:
        >>> constant_floor(np.array([80, 20, 0]))
        0.4
    """
    best = 0.0
    for label in range(len(pixels)):
        counts = np.zeros((len(pixels), len(pixels)), np.int64)
        counts[:, label] = pixels
        if pixels.any():
            best = max(best, mean_present(iou(counts)))
    return best


def _sums(counts: _Counts) -> tuple[_Counts, _Counts, _Counts]:
    """Right, there, found: int64 (C,) each."""
    return counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)


def _ratio(part: _Counts, whole: _Counts) -> npt.NDArray[np.float64]:
    """NaN where the whole is nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(part, whole, dtype=np.float64))
