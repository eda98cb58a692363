"""Tensors and arrays as a file describes them, before anything of them is read."""

from typing import Any

from frostline.checkpoints.blobs import Blob

__all__ = ["Leaf", "LeftOut", "NdArray", "NumpyType", "Storage", "StoredTensor"]


class Storage:
    """A torch storage: typed bytes that tensors are views of.

    ``blob`` is None until the file says where it lies (the old format says so at its end);
    ``dtype`` is None for an untyped storage, whose tensors name the type; ``shift`` is the number
    of elements to skip in a storage that is itself a view (old format).
    """

    __slots__ = ("blob", "dtype", "shift")

    def __init__(self, dtype: str | None, blob: Blob | None) -> None:
        self.dtype, self.blob, self.shift = dtype, blob, 0


class StoredTensor:
    """What torch's ``_rebuild_tensor`` functions are told."""

    __slots__ = ("conjugate", "dtype", "negative", "shape", "start", "storage", "stride")

    def __init__(self, storage: Storage, start: Any, shape: Any, stride: Any) -> None:
        self.storage, self.start, self.shape, self.stride = storage, start, shape, stride
        self.dtype: str | None = None  # that of the storage
        self.negative = self.conjugate = False  # torch's lazy negation and conjugation


class LeftOut:
    """A tensor whose values cannot be told, and why: sparse, without values, of another library."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class NumpyType:
    """A numpy dtype: kind and size such as ``f4``, and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, order: str) -> None:
        self.code, self.order = code, order


class NdArray:
    """A numpy array as pickled; empty until its state arrives.

    ``blob`` is a Blob once placed, and stays None for an array of objects.
    """

    __slots__ = ("blob", "dtype", "fortran", "shape")

    def __init__(
        self,
        dtype: NumpyType | None = None,
        shape: Any = (),
        fortran: bool = False,
        blob: Any = None,
    ) -> None:
        self.dtype, self.shape, self.fortran, self.blob = dtype, shape, fortran, blob


Leaf = StoredTensor | NdArray | LeftOut
