"""Pieces of two tensors give what the tensors give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.checkpoints import open_checkpoint
from frostline.checkpoints.streaming import PairReader
from tests.checkpoints.builders import as_numpy, state_dict

REAL = [name for name in state_dict() if name not in {"complex64", "empty"}]


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "legacy"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("w")
    for seed in (0, 1):
        torch.save(
            state_dict(seed), folder / f"{seed}.pth", _use_new_zipfile_serialization=request.param
        )
    return open_checkpoint(folder / "0.pth"), open_checkpoint(folder / "1.pth")


def joined(reader: Any, u: Any, v: Any) -> Any:
    rows = u.shape[0] if len(u.shape) > 1 else 1
    parts: list[list[list[Any]]] = [[[] for _ in range(rows)] for _ in range(2)]
    for top, left, right in reader.pieces(u, v):
        assert left.shape == right.shape
        for side, piece in enumerate((left, right)):
            for row, values in enumerate(piece):
                parts[side][top + row].append(values.copy())
        left[:], right[:] = np.nan, np.nan  # pieces may be overwritten
    return [np.array([np.concatenate(row) for row in side]) for side in parts]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("chunk", [20, 64, 1 << 15])
def test_pieces_make_the_tensor(files: Any, name: Any, chunk: Any) -> None:
    u, v = files[0][name], files[1][name]
    for got, tensor in zip(joined(PairReader(chunk=chunk), u, v), (u, v), strict=True):
        want = tensor.read().astype(np.float64).reshape(got.shape)
        np.testing.assert_array_equal(got, want)


def test_pieces_of_rows_longer_than_a_float32_sum_may_be(tmp_path: Path) -> None:
    """Several such rows would fit into one piece of a thread, whole or not at all."""
    tensor = torch.arange(4 * 40_000, dtype=torch.float32).reshape(4, -1).to(torch.bfloat16)
    torch.save({"w": tensor}, tmp_path / "w.pth")
    u = open_checkpoint(tmp_path / "w.pth")["w"]
    for got in joined(PairReader("float32", 1 << 18), u, u):
        np.testing.assert_array_equal(got, tensor.float().numpy())


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_float32_pieces(files: Any, name: Any) -> None:
    u, v = files[0][name], files[1][name]
    for got, seed in zip(joined(PairReader("float32", 4), u, v), (0, 1), strict=True):
        assert got.dtype == np.float32
        want = as_numpy(state_dict(seed)[name]).astype(np.float32).reshape(got.shape)
        np.testing.assert_array_equal(got, want)
