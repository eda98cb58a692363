"""Opening: formats by their bytes, folders, shards, detectron2 files, and what a checkpoint is."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError
from tests.checkpoints.builders import state_dict

WEIGHTS = {f"layer{i}.weight": np.full((2, 3), i, np.float32) for i in range(4)}


def sharded(
    folder: Any, names: Any = None, suffix: Any = ".safetensors", stem: Any = "model"
) -> Any:
    """Two shards and their index."""
    folder.mkdir(exist_ok=True)
    weight_map: dict[str, str] = {}
    for shard in range(2):
        part = dict(list(WEIGHTS.items())[shard::2])
        file = f"{stem}-0000{shard + 1}-of-00002{suffix}"
        if suffix == ".bin":
            torch.save({k: torch.from_numpy(v) for k, v in part.items()}, folder / file)
        else:
            safetensors.numpy.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names or weight_map}))
    return index


@pytest.mark.parametrize(("suffix", "stem"), [(".safetensors", "model"), (".bin", "pytorch_model")])
def test_shards_by_index_and_by_folder(tmp_path: Path, suffix: Any, stem: Any) -> None:
    index = sharded(tmp_path / "m", suffix=suffix, stem=stem)
    for path in (index, index.parent):
        checkpoint = open_checkpoint(path)
        assert set(checkpoint) == set(WEIGHTS)
        assert len(checkpoint.files) == 2
        for name, value in WEIGHTS.items():
            np.testing.assert_array_equal(checkpoint[name].read(), value)
        assert len(checkpoint.sha256()) == 64


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    safetensors.numpy.save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert set(open_checkpoint(tmp_path)) == set(WEIGHTS)
    (tmp_path / "model.safetensors").rename(tmp_path / "any.safetensors")
    assert set(open_checkpoint(tmp_path)) == set(WEIGHTS)


def test_a_folder_with_none_or_several(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got none"):
        open_checkpoint(tmp_path)
    for name in "ab":
        safetensors.numpy.save_file(WEIGHTS, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"got a\.safetensors, b\.safetensors"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/etc/passwd", "a/b.bin", "..", "", "c:x", "\0"]
)
def test_an_index_does_not_leave_its_folder(tmp_path: Path, file: Any) -> None:
    index = sharded(tmp_path / "m", names={"w": file})
    with pytest.raises(CheckpointError, match="beside the index"):
        open_checkpoint(index)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 9999]
)
def test_a_damaged_index(tmp_path: Path, text: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="index of a sharded model"):
        open_checkpoint(tmp_path)


def test_an_index_that_promises_too_much(tmp_path: Path) -> None:
    index = sharded(tmp_path / "m")
    content = json.loads(index.read_text())
    content["weight_map"]["gone"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="none named 'gone'"):
        open_checkpoint(index)


def test_a_missing_shard(tmp_path: Path) -> None:
    index = sharded(tmp_path / "m")
    (index.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        open_checkpoint(index)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    index = sharded(tmp_path / "m")
    safetensors.numpy.save_file(WEIGHTS, index.parent / "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="twice"):
        open_checkpoint(index)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_detectron2_pickles(tmp_path: Path, protocol: Any) -> None:
    arrays = {
        "stem.conv1.weight": np.random.default_rng(0).standard_normal((64, 3, 7, 7)),
        "stem.conv1.norm.bias": np.zeros(64, np.float32),
        "scalar": np.array(3),
        "big": np.arange(3, dtype=">f4"),
    }
    saved = {"model": arrays, "__author__": "somebody", "matching_heuristics": True}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(saved, protocol))
    checkpoint = open_checkpoint(tmp_path / "w.pkl")
    assert checkpoint.format == "pickle"
    assert set(checkpoint) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(checkpoint[name].read(), array)


def test_caffe2_pickle_of_python_2(tmp_path: Path) -> None:
    """R-50.pkl: arrays whose bytes are a Python 2 str, under 'blobs'."""
    data = np.arange(600, dtype=np.float32)
    text = (
        b"\x80\x02}U\x05blobs}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M\x58\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01"
        b"\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(data.tobytes()).to_bytes(4, "little") + data.tobytes() + b"tbss."
    )  # fmt: skip
    (tmp_path / "R-50.pkl").write_bytes(text)
    checkpoint = open_checkpoint(tmp_path / "R-50.pkl")
    assert checkpoint.section == "blobs"
    np.testing.assert_array_equal(checkpoint["conv1_w"].read(), data)


@pytest.mark.parametrize(
    "data", [b"", b"a", b"hello world, this is text", bytes(1000), b"\x1f\x8b\x08" * 10]
)
def test_something_else(tmp_path: Path, data: Any) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.pth: expected a weight file"):
        open_checkpoint(tmp_path / "x.pth")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        open_checkpoint(tmp_path / "gone.pth")


def test_a_checkpoint_is_an_immutable_mapping(tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "w.pth")
    checkpoint = open_checkpoint(str(tmp_path / "w.pth"))
    assert len(checkpoint) == len(state_dict())
    assert "float32" in checkpoint
    assert checkpoint.path.name == "w.pth"
    assert repr(checkpoint) == f"<Checkpoint w.pth: torch-zip, {len(checkpoint)} tensors>"
    assert checkpoint.sha256() == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    with pytest.raises(AttributeError, match="cannot be changed"):
        checkpoint.format = "other"
    with pytest.raises(KeyError):
        checkpoint["nope"]
    with pytest.raises(TypeError):
        checkpoint["float32"] = None  # type: ignore[index]
    tensor = checkpoint["float32"]
    with pytest.raises(AttributeError):
        tensor.name = "x"  # type: ignore[misc]
    assert (tensor.size, tensor.nbytes) == (60, 240)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0-57934424.pth", "mobilenet_v2_imagenet_original.pt",
        "mobilenet_v2_imagenet.safetensors", "mobilenet_v2_coco_ssd_dequant.safetensors",
    ],
)  # fmt: skip
def test_real_files_equal_what_their_framework_reads(real_weights: Path, name: Any) -> None:
    path = real_weights / name
    if name.endswith(".safetensors"):
        expected = safetensors.torch.load_file(path)
    else:
        expected = torch.load(path, weights_only=True)
    checkpoint = open_checkpoint(path)
    assert set(checkpoint) == set(expected)
    for tensor_name, tensor in expected.items():
        np.testing.assert_array_equal(checkpoint[tensor_name].read(), tensor.numpy())
