"""Files of ``torch.save``: the zip format (torch >= 1.6), and the older one or plain pickles."""

import io
from collections.abc import Callable
from typing import IO, Any

from frostline.checkpoints.blobs import Blob, FileBlob, InnerFile, OpenFile, Window
from frostline.checkpoints.known_calls import KnownCalls
from frostline.checkpoints.leaves import Storage
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.pickles import Global, Span, load_pickle
from frostline.checkpoints.tensors import ITEMSIZE
from frostline.checkpoints.zips import ZipEntry
from frostline.errors import CheckpointError

__all__ = ["find_pickle", "read_pickled", "read_torch_zip"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of an old file's pickles

_STORAGE_TYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    # Quantized: left out where a tensor is named, but their bytes must be passed over.
    "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip
_SIZES = {**ITEMSIZE, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_UNTYPED = {"torch.storage.UntypedStorage", "torch.UntypedStorage"}


def find_pickle(entries: dict[str, ZipEntry]) -> ZipEntry | None:
    """The entry ``<any folder>/data.pkl`` of a torch zip file, if it is one."""
    names = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
    return entries[names[0]] if len(names) == 1 else None


def read_torch_zip(where: str, entries: dict[str, ZipEntry]) -> tuple[Any, bool]:
    """What was saved (tensors as descriptions), and whether its bytes are big-endian.

    Raises:
        CheckpointError: a storage is missing or too short; the pickle is broken or unsafe.
    """
    pickle = find_pickle(entries)
    assert pickle is not None, "the caller has looked"
    root = pickle.name.removesuffix("data.pkl")
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        dtype, key, elements = _storage_id(where, pid)
        if any(part is not None for part in pid[5:]):  # a view, which this format has no more
            raise CheckpointError(
                f"{where}: expected five parts in a reference to storage {quoted(key)}, got more; "
                "the file is corrupt"
            )
        if key not in storages:
            entry = entries.get(f"{root}data/{key}")
            needed = elements * _SIZES.get(dtype or "uint8", 1)
            if entry is None or entry.size < needed:
                raise CheckpointError(
                    f"{where}: expected {needed} bytes in entry 'data/{key}', got "
                    f"{entry.size if entry else 'no such entry'}; the file is corrupt"
                )
            storages[key] = Storage(dtype, entry.blob())
        stored = storages[key]
        return stored if stored.dtype == dtype else Storage(dtype, stored.blob)

    stream = pickle.stream()
    calls = KnownCalls(where, lambda span: pickle.blob(span.start, span.length))
    value = load_pickle(
        stream, where, reduce=calls.reduce, persistent=persistent, build=calls.build
    )
    return value, _big_endian(where, entries, root)


def _big_endian(where: str, entries: dict[str, ZipEntry], root: str) -> bool:
    entry = entries.get(f"{root}byteorder")
    if entry is None:
        return False
    order = entry.stream().read(16)
    if order not in {b"little", b"big"}:
        raise CheckpointError(
            f"{where}: expected byteorder little or big, got {quoted(order)}; corrupt"
        )
    return order == b"big"


def _storage_id(where: str, pid: Any) -> tuple[str | None, str, int]:
    """(dtype, key, elements) of torch's persistent id ('storage', type, key, device, numel)."""
    try:
        kind, cls, key, _device, elements, *_ = pid
    except (TypeError, ValueError):
        kind = cls = key = elements = None
    if kind != "storage" or type(key) is not str or type(elements) is not int or elements < 0:
        raise CheckpointError(
            f"{where}: expected a torch storage reference, got another; the file is corrupt"
        )
    return _storage_dtype(where, cls), key, elements


def _storage_dtype(where: str, cls: Any) -> str | None:
    name = cls.name if isinstance(cls, Global) else "no class"
    if name in _UNTYPED:
        return None
    dtype = _STORAGE_TYPES.get(name.removeprefix("torch."))
    if dtype is None or not name.startswith("torch."):
        raise CheckpointError(
            f"{where}: expected a storage of a known type, got {quoted(name)}; "
            "save the tensors as float32, float16 or bfloat16"
        )
    return dtype


def read_pickled(file: OpenFile) -> tuple[str, Any, bool]:
    """A file that begins with a pickle: of torch before 1.6, or any other; see ``_read_pickled``.

    Returns:
        (``torch-legacy`` or ``pickle``, what was saved, whether it is big-endian).

    Raises:
        CheckpointError: truncated, corrupt or unsafe.
    """
    orders: set[bool] = set()

    def inner(blob: Blob) -> Any:
        """A storage within a plain pickle, which holds no further files."""
        kind, value, big = _read_pickled(InnerFile(file.path, blob))
        orders.add(big)
        return value if kind == "torch-legacy" else None

    kind, value, big = _read_pickled(file, inner)
    if len(orders) > 1:
        raise CheckpointError(f"{file.path.name}: its tensors have two byte orders; fetch it again")
    return kind, value, big if not orders else orders.pop()


def _span_of(file: OpenFile, span: Span) -> FileBlob:
    return FileBlob(file, span.start, span.length)


def _read_pickled(
    file: OpenFile, inner: Callable[[Blob], Any] | None = None
) -> tuple[str, Any, bool]:
    """A file that begins with a pickle: of torch before 1.6, or any other.

    The old torch layout: magic number, protocol, system info, the object, a list of storage keys
    (five pickles), then for each key the number of elements (8 bytes) and the elements.

    Returns:
        (``torch-legacy`` or ``pickle``, what was saved, whether it is big-endian).

    Raises:
        CheckpointError: truncated, corrupt or unsafe.
    """
    where = file.path.name
    stream = io.BufferedReader(Window(file, 0, file.size), 1 << 16)
    calls = KnownCalls(where, lambda span: _span_of(file, span), inner)
    storages: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, int]] = []
    load = _loader(stream, where, calls, lambda pid: _legacy_storage(where, pid, storages, views))
    value = load()
    if type(value) is not int or value != _LEGACY_MAGIC:
        return "pickle", value, False
    load()
    system, value, keys = load(), load(), load()
    big = isinstance(system, dict) and system.get("little_endian") is False
    _place_storages(file, stream.tell(), keys, storages, big=big)
    for view, base, shift in views:
        view.blob, view.shift = base.blob, shift
    return "torch-legacy", value, big


def _loader(
    stream: IO[bytes], where: str, calls: KnownCalls, persistent: Callable[[Any], Any]
) -> Callable[[], Any]:
    return lambda: load_pickle(
        stream, where, reduce=calls.reduce, persistent=persistent, build=calls.build
    )


def _legacy_storage(
    where: str,
    pid: Any,
    storages: dict[str, Storage],
    views: list[tuple[Storage, Storage, int]],
) -> Storage | Global:
    match pid:
        case ("module", Global() as cls, *_):  # a class, followed by its source text
            return cls
    dtype, key, _elements = _storage_id(where, pid)
    base = storages.setdefault(key, Storage(dtype, None))
    if base.dtype != dtype:
        raise CheckpointError(f"{where}: storage {quoted(key)} has two types; the file is corrupt")
    match pid[5:]:
        case () | (None, *_):
            return base
        case ((_, int(shift), _), *_) if shift >= 0:
            part = Storage(dtype, None)
        case _:
            raise CheckpointError(
                f"{where}: storage {quoted(key)} is a damaged view; the file is corrupt"
            )
    views.append((part, base, shift))
    return part


def _place_storages(
    file: OpenFile, at: int, keys: Any, storages: dict[str, Storage], *, big: bool
) -> None:
    """Give each storage its bytes, which follow the pickles in the order of ``keys``."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise CheckpointError(f"{file.path.name}: its list of storages is damaged; fetch it again")
    for key in keys:
        storage = storages.get(key)
        if storage is None or storage.blob is not None:
            raise CheckpointError(
                f"{file.path.name}: expected a storage of key {quoted(key)} once, got none or two; "
                "the file is corrupt"
            )
        elements = int.from_bytes(file.read(at, 8), "big" if big else "little")
        nbytes = elements * _SIZES[storage.dtype or "uint8"]
        if at + 8 + nbytes > file.size:
            raise CheckpointError(
                f"{file.path.name}: expected {nbytes} bytes for storage {quoted(key)}, but the "
                "file ends before; it is truncated or corrupt, so fetch it again"
            )
        storage.blob = FileBlob(file, at + 8, nbytes)
        at += 8 + nbytes
