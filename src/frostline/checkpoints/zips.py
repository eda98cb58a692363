"""The table of contents of a zip file, read without trusting it.

``zipfile`` would do, but it costs 10 ms to import and does not refuse overlapping entries in
Python 3.11. Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3 (zip64).
"""

import io
import struct
from typing import IO, Final, NamedTuple

from frostline.checkpoints.blobs import Blob, DeflatedBlob, FileBlob, OpenFile, Window
from frostline.checkpoints.messages import quoted
from frostline.errors import CheckpointError

__all__ = ["ZipEntry", "read_directory"]

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_MAX_DIRECTORY: Final = 1 << 27  # bytes; a million entries of some 100 bytes
_FREE: Final = 1 << 26  # bytes an entry may inflate to, whatever its ratio
_MAX_RATIO: Final = 64
_IN_MEMORY: Final = 1 << 22  # bytes of a pickle that are read at once
_STORED, _DEFLATED = 0, 8  # compression methods
_OVERFLOW16, _OVERFLOW32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 record"


class ZipEntry(NamedTuple):
    """One file in a zip archive; its bytes lie at ``offset``."""

    file: OpenFile
    name: str
    offset: int
    packed: int
    size: int
    deflated: bool
    crc: int

    def blob(self, skip: int = 0, length: int | None = None) -> Blob:
        """The entry's bytes from ``skip`` on, or ``length`` of them."""
        if self.deflated:
            return DeflatedBlob(
                self.file, self.offset, self.packed,
                size=self.size, crc=self.crc, skip=skip, length=length,
            )  # fmt: skip
        return FileBlob(
            self.file, self.offset + skip, self.size - skip if length is None else length
        )

    def stream(self, limit: int | None = None) -> IO[bytes]:
        """The entry's bytes, or its first ``limit`` bytes, as a buffered stream."""
        size = self.size if limit is None else min(self.size, limit)
        if not self.deflated and size > _IN_MEMORY:
            return io.BufferedReader(Window(self.file, self.offset, size), 1 << 16)
        data = bytearray(size)
        self.blob().read_into(memoryview(data), 0)
        return io.BytesIO(data)


def read_directory(file: OpenFile) -> dict[str, ZipEntry]:
    """All entries by name, checked: inside the file, not overlapping, not a bomb.

    Raises:
        CheckpointError: no zip, truncated, encrypted, an unknown compression, names given twice,
            entries that overlap, or one that claims to inflate more than 64-fold (and > 64 MiB).
    """
    offset, size, count = _find_directory(file)
    if size > _MAX_DIRECTORY:
        raise _corrupt(file, f"its table of contents claims {size} bytes")
    data = file.read(offset, size)
    entries: dict[str, ZipEntry] = {}
    position = 0
    for _ in range(count):
        entry, position = _next_entry(file, data, position)
        if entry.name in entries:
            raise _corrupt(file, f"entry {quoted(entry.name)} is there twice")
        entries[entry.name] = entry
    _check_overlaps(file, entries, offset)
    return entries


def _corrupt(file: OpenFile, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path.name}: expected a sound zip archive, but {why}; "
        "it is truncated, corrupt or hostile, so fetch it again"
    )


def _find_directory(file: OpenFile) -> tuple[int, int, int]:
    """(offset, bytes, number of entries) of the central directory."""
    tail_start = max(0, file.size - _END.size - _OVERFLOW16)
    tail = file.read(tail_start, file.size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise _corrupt(file, "it has no table of contents")
    *_, count, size, offset, _comment = _END.unpack_from(tail, at)
    if _OVERFLOW32 in {size, offset} or count == _OVERFLOW16:
        return _find_directory64(file, tail_start + at)
    return offset, size, count


def _find_directory64(file: OpenFile, end: int) -> tuple[int, int, int]:
    locator = file.read(max(0, end - _END64_LOCATOR.size), _END64_LOCATOR.size)
    magic, _, at, _ = _END64_LOCATOR.unpack(locator)
    if magic != b"PK\x06\x07":
        raise _corrupt(file, "its zip64 table of contents is missing")
    record = _END64.unpack(file.read(at, _END64.size))
    if record[0] != b"PK\x06\x06":
        raise _corrupt(file, "its zip64 table of contents is missing")
    count, size, offset = record[-3:]
    return offset, size, count


def _next_entry(file: OpenFile, data: bytes, at: int) -> tuple[ZipEntry, int]:
    if at + _CENTRAL.size > len(data):
        raise _corrupt(file, "its table of contents ends too early")
    fields = _CENTRAL.unpack_from(data, at)
    magic, _, _, flags, method, _, _, crc, *_ = fields
    packed, size, name_length, extra_length, comment_length = fields[8:13]
    offset = fields[16]
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    following = extra_at + extra_length + comment_length
    if magic != b"PK\x01\x02" or following > len(data):
        raise _corrupt(file, "its table of contents is damaged")
    name = data[name_at:extra_at].decode("utf-8", "replace")
    extra = data[extra_at : extra_at + extra_length]
    size, packed, offset = _widen(file, extra, size, packed, offset)
    if flags & 1 or method not in {_STORED, _DEFLATED}:
        raise _corrupt(file, f"entry {quoted(name)} is encrypted or of an unknown compression")
    _check_size(file, name, method, packed, size)
    begin = _data_offset(file, name, offset)
    return ZipEntry(file, name, begin, packed, size, method == _DEFLATED, crc), following


def _widen(file: OpenFile, extra: bytes, *fields: int) -> tuple[int, ...]:
    """Replace each 32-bit field that overflowed by its 64-bit value (extra field 1)."""
    if all(field != _OVERFLOW32 for field in fields):
        return fields
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(extra[i : i + 8] for i in range(at + 4, at + 4 + length, 8))
            values = [f if f != _OVERFLOW32 else _u64(file, next(wide, b"")) for f in fields]
            return tuple(values)
        at += 4 + length
    raise _corrupt(file, "a zip64 size is missing")


def _u64(file: OpenFile, data: bytes) -> int:
    if not data:
        raise _corrupt(file, "a zip64 size is missing")
    return int.from_bytes(data, "little")


def _check_size(file: OpenFile, name: str, method: int, packed: int, size: int) -> None:
    if method == _STORED and packed != size:
        raise _corrupt(file, f"entry {quoted(name)} has two different sizes")
    if method == _DEFLATED and size > max(_FREE, _MAX_RATIO * packed):
        raise CheckpointError(
            f"{file.path.name}: entry {quoted(name)} claims to inflate from {packed} to {size} "
            f"bytes, more than {_MAX_RATIO}-fold; refused as a zip bomb; save it uncompressed"
        )


def _data_offset(file: OpenFile, name: str, at: int) -> int:
    """Where an entry's bytes begin: behind its local header, whose lengths are its own."""
    header = file.read(at, _LOCAL.size)
    magic, *_, name_length, extra_length = _LOCAL.unpack(header)
    if magic != b"PK\x03\x04":
        raise _corrupt(file, f"entry {quoted(name)} is not where the table of contents says")
    return at + _LOCAL.size + int(name_length) + int(extra_length)


def _check_overlaps(file: OpenFile, entries: dict[str, ZipEntry], directory: int) -> None:
    reached = 0
    for entry in sorted(entries.values(), key=lambda e: (e.offset, e.packed)):
        if entry.offset < reached:
            raise _corrupt(file, f"entry {quoted(entry.name)} overlaps another")
        reached = entry.offset + entry.packed
    if reached > directory:
        raise _corrupt(file, "an entry reaches into the table of contents")
