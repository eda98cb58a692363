"""The csv of Global Wheat Head Detection 2021: ``image_name,BoxesString,domain``.

One row an image, boxes as ``x0 y0 x1 y1`` separated by ``;``, or ``no_box``
(https://zenodo.org/records/5092309).
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.kaggle import single_class
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import find_csv
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import CsvRow, csv_has, csv_rows, read_text

__all__ = ["GWHD_COLUMNS", "LAYOUT", "read_gwhd"]

GWHD_COLUMNS = ("image_name", "BoxesString")
"""Columns that must be there; ``domain``, the group, may be absent, others are not read."""

_PUBLISHED_SIZE = 1024
"""Width and height in pixels of the published images."""


def read_gwhd(source: Source, options: ReadOptions) -> RawDataset:
    """Read the csv.

    The group is ``domain``. The one class is ``options.classes`` or ``wheat_head``. An image with
    two rows (the published files have two such) keeps the boxes of both, with a warning. The file
    does not say the size of the images; when they are not opened (``options.check_files``), it is
    1024 x 1024 as in the published set, or more where a box reaches further.

    Raises:
        DatasetError: If the file is not this csv, or at the first problem (see `ReadOptions`).
    """
    name, problems = source.name, options.problems
    text = read_text(source.annotations, name, problems=problems)
    images: dict[str, RawImage] = {}
    positions: dict[str, int] = {}
    tables: list[npt.NDArray[np.float64]] = []  # (n, 6): position of the image, box, line
    for row in csv_rows(text, name, GWHD_COLUMNS, problems):
        image = _image(row, name, problems)
        if image is not None:
            _mention_second_row(images.get(image.file), image, problems)
            images.setdefault(image.file, image)
            position = positions.setdefault(image.file, len(positions))
            tables.append(np.insert(_row_boxes(row, name, problems), 0, position, axis=1))
    table = np.concatenate([np.zeros((0, 6)), *tables])
    files = list(images.values())
    if not options.check_files:
        files = _with_assumed_sizes(files, table, name, problems)
    return RawDataset(single_class(options), files, _as_boxes(table, name))


def _image(row: CsvRow, name: str, problems: Problems) -> RawImage | None:
    """The row's image, or None if it has no name."""
    place, file = Place(name, row.line), row.values["image_name"].strip()
    if file:
        return RawImage(file, None, row.values.get("domain", "").strip() or None, place)
    problems.error("row-values", place, "expected an image_name, got none")
    return None


def _mention_second_row(first: RawImage | None, image: RawImage, problems: Problems) -> None:
    if first is not None:
        where = f"{shown(image.file)} has one on line {first.place.line} too"
        message = f"expected one row an image, {where}: kept the boxes of both"
        problems.warning("image-two-rows", image.place, message)


def _row_boxes(row: CsvRow, name: str, problems: Problems) -> npt.NDArray[np.float64]:
    """float64 (n, 5): x0, y0, x1, y1, line."""
    text = row.values["BoxesString"].strip()
    boxes = []
    for part in text.split(";") if text not in ("", "no_box") else []:
        try:
            x0, y0, x1, y1 = map(float, part.split())
        except ValueError:
            message = f"expected boxes 'x0 y0 x1 y1;...' or no_box, got {shown(part)!r}"
            problems.error("box-entry", Place(name, row.line), message)
        else:
            boxes.append((x0, y0, x1, y1, row.line))
    return np.array(boxes, dtype=np.float64).reshape(-1, 5)


def _with_assumed_sizes(
    images: list[RawImage], table: npt.NDArray[np.float64], name: str, problems: Problems
) -> list[RawImage]:
    reach = np.full((len(images), 2), float(_PUBLISHED_SIZE))  # (I, 2) width, height
    rows = table[np.isfinite(table).all(axis=1)]
    np.maximum.at(reach, rows[:, 0].astype(np.int64), rows[:, 3:5])
    message = f"image sizes are not in the file: took {_PUBLISHED_SIZE}x{_PUBLISHED_SIZE}"
    problems.note("size-assumed", Place(name), message)
    return [
        RawImage(image.file, (math.ceil(width), math.ceil(height)), image.group, image.place)
        for image, (width, height) in zip(images, reach.tolist(), strict=True)
    ]


def _as_boxes(table: npt.NDArray[np.float64], name: str) -> RawBoxes:
    return RawBoxes(
        image=table[:, 0].astype(np.int64),
        xyxy=table[:, 1:5],
        labels=np.ones(len(table), np.int64),
        crowd=np.zeros(len(table), np.bool_),
        place=lambda n: Place(name, int(table[n, 5])),
    )


def _recognise(source: Source) -> bool:
    return csv_has(source.annotations, source.name, GWHD_COLUMNS)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    return find_csv(folder, "gwhd2021", GWHD_COLUMNS)


LAYOUT = Layout("gwhd2021", "csv with BoxesString", _recognise, _find, read_gwhd)
