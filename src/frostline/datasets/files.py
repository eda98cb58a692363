"""Reading files of a data set, in a folder or in a zip file, and only inside of it.

``os.path.isfile`` and ``isdir`` answer no for names that no file can have; ``pathlib`` raises.
"""

# ruff: noqa: PTH112, PTH113
import io
import os
import stat
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Literal, Protocol

from frostline.datasets.findings import shown
from frostline.errors import DatasetError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "FileState",
    "FolderTree",
    "Tree",
    "ZipTree",
    "image_prefix",
    "is_image",
    "locate",
    "open_tree",
    "plain_name",
    "relative_name",
    "resolve_inside",
    "stems",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif")
"""File name endings (lower case) that count as images when a folder is listed."""

MAX_FILE_BYTES = 1 << 30
"""Largest file that is read, in bytes after decompression (COCO 2017's largest has 0.45 GB)."""

MAX_FILES = 2_000_000
"""Most files that a folder or zip file is listed for."""

FileState = Literal["file", "missing", "outside"]


class Tree(Protocol):
    """Files under one root. Names are POSIX paths relative to it."""

    @property
    def root(self) -> Path:
        """Folder, zip file, or folder inside a zip file."""

    def names(self) -> tuple[str, ...]:
        """All files, sorted; linked folders are not entered."""

    def strays(self) -> tuple[str, ...]:
        """Names of what is there but never read, sorted.

        These are links out of the root; in a zip file all links, and names that lead out of it.
        """

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of this name."""

    def state(self, name: str) -> FileState:
        """Whether a name is that of a file, of nothing, or of something outside the root."""

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """Open a file for reading.

        Raises:
            DatasetError: If it is absent, outside the root, unreadable or too large.
        """


def relative_name(file: str) -> str:
    """A file name with ``/`` between its parts, also where Windows wrote a backslash."""
    name = file.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def plain_name(file: str) -> str | None:
    """The name if it is relative and free of ``..``, drive letters and NUL; otherwise None."""
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or "\0" in file:
        return None
    return None if PureWindowsPath(file).drive else str(PurePosixPath(file))


def resolve_inside(root: Path, file: str) -> Path:
    """Path of a file that an annotation names, provided that it lies inside the root.

    Args:
        root: Folder of the data set.
        file: Relative POSIX path.

    Returns:
        The path with links resolved. It need not exist.

    Raises:
        DatasetError: If the name is absolute, has a ``..``, or a link leads out of the root.
    """
    name = plain_name(file)
    if name is None:
        raise DatasetError(f"expected a file name inside the data root, got {shown(file)!r}")
    top = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(top, name))  # noqa: PTH118 - called for every image
    except (OSError, ValueError) as error:  # a name too long, links in a circle, no Unicode
        raise DatasetError(f"{shown(file)}: no usable file name: {shown(error)}") from error
    if not real.startswith(top.rstrip(os.sep) + os.sep):
        raise DatasetError(
            f"{shown(file)}: expected a file inside the data root, but a link leads out of it; "
            f"copy the file into the folder"
        )
    return Path(real)


@dataclass(frozen=True)
class FolderTree:
    """Files of a folder."""

    root: Path

    def names(self) -> tuple[str, ...]:
        """See `Tree.names`."""
        found: list[str] = []
        for folder, _, files in os.walk(self.root):
            relative = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            found.extend(prefix + file for file in files)
            if len(found) > MAX_FILES:
                raise DatasetError(f"expected at most {MAX_FILES} files in {shown(self.root)}")
        return tuple(sorted(found))

    def strays(self) -> tuple[str, ...]:
        """See `Tree.strays`."""
        found = []
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink():
                    relative = path.relative_to(self.root).as_posix()
                    found.extend([relative] if self.state(relative) == "outside" else [])
        return tuple(sorted(found))

    def has_folder(self, name: str) -> bool:
        """See `Tree.has_folder`."""
        try:
            return os.path.isdir(resolve_inside(self.root, name))
        except DatasetError:
            return False

    def state(self, name: str) -> FileState:
        """See `Tree.state`. Only regular files count: a pipe would be waited for."""
        try:
            return "file" if os.path.isfile(resolve_inside(self.root, name)) else "missing"
        except DatasetError:
            return "outside"

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """See `Tree.open`."""
        path = resolve_inside(self.root, name)
        if not os.path.isfile(path):
            raise DatasetError(f"{shown(name)}: expected a file in the data root, found none")
        try:
            if path.stat().st_size > max_bytes:
                raise _too_large(name, max_bytes)
            return path.open("rb")
        except OSError as error:
            raise DatasetError(f"{shown(name)}: cannot be read: {shown(_reason(error))}") from error


@dataclass(frozen=True)
class ZipTree:
    """Files of a zip file, or of a folder inside one; read in place, never unpacked."""

    archive: Path
    inner: str = ""  # folder inside, "" or ending with "/"

    @property
    def root(self) -> Path:
        """See `Tree.root`."""
        return self.archive / self.inner if self.inner else self.archive

    def names(self) -> tuple[str, ...]:
        """See `Tree.names`. Entries whose names lead out of the archive are not among them."""
        members = _members(self.archive).files
        return tuple(sorted(n[len(self.inner) :] for n in members if n.startswith(self.inner)))

    def strays(self) -> tuple[str, ...]:
        """See `Tree.strays`."""
        return _members(self.archive).refused

    def has_folder(self, name: str) -> bool:
        """See `Tree.has_folder`."""
        start = f"{self.inner}{name}/"
        return any(member.startswith(start) for member in _members(self.archive).files)

    def state(self, name: str) -> FileState:
        """See `Tree.state`."""
        plain = plain_name(name)
        if plain is None:
            return "outside"
        return "file" if self.inner + plain in _members(self.archive).files else "missing"

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """See `Tree.open`."""
        members = _members(self.archive)
        if self.state(name) == "outside":
            raise DatasetError(f"expected a file name inside the data root, got {shown(name)!r}")
        info = members.files.get(self.inner + str(plain_name(name)))
        if info is None:
            raise DatasetError(f"{shown(name)}: expected a file in the zip file, found none")
        try:
            with members.archive.open(info) as stream:
                data = stream.read(max_bytes + 1)
        # NotImplementedError: unknown compression; RuntimeError: a password
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DatasetError(
                f"{shown(name)}: cannot be unpacked: {shown(_reason(error))}"
            ) from error
        if len(data) > max_bytes:
            raise _too_large(name, max_bytes)
        return io.BytesIO(data)


def _reason(error: Exception) -> str:
    """What went wrong, without the absolute path that Python adds to it."""
    return str(getattr(error, "strerror", None) or error)


def _too_large(name: str, max_bytes: int) -> DatasetError:
    return DatasetError(f"{shown(name)}: expected at most {max_bytes} bytes, the file is larger")


@dataclass(frozen=True)
class _Members:
    """An opened zip file, its files by name, and the names that are refused."""

    archive: zipfile.ZipFile
    files: dict[str, zipfile.ZipInfo]
    refused: tuple[str, ...]


def _members(archive: Path) -> _Members:
    """Opened zip file and its files by name; kept open, anew in each process and on change."""
    try:
        status = archive.stat()
        return _opened_zip(str(archive), status.st_mtime_ns, status.st_size, os.getpid())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{shown(archive)}: expected a zip file, got {shown(error)}") from error


@lru_cache(maxsize=8)
def _opened_zip(archive: str, mtime_ns: int, size: int, process: int) -> _Members:
    opened = zipfile.ZipFile(archive)
    if len(opened.infolist()) > MAX_FILES:
        raise ValueError(f"more than {MAX_FILES} files in it")
    files, refused = {}, []
    for info in opened.infolist():
        name = plain_name(info.filename)
        if name is None or stat.S_ISLNK(info.external_attr >> 16):
            refused.append(info.filename)
        elif not info.is_dir():
            files[name] = info
    return _Members(opened, files, tuple(sorted(refused)))


def _split_archive(path: Path) -> tuple[Path, str] | None:
    """Zip file and the name inside it, if the path is, or goes through, a zip file."""
    for candidate in (path, *path.parents):
        if os.path.isdir(candidate):
            return None
        if os.path.isfile(candidate):
            inner = path.relative_to(candidate).as_posix()
            return (candidate, "" if inner == "." else inner) if is_zip(candidate) else None
    return None


def is_zip(path: Path) -> bool:
    """Whether a file is a zip file, by its content."""
    return os.path.isfile(path) and zipfile.is_zipfile(path)


def open_tree(root: Path) -> Tree:
    """Files under a folder, a zip file, or a folder inside a zip file (``data.zip/images``)."""
    found = _split_archive(root)
    if found is None:
        return FolderTree(root)
    archive, inner = found
    return ZipTree(archive, f"{inner}/" if inner else "")


def locate(file: Path) -> tuple[Tree, str]:
    """Tree and name of a file that the *user* named; unlike names in annotations it may be a link.

    Raises:
        DatasetError: If there is no such file.
    """
    real = Path(os.path.realpath(file))
    tree = open_tree(real.parent)
    if tree.state(real.name) != "file":
        raise DatasetError(f"expected an annotation file, found none at {shown(file)}")
    return tree, real.name


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its ending."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def stems(files: Iterable[str]) -> dict[str, list[str]]:
    """File names by their name without ending.

    Example:
        >>> stems(["a.jpg", "b/a.png"])
        {'a': ['a.jpg'], 'b/a': ['b/a.png']}
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        found[file.rpartition(".")[0]].append(file)
    return dict(found)


def image_prefix(
    tree: Tree, files: Sequence[str], *, beside: str = "", by_stem: bool = False
) -> str:
    """Folder under the root that holds the images of an annotation file, ``""`` or ``train/``.

    Exported sets often keep ``train/`` and ``valid/`` under one root while the annotations give
    bare names. If the first of ``files`` is there as named, there is no prefix; if it is beside
    the annotations, it is their folder; otherwise it is the folder that holds most of the files.

    Args:
        tree: Files under the data root.
        files: Names of images.
        beside: Folder of the annotations, ``""`` or ``valid/``.
        by_stem: Whether the names are without their endings.

    Raises:
        DatasetError: If two folders hold equally many.
    """
    if not files or (not by_stem and tree.state(files[0]) != "missing"):
        return ""
    if beside and not by_stem and tree.state(beside + files[0]) == "file":
        return beside
    hits: Counter[str] = Counter()
    wanted = set(files)
    for name in filter(is_image, tree.names()):
        prefix, slash, rest = "", "/", name.rpartition(".")[0] if by_stem else name
        while slash:
            if rest in wanted:
                hits[prefix] += 1
            head, slash, rest = rest.partition("/")
            prefix += head + "/"
    best = hits.most_common(2)
    if len(best) > 1 and best[0][1] == best[1][1]:
        raise DatasetError(
            f"expected the images in one folder, {shown(best[0][0])} and {shown(best[1][0])} hold "
            f"{best[0][1]} of them each; name the folder of the images"
        )
    return best[0][0] if best else ""
