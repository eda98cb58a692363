"""Initialisations: where starting weights come from, and what of the model they fill.

Nothing in a weight file is executed, nothing is loaded by halves in silence: what matched and what
did not is a record, and a backbone that is not completely filled is an error unless allowed.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.architectures import Architecture
from frostline.checkpoints import (
    Checkpoint,
    TensorRef,
    align,
    open_checkpoint,
    shows_detectron2,
)
from frostline.config import InitConfig, Normalisation
from frostline.errors import CheckpointError, InitError
from frostline.hubs import HubFile, hf_file, timm_file, torchvision_file
from frostline.records import InitRecord

__all__ = ["Source", "match_source", "open_source"]

_HUBS: dict[str, Callable[[str], HubFile]] = {
    "hf": hf_file,
    "timm": timm_file,
    "torchvision": torchvision_file,
}
_COUNTER = "num_batches_tracked"
_COLOURS = (3,)


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What alignment needs to know of a tensor of the model."""

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Opened starting weights.

    Attributes:
        name: as it stands in records: the file's name or where a hub has it, never a folder.
        sha256: of the file, hex; None for ``random``.
        checkpoint: tensors by name, wrapper prefixes still on; None for ``random``.
        normalisation: of the pixels the weights were trained on, where the hub says it.
    """

    name: str
    sha256: str | None
    checkpoint: Checkpoint | None
    normalisation: Normalisation | None = None


def open_source(source: str, folder: Path, *, section: str | None = None) -> Source:
    """Open what an init names: ``random``, a file, or weights of torchvision, timm or a hub.

    Args:
        source: as in ``study.yaml``.
        folder: folder against which a relative file path resolves.
        section: the part of the file to take (``ema``); None takes the usual one.

    Raises:
        CheckpointError: the file is missing, corrupt, asks to run code, or has no such part.
        ConfigError: timm has no such model.
        DependencyError: the package that knows the source is not installed.
        DownloadError: the weights are neither in the hub's cache nor to be fetched.
        InitError: the source is not written as its hub expects, or has no weights.
    """
    if source == "random":
        return Source("random", None, None)
    scheme, _, location = source.partition(":")
    if scheme in _HUBS:
        found = _HUBS[scheme](location)
        checkpoint = open_checkpoint(found.path, section=section)
        return Source(found.name, checkpoint.sha256(), checkpoint, found.normalisation)
    path = folder / source
    if not path.exists():
        raise CheckpointError(
            f"weight file '{source}' does not exist in {folder}; paths resolve against the study"
        )
    checkpoint = open_checkpoint(path, section=section)
    return Source(path.name, checkpoint.sha256(), checkpoint)


def match_source(
    source: Source,
    shapes: Mapping[str, Sequence[int]],
    init: InitConfig,
    architecture: Architecture,
) -> tuple[dict[str, npt.NDArray[Any]], InitRecord]:
    """Decide which tensors of the model are filled, and read them.

    What predicts another number of classes is replaced, never copied; it is listed under
    ``mismatched``. Every asked part must be filled completely apart from that, except for names
    that ``init.allow_missing`` matches.

    Args:
        source: opened weights.
        shapes: shape of every tensor of the model, by state-dict name.
        init: the asked parts and what may be missing.
        architecture: of the model.

    Returns:
        The tensors to copy (name in the model to array) and the record of the match.

    Raises:
        ConfigError: the architecture has no such part.
        InitError: an asked part is not completely filled (names what is missing or has another
            shape), or nothing says which pixels the weights were trained on.
    """
    normalisation = init.normalisation or source.normalisation
    if source.checkpoint is None:
        return {}, InitRecord(source=source.name, parts=(), matched=0, normalisation=normalisation)
    if normalisation is None and shows_detectron2(source.checkpoint):
        raise _unknown_pixels(source.name)
    parts = architecture.asked(init.parts)
    found = _counterparts(source.checkpoint, shapes)
    wanted = [name for name in shapes if name.startswith(architecture.prefixes(parts))]
    missing = [name for name in wanted if name not in found and not name.endswith(_COUNTER)]
    wrong = [name for name in wanted if name in found and found[name].shape != tuple(shapes[name])]
    good = [name for name in wanted if name in found and name not in set(wrong)]
    record = InitRecord(
        source=source.name,
        parts=parts,
        sha256=source.sha256,
        matched=len(good),
        missing=tuple(missing),
        unexpected=_unused(source.checkpoint, [found[name] for name in good]),
        mismatched=tuple(
            f"{name}: {_size(shapes[name])}, got {_size(found[name].shape)}" for name in wrong
        ),
        normalisation=normalisation,
        section=source.checkpoint.section if len(source.checkpoint.sections) > 1 else "",
    )
    unfilled = [x for x in (*missing, *wrong) if not x.startswith(architecture.replaced)]
    _require_filled(record, unfilled, init.allow_missing, len(wanted))
    tensors = {name: _finite(found[name], source.name) for name in good}
    if normalisation is not None and normalisation.bgr:
        tensors |= _red_first(tensors, architecture.prefix, source.name)
    return tensors, record


def _red_first(
    tensors: Mapping[str, npt.NDArray[Any]], prefix: str, source: str
) -> dict[str, npt.NDArray[Any]]:
    """The first convolution, its input channels turned from blue, green, red round."""
    first = next((name for name in tensors if name.startswith(prefix)), None)
    if first is None or tensors[first].shape[1:2] != _COLOURS:
        raise InitError(
            f"'{source}': 'bgr' turns round the three input channels of the first convolution, "
            "which these weights do not fill; leave it out"
        )
    return {first: np.ascontiguousarray(tensors[first][:, ::-1])}


def _unknown_pixels(source: str) -> InitError:
    return InitError(
        f"'{source}' names its layers as detectron2 and Caffe2 do, where most weights were trained "
        "on blue, green, red pixels up to 255, and some as torchvision's; say which with "
        "normalisation: {mean: [r, g, b], std: [r, g, b], bgr: true or false}"
    )


def _counterparts(
    checkpoint: Checkpoint, shapes: Mapping[str, Sequence[int]]
) -> dict[str, TensorRef]:
    """The file's tensors under the model's names, whatever framework named them."""
    wanted = {name: _Shape(tuple(shape)) for name, shape in shapes.items()}
    pairs = align(wanted, checkpoint).pairs
    return {pair.before: checkpoint[pair.after] for pair in pairs}


def _finite(tensor: TensorRef, source: str) -> npt.NDArray[Any]:
    array = tensor.read()
    if not np.isfinite(array).all():
        raise InitError(f"'{source}': tensor {tensor.name} is not finite; the file is damaged")
    return array


def _unused(checkpoint: Checkpoint, used: Iterable[TensorRef]) -> tuple[str, ...]:
    names = set(checkpoint) - {tensor.name for tensor in used}
    return tuple(sorted(name for name in names if not name.endswith(_COUNTER)))


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _require_filled(
    record: InitRecord, unfilled: Iterable[str], allowed: Sequence[str], wanted: int
) -> None:
    bad = [
        name
        for name in unfilled
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)
    ]
    if not bad:
        return
    detail = next((text for text in record.mismatched if text.startswith(bad[0] + ":")), bad[0])
    raise InitError(
        f"'{record.source}' fills {record.matched} of {wanted} tensors of part "
        f"{'+'.join(record.parts)}; first unfilled: {detail}; is it of another architecture? "
        "Name what may stay random under allow_missing"
    )
