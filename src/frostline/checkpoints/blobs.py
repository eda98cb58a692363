"""Where the bytes of a tensor lie, and how they are fetched without a copy of the file."""

import io
import os
import threading
import zlib
from pathlib import Path
from typing import Protocol

from frostline.errors import CheckpointError

__all__ = ["Blob", "DeflatedBlob", "FileBlob", "InnerFile", "MemoryBlob", "OpenFile", "Window"]

_INFLATE_STEP = 1 << 20
_POSITIONED = hasattr(os, "preadv")


class OpenFile:
    """A file held open for positioned reads; closed with the last reference to it.

    The handle is opened once, so that a file replaced meanwhile is still read as it was.
    """

    __slots__ = ("_fd", "_lock", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._lock = threading.Lock()
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CheckpointError(
                f"{path}: expected a readable weight file, got {error.strerror}; check the path"
            ) from None
        self.size = os.fstat(self._fd).st_size

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, length: int) -> bytes:
        """The bytes ``[offset, offset + length)``.

        Raises:
            CheckpointError: the range reaches beyond the end of the file.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self._beyond(offset, length)
        buffer = bytearray(length)
        self.read_into(memoryview(buffer), offset)
        return bytes(buffer)

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill ``target`` (bytes, writable) from ``offset`` on.

        Raises:
            CheckpointError: the range reaches beyond the end of the file.
        """
        done = 0
        while done < len(target):
            try:
                got = self._read_some(target[done:] if done else target, offset + done)
            except OSError as error:
                raise CheckpointError(
                    f"{self.path.name}: reading at byte {offset} failed, {error.strerror}; "
                    "check the disk or copy the file again"
                ) from None
            if got <= 0:
                raise self._beyond(offset, len(target))
            done += got

    def _read_some(self, target: memoryview, offset: int) -> int:
        if _POSITIONED:
            return os.preadv(self._fd, [target], offset)
        with self._lock:  # Windows has no positioned read
            os.lseek(self._fd, offset, os.SEEK_SET)
            data = os.read(self._fd, len(target))
        target[: len(data)] = data
        return len(data)

    def _beyond(self, offset: int, length: int) -> CheckpointError:
        return CheckpointError(
            f"{self.path.name}: expected bytes {offset} to {offset + length}, but the file ends "
            f"at {self.size}; it is truncated or corrupt, so fetch it again"
        )


class InnerFile(OpenFile):
    """A file within a file."""

    __slots__ = ("_blob",)

    def __init__(self, path: Path, blob: "Blob") -> None:
        self.path, self._blob, self._fd, self.size = path, blob, -1, blob.nbytes

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill ``target`` (bytes, writable) from ``offset`` on.

        Raises:
            CheckpointError: the range reaches beyond the end of the inner file.
        """
        if offset < 0 or offset + len(target) > self.size:
            raise self._beyond(offset, len(target))
        self._blob.read_into(target, offset)


class Window(io.RawIOBase):
    """A part of an open file as a stream (wrap it in ``io.BufferedReader``)."""

    def __init__(self, file: OpenFile, start: int, length: int) -> None:
        super().__init__()
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to ``offset`` bytes from the start (0), here (1) or the end (2)."""
        self._at = max(0, (0, self._at, self._length)[whence] + offset)
        return self._at

    def readinto(self, target: "memoryview") -> int:  # type: ignore[override]
        """Fill as much of ``target`` as the window still holds."""
        count = max(0, min(len(target), self._length - self._at))
        self._file.read_into(memoryview(target)[:count], self._start + self._at)
        self._at += count
        return count


class Blob(Protocol):
    """A run of bytes that can be read from any position."""

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        ...

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` from byte ``start`` of the blob on."""
        ...


class FileBlob:
    """Bytes that lie in a file as they are."""

    __slots__ = ("file", "nbytes", "offset")

    def __init__(self, file: OpenFile, offset: int, nbytes: int) -> None:
        self.file, self.offset, self.nbytes = file, offset, nbytes

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` from byte ``start`` of the blob on."""
        self.file.read_into(target, self.offset + start)


class MemoryBlob:
    """Bytes already in memory: short ones, or some that a pickle holds as Latin-1 text."""

    __slots__ = ("data", "nbytes")

    def __init__(self, data: bytes | str) -> None:
        self.data, self.nbytes = data, len(data)

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` from byte ``start`` of the blob on."""
        piece = self.data[start : start + len(target)]
        target[:] = piece.encode("latin-1") if isinstance(piece, str) else piece


class DeflatedBlob:
    """Bytes that lie compressed (deflate) in a file.

    Args:
        file: the file.
        offset: where the compressed bytes begin.
        packed: their number.
        size: decompressed bytes in all, as declared and checked by the caller.
        crc: their CRC-32; compared whenever reading reaches the end.
        skip: decompressed bytes to leave out at the front (a header).
        length: decompressed bytes after that; None: all that follow.
    """

    __slots__ = ("_crc", "_size", "file", "nbytes", "offset", "packed", "skip")

    def __init__(
        self,
        file: OpenFile,
        offset: int,
        packed: int,
        *,
        size: int,
        crc: int,
        skip: int = 0,
        length: int | None = None,
    ) -> None:
        self.file, self.offset, self.packed, self.skip = file, offset, packed, skip
        self._size, self._crc = size, crc
        self.nbytes = size - skip if length is None else length

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` from byte ``start`` of the blob on, never inflating past its end."""
        skip, done, crc = self.skip + start, 0, 0
        inflater = zlib.decompressobj(-15)
        position, end = self.offset, self.offset + self.packed
        pending = b""
        while done < len(target):
            if not pending and position < end:
                pending = self.file.read(position, min(_INFLATE_STEP, end - position))
                position += len(pending)
            piece = self._inflate(inflater, pending)
            pending = inflater.unconsumed_tail
            if not piece and not pending and position >= end:
                raise self._broken("its compressed bytes end too early")
            crc = zlib.crc32(piece, crc)
            dropped = min(skip, len(piece))
            skip -= dropped
            piece = piece[dropped : dropped + len(target) - done]
            target[done : done + len(piece)] = piece
            done += len(piece)
        if self.skip + start + done == self._size and crc != self._crc:
            raise self._broken("its checksum differs")

    def _inflate(self, inflater: "zlib._Decompress", data: bytes) -> bytes:
        try:
            return inflater.decompress(data, _INFLATE_STEP)
        except zlib.error as error:
            raise self._broken(str(error)) from None

    def _broken(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.file.path.name}: a compressed entry at byte {self.offset} cannot be read "
            f"({why}); the file is corrupt, so fetch it again"
        )
