"""Files of what was found: COCO results, the images that they are of, and pictures."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline.datasets import DatasetIndex, ImageRecord
from frostline.datasets.findings import shown
from frostline.errors import RecordError
from frostline.evaluation import Detections, to_coco_results
from frostline.predicting.drawing import draw_boxes, draw_labels
from frostline.predicting.rle import encoded
from frostline.records import write_json
from frostline.weights_header import WeightsHeader

__all__ = ["Predicted", "write_predictions"]

_RESULTS, _IMAGES, _PICTURES = "results.json", "images.json", "pictures"


@dataclass(frozen=True)
class Predicted:
    """What was found in the images of one folder or zip file.

    Attributes:
        index: the images.
        found: for each `Detections`, or labels uint8 (H, W).
    """

    index: DatasetIndex
    found: Sequence[Any]


def write_predictions(
    folder: Path,
    parts: Sequence[Predicted],
    header: WeightsHeader,
    *,
    threshold: float,
    pictures: bool = True,
) -> None:
    """Write ``results.json``, ``images.json`` and ``pictures/``; the folder appears whole.

    ``images.json`` is a COCO annotation file without annotations: ``pycocotools.coco.COCO`` reads
    it, and its ``loadRes`` then ``results.json``. Ids of images and categories count from 1.

    Args:
        folder: new, or empty.
        parts: what was found.
        header: of the weights.
        threshold: score from which boxes are drawn; the results have all.
        pictures: whether to draw.

    Raises:
        DatasetError: an image cannot be decoded.
        RecordError: the folder is in use, or cannot be written.
    """
    require_unused(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".frostline-", dir=folder.parent) as partial:
            whole = Path(partial, "whole")
            _write(whole, parts, header, threshold, pictures)
            whole.replace(folder)
    except OSError as error:
        raise RecordError(
            f"cannot write {shown(folder)}: {shown(error.strerror or error)}"
        ) from None


def require_unused(folder: Path) -> None:
    """Refuse a folder that something is in.

    Raises:
        RecordError: it is in use, or no folder.
    """
    try:
        used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise RecordError(
            f"cannot read {shown(folder)}: {shown(error.strerror or error)}"
        ) from None
    if used:
        raise RecordError(f"expected a new or empty folder to write to, {shown(folder)} is in use")


def _write(
    folder: Path, parts: Sequence[Predicted], header: WeightsHeader, threshold: float, draw: bool
) -> None:
    first, results = 0, list[dict[str, Any]]()
    images: list[dict[str, Any]] = []
    for part in parts:
        own = _results(part, header)
        results += [row | {"image_id": row["image_id"] + first} for row in own]
        for n, record in enumerate(part.index, first + 1):
            file = (part.index.root / record.file).as_posix() if len(parts) > 1 else record.file
            images.append(
                {"id": n, "file_name": file, "width": record.width, "height": record.height}
            )
        first += len(part.index)
    categories = [{"id": n, "name": name} for n, name in enumerate(header.classes, 1)]
    info = {"threshold": threshold} if header.task == "detection" else {}
    write_json(folder / _RESULTS, results)
    write_json(
        folder / _IMAGES,
        {"info": info, "images": images, "annotations": [], "categories": categories},
    )
    if draw:
        (folder / _PICTURES).mkdir()
        for number, (part, record, found) in enumerate(_each(parts), 1):
            _draw(folder / _PICTURES, number, part.index, record, found, threshold)


def _each(parts: Sequence[Predicted]) -> Iterator[tuple[Predicted, ImageRecord, Any]]:
    for part in parts:
        for record, found in zip(part.index, part.found, strict=True):
            yield part, record, found


def _results(part: Predicted, header: WeightsHeader) -> list[dict[str, Any]]:
    """COCO results of one folder, image ids from 1."""
    if header.task == "detection":
        return to_coco_results(part.index, part.found)
    return list(
        itertools.chain.from_iterable(_masks(n, labels) for n, labels in enumerate(part.found, 1))
    )


def _masks(image: int, labels: Any) -> Iterator[dict[str, Any]]:
    """A mask for each class that an image has."""
    for label in np.unique(labels).tolist():
        row = {
            "image_id": image,
            "category_id": label + 1,
            "segmentation": encoded(labels == label),
        }
        yield row | {"score": 1.0}


def _draw(
    folder: Path,
    number: int,
    index: DatasetIndex,
    record: ImageRecord,
    found: Any,
    threshold: float,
) -> None:
    pixels = index.load(record)
    if isinstance(found, Detections):
        picture = draw_boxes(pixels, found.keep(found.scores >= threshold), index.classes)
    else:
        picture = draw_labels(pixels, found)
    name = Path(record.file).stem.encode("ascii", "replace").decode().replace("?", "_")
    picture.save(folder / f"{number:05}_{name[:80]}.jpg", quality=90)
