"""The noise floor of one tensor, against angles worked by hand."""

import math

import numpy as np
import pytest

from frostline.difference.scatter import moved_beyond, scatter


def test_two_seeds_in_the_plane() -> None:
    """From (1, 0): one seed to (0, 1), the other to (1, 1)."""
    found = scatter(np.array([1.0, 0.0]), [np.array([0.0, 1.0]), np.array([1.0, 1.0])], 2)
    # Their mean is (0.5, 1), they are 45 degrees apart, and sqrt(2 S) = 2.
    assert found.signal == pytest.approx(math.degrees(math.atan2(1, 0.5)))
    assert found.floor == pytest.approx(45 / 2)
    assert found.agreement == pytest.approx(1 / math.sqrt(2))  # (-1, 1) and (0, 1)
    assert found.cosine == pytest.approx((1 + 1 - 1 / math.sqrt(2)) / 2)
    assert found.control is None


def test_the_control_run_is_no_seed() -> None:
    ends = [np.array([0.0, 2.0]), np.array([0.0, 3.0]), np.array([-1.0, 0.0])]
    found = scatter(np.array([1.0, 0.0]), ends, 2)
    assert found.signal == pytest.approx(90)
    assert found.floor == 0
    assert found.control == pytest.approx(180)


def test_the_threshold_belongs_to_the_angle() -> None:
    assert moved_beyond(30, 2) == pytest.approx(1 - math.cos(math.radians(60)))
    assert moved_beyond(100, 2) == pytest.approx(2)  # never beyond the opposite direction
