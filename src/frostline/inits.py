"""Initialisations: where starting weights come from, and what of the model they fill.

Nothing in a weight file is executed, nothing is loaded by halves in silence: what matched and what
did not is a record, and a backbone that is not completely filled is an error unless allowed.
"""

import dataclasses
import fnmatch
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.checkpoints import Checkpoint, TensorRef, align, open_checkpoint
from frostline.config import InitConfig
from frostline.errors import CheckpointError, DownloadError, InitError
from frostline.plans import BACKBONE_PREFIX
from frostline.records import InitRecord

__all__ = ["Source", "match_source", "open_source"]

_log = logging.getLogger(__name__)

_PART_PREFIXES = {
    "backbone": (BACKBONE_PREFIX,),
    "neck": ("backbone.fpn.",),
    "rpn": ("rpn.",),
    "head": ("roi_heads.",),
    "all": ("",),
}
_COUNTER = "num_batches_tracked"
_PREDICTOR = "roi_heads.box_predictor."


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What alignment needs to know of a tensor of the model."""

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Opened starting weights.

    Attributes:
        name: as it stands in records: the file's name or the weights enum, never a folder.
        sha256: of the file, hex; None for ``random``.
        checkpoint: tensors by name, wrapper prefixes still on; None for ``random``.
    """

    name: str
    sha256: str | None
    checkpoint: Checkpoint | None


def open_source(source: str, folder: Path) -> Source:
    """Open what an init names: ``random``, ``torchvision:<Enum>.<MEMBER>`` or a file.

    Args:
        source: as in ``study.yaml``.
        folder: folder against which a relative file path resolves.

    Raises:
        CheckpointError: the file is missing, corrupt, or asks to run code.
        DownloadError: torchvision's weights are neither in torch's cache nor to be fetched.
        InitError: the source is not of a known kind.
    """
    if source == "random":
        return Source("random", None, None)
    if source.startswith("torchvision:"):
        path = _torchvision_file(source.removeprefix("torchvision:"))
        checkpoint = open_checkpoint(path)
        return Source(source, checkpoint.sha256(), checkpoint)
    if re.match(r"^(timm|hf):", source):
        raise InitError(
            f"source '{source}': expected 'random', 'torchvision:<WeightsEnum>.<MEMBER>' or a "
            "weight file; download the file and give its path"
        )
    path = folder / source
    if not path.exists():
        raise CheckpointError(
            f"weight file '{source}' does not exist in {folder}; paths resolve against the study"
        )
    checkpoint = open_checkpoint(path)
    return Source(path.name, checkpoint.sha256(), checkpoint)


def match_source(
    source: Source, shapes: Mapping[str, Sequence[int]], init: InitConfig
) -> tuple[dict[str, npt.NDArray[Any]], InitRecord]:
    """Decide which tensors of the model are filled, and read them.

    A class predictor of another number of classes is replaced, never copied; it is listed under
    ``mismatched``. The backbone must be filled completely, and so must every other asked part
    apart from the predictor, except for names that ``init.allow_missing`` matches.

    Args:
        source: opened weights.
        shapes: shape of every tensor of the model, by state-dict name.
        init: the asked parts and what may be missing.

    Returns:
        The tensors to copy (name in the model to array) and the record of the match.

    Raises:
        InitError: an asked part is not completely filled; names what is missing or has another
            shape.
    """
    if source.checkpoint is None:
        return {}, InitRecord(source=source.name, parts=(), matched=0)
    found = _counterparts(source.checkpoint, shapes)
    wanted = [name for name in shapes if name.startswith(_prefixes(init.parts))]
    missing = [name for name in wanted if name not in found and not name.endswith(_COUNTER)]
    wrong = [name for name in wanted if name in found and found[name].shape != tuple(shapes[name])]
    good = [name for name in wanted if name in found and name not in set(wrong)]
    record = InitRecord(
        source=source.name,
        parts=init.parts,
        sha256=source.sha256,
        matched=len(good),
        missing=tuple(missing),
        unexpected=_unused(source.checkpoint, [found[name] for name in good]),
        mismatched=tuple(
            f"{name}: {_size(shapes[name])}, got {_size(found[name].shape)}" for name in wrong
        ),
    )
    _require_filled(record, [*missing, *wrong], init.allow_missing, len(wanted))
    return {name: _finite(found[name], source.name) for name in good}, record


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


def _prefixes(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(prefix for part in parts for prefix in _PART_PREFIXES[part])


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _require_filled(
    record: InitRecord, unfilled: Iterable[str], allowed: Sequence[str], wanted: int
) -> None:
    bad = [
        name
        for name in unfilled
        if not name.startswith(_PREDICTOR)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)
    ]
    if not bad:
        return
    detail = next((text for text in record.mismatched if text.startswith(bad[0] + ":")), bad[0])
    raise InitError(
        f"'{record.source}' fills {record.matched} of {wanted} tensors of part "
        f"{'+'.join(record.parts)}; first unfilled: {detail}; is it of another architecture? "
        "Name what may stay random under allow_missing"
    )


def _torchvision_file(name: str) -> Path:
    """Path of a weights enum's file in torch's cache, downloaded if it is not there."""
    import torch.hub
    from torchvision.models import get_weight

    try:
        url = str(get_weight(name).url)
    except (ValueError, AttributeError, KeyError) as error:
        raise InitError(
            f"torchvision has no weights '{name}' ({error}); expected a name such as "
            "ResNet50_Weights.IMAGENET1K_V2"
        ) from None
    file = PurePosixPath(url).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path)
    return path


def _download(url: str, path: Path) -> None:
    import torch.hub

    _log.info("downloading %s", url)
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=digest.group(1) if digest else None, progress=True
        )
    except (OSError, RuntimeError) as error:
        raise DownloadError(
            f"could not download {url} ({error}); check the network or proxy, or put the file at "
            f"$TORCH_HOME/hub/checkpoints/{path.name}"
        ) from None
