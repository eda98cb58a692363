"""Which part of a saved object holds the weights, and the tensors in it by name."""

from collections.abc import Iterator
from typing import Any, Final

from frostline.checkpoints.blobs import Blob
from frostline.checkpoints.leaves import Leaf, LeftOut, NdArray, StoredTensor
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.pickles import StandIn
from frostline.checkpoints.tensors import ITEMSIZE, Collected, TensorRef, make_tensor
from frostline.errors import CheckpointError

__all__ = ["NUMPY_TYPES", "collect_tensors", "find_section", "fortran_stride"]

# Keys under which training programs put the weights; the first that holds tensors is taken.
_KNOWN: Final = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights",
    "module", "params", "blobs", "ema", "ema_state_dict", "state_dict_ema", "model_ema",
)  # fmt: skip
_MAX_TENSORS: Final = 200_000  # twice those of the largest open language models
_MAX_NAME: Final = 1_000  # characters
_MAX_DEPTH: Final = 64
NUMPY_TYPES: Final = {
    "f8": "float64", "f4": "float32", "f2": "float16", "i8": "int64", "i4": "int32",
    "i2": "int16", "i1": "int8", "u8": "uint64", "u4": "uint32", "u2": "uint16", "u1": "uint8",
    "b1": "bool", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_NO_NUMBERS: Final = ("", "O", "S", "U", "M", "m")  # kinds of numpy: objects, text, times
_MODULE: Final = ("_parameters", "_buffers", "_modules")


def find_section(where: str, root: Any, wanted: str | None) -> tuple[str, Any, tuple[str, ...]]:
    """(name of the part with the weights, the part, all parts that hold tensors).

    The name is ``""`` where the saved object is itself a state dict or a module.

    Args:
        where: file name for messages.
        root: what the file holds.
        wanted: a key to take instead of the usual ones; a flat state dict is taken whole.

    Raises:
        CheckpointError: nothing there holds tensors, or several unknown parts do.
    """
    if not isinstance(root, dict):
        return "", root, ()
    parts = {
        key: value
        for key, value in root.items()
        if isinstance(key, str) and not isinstance(value, Leaf) and _holds_tensors(value)
    }
    names = tuple(parts)
    flat = any(isinstance(value, Leaf) for value in root.values())
    if wanted in parts:
        return wanted, parts[wanted], names
    if wanted is not None and not flat:
        raise _no_section(where, f"a part named {quoted(wanted)}", names)
    for key in _KNOWN:
        if key in parts:
            return key, parts[key], names
    if flat:
        return "", root, names
    if not names:
        raise CheckpointError(
            f"{where}: expected tensors, got a saved object without any; "
            "save the state dict (model.state_dict())"
        )
    if len(names) != 1:
        raise _no_section(where, "one part with tensors", names)
    return names[0], parts[names[0]], names


def _no_section(where: str, expected: str, names: tuple[str, ...]) -> CheckpointError:
    found = ", ".join(quoted(name) for name in names[:12]) if names else "none"
    return CheckpointError(
        f"{where}: expected {expected}, got {found}; "
        "name the part that holds the weights (--section)"
    )


def _holds_tensors(value: Any) -> bool:
    """Whether a tensor is anywhere inside; each object is looked at once."""
    seen, pending = set(), [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Leaf):
            return True
        if id(item) in seen:
            continue
        seen.add(id(item))
        pending.extend(_children(item))
    return False


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, StandIn):
        return [item.state, item.items, item.args]
    return list(item) if isinstance(item, list | tuple) else []


def collect_tensors(where: str, section: Any, *, big_endian: bool) -> Collected:
    """The tensors of a state dict, a nested one, or a pickled module, named with dots.

    Raises:
        CheckpointError: a tensor is damaged, there are too many, or none can be read.
    """
    tensors: list[TensorRef] = []
    left_out: dict[str, str] = {}
    for count, (name, leaf) in enumerate(_walk(where, section)):
        if count >= _MAX_TENSORS:
            raise CheckpointError(
                f"{where}: expected at most {_MAX_TENSORS} tensors, got more; the file is hostile"
            )
        tensor = _tensor(where, name, leaf, big_endian)
        if isinstance(tensor, LeftOut):
            left_out[name] = tensor.why
        elif tensor is not None:
            tensors.append(tensor)
    if not tensors:
        raise CheckpointError(f"{where}: expected tensors, got {_nothing(left_out)}")
    return Collected(tuple(tensors), left_out)


def _nothing(left_out: dict[str, str]) -> str:
    if not left_out:
        return "a saved object without any; save the state dict (model.state_dict())"
    name, why = next(iter(left_out.items()))
    return (
        f"{len(left_out)} whose values cannot be read ({quoted(name)} is {why}); "
        "save dense tensors of the CPU"
    )


def _walk(where: str, section: Any) -> Iterator[tuple[str, Leaf]]:
    """Leaves in file order. The stack holds (prefix, value); a cycle ends at the depth limit."""
    pending: list[tuple[str, Any, int]] = [("", section, 0)]
    visited = 0
    while pending:
        prefix, item, depth = pending.pop()
        if isinstance(item, Leaf):
            yield prefix, item
            continue
        visited += 1
        if depth > _MAX_DEPTH or visited > _MAX_TENSORS:
            raise CheckpointError(
                f"{where}: expected at most {_MAX_DEPTH} levels of nesting, got more or a cycle; "
                "the file is corrupt or hostile"
            )
        for key, value in reversed(_members(item)):
            if len(prefix) + len(key) > _MAX_NAME:
                raise CheckpointError(
                    f"{where}: expected names of at most {_MAX_NAME} characters, got a longer one; "
                    "the file is corrupt or hostile"
                )
            name = f"{prefix}.{key}" if prefix and key else prefix or key
            pending.append((name, value, depth + 1))


def _members(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, StandIn):
        return _members_of_object(item)
    if not isinstance(item, dict):
        return []
    keep = (dict, StandIn, StoredTensor, NdArray, LeftOut)
    return [
        (str(k), v) for k, v in item.items() if isinstance(k, str | int) and isinstance(v, keep)
    ]


def _members_of_object(item: StandIn) -> list[tuple[str, Any]]:
    """What ``state_dict`` of a pickled ``nn.Module`` would hold: parameters, buffers, modules.

    Of any other object (TorchScript's, an average that wraps a model) its attributes; an object
    that keeps tensors otherwise is left out as a whole.
    """
    state = _attributes(item.state)
    if not any(key in state for key in _MODULE):
        members = _members(item.items) + _members(state)
        if not members and _holds_tensors([item.state, item.args]):
            return [("", LeftOut(f"an object of class {quoted(item.cls.name)}"))]
        return members
    hidden = state.get("_non_persistent_buffers_set") or ()
    members = _members(state.get("_parameters"))
    members += [pair for pair in _members(state.get("_buffers")) if pair[0] not in hidden]
    members += _members(state.get("_modules"))
    return members


def _attributes(state: Any) -> dict[Any, Any]:
    """The attributes in an object's state: a dict, or (dict or None, dict of slots)."""
    parts = state if isinstance(state, tuple) else (state,)
    if not all(part is None or isinstance(part, dict) for part in parts):
        return {}
    return {key: value for part in parts if part for key, value in part.items()}


def _tensor(where: str, name: str, leaf: Leaf, big_endian: bool) -> TensorRef | LeftOut | None:
    if isinstance(leaf, LeftOut):
        return leaf
    if isinstance(leaf, NdArray):
        return _from_numpy(where, name, leaf)
    storage = leaf.storage
    dtype = leaf.dtype or storage.dtype
    blob = storage.blob
    if dtype is None or blob is None or type(leaf.start) is not int:
        raise CheckpointError(f"{where}: tensor {quoted(name)} has no storage; the file is corrupt")
    if dtype not in ITEMSIZE:
        return LeftOut(f"of type {quoted(dtype)}")
    return make_tensor(
        name,
        dtype,
        _whole(leaf.shape),
        blob,
        start=leaf.start + storage.shift,
        stride=_whole(leaf.stride),
        big_endian=big_endian,
        negative=leaf.negative,
        conjugate=leaf.conjugate,
        where=where,
    )


def _whole(values: Any) -> tuple[int, ...]:
    return tuple(values) if isinstance(values, tuple | list) else (-1,)


def _from_numpy(where: str, name: str, array: NdArray) -> TensorRef | LeftOut | None:
    code = array.dtype.code if array.dtype else ""
    dtype = NUMPY_TYPES.get("b1" if code == "?" else code)
    blob: Blob | None = array.blob
    if blob is None or code[:1] in _NO_NUMBERS:
        return None
    if dtype is None:
        return LeftOut(f"of numpy type {quoted(code)}")
    shape = _whole(array.shape)
    stride = fortran_stride(shape) if array.fortran else None
    big_endian = array.dtype is not None and array.dtype.order == ">"
    tensor = make_tensor(
        name, dtype, shape, blob, stride=stride, big_endian=big_endian, where=where
    )
    if tensor.size * ITEMSIZE[dtype] != blob.nbytes:
        raise CheckpointError(
            f"{where}: tensor {quoted(name)} has {blob.nbytes} bytes for shape {list(shape)}; "
            "the file is corrupt"
        )
    return tensor


def fortran_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps in elements of an array in column order."""
    steps, step = [], 1
    for n in shape:
        steps.append(step)
        step *= n if isinstance(n, int) else 1
    return tuple(steps)
