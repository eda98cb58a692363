"""Example masks beside the truth: a few validation images, chosen by rule, with classes tinted."""

import base64
import binascii
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from frostline.datasets import DatasetIndex, ImageRecord, Mask, mask_labels
from frostline.datasets.targets import IGNORED
from frostline.errors import DatasetError
from frostline.evaluation.masks import confusion, iou, mean_present
from frostline.figures.theme import LIGHT
from frostline.records import TrialRecord
from frostline.reporting.examples import Example, Panel, thumbnail

__all__ = ["class_colours", "found_masks", "mask_examples", "pick_masks"]

_LONGEST_SIDE = 480  # px of an overlay
_OPACITY = 140  # of 255
_WRONG = LIGHT.alert
_Labels = npt.NDArray[np.uint8]


def mask_examples(
    index: DatasetIndex, trials: Sequence[tuple[str, TrialRecord, Path]], *, count: int = 4
) -> tuple[Example, ...]:
    """Draw a few images with the masks that some trials found.

    Args:
        index: the validation images.
        trials: title, record, and file of what was found for each trial to show.
        count: how many images.

    Raises:
        DatasetError: an image or mask cannot be read, or a file does not fit the images.
    """
    found = [(title, found_masks(file, index)) for title, _, file in trials]
    examples = []
    for i in pick_masks(index, count):
        record = index.images[i]
        assert isinstance(record.target, Mask), "read as masks"
        truth = mask_labels(record.target)
        panels = [Panel("annotated", (), {}, _tinted(truth), _shares(truth, index.classes))]
        panels += [_found_panel(title, truth, masks[i], index.classes) for title, masks in found]
        examples.append(_example(index, record, panels))
    return tuple(examples)


def pick_masks(index: DatasetIndex, count: int) -> list[int]:
    """Positions of ``count`` images spread evenly over the share of the first class.

    The choice knows nothing of what was found, so it cannot flatter it.
    """
    order = sorted(range(len(index.images)), key=lambda i: _first_share(index.images[i]))
    count = min(count, len(order))
    return [order[(2 * n + 1) * len(order) // (2 * count)] for n in range(count)]


def found_masks(path: Path, index: DatasetIndex, split: str = "val") -> tuple[_Labels, ...]:
    """What a trial found: labels of each image of ``index``, uint8 (H, W), from 0.

    Raises:
        DatasetError: the file is missing, or does not fit the images.
    """
    try:
        texts = json.loads(path.read_bytes())[split]
        pairs = zip(texts, index.images, strict=True)
        return tuple(_decoded(text, image, len(index.classes)) for text, image in pairs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"expected masks of {len(index.images)} images in {path.name}, got "
            f"{type(error).__name__}; run the trial again"
        ) from None


def class_colours(classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Name and colour of each class; the first is not tinted, and is not among them."""
    return tuple((name, _colour(n)) for n, name in enumerate(classes[1:], start=1))


def _decoded(text: str, image: ImageRecord, classes: int) -> _Labels:
    try:
        opened = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",))
        if opened.size != (image.width, image.height):  # before anything is unpacked
            raise ValueError(opened.size)
        labels: _Labels = np.array(opened.convert("L"), dtype=np.uint8)
    except (OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    if labels.max() >= classes:
        raise ValueError(labels.max())
    return labels


def _first_share(image: ImageRecord) -> tuple[float, str]:
    assert isinstance(image.target, Mask), "read as masks"
    return image.target.pixels[0] / max(1, image.target.pixels.sum()), image.file


def _found_panel(title: str, truth: _Labels, found: _Labels, classes: Sequence[str]) -> Panel:
    counts = confusion(truth, found, len(classes), IGNORED)
    wrong = (truth != found) & (truth != IGNORED)
    text = f"mean IoU {mean_present(iou(counts)):.2f}, {_percent(wrong.mean())} wrong"
    return Panel(title, (), {}, _tinted(found, wrong), text)


def _shares(labels: _Labels, classes: Sequence[str]) -> str:
    shares = (f"{name} {_percent((labels == n).mean())}" for n, name in enumerate(classes))
    return ", ".join(shares)


def _percent(share: float) -> str:
    return f"{100 * float(share):.0f} %"


def _colour(label: int) -> str:
    return LIGHT.lines[(label - 1) % len(LIGHT.lines)]


def _tinted(labels: _Labels, wrong: npt.NDArray[np.bool_] | None = None) -> str:
    """Classes as a transparent PNG in a data URI; the first class is clear, wrong pixels alert."""
    codes = labels.copy()
    if wrong is not None:
        codes[wrong] = IGNORED - 1
    small = Image.fromarray(codes)
    scale = min(1.0, _LONGEST_SIDE / max(small.size))
    width, height = (max(1, round(side * scale)) for side in small.size)
    shown = np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
    colours = np.zeros((256, 4), np.uint8)
    for label in np.unique(shown[(shown > 0) & (shown < IGNORED - 1)]):
        colours[label] = (*_rgb(_colour(int(label))), _OPACITY)
    colours[IGNORED - 1] = (*_rgb(_WRONG), 2 * IGNORED // 3 if wrong is not None else 0)
    buffer = io.BytesIO()
    Image.fromarray(colours[shown]).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _example(index: DatasetIndex, record: ImageRecord, panels: Sequence[Panel]) -> Example:
    return Example(
        record.file,
        record.group,
        record.width,
        record.height,
        thumbnail(index.load(record)),
        tuple(panels),
    )
