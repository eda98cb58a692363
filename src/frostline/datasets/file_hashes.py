"""Hashes of image files, remembered by what the file system says of each.

Boxes are part of a data set's digest; that the pixels under them are still the same is seen here,
from the bytes of the files: of a zip member, those that it unpacks to, so that unpacking an archive
changes nothing.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.datasets.files import Tree, open_tree
from frostline.datasets.images import MAX_IMAGE_BYTES
from frostline.datasets.index import DatasetIndex
from frostline.errors import DatasetError

__all__ = ["FileHashes", "remembered"]

_CHUNK = 1 << 20


def remembered(path: Path) -> dict[str, list[Any]]:
    """What a file holds of other files, by their names; nothing where it is absent or damaged."""
    try:
        return {name: list(values) for name, values in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


class FileHashes:
    """SHA-256 of files by name; one that looks unchanged is not read again.

    A file looks unchanged where size, times of change (ns) and inode are what they were.

    Args:
        known: what ``to_dict`` gave before, by file name; what is not of that form is passed over.
    """

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        self._known: dict[str, list[Any]] = {k: list(v) for k, v in (known or {}).items()}
        self.changed = False
        self.replaced: list[str] = []  # names whose files have other bytes than they had

    @classmethod
    def read(cls, path: Path) -> "FileHashes":
        """Those that a file holds; none where it is absent or damaged: they are made anew."""
        return cls(remembered(path))

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values: file name -> size, modified, changed, inode, hash."""
        return dict(self._known)

    def digest(self, index: DatasetIndex) -> str:
        """SHA-256 (hex) over names and bytes of an index's images, in their order.

        Raises:
            DatasetError: an image is absent, cannot be read, or lies outside the root.
        """
        tree, sha = open_tree(index.root), hashlib.sha256(b"frostline-pixels-1\n")
        for image in index.images:
            name = image.file.encode("utf-8", "surrogateescape")
            sha.update(len(name).to_bytes(8, "big") + name)
            sha.update(bytes.fromhex(self._of(tree, image.file)))
        return sha.hexdigest()

    def look_again(self, root: Path) -> tuple[str, ...]:
        """Names of the remembered files that hold other bytes now; what is not there is left out.

        Args:
            root: folder or zip file that the names are relative to.
        """
        found = FileHashes(self._known)
        with contextlib.suppress(DatasetError, OSError):  # moved or unmounted: nothing to compare
            tree = open_tree(root)
            for name in self._known:
                with contextlib.suppress(DatasetError, OSError):
                    found._of(tree, name)
        return tuple(found.replaced)

    def _of(self, tree: Tree, name: str) -> str:
        stamp = list(tree.stamp(name))
        known = self._known.get(name)
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        sha = hashlib.sha256()
        with tree.open(name, MAX_IMAGE_BYTES) as stream:
            while chunk := stream.read(_CHUNK):
                sha.update(chunk)
        if known is not None and known[-1] != sha.hexdigest():
            self.replaced.append(name)
        self._known[name] = [*stamp, sha.hexdigest()]
        self.changed = True
        return sha.hexdigest()
