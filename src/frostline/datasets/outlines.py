"""Outlines of objects as COCO has them: polygons, and runs of pixels (RLE).

A polygon is ``[x0, y0, x1, y1, ...]`` in pixels, an object a list of them. Runs are
``{"size": [height, width], "counts": ...}``: lengths of stretches outside and inside in turn, down
the columns from the left; a list of numbers, or those packed into text (pycocotools'
``common/maskApi.c``). What a file says is checked before anything of that size is made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import shown
from frostline.datasets.images import MAX_PIXELS
from frostline.errors import DatasetError

__all__ = ["box_of", "mask_of", "polygons_of"]

_FARTHEST = 1e6
"""Largest coordinate in pixels that is believed."""

_LONGEST = 2_000_000
"""Longest edge of an object in pixels that is drawn: drawing takes 100 bytes for each of them."""

_POINTS = 3  # of a polygon with an area
_MOST_CHARACTERS = 7  # of one packed number: 35 bits, more than any image has pixels


def mask_of(segmentation: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Pixels of one object.

    Polygons are drawn as pycocotools draws them, and united; what sticks out of the image is cut
    off. A polygon of fewer than three points has no pixels.

    Args:
        segmentation: Value of the key ``segmentation`` of a COCO annotation.
        height: Of the image in pixels.
        width: Of the image in pixels.

    Returns:
        bool (height, width), in C order.

    Raises:
        DatasetError: If it is neither polygons nor runs, the runs do not fill this image, or the
            image or an outline is too large to be drawn.

    Example:
        >>> mask_of({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3).astype(int)
        array([[0, 1, 0],
               [1, 0, 0]])
    """
    _require_size(height, width)
    if not isinstance(segmentation, Mapping):
        return _drawn(polygons_of(segmentation), height, width)
    size, lengths = _runs(segmentation)
    if size != (height, width):
        raise DatasetError(
            f"expected runs of an image of {width}x{height}, got {size[1]}x{size[0]}"
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(width, height).T)


def box_of(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Smallest box around an object: ``x0, y0, x1, y1`` in pixels; None if it has no pixels.

    Of polygons it is the box around the points, as in COCO; of runs that around the pixels.

    Raises:
        DatasetError: If it is neither polygons nor runs.

    Example:
        >>> box_of([[1.5, 2, 8, 2, 8, 6]]), box_of({"size": [2, 3], "counts": [1, 2, 3]})
        ((1.5, 2.0, 8.0, 6.0), (0.0, 0.0, 2.0, 2.0))
    """
    if isinstance(segmentation, Mapping):
        return _box_of_runs(*_runs(segmentation))
    polygons = [points for points in polygons_of(segmentation) if len(points)]
    if not polygons:
        return None
    points = np.concatenate(polygons)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def polygons_of(segmentation: Any) -> list[npt.NDArray[np.float64]]:
    """Points of the polygons of one object, each float64 (N, 2) as x, y.

    Some programs write a single polygon without the list around it, or points as pairs; both are
    taken.

    Raises:
        DatasetError: If it is anything else, or a coordinate is not finite or beyond a million.
    """
    if not isinstance(segmentation, list):
        raise DatasetError(f"expected polygons or runs, got {shown(segmentation)}")
    if segmentation and all(_is_number(value) for value in segmentation):
        segmentation = [segmentation]
    return [_points(polygon) for polygon in segmentation]


def _points(polygon: Any) -> npt.NDArray[np.float64]:
    values = polygon
    if isinstance(polygon, list) and all(isinstance(p, list) and len(p) == 2 for p in polygon):  # noqa: PLR2004 - x, y
        values = [value for pair in polygon for value in pair]
    if not isinstance(values, list) or len(values) % 2 or not all(map(_is_number, values)):
        raise DatasetError(f"expected a polygon [x0, y0, x1, y1, ...], got {shown(polygon)}")
    if not all(abs(value) <= _FARTHEST for value in values):  # NaN is not, either
        raise DatasetError(f"expected a polygon with coordinates in pixels, got {shown(polygon)}")
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_size(height: int, width: int) -> None:
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise DatasetError(
            f"expected an image of 1 to {MAX_PIXELS} pixels, got {shown(f'{width}x{height}')}"
        )


def _drawn(
    polygons: Sequence[npt.NDArray[np.float64]], height: int, width: int
) -> npt.NDArray[np.bool_]:
    """Pixels of polygons, bool (H, W)."""
    areas = [points for points in polygons if len(points) >= _POINTS]
    edges = (np.diff(points, axis=0, append=points[:1]) for points in areas)
    length = sum(float(np.abs(edge).max(axis=1).sum()) for edge in edges)
    if length > _LONGEST:
        raise DatasetError(
            f"expected an outline of at most {_LONGEST} pixels, got one of {length:.0f}"
        )
    if not areas:
        return np.zeros((height, width), np.bool_)
    from hotcoco import mask

    runs = [mask.fr_poly(points.ravel().tolist(), height, width) for points in areas]
    return np.ascontiguousarray(mask.decode(mask.merge(runs)), dtype=np.bool_)


def _runs(segmentation: Mapping[str, Any]) -> tuple[tuple[int, int], npt.NDArray[np.int64]]:
    """Height and width, and the lengths int64 (N,), which fill the image."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int for n in size):  # noqa: PLR2004 - height, width
        raise DatasetError(f"expected runs with size [height, width], got {shown(size)}")
    height, width = size
    _require_size(height, width)
    lengths = _unpacked(counts) if isinstance(counts, str) else _listed(counts, height * width)
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > MAX_PIXELS:
        raise DatasetError(f"expected lengths of runs, got {shown(counts)}")
    if lengths.sum() != height * width:
        raise DatasetError(
            f"expected runs of {height * width} pixels together, got {int(lengths.sum())}"
        )
    return (height, width), lengths


def _listed(counts: Any, most: int) -> npt.NDArray[np.int64]:
    if not isinstance(counts, list) or not all(type(n) is int and 0 <= n <= most for n in counts):
        raise DatasetError(f"expected lengths of runs, got {shown(counts)}")
    return np.array(counts, dtype=np.int64)


def _unpacked(text: str) -> npt.NDArray[np.int64]:
    """Lengths that are packed into text.

    Five bits a character from the lowest, each plus 48; 32 says that more follow, and the highest
    bit of the last is the sign. From the fourth number on it is the difference to the one two
    before it.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise DatasetError(f"expected packed runs, got {shown(text)}") from error
    if not len(codes):
        return np.zeros(0, np.int64)
    last = (codes & 32) == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))  # (N,) where each number starts
    digit = np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes)))
    if codes.min() < 0 or codes.max() > 63 or not last[-1] or digit.max() >= _MOST_CHARACTERS:  # noqa: PLR2004 - six bits
        raise DatasetError(f"expected packed runs, got {shown(text)}")
    numbers = np.add.reduceat((codes & 31) << 5 * digit, first)
    numbers -= np.where(codes[last] & 16, 1 << 5 * (digit[last] + 1), 0)
    numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return numbers


def _box_of_runs(
    size: tuple[int, int], lengths: npt.NDArray[np.int64]
) -> tuple[float, float, float, float] | None:
    height, _ = size
    ends = np.cumsum(lengths)
    inside = (np.arange(len(lengths)) % 2 == 1) & (lengths > 0)
    first, last = (ends - lengths)[inside], ends[inside] - 1  # pixels, down the columns
    if not len(first):
        return None
    wraps = (first // height != last // height).any()  # a run that goes on in the next column
    top = 0 if wraps else (first % height).min()
    bottom = height - 1 if wraps else (last % height).max()
    x0, x1 = int(first.min()) // height, int(last.max()) // height
    return float(x0), float(top), float(x1 + 1), float(bottom + 1)
