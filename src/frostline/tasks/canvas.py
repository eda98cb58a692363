"""The canvas that every image of a study is placed on."""

import dataclasses
from collections.abc import Sequence

from frostline.datasets import DatasetIndex, ImageRecord

__all__ = ["Canvas", "common_canvas"]

_DIVISOR = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Canvas:
    """The size in px, multiples of 32, that every image of a study is placed on."""

    height: int
    width: int
    image_size: int

    def placed_size(self, image: ImageRecord) -> tuple[int, int]:
        """Height and width of an image after resizing its longest side to ``image_size``."""
        scale = self.image_size / max(image.height, image.width)
        return max(1, round(image.height * scale)), max(1, round(image.width * scale))


def common_canvas(indexes: Sequence[DatasetIndex], image_size: int) -> Canvas:
    """The smallest canvas that holds every image of a study once resized."""
    square = Canvas(image_size, image_size, image_size)
    sizes = [square.placed_size(image) for index in indexes for image in index.images]
    height, width = (max(side) for side in zip(*sizes, strict=True))
    return Canvas(_up(height), _up(width), image_size)


def _up(side: int) -> int:
    return -(-side // _DIVISOR) * _DIVISOR
