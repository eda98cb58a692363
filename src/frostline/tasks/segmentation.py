"""Segmentation: the class of every pixel, scored by mean IoU and Dice."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from frostline.datasets import DatasetIndex, ImageRecord, Mask, mask_labels
from frostline.datasets.targets import IGNORED
from frostline.errors import DatasetError
from frostline.evaluation.masks import confusion, constant_floor, dice, iou, mean_present
from frostline.records import PartRecord, SplitDetails
from frostline.segmentation_scores import SEGMENTATION_SCORES
from frostline.tasks.canvas import Canvas
from frostline.tasks.later import later
from frostline.tasks.task import Measured, Placed, Task

if TYPE_CHECKING:
    from frostline.tasks.masks import PlacedMasks

__all__ = ["TASK"]

_Labels = npt.NDArray[np.uint8]
_Counts = npt.NDArray[np.int64]


def _place(index: DatasetIndex, canvas: Canvas) -> "PlacedMasks":
    from frostline.tasks.masks import PlacedMasks

    boxed = next((x.file for x in index.images if not isinstance(x.target, Mask)), None)
    if boxed is not None:
        raise DatasetError(
            f"{boxed}: expected a mask, its annotation is boxes; task segmentation reads layout "
            "masks, and outlines of layout coco"
        )
    return PlacedMasks(index, canvas)


def _remarks(images: Placed) -> dict[str, int]:
    return {}


def _evaluate(
    index: DatasetIndex,
    found: Sequence[_Labels],
    thresholds: Mapping[str, float] | None,
    asked: Collection[str],
) -> Measured:
    pairs = zip(index.images, found, strict=True)
    by_image = np.stack([_counts(image, labels, len(index.classes)) for image, labels in pairs])
    total = by_image.sum(axis=0)  # (C, C)
    details = SplitDetails(
        floor=constant_floor(total.sum(axis=1)),
        counts={"images": len(index), "pixels": int(total.sum())},
        by_class=_by_class(index.classes, total),
        by_group=_by_group(index, by_image),
    )
    return Measured(_scores(total) | _by_image(by_image), details)


def _counts(image: ImageRecord, found: _Labels, classes: int) -> _Counts:
    assert isinstance(image.target, Mask), "read as masks"
    return confusion(mask_labels(image.target), found, classes, IGNORED)


def _scores(counts: _Counts) -> dict[str, float | None]:
    return {
        "miou": _known(mean_present(iou(counts))),
        "dice": _known(mean_present(dice(counts))),
        "pixel_accuracy": _known(counts.trace() / counts.sum() if counts.any() else np.nan),
    }


def _by_image(counts: _Counts) -> dict[str, float | None]:
    """Mean and standard deviation over images; images without a pixel that counts are left out."""
    own = [mean_present(iou(image)) for image in counts if image.any()]
    spread = float(np.std(own, ddof=1)) if len(own) > 1 else np.nan
    return {"image_miou": _known(mean_present(own)), "image_spread": _known(spread)}


def _by_class(classes: Sequence[str], counts: _Counts) -> dict[str, PartRecord]:
    rows = zip(classes, iou(counts), dice(counts), counts.sum(axis=1), strict=True)
    return {
        name: PartRecord(
            scores={"miou": _known(own), "dice": _known(its)}, counts={"pixels": int(pixels)}
        )
        for name, own, its, pixels in rows
    }


def _by_group(index: DatasetIndex, by_image: _Counts) -> dict[str, PartRecord]:
    groups = dict.fromkeys(image.group for image in index.images if image.group is not None)
    parts = {}
    for group in groups:
        counts = by_image[[image.group == group for image in index.images]].sum(axis=0)
        parts[group] = PartRecord(scores=_scores(counts), counts={"pixels": int(counts.sum())})
    return parts


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _write(index: DatasetIndex, found: Sequence[_Labels]) -> list[str]:
    """Labels of each image as a grey PNG in base64: the class of each pixel, from 0."""
    return [base64.b64encode(_png(labels)).decode("ascii") for labels in found]


def _png(labels: _Labels) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


TASK = Task(
    declares=SEGMENTATION_SCORES,
    build=later("frostline.architectures.building:build_model"),
    place=_place,
    remarks=_remarks,
    augment=later("frostline.tasks.masks:augment"),
    loss=later("frostline.tasks.masks:loss"),
    predict=later("frostline.tasks.masks:predict"),
    evaluate=_evaluate,
    write=_write,
)
