"""Folders of ``torch.distributed.checkpoint``: ``.metadata`` and the pieces in ``*.distcp``.

``.metadata`` is a pickle: for each tensor its type, its sizes and the boxes (offsets, sizes) that
were saved apart; for each of these a file, and where in it a small file of ``torch.save`` lies.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from frostline.checkpoints.blobs import FileBlob, InnerFile, OpenFile, Window
from frostline.checkpoints.folders import METADATA
from frostline.checkpoints.known_calls import KnownCalls
from frostline.checkpoints.leaves import LeftOut, Storage, StoredTensor
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.pickles import StandIn, load_pickle
from frostline.checkpoints.tensors import ITEMSIZE, TensorRef, make_tensor
from frostline.checkpoints.torch_files import find_pickle, read_torch_zip
from frostline.checkpoints.zips import read_directory
from frostline.errors import CheckpointError

__all__ = ["Distributed", "read_distributed"]

_MAX_PIECES: Final = 1024  # of one tensor, where they are no rows: each is compared with each
_MAX_DEPTH: Final = 16  # keys from the top of a state dict to a tensor


class Distributed(NamedTuple):
    """What a folder holds: nested dicts of descriptions, and the files that they lie in."""

    root: dict[str, Any]
    files: tuple[Path, ...]
    big_endian: bool


class _Piece(NamedTuple):
    """A box of a tensor that was saved by itself."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    tensor: TensorRef


def read_distributed(folder: Path) -> Distributed:
    """The state dict that a folder holds, as it was before it was taken apart.

    Raises:
        CheckpointError: the metadata are damaged, or a piece is missing, damaged or of other sizes.
        UnsafeCheckpointError: reading would mean running code.
    """
    return _Folder(folder).read()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, folder.name
        self.files: dict[str, OpenFile] = {}
        self.big_endian: set[bool] = set()

    def read(self) -> Distributed:
        """All of it."""
        file = OpenFile(self.folder / METADATA)
        state = _state(self._unpickle(file, METADATA))
        tensors, places = state.get("state_dict_metadata"), state.get("storage_data")
        paths = state.get("planner_data")
        if type(tensors) is not dict or type(places) is not dict:
            raise self._damaged("its metadata list no tensors and their places")
        stored = {key: _state(value) for key, value in self._places(places)}
        root: dict[str, Any] = {}
        for name, entry in tensors.items():
            described = _state(entry)
            if type(name) is str and "chunks" in described:  # else an object, such as an epoch
                leaf = self._tensor(name, described, stored)
                self._put(root, _path(paths, name), leaf)
        if len(self.big_endian) > 1:
            raise self._damaged("its pieces come from machines of two byte orders")
        names = (METADATA, *sorted(self.files))
        return Distributed(root, tuple(self.folder / n for n in names), self.big_endian == {True})

    def _unpickle(self, file: OpenFile, name: str) -> Any:
        where = f"{self.where}/{name}"
        calls = KnownCalls(where, lambda span: FileBlob(file, span.start, span.length))
        stream = io.BufferedReader(Window(file, 0, file.size), 1 << 16)
        return load_pickle(stream, where, reduce=calls.reduce, build=calls.build)

    def _places(self, places: dict[Any, Any]) -> Iterable[tuple[tuple[str, Any], Any]]:
        """(name, offsets or None) of each piece that was written, and where."""
        for key, value in places.items():
            index = _state(key)
            offset = index.get("offset")
            name = index.get("fqn")
            if type(name) is not str:
                raise self._damaged("a place has no name")
            yield (name, None if offset is None else self._whole(offset)), value

    def _tensor(
        self, name: str, described: Mapping[str, Any], stored: Mapping[tuple[str, Any], Any]
    ) -> StoredTensor | LeftOut:
        shape = self._whole(described.get("size"))
        chunks = described["chunks"]
        if type(chunks) is not list or not chunks:
            raise self._damaged(f"tensor {quoted(name)} has no pieces")
        pieces: list[_Piece] = []
        for chunk in map(_state, chunks):
            offsets, sizes = self._whole(chunk.get("offsets")), self._whole(chunk.get("sizes"))
            place = stored.get((name, offsets), stored.get((name, None)))
            if place is None:
                raise self._damaged(f"a piece of tensor {quoted(name)} was not written")
            tensor = self._piece(name, place)
            if isinstance(tensor, LeftOut):
                return tensor
            if tensor.negative or tensor.conjugate:
                return LeftOut("stored with its negation pending")
            if tensor.shape != sizes or len(offsets) != len(sizes) != len(shape):
                raise self._damaged(f"a piece of tensor {quoted(name)} has other sizes than said")
            pieces.append(_Piece(offsets, sizes, tensor))
        self._check_cover(name, shape, pieces)
        return _assembled(shape, pieces)

    def _piece(self, name: str, place: Mapping[str, Any]) -> TensorRef | LeftOut:
        if place.get("transform_descriptors"):
            return LeftOut("stored in a compressed form")
        file, offset, length = place.get("relative_path"), place.get("offset"), place.get("length")
        if type(file) is not str or file in {"", ".", ".."} or set(file) & set("/\\:\0"):
            raise self._damaged(f"a piece lies in {quoted(file)}, which is no file beside it")
        if not (type(offset) is type(length) is int and offset >= 0 and length > 0):
            raise self._damaged(f"a piece of tensor {quoted(name)} has no place")
        opened = self._open(file)
        if offset + length > opened.size:
            raise self._damaged(f"{file} ends before a piece of tensor {quoted(name)}")
        return self._unpack(name, InnerFile(opened.path, FileBlob(opened, offset, length)))

    def _open(self, name: str) -> OpenFile:
        if name not in self.files:
            path = self.folder / name
            if path.is_symlink():
                raise self._damaged(f"{name} is a link")
            self.files[name] = OpenFile(path)
        return self.files[name]

    def _unpack(self, name: str, inner: InnerFile) -> TensorRef | LeftOut:
        """The tensor in one small file of ``torch.save``."""
        entries = read_directory(inner)
        if find_pickle(entries) is None:
            return LeftOut("stored in a way that is not known")
        leaf, big = read_torch_zip(f"{self.where}/{inner.path.name}", entries)
        self.big_endian.add(big)
        if isinstance(leaf, LeftOut):
            return leaf
        if not isinstance(leaf, StoredTensor) or leaf.storage.blob is None:
            raise self._damaged(f"the piece of tensor {quoted(name)} is none")
        dtype = leaf.dtype or leaf.storage.dtype or ""
        if dtype not in ITEMSIZE:
            return LeftOut(f"of type {quoted(dtype)}")
        return make_tensor(
            name, dtype, tuple(leaf.shape), leaf.storage.blob,
            start=leaf.start, stride=tuple(leaf.stride), big_endian=big,
            negative=leaf.negative, conjugate=leaf.conjugate, where=self.where,
        )  # fmt: skip

    def _check_cover(self, name: str, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> None:
        """Every element is in one piece: all lie inside, none overlap, the numbers agree."""
        total = sum(math.prod(piece.sizes) for piece in pieces)
        inside = all(
            offset + size <= whole
            for piece in pieces
            for offset, size, whole in zip(piece.offsets, piece.sizes, shape, strict=True)
        )
        one_type = len({piece.tensor.dtype for piece in pieces}) == 1
        if total != math.prod(shape) or not inside or not one_type or _overlap(shape, pieces):
            raise self._damaged(f"the pieces of tensor {quoted(name)} do not make up {list(shape)}")

    def _whole(self, values: Any) -> tuple[int, ...]:
        whole = type(values) in {tuple, list} and all(type(n) is int and n >= 0 for n in values)
        if not whole:
            raise self._damaged("sizes or offsets are no whole numbers")
        return tuple(values)

    def _put(self, root: dict[str, Any], path: tuple[str, ...], leaf: object) -> None:
        *above, last = path
        for key in above:
            root = root.setdefault(key, {})
            if type(root) is not dict:
                raise self._damaged(f"{quoted(key)} is a tensor and holds others")
        root[last] = leaf

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}: expected a folder of torch.distributed.checkpoint, but {why}; "
            "it is incomplete, corrupt or hostile, so copy all of its files again"
        )


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an object in the metadata."""
    state = value.state if isinstance(value, StandIn) else None
    return state if type(state) is dict else {}


def _path(paths: Any, name: str) -> tuple[str, ...]:
    """The keys under which a tensor was in the state dict: those recorded, else its name."""
    found = paths.get(name) if type(paths) is dict else None
    if type(found) is not tuple or not 0 < len(found) <= _MAX_DEPTH:
        return (name,)
    return tuple(map(str, found)) if all(type(k) in {str, int} for k in found) else (name,)


def _is_rows(shape: tuple[int, ...], pieces: Iterable[_Piece]) -> bool:
    """Whether all pieces are whole along every axis but the first, as FSDP writes them."""
    return bool(shape) and all(piece.sizes[1:] == shape[1:] for piece in pieces)


def _overlap(shape: tuple[int, ...], pieces: Sequence[_Piece]) -> bool:
    if _is_rows(shape, pieces):
        reached = 0
        for piece in sorted(pieces, key=lambda p: (p.offsets[0], p.sizes[0])):
            if piece.offsets[0] < reached:
                return True
            reached = piece.offsets[0] + piece.sizes[0]
        return False
    if len(pieces) > _MAX_PIECES:
        return True
    return any(_meet(a, b) for n, a in enumerate(pieces) for b in pieces[:n])


def _meet(a: _Piece, b: _Piece) -> bool:
    return all(
        x < y + v and y < x + u
        for x, y, u, v in zip(a.offsets, b.offsets, a.sizes, b.sizes, strict=True)
    )


def _assembled(shape: tuple[int, ...], pieces: Sequence[_Piece]) -> StoredTensor:
    dtype = pieces[0].tensor.dtype
    if len(pieces) == 1 and pieces[0].tensor.is_plain:
        one = pieces[0].tensor
        return _stored(Storage(dtype, one.blob), one.start, shape)
    return _stored(Storage(dtype, _Assembled(shape, pieces)), 0, shape)


def _stored(storage: Storage, start: int, shape: tuple[int, ...]) -> StoredTensor:
    stride, step = [], 1
    for n in reversed(shape):
        stride.append(step)
        step *= n
    return StoredTensor(storage, start, shape, tuple(reversed(stride)))


class _Assembled:
    """The bytes of a tensor in pieces: put together when first read, dropped at its end."""

    __slots__ = ("_made", "_pieces", "_shape", "nbytes")

    def __init__(self, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> None:
        self._shape, self._pieces = shape, pieces
        self._made: npt.NDArray[np.uint8] | None = None
        self.nbytes = math.prod(shape) * ITEMSIZE[pieces[0].tensor.dtype]

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` from byte ``start`` of the tensor on."""
        made = self._made
        if made is None:
            made = self._make()
        end = start + len(target)
        target[:] = made[start:end].data
        self._made = made if end < self.nbytes else None

    def _make(self) -> npt.NDArray[np.uint8]:
        first = self._pieces[0].tensor
        whole = np.empty(self._shape, first.raw_elements().dtype)
        for piece in self._pieces:
            box = tuple(slice(o, o + n) for o, n in zip(piece.offsets, piece.sizes, strict=True))
            whole[box] = piece.tensor.raw_elements()
        return whole.reshape(-1).view(np.uint8)
