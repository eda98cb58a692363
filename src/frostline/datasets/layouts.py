"""What a layout is: one row that says how it is recognised, found and read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from frostline.datasets.files import Tree
from frostline.datasets.findings import shown
from frostline.datasets.raw import RawDataset, ReadOptions, Source
from frostline.errors import DatasetError
from frostline.layouts import LAYOUTS

__all__ = ["DatasetLocation", "Folder", "Layout", "layout_named", "layouts", "require_layout"]


@dataclass(frozen=True)
class DatasetLocation:
    """Where a data set is.

    Attributes:
        layout: One of `LAYOUTS`.
        images: Folder of the images, for ``read_dataset``; may be, or be inside, a zip file.
        splits: Split to its annotation file or folder; ``train`` first if there is one. A
            ``data.yaml`` stands for all of its splits.
    """

    layout: str
    images: Path
    splits: dict[str, Path]


@dataclass(frozen=True)
class Folder:
    """A folder, or zip file, in which a data set is looked for.

    Attributes:
        path: Where it is.
        tree: Its files.
        names: All their names, sorted.
        named: The file in it that the user named, such as a ``data.yaml``, or empty.
    """

    path: Path
    tree: Tree
    names: tuple[str, ...]
    named: str = ""


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: What ``layout`` in a study and ``--layout`` call it.
        files: Its annotations in a few words, for messages.
        recognise: Whether an annotation file or folder is of this layout.
        find: The data sets of this layout in a folder, the likeliest first.
        read: Everything that the annotations say, unchecked.
        classes: Class names that the annotations of one split have, for a layout in which no file
            lists those of all splits; None where one does.
        class_order: By what those are ordered.
    """

    name: str
    files: str
    recognise: Callable[[Source], bool]
    find: Callable[[Folder], Iterator[DatasetLocation]]
    read: Callable[[Source, ReadOptions], RawDataset]
    classes: Callable[[Source], tuple[str, ...]] | None = None
    class_order: Callable[[str], str | int] = str


def layout_named(name: str) -> Layout:
    """The row of a layout.

    Raises:
        DatasetError: If there is none of this name.
    """
    if name not in LAYOUTS:
        near = get_close_matches(name, LAYOUTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(LAYOUTS)
        raise DatasetError(f"expected layout auto, {known}, got {shown(name)!r}{hint}")
    row: Layout = import_module(LAYOUTS[name]).LAYOUT
    return row


def require_layout(name: str) -> None:
    """Refuse what is neither ``auto`` nor the name of a layout.

    Raises:
        DatasetError: If it is not.
    """
    if name != "auto":
        layout_named(name)


def layouts() -> tuple[Layout, ...]:
    """All rows, in the order of `LAYOUTS`."""
    return tuple(map(layout_named, LAYOUTS))
