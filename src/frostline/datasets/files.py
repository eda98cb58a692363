"""Reading files of a data set, in a folder or in a zip file, and only inside of it.

``os.path.isfile`` and ``isdir`` answer no for names that no file can have; ``pathlib`` raises.
"""

# ruff: noqa: PTH112, PTH113
import contextlib
import io
import os
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Literal, Protocol

from frostline.datasets.decoding import decoded
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
    "is_image",
    "is_system_file",
    "locate",
    "open_tree",
    "plain_name",
    "relative_name",
    "resolve_inside",
    "stems",
]

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".gif"),
)
"""File name endings (lower case) that count as images when a folder is listed."""

_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db"})
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", ".ipynb_checkpoints", ".git", ".trashes", ".spotlight-v100"}
)

MAX_FILE_BYTES = 1 << 30
"""Largest file that is read, in bytes after decompression (COCO 2017's largest has 0.45 GB)."""

MAX_FILES = 2_000_000
"""Most files that a folder or zip file is listed for."""

_ZIP_ENCODINGS = ("gb18030", "cp932")
_ZIP_UTF8 = 0x800  # flag of an entry whose name is UTF-8

FileState = Literal["file", "missing", "outside"]


class Tree(Protocol):
    """Files under one root. Names are POSIX paths relative to it."""

    @property
    def root(self) -> Path:
        """Folder, zip file, or folder inside a zip file."""

    def names(self) -> tuple[str, ...]:
        """All files that somebody put there, sorted; linked folders are not entered.

        A backslash in a name is a folder: some programs pack it so, and unpacking keeps it.
        """

    def strays(self) -> tuple[str, ...]:
        """Names of what is there but never read, sorted.

        These are links out of the root; in a zip file all links, and names that lead out of it.
        """

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of this name."""

    def is_link(self, name: str) -> bool:
        """Whether a file is a link: it may be read where it is named, but is not looked for."""

    def state(self, name: str) -> FileState:
        """Whether a name is that of a file, of nothing, or of something outside the root."""

    def stamp(self, name: str) -> tuple[int, ...]:
        """What changes where a file changes: size, times of change (ns), inode; empty if absent."""

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


def is_system_file(name: str) -> bool:
    """Whether a file is one that macOS, Windows or a tool left, which never counts as data.

    Example:
        >>> [is_system_file(n) for n in ("images/._a.jpg", "__MACOSX/a.jpg", "images/a.jpg")]
        [True, True, False]
    """
    *folders, file = name.lower().split("/")
    return file.startswith("._") or file in _SYSTEM_FILES or not _SYSTEM_FOLDERS.isdisjoint(folders)


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
    r"""Files of a folder.

    Some programs unpack names with backslashes as they are: one file ``images\a.jpg`` instead of
    a folder. Here that is a folder all the same, and ``inner`` may be one.
    """

    folder: Path
    inner: str = ""  # folder that is there by backslashes alone, "" or ending with "/"

    @property
    def root(self) -> Path:
        """See `Tree.root`."""
        return self.folder / self.inner if self.inner else self.folder

    def names(self) -> tuple[str, ...]:
        """See `Tree.names`."""
        found: list[str] = []
        for folder, _, files in os.walk(self.folder):
            relative = Path(folder).relative_to(self.folder).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            found.extend(prefix + file for file in files)
            if len(found) > MAX_FILES:
                raise DatasetError(f"expected at most {MAX_FILES} files in {shown(self.folder)}")
        for n in [n for n, name in enumerate(found) if "\\" in name]:
            found[n] = plain_name(relative_name(found[n])) or ""
        inside = {n[len(self.inner) :] for n in found if n and n.startswith(self.inner)}
        return tuple(sorted(name for name in inside if not is_system_file(name)))

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
            if os.path.isdir(resolve_inside(self.folder, self.inner + name)):
                return True
        except DatasetError:
            return False
        return _by_backslashes(self.folder, self.inner + name)

    def is_link(self, name: str) -> bool:
        """See `Tree.is_link`."""
        return os.path.islink(os.path.join(self.folder, self.inner, name))  # noqa: PTH114, PTH118

    def _path(self, name: str) -> Path:
        """Path of a file, also where its folders are written into its name with backslashes."""
        if plain_name(name) is None:
            raise DatasetError(f"expected a file name inside the data root, got {shown(name)!r}")
        path = resolve_inside(self.folder, self.inner + name)
        if os.path.isfile(path):
            return path
        parts = (self.inner + name).split("/")
        for cut in range(len(parts) - 1):
            joined = "/".join((*parts[:cut], "\\".join(parts[cut:])))
            other = resolve_inside(self.folder, joined)
            if os.path.isfile(other):
                return other
        return path

    def state(self, name: str) -> FileState:
        """See `Tree.state`. Only regular files count: a pipe would be waited for."""
        try:
            return "file" if os.path.isfile(self._path(name)) else "missing"
        except DatasetError:
            return "outside"

    def stamp(self, name: str) -> tuple[int, ...]:
        """See `Tree.stamp`."""
        return _stamp(self._path(name))

    def open(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> BinaryIO:
        """See `Tree.open`."""
        path = self._path(name)
        if not os.path.isfile(path):
            raise DatasetError(f"{shown(name)}: expected a file in the data root, found none")
        try:
            if path.stat().st_size > max_bytes:
                raise _too_large(name, max_bytes)
            return path.open("rb")
        except OSError as error:
            raise DatasetError(f"{shown(name)}: cannot be read: {shown(_reason(error))}") from error


def _by_backslashes(folder: Path, name: str) -> bool:
    """Whether a folder is there only in the names of files at the top of another folder."""
    try:
        return name in _backslash_folders(str(folder), folder.stat().st_mtime_ns)
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=8)
def _backslash_folders(folder: str, mtime_ns: int) -> frozenset[str]:
    names = [relative_name(name) for name in os.listdir(folder) if "\\" in name]  # noqa: PTH208
    parts = (name.split("/")[:-1] for name in names)
    return frozenset("/".join(p[:n]) for p in parts for n in range(1, len(p) + 1))


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
        inside = (n[len(self.inner) :] for n in members if n.startswith(self.inner))
        return tuple(sorted(n for n in inside if not is_system_file(n)))

    def strays(self) -> tuple[str, ...]:
        """See `Tree.strays`."""
        return _members(self.archive).refused

    def has_folder(self, name: str) -> bool:
        """See `Tree.has_folder`."""
        start = f"{self.inner}{name}/"
        return any(member.startswith(start) for member in _members(self.archive).files)

    def is_link(self, name: str) -> bool:
        """See `Tree.is_link`. Links in a zip file are not among its files."""
        return False

    def state(self, name: str) -> FileState:
        """See `Tree.state`."""
        plain = plain_name(name)
        if plain is None:
            return "outside"
        return "file" if self.inner + plain in _members(self.archive).files else "missing"

    def stamp(self, name: str) -> tuple[int, ...]:
        """See `Tree.stamp`: the archive's, and where and how large the file is in it."""
        info = _members(self.archive).files.get(self.inner + str(plain_name(name)))
        if info is None:
            return ()
        return (*_stamp(self.archive), info.header_offset, info.file_size, info.CRC)

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


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


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
        written = _member_name(info)
        name = plain_name(written)
        if name is None or stat.S_ISLNK(info.external_attr >> 16):
            refused.append(info.filename)
        elif not written.endswith("/") and (name not in files or name == info.filename):
            files[name] = info
    return _Members(opened, files, tuple(sorted(refused)))


def _member_name(info: zipfile.ZipInfo) -> str:
    """Name of an entry, with ``/`` between folders.

    Names without a mark are in the code page of old DOS by the format's definition; macOS packs
    UTF-8 without that mark, and Windows in China and Japan what it writes there.
    """
    name = info.filename
    if not info.flag_bits & _ZIP_UTF8 and not name.isascii():
        with contextlib.suppress(UnicodeError, DatasetError):
            text, encoding = decoded(name.encode("cp437"), "")
            name = text if encoding in (None, *_ZIP_ENCODINGS) else name
    return relative_name(name)


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
        return _folder_tree(root)
    archive, inner = found
    return ZipTree(archive, f"{inner}/" if inner else "")


def _folder_tree(root: Path) -> FolderTree:
    if not os.path.isdir(root):
        for parent in root.parents:
            if os.path.isdir(parent):
                inner = root.relative_to(parent).as_posix()
                there = _by_backslashes(parent, inner)
                return FolderTree(parent, f"{inner}/") if there else FolderTree(root)
    return FolderTree(root)


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
