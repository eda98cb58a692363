"""Which tool's JSON a file is: told by its keys, before any of it is parsed."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from frostline.datasets.files import Tree, open_tree
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = ["COCO_TABLES", "JSON", "JsonKind", "json_kind"]

JSON = (".json", ".json.gz")
"""Endings of JSON files, in lower case."""

COCO_TABLES = ("images", "annotations", "categories")
"""Lists that COCO's JSON must have."""

JsonKind = Literal["coco", "labelme", "createml", "via", ""]

_HEAD = 1 << 16


def json_kind(tree: Tree, name: str) -> JsonKind:
    """Kind of a file: empty if it is none of them, no JSON by its ending, or unreadable.

    Raises:
        DatasetError: If it is absent.
    """
    if not name.lower().endswith(JSON):
        return ""
    return _cached(str(tree.root), name, tree.stamp(name))


@lru_cache(maxsize=4096)
def _cached(root: str, name: str, stamp: tuple[int, ...]) -> JsonKind:
    tree = open_tree(Path(root))
    head = _head(tree, name)
    if '"shapes"' in head and '"categories"' not in head:  # LabelMe may hold its image, so not all
        return "labelme"
    try:
        return _kind(read_text(tree, name))
    except DatasetError:
        return ""


def _head(tree: Tree, name: str) -> str:
    with tree.open(name) as stream:
        return stream.read(_HEAD).decode("utf-8", "replace")


def _kind(text: str) -> JsonKind:
    if all(f'"{key}"' in text for key in COCO_TABLES):
        return "coco"
    if '"shapes"' in text and '"imagePath"' in text:
        return "labelme"
    if '"_via_' in text or '"shape_attributes"' in text:
        return "via"
    starts_list = text[:_HEAD].lstrip().startswith("[")
    if starts_list and '"coordinates"' in text:
        return "createml"
    return ""
