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


def test_three_seeds_of_other_lengths_in_the_plane() -> None:
    """Angles in the plane are differences of directions, whatever the lengths."""
    base, ends = np.array([2.0, 1.0]), [np.array(x) for x in ([3.0, 4.0], [-1.0, 2.0], [5.0, 1.0])]
    found = scatter(base, ends, 3)
    directions = [math.degrees(math.atan2(y, x)) for x, y in ends]
    own = math.degrees(math.atan2(1, 2))
    apart = [abs(a - b) for n, a in enumerate(directions) for b in directions[:n]]
    assert found.floor == pytest.approx(math.sqrt(sum(a * a for a in apart) / 3) / math.sqrt(6))
    mean = math.degrees(math.atan2(7 / 3, 7 / 3))
    assert found.signal == pytest.approx(abs(mean - own))
    turned = [1 - abs(math.cos(math.radians(d - own))) for d in directions]
    assert found.cosine == pytest.approx(sum(turned) / 3)
    updates = [end - base for end in ends]
    cosines = [
        a @ b / math.sqrt((a @ a) * (b @ b)) for n, a in enumerate(updates) for b in updates[:n]
    ]
    assert found.agreement == pytest.approx(sum(cosines) / 3)


def test_what_is_zero_before_and_after_did_not_turn_and_one_that_became_zero_has_no_angle() -> None:
    zero, one = np.zeros(2), np.array([1.0, 0.0])
    found = scatter(zero, [zero, zero], 2)
    assert (found.signal, found.floor, found.cosine) == (0.0, 0.0, 0.0)
    assert math.isnan(found.agreement)
    assert math.isnan(scatter(zero, [one, one], 2).signal)
    assert math.isnan(scatter(one, [zero, one], 2).floor)
