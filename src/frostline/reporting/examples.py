"""Example detections beside ground truth: a few validation images, chosen by rule, with boxes."""

import base64
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from frostline.boxes import box_iou
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.errors import DatasetError
from frostline.evaluation import Detections, from_coco_results
from frostline.records import TrialRecord

__all__ = [
    "Box",
    "Example",
    "Panel",
    "example_images",
    "pick_images",
    "read_detections",
    "thumbnail",
]

_log = logging.getLogger(__name__)

Kind = Literal["truth", "hit", "false", "missed"]

_IOU = 0.5
_USUAL_THRESHOLD = 0.5
_LONGEST_SIDE = 480  # px of a thumbnail
_QUALITY = 78
_MOST_BOXES = 400  # a panel with more says nothing to the eye and much to the file size


@dataclass(frozen=True, slots=True)
class Box:
    """One rectangle, in pixels of the image as annotated.

    Attributes:
        x: left.
        y: top.
        width: > 0.
        height: > 0.
        kind: ``truth`` (annotated), ``hit`` (found, IoU >= 0.5 with an annotated box of its class),
            ``false`` (found, but nothing is annotated there), ``missed`` (annotated, not found).
        text: class and score.
    """

    x: float
    y: float
    width: float
    height: float
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of an example.

    Attributes:
        title: what it shows.
        boxes: those that are drawn; of each kind the first 400.
        counts: how many there are of each kind.
        overlay: a transparent picture over the photo as a data URI; "" for none.
        text: what the caption says instead of the counts.
    """

    title: str
    boxes: tuple[Box, ...]
    counts: Mapping[Kind, int]
    overlay: str = ""
    text: str = ""

    @property
    def left_out(self) -> int:
        """Boxes that are counted and not drawn."""
        return sum(self.counts.values()) - len(self.boxes)


@dataclass(frozen=True, slots=True)
class Example:
    """One validation image: thumbnail as a data URI, ground truth and what was found.

    ``note`` says why it is shown, where it was picked for what was found in it; else "".
    """

    file: str
    group: str | None
    width: int
    height: int
    image: str
    panels: tuple[Panel, ...]
    note: str = ""


def example_images(
    index: DatasetIndex, trials: Sequence[tuple[str, TrialRecord, Path]], *, count: int = 4
) -> tuple[Example, ...]:
    """Draw a few images with the detections of some trials.

    Args:
        index: the validation images.
        trials: title, record, and file of detections of each trial to show.
        count: how many images.

    Raises:
        DatasetError: an image cannot be read, or a detections file does not fit the images.
    """
    found = [(title, read_detections(file, index), _threshold(r)) for title, r, file in trials]
    examples = []
    for i in pick_images(index, count):
        record = index.images[i]
        panels = [_truth_panel(index, record)]
        panels += [_panel(index, record, sets[i], at, title) for title, sets, at in found]
        examples.append(
            Example(
                record.file,
                record.group,
                record.width,
                record.height,
                thumbnail(index.load(record)),
                tuple(panels),
            )
        )
    return tuple(examples)


def pick_images(index: DatasetIndex, count: int) -> list[int]:
    """Positions of ``count`` images spread evenly over the number of boxes, from few to many.

    The choice knows nothing of the detections, so it cannot flatter them.
    """
    order = sorted(
        range(len(index.images)), key=lambda i: (len(index.images[i].boxes), index.images[i].file)
    )
    count = min(count, len(order))
    return [order[(2 * n + 1) * len(order) // (2 * count)] for n in range(count)]


def read_detections(path: Path, index: DatasetIndex, split: str = "val") -> tuple[Detections, ...]:
    """What a trial found, one entry per image of ``index``.

    Raises:
        DatasetError: the file is missing, is not JSON, or does not fit the images.
    """
    try:
        results = json.loads(path.read_bytes())[split]
        return from_coco_results(index, results, own_ids=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"expected detections of {len(index.images)} images in {path.name}, "
            f"got {type(error).__name__}; run the trial again"
        ) from None


def _threshold(record: TrialRecord) -> float:
    """Score from which boxes are drawn: the one that a metric chose on these images, else 0.5."""
    return next(iter(record.details["val"].thresholds.values()), _USUAL_THRESHOLD)


def _truth_panel(index: DatasetIndex, record: ImageRecord) -> Panel:
    keep = ~record.crowd
    texts = [index.classes[label - 1] for label in record.labels[keep]]
    boxes = _boxes(record.boxes[keep], "truth", texts)
    return Panel("annotated", boxes, {"truth": int(keep.sum())})


def _panel(
    index: DatasetIndex, record: ImageRecord, found: Detections, threshold: float, title: str
) -> Panel:
    keep = ~record.crowd
    truth, labels = record.boxes[keep], record.labels[keep]
    kept = found.keep(found.scores >= threshold)
    hits, taken = _match(kept, truth, labels)
    judged = hits | ~_inside(kept.boxes, record.boxes[record.crowd])
    kept, hits = kept.keep(judged), hits[judged]
    texts = [
        f"{index.classes[label - 1]} {score:.2f}"
        for label, score in zip(kept.labels, kept.scores, strict=True)
    ]
    names = [index.classes[label - 1] for label in labels]
    boxes = (
        *_boxes(truth[~taken], "missed", _where(names, ~taken)),
        *_boxes(kept.boxes[~hits], "false", _where(texts, ~hits)),
        *_boxes(kept.boxes[hits], "hit", _where(texts, hits)),
    )
    counts: dict[Kind, int] = {
        "hit": int(hits.sum()),
        "false": int((~hits).sum()),
        "missed": int((~taken).sum()),
    }
    return Panel(f"{title}, score \N{GREATER-THAN OR EQUAL TO} {threshold:.2f}", boxes, counts)


def _match(
    found: Detections, truth: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """In order of score each detection takes the best free box of its class with IoU >= 0.5.

    Returns:
        bool (D,): the detection took a box; bool (G,): the box was taken.
    """
    hits = np.zeros(len(found), dtype=np.bool_)
    taken = np.zeros(len(truth), dtype=np.bool_)
    if not len(truth):
        return hits, taken
    for i in np.argsort(-found.scores, kind="stable"):
        overlap = box_iou(found.boxes[i : i + 1], truth)[0]
        overlap[taken | (labels != found.labels[i])] = 0
        best = int(overlap.argmax())
        if overlap[best] >= _IOU:
            hits[i] = taken[best] = True
    return hits, taken


def _inside(
    boxes: npt.NDArray[np.float64], crowds: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Whether half of each box (N, 4) or more lies in a crowd region: bool (N,)."""
    result = np.zeros(len(boxes), dtype=np.bool_)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for crowd in crowds:
        low, high = np.maximum(boxes[:, :2], crowd[:2]), np.minimum(boxes[:, 2:], crowd[2:])
        result |= np.clip(high - low, 0, None).prod(axis=1) >= area / 2
    return result


def _boxes(boxes: npt.NDArray[np.float64], kind: Kind, texts: Sequence[str]) -> tuple[Box, ...]:
    return tuple(
        Box(
            round(float(x0), 1),
            round(float(y0), 1),
            round(float(x1 - x0), 1),
            round(float(y1 - y0), 1),
            kind,
            text,
        )
        for (x0, y0, x1, y1), text in zip(boxes[:_MOST_BOXES], texts, strict=False)
    )


def _where(texts: Sequence[str], mask: npt.NDArray[np.bool_]) -> list[str]:
    return [text for text, kept in zip(texts, mask, strict=True) if kept]


def thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """uint8 (H, W, 3) RGB -> JPEG as a data URI, its longest side at most 480 px."""
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
