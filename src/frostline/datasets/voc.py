"""Pascal VOC: an XML file an image (http://host.robots.ox.ac.uk/pascal/VOC/)."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from frostline.datasets.files import (
    Tree,
    is_image,
    open_tree,
    plain_name,
    relative_name,
    stems,
)
from frostline.datasets.findings import PATH_FOUND, Place, Problems, several, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import images_folder, ordered, splits_of
from frostline.datasets.named import NamedFiles, Naming
from frostline.datasets.raw import (
    RawBoxes,
    RawDataset,
    RawImage,
    ReadOptions,
    Source,
    mention_sizes,
)
from frostline.datasets.text import read_bytes, read_text
from frostline.datasets.xml_elements import Element, is_cvat, parse_xml
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "VOC_FOLDER", "read_voc", "voc_classes"]

VOC_FOLDER = "Annotations"
"""Folder that list files (``ImageSets/Main/train.txt``) refer to."""

_MAX_XML_BYTES = 1 << 26
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = frozenset({"-1", "0", "1"})  # second column of lists that are made for one class


def read_voc(source: Source, options: ReadOptions) -> RawDataset:
    """Read a folder of XML files, or those that a list file names.

    Classes are ``options.classes``, or the names in alphabetical order. The image is the one of
    ``filename``, or else the one named like the XML file. Files of the Pascal VOC challenge itself
    (``source/annotation`` starts with ``PASCAL VOC``) count pixels from 1 and include the last
    one, so 1 is taken from their ``xmin`` and ``ymin``; other writers give coordinates as they
    are. Objects marked ``difficult`` are kept, and counted in a note.

    Raises:
        DatasetError: If a file is not XML or has a DOCTYPE (entities are refused), or at the
            first problem (see `ReadOptions`).
    """
    tree, names = _annotation_files(source, options.problems)
    if not names:
        raise DatasetError(f"expected VOC XML files in {shown(tree.root)}, found none")
    on_disk = tuple(n for n in source.images.names() if is_image(n))
    rows = _Rows(options.problems, on_disk, source.naming(options.split))
    for name in names:
        rows.add(tree, name)
    _mention(rows, source, options.problems)
    mention_sizes(
        [*rows.images.values()], source.name or source.annotations.root.name, options.problems
    )
    return rows.dataset()


def voc_classes(source: Source) -> tuple[str, ...]:
    """Names of the classes that boxes have, sorted; files that cannot be read are passed over.

    Raises:
        DatasetError: As `read_voc`, if there are no files.
    """
    rows = _Rows(Problems("drop"), ())
    tree, names = _annotation_files(source, Problems("drop"))
    for name in names:
        rows.add(tree, name)
    return tuple(sorted(set(rows.names)))


def _annotation_files(source: Source, problems: Problems) -> tuple[Tree, list[str]]:
    if not source.name:
        return source.annotations, [n for n in source.annotations.names() if _is_xml(n)]
    if _is_xml(source.name):
        return source.annotations, [source.name]
    path = source.annotations.root / source.name
    for parent in path.parents:
        for folder in (VOC_FOLDER, VOC_FOLDER.lower()):
            if open_tree(parent).has_folder(folder):
                tree = open_tree(parent / folder)
                return tree, _files_of_list(source, tree, problems)
    raise DatasetError(
        f"{shown(source.name)}: expected a folder {VOC_FOLDER} beside or above the list, found none"
    )


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml")


def _files_of_list(source: Source, tree: Tree, problems: Problems) -> list[str]:
    """XML files of the lines of a list, each of which names an image, with or without ending."""
    by_stem = {n.rpartition(".")[0]: n for n in tree.names() if _is_xml(n)}
    files = NamedFiles(by_stem.keys, by_stem.__contains__, source.naming())
    found, others = [], []
    for number, names in _listed(read_text(source.annotations, source.name, problems=problems)):
        stemmed = [n.rpartition(".")[0] if _is_xml(n) or is_image(n) else n for n in names]
        wanted = list(dict.fromkeys((*names, *stemmed)))
        name = next((n for n in wanted if n in by_stem), names[-1])
        fits = next(filter(None, (files.find(n).fits for n in (name, *wanted))), ())
        stem = stemmed[-1]
        if len(fits) > 1:
            message = f"{shown(name)} fits {several(fits)}: name one of them in full"
            problems.error("image-ambiguous", Place(source.name, number), message)
            continue
        found.append(by_stem[fits[0]] if fits else f"{stem}.xml")
        others += [name] if fits and fits[0] not in wanted else []
    if others:
        message = (
            f"{len(others)} of {len(found)} names of the list were found by the ending of their "
            f"path, or in another spelling, such as {shown(others[0])}"
        )
        problems.note(PATH_FOUND, Place(source.name), message)
    return found


def _listed(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line of each entry, and what may be its name.

    That is the whole line, or what stands before the flag of one class or before an XML file.
    """
    for number, line in enumerate(text.splitlines(), 1):
        whole = line.strip()
        head, _, last = whole.rpartition(" ")
        two = head and (last in _FLAGS or (_is_xml(last) and is_image(head.strip())))
        if whole:
            yield number, (whole, head.strip()) if two else (whole,)


def _mention(rows: "_Rows", source: Source, problems: Problems) -> None:
    place = Place(source.name or source.annotations.root.name)
    mention_sizes([*rows.images.values()], place.file, problems)
    for encoding, count in rows.found_encodings.items():
        message = f"{count} files are not in the encoding that they say: read as {encoding}"
        problems.note("text-encoding", place, message)
    if rows.difficult:
        message = f"{rows.difficult} boxes are marked difficult: kept as ordinary boxes"
        problems.note("box-difficult", place, message)


@dataclass
class _Rows:
    """Images and boxes as the files come in."""

    problems: Problems
    on_disk: tuple[str, ...]
    naming: Naming = field(default_factory=Naming)
    images: dict[str, RawImage] = field(default_factory=dict)  # by file
    boxes: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # class of each box
    places: list[Place] = field(default_factory=list)  # of each box
    difficult: int = 0
    found_encodings: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._files = set(self.on_disk)
        self._stems = stems(self.on_disk)
        self._named = NamedFiles(lambda: self.on_disk, self._files.__contains__, self.naming)
        self._by_stem = NamedFiles(self._stems.keys, self._stems.__contains__, self.naming)

    def add(self, tree: Tree, name: str) -> None:
        """Read one XML file."""
        try:
            root = parse_xml(read_bytes(tree, name, max_bytes=_MAX_XML_BYTES), name)
            if root.tag != "annotation":
                raise DatasetError(f"{shown(name)}: expected <annotation>, got <{shown(root.tag)}>")
        except DatasetError as error:
            self.problems.error("annotation-unreadable", Place(name), str(error))
            return
        self.found_encodings.update([root.encoding] if root.encoding else [])
        file, named = self._image_file(root, name)
        resolved, place = file in self._files, Place(name, root.line)
        if file in self.images:
            message = f"expected each image once, got {shown(file)} again"
            self.problems.error("image-duplicate", place, message)
            return
        position = len(self.images)
        self.images[file] = RawImage(file, _size(root), None, place, named, resolved)
        # Files of the challenge itself count from 1 and include the last pixel.
        first = 1.0 if (root.value("source/annotation") or "").startswith("PASCAL VOC") else 0.0
        for element in root.all("object"):
            self._object(element, Place(name, element.line), position, first)

    def _image_file(self, root: Element, name: str) -> tuple[str, str | None]:
        """Image of an XML file as it says, or beside it; else the one of its name, and that name.

        Where it says a name that no file has or fits, the name is wrong or lacks its ending.
        """
        stem = name.rpartition(".")[0]
        said = root.value("filename") or ""
        beside = stem.rpartition("/")[0] + "/" + relative_name(said)
        if said in self._files:
            return said, None
        if said and beside in self._files:
            return beside, None
        if said and self._named.find(said).fits:
            return said, None
        if plain_name(relative_name(said) or "x") is None:
            return said, None
        fits = self._by_stem.find(stem).fits
        if len(fits) != 1:
            return said or f"{stem}.jpg", None
        exact = fits[0].rpartition("/")[2] == stem.rpartition("/")[2]
        return self._stems[fits[0]][0], None if exact else stem

    def _object(self, element: Element, place: Place, position: int, first: float) -> None:
        name = element.value("name")
        corners = [_number(element.value(f"bndbox/{corner}")) for corner in _CORNERS]
        x0, y0, x1, y1 = corners
        if not name or x0 is None or y0 is None or x1 is None or y1 is None:
            message = "expected an object with name and bndbox/xmin, ymin, xmax, ymax"
            self.problems.error("box-entry", place, message)
            return
        self.boxes.append((position, x0 - first, y0 - first, x1, y1))
        self.names.append(name)
        self.places.append(place)
        self.difficult += element.value("difficult") == "1"

    def dataset(self) -> RawDataset:
        """All that was added."""
        classes = tuple(sorted(set(self.names)))
        label = {name: n for n, name in enumerate(classes, 1)}
        table = np.array(self.boxes, dtype=np.float64).reshape(-1, 5)
        boxes = RawBoxes(
            image=table[:, 0].astype(np.int64),
            xyxy=table[:, 1:],
            labels=np.array([label[name] for name in self.names], dtype=np.int64),
            crowd=np.zeros(len(table), np.bool_),
            place=self.places.__getitem__,
        )
        return RawDataset(classes, list(self.images.values()), boxes)


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height, or None where the writer did not know them and put 0."""
    width, height = _number(root.value("size/width")), _number(root.value("size/height"))
    if not width or not height or not (math.isfinite(width) and math.isfinite(height)):
        return None
    return int(width), int(height)


def _number(text: str | None) -> float | None:
    """A number; NaN and infinity are judged with the other boxes."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _recognise(source: Source) -> bool:
    name = source.name.lower()
    if not name:
        return any(map(_is_xml, source.annotations.names()))
    folders = {part.lower() for part in (source.annotations.root / source.name).parts}
    return name.endswith(".xml") or (name.endswith(".txt") and "imagesets" in folders)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    first: dict[str, str] = {}  # of the XML files of each folder
    for name in filter(_is_xml, folder.names):
        first.setdefault(name.rpartition("/")[0], name)
    folders = sorted(f for f, name in first.items() if not is_cvat(folder.tree, name))
    if not folders:
        return
    lists = {n.lower(): n for n in folder.names if n.lower().startswith("imagesets/main/")}
    words = {w: lists.get(f"imagesets/main/{w}.txt") for w in ("train", "val", "test", "trainval")}
    listed = {word: folder.path / name for word, name in words.items() if name}
    if {"train", "trainval"} <= set(listed):
        del listed["trainval"]
    splits = listed or splits_of(folder, folders)
    yield DatasetLocation("voc", images_folder(folder), ordered(splits))


LAYOUT = Layout("voc", "VOC xml", _recognise, _find, read_voc, voc_classes)
