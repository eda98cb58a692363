"""One tensor in a weight file: what it is, where it lies, and its values on demand."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from frostline.checkpoints.blobs import Blob
from frostline.checkpoints.messages import quoted
from frostline.errors import CheckpointError

__all__ = ["ITEMSIZE", "Collected", "TensorRef", "decode", "make_tensor", "raw_dtype"]

# Name of each storage type (torch's spelling) -> the numpy type of its raw elements.
_RAW: Final = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2",
    "float8_e4m3fn": "u1", "float8_e5m2": "u1",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1",
    "bool": "?", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
ITEMSIZE: Final = {name: np.dtype(raw).itemsize for name, raw in _RAW.items()}
_MAX_DIMENSIONS = 32  # numpy 1.26's limit; torch models stay below 8
_FREE_EXPANSION = 1 << 20  # elements that a view may have beyond those stored


@dataclass(frozen=True, slots=True, eq=False)
class TensorRef:
    """A tensor that stays in its file until it is read.

    Attributes:
        name: full name as in the file.
        dtype: storage type in torch's spelling: ``float32``, ``bfloat16``, ``int64`` ...
        shape: sizes; ``()`` for a scalar.
        blob: the bytes of the storage, which other tensors may share.
        start: first element of this tensor within the storage, in elements.
        stride: steps between neighbours in elements, or None when dense in C order.
        big_endian: byte order of the stored elements.
        negative: the values are those stored times -1 (torch's lazy negation).
        conjugate: the values are the conjugates of those stored.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    blob: Blob
    start: int = 0
    stride: tuple[int, ...] | None = None
    big_endian: bool = False
    negative: bool = False
    conjugate: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as stored."""
        return self.size * ITEMSIZE[self.dtype]

    def read(self) -> npt.NDArray[np.generic]:
        """The values as a new C-ordered array of ``shape``.

        float8 and bfloat16, which numpy lacks, come as float32 (exact); every other type as is.

        Raises:
            CheckpointError: the file ends early or cannot be read.
        """
        values = decode(self.raw_elements().reshape(-1), self.dtype).reshape(self.shape)
        if self.conjugate:
            values = np.conjugate(values)
        return np.negative(values) if self.negative else values

    def raw_elements(self) -> npt.NDArray[np.generic]:
        """The elements as stored (``raw_dtype``), in C order of ``shape``; no sign is changed."""
        raw = self._raw_dense() if self.stride is None else self._raw_strided()
        return raw.reshape(self.shape)

    @property
    def is_plain(self) -> bool:
        """Whether the stored elements, one after the other, are the values."""
        return self.stride is None and not self.negative and not self.conjugate

    def read_raw(self, target: memoryview, first: int) -> None:
        """Fill ``target`` with stored bytes from element ``first`` on (dense tensors only)."""
        itemsize = ITEMSIZE[self.dtype]
        self.blob.read_into(target, (self.start + first) * itemsize)

    def _raw_dense(self) -> npt.NDArray[np.generic]:
        raw = np.empty(self.size, raw_dtype(self))
        if raw.size:
            self.read_raw(raw.view(np.uint8).data, 0)
        return raw

    def _raw_strided(self) -> npt.NDArray[np.generic]:
        stride = self.stride or ()
        span = 1 + sum((n - 1) * step for n, step in zip(self.shape, stride, strict=True))
        raw = np.empty(span, raw_dtype(self))
        self.read_raw(raw.view(np.uint8).data, 0)
        steps = tuple(step * raw.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(raw, self.shape, steps, writeable=False)
        return np.ascontiguousarray(view).reshape(-1)


class Collected(NamedTuple):
    """The tensors of a file, and those whose values cannot be read: name -> why."""

    tensors: tuple[TensorRef, ...]
    left_out: dict[str, str]


def raw_dtype(tensor: TensorRef) -> "np.dtype[np.generic]":
    """The numpy type of a tensor's elements as they lie in the file."""
    return np.dtype((">" if tensor.big_endian else "<") + _RAW[tensor.dtype])


def decode(raw: npt.NDArray[np.generic], dtype: str) -> npt.NDArray[np.generic]:
    """Stored elements as numbers in native byte order; bfloat16 and float8 become float32."""
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if dtype.startswith("float8"):
        values: npt.NDArray[np.generic] = _float8_table(dtype)[raw.astype(np.intp)]
        return values
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)


def _float8_table(dtype: str) -> npt.NDArray[np.float32]:
    """All 256 values of a float8 type (OCP 8-bit floating point, tables 1 and 2)."""
    mantissa_bits, bias = (3, 7) if dtype == "float8_e4m3fn" else (2, 15)
    code = np.arange(256)
    magnitude = code & 0x7F
    exponent, fraction = np.divmod(magnitude, 1 << mantissa_bits)
    part = fraction / (1 << mantissa_bits)
    normal = np.ldexp(1 + part, exponent - bias)
    value = np.where(exponent == 0, np.ldexp(part, 1 - bias), normal)
    if dtype == "float8_e4m3fn":  # no infinity, and one NaN
        value[magnitude == magnitude.max()] = np.nan
    else:
        top = exponent == exponent.max()
        value[top] = np.where(fraction[top] == 0, np.inf, np.nan)
    return np.where(code & 0x80, -value, value).astype(np.float32)


def make_tensor(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    blob: Blob,
    *,
    start: int = 0,
    stride: tuple[int, ...] | None = None,
    big_endian: bool = False,
    negative: bool = False,
    conjugate: bool = False,
    where: str = "",
) -> TensorRef:
    """A checked :class:`TensorRef`: the declared elements exist in the storage.

    Raises:
        CheckpointError: unknown type, impossible shape or stride, or elements beyond the storage.
    """
    label = f"{where}: tensor {quoted(name)}" if where else f"tensor {quoted(name)}"
    if dtype not in ITEMSIZE:
        raise CheckpointError(
            f"{label}: expected one of the types {', '.join(ITEMSIZE)}, got {quoted(dtype)}; "
            "save it in one of these"
        )
    _check_numbers(label, shape, start, stride)
    if negative and dtype.startswith(("bool", "uint")):
        raise CheckpointError(
            f"{label}: expected a negated tensor of a signed type, got {dtype}; the file is corrupt"
        )
    if stride is not None and _is_dense(shape, stride):
        stride = None
    size = math.prod(shape)
    stored = blob.nbytes // ITEMSIZE[dtype]
    span = size if stride is None or size == 0 else _span(shape, stride)
    if start + span > stored or size > max(stored, _FREE_EXPANSION):
        raise CheckpointError(
            f"{label}: shape {list(shape)} needs {max(start + span, size)} elements, but "
            f"its storage holds {stored}; the file is corrupt or hostile"
        )
    if size == 0:
        stride = None
    return TensorRef(name, dtype, shape, blob, start, stride, big_endian, negative, conjugate)


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements lie in C order without gaps (the step along a size of 1 is free)."""
    step = 1
    for n, given in zip(reversed(shape), reversed(stride), strict=True):
        if n != 1 and given != step:
            return False
        step *= n
    return True


def _span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    return 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def _check_numbers(
    label: str, shape: tuple[int, ...], start: int, stride: tuple[int, ...] | None
) -> None:
    numbers = (*shape, start, *(stride or ()))
    whole = all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
    if not whole or len(shape) > _MAX_DIMENSIONS:
        raise CheckpointError(
            f"{label}: expected at most {_MAX_DIMENSIONS} non-negative whole sizes, got "
            f"another shape, offset or stride; the file is corrupt or hostile"
        )
    if stride is not None and len(stride) != len(shape):
        raise CheckpointError(
            f"{label}: expected one stride for each of {len(shape)} sizes, got "
            f"{len(stride)}; the file is corrupt"
        )
