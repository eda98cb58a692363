"""Tensors whose values cannot be told, beside those that can; and bits that change values."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError
from tests.checkpoints.builders import Call, StorageId, dumps, tensor_call, torch_zip


class Wrapped(torch.Tensor):
    """A tensor made of another, as torchao's are."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner: torch.Tensor) -> None:
        self.wrapped = inner

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return NotImplemented


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.randn(3, 2), 0.1, 0, torch.qint8)


MADE: dict[str, Callable[[], Any]] = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "sparse_csr": lambda: torch.eye(4).to_sparse_csr(),
    "without values (meta)": lambda: torch.empty(2, 3, device="meta"),
    "quantized": quantized,
    "without values (lazy)": lambda: torch.nn.LazyLinear(3).weight,
    "Wrapped": lambda: Wrapped(torch.ones(2)),
}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of sparse and quantized tensors
@pytest.mark.parametrize("kind", MADE)
def test_the_others_are_read(tmp_path: Path, kind: str, new: Any) -> None:
    if kind == "Wrapped" and not new:
        pytest.skip("torch saves no such tensor in the old format")
    values, make = torch.randn(3, 2), MADE[kind]
    saved = {"model": {"a": values, "odd.one": make(), "b": values + 1}}
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    assert list(checkpoint) == ["a", "b"]
    assert np.array_equal(checkpoint["b"].read(), (values + 1).numpy())
    assert list(checkpoint.left_out) == ["odd.one"]
    assert kind.removesuffix("_csr") in checkpoint.left_out["odd.one"]


def test_a_file_of_nothing_else_says_why(tmp_path: Path) -> None:
    torch.save({"mask": torch.eye(3).to_sparse()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="'mask' is sparse"):
        open_checkpoint(tmp_path / "w.pth")


def test_tensors_of_other_devices(tmp_path: Path) -> None:
    """As torch.save writes those of XLA: an array of numpy, its type and its device."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    rebuild = torch._utils._rebuild_device_tensor_from_numpy
    call = Call(rebuild, array, torch.float32, "xla:0", False)
    path = torch_zip(tmp_path / "w.pth", dumps({"w": call}), {})
    assert np.array_equal(open_checkpoint(path)["w"].read(), array)


def test_an_object_that_keeps_tensors_out_of_sight(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2), "shard": Hidden()}}, tmp_path / "w.pth")
    left_out = open_checkpoint(tmp_path / "w.pth").left_out
    assert list(left_out) == ["shard"]
    assert "Hidden" in left_out["shard"]


class Hidden:
    """Keeps a tensor in a state that is no dict of attributes."""

    def __reduce__(self) -> Any:
        return object.__new__, (Hidden,), (torch.ones(3), 1)

    def __reduce_ex__(self, protocol: Any) -> Any:
        import copyreg

        return copyreg.__newobj__, (Hidden,), (torch.ones(3), 1)  # type: ignore[attr-defined]

    def __setstate__(self, state: Any) -> None:
        pass


def test_an_average_that_wraps_a_model(tmp_path: Path) -> None:
    """An object with attributes: their tensors are found below its name."""
    torch.save({"model": Average()}, tmp_path / "w.pth")
    assert list(open_checkpoint(tmp_path / "w.pth")) == ["ema.weight", "ema.bias"]


class Average:
    """As ModelEMA of several trainers."""

    def __init__(self) -> None:
        self.ema, self.updates = torch.nn.Linear(2, 3), 5


def test_types_that_safetensors_gained(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    data = safetensors.torch.save({"a": torch.ones(4, dtype=torch.uint8), "b": torch.ones(2)})
    path.write_bytes(data.replace(b'"U8"', b'"F4"'))
    checkpoint = open_checkpoint(path)
    assert list(checkpoint) == ["b"]
    assert checkpoint.left_out == {"a": "of type 'F4'"}


def test_numpy_types_without_a_name_of_torch(tmp_path: Path) -> None:
    arrays = {"a": np.ones(3), "long": np.ones(3, dtype=np.longdouble), "text": np.array(["x"])}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": arrays}))
    checkpoint = open_checkpoint(tmp_path / "w.pkl")
    assert list(checkpoint) == ["a"]
    assert checkpoint.left_out == {"long": "of numpy type 'f16'"}


# What changes values


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_negation_and_conjugation_are_read(tmp_path: Path, new: Any) -> None:
    numbers = torch.randn(3, 3, 4, dtype=torch.complex64).unbind()
    tensors = {
        "conjugate": numbers[0].clone().conj(),
        "negative": numbers[1].clone().conj().imag,
        "both": torch._neg_view(numbers[2].clone().conj()),
        "dense": torch._neg_view(torch.arange(6.0)),
    }
    assert tensors["negative"].is_neg()
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    for name, tensor in tensors.items():
        assert np.array_equal(checkpoint[name].read(), tensor.resolve_conj().resolve_neg().numpy())


def rebuilt(metadata: Any) -> Any:
    call = tensor_call(StorageId("0", 6), 0, (6,), (1,))
    return (
        Call(torch._utils._rebuild_tensor_v2, *call.args, metadata) if len(call.args) == 6 else call
    )


def test_unknown_metadata_leave_a_tensor_out(tmp_path: Path) -> None:
    storages = {"0": np.arange(6, dtype="<f4").tobytes()}
    saved = {"a": rebuilt({"neg": False}), "b": rebuilt({"scaled": True}), "c": rebuilt(None)}
    checkpoint = open_checkpoint(torch_zip(tmp_path / "w.pth", dumps(saved), storages))
    assert list(checkpoint) == ["a", "c"]
    assert np.array_equal(checkpoint["a"].read(), np.arange(6))
    assert "scaled" in checkpoint.left_out["b"]
