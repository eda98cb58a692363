"""The few calls that weight files make, answered with descriptions instead of being run.

Everything a pickle may "call" is in ``reasons``; whatever is not is refused by its name. The
answers are descriptions of tensors that stay in the file, plain containers, or stand-ins.
"""

from collections.abc import Callable
from typing import Any, Final

from frostline.checkpoints.blobs import Blob, MemoryBlob
from frostline.checkpoints.leaves import Leaf, LeftOut, NdArray, NumpyType, Storage, StoredTensor
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.pickles import Global, Span, StandIn
from frostline.checkpoints.reasons import is_foreign_class, reason_of
from frostline.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["KnownCalls"]

_INNER: Final = "torch.storage._load_from_bytes"
_RECONSTRUCT: Final = {"copy_reg._reconstructor", "copyreg._reconstructor"}
_COPIED: Final = (str, list, tuple, dict, set, frozenset)
_COPY_LIMIT: Final = 1 << 26  # items and characters that calls may copy out of one pickle


class KnownCalls:
    """What a pickle machine asks: the value of a call, and of a state given to a made object.

    Args:
        where: file name for messages.
        place: the bytes of a span of the pickle's stream.
        inner: what a file of ``torch.save`` within the pickle holds; None where there may be none.
    """

    def __init__(
        self,
        where: str,
        place: Callable[[Span], Blob],
        inner: Callable[[Blob], Any] | None = None,
    ) -> None:
        self._where, self._place, self._left = where, place, _COPY_LIMIT
        self._inner = inner

    def reduce(self, name: str, args: tuple[Any, ...]) -> Any:
        """The value that the call ``name(*args)`` stands for, without calling anything.

        Raises:
            UnsafeCheckpointError: the name is not on the list.
            CheckpointError: the arguments are not those of the named function.
        """
        handler = _HANDLERS.get(name)
        if name == _INNER and self._inner is not None:
            return self._storage_within(args)
        if handler is None:
            if reason_of(name) and name != _INNER:
                return _stand_in(name, args)
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

    def _storage_within(self, args: tuple[Any, ...]) -> Storage:
        """``pickle.dump`` of a tensor writes its storage as a file of ``torch.save``."""
        blob = _as_blob(args[0], self._place) if len(args) == 1 else None
        storage = None if blob is None or self._inner is None else self._inner(blob)
        if not isinstance(storage, Storage):
            raise self._corrupt(f"the bytes that {_INNER} takes")
        return storage

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


def _rebuild_tensor(
    storage: Any,
    start: Any,
    shape: Any,
    stride: Any,
    _grad: Any = None,
    _hooks: Any = None,
    metadata: Any = None,
) -> "StoredTensor | LeftOut":
    if not isinstance(storage, Storage):
        raise TypeError
    return _with_metadata(StoredTensor(storage, start, shape, stride), metadata)


def _with_metadata(tensor: StoredTensor, metadata: Any) -> "StoredTensor | LeftOut":
    """Read what torch says of a tensor besides its storage: the bits of a lazy -x and conj(x)."""
    if metadata is None:
        return tensor
    if type(metadata) is not dict:
        raise TypeError
    bits = {key for key, value in metadata.items() if value is not False}
    if bits - {"neg", "conj"}:
        return LeftOut(f"with unknown metadata {', '.join(sorted(map(quoted, bits)))}")
    tensor.negative, tensor.conjugate = "neg" in bits, "conj" in bits
    return tensor


def _rebuild_tensor_v3(
    storage: Any,
    start: Any,
    shape: Any,
    stride: Any,
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> "StoredTensor | LeftOut":
    tensor = _rebuild_tensor(storage, start, shape, stride, metadata=metadata)
    if isinstance(tensor, StoredTensor):
        tensor.dtype = dtype.name.removeprefix("torch.")
    return tensor


def _rebuild_parameter(data: Any, _grad: Any = None, _hooks: Any = None, _state: Any = None) -> Any:
    return data


def _rebuild_elsewhere(data: Any, _dtype: Any, _device: Any, _grad: Any = None) -> Any:
    """A tensor of another device (XLA, HPU, MTIA), saved as an array or a tensor of the CPU."""
    return data if isinstance(data, Leaf) else LeftOut("on another device, without its values")


def _rebuild_from_type(function: Any, cls: Any, args: Any, _state: Any) -> Any:
    """A tensor of a subclass: as the tensor it is, or left out where it wraps others."""
    if function.name not in _TORCH:
        raise _NotOnTheListError(function.name)
    return _TORCH[function.name](*args) if function.name not in _WRAPPERS else _wrapper(cls)


def _wrapper(cls: Any, *_args: Any) -> LeftOut:
    """A tensor made of others (torchao, DTensor): what it stands for is in code."""
    if not isinstance(cls, Global):
        raise TypeError
    return LeftOut(f"of class {quoted(cls.name)}, whose values only its own code can tell")


def _without_values(why: str) -> Callable[..., LeftOut]:
    return lambda *_args: LeftOut(why)  # no argument can change it


def _size(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, list | tuple):
        raise TypeError
    return tuple(items)


def _first(value: Any, *_type: Any) -> Any:
    """TorchScript's lists: the list itself; a type that it restores is that of elements."""
    return value


_WRAPPERS: Final = {"torch._utils._rebuild_wrapper_subclass"}
_TORCH: Final[dict[str, Callable[..., Any]]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._utils._rebuild_device_tensor_from_numpy": _rebuild_elsewhere,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _rebuild_elsewhere,
    "torch._utils._rebuild_xla_tensor": _rebuild_elsewhere,
    "torch._utils._rebuild_mlc_tensor": _rebuild_elsewhere,
    "torch._utils._rebuild_sparse_tensor": _without_values("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _without_values("sparse"),
    "torch._utils._rebuild_nested_tensor": _without_values("nested"),
    "torch._utils._rebuild_qtensor": _without_values("quantized"),
    "torch._utils._rebuild_meta_tensor_no_storage": _without_values("without values (meta)"),
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch.nn.parameter.UninitializedParameter": _without_values("without values (lazy)"),
    "torch.nn.parameter.UninitializedBuffer": _without_values("without values (lazy)"),
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
    *version, shape, dtype, fortran, data = state
    if version not in ([], [0], [1]) or not isinstance(dtype, NumpyType):
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


def _attribute(owner: Any, name: Any) -> StandIn:
    """``getattr`` of an inert object: how a method stored on a module is pickled.

    What comes back is inert too: calling it is refused like any computed value.
    """
    if isinstance(owner, Global) and not is_foreign_class(owner.name):
        raise _NotOnTheListError(f"getattr of {owner.name}")
    if not isinstance(owner, Global | StandIn) or type(name) is not str:
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
    **{f"torch.jit._pickle.{name}": _first
       for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist",
                    "restore_type_tag")},
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    **{f"{module}.{name}": _sequence
       for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "list", "tuple")},
    "builtins.getattr": _attribute,
    "__builtin__.getattr": _attribute,
}  # fmt: skip
