"""Files of ``numpy.savez``: a zip of ``.npy`` arrays (format: numpy/lib/format.py, version 1-3)."""

import re
from typing import Final

from frostline.checkpoints.messages import quoted
from frostline.checkpoints.sections import NUMPY_TYPES, fortran_stride
from frostline.checkpoints.tensors import ITEMSIZE, TensorRef, make_tensor
from frostline.checkpoints.zips import ZipEntry
from frostline.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["is_npz", "read_npz"]

_MAGIC: Final = b"\x93NUMPY"
_PREFIX: Final = len(_MAGIC) + 2  # magic and version
_MAX_HEADER: Final = 1 << 16
# The header is a Python dict literal that numpy writes in one fixed order; evaluating it, even
# with ast.literal_eval, is more than reading three values needs.
_HEADER: Final = re.compile(
    r"\{'descr': '([<>|=]?)(\w+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def is_npz(entries: dict[str, ZipEntry]) -> bool:
    """Whether a zip holds nothing but ``.npy`` arrays."""
    return bool(entries) and all(name.endswith(".npy") for name in entries)


def read_npz(where: str, entries: dict[str, ZipEntry]) -> tuple[TensorRef, ...]:
    """The numeric arrays by their names in the archive; arrays of text are left out.

    Raises:
        UnsafeCheckpointError: an array of objects, which only unpickling could read.
        CheckpointError: a header is damaged or does not fit its entry.
    """
    tensors = (_tensor(where, name.removesuffix(".npy"), entry) for name, entry in entries.items())
    return tuple(tensor for tensor in tensors if tensor is not None)


def _tensor(where: str, name: str, entry: ZipEntry) -> TensorRef | None:
    order, code, fortran, sizes, data_at = _header(where, name, entry)
    if code.startswith("O"):
        raise UnsafeCheckpointError(
            f"{where}: array {quoted(name)} holds pickled objects, which were not loaded; "
            "expected numbers; save it without dtype=object"
        )
    if code[:1] in {"U", "S"}:
        return None
    dtype = NUMPY_TYPES.get("b1" if code == "?" else code)
    if dtype is None:
        raise CheckpointError(
            f"{where}: array {quoted(name)} is of numpy type {code!r}, expected a number type; "
            "save it as float32"
        )
    shape = tuple(int(n) for n in sizes.replace(",", " ").split())
    stride = fortran_stride(shape) if fortran else None
    blob = entry.blob(data_at)
    tensor = make_tensor(
        name, dtype, shape, blob, stride=stride, big_endian=order == ">", where=where
    )
    if tensor.size * ITEMSIZE[dtype] != blob.nbytes:
        raise CheckpointError(
            f"{where}: array {quoted(name)} has {blob.nbytes} bytes for shape {list(shape)}; "
            "the file is corrupt, so fetch it again"
        )
    return tensor


def _header(where: str, name: str, entry: ZipEntry) -> tuple[str, str, bool, str, int]:
    """(byte order, type code, fortran order, sizes as text, where the data begin)."""
    stream = entry.stream(_PREFIX + 4 + _MAX_HEADER)
    start = stream.read(_PREFIX)
    width = 2 if start[len(_MAGIC) : len(_MAGIC) + 1] == b"\x01" else 4
    length = int.from_bytes(stream.read(width), "little")
    text = stream.read(min(length, _MAX_HEADER)).decode("latin-1")
    match = _HEADER.fullmatch(text)
    data_at = _PREFIX + width + length
    if not start.startswith(_MAGIC) or match is None or data_at > entry.size:
        raise CheckpointError(
            f"{where}: expected a numpy array in entry {quoted(name)}, got something else; "
            "the file is corrupt, so fetch it again"
        )
    return match[1], match[2], match[3] == "True", match[4], data_at
