"""The csv of Open Images: ``ImageID,...,LabelName,...,XMin,XMax,YMin,YMax,...,IsGroupOf``.

Corners are parts of the image size (https://storage.googleapis.com/openimages/web/download.html).
"""

from collections.abc import Collection, Iterator

from frostline.datasets.files import Tree, is_image, open_tree, stems
from frostline.datasets.findings import Place, shown
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.listing import Listing, classes_by
from frostline.datasets.locations import find_csv
from frostline.datasets.named import NamedFiles
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.datasets.text import CSV, CsvRow, csv_has, csv_lines, csv_rows, read_text
from frostline.datasets.values import as_number
from frostline.errors import DatasetError

__all__ = ["COLUMNS", "LAYOUT", "read_open_images"]

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
"""Columns that must be there; of the others ``IsGroupOf`` alone is read."""

_MAX_NAMES_BYTES = 1 << 22


def read_open_images(source: Source, options: ReadOptions) -> RawDataset:
    """Read the csv.

    Classes are the names of ``/m/...`` in ``class-descriptions*.csv`` or ``classes.csv``, if such a
    file is in the folder, in alphabetical order. Boxes of groups are crowds. The published files
    have rows of all images of a split, of which people keep some: rows of images that are not in
    the folder are left out, and counted in a warning.

    Raises:
        DatasetError: If the file is not this csv, if no image is there, or at the first problem.
    """
    name, problems = source.name, options.problems
    text = read_text(source.annotations, name, problems=problems)
    listing, names = Listing(name, problems), _names(source.annotations)
    rows = list(csv_rows(text, name, COLUMNS, problems))
    ids = dict.fromkeys(row.values["ImageID"].strip() for row in rows)
    files = _files(source, options, ids) if options.check_files else {n: f"{n}.jpg" for n in ids}
    absent = len(ids) - len(files)
    for row in rows:
        file = files.get(row.values["ImageID"].strip())
        if file is not None:
            _add(listing, row, file, names)
    if absent:
        message = f"{absent} of {len(ids)} images are not in the folder: their rows are left out"
        problems.warning("images-absent", Place(name), message)
    return listing.dataset(relative=True)


def _files(source: Source, options: ReadOptions, ids: Collection[str]) -> dict[str, str]:
    """Files of the image ids that are there; an id stands for its file without the ending."""
    by_stem = stems(n for n in source.images.names() if is_image(n))
    naming = source.naming(options.split)
    found = NamedFiles(by_stem.keys, by_stem.__contains__, naming).find_all(ids)
    files = {}
    for image_id, spelling in zip(ids, found, strict=True):
        same = [file for stem in spelling.fits for file in by_stem[stem]]
        if len(same) == 1:
            files[image_id] = same[0]
        elif same:
            message = f"{shown(image_id)} fits {shown(same[0])} and {shown(same[1])}: keep one"
            options.problems.error("image-ambiguous", Place(source.name), message)
    return files


def _add(listing: Listing, row: CsvRow, file: str, names: dict[str, str]) -> None:
    place, values = Place(listing.name, row.line), row.values
    image = listing.image(file, None, place)
    x0, x1, y0, y1 = (as_number(values[column]) for column in COLUMNS[2:])
    label = values["LabelName"].strip()
    if not label and x0 is None and x1 is None:
        return
    if x0 is None or y0 is None or x1 is None or y1 is None or not label:
        came = shown(", ".join(values[column] for column in COLUMNS[1:]))
        message = f"expected LabelName, XMin, XMax, YMin, YMax, got {came}"
        listing.problems.error("box-entry", place, message)
        return
    crowd = values.get("IsGroupOf", "").strip() in ("1", "true", "True")
    listing.box(image, (x0, y0, x1, y1), names.get(label, label), place, crowd=crowd)


def _names(tree: Tree) -> dict[str, str]:
    """Names of ``/m/...``, of the first file beside the csv that has such rows.

    FiftyOne keeps them in ``metadata`` beside ``labels``.
    """
    here = _names_in(tree)
    root = tree.root
    return here or (_names_in(open_tree(root.parent / "metadata")) if root.name == "labels" else {})


def _names_in(tree: Tree) -> dict[str, str]:
    files = [n for n in tree.names() if n.count("/") <= 1 and n.lower().endswith(CSV)]
    likely = [n for n in files if "class" in n.rpartition("/")[2].lower()]
    for name in likely:
        try:
            text = read_text(tree, name, max_bytes=_MAX_NAMES_BYTES)
            rows = [row for _, row in csv_lines(text, name)]
        except DatasetError:
            continue
        found = {row[0]: row[1] for row in rows if len(row) == 2 and row[0].startswith("/")}  # noqa: PLR2004 - id, name
        if found:
            return found
    return {}


def _recognise(source: Source) -> bool:
    return csv_has(source.annotations, source.name, COLUMNS)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    return find_csv(folder, "openimages", COLUMNS, deep=2)  # train/labels/detections.csv


LAYOUT = Layout(
    "openimages",
    "csv with ImageID, LabelName and XMin",
    _recognise,
    _find,
    read_open_images,
    classes_by(read_open_images),
)
