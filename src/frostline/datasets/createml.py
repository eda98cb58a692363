"""Create ML's JSON: a list of images with boxes by their middle, in pixels.

``[{"image": "a.jpg", "annotations": [{"label": "ear", "coordinates": {"x": 40, "y": 30,
"width": 20, "height": 10}}]}]``
"""

from collections.abc import Iterator, Mapping
from typing import Any

from frostline.datasets.findings import Place, shown
from frostline.datasets.json_kinds import json_kind
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import Listing, classes_by
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.datasets.values import json_of_text, numbers
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_createml"]

_FILE, _BOXES = ("image", "imagefilename", "filename"), ("annotations", "annotation")
_SIDES = ("x", "y", "width", "height")


def read_createml(source: Source, options: ReadOptions) -> RawDataset:
    """Read the JSON; classes are the labels in alphabetical order.

    Raises:
        DatasetError: If the file is not this list, or at the first problem (see `ReadOptions`).
    """
    name, problems = source.name, options.problems
    data = json_of_text(read_text(source.annotations, name, problems=problems), name)
    if not isinstance(data, list):
        raise DatasetError(f"{shown(name)}: expected Create ML's JSON, a list of images")
    listing = Listing(name, problems)
    for n, entry in enumerate(data):
        _add(listing, entry, f"[{n}]")
    return listing.dataset(relative=None)


def _add(listing: Listing, entry: Any, where: str) -> None:
    place = Place(listing.name, entry=where)
    file, boxes = _first(entry, _FILE), _first(entry, _BOXES)
    if not isinstance(file, str) or not file or not isinstance(boxes, list | None):
        message = f"expected an image with a list of annotations, got {shown(entry)}"
        listing.problems.error("image-entry", place, message)
        return
    image = listing.image(file, None, place)
    for n, box in enumerate(boxes or ()):
        _box(listing, image, box, Place(listing.name, entry=f"{where}.annotations[{n}]"))


def _box(listing: Listing, image: int, entry: Any, place: Place) -> None:
    label, sides = _first(entry, ("label",)), _first(entry, ("coordinates",))
    found = numbers([_first(sides, (side,)) for side in _SIDES], 4)
    if not isinstance(label, str) or not label or found is None:
        message = f"expected label and coordinates x, y, width, height, got {shown(entry)}"
        listing.problems.error("box-entry", place, message)
        return
    x, y, width, height = found
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    listing.box(image, box, label, place)


def _first(entry: Any, keys: tuple[str, ...]) -> Any:
    """Value of the first of some keys that is there, or None."""
    if not isinstance(entry, Mapping):
        return None
    return next((entry[key] for key in keys if key in entry), None)


def _recognise(source: Source) -> bool:
    return json_kind(source.annotations, source.name) == "createml"


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.count("/") <= 1]
    mine = [name for name in files if json_kind(folder.tree, name) == "createml"]
    if mine:
        yield DatasetLocation("createml", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout(
    "createml",
    "Create ML json",
    _recognise,
    _find,
    read_createml,
    classes_by(read_createml),
)
