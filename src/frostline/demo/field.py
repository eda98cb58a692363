"""A procedural field of wheat-like ears: synthetic images with exact boxes.

Nothing here is a photograph or made from one. Ears, leaves and soil are formulas with random
parameters, drawn from a generator seeded by (seed, field, image number): what an image shows
depends on nothing else. Fields differ in colour, scale, density and light, as the sources of real
wheat data sets do, and smooth rods of an ear's size and colour lie among the ears, so that a
detector has to look at texture.
"""

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FIELDS", "IMAGE_SIDE", "Field", "Painting", "paint"]

IMAGE_SIDE = 256
"""Width and height of every image, px."""

_MIN_SIDE = 12  # px; what the image border leaves of an ear below this is not annotated
_MIN_VISIBLE = 0.35  # share of an ear's area; an ear hidden further is not annotated

_Plane = npt.NDArray[np.floating[Any]]
_Colour = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """The look of one field.

    Attributes:
        name: stands in the column ``source``, the group to split by.
        ear: mean colour of ears, RGB in [0, 1].
        leaf: mean colour of leaves, RGB in [0, 1].
        soil: mean colour of the soil, RGB in [0, 1].
        length: shortest and longest ear, px, without awns.
        ears: fewest and most ears painted in an image, before hiding and cropping.
        leaves: number of leaves.
        direction: preferred direction of ears, rad, and the standard deviation around it.
        light: factor on all colours.
    """

    name: str
    ear: _Colour
    leaf: _Colour
    soil: _Colour
    length: tuple[float, float]
    ears: tuple[int, int]
    leaves: int
    direction: tuple[float, float]
    light: float


FIELDS = (
    Field(
        name="synthetic_green",
        ear=(0.55, 0.66, 0.35),
        leaf=(0.24, 0.42, 0.17),
        soil=(0.36, 0.29, 0.22),
        length=(44, 74),
        ears=(7, 18),
        leaves=34,
        direction=(-1.4, 0.6),
        light=1.0,
    ),
    Field(
        name="synthetic_gold",
        ear=(0.84, 0.71, 0.42),
        leaf=(0.6, 0.53, 0.28),
        soil=(0.45, 0.36, 0.26),
        length=(48, 84),
        ears=(5, 15),
        leaves=26,
        direction=(-1.2, 0.9),
        light=1.08,
    ),
    Field(
        name="synthetic_russet",
        ear=(0.7, 0.5, 0.33),
        leaf=(0.38, 0.37, 0.19),
        soil=(0.3, 0.21, 0.16),
        length=(42, 70),
        ears=(7, 20),
        leaves=24,
        direction=(-1.6, 1.2),
        light=0.95,
    ),
    Field(
        name="synthetic_dusk",
        ear=(0.52, 0.54, 0.44),
        leaf=(0.22, 0.31, 0.24),
        soil=(0.22, 0.21, 0.23),
        length=(44, 74),
        ears=(6, 16),
        leaves=28,
        direction=(-1.9, 0.8),
        light=0.74,
    ),
    Field(
        name="synthetic_dense",
        ear=(0.7, 0.7, 0.4),
        leaf=(0.35, 0.46, 0.2),
        soil=(0.4, 0.33, 0.25),
        length=(40, 64),
        ears=(12, 24),
        leaves=30,
        direction=(-1.3, 1.0),
        light=1.0,
    ),
    Field(
        name="synthetic_pale",
        ear=(0.8, 0.78, 0.58),
        leaf=(0.46, 0.53, 0.33),
        soil=(0.55, 0.47, 0.38),
        length=(44, 76),
        ears=(6, 17),
        leaves=22,
        direction=(-1.7, 0.9),
        light=1.1,
    ),
)
"""The six fields of the demo, in the order of its table."""


@dataclasses.dataclass(frozen=True, slots=True)
class Painting:
    """One synthetic image.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, H = W = ``IMAGE_SIDE``.
        boxes: int64 (N, 4), ``xyxy`` in px, 0 <= x, y <= ``IMAGE_SIDE``: the tight boxes of the
            visible parts of ears, awns not included.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]


def paint(field: Field, number: int, *, seed: int = 0, empty: bool = False) -> Painting:
    """Paint one image of a field.

    Args:
        field: its look.
        number: of the image within the field, >= 0.
        seed: another seed gives another set of images.
        empty: leave out the ears; everything else is as it would be.
    """
    rng = _generator(seed, field.name, number)
    canvas = _soil(field, rng)
    for _ in range(field.leaves):
        _leaf(canvas, field, rng)
    for _ in range(int(rng.integers(3, 9))):
        _rod(canvas, field, rng)
    masks = [] if empty else _ears(canvas, field, _generator(seed, field.name, number, "ears"))
    for _ in range(field.leaves // 8):
        _leaf(canvas, field, rng)
    return Painting(_lit(canvas, field, rng), _boxes(masks))


def _generator(*key: object) -> np.random.Generator:
    digest = hashlib.sha256(":".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


@dataclasses.dataclass(frozen=True, slots=True)
class _Patch:
    """A window of the canvas with coordinates along and across a bent stroke.

    Attributes:
        window: slices of the canvas, rows and columns.
        along: (h, w), position along the stroke, -1 at its foot and 1 at its tip.
        across: (h, w), signed distance from its axis, px.
    """

    window: tuple[slice, slice]
    along: _Plane
    across: _Plane


def _patch(
    centre: tuple[float, float], angle: float, length: float, bend: float, margin: float
) -> _Patch | None:
    """The window around a stroke, or None where it lies outside the canvas.

    Args:
        centre: x, y, px.
        angle: direction from foot to tip, rad.
        length: px.
        bend: how far the ends lie off the straight line, px.
        margin: room for what stands out from the stroke, px.
    """
    reach = length / 2 + abs(bend) + margin
    spans = [(max(0, math.floor(c - reach)), min(IMAGE_SIDE, math.ceil(c + reach))) for c in centre]
    if any(start >= stop for start, stop in spans):
        return None
    x, y = (np.arange(*span, dtype=np.float32) - c for span, c in zip(spans, centre, strict=True))
    cos, sin = math.cos(angle), math.sin(angle)
    along = (x[None, :] * cos + y[:, None] * sin) * (2 / length)
    across = y[:, None] * cos - x[None, :] * sin - bend * np.clip(along, -1.5, 1.5) ** 2
    rows, columns = slice(*spans[1]), slice(*spans[0])
    return _Patch((rows, columns), along, across)


def _blend(canvas: _Plane, window: tuple[slice, slice], colour: _Plane, alpha: _Plane) -> None:
    """Paint ``colour`` (h, w, 3) or (3,) over a window, ``alpha`` (h, w) in [0, 1] thick."""
    part = canvas[window]
    part += alpha[..., None] * (colour - part)


def _noise(rng: np.random.Generator, cells: int) -> _Plane:
    """Smooth noise in [0, 1] on the whole canvas: a grid of ``cells`` squared, interpolated."""
    grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
    at = np.linspace(0, cells, IMAGE_SIDE, endpoint=False, dtype=np.float32)
    low = at.astype(np.int64)
    part = (at - low) ** 2 * (3 - 2 * (at - low))
    rows = grid[low] * (1 - part[:, None]) + grid[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part, dtype=np.float32)


def _soil(field: Field, rng: np.random.Generator) -> _Plane:
    """Soil (H, W, 3): four octaves of noise on the field's soil colour, with leafy patches."""
    grain = sum(
        _noise(rng, cells) / weight for cells, weight in ((6, 2), (20, 4), (64, 6), (128, 8))
    )
    shade = (0.45 + 1.1 * np.asarray(grain))[..., None]
    leafy = np.clip(2.5 * _noise(rng, 5) - 1.2, 0, 1)[..., None] * 0.6
    colour = (1 - leafy) * _vector(field.soil) + leafy * _vector(field.leaf)
    return np.asarray(colour * shade, dtype=np.float32)


def _vector(colour: _Colour) -> _Plane:
    return np.array(colour, dtype=np.float32)


def _varied(colour: _Colour, rng: np.random.Generator, spread: float) -> _Plane:
    """A colour near the given one: brightness and hue each vary by about ``spread``."""
    brightness = 1 + spread * (2 * rng.random() - 1)
    hue = 1 + 0.5 * spread * (2 * rng.random(3) - 1)
    return np.asarray(_vector(colour) * brightness * hue, dtype=np.float32)


def _anywhere(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.random(2) * (IMAGE_SIDE + 20) - 10
    return float(x), float(y)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random())


def _leaf(canvas: _Plane, field: Field, rng: np.random.Generator) -> None:
    """A long bent blade with a bright midrib."""
    length, width = _between(rng, 70, 200), _between(rng, 4, 12)
    angle = field.direction[0] + _between(rng, -1.2, 1.2)
    bend = _between(rng, -0.2, 0.2) * length
    colour = _varied(field.leaf, rng, 0.3)
    patch = _patch(_anywhere(rng), angle, length, bend, width)
    if patch is None:
        return
    half = width / 2 * np.sqrt(np.clip(1 - patch.along**2, 0, 1))
    alpha = np.clip(half - np.abs(patch.across) + 0.5, 0, 1) * (np.abs(patch.along) < 1)
    rib = 0.25 * np.clip(1.2 - np.abs(patch.across), 0, 1)
    side = 0.1 * np.clip(patch.across / width, -1, 1)
    _blend(canvas, patch.window, colour * (0.9 + rib + side)[..., None], alpha)


def _rod(canvas: _Plane, field: Field, rng: np.random.Generator) -> None:
    """A smooth rod of an ear's size and colour: what a detector must not take for an ear."""
    length = _between(rng, *field.length)
    width = length * _between(rng, 0.16, 0.26)
    colour = _varied(field.ear, rng, 0.2) * 0.95
    patch = _patch(_anywhere(rng), _between(rng, 0, math.pi), length, 0.0, width)
    if patch is None:
        return
    half = width / 2 * np.clip(1 - patch.along**6, 0, 1)
    alpha = np.clip(half - np.abs(patch.across) + 0.5, 0, 1) * (np.abs(patch.along) < 1)
    shade = 1.05 - 0.45 * np.clip(np.abs(patch.across) / (width / 2), 0, 1) ** 2
    _blend(canvas, patch.window, colour * shade[..., None], alpha)


def _ears(canvas: _Plane, field: Field, rng: np.random.Generator) -> list[npt.NDArray[np.bool_]]:
    count = int(rng.integers(field.ears[0], field.ears[1] + 1))
    return [_ear(canvas, field, rng) for _ in range(count)]


def _ear(canvas: _Plane, field: Field, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Paint an ear and its awns; returns where the ear is, bool (H, W)."""
    mask = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.bool_)
    length = _between(rng, *field.length)
    width = length * _between(rng, 0.24, 0.33)
    angle = field.direction[0] + field.direction[1] * float(rng.standard_normal())
    bend = _between(rng, -0.08, 0.08) * length
    awns = _between(rng, 0.2, 0.5) * length
    colour = _varied(field.ear, rng, 0.16)
    spikelets, light = _between(rng, 5, 7.5), _between(rng, -0.2, 0.2)
    centre = _anywhere(rng)
    tips = _awn_lines(rng, width / length)
    patch = _patch(centre, angle, length, bend, awns + width)
    if patch is None:
        return mask
    _shadow(canvas, patch, width)
    _awns(canvas, patch, tips, awns, (length, width), colour)
    half = _half_width(patch, width, spikelets)
    alpha = np.clip(half - np.abs(patch.across) + 0.5, 0, 1) * (np.abs(patch.along) < 1)
    shade = _spikelet_shade(patch, width, spikelets, light)
    _blend(canvas, patch.window, colour * shade[..., None], alpha)
    mask[patch.window] = alpha > 0.5  # noqa: PLR2004  (more than half of the pixel)
    return mask


def _half_width(patch: _Patch, width: float, spikelets: float) -> _Plane:
    """Half the width along the ear: a spindle with a bulge per spikelet, sides alternating."""
    spindle = np.clip(1 - np.abs(patch.along) ** 2.5, 0, 1) ** 0.6 * (1 - 0.18 * patch.along)
    phase = 2 * math.pi * (spikelets * (patch.along + 1) / 2 + 0.5 * (patch.across > 0))
    return np.asarray(width / 2 * spindle * (0.9 + 0.14 * np.cos(phase)), dtype=np.float32)


def _spikelet_shade(patch: _Patch, width: float, spikelets: float, light: float) -> _Plane:
    """Brightness: chevrons of overlapping spikelets, a dark axis, and light from one side."""
    off = np.clip(np.abs(patch.across) / (width / 2), 0, 1)
    row = spikelets * (patch.along + 1) / 2 + 0.5 * (patch.across > 0) - 0.55 * off
    chevron = 0.5 + 0.5 * np.cos(2 * math.pi * row)
    axis = np.clip(1 - np.abs(patch.across) / 1.5, 0, 1)
    side = light * np.sign(patch.across) * off
    shade = 0.62 + 0.62 * chevron * (1 - 0.45 * off) - 0.18 * axis + side
    return np.asarray(shade, dtype=np.float32)


def _shadow(canvas: _Plane, patch: _Patch, width: float) -> None:
    """Soft darkness under an ear, to one side."""
    edge = np.clip(1.2 - (np.abs(patch.across - 0.3 * width) / width) ** 2, 0, 1)
    ends = np.clip(1.3 - np.abs(patch.along), 0, 1)
    part = canvas[patch.window]
    part *= (1 - 0.4 * np.clip(edge * ends, 0, 1))[..., None]


def _awn_lines(rng: np.random.Generator, slimness: float) -> npt.NDArray[np.float64]:
    """Awns (A, 4): root along the ear, side, angle off the axis in rad, relative length."""
    count = int(rng.integers(6, 15)) if rng.random() < 0.8 else 0  # noqa: PLR2004  (some have none)
    root = 1.6 * rng.random(count) - 0.7
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    return np.stack(
        [root, side, 0.1 + slimness * rng.random(count), 0.6 + 0.4 * rng.random(count)], axis=1
    )


def _awns(
    canvas: _Plane,
    patch: _Patch,
    lines: npt.NDArray[np.float64],
    longest: float,
    size: tuple[float, float],
    colour: _Plane,
) -> None:
    """Thin bright lines from the spikelets forward and outward."""
    along = patch.along * (size[0] / 2)
    alpha = np.zeros_like(along)
    for root, side, angle, part in lines:
        dx, dy = along - root * size[0] / 2, patch.across - side * 0.3 * size[1]
        cos, sin = math.cos(angle), side * math.sin(angle)
        on = np.clip(dx * cos + dy * sin, 0, longest * part)
        distance = np.hypot(dx - on * cos, dy - on * sin)
        np.maximum(alpha, np.clip(1.1 - distance, 0, 1), out=alpha)
    _blend(canvas, patch.window, np.minimum(colour * 1.25, 1), alpha * np.float32(0.7))


def _lit(canvas: _Plane, field: Field, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Uneven light, a colour cast and sensor noise; then 8 bits."""
    uneven = 0.8 + 0.4 * _noise(rng, 2)
    cast = 1 + 0.06 * (2 * rng.random(3) - 1)
    grain = rng.random((IMAGE_SIDE, IMAGE_SIDE, 1), dtype=np.float32) - 0.5
    lit = canvas * uneven[..., None] * (cast * field.light) + 0.06 * grain
    return np.asarray(np.clip(lit * 255 + 0.5, 0, 255), dtype=np.uint8)


def _boxes(masks: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.int64]:
    """Tight boxes of what later ears leave visible of each; (N, 4) ``xyxy``."""
    covered = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.bool_)
    boxes = []
    for mask in reversed(masks):
        visible = mask & ~covered
        covered |= mask
        if visible.sum() > _MIN_VISIBLE * mask.sum():
            boxes.append(_tight(visible))
    kept = [box for box in reversed(boxes) if min(box[2] - box[0], box[3] - box[1]) >= _MIN_SIDE]
    return np.array(kept, dtype=np.int64).reshape(-1, 4)


def _tight(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
