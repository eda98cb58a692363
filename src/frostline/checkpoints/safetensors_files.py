"""Files in the safetensors format: eight bytes of length, a JSON header, then the tensors."""

import json
from typing import Any

from frostline.checkpoints.blobs import FileBlob, OpenFile
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.tensors import ITEMSIZE, Collected, TensorRef, make_tensor
from frostline.errors import CheckpointError

__all__ = ["parse_json", "read_safetensors"]

_LENGTH = 8  # bytes of the header's length
_MAX_HEADER = 25_000_000  # bytes: 200,000 tensors
_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


_NEW_TYPES = ("F8_", "F6_", "F4", "C128")  # that the format has gained, or may


def read_safetensors(file: OpenFile) -> Collected:
    """The tensors of one file in the order in which they lie.

    Raises:
        CheckpointError: the header is broken or too long, or the tensors overlap, leave gaps or
            reach beyond the file (the format allows none of these).
    """
    length = int.from_bytes(file.read(0, _LENGTH), "little")
    if length > _MAX_HEADER:
        raise _corrupt(file, f"its header claims {length} bytes (the limit is {_MAX_HEADER})")
    try:
        header = parse_json(file.read(_LENGTH, length))
    except ValueError as error:
        raise _corrupt(file, str(error)) from None
    header.pop("__metadata__", None)
    start = _LENGTH + length
    tensors = [(_span(file, name, entry), name, entry) for name, entry in header.items()]
    tensors.sort(key=lambda item: item[0])
    _check_cover(file, [span for span, _, _ in tensors], file.size - start)
    left_out = {name: why for _, name, entry in tensors if (why := _unreadable(entry))}
    found = tuple(
        _tensor(file, name, entry, start + begin, end - begin)
        for (begin, end), name, entry in tensors
        if name not in left_out
    )
    if left_out and not found:
        raise _corrupt(file, f"its tensors are {next(iter(left_out.values()))}")
    return Collected(found, left_out)


def _corrupt(file: OpenFile, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path.name}: expected a sound safetensors file, but {why}; "
        "it is truncated, corrupt or hostile, so fetch it again"
    )


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name is given twice.

    Raises:
        ValueError: it is something else; the message says what, to be put behind "but".
    """
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("its JSON is not valid") from None
    if type(header) is not dict:
        raise ValueError("its JSON is not an object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("its JSON gives a name twice")
    return result


def _span(file: OpenFile, name: str, entry: Any) -> tuple[int, int]:
    span = entry.get("data_offsets") if type(entry) is dict else None
    match span:
        case [int(begin), int(end)] if type(begin) is type(end) is int:
            pass
        case _:
            raise _corrupt(file, f"tensor {quoted(name)} has no pair of data_offsets")
    if not 0 <= begin <= end:
        raise _corrupt(file, f"tensor {quoted(name)} lies at {begin} to {end}")
    return begin, end


def _check_cover(file: OpenFile, spans: list[tuple[int, int]], available: int) -> None:
    reached = 0
    for begin, end in spans:
        if begin != reached:
            raise _corrupt(file, f"tensors overlap or leave a gap at byte {min(begin, reached)}")
        reached = end
    if reached != available:
        raise _corrupt(file, f"its tensors need {reached} bytes and it has {available}")


def _unreadable(entry: Any) -> str:
    """Why values cannot be read: a type of the format that we do not know (6 or 4 bits)."""
    dtype = entry.get("dtype")
    known = dtype in _TYPES or not isinstance(dtype, str) or not dtype.startswith(_NEW_TYPES)
    return "" if known else f"of type {quoted(dtype)}"


def _tensor(file: OpenFile, name: str, entry: Any, offset: int, nbytes: int) -> TensorRef:
    dtype, shape = _TYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None or type(shape) is not list:
        raise _corrupt(
            file,
            f"tensor {quoted(name)} has the unknown type {quoted(entry.get('dtype'))}",
        )
    tensor = make_tensor(
        name, dtype, tuple(shape), FileBlob(file, offset, nbytes), where=file.path.name
    )
    if tensor.size * ITEMSIZE[dtype] != nbytes:
        raise _corrupt(file, f"tensor {quoted(name)} has {nbytes} bytes for shape {shape}")
    return tensor
