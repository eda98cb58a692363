"""A pickle reader that cannot run anything.

It is a small machine for the pickle opcodes that builds plain containers, and records of what
the stream *asks* to call. It holds no way to import or call: a class becomes an inert
:class:`StandIn`, and a callable outside the short list of ``KnownCalls`` is refused by name.
(``pickle.Unpickler`` with an own ``find_class`` is not enough: its C code takes memory as the
stream tells it to, and hashes nested keys without bound.)
"""

import codecs
import struct
import warnings
from collections.abc import Callable
from typing import IO, Any, Final

from frostline.checkpoints.messages import quoted
from frostline.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["Global", "Span", "StandIn", "load_pickle"]

MAX_OPCODES: Final = 4_000_000  # a Faster R-CNN has 12,000; bounds memory to some 400 MB
_LONG = 1024  # byte strings from this length on stay in the file
_MAX_TEXT = 1 << 26
_INT_LIMIT = 1 << 63
_MAX_KEY_PARTS = 16


class Global:
    """The name of a class or function in a pickle; never looked up."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name  # "module.qualified_name"

    def __repr__(self) -> str:
        return self.name


class StandIn:
    """An object of a class we do not know: its arguments and state, and no behaviour."""

    __slots__ = ("args", "cls", "items", "state")

    def __init__(self, cls: Global, args: tuple[Any, ...]) -> None:
        self.cls, self.args = cls, args
        self.items: dict[Any, Any] = {}  # of a subclass of dict
        self.state: Any = None


class Span:
    """A long byte string, left where it is in the stream."""

    __slots__ = ("length", "start")

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length


class _Mark:
    __slots__ = ()


_MARK: Final = _Mark()
Reduce = Callable[[str, tuple[Any, ...]], Any]
PersistentLoad = Callable[[Any], Any]


def load_pickle(
    stream: IO[bytes],
    where: str,
    *,
    reduce: Reduce,
    persistent: PersistentLoad | None = None,
    build: Callable[[Any, Any], None] | None = None,
) -> Any:
    """Read one pickle from ``stream`` without importing or calling anything that it names.

    Args:
        stream: at the first opcode; left behind the last one.
        where: what to call the stream in messages.
        reduce: gives the value of a call by name, or raises :class:`UnsafeCheckpointError`.
        persistent: gives the value of a persistent id (torch's storages).
        build: takes a state for a value that is no :class:`StandIn`.

    Raises:
        UnsafeCheckpointError: the stream wants a call that is not on the list.
        CheckpointError: not a pickle, truncated, or larger than any checkpoint needs.
    """
    machine = _Machine(stream, where, reduce, persistent, build)
    try:
        return machine.run()
    except CheckpointError:
        raise
    except (
        IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error,
    ) as error:  # fmt: skip
        # The machine's own containers meet whatever the stream holds; each of these means that
        # an opcode found something else on the stack than its definition demands.
        raise CheckpointError(
            f"{where}: expected a well-formed pickle, got {type(error).__name__} at byte "
            f"{stream.tell()}; the file is corrupt, so fetch it again"
        ) from None


class _Machine:
    def __init__(
        self,
        stream: IO[bytes],
        where: str,
        reduce: Reduce,
        persistent: PersistentLoad | None,
        build: Callable[[Any, Any], None] | None,
    ) -> None:
        self.stream, self.read, self.where = stream, stream.read, where
        self.reduce, self.persistent, self.build_other = reduce, persistent, build
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        read, table = self.read, _TABLE
        for _ in range(MAX_OPCODES):
            opcode = read(1)
            if opcode == b".":
                return self.stack.pop()
            handler = table.get(opcode)
            if handler is None:
                raise self._unknown(opcode)
            handler(self)
        raise CheckpointError(
            f"{self.where}: expected at most {MAX_OPCODES} pickle opcodes, got more; "
            "save the state dict alone"
        )

    def _unknown(self, opcode: bytes) -> CheckpointError:
        came = f"byte {opcode!r}" if opcode else "the end of the data"
        return CheckpointError(
            f"{self.where}: expected a pickle opcode, got {came} at {self.stream.tell()}; "
            "the file is truncated, corrupt or no pickle"
        )

    # Reading

    def take(self, length: int) -> bytes:
        """Exactly ``length`` bytes; a declared length beyond the data is an error."""
        if length > _MAX_TEXT:
            raise CheckpointError(
                f"{self.where}: expected at most {_MAX_TEXT} bytes in one value, got {length} "
                "declared; the file is corrupt or hostile"
            )
        data = self.read(length)
        if len(data) != length:
            raise self._unknown(b"")
        return data

    def number(self, length: int) -> int:
        # A short read makes a wrong number, and then the end of the data an error.
        return int.from_bytes(self.read(length), "little")

    def line(self) -> bytes:
        data = self.stream.readline(_MAX_TEXT)
        if not data.endswith(b"\n"):
            raise self._unknown(b"")
        return data[:-1]

    def push_bytes(self, length: int) -> None:
        if length < _LONG:
            self.stack.append(self.take(length))
            return
        start = self.stream.tell()
        end = self.stream.seek(0, 2)
        if start + length > end:
            raise CheckpointError(
                f"{self.where}: expected {length} bytes from {start} on, but the data end at "
                f"{end}; the file is truncated or corrupt"
            )
        self.stream.seek(start + length)
        self.stack.append(Span(start, length))

    def push_old_text(self, length: int) -> None:
        """A Python 2 ``str``: text when short, else (an array's bytes) left in the file."""
        self.push_bytes(length)
        if isinstance(self.stack[-1], bytes):
            self.stack[-1] = self.stack[-1].decode("latin-1")

    # Stack and memo

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    # Containers

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target = target.items
        if type(target) is not dict:
            raise TypeError
        keys = pairs[::2]
        for key in keys:
            _check_key(key)
        target.update(zip(keys, pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif not isinstance(target, StandIn):  # of a subclass of list: its values are not needed
            raise TypeError

    def add_to_set(self, values: list[Any]) -> None:
        for value in values:
            _check_key(value)
        self.stack[-1].update(values)

    def frozen_set(self) -> None:
        values = self.pop_mark()
        for value in values:
            _check_key(value)
        self.stack.append(frozenset(values))

    def dict_from_mark(self) -> None:
        pairs = self.pop_mark()
        self.stack.append({})
        self.set_items(pairs)

    # Objects

    def push_global(self, module: str, name: str) -> None:
        self.stack.append(Global(f"{module}.{name}"))

    def call(self) -> None:
        args = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, Global) or type(args) is not tuple:
            raise UnsafeCheckpointError(
                f"{self.where}: expected a call of a named function, got one of a computed value; "
                "it was not run, and the file should not be trusted"
            )
        self.stack.append(self.reduce(function.name, args))

    def make(self, cls: Any, args: Any) -> None:
        if not isinstance(cls, Global) or type(args) is not tuple:
            raise TypeError
        if cls.name == "collections.OrderedDict":  # type(x).__new__ is all the stream asks for
            self.stack.append({})
        else:
            self.stack.append(StandIn(cls, args))

    def make_from_stack(self) -> None:
        args = self.stack.pop()
        self.make(self.stack.pop(), args)

    def make_with_keywords(self) -> None:
        self.stack.pop()
        self.make_from_stack()

    def set_state(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.state = state
        elif self.build_other is not None:
            self.build_other(target, state)

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise CheckpointError(
                f"{self.where}: expected plain pickled data, got a reference to outside data; "
                "save it with torch.save or as .safetensors"
            )
        self.stack.append(self.persistent(self.stack.pop()))

    def old_instance(self) -> None:
        module, name = self.line().decode(), self.line().decode()
        self.pop_mark()
        self.refuse(f"{module}.{name}")

    def object_from_mark(self) -> None:
        items = self.pop_mark()
        self.refuse(str(items[0]) if items and isinstance(items[0], Global) else "a value")

    def refuse(self, name: str) -> None:
        raise UnsafeCheckpointError(
            f"{self.where}: expected tensors and plain values, got a call of {quoted(name)}; it "
            "was not run; save the state dict alone, or as .safetensors"
        )

    def extension(self) -> None:
        self.refuse("a registered extension")

    def outside_buffer(self) -> None:
        raise CheckpointError(
            f"{self.where}: expected a self-contained pickle, got one with out-of-band buffers; "
            "save it without buffer_callback"
        )


def _check_key(key: Any) -> None:
    """Only keys whose hash costs nothing: a nested tuple can be made to hash for years."""
    if type(key) is tuple:
        if len(key) <= _MAX_KEY_PARTS and all(type(part) is not tuple for part in key):
            for part in key:
                _check_key(part)
            return
    elif type(key) is int:
        if -_INT_LIMIT <= key < _INT_LIMIT:
            return
    elif key is None or isinstance(key, str | bytes | float | bool | Global | StandIn):
        return
    raise ValueError


# The opcodes that make up nine tenths of a state dict, each in one step.


def _short_put(machine: _Machine) -> None:
    machine.memo[machine.read(1)[0]] = machine.stack[-1]


def _long_put(machine: _Machine) -> None:
    machine.memo[int.from_bytes(machine.read(4), "little")] = machine.stack[-1]


def _short_get(machine: _Machine) -> None:
    machine.stack.append(machine.memo[machine.read(1)[0]])


def _long_get(machine: _Machine) -> None:
    machine.stack.append(machine.memo[int.from_bytes(machine.read(4), "little")])


def _short_int(machine: _Machine) -> None:
    machine.stack.append(machine.read(1)[0])


def _middle_int(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.read(2), "little"))


def _text(machine: _Machine) -> None:
    data = machine.take(int.from_bytes(machine.read(4), "little"))
    machine.stack.append(data.decode("utf-8", "surrogatepass"))


def _text_int(line: bytes) -> int | bool:
    if line in {b"00", b"01"}:
        return line == b"01"
    return int(line)


def _text_string(line: bytes) -> str:
    quote = line[:1]
    if quote not in {b"'", b'"'} or line[-1:] != quote or line == quote:
        raise ValueError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in old data is not the user's doing
        return codecs.unicode_escape_decode(line[1:-1])[0]


def _binary_float(machine: _Machine) -> float:
    value: float = struct.unpack(">d", machine.take(8))[0]
    return value


def _signed(machine: _Machine, length: int) -> int:
    return int.from_bytes(machine.take(length), "little", signed=True)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError
    machine.push_global(module, name)


def _one_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _tuple(machine: _Machine, length: int) -> None:
    if len(machine.stack) < length:
        raise IndexError
    items = tuple(machine.stack[-length:])
    del machine.stack[-length:]
    machine.stack.append(items)


def _push_mark(machine: _Machine, make: Callable[[list[Any]], Any]) -> None:
    items = machine.pop_mark()
    machine.stack.append(make(items))


def _append_mark(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.append(items)


def _set_items_mark(machine: _Machine) -> None:
    pairs = machine.pop_mark()
    machine.set_items(pairs)


def _add_mark(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.add_to_set(items)


_Handler = Callable[[_Machine], object]


def _push(value: Callable[[_Machine], Any]) -> _Handler:
    return lambda m: m.stack.append(value(m))


# One entry for each opcode of pickletools.opcodes (protocols 0 to 5); "." is in run().
_TABLE: Final[dict[bytes, _Handler]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),  # a frame's length: only a hint to read ahead
    b"(": _Machine.mark,
    b"0": _Machine.drop,
    b"1": _Machine.pop_mark,
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"I": _push(lambda m: _text_int(m.line())),
    b"J": _push(lambda m: _signed(m, 4)),
    b"K": _short_int,
    b"M": _middle_int,
    b"L": _push(lambda m: int(m.line().rstrip(b"L"))),
    b"\x8a": _push(lambda m: _signed(m, m.number(1))),
    b"\x8b": _push(lambda m: _signed(m, m.number(4))),
    b"F": _push(lambda m: float(m.line())),
    b"G": _push(_binary_float),
    b"S": _push(lambda m: _text_string(m.line())),
    b"T": lambda m: m.push_old_text(m.number(4)),
    b"U": lambda m: m.push_old_text(m.number(1)),
    b"V": _push(lambda m: codecs.raw_unicode_escape_decode(m.line())[0]),
    b"X": _text,
    b"\x8c": _push(lambda m: m.take(m.number(1)).decode("utf-8", "surrogatepass")),
    b"\x8d": _push(lambda m: m.take(m.number(8)).decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push_bytes(m.number(4)),
    b"C": lambda m: m.push_bytes(m.number(1)),
    b"\x8e": lambda m: m.push_bytes(m.number(8)),
    b"\x96": lambda m: m.push_bytes(m.number(8)),
    b")": lambda m: m.stack.append(()),
    b"t": lambda m: _push_mark(m, tuple),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"]": lambda m: m.stack.append([]),
    b"l": lambda m: _push_mark(m, list),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": _append_mark,
    b"}": lambda m: m.stack.append({}),
    b"d": _Machine.dict_from_mark,
    b"s": _one_item,
    b"u": _set_items_mark,
    b"\x8f": lambda m: m.stack.append(set()),
    b"\x90": _add_mark,
    b"\x91": _Machine.frozen_set,
    b"g": lambda m: m.stack.append(m.memo[int(m.line())]),
    b"h": _short_get,
    b"j": _long_get,
    b"p": lambda m: m.remember(int(m.line())),
    b"q": _short_put,
    b"r": _long_put,
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"c": lambda m: m.push_global(m.line().decode(), m.line().decode()),
    b"\x93": _stack_global,
    b"R": _Machine.call,
    b"\x81": _Machine.make_from_stack,
    b"\x92": _Machine.make_with_keywords,
    b"b": _Machine.set_state,
    b"Q": _Machine.persistent_id,
    b"P": lambda m: m.refuse("a persistent id in text form"),
    b"i": _Machine.old_instance,
    b"o": _Machine.object_from_mark,
    b"\x82": _Machine.extension,
    b"\x83": _Machine.extension,
    b"\x84": _Machine.extension,
    b"\x97": _Machine.outside_buffer,
    b"\x98": _Machine.outside_buffer,
}
