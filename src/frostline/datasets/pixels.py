"""What only the pixels tell: images that cannot be decoded, copies, and near-duplicates."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frostline.datasets.images import (
    MAX_PIXELS,
    exif_orientation,
    image_size,
    largest_level,
    load_image,
)
from frostline.datasets.index import DatasetIndex, ImageRecord
from frostline.errors import DatasetError

__all__ = ["PixelFacts", "look_at", "look_at_all", "near_duplicates"]

_HASH_SIDE = 16
_THUMB_SIDE = 32
_MOST_BITS_APART = 32
"""Bits of 256 in which the hashes of near-duplicates may differ."""
_LEAST_CORRELATION = 0.96
"""Correlation of grey 32 x 32 thumbnails from which two images count as nearly the same.

Both limits were set by looking at pairs of seven real sets: between unrelated images the hashes
differ by 80 bits or more, except on plain backgrounds, where the thumbnails do not correlate.
"""
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class PixelFacts:
    """One decoded image.

    Attributes:
        file: As in the record.
        error: Why it could not be decoded, or None.
        orientation: EXIF orientation that the pixels are not turned by, see `exif_orientation`.
        digest: SHA-256 of size and pixels; equal for copies, whatever their file format.
        blank: Whether all pixels are equal.
        bits: bool (256,), gradient hash: whether a 16 x 17 grey thumbnail rises to the right.
        thumb: float32 (1024,), grey 32 x 32 thumbnail less its mean, of length 1 (0 if blank).
        level: Largest level of a 16-bit grey image; None for others.
    """

    file: str
    error: str | None = None
    orientation: int = 1
    digest: bytes = b""
    blank: bool = False
    bits: npt.NDArray[np.bool_] | None = None
    thumb: npt.NDArray[np.float32] | None = None
    level: int | None = None


def look_at(
    root: Path,
    image: ImageRecord,
    max_pixels: int = MAX_PIXELS,
    grey_levels: int | None = None,
) -> PixelFacts:
    """Decode an image and keep what can be compared."""
    try:
        pixels = load_image(
            root, image.file, max_pixels=max_pixels, size=image.size, grey_levels=grey_levels
        )
        orientation = exif_orientation(root, image.file)
        if orientation != 1 and image.size != image_size(root, image.file):
            orientation = 1
        grey = bool((pixels[..., :1] == pixels).all())
        level = largest_level(root, image.file) if grey else None
    except DatasetError as error:
        return PixelFacts(image.file, error=str(error))
    size = f"{pixels.shape[1]}x{pixels.shape[0]} ".encode()
    blank = bool((pixels[-1] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
    hashed, thumb = _grey_thumbnails(pixels)
    return PixelFacts(
        file=image.file,
        orientation=orientation,
        digest=hashlib.sha256(size + pixels.tobytes()).digest(),
        blank=blank,
        bits=np.asarray(hashed[:, 1:] > hashed[:, :-1]).ravel(),
        thumb=_of_length_one(thumb),
        level=level,
    )


def look_at_all(
    index: DatasetIndex, *, workers: int = 2, on_image: Callable[[], None] | None = None
) -> list[PixelFacts]:
    """Facts of every image, in the order of the index.

    Args:
        index: Data set.
        workers: Threads; decoding releases Python's lock.
        on_image: Called after each image, for progress.
    """
    facts = []
    with ThreadPoolExecutor(workers) as pool:
        for fact in pool.map(
            lambda image: look_at(index.root, image, grey_levels=index.grey_levels), index.images
        ):
            facts.append(fact)
            if on_image is not None:
                on_image()
    return facts


def near_duplicates(facts: Sequence[PixelFacts]) -> Iterator[tuple[int, int]]:
    """Pairs of images that look nearly the same, such as two shots of one scene.

    Two thumbnails must agree, in the signs of their horizontal gradients and in grey value, so
    that neither plain backgrounds nor similar textures are enough. Blank images are left out.

    Args:
        facts: Images; those that could not be decoded are left out.

    Yields:
        Positions i < j in ``facts``.
    """
    rows = [n for n, fact in enumerate(facts) if fact.bits is not None and not fact.blank]
    if not rows:
        return
    bits = np.stack([np.where(np.asarray(facts[n].bits), 1.0, -1.0) for n in rows]).astype(
        np.float32
    )
    thumbs = np.stack([np.asarray(facts[n].thumb) for n in rows])
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = (bits.shape[1] - bits[block] @ bits.T) / 2  # (block, all) bits that differ
        for a, j in zip(*np.nonzero(apart <= _MOST_BITS_APART), strict=True):
            i = start + int(a)
            if i < j and float(thumbs[i] @ thumbs[j]) >= _LEAST_CORRELATION:
                yield rows[i], rows[int(j)]


def _grey_thumbnails(
    pixels: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Grey thumbnails (16, 17) and (32, 32), each value the mean of its part of the image."""
    from PIL import Image

    grey = Image.fromarray(pixels).convert("L")
    sizes = (_HASH_SIDE + 1, _HASH_SIDE), (_THUMB_SIDE, _THUMB_SIDE)
    first, second = (grey.resize(size, Image.Resampling.BOX) for size in sizes)
    return np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)


def _of_length_one(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = (grey - grey.mean()).ravel()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 0 else np.zeros_like(centred))
