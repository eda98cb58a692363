"""The VGG Image Annotator, version 1 and 2: a project, or annotations as JSON or csv.

A region has ``shape_attributes`` (rect, polygon, circle, ...) and ``region_attributes``, which
people name as they like (https://www.robots.ox.ac.uk/~vgg/software/via/).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from frostline.datasets.findings import Place, Problems, shown
from frostline.datasets.json_kinds import json_kind
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import ONE_CLASS, Box, Listing, around, classes_by
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import csv_has, csv_rows, read_text
from frostline.datasets.values import json_of_text, numbers
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_via"]

_CSV_COLUMNS = ("region_shape_attributes", "region_attributes")
_CLASS_WORDS = ("class", "label", "name", "type", "category", "object", "classname", "objectname")

Region = tuple[Place, Mapping[str, Any], Mapping[str, Any]]
"""Where it stands, shape attributes, region attributes."""


def read_via(source: Source, options: ReadOptions) -> RawDataset:
    """Read a project, or exported annotations.

    The class is the region attribute that there is, or the one called ``class``, ``label``,
    ``name``, ``type``, ``category`` or ``object``; where regions have none, all are of one class.
    Polygons, circles and ellipses become the box around them; points and lines are counted.

    Raises:
        DatasetError: If the file is another one, if it cannot be told which attribute is the
            class, or at the first problem (see `ReadOptions`).
    """
    name, problems = source.name, options.problems
    text = read_text(source.annotations, name, problems=problems)
    is_csv = csv_has(source.annotations, name, _CSV_COLUMNS)
    images = _of_csv(text, name, problems) if is_csv else _of_json(text, name, problems)
    key = _class_key([region[2] for regions in images.values() for region in regions], name)
    if key is None and any(images.values()):
        message = f"regions have no attributes: all boxes are of the class {ONE_CLASS}"
        problems.warning("class-unnamed", Place(name), message)
    listing = Listing(name, problems)
    for file, regions in images.items():
        image = listing.image(file, None, regions[0][0] if regions else Place(name))
        for region in regions:
            _add(listing, image, region, key)
    return listing.dataset()


def _of_json(text: str, name: str, problems: Problems) -> dict[str, list[Region]]:
    data = json_of_text(text, name)
    if isinstance(data, Mapping):
        data = data.get("_via_img_metadata", data)
    if not isinstance(data, Mapping):
        raise DatasetError(f"{shown(name)}: expected annotations of VIA, got {shown(data)}")
    found: dict[str, list[Region]] = {}
    for key, entry in data.items():
        place = Place(name, entry=shown(key))
        file = entry.get("filename") if isinstance(entry, Mapping) else None
        regions = entry.get("regions") if isinstance(entry, Mapping) else None
        if isinstance(regions, Mapping):  # version 1 numbers them
            regions = list(regions.values())
        if not isinstance(file, str) or not file or not isinstance(regions, list):
            message = f"expected an image with filename and regions, got {shown(entry)}"
            problems.error("image-entry", place, message)
            continue
        rows = found.setdefault(file, [])
        for n, region in enumerate(regions):
            where = Place(name, entry=f"{shown(key)} regions[{n}]")
            parts = [region.get(part) if isinstance(region, Mapping) else None for part in _PARTS]
            rows += _region(parts[0], parts[1], where, problems)
    return found


_PARTS = ("shape_attributes", "region_attributes")


def _of_csv(text: str, name: str, problems: Problems) -> dict[str, list[Region]]:
    found: dict[str, list[Region]] = {}
    for row in csv_rows(text, name, _CSV_COLUMNS, problems):
        place = Place(name, row.line)
        file = row.values.get("filename", row.values.get("#filename", "")).strip()
        if not file:
            problems.error("row-values", place, "expected a filename, got none")
            continue
        rows = found.setdefault(file, [])
        try:
            shape, attributes = (json_of_text(row.values[c] or "{}", name) for c in _CSV_COLUMNS)
        except DatasetError:
            came = shown(row.values[_CSV_COLUMNS[0]])
            problems.error("box-entry", place, f"expected attributes as JSON, got {came}")
            continue
        if shape != {}:  # an image without regions has one row
            rows += _region(shape, attributes, place, problems)
    return found


def _region(shape: Any, attributes: Any, place: Place, problems: Problems) -> list[Region]:
    if isinstance(shape, Mapping) and isinstance(attributes, Mapping):
        return [(place, shape, attributes)]
    message = f"expected shape and region attributes, got {shown(shape)}"
    problems.error("box-entry", place, message)
    return []


def _class_key(attributes: list[Mapping[str, Any]], name: str) -> str | None:
    """The region attribute that is the class; None where there are no attributes.

    Raises:
        DatasetError: If there are several and none has a name that says so.
    """
    counts = Counter(key for found in attributes for key, value in found.items() if value)
    if len(counts) <= 1:
        return next(iter(counts), None)
    plain = {"".join(c for c in key.lower() if c.isalnum()): key for key in counts}
    known = next((plain[word] for word in _CLASS_WORDS if word in plain), None)
    if known is None:
        keys = shown(", ".join(sorted(counts)))
        raise DatasetError(
            f"{shown(name)}: expected one region attribute, or one called class, got {keys}; "
            f"rename the one that is the class"
        )
    return known


def _add(listing: Listing, image: int, region: Region, key: str | None) -> None:
    place, shape, attributes = region
    kind = str(shape.get("name"))
    name = ONE_CLASS if key is None else _class(attributes.get(key))
    if kind not in _BOXES:
        listing.unread[shown(kind)] += 1
        return
    box = _BOXES[kind](shape)
    if box is None or not name:
        came = shown(attributes if box else shape)
        message = f"expected a {kind} with its numbers and a class, got {came}"
        listing.problems.error("box-entry", place, message)
        return
    listing.outlines += kind != "rect"
    listing.box(image, box, name, place)


def _class(value: Any) -> str:
    """Class of a region: text, or of check boxes the only one that is set; else empty."""
    if isinstance(value, Mapping):
        chosen = [key for key, is_set in value.items() if is_set]
        value = chosen[0] if len(chosen) == 1 else ""
    return value.strip() if isinstance(value, str) else ""


def _of(shape: Mapping[str, Any], *keys: str) -> tuple[float, ...] | None:
    return numbers([shape.get(key) for key in keys], len(keys))


def _rect(shape: Mapping[str, Any]) -> Box | None:
    found = _of(shape, "x", "y", "width", "height")
    return None if found is None else (found[0], found[1], found[0] + found[2], found[1] + found[3])


def _circle(shape: Mapping[str, Any]) -> Box | None:
    found = _of(shape, "cx", "cy", "r")
    if found is None:
        return None
    x, y, radius = found
    return x - radius, y - radius, x + radius, y + radius


def _ellipse(shape: Mapping[str, Any]) -> Box | None:
    """The box around an ellipse; ``theta``, where it is turned, is in radians."""
    found = _of({"theta": 0, **shape}, "cx", "cy", "rx", "ry", "theta")
    if found is None or not math.isfinite(found[4]):
        return None
    x, y, across, down, turned = found
    cos, sin = math.cos(turned), math.sin(turned)
    width, height = math.hypot(across * cos, down * sin), math.hypot(across * sin, down * cos)
    return x - width, y - height, x + width, y + height


def _polygon(shape: Mapping[str, Any]) -> Box | None:
    x, y = shape.get("all_points_x"), shape.get("all_points_y")
    count = len(x) if isinstance(x, list) else 0
    across, down = numbers(x, count), numbers(y, count)
    if not count or across is None or down is None:
        return None
    return around(list(zip(across, down, strict=True)))


_BOXES = {"rect": _rect, "circle": _circle, "ellipse": _ellipse, "polygon": _polygon}


def _recognise(source: Source) -> bool:
    tree, name = source.annotations, source.name
    return json_kind(tree, name) == "via" or csv_has(tree, name, _CSV_COLUMNS)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.count("/") <= 1]
    mine = [name for name in files if json_kind(folder.tree, name) == "via"]
    mine = mine or [name for name in files if csv_has(folder.tree, name, _CSV_COLUMNS)]
    if mine:
        yield DatasetLocation("via", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout("via", "VIA json or csv", _recognise, _find, read_via, classes_by(read_via))
