"""Reading detection data: every layout into one index.

Coordinates are pixels of the image as stored; see `DatasetIndex` and `ImageRecord`.
"""

from frostline.datasets.findings import Finding
from frostline.datasets.images import image_size, load_image, resolve_inside
from frostline.datasets.index import DatasetCounts, DatasetIndex, ImageRecord
from frostline.datasets.reading import LAYOUTS, read_dataset, read_splits
from frostline.datasets.splits import split_by_fraction, split_by_group

__all__ = [
    "LAYOUTS",
    "DatasetCounts",
    "DatasetIndex",
    "Finding",
    "ImageRecord",
    "image_size",
    "load_image",
    "read_dataset",
    "read_splits",
    "resolve_inside",
    "split_by_fraction",
    "split_by_group",
]
