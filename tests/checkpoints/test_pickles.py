"""The pickle machine: what it builds, and that nothing makes it run, hang or swell."""

import collections
import io
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.checkpoints import open_checkpoint
from frostline.checkpoints.blobs import MemoryBlob
from frostline.checkpoints.known_calls import KnownCalls
from frostline.checkpoints.leaves import Storage
from frostline.checkpoints.pickles import Global, StandIn, load_pickle
from frostline.errors import CheckpointError, UnsafeCheckpointError


def load(data: Any, **options: Any) -> Any:
    stream = io.BytesIO(data)

    def place(span: Any) -> Any:
        return MemoryBlob(data[span.start : span.start + span.length])

    calls = KnownCalls("w.pkl", place)
    return load_pickle(stream, "w.pkl", reduce=calls.reduce, build=calls.build, **options)


VALUES = [
    None, True, False, 0, -1, 255, 65535, -(2**31), 2**31, 2**80, -(2**80), 1.5, float("inf"),
    "text", "grüße \ud800", "\n\\", b"bytes", b"", bytearray(b"ab"), (), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), [], [1, [2]], {}, {"a": 1, 2: "b", None: 3, (1, "x"): 4}, frozenset({1, 2}),
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_equal_those_of_pickle(value: Any, protocol: Any) -> None:
    if isinstance(value, bytes | bytearray) and (protocol < 3 or len(value) == 0):
        pytest.skip("a call in old protocols; see the arrays")
    if isinstance(value, bytearray) and protocol < 5:
        pytest.skip("a call in old protocols")
    if isinstance(value, frozenset) and protocol < 4:
        assert set(load(pickle.dumps(value, protocol))) == value
        return
    got = load(pickle.dumps(value, protocol))
    assert got == value


def test_shared_and_cyclic_structures() -> None:
    shared = [1]
    value = {"a": shared, "b": shared}
    got = load(pickle.dumps(value, 2))
    assert got["a"] is got["b"]
    loop: list[Any] = []
    loop.append(loop)
    got = load(pickle.dumps(loop, 2))
    assert got[0] is got


def test_ordered_and_default_dictionaries_become_plain() -> None:
    assert load(pickle.dumps(collections.OrderedDict(a=1), 2)) == {"a": 1}
    assert load(pickle.dumps(collections.defaultdict(list, a=[1]), 2)) == {"a": [1]}
    assert load(pickle.dumps(collections.deque([1, 2]), 2)) == [1, 2]


def test_python_2_strings() -> None:
    assert load(b"U\x03abc.") == "abc"
    assert load(b"T\x03\x00\x00\x00abc.") == "abc"
    assert load(b"S'a\\n\\xe9'\n.") == "a\n\xe9"
    assert load(b"S'\\q'\n.") == "\\q"


def test_text_numbers() -> None:
    assert load(b"I01\n.") is True
    assert load(b"I-7\n.") == -7
    assert load(b"L7L\n.") == 7
    assert load(b"F1.5\n.") == 1.5


BROKEN = {
    "empty": b"",
    "no end": b"]",
    "unknown opcode": b"\xff.",
    "nothing on the stack": b".",
    "no mark": b"t.",
    "no list": b"}K\x01a.",
    "no dictionary": b"]K\x01K\x02s.",
    "odd pairs": b"(K\x01d.",
    "no memo": b"h\x05.",
    "pair of one": b"\x86.",
    "bad utf-8": b"X\x01\x00\x00\x00\xff.",
    "short text": b"X\xff\x00\x00\x00a.",
    "short bytes": b"B\xff\xff\x00\x00a.",
    "bytes beyond the end": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "absurd text": b"\x8d" + b"\xff" * 8 + b".",
    "short number": b"J\x01.",
    "no digits": b"Ix\n.",
    "line without end": b"I1",
    "list as a key": b"}]K\x01s.",
    "nested tuple as a key": b"}))\x86\x85K\x01s.",
    "huge number as a key": b"}\x8a\x09" + b"\x01" * 9 + b"K\x01s.",
    "quote missing": b"S'a\n.",
    "too many digits": b"I" + b"9" * 5000 + b"\n.",
    "build nothing": b"b.",
    "stack global of numbers": b"K\x01K\x02\x93.",
    "class that is none": b"K\x01)\x81.",
    "set of lists": b"\x8f(]\x90.",
    "arguments that are none": b"ccollections\nOrderedDict\nK\x01\x85R.",
    "out-of-band": b"\x97.",
    "a persistent id": b"K\x01Q.",
    "an array's wrong state": pickle.dumps(np.arange(3), 2)[:-2] + b"0K\x01b.",
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_pickles_are_an_error_of_ours(what: Any) -> None:
    with pytest.raises(CheckpointError, match=r"w\.pkl") as caught:
        load(BROKEN[what])
    assert str(caught.value).isprintable()
    assert "\n" not in str(caught.value)


def test_bytes_of_an_array_stay_in_the_file() -> None:
    array = np.arange(1000.0)
    for protocol in (2, 3, 4, 5):
        made = load(pickle.dumps(array, protocol))
        assert made.shape == (1000,)
        assert made.blob.nbytes == 8000
        data = bytearray(8000)
        made.blob.read_into(memoryview(data), 0)
        assert bytes(data) == array.tobytes()


# Bombs: small streams that ask for more than they are


def bounded(data: Any, seconds: Any = 20.0) -> None:
    start = time.monotonic()
    with pytest.raises((CheckpointError, UnsafeCheckpointError)):
        load(data)
    assert time.monotonic() - start < seconds


NUMBERS = b"".join(b"J" + n.to_bytes(4, "little") for n in range(100_000))
LONG = {
    "list": b"](" + b"K\x01" * 100_000 + b"e",
    "set": b"\x8f(" + NUMBERS + b"\x90",
    "frozenset": b"(" + NUMBERS + b"\x91",
}


@pytest.mark.parametrize("kind", LONG)
def test_a_million_calls_that_copy_one_long_list(kind: str) -> None:
    bounded(LONG[kind] + b"q\x00(" + b"cbuiltins\nlist\nh\x00\x85R" * 1_000 + b"l.")


def test_a_size_of_bytes_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"arguments torch\.Size takes"):
        load(b"ctorch\nSize\nC\x02ab\x85R.")


def test_a_million_calls_that_scan_one_long_text() -> None:
    text = (
        b"X"
        + (1 << 22).to_bytes(4, "little")
        + b"a" * (1 << 22)
        + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    )
    bounded(text + b"(" + b"c_codecs\nencode\nh\x00h\x01\x86R" * 1_000 + b"l.")


def test_too_many_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.checkpoints.pickles.MAX_OPCODES", 1000)
    bounded(b"N0" * 1000 + b"N.")


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    depth = 50_000
    assert load(b"]" * depth + b"a" * (depth - 1) + b".")
    assert load(b")" + b"\x85" * depth + b".")
    assert load(b"(" * depth + b"t" * depth + b".") is not None


def test_a_key_that_hashes_for_years() -> None:
    bounded(b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.")


def test_a_memo_index_takes_no_memory() -> None:
    assert load(b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 7


def test_shared_modules_do_not_multiply_without_bound(tmp_path: Path) -> None:
    """Each level holds the one below twice: 2^60 tensors in a few hundred bytes."""
    module = b"}X\x01\x00\x00\x00a" + pickle.dumps(np.zeros(2), 2)[2:-1] + b"s"
    for _ in range(60):
        module += b"q\x000}X\x01\x00\x00\x00ah\x00sX\x01\x00\x00\x00bh\x00s"
    whole = b"\x80\x02}X\x05\x00\x00\x00model" + module + b"s."
    (tmp_path / "w.pkl").write_bytes(whole)
    with pytest.raises(CheckpointError, match="hostile"):
        open_checkpoint(tmp_path / "w.pkl")


def test_a_long_name_is_not_multiplied(tmp_path: Path) -> None:
    value = {"model": {"a" * 100_000: {str(i): np.zeros(1) for i in range(3)}}}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(value, 2))
    with pytest.raises(CheckpointError, match="characters"):
        open_checkpoint(tmp_path / "w.pkl")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("_codecs.encode", (b"ab", "latin1")),
        ("_codecs.encode", ("ab", "rot13")),
        ("_codecs.encode", ("\u0100", "latin1")),
        ("collections.OrderedDict", ([1],)),
        ("collections.OrderedDict", ([((), 1)],)),
        ("collections.deque", (5,)),
        ("numpy.dtype", (5,)),
        ("numpy.core.numeric._frombuffer", (b"", 5, (0,), "C")),
        ("torch._utils._rebuild_tensor_v2", (1, 2)),
        ("torch._utils._rebuild_tensor_v2", (1, 2, 3, 4)),
        ("torch._tensor._rebuild_from_type_v2", (1, 2, 3, 4)),
        ("torch._tensor._rebuild_from_type_v2", (Global("os.system"), 2, (), 4)),
        ("torch._utils._rebuild_tensor_v3", (1, 2, 3, 4, 5, 6, 7)),
        ("builtins.getattr", (Global("os"), "system")),
        ("builtins.getattr", (StandIn(Global("a.B"), ()), 5)),
        ("os.system", ("true",)),
    ],
)
def test_calls_with_other_arguments_are_errors_of_ours(name: str, args: Any) -> None:
    with pytest.raises(CheckpointError, match=r"w\.pkl") as caught:
        KnownCalls("w.pkl", MemoryBlob).reduce(name, args)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()


def test_calls_that_are_known() -> None:
    reduce = KnownCalls("w.pkl", MemoryBlob).reduce  # type: ignore[arg-type]
    made = reduce("copyreg._reconstructor", (Global("a.B"), Global("builtins.object"), None))
    assert (type(made), made.cls.name) == (StandIn, "a.B")
    assert reduce("collections.OrderedDict", ({"a": 1},)) == {"a": 1}
    assert reduce("torch.Size", ([1, 2],)) == (1, 2)
    assert reduce("numpy.dtype", (b"<f4", False, True)).code == "f4"
    assert reduce("numpy.dtype", (">f4",)).order == ">"
    storage = Storage(None, MemoryBlob(b"1234"))
    tensor = (storage, 0, (1,), (1,))
    args: Any = (*tensor, False, {}, Global("torch.uint16"))
    assert reduce("torch._utils._rebuild_tensor_v3", args).dtype == "uint16"
    inner: Any = (
        Global("torch._utils._rebuild_tensor_v2"),
        Global("x.Sub"),
        (storage, 0, (1,), (1,)),
        {},
    )
    assert reduce("torch._tensor._rebuild_from_type_v2", inner).storage is storage
    assert reduce("torch._utils._rebuild_parameter", ("data", True, {})) == "data"
