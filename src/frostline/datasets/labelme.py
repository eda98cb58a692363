"""LabelMe's JSON: a file an image, with shapes (https://github.com/wkentaro/labelme)."""

import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from frostline.datasets.files import is_image, relative_name, stems
from frostline.datasets.findings import Place, shown
from frostline.datasets.json_kinds import JSON, json_kind
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import Box, Listing, around, classes_by
from frostline.datasets.locations import images_folder, ordered, splits_of
from frostline.datasets.named import NamedFiles
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.datasets.values import json_of_text, numbers, whole
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_labelme"]

_MAX_BYTES = 1 << 28  # a file may hold its image as text
_CORNERS = ("rectangle", "mask")
_AREAS = ("polygon", "rotation", "quadrilateral")


def read_labelme(source: Source, options: ReadOptions) -> RawDataset:
    """Read a folder of JSON files, or one of them.

    Classes are the labels in alphabetical order. Rectangles and masks are boxes by their corners;
    polygons, turned rectangles and circles become the box around them, counted in a note. Shapes
    of one label and one ``group_id`` are one object. Points and lines are passed over and counted.

    Raises:
        DatasetError: If a file is not LabelMe's, or at the first problem (see `ReadOptions`).
    """
    tree, problems = source.annotations, options.problems
    names = [source.name] if source.name else [n for n in tree.names() if _is_mine(source, n)]
    listing, images = Listing(source.name or tree.root.name, problems), _Images(source)
    for name in names:
        try:
            text = read_text(tree, name, max_bytes=_MAX_BYTES, problems=problems)
            data = json_of_text(text, name)
            if not isinstance(data, Mapping) or not isinstance(data.get("shapes"), list):
                raise DatasetError(f"{shown(name)}: expected LabelMe's JSON with a list shapes")
        except DatasetError as error:
            problems.error("annotation-unreadable", Place(name), str(error))
            continue
        _add(listing, images, name, data)
    return listing.dataset()


def _is_mine(source: Source, name: str) -> bool:
    return json_kind(source.annotations, name) == "labelme"


class _Images:
    """Images under the root, which a file names by their path from it, or by its own name."""

    def __init__(self, source: Source) -> None:
        files = [name for name in source.images.names() if is_image(name)]
        self._files, self._stems, naming = set(files), stems(files), source.naming()
        self._named = NamedFiles(lambda: files, self._files.__contains__, naming)
        self._by_stem = NamedFiles(self._stems.keys, self._stems.__contains__, naming)
        self._top = os.path.realpath(source.annotations.root)
        self._root = os.path.realpath(source.images.root)

    def find(self, name: str, said: str) -> tuple[str, str | None]:
        """Image of a JSON file, and what it was found for where that is not its path.

        Where it says a path that no file fits, it is the image with the name of the JSON file.
        """
        stem = name.removesuffix(".gz").rpartition(".")[0]
        from_here = self._from(name, said)
        if said and (from_here in self._files or self._named.find(said).fits):
            return (from_here if from_here in self._files else said), None
        fits = self._by_stem.find(stem).fits
        if len(fits) == 1 and len(self._stems[fits[0]]) == 1:
            return self._stems[fits[0]][0], said or stem
        return said or f"{stem}.jpg", None

    def _from(self, name: str, said: str) -> str:
        """The path from a JSON file as a name under the root; any text if it leads elsewhere."""
        path = posixpath.join(self._top, posixpath.dirname(name), relative_name(said))
        return posixpath.normpath(path).removeprefix(f"{self._root}/")


def _add(listing: Listing, images: _Images, name: str, data: Mapping[str, Any]) -> None:
    place, said = Place(name), data.get("imagePath")
    file, named = images.find(name, said if isinstance(said, str) else "")
    width, height = whole(data.get("imageWidth")), whole(data.get("imageHeight"))
    size = (width, height) if width and height else None
    image = listing.image(file, size, place, named=named)
    grouped: dict[tuple[str, str], list[Box]] = {}
    places: dict[tuple[str, str], Place] = {}
    for n, shape in enumerate(data["shapes"]):
        where = Place(name, entry=f"shapes[{n}]")
        found = _shape(listing, shape, where)
        if found is not None:
            label, box, group = found
            key = (label, str(n) if group is None else f"group {group}")
            grouped.setdefault(key, []).append(box)
            places.setdefault(key, where)
    for key, boxes in grouped.items():
        corners = [corner for box in boxes for corner in (box[:2], box[2:])]
        listing.box(image, around(corners), key[0], places[key])


def _shape(listing: Listing, shape: Any, place: Place) -> tuple[str, Box, Any] | None:
    """Label, box and group of a shape; None for what has no box, which is told."""
    label = shape.get("label") if isinstance(shape, Mapping) else None
    raw = shape.get("points") if isinstance(shape, Mapping) else None
    points = [numbers(point, 2) for point in raw] if isinstance(raw, list) else []
    if not isinstance(label, str) or not label or not points or None in points:
        message = f"expected a shape with label and points, got {shown(shape)}"
        listing.problems.error("box-entry", place, message)
        return None
    kind = shape.get("shape_type") or "polygon"  # before version 3 there were no others
    box = _box(listing, str(kind), [point for point in points if point is not None])
    return None if box is None else (label, box, shape.get("group_id"))


def _box(listing: Listing, kind: str, points: list[tuple[float, ...]]) -> Box | None:
    if kind in _CORNERS and len(points) > 1:
        return around(points)
    if kind in _AREAS and len(points) > 2:  # noqa: PLR2004 - with an area
        listing.outlines += 1
        return around(points)
    if kind == "circle" and len(points) == 2:  # noqa: PLR2004 - its middle, and a point on it
        (x, y), edge = points
        radius = math.hypot(edge[0] - x, edge[1] - y)
        listing.outlines += 1
        return x - radius, y - radius, x + radius, y + radius
    listing.unread[shown(kind)] += 1
    return None


def _recognise(source: Source) -> bool:
    if source.name:
        return json_kind(source.annotations, source.name) == "labelme"
    names = (name for name in source.annotations.names() if name.lower().endswith(JSON))
    return any(_is_mine(source, name) for name in names)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if json_kind(folder.tree, name) == "labelme"]
    folders = sorted({name.rpartition("/")[0] for name in files})
    if folders:
        splits = ordered(splits_of(folder, folders))
        yield DatasetLocation("labelme", images_folder(folder), splits)


LAYOUT = Layout(
    "labelme",
    "LabelMe json",
    _recognise,
    _find,
    read_labelme,
    classes_by(read_labelme),
)
