"""Reading detection data: every layout into one index.

Coordinates are pixels of the image as stored; see `DatasetIndex` and `ImageRecord`.
"""

from frostline.datasets.box_sizes import suggest_image_size
from frostline.datasets.checks import DataCheck, check_dataset, check_splits
from frostline.datasets.cleaning import CleanCopy, clean_copy
from frostline.datasets.file_hashes import FileHashes
from frostline.datasets.files import resolve_inside
from frostline.datasets.findings import Finding
from frostline.datasets.images import image_size, load_image
from frostline.datasets.index import DatasetCounts, DatasetIndex, ImageRecord
from frostline.datasets.layouts import DatasetLocation
from frostline.datasets.locations import find_dataset
from frostline.datasets.looks import Looks
from frostline.datasets.masks import mask_labels
from frostline.datasets.photos import copies_of
from frostline.datasets.reading import read_dataset, read_splits
from frostline.datasets.splits import (
    split_by_fraction,
    split_by_group,
    split_by_photo,
    train_and_val,
)
from frostline.datasets.targets import Boxes, Mask
from frostline.layouts import LAYOUTS

__all__ = [
    "LAYOUTS",
    "Boxes",
    "CleanCopy",
    "DataCheck",
    "DatasetCounts",
    "DatasetIndex",
    "DatasetLocation",
    "FileHashes",
    "Finding",
    "ImageRecord",
    "Looks",
    "Mask",
    "check_dataset",
    "check_splits",
    "clean_copy",
    "copies_of",
    "find_dataset",
    "image_size",
    "load_image",
    "mask_labels",
    "read_dataset",
    "read_splits",
    "resolve_inside",
    "split_by_fraction",
    "split_by_group",
    "split_by_photo",
    "suggest_image_size",
    "train_and_val",
]
