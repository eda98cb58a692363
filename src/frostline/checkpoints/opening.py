"""Opening a weight file: which format it is, and an immutable view of its tensors."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from frostline.checkpoints.blobs import OpenFile
from frostline.checkpoints.folders import METADATA, is_index, shards
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.tensors import TensorRef
from frostline.errors import CheckpointError

__all__ = ["Checkpoint", "open_checkpoint"]

_PICKLE = b"\x80"  # protocol 2 and later
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


# Each format's reader is imported where a file turns out to be of that format: together they
# would be a quarter of the time that a comparison of two small files takes.


class Checkpoint(Mapping[str, TensorRef]):
    """The tensors of one weight file (or one sharded set of files), by name, in file order.

    Nothing is read but names and places until a tensor's ``read`` is called.

    Attributes:
        path: the file or folder that was opened.
        files: the files that hold the tensors, in order.
        format: ``torch-zip``, ``torch-legacy``, ``safetensors``, ``pickle``, ``npz`` or
            ``distributed``.
        section: the part of the file that the tensors are from (``"model"``), or ``""``.
        sections: all parts of the file that hold tensors.
        left_out: tensors whose values cannot be read (sparse, without values, quantized, of another
            library's class) -> why.
    """

    __slots__ = ("_tensors", "files", "format", "left_out", "path", "section", "sections")
    path: Path
    files: tuple[Path, ...]
    format: str
    section: str
    sections: tuple[str, ...]
    left_out: Mapping[str, str]

    def __init__(
        self,
        path: Path,
        format: str,  # noqa: A002  (the word users know)
        tensors: Iterable[TensorRef],
        *,
        files: tuple[Path, ...] = (),
        section: str = "",
        sections: tuple[str, ...] = (),
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        by_name: dict[str, TensorRef] = {}
        for tensor in tensors:
            if tensor.name in by_name:
                raise CheckpointError(
                    f"{path.name}: expected each tensor once, got {quoted(tensor.name)} twice; "
                    "the file is corrupt"
                )
            by_name[tensor.name] = tensor
        values = (path, files or (path,), format, section, sections, dict(left_out or {}), by_name)
        names = ("path", "files", "format", "section", "sections", "left_out", "_tensors")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Checkpoint cannot be changed (setting {quoted(name)})")

    def __getitem__(self, name: str) -> TensorRef:
        tensors: dict[str, TensorRef] = self._tensors  # type: ignore[attr-defined]
        return tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self._tensors)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path.name}: {self.format}, {len(self)} tensors>"

    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hex; of several files, that of their joined hashes."""
        import hashlib

        digests = []
        for path in self.files:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def open_checkpoint(path: str | Path, *, section: str | None = None) -> Checkpoint:
    """Open a weight file without running anything from it and without loading torch.

    Args:
        path: a file of ``torch.save`` (any age), ``.safetensors``, ``.npz``, detectron2's ``.pkl``;
            a TorchScript archive; a folder of one model, its ``.index.json``, or a folder of
            ``torch.distributed.checkpoint``. What a file is, is read from its first
            bytes; its name does not matter.
        section: the key to take where a file holds several state dicts (``model``, ``ema`` ...);
            by default the usual ones in order.

    Returns:
        The tensors by their names as in the file.

    Raises:
        UnsafeCheckpointError: reading it would mean running code from it.
        CheckpointError: missing, truncated, corrupt, hostile, or of an unknown format.

    Example:
        >>> checkpoint = open_checkpoint("resnet50.pth")  # doctest: +SKIP
        >>> checkpoint["conv1.weight"].read().shape  # doctest: +SKIP
        (64, 3, 7, 7)
    """
    path = Path(path)
    if path.name == METADATA or (path / METADATA).is_file():
        return _open_distributed(path, section)
    if path.is_dir() or is_index(path):
        return _open_shards(path, section)
    return _open_file(path, section)


def _open_shards(path: Path, section: str | None) -> Checkpoint:
    files, listed = shards(path)
    parts = [_open_file(file, section) for file in files]
    whole = Checkpoint(
        path,
        parts[0].format,
        (tensor for part in parts for tensor in part.values()),
        files=files,
        section=parts[0].section,
        sections=parts[0].sections,
        left_out={name: why for part in parts for name, why in part.left_out.items()},
    )
    missing = [name for name in listed if name not in whole and name not in whole.left_out]
    if missing:
        raise CheckpointError(
            f"{path.name}: expected all {len(listed)} tensors of the index in its files, got none "
            f"named {quoted(missing[0])} (and {len(missing) - 1} more); fetch the files again"
        )
    return whole


def _open_distributed(path: Path, section: str | None) -> Checkpoint:
    """A folder of torch.distributed.checkpoint, given itself or by its metadata."""
    from frostline.checkpoints.distributed import read_distributed

    folder = path if path.is_dir() else path.parent
    root, files, big = read_distributed(folder)
    return _from_pickle(folder, "distributed", root, section, big_endian=big, files=files)


def _open_file(path: Path, section: str | None) -> Checkpoint:
    if path.suffix == ".distcp":
        raise _unknown(path, "the pieces that one process wrote; give the folder with .metadata")
    file = OpenFile(path)
    head = file.read(0, min(16, file.size))
    if head.startswith(_ZIP):
        return _open_zip(file, section)
    if _looks_like_safetensors(head):  # before pickles: a header of 128 bytes begins like one
        from frostline.checkpoints.safetensors_files import read_safetensors

        tensors, left_out = read_safetensors(file)
        return Checkpoint(path, "safetensors", tensors, left_out=left_out)
    if head[:1] == _PICKLE:
        from frostline.checkpoints.torch_files import read_pickled

        name, root, big = read_pickled(file)
        return _from_pickle(path, name, root, section, big_endian=big)
    from frostline.checkpoints.recognise import what_it_is

    raise _unknown(path, what_it_is(file))


def _looks_like_safetensors(head: bytes) -> bool:
    """Whether the first nine bytes are a length and the beginning of a JSON object."""
    return head[8:9] == b"{" and head[6:8] == b"\0\0"


def _open_zip(file: OpenFile, section: str | None) -> Checkpoint:
    from frostline.checkpoints.torch_files import find_pickle, read_torch_zip
    from frostline.checkpoints.zips import read_directory

    entries = read_directory(file)
    if find_pickle(entries) is not None:
        root, big = read_torch_zip(file.path.name, entries)
        return _from_pickle(file.path, "torch-zip", root, section, big_endian=big)
    from frostline.checkpoints.npz_files import is_npz, read_npz

    if is_npz(entries):
        return Checkpoint(file.path, "npz", read_npz(file.path.name, entries))
    from frostline.checkpoints.recognise import what_the_zip_is

    raise _unknown(file.path, what_the_zip_is(entries))


def _unknown(path: Path, came: str) -> CheckpointError:
    return CheckpointError(
        f"{path.name}: expected a weight file (.pth, .pt, .bin, .ckpt, .safetensors, .npz or .pkl)"
        f", got {came}"
    )


def _from_pickle(
    path: Path,
    format_name: str,
    root: Any,
    section: str | None,
    *,
    big_endian: bool,
    files: tuple[Path, ...] = (),
) -> Checkpoint:
    from frostline.checkpoints.sections import collect_tensors, find_section

    name, part, parts = find_section(path.name, root, section)
    tensors, left_out = collect_tensors(path.name, part, big_endian=big_endian)
    return Checkpoint(
        path, format_name, tensors, files=files, section=name, sections=parts, left_out=left_out
    )
