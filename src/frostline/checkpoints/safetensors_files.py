"""Files in the safetensors format: eight bytes of length, a JSON header, then the tensors."""

import json
from typing import Any

from frostline.checkpoints.blobs import FileBlob, OpenFile
from frostline.checkpoints.tensors import ITEMSIZE, TensorRef, make_tensor
from frostline.errors import CheckpointError

__all__ = ["looks_like_safetensors", "read_safetensors"]

_MAX_HEADER = 25_000_000  # bytes: 200,000 tensors
_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first nine bytes are a length and the beginning of a JSON object."""
    return len(head) >= 9 and head[8:9] == b"{" and head[6:8] == b"\0\0"


def read_safetensors(file: OpenFile) -> tuple[TensorRef, ...]:
    """The tensors of one file in the order in which they lie.

    Raises:
        CheckpointError: the header is broken or too long, or the tensors overlap, leave gaps or
            reach beyond the file (the format allows none of these).
    """
    if file.size < 8:
        raise _corrupt(file, f"it has {file.size} bytes")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > _MAX_HEADER:
        raise _corrupt(file, f"its header claims {length} bytes (the limit is {_MAX_HEADER})")
    header = _parse(file, file.read(8, length))
    header.pop("__metadata__", None)
    start = 8 + length
    tensors = [(_span(file, name, entry), name, entry) for name, entry in header.items()]
    tensors.sort(key=lambda item: item[0])
    _check_cover(file, [span for span, _, _ in tensors], file.size - start)
    return tuple(
        _tensor(file, name, entry, start + begin, end - begin)
        for (begin, end), name, entry in tensors
    )


def _corrupt(file: OpenFile, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path.name}: expected a sound safetensors file, but {why}; "
        "it is truncated, corrupt or hostile, so fetch it again"
    )


def _parse(file: OpenFile, data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise _corrupt(file, "its header gives a name twice")
        return result

    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise _corrupt(file, "its header is not valid JSON") from None
    if type(header) is not dict:
        raise _corrupt(file, "its header is not a JSON object")
    return header


def _span(file: OpenFile, name: str, entry: Any) -> tuple[int, int]:
    span = entry.get("data_offsets") if type(entry) is dict else None
    if type(span) is not list or len(span) != 2 or not all(type(n) is int for n in span):
        raise _corrupt(file, f"tensor {name!r} has no pair of data_offsets")
    begin, end = span
    if not 0 <= begin <= end:
        raise _corrupt(file, f"tensor {name!r} lies at {begin} to {end}")
    return begin, end


def _check_cover(file: OpenFile, spans: list[tuple[int, int]], available: int) -> None:
    reached = 0
    for begin, end in spans:
        if begin != reached:
            raise _corrupt(file, f"tensors overlap or leave a gap at byte {min(begin, reached)}")
        reached = end
    if reached != available:
        raise _corrupt(file, f"its tensors need {reached} bytes and it has {available}")


def _tensor(file: OpenFile, name: str, entry: Any, offset: int, nbytes: int) -> TensorRef:
    dtype, shape = _TYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None or type(shape) is not list:
        raise _corrupt(
            file, f"tensor {name!r} is of type {str(entry.get('dtype'))[:20]}, which is not known"
        )
    tensor = make_tensor(
        name, dtype, tuple(shape), FileBlob(file, offset, nbytes), where=file.path.name
    )
    if tensor.size * ITEMSIZE[dtype] != nbytes:
        raise _corrupt(file, f"tensor {name!r} has {nbytes} bytes for shape {shape}")
    return tensor
