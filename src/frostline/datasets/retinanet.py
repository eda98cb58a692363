"""The csv of keras-retinanet and pytorch-retinanet, without a header: ``path,x1,y1,x2,y2,class``.

A row ``path,,,,,`` is an image without boxes. The classes stand in a second file, ``class,id``.
"""

import itertools
from collections.abc import Iterator

from frostline.datasets.files import Tree, is_image
from frostline.datasets.findings import Place, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import Listing, classes_by
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import CSV, csv_head, csv_lines, read_text
from frostline.datasets.values import as_number, whole
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "read_retinanet"]

_COLUMNS = 6
_LOOKED_AT = 3  # rows that all must be of this kind
_MAX_CLASS_BYTES = 1 << 20


def read_retinanet(source: Source, options: ReadOptions) -> RawDataset:
    """Read the csv, and the classes of the file ``class,id`` beside it, in the order of their ids.

    Without such a file, or with two, classes are the names in alphabetical order.

    Raises:
        DatasetError: If the file is not this csv, or at the first problem (see `ReadOptions`).
    """
    name, problems = source.name, options.problems
    listing = Listing(name, problems)
    text = read_text(source.annotations, name, problems=problems)
    for line, values in csv_lines(text, name):
        _add(listing, Place(name, line), values)
    return listing.dataset(_classes(source.annotations))


def _add(listing: Listing, place: Place, values: list[str]) -> None:
    if len(values) != _COLUMNS:
        message = f"expected {_COLUMNS} columns, got {len(values)}"
        listing.problems.error("row-columns", place, message)
        return
    file, *corners, name = values
    if not file:
        message = f"expected the path of an image, got {shown(','.join(values))}"
        listing.problems.error("row-values", place, message)
        return
    image = listing.image(file, None, place)
    if not any((*corners, name)):
        return
    x0, y0, x1, y1 = (as_number(corner) for corner in corners)
    if x0 is None or y0 is None or x1 is None or y1 is None or not name:
        message = f"expected path,x1,y1,x2,y2,class, got {shown(','.join(values))}"
        listing.problems.error("box-entry", place, message)
        return
    listing.box(image, (x0, y0, x1, y1), name, place)


def _classes(tree: Tree) -> tuple[str, ...]:
    """Names of the one file ``class,id`` at the top; nothing without it."""
    files = [n for n in tree.names() if "/" not in n and n.lower().endswith(CSV)]
    found = [classes for classes in (_classes_of(tree, name) for name in files) if classes]
    return found[0] if len(found) == 1 else ()


def _classes_of(tree: Tree, name: str) -> tuple[str, ...]:
    """Names of a file ``class,id`` in the order of the ids, which count from 0 or 1."""
    try:
        rows = [row for _, row in csv_lines(_text(tree, name), name)]
    except DatasetError:
        return ()
    if not all(len(row) == 2 for row in rows):  # noqa: PLR2004 - name, id
        return ()
    by_id = {whole(row[1]): row[0] for row in rows}
    ids = sorted(n for n in by_id if n is not None)
    first = ids[0] if ids else -1
    whole_list = ids == list(range(first, first + len(rows))) and first in (0, 1)
    names = tuple(by_id[n] for n in ids) if whole_list else ()
    return names if len(set(names)) == len(names) else ()


def _text(tree: Tree, name: str) -> str:
    return read_text(tree, name, max_bytes=_MAX_CLASS_BYTES)


def _is_retinanet(tree: Tree, name: str) -> bool:
    """Whether a csv begins with rows of images and corners, or of images alone."""
    if not name.lower().endswith(CSV):
        return False
    try:
        lines = csv_lines(csv_head(tree, name), name)
        rows = [row for _, row in itertools.islice(lines, _LOOKED_AT)]
    except DatasetError:
        return False
    return bool(rows) and all(map(_is_row, rows))


def _is_row(row: list[str]) -> bool:
    if len(row) != _COLUMNS or not is_image(row[0]):
        return False
    return not any(row[1:]) or all(as_number(corner) is not None for corner in row[1:5])


def _recognise(source: Source) -> bool:
    return _is_retinanet(source.annotations, source.name)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.count("/") <= 1]
    mine = [name for name in files if _is_retinanet(folder.tree, name)]
    if mine:
        yield DatasetLocation("retinanet", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout(
    "retinanet",
    "csv of path, corners and class without a header",
    _recognise,
    _find,
    read_retinanet,
    classes_by(read_retinanet, lambda source: bool(_classes(source.annotations))),
)
