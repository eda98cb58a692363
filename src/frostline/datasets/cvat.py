"""CVAT's own XML for images, "CVAT for images 1.1" (https://docs.cvat.ai)."""

import math
from collections.abc import Iterator

from frostline.datasets.files import Tree
from frostline.datasets.findings import Place, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import Box, Listing, around, classes_by, turned_box
from frostline.datasets.locations import images_folder, ordered, splits_of
from frostline.datasets.named import split_word
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import read_bytes
from frostline.datasets.values import as_number, numbers, whole
from frostline.datasets.xml_elements import Element, is_cvat, parse_xml
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_cvat"]

_MAX_BYTES = 1 << 27
_OTHERS = ("polyline", "points", "cuboid", "skeleton", "tag")  # without a box
_CORNERS, _RADII = ("xtl", "ytl", "xbr", "ybr"), ("cx", "cy", "rx", "ry")
_SIDES = ("left", "top", "width", "height")


def read_cvat(source: Source, options: ReadOptions) -> RawDataset:
    """Read the XML file.

    Classes are the labels of the task, in its order. Boxes are taken as they are; turned boxes,
    polygons, ellipses and masks become the box around them, and are counted; points, lines and
    tags are passed over and counted. Of a file with subsets the one named like the split is read.

    Raises:
        DatasetError: If the file is another XML, or of a video; or at the first problem.
    """
    name, problems = source.name, options.problems
    root = parse_xml(read_bytes(source.annotations, name, max_bytes=_MAX_BYTES), name)
    if root.tag != "annotations":
        raise DatasetError(f"{shown(name)}: expected <annotations>, got <{shown(root.tag)}>")
    if next(root.all("track"), None) is not None:
        raise DatasetError(
            f"{shown(name)}: expected images, got tracks of a video; export the task from CVAT as "
            f"'CVAT for images', with its images"
        )
    listing = Listing(name, problems)
    for image in _of_split(list(root.all("image")), options.split, name):
        _add(listing, image)
    return listing.dataset(_labels(root))


def _is_listed(source: Source) -> bool:
    """Whether the file lists its labels."""
    data = read_bytes(source.annotations, source.name, max_bytes=_MAX_BYTES)
    return bool(_labels(parse_xml(data, source.name)))


def _of_split(images: list[Element], split: str | None, name: str) -> list[Element]:
    """The images of the subset that a split stands for; all of them where there is but one."""
    subsets = dict.fromkeys(map(_subset, images))
    if split is None or len(subsets) <= 1:
        return images
    if split not in subsets and split_word(split) is None:  # called by the name of the file
        return images
    if split not in subsets:
        raise DatasetError(
            f"{shown(name)}: expected one of its subsets {shown(', '.join(subsets))}, got "
            f"{shown(split)}"
        )
    return [image for image in images if _subset(image) == split]


def _subset(image: Element) -> str:
    written = image.attributes.get("subset", "")
    return split_word(written) or written


def _labels(root: Element) -> tuple[str, ...]:
    """Names of the labels of the task or project; parts of skeletons are none."""
    found: dict[str, None] = {}
    for part in ("task", "project", "job"):
        element = root.find(f"meta/{part}/labels")
        for label in element.all("label") if element else ():
            name = label.value("name")
            if name and label.find("parent") is None and label.value("type") != "tag":
                found[name] = None
    return tuple(found)


def _add(listing: Listing, element: Element) -> None:
    place, written = Place(listing.name, element.line), element.attributes
    file = written.get("name", "")
    if not file:
        listing.problems.error("image-entry", place, "expected an image with a name, got none")
        return
    width, height = whole(written.get("width")), whole(written.get("height"))
    image = listing.image(file, (width, height) if width and height else None, place)
    for shape in element.children:
        if shape.tag in _OTHERS:
            listing.unread[shape.tag] += 1
        elif shape.tag in _BOXES:
            _shape(listing, image, shape)


def _shape(listing: Listing, image: int, shape: Element) -> None:
    place, name = Place(listing.name, shape.line), shape.attributes.get("label", "")
    box = _BOXES[shape.tag](shape.attributes)
    if box is None or not name:
        came = shown(shape.attributes)
        message = f"expected a {shape.tag} with label and coordinates, got {came}"
        listing.problems.error("box-entry", place, message)
        return
    listing.outlines += (
        shape.tag != "box" or as_number(shape.attributes.get("rotation")) is not None
    )
    listing.box(image, box, name, place)


def _corners(written: dict[str, str]) -> Box | None:
    found, turned = numbers([written.get(key) for key in _CORNERS], 4), _turned(written)
    if found is None or turned is None:
        return None
    x0, y0, x1, y1 = found
    return turned_box((x0, y0, x1, y1), turned) if turned else (x0, y0, x1, y1)


def _turned(written: dict[str, str]) -> float | None:
    """Degrees by which a shape is turned; None if that is no number."""
    found = as_number(written.get("rotation", "0"))
    return found if found is not None and math.isfinite(found) else None


def _polygon(written: dict[str, str]) -> Box | None:
    points = [numbers(pair.split(","), 2) for pair in written.get("points", "").split(";")]
    whole_points = [point for point in points if point is not None]
    return around(whole_points) if whole_points and len(whole_points) == len(points) else None


def _ellipse(written: dict[str, str]) -> Box | None:
    """The box around an upright ellipse that reaches as far as the one that is turned."""
    found, turned = numbers([written.get(key) for key in _RADII], 4), _turned(written)
    if found is None or turned is None:
        return None
    x, y, across, down = found
    cos, sin = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    width, height = math.hypot(across * cos, down * sin), math.hypot(across * sin, down * cos)
    return x - width, y - height, x + width, y + height


def _mask(written: dict[str, str]) -> Box | None:
    found = numbers([written.get(key) for key in _SIDES], 4)
    return None if found is None else (found[0], found[1], found[0] + found[2], found[1] + found[3])


_BOXES = {"box": _corners, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}


def _recognise(source: Source) -> bool:
    return bool(source.name) and is_cvat(source.annotations, source.name)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files: dict[str, list[str]] = {}
    for name in folder.names:
        if name.lower().endswith(".xml") and name.count("/") <= 1:
            files.setdefault(name.rpartition("/")[0], []).append(name)
    # VOC has thousands in a folder: the first tells of which kind they are
    likely = [part for part in files.values() if is_cvat(folder.tree, part[0])]
    mine = [name for part in likely for name in part if is_cvat(folder.tree, name)]
    if not mine:
        return
    splits = splits_of(folder, mine)
    if len(mine) == 1:
        splits = dict.fromkeys(_subsets(folder.tree, mine[0]), folder.path / mine[0]) or splits
    yield DatasetLocation("cvat", images_folder(folder), ordered(splits))


def _subsets(tree: Tree, name: str) -> list[str]:
    """Subsets of a file, if it has several."""
    root = parse_xml(read_bytes(tree, name, max_bytes=_MAX_BYTES), name)
    found = list(dict.fromkeys(map(_subset, root.all("image"))))
    return found if len(found) > 1 and all(found) else []


LAYOUT = Layout(
    "cvat",
    "CVAT xml for images",
    _recognise,
    _find,
    read_cvat,
    classes_by(read_cvat, _is_listed),
)
