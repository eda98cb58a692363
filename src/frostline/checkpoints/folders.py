"""Models that lie in several files: a folder, or the index of its shards."""

from pathlib import Path
from typing import Any, Final

from frostline.checkpoints.blobs import OpenFile
from frostline.checkpoints.messages import quoted
from frostline.errors import CheckpointError

__all__ = ["METADATA", "is_index", "shards"]

METADATA: Final = ".metadata"  # of a folder of torch.distributed.checkpoint
_INDEX: Final = ".index.json"
_MAX_INDEX: Final = 25_000_000  # bytes
# What a model folder is searched for, in Hugging Face's own order of preference.
_USUAL: Final = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "diffusion_pytorch_model.safetensors",
)  # fmt: skip
_SUFFIXES: Final = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz", ".pkl"}


def is_index(path: Path) -> bool:
    """Whether a path is the index of a sharded model."""
    return path.name.endswith(_INDEX)


def shards(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files of a model in order, and the tensor names its index promises (none without one).

    Args:
        path: a folder with one model, or an ``.index.json``.

    Raises:
        CheckpointError: the folder holds no model or several; the index is damaged, or names a
            file outside its folder.
    """
    if path.is_dir():
        path = _model_in(path)
    if not is_index(path):
        return (path,), ()
    weight_map = _read_index(path)
    names = sorted(set(weight_map.values()))
    for name in names:
        if name in {"", ".", ".."} or set(name) & set("/\\:\0"):
            raise CheckpointError(
                f"{path.name}: expected file names beside the index, got {quoted(name)}; "
                "the index is hostile"
            )
    return tuple(path.parent / name for name in names), tuple(weight_map)


def _model_in(folder: Path) -> Path:
    for name in _USUAL:
        if (folder / name).is_file():
            return folder / name
    files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES or is_index(p))
    indexes = [file for file in files if is_index(file)]
    candidates = indexes or files
    if (folder / "data.pkl").is_file() and (folder / "data").is_dir():
        raise CheckpointError(
            f"{folder.name}: expected a folder with one model, got a file of torch.save that was "
            "unpacked; fetch the file again and leave it packed"
        )
    if len(candidates) != 1:
        found = ", ".join(file.name for file in candidates[:6]) or "none"
        raise CheckpointError(
            f"{folder.name}: expected a folder with one model, got {found}; give the file itself"
        )
    return candidates[0]


def _read_index(path: Path) -> dict[str, str]:
    from frostline.checkpoints.safetensors_files import parse_json

    file = OpenFile(path)
    try:
        if file.size > _MAX_INDEX:
            raise ValueError(f"it has {file.size} bytes (the limit is {_MAX_INDEX})")
        weight_map: Any = parse_json(file.read(0, file.size)).get("weight_map")
        if type(weight_map) is not dict or not weight_map:
            raise ValueError("it has no weight_map")
        if not all(type(name) is str for name in weight_map.values()):
            raise ValueError("its weight_map holds something other than file names")
    except ValueError as error:
        from frostline.checkpoints.recognise import what_it_is

        raise CheckpointError(
            f"{path.name}: expected the index of a sharded model, but {error}: {what_it_is(file)}"
        ) from None
    return weight_map
