"""Safetensors files, against the safetensors package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError
from tests.checkpoints.builders import as_numpy, state_dict
from tests.checkpoints.builders import safetensors as write


def contiguous() -> Any:
    tensors = {name: t.detach().contiguous().clone() for name, t in state_dict().items()}
    tensors["e4m3"] = torch.randn(30).to(torch.float8_e4m3fn)
    tensors["e5m2"] = torch.randn(30).to(torch.float8_e5m2)
    tensors["uint32"] = torch.tensor([0, 1, 7], dtype=torch.uint32)
    return tensors


def test_every_type(tmp_path: Path) -> None:
    tensors = contiguous()
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path / "w.safetensors")
    assert checkpoint.format == "safetensors"
    assert set(checkpoint) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(checkpoint[name].read(), as_numpy(tensor))
        assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch.")


def test_any_header_length(tmp_path: Path) -> None:
    """A header of 128 bytes begins like a pickle (0x80)."""
    for padding in range(300):
        header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        text = json.dumps(header).encode().ljust(60 + padding)
        path = write(tmp_path / "w.safetensors", text, np.float32(7).tobytes())
        assert open_checkpoint(path)["w"].read() == 7


def entry(dtype: Any = "F32", shape: Any = (1,), begin: Any = 0, end: Any = 4) -> Any:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


HOSTILE = {
    "overlap": ({"a": entry(), "b": entry(begin=0)}, 4),
    "partial overlap": ({"a": entry(shape=(2,), end=8), "b": entry(begin=4, end=8)}, 8),
    "a gap": ({"a": entry(), "b": entry(begin=8, end=12)}, 12),
    "bytes left over": ({"a": entry()}, 8),
    "bytes missing": ({"a": entry()}, 2),
    "beyond the file": ({"a": entry(shape=(1 << 40,), end=1 << 42)}, 4),
    "backwards": ({"a": entry(begin=4, end=0)}, 4),
    "negative": ({"a": entry(begin=-4, end=0)}, 4),
    "shape too large": ({"a": entry(shape=(2,))}, 4),
    "shape too small": ({"a": entry(shape=(1,), end=8)}, 8),
    "shape that overflows": ({"a": entry(shape=(1 << 33, 1 << 33))}, 4),
    "negative shape": ({"a": entry(shape=(-1, -1))}, 4),
    "shape of text": ({"a": entry(shape=("1",))}, 4),
    "shape of truth": ({"a": entry(shape=(True,))}, 4),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, 4),
    "offsets of truth": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [False, 4]}}, 4),
    "three offsets": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, 4),
    "unknown type": ({"a": entry(dtype="F31")}, 4),
    "a type that is none": ({"a": entry(dtype=7)}, 4),
    "entry that is no object": ({"a": 3}, 0),
    "name given twice": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":1}', 4),
    "no object": (b"{]", 0),
    "nesting bomb": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0),
    "not utf-8": (b'{"\xff": 1}', 0),
    "numbers of 10,000 digits": (b'{"a": ' + b"9" * 10_000 + b"}", 0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, what: Any) -> None:
    header, size = HOSTILE[what]
    path = write(tmp_path / "w.safetensors", header, bytes(size))
    with pytest.raises(CheckpointError, match=r"w\.safetensors") as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()
    with pytest.raises(safetensors.SafetensorError), safetensors.safe_open(path, "np") as file:
        [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118  (it is no dict)


@pytest.mark.parametrize("length", [1 << 40, 25_000_001, 100])
def test_a_header_length_beyond_reason_is_refused(tmp_path: Path, length: Any) -> None:
    path = write(tmp_path / "w.safetensors", b'{"a": 1}', b"", length=length)
    with pytest.raises(CheckpointError):
        open_checkpoint(path)


def test_order_is_that_of_the_bytes(tmp_path: Path) -> None:
    header = {"late": entry(begin=4, end=8), "early": entry()}
    path = write(tmp_path / "w.safetensors", header, np.array([1, 2], np.float32).tobytes())
    checkpoint = open_checkpoint(path)
    assert list(checkpoint) == ["early", "late"]
    assert checkpoint["late"].read() == 2
