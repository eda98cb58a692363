"""Files of torch.save, against torch itself."""

import collections
import datetime
import io
import pathlib
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError, UnsafeCheckpointError
from tests.checkpoints.builders import (
    Call,
    StorageId,
    as_numpy,
    dumps,
    small_net,
    state_dict,
    tensor_call,
    torch_zip,
)


def assert_equal(checkpoint: Any, expected: Any) -> None:
    assert set(checkpoint) == set(expected)
    for name, tensor in expected.items():
        got, want = checkpoint[name].read(), as_numpy(tensor)
        assert got.shape == tuple(tensor.shape), name
        assert got.dtype == want.dtype, name
        assert got.tobytes() == want.tobytes(), name
        assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch."), name


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt"])
def test_every_type_and_layout(tmp_path: Path, new: Any, suffix: Any) -> None:
    path = tmp_path / f"weights.{suffix}"
    torch.save(state_dict(), path, _use_new_zipfile_serialization=new)
    checkpoint = open_checkpoint(path)
    assert_equal(checkpoint, state_dict())
    assert list(checkpoint) == list(state_dict())
    assert checkpoint.format == ("torch-zip" if new else "torch-legacy")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path: Path, new: Any, protocol: Any) -> None:
    path = tmp_path / "w.pth"
    torch.save(state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    assert_equal(open_checkpoint(path), state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_in_a_plain_pickle(tmp_path: Path, protocol: Any) -> None:
    """``pickle.dump`` writes each storage as a file of torch.save within the pickle."""
    tensors = state_dict() | {"large": torch.randn(40, 50)}
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"model": tensors, "epoch": 1}, protocol))
    assert_equal(open_checkpoint(path), tensors)


def test_a_file_within_a_file_within_a_pickle_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save(Call(pathlib.Path.touch, tmp_path / "trace"), inner, **OLD)
    for data in (inner.getvalue(), pickle.dumps(torch.ones(2)), b"\x80\x02K\x01.", b"none", b""):
        call = Call(torch.storage._load_from_bytes, data)
        (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": torch.ones(2), "b": call}))
        with pytest.raises(CheckpointError, match=r"w\.pkl"):
            open_checkpoint(tmp_path / "w.pkl")
    assert not (tmp_path / "trace").exists()


OLD: Any = {"_use_new_zipfile_serialization": False}


def test_newer_types(tmp_path: Path) -> None:
    tensors = {
        "e4m3": torch.randn(300).to(torch.float8_e4m3fn),
        "e5m2": torch.randn(300).to(torch.float8_e5m2),
        "uint16": torch.tensor([0, 1, 65535], dtype=torch.uint16),
    }
    torch.save(tensors, tmp_path / "w.pth")
    assert_equal(open_checkpoint(tmp_path / "w.pth"), tensors)


def test_all_float8_codes() -> None:
    from frostline.checkpoints.tensors import decode

    codes = np.arange(256, dtype=np.uint8)
    for name in ("float8_e4m3fn", "float8_e5m2"):
        want = torch.from_numpy(codes).view(getattr(torch, name)).float().numpy()
        np.testing.assert_array_equal(decode(codes, name), want)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state", "ema", "weights"])
def test_nested_state_dicts(tmp_path: Path, key: Any) -> None:
    saved = {
        key: state_dict(),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        "epoch": 3,
    }
    torch.save(saved, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    assert_equal(checkpoint, state_dict())
    assert checkpoint.section == key
    assert checkpoint.sections == (key, "optimizer")


def test_a_section_can_be_chosen(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(2)}, "ema": {"w": torch.ones(2)}}, tmp_path / "w.pth")
    assert open_checkpoint(tmp_path / "w.pth")["w"].read().sum() == 0
    assert open_checkpoint(tmp_path / "w.pth", section="ema")["w"].read().sum() == 2
    with pytest.raises(CheckpointError, match="part named 'nope', got 'model', 'ema'"):
        open_checkpoint(tmp_path / "w.pth", section="nope")


def test_several_unknown_parts_are_not_guessed(tmp_path: Path) -> None:
    torch.save({"left": {"w": torch.zeros(2)}, "right": {"w": torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="one part with tensors, got 'left', 'right'"):
        open_checkpoint(tmp_path / "w.pth")


def test_one_unknown_part_is_taken(tmp_path: Path) -> None:
    torch.save({"generator": {"w": torch.zeros(2)}, "epoch": 1}, tmp_path / "w.pth")
    assert open_checkpoint(tmp_path / "w.pth").section == "generator"


def test_nested_dictionaries_become_dotted_names(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": {"b": torch.zeros(2)}}}, tmp_path / "w.pth")
    assert list(open_checkpoint(tmp_path / "w.pth")) == ["a.b"]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_pickled_modules_without_their_classes(tmp_path: Path, new: Any) -> None:
    """As Ultralytics saves: the module object itself, and an empty ema."""
    net = small_net()
    net[1].register_buffer("scratch", torch.zeros(3), persistent=False)  # type: ignore[index]
    saved = {
        "model": net, "ema": None, "date": datetime.datetime(2026, 1, 2), "epoch": -1,
        "train_args": {"path": pathlib.PurePosixPath("/x"), "classes": {1, 2}},
    }  # fmt: skip
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    assert_equal(open_checkpoint(tmp_path / "w.pt"), net.state_dict())


def with_call(module: str, name: str, modern: bool) -> bytes:
    """Weights, then a call of ``module.name("/", "x")``, in the opcodes of protocol 2 or 4."""
    weights = dumps({"w": tensor_call(StorageId("0", 2), 0, (2,), (1,))}).removesuffix(b".")
    named = f"c{module}\n{name}\n".encode()
    if modern:
        parts = (b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
        named = b"".join(parts) + b"\x93"
    args = b"X\x01\x00\x00\x00/X\x01\x00\x00\x00x\x86"
    return weights + b"X\x04\x00\x00\x00path" + named + args + b"Rs."


@pytest.mark.parametrize("modern", [False, True], ids=["protocol 2", "protocol 4"])
@pytest.mark.parametrize("name", ["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"])
@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])  # the second: Python 3.13
def test_paths_of_every_python_and_system(
    tmp_path: Path, module: Any, name: Any, modern: Any
) -> None:
    storage = np.array([1.5, -2], np.float32).tobytes()
    path = torch_zip(tmp_path / "w.pt", with_call(module, name, modern), {"0": storage})
    assert_equal(open_checkpoint(path), {"w": torch.tensor([1.5, -2])})


@pytest.mark.parametrize("name", ["Path.touch", "Path.unlink", "os.system"])
@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_methods_and_imports_of_paths_are_refused(tmp_path: Path, module: Any, name: Any) -> None:
    path = torch_zip(tmp_path / "w.pt", with_call(module, name, modern=True), {"0": bytes(8)})
    with pytest.raises(UnsafeCheckpointError, match=rf"a call of '?{module}\.{name}"):
        open_checkpoint(path)


def test_a_module_alone(tmp_path: Path) -> None:
    net = small_net()
    torch.save(net, tmp_path / "w.pt")
    assert_equal(open_checkpoint(tmp_path / "w.pt"), net.state_dict())


def test_a_bound_method_on_a_module_is_inert(tmp_path: Path) -> None:
    """Fused Ultralytics models store forward = self.forward_fuse, which pickles as a getattr."""
    net = small_net()
    net.forward = net.train
    torch.save({"model": net}, tmp_path / "w.pt")
    assert_equal(open_checkpoint(tmp_path / "w.pt"), net.state_dict())


def test_mmengine_and_lightning_extras(tmp_path: Path) -> None:
    """Message hubs with numpy histories and scalars; hyper-parameters; callbacks."""
    saved = {
        "meta": {"epoch": 1, "classes": ("wheat",), "seed": np.int64(3), "palette": np.arange(3)},
        "message_hub": {"log_scalars": collections.OrderedDict(loss=np.float32(2.0))},
        "hyper_parameters": collections.defaultdict(list, lr=[0.1]),
        "state_dict": collections.OrderedDict(state_dict()),
        "pytorch-lightning_version": "2.6",
        "device": torch.device("cpu"), "dtype": torch.float32, "size": torch.Size([1, 2]),
    }  # fmt: skip
    torch.save(saved, tmp_path / "w.ckpt")
    checkpoint = open_checkpoint(tmp_path / "w.ckpt")
    assert checkpoint.section == "state_dict"
    assert_equal(checkpoint, state_dict())


def test_what_torch_itself_takes_for_data_is_no_call(tmp_path: Path) -> None:
    """A training checkpoint as torchvision's references and mmengine write it."""
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[16, 22])
    assert type(schedule.state_dict()["milestones"]).__name__ == "Counter"
    saved = {"model": state_dict(), "lr_scheduler": schedule.state_dict(), "epoch": 3}
    torch.save(saved | {"more": [bytearray(b"ab"), 1 + 2j]}, tmp_path / "w.pth")
    torch.load(tmp_path / "w.pth", weights_only=True)
    assert_equal(open_checkpoint(tmp_path / "w.pth"), state_dict())


def test_mmengine_message_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history buffers hold a table of their own methods, pickled as calls of getattr."""
    name = "mmengine.logging.history_buffer"
    module = types.ModuleType(name)
    source = "class HistoryBuffer:\n    def min(self): pass\n    def max(self): pass\n"
    exec(source, module.__dict__)  # a class that pickles under mmengine's name
    module.HistoryBuffer.__module__ = name
    for part in ("mmengine", "mmengine.logging", name):
        monkeypatch.setitem(sys.modules, part, module)
    buffer = module.HistoryBuffer()
    buffer._statistics_methods = {"min": type(buffer).min, "max": type(buffer).max}
    buffer._log_history = np.arange(3.0)
    saved = {"state_dict": state_dict(), "message_hub": {"loss": buffer}}
    torch.save(saved, tmp_path / "w.pth")
    monkeypatch.undo()
    assert_equal(open_checkpoint(tmp_path / "w.pth"), state_dict())


def test_state_dict_with_metadata_of_a_real_model(tmp_path: Path) -> None:
    net = small_net()
    torch.save(net.state_dict(), tmp_path / "w.pth")  # an OrderedDict with _metadata
    assert_equal(open_checkpoint(tmp_path / "w.pth"), net.state_dict())


def test_big_endian_archives(tmp_path: Path) -> None:
    values = np.arange(6, dtype=">f4")
    pickled = dumps({"w": tensor_call(StorageId("0", 6), 0, (2, 3), (3, 1))})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": values.tobytes()}, byteorder=b"big")
    np.testing.assert_array_equal(open_checkpoint(path)["w"].read(), values.reshape(2, 3))


def test_a_recompressed_archive_is_read(tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as old,
        zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_equal(open_checkpoint(tmp_path / "z.pth"), state_dict())


def test_pickled_arrays_in_a_torch_file(tmp_path: Path) -> None:
    arrays = {
        "w": np.arange(600.0).reshape(20, 30),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    for protocol in (2, 4):
        torch.save({"model": arrays}, tmp_path / "w.pth", pickle_protocol=protocol)
        checkpoint = open_checkpoint(tmp_path / "w.pth")
        for name, array in arrays.items():
            np.testing.assert_array_equal(checkpoint[name].read(), array)


# Claims that the file does not keep


BAD_TENSORS = {
    "shape beyond the storage": (0, (1000,), (1,)),
    "start beyond the storage": (6, (1,), (1,)),
    "negative start": (-1, (1,), (1,)),
    "negative size": (0, (-1,), (1,)),
    "negative stride": (0, (2,), (-1,)),
    "fewer strides than sizes": (0, (2, 3), (1,)),
    "too many dimensions": (0, (1,) * 65, (1,) * 65),
    "stride of zero as a memory bomb": (0, (1 << 40,), (0,)),
    "a size that is no number": (0, ("2",), (1,)),
    "a size that is a truth value": (0, (True,), (1,)),
    "an absurd size": (0, (1 << 60, 1 << 60), (1, 1)),
    "a start that is no number": ("0", (1,), (1,)),
}


@pytest.mark.parametrize("claim", BAD_TENSORS)
def test_tensors_outside_their_storage_are_refused(tmp_path: Path, claim: Any) -> None:
    pickled = dumps({"some.weight": tensor_call(StorageId("0", 6), *BAD_TENSORS[claim])})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": bytes(24)})
    with pytest.raises(CheckpointError, match=r"w\.pth: tensor 'some.weight'"):
        open_checkpoint(path)


def test_a_storage_larger_than_its_entry_is_refused(tmp_path: Path) -> None:
    pickled = dumps({"w": tensor_call(StorageId("0", 1 << 40), 0, (2,), (1,))})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": bytes(24)})
    with pytest.raises(CheckpointError, match="bytes in entry 'data/0'"):
        open_checkpoint(path)


def test_a_missing_storage_is_refused(tmp_path: Path) -> None:
    pickled = dumps({"w": tensor_call(StorageId("7", 6), 0, (2,), (1,))})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": bytes(24)})
    with pytest.raises(CheckpointError, match="no such entry"):
        open_checkpoint(path)


def test_a_file_of_quantized_tensors_alone_says_so(tmp_path: Path) -> None:
    pickled = dumps({"w": tensor_call(StorageId("0", 6, torch.QInt8Storage), 0, (2,), (1,))})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": bytes(24)})
    with pytest.raises(CheckpointError, match="'w' is of type 'qint8'"):
        open_checkpoint(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_truncation_anywhere_is_an_error_of_ours(tmp_path: Path, new: Any) -> None:
    torch.save(state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    data = (tmp_path / "w.pth").read_bytes()
    for length in range(0, len(data) - 1, 97):
        (tmp_path / "cut.pth").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pth"):
            open_checkpoint(tmp_path / "cut.pth")


def test_a_file_cut_after_opening_is_an_error_of_ours(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    with (tmp_path / "w.pth").open("r+b") as file:
        file.truncate(500)
    with pytest.raises(CheckpointError, match="ends"):
        checkpoint["w"].read()


def test_replacing_a_file_does_not_mix_two(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    torch.save({"w": torch.ones(1000)}, tmp_path / "new.pth")
    (tmp_path / "new.pth").replace(tmp_path / "w.pth")
    assert checkpoint["w"].read().sum() == 0


def test_a_file_without_tensors_says_what_to_do(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="state_dict"):
        open_checkpoint(tmp_path / "w.pth")


def test_a_module_that_contains_itself_ends(tmp_path: Path) -> None:
    net = small_net()
    net.loop = net
    torch.save({"model": net}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="nesting"):
        open_checkpoint(tmp_path / "w.pth")


# Calls


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "function", [eval, exec, print, open, __import__, pathlib.Path.touch, pickle.loads, torch.load]
)
def test_calls_are_refused_by_name_even_if_unused(tmp_path: Path, new: Any, function: Any) -> None:
    saved = {"unused": Call(function, "1"), "model": state_dict()}
    torch.save(saved, tmp_path / "evil.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pth: .*a call of '.+'; it was not run"):
        open_checkpoint(tmp_path / "evil.pth")


def test_a_payload_leaves_no_trace(tmp_path: Path) -> None:
    torch.save({"w": Call(pathlib.Path.touch, tmp_path / "trace")}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeCheckpointError):
        open_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("pickled", "named"),
    [
        (b"cos\nsystem\n(X\x04\x00\x00\x00truetR.", "os.system"),
        (b"(ios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nX\x04\x00\x00\x00trueo.", "os.system"),
        (b"\x82\x01.", "registered extension"),
        (b"Psome id\n.", "persistent id"),
        (b"cbuiltins\ngetattr\n(cos\nX\x06\x00\x00\x00systemtR.", "getattr of os.os"),
        (b"cbuiltins\nset\n(]tR)R.", "computed value"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN)NtR.", "os.system"),
    ],
)
def test_every_opcode_that_calls_is_refused(tmp_path: Path, pickled: Any, named: Any) -> None:
    path = torch_zip(tmp_path / "evil.pth", b"\x80\x02" + pickled, {})
    if named == "getattr of os.os":
        pickled = pickled.replace(b"cos\nX", b"cos\nos\nX")
        path = torch_zip(tmp_path / "evil.pth", b"\x80\x02" + pickled, {})
    with pytest.raises(UnsafeCheckpointError, match=named):
        open_checkpoint(path)


def test_unknown_classes_become_inert(tmp_path: Path) -> None:
    """NEWOBJ and BUILD of any class: nothing is imported, nothing runs."""
    pickled = b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\n)\x81}X\x01\x00\x00\x00bK\x01sbs."
    path = torch_zip(tmp_path / "w.pth", pickled, {})
    with pytest.raises(CheckpointError, match="without any"):
        open_checkpoint(path)


def test_messages_carry_no_terminal_escapes(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "w.pth", b"\x80\x02c\x1b[2J\x1b[31mevil\nx\n)R.", {})
    with pytest.raises(UnsafeCheckpointError) as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()


# The format before torch 1.6, by hand

MAGIC = 0x1950A86A20F9469CFC6C


def legacy(path: Path, value: Any, keys: Any, data: bytes, system: Any = None) -> Path:
    parts = [MAGIC, 1001, system or {"little_endian": True}, value, keys]
    path.write_bytes(b"".join(dumps(part) for part in parts) + data)
    return path


def with_view(*view: Any) -> StorageId:
    """A storage that is said to be a view of another: (key, offset, size)."""
    storage = StorageId("0", 6)
    storage.pid += view
    return storage


def six(order: str = "<") -> bytes:
    numbers = np.arange(6, dtype=f"{order}f4").tobytes()
    return (6).to_bytes(8, "little" if order == "<" else "big") + numbers


def test_views_of_storages(tmp_path: Path) -> None:
    """torch 0.4: a storage within a storage."""
    whole = tensor_call(with_view(None), 0, (6,), (1,))
    part = tensor_call(with_view(("1", 2, 4)), 1, (3,), (1,))
    path = legacy(tmp_path / "w.pth", {"whole": whole, "part": part}, ["0"], six())
    checkpoint = open_checkpoint(path)
    np.testing.assert_array_equal(checkpoint["whole"].read(), np.arange(6))
    np.testing.assert_array_equal(checkpoint["part"].read(), [3, 4, 5])


def test_big_endian_legacy_files(tmp_path: Path) -> None:
    value = {"w": tensor_call(StorageId("0", 6), 0, (6,), (1,))}
    system = {"little_endian": False}
    path = legacy(tmp_path / "w.pth", value, ["0"], six(">"), system)
    np.testing.assert_array_equal(open_checkpoint(path)["w"].read(), np.arange(6))


@pytest.mark.parametrize(
    ("storage", "keys", "data"),
    [
        (with_view(("1", -2, 4)), ["0"], six()),
        (with_view("view"), ["0"], six()),
        (with_view(("1", 2, 9)), ["0", "0"], six() * 2),
        (StorageId("0", 6), ["1"], six()),
        (StorageId("0", 6), {"0": 1}, six()),
        (StorageId("0", 6), [0], six()),
        (StorageId("0", 6), ["0"], (1 << 60).to_bytes(8, "little")),
        (StorageId("0", 6), ["0"], six()[:-1]),
        (StorageId("0", 6), [], b""),
        (StorageId("0", -6), ["0"], six()),
        (StorageId("0", "6"), ["0"], six()),
        (StorageId("0", 6, int), ["0"], six()),
    ],
)
def test_damaged_legacy_files(tmp_path: Path, storage: Any, keys: Any, data: bytes) -> None:
    value = {"w": tensor_call(storage, 1, (3,), (1,))}
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        open_checkpoint(legacy(tmp_path / "w.pth", value, keys, data))


def test_a_storage_of_two_types(tmp_path: Path) -> None:
    double = StorageId("0", 3, torch.DoubleStorage)
    value = {
        "a": tensor_call(StorageId("0", 6), 0, (2,), (1,)),
        "b": tensor_call(double, 0, (2,), (1,)),
    }
    with pytest.raises(CheckpointError, match="two types"):
        open_checkpoint(legacy(tmp_path / "w.pth", value, ["0"], six()))
    path = torch_zip(tmp_path / "z.pth", dumps(value), {"0": six()[8:]})
    assert open_checkpoint(path)["b"].dtype == "float64"  # torch's zip format allows it


def test_a_byte_order_that_is_none(tmp_path: Path) -> None:
    pickled = dumps({"w": tensor_call(StorageId("0", 6), 0, (2,), (1,))})
    path = torch_zip(tmp_path / "w.pth", pickled, {"0": six()}, byteorder=b"middle")
    with pytest.raises(CheckpointError, match="little or big"):
        open_checkpoint(path)


def test_storage_references_that_are_none(tmp_path: Path) -> None:
    for pid in (("storage",), ("other", 1, "0", "cpu", 6), 7):
        storage = StorageId("0", 6)
        storage.pid = pid
        pickled = dumps({"w": tensor_call(storage, 0, (2,), (1,))})
        with pytest.raises(CheckpointError, match="storage reference"):
            open_checkpoint(torch_zip(tmp_path / "w.pth", pickled, {"0": six()}))


def test_a_tensor_without_a_storage(tmp_path: Path) -> None:
    pickled = dumps({"w": tensor_call("no storage", 0, (2,), (1,))})
    with pytest.raises(CheckpointError, match=r"arguments .*_rebuild_tensor_v2 takes"):
        open_checkpoint(torch_zip(tmp_path / "w.pth", pickled, {}))
