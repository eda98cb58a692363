"""A csv with a row a box and its corners, as tutorials of TensorFlow and torchvision have it.

``filename,width,height,class,xmin,ymin,xmax,ymax``: columns are known by their names, in any order;
width, height and class may be absent.
"""

from collections.abc import Iterator, Mapping

from frostline.datasets.findings import Place, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import ONE_CLASS, Listing, classes_by
from frostline.datasets.locations import images_folder, splits_of
from frostline.datasets.open_images import COLUMNS
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import CsvRow, csv_header, csv_rows, header_of, read_text
from frostline.datasets.values import as_number, whole
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "box_columns", "read_table"]

_FILE = (
    *("filename", "file", "image", "imagename", "imagefile", "imageid", "imagepath", "filepath"),
    *("path", "img", "imgname", "imgpath", "imgid"),
)
_CLASS = ("class", "label", "classname", "labelname", "category", "categoryname", "name", "object")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
)
_SIZE = (("width", "height"), ("imagewidth", "imageheight"), ("imgwidth", "imgheight"))


def box_columns(header: list[str]) -> dict[str, str] | None:
    """What the columns of a csv hold: column of ``file``, ``x0``, ...; None if it is not this csv.

    Example:
        >>> box_columns("image,xmin,ymin,xmax,ymax".split(","))
        {'file': 'image', 'x0': 'xmin', 'y0': 'ymin', 'x1': 'xmax', 'y1': 'ymax'}
    """
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in header}
    corners = next((c for c in _CORNERS if plain.keys() >= set(c)), None)
    file = next((name for name in _FILE if name in plain), None)
    if corners is None or file is None:
        return None
    found = {"file": file, **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))}
    name = next((name for name in _CLASS if name in plain), None)
    found |= {"class": name} if name else {}
    size = next((pair for pair in _SIZE if plain.keys() >= set(pair)), None)
    found |= {"width": size[0], "height": size[1]} if size else {}
    return {part: plain[key] for part, key in found.items()}


def read_table(source: Source, options: ReadOptions) -> RawDataset:
    """Read the csv.

    Classes are the names in alphabetical order. A row without corners is an image without boxes;
    images without a row are no part of the set. Where all corners lie between 0 and 1, they are
    parts of the image size, which is told.

    Raises:
        DatasetError: If the file is not this csv, or at the first problem (see `ReadOptions`).
    """
    name = source.name
    text = read_text(source.annotations, name, problems=options.problems)
    columns = box_columns(csv_header(text))
    if columns is None:
        raise DatasetError(
            f"{shown(name)}, line 1: expected columns for file and corners, such as "
            f"filename,xmin,ymin,xmax,ymax, got {shown(text.partition(chr(10))[0])}"
        )
    listing = Listing(name, options.problems)
    for row in csv_rows(text, name, list(columns.values()), options.problems):
        _add(listing, row, columns)
    if "class" not in columns:
        message = f"no column has classes: all boxes are of the class {ONE_CLASS}"
        options.problems.warning("class-unnamed", Place(name), message)
    return listing.dataset(relative=None)


def _add(listing: Listing, row: CsvRow, columns: Mapping[str, str]) -> None:
    values = {part: row.values[column].strip() for part, column in columns.items()}
    place = Place(listing.name, row.line)
    sides = [whole(values[part]) for part in ("width", "height") if values.get(part)]
    if not values["file"] or None in sides:
        message = f"expected a file name and whole numbers, got {shown(', '.join(values.values()))}"
        listing.problems.error("row-values", place, message)
        return
    known = [side for side in sides if side]  # 0: the writer did not know it
    size = (known[0], known[1]) if len(known) == 2 else None  # noqa: PLR2004 - width, height
    image = listing.image(values["file"], size, place)
    corners = [values[part] for part in ("x0", "y0", "x1", "y1")]
    if not any(corners):
        return
    found = [as_number(corner) for corner in corners]
    x0, y0, x1, y1 = found
    name = values.get("class", ONE_CLASS)
    if x0 is None or y0 is None or x1 is None or y1 is None or not name:
        came = shown(", ".join([*corners, name]))
        listing.problems.error("box-entry", place, f"expected corners and a class, got {came}")
        return
    listing.box(image, (x0, y0, x1, y1), name, place)


def _is_table(header: list[str] | None) -> bool:
    """Whether a csv has files and corners, and is not that of Open Images."""
    return header is not None and not set(COLUMNS) <= set(header) and bool(box_columns(header))


def _recognise(source: Source) -> bool:
    return _is_table(header_of(source.annotations, source.name))


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    files = [name for name in folder.names if name.count("/") <= 1]
    mine = [name for name in files if _is_table(header_of(folder.tree, name))]
    if mine:
        yield DatasetLocation("csv", images_folder(folder), splits_of(folder, mine))


LAYOUT = Layout(
    "csv",
    "csv with filename, class and corners",
    _recognise,
    _find,
    read_table,
    classes_by(read_table),
)
