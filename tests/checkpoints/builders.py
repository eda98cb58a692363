"""Weight files made on the spot, honest and hostile."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch


def state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of every storage type and layout that torch saves and numpy can check."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(4, 3, 5, generator=g)
    return {
        "float32": base,
        "transposed": base.transpose(0, 2),
        "tail": base[1:],
        "column": base[:, 1],
        "expanded": torch.randn(1, 3, generator=g).expand(5, 3),
        "channels_last": torch.randn(2, 3, 4, 5, generator=g).to(memory_format=torch.channels_last),
        "one_by_one": torch.randn(6, 3, 1, 1, generator=g).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3, generator=g)),
        "float64": torch.randn(7, generator=g, dtype=torch.float64),
        "float16": torch.randn(7, generator=g).half(),
        "bfloat16": torch.randn(7, generator=g).bfloat16(),
        "int64": torch.tensor(3),
        "int32": torch.arange(5, dtype=torch.int32),
        "int8": torch.arange(-3, 3, dtype=torch.int8),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 3),
        "complex64": torch.randn(3, generator=g, dtype=torch.complex64),
    }


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """What a checkpoint should read for a tensor."""
    tensor = tensor.detach()
    widened = {torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2}
    return (tensor.float() if tensor.dtype in widened else tensor).contiguous().numpy()


def small_net() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Sequential(torch.nn.Linear(3, 4)),
    )


def torch_zip(path: Path, pickled: bytes, storages: dict[str, bytes], **extra: bytes) -> Path:
    """A torch zip archive with a given pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for key, data in extra.items():
            archive.writestr(f"archive/{key}", data)
    return path


def safetensors(path: Path, header: Any, data: bytes, *, length: int | None = None) -> Path:
    """A safetensors file with a given header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


class Call:
    """Pickles as a call of anything with any arguments."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


class _Names(pickle.Pickler):
    """Writes torch's storages as persistent ids, so that torch is not needed to load them."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, StorageId) else None


class StorageId:
    """A reference to a storage, with any claims."""

    def __init__(self, key: str, elements: Any, cls: Any = torch.FloatStorage) -> None:
        self.pid: Any = ("storage", cls, key, "cpu", elements)


def dumps(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    _Names(buffer, protocol).dump(value)
    return buffer.getvalue()


def tensor_call(storage: Any, start: Any, shape: Any, stride: Any) -> Call:
    """What torch writes for a tensor, with any claims."""
    return Call(torch._utils._rebuild_tensor_v2, storage, start, shape, stride, False, {})
