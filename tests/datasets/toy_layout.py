"""A layout that nobody has: a file ``*.toy`` of lines ``image class x0 y0 x1 y1``."""

from collections.abc import Iterator

import numpy as np

from frostline.datasets.findings import Place
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import read_text


def _read(source: Source, options: ReadOptions) -> RawDataset:
    lines = [line.split() for line in read_text(source.annotations, source.name).splitlines()]
    files = list(dict.fromkeys(line[0] for line in lines))
    classes = tuple(sorted({line[1] for line in lines}))
    boxes = RawBoxes(
        image=np.array([files.index(line[0]) for line in lines], np.int64),
        xyxy=np.array([line[2:] for line in lines], np.float64),
        labels=np.array([classes.index(line[1]) + 1 for line in lines], np.int64),
        crowd=np.zeros(len(lines), np.bool_),
        place=lambda n: Place(source.name, n + 1),
    )
    images = [RawImage(file, None, None, Place(source.name)) for file in files]
    return RawDataset(classes, images, boxes)


def _recognise(source: Source) -> bool:
    return source.name.endswith(".toy")


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.endswith(".toy")]
    if files:
        yield DatasetLocation("toy", images_folder(folder), splits_of(folder, files))


LAYOUT = Layout("toy", "a file .toy", _recognise, _find, _read)
