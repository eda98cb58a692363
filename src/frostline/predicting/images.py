"""The images that are to be looked at: files, folders and zip files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frostline.datasets import Boxes, DatasetIndex, ImageRecord, image_size
from frostline.datasets.files import is_image, open_tree
from frostline.datasets.findings import shown
from frostline.datasets.images import exif_orientation
from frostline.errors import DatasetError
from frostline.weights_header import WeightsHeader

__all__ = ["NO_BOXES", "count_as_stored", "find_images"]

NO_BOXES = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))
"""What an image without annotations is annotated with."""

_TURNED = (5, 6, 7, 8)  # EXIF orientations that turn by a quarter


def find_images(paths: Sequence[Path], header: WeightsHeader) -> list[DatasetIndex]:
    """The images that are meant: files, and all in folders and zip files, with their sizes.

    Args:
        paths: images, folders (with those below) or zip files.
        header: of the model that will see them; says in which frame.

    Returns:
        One index for each folder or zip file, in the order given; images of one folder that are
        named one by one are together.

    Raises:
        DatasetError: there is no such file, none is an image, or one is not.
    """
    named: dict[Path, list[str]] = {}
    for path in paths:
        if path.is_dir() or path.suffix.lower() == ".zip":
            found = [name for name in open_tree(path).names() if is_image(name)]
            if not found:
                raise DatasetError(f"expected images in {shown(path)}, found none")
            named.setdefault(path, []).extend(found)
        elif path.is_file():
            real = path.resolve()
            named.setdefault(real.parent, []).append(real.name)
        else:
            raise DatasetError(f"expected an image, a folder or a zip file, found none at {path}")
    return [
        DatasetIndex(
            root,
            header.classes,
            tuple(_record(root, file, header) for file in dict.fromkeys(files)),
            grey_levels=header.grey_levels,
        )
        for root, files in named.items()
    ]


def _record(root: Path, file: str, header: WeightsHeader) -> ImageRecord:
    width, height = image_size(root, file)
    if header.turned and exif_orientation(root, file) in _TURNED:
        width, height = height, width
    return ImageRecord(file, width, height, NO_BOXES)


def count_as_stored(indexes: Sequence[DatasetIndex]) -> int:
    """How many images viewers show turned and the model sees as stored."""
    return sum(
        exif_orientation(index.root, image.file) in _TURNED
        and image.size == image_size(index.root, image.file)
        for index in indexes
        for image in index
    )
