"""TorchScript archives and folders of torch.distributed.checkpoint, against torch itself."""

import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint.state_dict_loader as loading
import torch.distributed.checkpoint.state_dict_saver as saving
from torch.distributed.checkpoint import metadata as parts
from torch.distributed.checkpoint.filesystem import _StorageInfo

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError, UnsafeCheckpointError
from tests.checkpoints.builders import Call, small_net

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, about one process


def assert_same(checkpoint: Any, expected: dict[str, torch.Tensor]) -> None:
    assert set(checkpoint) == set(expected)
    for name, tensor in expected.items():
        assert np.array_equal(checkpoint[name].read(), tensor.detach().numpy()), name


def test_torchscript(tmp_path: Path) -> None:
    net = small_net()
    torch.jit.script(net).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]
    assert_same(open_checkpoint(tmp_path / "net.pt"), net.state_dict())


def test_traced_torchscript(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    traced = torch.jit.trace(net, torch.rand(1, 3, 8, 8))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "net.pt"))
    assert_same(open_checkpoint(tmp_path / "net.pt"), net.state_dict())


# Folders


def test_a_folder_of_one_process(tmp_path: Path) -> None:
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    saved = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    saving.save(saved, checkpoint_id=str(tmp_path / "step3"))
    for path in (tmp_path / "step3", tmp_path / "step3" / ".metadata"):
        checkpoint = open_checkpoint(path)
        assert_same(checkpoint, net.state_dict())
        assert (checkpoint.format, checkpoint.section) == ("distributed", "model")
    assert {file.name for file in checkpoint.files} == {".metadata", "__0_0.distcp"}
    with pytest.raises(CheckpointError, match="give the folder"):
        open_checkpoint(tmp_path / "step3" / "__0_0.distcp")


Box = tuple[tuple[int, ...], tuple[int, ...]]  # offsets, sizes


def write(folder: Path, tensor: torch.Tensor, boxes: list[Box], *, name: str = "w") -> Path:
    """What several processes would write of one tensor, a file for each box."""
    folder.mkdir()
    places = {}
    chunks = []
    for number, (offsets, sizes) in enumerate(boxes):
        box = tensor[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
        buffer = io.BytesIO()
        torch.save(box.clone(), buffer)
        file = f"__{number}_0.distcp"
        data = b"x" * number + buffer.getvalue()  # not at the beginning
        (folder / file).write_bytes(data)
        index = parts.MetadataIndex(name, torch.Size(offsets), number)
        places[index] = _StorageInfo(file, number, len(data) - number)
        chunks.append(parts.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
    properties = parts.TensorProperties(dtype=tensor.dtype)
    described = parts.TensorStorageMetadata(properties, tensor.shape, chunks)
    whole = parts.Metadata({name: described}, planner_data=None, storage_data=places)
    (folder / ".metadata").write_bytes(pickle.dumps(whole))
    return folder


ROWS: list[Box] = [((0, 0), (2, 6)), ((2, 0), (3, 6))]
COLUMNS: list[Box] = [((0, 0), (5, 2)), ((0, 2), (5, 4))]
TILES: list[Box] = [((0, 0), (2, 6)), ((2, 0), (3, 1)), ((2, 1), (3, 5))]


@pytest.mark.parametrize("boxes", [ROWS, COLUMNS, TILES], ids=["rows", "columns", "tiles"])
def test_pieces_are_put_together(tmp_path: Path, boxes: list[Box]) -> None:
    tensor = torch.randn(5, 6)
    folder = write(tmp_path / "dcp", tensor, boxes)
    target = {"w": torch.zeros(5, 6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loading.load(target, checkpoint_id=str(folder))
    assert torch.equal(target["w"], tensor)  # the folder is one that torch reads
    ref = open_checkpoint(folder)["w"]
    assert np.array_equal(ref.read(), tensor.numpy())
    target_bytes = bytearray(8)
    ref.read_raw(memoryview(target_bytes), 7)  # the eighth number and the one behind it
    assert np.frombuffer(target_bytes, "<f4").tolist() == tensor.flatten()[7:9].tolist()


Change = Callable[[Any, Path], None]


def without_a_file(_: Any, folder: Path) -> None:
    (folder / "__1_0.distcp").unlink()


def cut(_: Any, folder: Path) -> None:
    path = folder / "__1_0.distcp"
    path.write_bytes(path.read_bytes()[:-40])


def outside(whole: Any, folder: Path) -> None:
    first = next(iter(whole.storage_data.values()))
    first.relative_path = "../other.distcp"


def gap(whole: Any, _: Path) -> None:
    whole.state_dict_metadata["w"].chunks.pop()


def overlap(whole: Any, _: Path) -> None:
    chunks = whole.state_dict_metadata["w"].chunks
    chunks[1] = chunks[0]


def larger(whole: Any, _: Path) -> None:
    whole.state_dict_metadata["w"].size = torch.Size((50_000_000, 60_000))


def link(_: Any, folder: Path) -> None:
    (folder / "__1_0.distcp").rename(folder.parent / "elsewhere")
    (folder / "__1_0.distcp").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("change", [without_a_file, cut, outside, gap, overlap, larger, link])
def test_damaged_folders_are_refused(tmp_path: Path, change: Change) -> None:
    folder = write(tmp_path / "dcp", torch.randn(5, 6), ROWS)
    whole = pickle.loads((folder / ".metadata").read_bytes())
    change(whole, folder)
    (folder / ".metadata").write_bytes(pickle.dumps(whole))
    with pytest.raises(CheckpointError, match=r"dcp|__1_0"):
        open_checkpoint(folder)


def test_metadata_that_want_a_call_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "dcp", torch.randn(5, 6), ROWS)
    whole = pickle.loads((folder / ".metadata").read_bytes())
    whole.planner_data = Call(exec, f"open({str(tmp_path / 'trace')!r}, 'w')")
    (folder / ".metadata").write_bytes(pickle.dumps(whole))
    with pytest.raises(UnsafeCheckpointError, match="exec"):
        open_checkpoint(folder)
    assert not (tmp_path / "trace").exists()
