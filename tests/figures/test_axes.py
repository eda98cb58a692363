"""What is drawn the same way on any Axes."""

import numpy as np
import pytest

from frostline.figures.axes import legend_columns, shortened, spread


def test_names_that_would_overlap_are_pushed_apart() -> None:
    assert spread([0.5, 0.9], 0.1) == [0.5, 0.9]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.52, 0.5, 0.51], 0.1) == pytest.approx([0.61, 0.41, 0.51])


def test_spread_keeps_order_and_distance() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        places = random.random(6).tolist()
        moved = spread(places, 0.08)
        order = np.argsort(places)
        assert (np.diff(np.array(moved)[order]) >= 0.08 - 1e-12).all()


def test_a_long_name_keeps_both_ends() -> None:
    assert shortened("coco", 10) == "coco"
    assert shortened("mobilenet_v2_coco.safetensors", 15) == "mobilen\N{HORIZONTAL ELLIPSIS}tensors"
    assert all(len(shortened("a" * 40, most)) == most for most in range(3, 20))


def test_a_legend_has_as_many_columns_as_fit() -> None:
    assert legend_columns(["a", "b"], 900) == 2
    assert legend_columns(["a" * 60, "b"], 900) == 1
    assert legend_columns(["a" * 500], 100) == 1
    assert legend_columns([], 100) == 1
