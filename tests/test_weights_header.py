"""What a file of weights says of itself, and what is none."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from frostline.config import ModelConfig, Normalisation
from frostline.errors import CheckpointError
from frostline.weights_header import WeightsHeader, read_weights_header, write_weights_header

HEADER = WeightsHeader(
    task="detection",
    model=ModelConfig(backbone="resnet18", preset="slim", image_size=416, norm_eps=1e-5),
    classes=("Ähre", 'a "b"'),
    pixels=Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    canvas=(320, 416),
    batch_size=4,
    threshold=0.4125,
    grey_levels=4096,
    turned=True,
)


def write(path: Path) -> Path:
    rng = np.random.default_rng(0)
    tensors = {f"t{n}": rng.random((n + 1, 3), np.float32) for n in range(5)}
    save_file(tensors, path, {"format": "pt", "own": "kept"})
    return path


def parts(path: Path) -> tuple[dict[str, object], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def test_it_is_read_back_and_no_tensor_moves(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors")
    before, data = parts(path)
    tensors = load_file(path)
    for header in (HEADER, HEADER.model_copy(update={"threshold": None})):
        write_weights_header(path, header)
        assert read_weights_header(path) == header
    after, same = parts(path)
    assert same == data
    assert after.pop("__metadata__").keys() == {"format", "own", "frostline"}  # type: ignore[attr-defined]
    before.pop("__metadata__")
    assert after == before
    for name, tensor in load_file(path).items():
        np.testing.assert_array_equal(tensor, tensors[name])
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_boxes_are_shown_from_a_half_where_nothing_was_chosen() -> None:
    assert HEADER.shown_from == 0.4125
    assert HEADER.model_copy(update={"threshold": None}).shown_from == 0.5
    assert HEADER.model_copy(update={"threshold": 0.0}).shown_from == 0.0


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("harmed"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no safetensors file: expected the weights of a trial"),
        (pickle.dumps(_Harm()), "is no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no safetensors file"),
        ((2**40).to_bytes(8, "little") + b"{}", "is no safetensors file"),
        ((4).to_bytes(8, "little") + b"[1] ", "is no safetensors file"),
        ((24).to_bytes(8, "little") + b'{"__metadata__":[1,2,3]}', "is no safetensors file"),
    ],
)
def test_what_is_no_file_of_weights(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as told:
        read_weights_header(path)
    assert "\n" not in str(told.value)
    assert not Path("harmed").exists()


def test_a_file_of_others(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"w\.safetensors does not say what model it is of"):
        read_weights_header(write(tmp_path / "w.safetensors"))
    with pytest.raises(CheckpointError, match=r"cannot read .*absent: No such file"):
        read_weights_header(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_weights_header(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": 2, "later": 1},
            r"by a later frostline \(header version 2, expected up to 1\)",
        ),
        ({"version": 7, "task": None}, "by a later frostline"),
        ({"classes": []}, r"its header is damaged \(classes"),
        ({"model": {"backbone": "resnet19"}}, r"its header is damaged \(model.backbone"),
        ({"threshold": 3}, r"its header is damaged \(threshold"),
    ],
)
def test_headers_that_cannot_be_used(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "w.safetensors")
    raw = HEADER.model_dump(mode="json") | change
    save_file(load_file(path), path, {"frostline": json.dumps(raw)})
    with pytest.raises(CheckpointError, match=message):
        read_weights_header(path)
