"""Example masks beside the truth: a few validation images, chosen by rule, with classes tinted.

Most are picked without looking at what was found; two more are those that a trial scored lowest
and highest on, and say so.
"""

import base64
import binascii
import io
import json
from collections.abc import Collection, Sequence
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

_LONGEST_SIDE, _LEAST_SIDE = 480, 320  # px of an overlay; a smaller mask is shown larger
_INSIDE, _EDGE, _STRIPE = 130, 235, 230  # opacities of 255: of a class, its edge, what is wrong
_PALETTE = 256  # colours of a PNG that has one
_STRIPES = 4  # px of one, and of what is between two
_SHADES = (0.0, 0.5, -0.45)  # towards white, or black, where there are more classes than colours
_LEAST_COUNT = 3  # of examples, from which on two of them are the lowest and the highest
_Labels = npt.NDArray[np.uint8]


def mask_examples(
    index: DatasetIndex, trials: Sequence[tuple[str, TrialRecord, Path]], *, count: int = 4
) -> tuple[Example, ...]:
    """Draw a few images with the masks that some trials found; those of the first are scored.

    Args:
        index: the validation images.
        trials: title, record, and file of what was found for each trial to show.
        count: how many images.

    Raises:
        DatasetError: an image or mask cannot be read, or a file does not fit the images.
    """
    found = [(title, found_masks(file, index)) for title, _, file in trials]
    ends = _ends(index, *found[0]) if found and count >= _LEAST_COUNT else {}
    examples = []
    for i in (*pick_masks(index, count - len(ends), without=ends), *ends):
        truth = _truth(index, i)
        panels = [Panel("annotated", (), {}, _tinted(truth), _shares(truth, index.classes))]
        panels += [_found_panel(title, truth, masks[i], index.classes) for title, masks in found]
        examples.append(_example(index, index.images[i], panels, ends.get(i, "")))
    return tuple(examples)


def _truth(index: DatasetIndex, i: int) -> _Labels:
    target = index.images[i].target
    assert isinstance(target, Mask), "read as masks"
    return mask_labels(target)


def _ends(index: DatasetIndex, title: str, masks: Sequence[_Labels]) -> dict[int, str]:
    """The images that a trial scored lowest and highest on, and what is said of them."""
    scores = {}
    for i, found in enumerate(masks):
        counts = confusion(_truth(index, i), found, len(index.classes), IGNORED)
        if counts.any():
            scores[i] = mean_present(iou(counts))
    if len(scores) <= 1:
        return {}
    low, high = min(scores, key=lambda i: scores[i]), max(scores, key=lambda i: scores[i])
    text = {low: "lowest", high: "highest"}
    return {i: f"{word} mean IoU of {title}" for i, word in text.items()}


def pick_masks(index: DatasetIndex, count: int, without: Collection[int] = ()) -> list[int]:
    """Positions of ``count`` images spread evenly over the share of the first class.

    The choice knows nothing of what was found, so it cannot flatter it.

    Args:
        index: the images.
        count: how many, if there are so many.
        without: positions to leave out.
    """
    left = [i for i in range(len(index.images)) if i not in without]
    order = sorted(left, key=lambda i: _first_share(index.images[i]))
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
    """Name and colour of each class; the first is not tinted, and has none ("")."""
    return tuple((name, _colour(n) if n else "") for n, name in enumerate(classes))


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
    shares = [f"{name} {_percent((labels == n).mean())}" for n, name in enumerate(classes)
              if n == 0 or (labels == n).any()]  # fmt: skip
    left_out = (labels == IGNORED).mean()
    return ", ".join([*shares, f"left out (grey) {_percent(left_out)}"] if left_out else shares)


def _percent(share: float) -> str:
    return f"{100 * float(share):.0f} %"


def _colour(label: int) -> str:
    """Of the palette in turn; then lighter, then darker; from the 19th class on the same again."""
    turn, place = divmod(label - 1, len(LIGHT.lines))
    shade = _SHADES[turn % len(_SHADES)]
    towards = 255 if shade > 0 else 0
    channels = (round(c + (towards - c) * abs(shade)) for c in _rgb(LIGHT.lines[place]))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _tinted(labels: _Labels, wrong: npt.NDArray[np.bool_] | None = None) -> str:
    """Classes as a transparent PNG in a data URI: tinted, with an edge; the first is clear.

    What is wrong is striped, so that between the stripes the class that was found stays visible;
    pixels that are left out are grey.
    """
    shown = _resized(labels)
    picture = _class_tints()[shown]  # (H, W, 4)
    picture[_edges(shown) & (shown > 0) & (shown < IGNORED), 3] = _EDGE
    if wrong is not None:
        rows, columns = np.indices(shown.shape)
        stripes = _resized(wrong.astype(np.uint8)).astype(bool) & (
            (rows + columns) % (2 * _STRIPES) < _STRIPES
        )
        picture[stripes] = (*_rgb(LIGHT.alert), _STRIPE)
    return "data:image/png;base64," + base64.b64encode(_png(picture)).decode("ascii")


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Red, green, blue and opacity, (H, W, 4), as PNG, with a palette where it can have one."""
    packed = np.ascontiguousarray(picture).view(np.uint32)[..., 0]
    colours, places = np.unique(packed, return_inverse=True)
    buffer = io.BytesIO()
    if len(colours) > _PALETTE:
        Image.fromarray(picture).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    image = Image.fromarray(places.reshape(packed.shape).astype(np.uint8))
    rgba = colours.view(np.uint8).reshape(-1, 4)
    image.putpalette(rgba[:, :3].tobytes())
    image.save(buffer, "PNG", optimize=True, transparency=rgba[:, 3].tobytes())
    return buffer.getvalue()


def _class_tints() -> npt.NDArray[np.uint8]:
    """Red, green, blue and opacity of each label, uint8 (256, 4)."""
    tints = [(*_rgb(_colour(label)), _INSIDE) for label in range(1, IGNORED)]
    return np.array([(0, 0, 0, 0), *tints, (*_rgb(LIGHT.muted), _EDGE)], np.uint8)


def _resized(labels: _Labels) -> _Labels:
    """At the size of an overlay, to the nearest pixel."""
    image = Image.fromarray(labels)
    longest = max(image.size)
    scale = min(max(1, -(-_LEAST_SIDE // longest)), _LONGEST_SIDE / longest)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST))


def _edges(labels: _Labels) -> npt.NDArray[np.bool_]:
    """Pixels that touch one of another label, above, below, left or right."""
    found = np.zeros(labels.shape, np.bool_)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    found[:, 1:] |= across
    found[:, :-1] |= across
    found[1:] |= down
    found[:-1] |= down
    return found


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _example(
    index: DatasetIndex, record: ImageRecord, panels: Sequence[Panel], note: str
) -> Example:
    return Example(
        record.file,
        record.group,
        record.width,
        record.height,
        thumbnail(index.load(record)),
        tuple(panels),
        note,
    )
