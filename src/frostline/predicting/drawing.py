"""Pictures of what was found: boxes with class and score, or tinted masks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from frostline.evaluation import Detections
from frostline.figures.theme import LIGHT

__all__ = ["draw_boxes", "draw_labels"]

_LINE, _TEXT = 250, 45  # parts of the longer side that a line and a letter are
_SMALLEST_TEXT = 12  # px
_TINT = 0.45  # of a mask's colour over its pixels


def draw_boxes(
    pixels: npt.NDArray[np.uint8], found: Detections, classes: Sequence[str]
) -> Image.Image:
    """An image with its boxes, the best on top.

    Args:
        pixels: uint8 (H, W, 3).
        found: boxes to draw, all of them.
        classes: names of the labels.
    """
    image = Image.fromarray(pixels)
    draw, side = ImageDraw.Draw(image), max(image.size)
    font = ImageFont.load_default(max(_SMALLEST_TEXT, side // _TEXT))
    for n in np.argsort(found.scores, kind="stable"):
        label = int(found.labels[n])
        box, colour = tuple(found.boxes[n].tolist()), _colour(label - 1)
        draw.rectangle(box, outline=colour, width=max(2, side // _LINE))
        name = classes[label - 1] if len(classes) > 1 else ""
        _name(draw, box, f"{name} {found.scores[n]:.2f}".strip(), colour, font)
    return image


def _name(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, ...],
    text: str,
    colour: tuple[int, ...],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A text above its box, or inside where the image ends."""
    _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    x = max(0.0, min(box[0], draw.im.size[0] - right - 4))
    y = box[1] - bottom - 4
    y = box[1] if y < 0 else y
    draw.rectangle((x, y, x + right + 4, y + bottom + 4), fill=colour)
    draw.text((x + 2, y + 2), text, fill=(255, 255, 255), font=font)


def draw_labels(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Image.Image:
    """An image with its classes tinted; the first, the background mostly, stays as it is.

    Args:
        pixels: uint8 (H, W, 3).
        labels: uint8 (H, W), from 0.
    """
    colours = np.array([_colour(n - 1) for n in range(int(labels.max()) + 1)])
    mixed = np.where(labels[..., None] > 0, (1 - _TINT) * pixels + _TINT * colours[labels], pixels)
    return Image.fromarray(mixed.round().astype(np.uint8))


def _colour(n: int) -> tuple[int, ...]:
    return ImageColor.getrgb(LIGHT.lines[n % len(LIGHT.lines)])
