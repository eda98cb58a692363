"""What only the pixels tell: images that cannot be decoded, copies, and how an image looks."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from frostline.datasets.images import (
    MAX_PIXELS,
    exif_orientation,
    image_size,
    largest_level,
    load_image,
    thumbnail_of,
)
from frostline.datasets.index import DatasetIndex, ImageRecord
from frostline.datasets.looks import THUMB_SIDE, Look, look_of
from frostline.errors import DatasetError

__all__ = ["PixelFacts", "look_at", "look_at_all"]


@dataclass(frozen=True, eq=False)
class PixelFacts:
    """One decoded image.

    Attributes:
        file: As in the record.
        error: Why it could not be decoded, or None.
        orientation: EXIF orientation that the pixels are not turned by, see `exif_orientation`.
        digest: SHA-256 of size and pixels; equal for copies, whatever their file format.
        blank: Whether all pixels are equal.
        look: What near-duplicates have in common, see `look_of`; None without contrast.
        level: Largest level of a 16-bit grey image; None for others.
    """

    file: str
    error: str | None = None
    orientation: int = 1
    digest: bytes = b""
    blank: bool = False
    look: Look | None = None
    level: int | None = None


def look_at(
    root: Path,
    image: ImageRecord,
    max_pixels: int = MAX_PIXELS,
    grey_levels: int | None = None,
) -> PixelFacts:
    """Decode an image and keep what can be compared."""
    from PIL import Image

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
    return PixelFacts(
        file=image.file,
        orientation=orientation,
        digest=hashlib.sha256(size + pixels.tobytes()).digest(),
        blank=blank,
        look=look_of(thumbnail_of(Image.fromarray(pixels), THUMB_SIDE)),
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
