"""The csv of Kaggle's Global Wheat Detection: ``image_id,width,height,bbox,source``.

One row a box, ``bbox`` as ``"[x, y, width, height]"``. Images without wheat have no row.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from frostline.datasets.files import is_image, stems
from frostline.datasets.findings import UNLISTED, Place, Problems, several, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import find_csv
from frostline.datasets.named import NamedFiles
from frostline.datasets.raw import RawBoxes, RawDataset, RawImage, ReadOptions, Source
from frostline.datasets.text import CsvRow, csv_has, csv_rows, read_text
from frostline.errors import DatasetError

__all__ = [
    "KAGGLE_COLUMNS",
    "LAYOUT",
    "WHEAT_CLASS",
    "four_numbers",
    "read_kaggle",
    "single_class",
]

KAGGLE_COLUMNS = ("image_id", "width", "height", "bbox")
"""Columns that must be there; ``source``, the group, may be absent."""

_WHOLE = re.compile(r"[0-9]{1,9}")

WHEAT_CLASS = "wheat_head"
"""Class name of layouts that have one class and do not name it."""


def read_kaggle(source: Source, options: ReadOptions) -> RawDataset:
    """Read the csv, and the list of images in the folder.

    An image is ``<image_id>.jpg``, or whatever image of that name the folder has, or ``image_id``
    itself where it ends like an image. Images of the
    folder without a row are images without boxes (``options.unlisted_empty``), as in the
    published set. The group is ``source``. The one class is ``options.classes`` or `WHEAT_CLASS`.

    Raises:
        DatasetError: If the file is not this csv, or at the first problem (see `ReadOptions`).
    """
    name, problems = source.name, options.problems
    text = read_text(source.annotations, name, problems=options.problems)
    entries = list(csv_rows(text, name, KAGGLE_COLUMNS, problems))
    ids = dict.fromkeys(row.values["image_id"].strip() for row in entries)
    images = _Images(source, options, ids)
    rows = _Rows(name, problems, images)
    for row in entries:
        rows.add(row)
    listed = {image.file for image in rows.images}
    others = [file for file in images.beside(listed) if file not in listed]
    _mention_unlisted(others, name, options)
    unlisted = [RawImage(file, None, None, Place(file)) for file in others]
    found = [*rows.images, *(unlisted if options.unlisted_empty else [])]
    return RawDataset(single_class(options), found, rows.boxes())


class _Images:
    """Images of the folder, which the rows name without their ending."""

    def __init__(self, source: Source, options: ReadOptions, ids: Collection[str]) -> None:
        self._by_stem = stems(name for name in source.images.names() if is_image(name))
        files = NamedFiles(
            self._by_stem.keys, self._by_stem.__contains__, source.naming(options.split)
        )
        self._fits = dict(zip(ids, files.find_all(ids), strict=True))

    def named(self, image_id: str) -> list[list[str]]:
        """Files that an id fits: those that differ in nothing but their ending together."""
        return [self._by_stem[stem] for stem in self._fits[image_id].fits]

    def beside(self, files: Collection[str]) -> list[str]:
        """Images in the folders of these, sorted; those at the root where these are nowhere."""
        there = [file for same in self._by_stem.values() for file in same]
        folders = {file.rpartition("/")[0] for file in set(files).intersection(there)} or {""}
        return sorted(file for file in there if file.rpartition("/")[0] in folders)


def single_class(options: ReadOptions) -> tuple[str, ...]:
    """The class of a layout that names none.

    Raises:
        DatasetError: If another number of classes than one is asked for.
    """
    classes = options.classes or (WHEAT_CLASS,)
    if len(classes) != 1:
        raise DatasetError(f"expected one class for this layout, got {shown(', '.join(classes))}")
    return classes


def _mention_unlisted(files: list[str], name: str, options: ReadOptions) -> None:
    if files:
        what = "kept as images without boxes" if options.unlisted_empty else "left out"
        message = (
            f"{len(files)} images of the folder have no row, such as {shown(files[0])}: {what}"
        )
        options.problems.note(UNLISTED, Place(name), message)


@dataclass
class _Rows:
    """Images and boxes as the rows come in."""

    name: str
    problems: Problems
    on_disk: _Images
    images: list[RawImage] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    accepted: dict[tuple[str | None, ...], int] = field(default_factory=dict)
    table: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, row: CsvRow) -> None:
        place, values = Place(self.name, row.line), row.values
        key = (values["image_id"], values["width"], values["height"], values.get("source"))
        position = self.accepted.get(key)  # nearly all rows repeat the one before
        if position is None:
            position = self._image(values, place)
            if position is not None:
                self.accepted[key] = position
        if position is None or not values["bbox"].strip():  # without a box: an empty image
            return
        box = four_numbers(values["bbox"])
        if box is None:
            message = f"expected bbox [x, y, width, height], got {shown(values['bbox'])!r}"
            self.problems.error("box-entry", place, message)
            return
        self.table.append((position, *box, row.line))

    def _image(self, values: dict[str, str], place: Place) -> int | None:
        """Position of the row's image, a new one if need be; None if the row cannot be used."""
        image_id, size = values["image_id"].strip(), (values["width"], values["height"])
        if not image_id or not all(_WHOLE.fullmatch(v.strip()) for v in size):
            message = f"expected image_id and whole numbers width and height, got {image_id} {size}"
            self.problems.error("row-values", place, shown(message))
            return None
        image = self._raw_image(image_id, size, values.get("source"), place)
        if image is None:
            return None
        if image_id not in self.positions:
            self.positions[image_id] = len(self.images)
            self.images.append(image)
            return self.positions[image_id]
        known = self.images[self.positions[image_id]]
        if (known.size, known.group) != (image.size, image.group):
            came = shown(", ".join(values.values()))
            message = f"expected size and source as on line {known.place.line}, got {came}"
            self.problems.error("row-conflict", place, message)
            return None
        return self.positions[image_id]

    def _raw_image(
        self, image_id: str, size: tuple[str, str], source: str | None, place: Place
    ) -> RawImage | None:
        ended = image_id if is_image(image_id) else f"{image_id}.jpg"
        fits = self.on_disk.named(image_id) or [[ended]]
        if image_id not in self.positions and not self._chosen(image_id, fits, place):
            return None
        file = fits[0][0]
        stem, folder = file.rpartition(".")[0], file.rpartition("/")[0]
        as_named = file == ended or stem in (image_id, f"{folder}/{image_id}")
        group, known = (source or "").strip() or None, (int(size[0]), int(size[1]))
        named = None if as_named else image_id
        return RawImage(file, known, group, place, named, resolved=file != ended)

    def _chosen(self, image_id: str, fits: list[list[str]], place: Place) -> bool:
        """Whether the first file is taken, which is said where there are others."""
        if len(fits) > 1:
            if image_id not in self.refused:
                self.refused.add(image_id)
                both = several([files[0] for files in fits])
                message = f"{shown(image_id)} fits {both}: name one of them in full"
                self.problems.error("image-ambiguous", place, message)
            return False
        if len(fits[0]) > 1:
            message = f"{len(fits[0])} files have the name {shown(image_id)}: used "
            self.problems.warning("image-ambiguous", place, message + shown(fits[0][0]))
        return True

    def boxes(self) -> RawBoxes:
        table = np.array(self.table, dtype=np.float64).reshape(-1, 6)
        xyxy = table[:, 1:5].copy()
        xyxy[:, 2:] += xyxy[:, :2]
        return RawBoxes(
            image=table[:, 0].astype(np.int64),
            xyxy=xyxy,
            labels=np.ones(len(table), np.int64),
            crowd=np.zeros(len(table), np.bool_),
            place=lambda n: Place(self.name, int(table[n, 5])),
        )


def four_numbers(text: str) -> tuple[float, ...] | None:
    """Four numbers in square brackets, or None; NaN and infinity come out as such.

    Example:
        >>> four_numbers("[0.0, 654.0, 37.0, 111.0]")
        (0.0, 654.0, 37.0, 111.0)
    """
    parts = text.strip().removeprefix("[").removesuffix("]").split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None  # noqa: PLR2004 - x, y, width, height


def _recognise(source: Source) -> bool:
    return csv_has(source.annotations, source.name, KAGGLE_COLUMNS)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    return find_csv(folder, "kaggle", KAGGLE_COLUMNS)


LAYOUT = Layout("kaggle", "csv with image_id and bbox", _recognise, _find, read_kaggle)
