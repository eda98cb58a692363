"""Writes one data set in each of the layouts, as folders that stand for themselves.

By hand: ``python -m tests.datasets.convert SOURCE OUT`` reads any data set, splits off a
quarter for validation where it has no ``val``, and writes ``OUT/coco``, ``OUT/kaggle`` and so on,
each also as ``OUT/coco.zip``. Layouts with one class are left out where the source has more.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from frostline.datasets import (
    DatasetIndex,
    find_dataset,
    read_dataset,
    read_splits,
    split_by_fraction,
)
from tests.datasets import samples
from tests.datasets.samples import Splits, zip_folder
from tests.datasets.tools import TOOLS

WRITERS: Mapping[str, Callable[[Splits, Path], dict[str, Path]]] = {
    "coco": samples.write_coco,
    "kaggle": samples.write_kaggle,
    "gwhd2021": samples.write_gwhd,
    "voc": samples.write_voc,
    "yolo": samples.write_yolo,
    **TOOLS,
}
ONE_CLASS = ("kaggle", "gwhd2021")
IMAGE_FOLDER = {"voc": "JPEGImages"}


def layouts_for(splits: Splits) -> tuple[str, ...]:
    """The layouts that can hold these classes."""
    one = len(next(iter(splits.values())).classes) == 1
    return tuple(name for name in WRITERS if one or name not in ONE_CLASS)


def convert(splits: Splits, layout: str, folder: Path) -> dict[str, Path]:
    """Write the splits with their images; returns the annotation file of each."""
    folder.mkdir(parents=True)
    if layout != "yolo":  # its writer copies the images itself
        images = folder / IMAGE_FOLDER.get(layout, "images")
        images.mkdir()
        for index in splits.values():
            for image in index:
                shutil.copyfile(index.root / image.file, images / image.file)
    return WRITERS[layout](splits, folder)


def read_with_val(source: Path, layout: str = "auto") -> dict[str, DatasetIndex]:
    """The splits of a data set, with a ``train`` and a ``val``."""
    if len(find_dataset(source, layout).splits) > 1:
        return read_splits(source, layout=layout)
    train, val = split_by_fraction(read_dataset(source, layout=layout), 0.25, 0)
    return {"train": train, "val": val}


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:3])
    read = read_with_val(source, *sys.argv[3:4])
    for name in layouts_for(read):
        convert(read, name, out / name)
        zip_folder(out / name, out / f"{name}.zip")
