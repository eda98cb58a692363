"""The few calls that weight files make, answered with descriptions instead of being run.

Everything a pickle may "call" is here; whatever is not is refused by its name. The answers are
descriptions of tensors and arrays that stay in the file, plain containers, or stand-ins.
"""

from collections.abc import Callable
from typing import Any, Final

from frostline.checkpoints.blobs import Blob, MemoryBlob
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.pickles import Global, Span, StandIn
from frostline.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["KnownCalls", "NdArray", "Storage", "StoredTensor"]


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

    __slots__ = ("dtype", "shape", "start", "storage", "stride")

    def __init__(self, storage: Storage, start: Any, shape: Any, stride: Any) -> None:
        self.storage, self.start, self.shape, self.stride = storage, start, shape, stride
        self.dtype: str | None = None  # that of the storage


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


# Python 3.13 writes the second module, every other Python the first; all are read on all.
_PATHS: Final = [
    f"{module}.{name}"
    for module in ("pathlib", "pathlib._local")
    for name in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
]
_STAND_INS: Final = frozenset(
    {
        "__builtin__.bytearray", "__builtin__.complex", "builtins.bytearray", "builtins.complex",
        "copy_reg.__newobj__", "copyreg.__newobj__",
        "copy_reg._reconstructor", "copyreg._reconstructor",
        "datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.timezone",
        "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar",
        "torch.device", "torch.serialization._get_layout",
        *_PATHS,
    }
)  # fmt: skip
_RECONSTRUCT: Final = {"copy_reg._reconstructor", "copyreg._reconstructor"}
# Classes whose methods real files hold: mmengine's message hub keeps a table of its statistics.
_METHOD_OWNERS: Final = {"mmengine.logging.history_buffer.HistoryBuffer"}
_COPIED: Final = (str, list, tuple, dict, set, frozenset)
_COPY_LIMIT: Final = 1 << 26  # items and characters that calls may copy out of one pickle


class KnownCalls:
    """What a pickle machine asks: the value of a call, and of a state given to a made object.

    Args:
        where: file name for messages.
        place: the bytes of a span of the pickle's stream.
    """

    def __init__(self, where: str, place: Callable[[Span], Blob]) -> None:
        self._where, self._place, self._left = where, place, _COPY_LIMIT

    def reduce(self, name: str, args: tuple[Any, ...]) -> Any:
        """The value that the call ``name(*args)`` stands for, without calling anything.

        Raises:
            UnsafeCheckpointError: the name is not on the list.
            CheckpointError: the arguments are not those of the named function.
        """
        if name in _STAND_INS:
            return _stand_in(name, args)
        handler = _HANDLERS.get(name)
        if handler is None:
            raise self._refused(name)
        if name not in _TORCH:
            self._spend(args)
        try:
            value = handler(*args)
        except _NotOnTheListError as error:
            raise self._refused(str(error)) from None
        except (TypeError, ValueError, AttributeError, IndexError, KeyError):
            raise self._corrupt(f"the arguments {name} takes") from None
        if type(value) is NdArray and value.dtype is not None:
            value.blob = _as_blob(value.blob, self._place)
        return value

    def build(self, target: Any, state: Any) -> None:
        """Take the state of an array or dtype; a dict's or a parameter's attributes are dropped."""
        if type(target) is NdArray:
            _fill_array(target, state, self._place)
        elif type(target) is NumpyType:
            target.order = str(state[1])

    def _spend(self, args: tuple[Any, ...]) -> None:
        """Bound what calls copy: one long list may be named in a million calls."""
        self._left -= sum(len(arg) for arg in args if isinstance(arg, _COPIED))
        if self._left < 0:
            raise self._corrupt("a reasonable amount of data in calls")

    def _refused(self, name: str) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            f"{self._where}: expected tensors and plain values, got a call of {quoted(name)}; "
            "it was not run; save the state dict alone, or as .safetensors"
        )

    def _corrupt(self, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where}: expected {expected}, got something else; "
            "the file is corrupt or hostile, so fetch it again"
        )


class _NotOnTheListError(Exception):
    """A call within a call that is not on the list; its text is the name."""


def _stand_in(name: str, args: tuple[Any, ...]) -> StandIn:
    if name in _RECONSTRUCT and args and isinstance(args[0], Global):
        return StandIn(args[0], args[1:])
    return StandIn(Global(name), args)


# torch


def _rebuild_tensor(storage: Any, start: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise TypeError
    return StoredTensor(storage, start, shape, stride)


def _rebuild_tensor_v3(
    storage: Any, start: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    tensor = _rebuild_tensor(storage, start, shape, stride)
    tensor.dtype = dtype.name.removeprefix("torch.")
    return tensor


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    if function.name not in _TORCH:
        raise _NotOnTheListError(function.name)
    return _TORCH[function.name](*args)


def _size(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, list | tuple):
        raise TypeError
    return tuple(items)


_TORCH: Final[dict[str, Callable[..., Any]]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}


# numpy


def _new_array(*_: Any) -> NdArray:
    return NdArray()


def _new_type(code: Any, *_: Any) -> NumpyType:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    if type(code) is not str:
        raise TypeError
    return NumpyType(code.lstrip("<>=|"), ">" if code.startswith(">") else "<")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> NdArray:
    if not isinstance(dtype, NumpyType):
        raise TypeError
    return NdArray(dtype, shape, order == "F", data)


def _encode(text: Any, encoding: Any = "latin1") -> MemoryBlob:
    """``bytes`` as Python 3 writes them into old protocols: text that stands for bytes."""
    if type(text) is not str or encoding not in {"latin1", "latin-1"}:
        raise TypeError
    text.encode("latin-1")  # a UnicodeEncodeError is a ValueError
    return MemoryBlob(text)


def _fill_array(array: NdArray, state: Any, place: Callable[[Span], Blob]) -> None:
    """State of ``numpy.ndarray``: (version, shape, dtype, is_fortran, bytes)."""
    *_, shape, dtype, fortran, data = state
    if not isinstance(dtype, NumpyType):
        raise TypeError
    array.dtype, array.shape, array.fortran = dtype, shape, bool(fortran)
    array.blob = _as_blob(data, place)


def _as_blob(data: Any, place: Callable[[Span], Blob]) -> Blob | None:
    if isinstance(data, Span):
        return place(data)
    if isinstance(data, str):  # a Python 2 string
        return _encode(data)
    if isinstance(data, bytes):
        return MemoryBlob(data)
    return data if isinstance(data, MemoryBlob) else None  # None: an array of objects


def _ordered(items: Any = ()) -> dict[Any, Any]:
    return _pairs(items)


def _default(_factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _pairs(items)


def _pairs(items: Any) -> dict[Any, Any]:
    if type(items) is dict:
        return dict(items)
    pairs = {}
    for key, value in items:
        if not isinstance(key, str | int):
            raise TypeError
        pairs[key] = value
    return pairs


def _sequence(items: Any = (), *_: Any) -> list[Any]:
    if not isinstance(items, list | tuple | set | frozenset):
        raise TypeError
    return list(items)


def _bound_method(owner: Any, name: Any) -> StandIn:
    """``getattr`` of an inert object: how a method stored on a module is pickled.

    What comes back is inert too: calling it is refused like any computed value.
    """
    named = isinstance(owner, Global) and owner.name in _METHOD_OWNERS
    if not (named or isinstance(owner, StandIn)) or type(name) is not str:
        raise _NotOnTheListError(f"getattr of {type(owner).__name__}")
    return StandIn(Global("builtins.getattr"), (name,))


_HANDLERS: Final[dict[str, Callable[..., Any]]] = {
    **_TORCH,
    "_codecs.encode": _encode,
    "collections.Counter": _ordered,  # the milestones of a MultiStepLR
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default,
    "collections.deque": _sequence,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _new_type,
    "torch.Size": _size,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    **{f"{module}.{name}": _sequence
       for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "list", "tuple")},
    "builtins.getattr": _bound_method,
    "__builtin__.getattr": _bound_method,
}  # fmt: skip
