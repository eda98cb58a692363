"""Sizes of boxes against the anchors of a model, and the image size that suits them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import Finding, shown
from frostline.datasets.index import ImageRecord
from frostline.errors import DatasetError

__all__ = ["ANCHOR_SIZES", "BoxSizes", "box_sizes", "size_findings", "suggest_image_size"]

ANCHOR_SIZES: Mapping[str, tuple[int, ...]] = {
    "slim": (16, 23, 32, 45, 64, 91, 128, 181),
    "stock": (32, 64, 128, 256, 512),
}
"""Side lengths of the anchors of each model preset, in pixels of the canvas."""

_ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width, as torchvision's detectors have them
_SMALL = 16.0  # px of the canvas; smaller objects are hard for strides of 8 and more
_SHARE = 0.1  # of the boxes, from which sizes are worth a warning
_FIT = 0.5  # IoU with the best anchor shape, below which a box is a poor fit


@dataclass(frozen=True)
class BoxSizes:
    """Sizes of boxes on the canvas of a model; a size is the square root of the area.

    Attributes:
        image_size: Longest side of an image after resizing, in pixels.
        preset: Key of `ANCHOR_SIZES`.
        quantiles: Sizes in pixels below which 5, 50 and 95 % of the boxes are.
        small_share: Part of the boxes below 16 pixels.
        misfit_share: Part of the boxes whose IoU with the best anchor *shape* is below 0.5.
        suggested_size: Image size at which 90 % of the boxes have 16 pixels or more, see
            `suggest_image_size`.
    """

    image_size: int
    preset: str
    quantiles: tuple[float, float, float]
    small_share: float
    misfit_share: float
    suggested_size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "quantiles": list(self.quantiles)}


def box_sizes(images: Iterable[ImageRecord], image_size: int, preset: str) -> BoxSizes:
    """Compare boxes with the anchors of a model.

    Args:
        images: Records, at least one with boxes.
        image_size: Longest side of an image after resizing, in pixels.
        preset: Key of `ANCHOR_SIZES`.

    Raises:
        DatasetError: If the preset is unknown.
    """
    if preset not in ANCHOR_SIZES:
        raise DatasetError(f"expected preset {' or '.join(ANCHOR_SIZES)}, got {shown(preset)!r}")
    records = [image for image in images if len(image.labels)]
    relative = _relative_sizes(records)  # (N, 2)
    size = np.sqrt(relative.prod(axis=1))
    low, middle, high = (float(q) for q in np.quantile(size * image_size, [0.05, 0.5, 0.95]))
    return BoxSizes(
        image_size=image_size,
        preset=preset,
        quantiles=(low, middle, high),
        small_share=float((size * image_size < _SMALL).mean()),
        misfit_share=float((_anchor_fit(relative * image_size, preset) < _FIT).mean()),
        suggested_size=suggest_image_size(records),
    )


def suggest_image_size(images: Iterable[ImageRecord]) -> int:
    """Smallest image size at which 90 % of the boxes have a size of 16 pixels or more.

    Returns:
        A multiple of 32 from 256 to 1024, and no more than the images have (but 256).
    """
    records = [image for image in images if len(image.labels)]
    if not records:
        return 320
    size = float(np.quantile(np.sqrt(_relative_sizes(records).prod(axis=1)), _SHARE))
    stored = max(max(image.width, image.height) for image in records)
    wanted = min(_SMALL / size, stored, 1024)
    return max(256, int(np.ceil(wanted / 32)) * 32)


def _relative_sizes(images: Sequence[ImageRecord]) -> npt.NDArray[np.float64]:
    """Width and height of all boxes, (N, 2), as parts of the longest side of their image."""
    return np.concatenate(
        [(i.boxes[:, 2:] - i.boxes[:, :2]) / max(i.width, i.height) for i in images]
    )


def _anchor_fit(extent: npt.NDArray[np.float64], preset: str) -> npt.NDArray[np.float64]:
    """IoU (N,) of boxes with extents (N, 2) and the anchor of the best shape at their centre."""
    sides = np.array(ANCHOR_SIZES[preset], dtype=np.float64)
    ratio = np.sqrt(np.array(_ASPECT_RATIOS))
    anchors = np.stack([np.outer(sides, 1 / ratio).ravel(), np.outer(sides, ratio).ravel()], axis=1)
    shared = np.minimum(extent[:, None], anchors).prod(axis=2)  # (N, anchors)
    union = extent.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared
    return np.asarray((shared / union).max(axis=1))


def size_findings(sizes: BoxSizes | None) -> Iterator[Finding]:
    """Warnings about boxes that are too small, or of a shape that no anchor has."""
    if sizes is not None and sizes.small_share > _SHARE:
        message = (
            f"{sizes.small_share:.0%} of the boxes are smaller than {_SMALL:g} pixels at image "
            f"size {sizes.image_size}: try {sizes.suggested_size}, or cut the images into tiles"
        )
        yield Finding("warning", "boxes-small", "", message)
    if sizes is not None and sizes.misfit_share > _SHARE:
        message = (
            f"{sizes.misfit_share:.0%} of the boxes fit no anchor of preset {sizes.preset} at "
            f"image size {sizes.image_size} (best IoU below {_FIT:g}): very long, small or large"
        )
        yield Finding("warning", "boxes-misfit", "", message)
