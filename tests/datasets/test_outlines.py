"""Polygons and runs of pixels, against pycocotools and by hand."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask

from frostline.datasets.outlines import box_of, mask_of, polygons_of
from frostline.errors import DatasetError

# pycocotools 2.0.11 under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def by_pycocotools(segmentation: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    runs = coco_mask.frPyObjects(segmentation, height, width)
    merged = coco_mask.merge(runs) if isinstance(runs, list) else runs
    return np.asarray(coco_mask.decode(merged), dtype=np.bool_)


def packed(pixels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": list(pixels.shape), "counts": runs["counts"].decode()}


def listed(pixels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Lengths of the runs down the columns, counted one pixel at a time."""
    counts, inside = [0], False
    for pixel in pixels.T.ravel().tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return {"size": list(pixels.shape), "counts": counts}


@pytest.mark.parametrize("seed", range(60))
def test_polygons_are_drawn_as_by_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2).tolist()
    polygons = [
        (rng.uniform(-0.3, 1.3, (rng.integers(3, 12), 2)) * (width, height)).ravel().tolist()
        for _ in range(rng.integers(1, 4))
    ]
    got = mask_of(polygons, height, width)
    assert got.shape == (height, width)
    assert got.flags["C_CONTIGUOUS"]
    assert np.array_equal(got, by_pycocotools(polygons, height, width))


@pytest.mark.parametrize("seed", range(60))
def test_runs_are_unpacked_as_by_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random(rng.integers(1, 90, 2).tolist()) < rng.choice([0.02, 0.5, 0.98])
    rows, columns = np.nonzero(pixels)
    box = None
    if len(rows):
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    for segmentation in (packed(pixels), listed(pixels)):
        assert np.array_equal(mask_of(segmentation, *pixels.shape), pixels)
        assert box_of(segmentation) == box


def test_long_runs_with_large_steps_are_unpacked() -> None:
    pixels = np.zeros((3000, 2000), np.bool_)
    pixels[5, 7] = pixels[100:2900, 900:1500] = True
    assert np.array_equal(mask_of(packed(pixels), 3000, 2000), pixels)
    assert box_of(packed(pixels)) == (7, 5, 1500, 2900)


def test_a_square_covers_its_pixels() -> None:
    # Corners of pixels 1 to 4: the four pixels inside, by hand
    square = mask_of([[1, 1, 3, 1, 3, 3, 1, 3]], 5, 4)
    assert square.astype(int).tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_ways_to_write_one_polygon() -> None:
    flat = [1, 1, 6, 1.5, 4, 7]
    ways = [[flat], flat, [[[1, 1], [6, 1.5], [4, 7]]]]
    masks = [mask_of(way, 9, 9) for way in ways]
    assert masks[0].any()
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    assert {box_of(way) for way in ways} == {(1, 1, 6, 7)}


def test_what_has_no_area_has_no_pixels() -> None:
    assert not mask_of([[1, 1, 5, 5]], 9, 9).any()  # two points
    assert not mask_of([], 9, 9).any()
    assert not mask_of({"size": [9, 9], "counts": [81]}, 9, 9).any()
    assert box_of([]) is None
    assert box_of({"size": [9, 9], "counts": [81]}) is None
    assert box_of([[1, 1, 5, 5]]) == (1, 1, 5, 5)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "polygon",
        7,
        [[1, 2, 3]],
        [[1, 2, "3", 4, 5, 6]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[1, 2, float("inf"), 4, 5, 6]],
        [[1, 2, 1e9, 4, 5, 6]],
        [[1, 2, 10**400, 4, 5, 6]],
        [{"x": 1}],
        {},
        {"size": [4, 4]},
        {"size": [4, 4], "counts": None},
        {"size": [4, 4], "counts": [8, 9]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [True, 15]},
        {"size": [4, 4], "counts": [1.5, 14.5]},
        {"size": [4, 4], "counts": "é"},
        {"size": [4, 4], "counts": "o" * 40},  # a number that never ends
        {"size": [4, 4], "counts": "@2\x07"},
        {"size": [4], "counts": [16]},
        {"size": ["4", 4], "counts": [16]},
        {"size": [-4, -4], "counts": [16]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [10**30, 1], "counts": [10**30]},
        {"size": [8, 2], "counts": [16]},  # of another image
    ],
)
def test_other_values_are_refused_in_one_line(bad: Any) -> None:
    with pytest.raises(DatasetError) as error:
        mask_of(bad, 4, 4)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_drawing_is_bounded_before_it_begins() -> None:
    zigzag = [value for n in range(10_000) for value in (0 if n % 2 else 9000, n % 7)]
    with pytest.raises(DatasetError, match="expected an outline of at most 2000000 pixels"):
        mask_of([zigzag], 9000, 9000)
    with pytest.raises(DatasetError, match="pixels, got 100000x100000"):
        mask_of([[0, 0, 1, 0, 1, 1]], 100_000, 100_000)


def test_points_of_polygons_come_as_pairs() -> None:
    (points,) = polygons_of(json.loads("[[1, 2, 3, 4, 5.5, 6]]"))
    assert points.tolist() == [[1, 2], [3, 4], [5.5, 6]]
