"""How many levels the 16-bit grey images of a set use: cameras and scanners fill 10 to 14 bits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from frostline.datasets.findings import Finding, shown
from frostline.datasets.images import largest_level
from frostline.datasets.index import DatasetIndex
from frostline.errors import DatasetError

__all__ = ["GreyLevels", "find_grey_levels", "grey_finding", "most_levels"]

_ALL = 65536
_FEWEST = 256  # levels are shown as 256
_NARROW = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp")  # never 16 bits
_FEW = 1 << 14  # levels that make a picture of 16 bits so dark that something is wrong


@dataclass(frozen=True)
class GreyLevels:
    """What was found.

    Attributes:
        largest: Largest level of all images.
        file: An image that has it.
        images: How many 16-bit grey images there are.
    """

    largest: int
    file: str
    images: int

    @property
    def levels(self) -> int:
        """Levels to declare: the smallest power of two above the largest, 256 to 65536."""
        return max(_FEWEST, 1 << self.largest.bit_length())

    @property
    def few(self) -> bool:
        """Whether the levels are so few that the set should say it."""
        return self.levels <= _FEW


def find_grey_levels(splits: Iterable[DatasetIndex]) -> GreyLevels | None:
    """Look at all images of all splits; None where none is of 16-bit grey.

    Images that cannot be decoded are passed over: they are told elsewhere.
    """
    images = [(index.root, image.file) for index in splits for image in index]
    wide = [(root, file) for root, file in images if not file.lower().endswith(_NARROW)]
    return most_levels((_level(root, file), file) for root, file in wide)


def most_levels(levels: Iterable[tuple[int | None, str]]) -> GreyLevels | None:
    """The same of the largest level of each image, None for others than 16-bit grey, and its file.

    Example:
        >>> most_levels([(None, "a.jpg"), (4095, "b.png"), (900, "c.png")])
        GreyLevels(largest=4095, file='b.png', images=2)
    """
    found = [(level, file) for level, file in levels if level is not None]
    if not found:
        return None
    largest, file = max(found, key=lambda pair: pair[0])
    return GreyLevels(largest, file, len(found))


def _level(root: Path, file: str) -> int | None:
    try:
        return largest_level(root, file)
    except DatasetError:
        return None


def grey_finding(found: GreyLevels) -> Finding:
    """What is said of a set that uses few levels and does not declare how many."""
    message = (
        f"{found.images} images of 16-bit grey have levels up to {found.largest} of {_ALL - 1} "
        f"({found.largest.bit_length()} bits), such as {shown(found.file)}: read as 0 to "
        f"{found.largest >> 8} of 255; write grey_levels: {found.levels} under data in the study"
    )
    return Finding("warning", "grey-levels", "", message)
