"""What a file of trained weights says of itself: enough to use it without the study it came from.

The safetensors format keeps texts in its header, in front of the tensors. Ours, under
``frostline``, is JSON; writing it moves no byte of a tensor.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frostline.config import IMAGENET, ModelConfig, Normalisation
from frostline.errors import CheckpointError, RecordError
from frostline.records import FILES, TrialRecord, atomic_write

__all__ = ["WeightsHeader", "read_weights_header", "write_weights_header"]

_KEY, _VERSION = "frostline", 1
_LENGTH = 8  # bytes of the header's length, which is a multiple of as many
_MOST = 25_000_000  # bytes of a header
_USUAL_THRESHOLD = 0.5
_HINT = (
    "expected the weights of a trial (weights.safetensors in its folder, which `frostline run` and "
    "`frostline advise` write)"
)


class WeightsHeader(BaseModel):
    """A trained model, without its tensors.

    Attributes:
        version: of this format.
        task: what it was trained for.
        model: its configuration; ``norm_eps`` is the number that was used.
        classes: names; label n is the nth of them, from 1 (of masks, from 0).
        pixels: how it normalises its images.
        canvas: height and width in px that its images were placed on; None in older files: the
            smallest that holds the images given.
        batch_size: images at a time when it was scored, >= 1.
        threshold: score from which boxes are shown, in [0, 1]: the one with the best F1 at IoU .5
            on the validation images, for all classes together. None for masks, and where the
            validation images show none.
        grey_levels: of 16-bit grey images, see ``DataConfig``.
        turned: whether images with an EXIF orientation were turned as viewers turn them.
    """

    model_config = ConfigDict(frozen=True)

    version: int = Field(default=_VERSION, ge=1)
    task: str
    model: ModelConfig
    classes: tuple[str, ...] = Field(min_length=1)
    pixels: Normalisation = IMAGENET
    canvas: tuple[int, int] | None = None
    batch_size: int = Field(default=1, ge=1)
    threshold: float | None = Field(default=None, ge=0, le=1)
    grey_levels: int | None = None
    turned: bool = False

    @property
    def shown_from(self) -> float:
        """The score from which boxes are shown; .5 where none was chosen."""
        return _USUAL_THRESHOLD if self.threshold is None else self.threshold


def write_weights_header(path: Path, header: WeightsHeader) -> None:
    """Write it into a safetensors file, whole or not at all; the tensors keep their bytes.

    Raises:
        CheckpointError: it is no safetensors file.
        RecordError: it cannot be written.
    """
    raw, data = _read(path)
    texts = raw.get("__metadata__", {}) | {_KEY: header.model_dump_json()}
    text = json.dumps(raw | {"__metadata__": texts}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    with atomic_write(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
        old.seek(data)
        new.write(len(text).to_bytes(_LENGTH, "little") + text)
        shutil.copyfileobj(old, new, 1 << 20)


def read_weights_header(path: Path) -> WeightsHeader:
    """What a file of weights says; of one from before it said so, what the record beside it says.

    Raises:
        CheckpointError: no such file, no weights that our loop wrote, or of a later version.
    """
    raw, _ = _read(path)
    text = (raw.get("__metadata__") or {}).get(_KEY)
    if text is None:
        return _of_record(path)
    try:
        found = WeightsHeader.model_validate_json(text)
    except ValidationError as error:
        version = _version(text)
        if version is not None and version > _VERSION:
            raise _later(path, version) from None
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path.name}: its header is damaged ({where}: {first['msg']}); {_HINT}"
        ) from None
    if found.version > _VERSION:
        raise _later(path, found.version)
    return found


def _later(path: Path, version: int) -> CheckpointError:
    return CheckpointError(
        f"{path.name} was written by a later frostline (header version {version}, expected up to "
        f"{_VERSION}); use that version"
    )


def _version(text: str) -> int | None:
    try:
        version = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its tensors begin."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if not 0 < length <= _MOST:
                raise CheckpointError(f"{path.name} is no safetensors file: {_HINT}")
            raw = json.loads(file.read(length))
    except OSError as error:
        reason = "is a folder" if path.is_dir() else error.strerror or str(error)
        raise CheckpointError(f"cannot read {path}: {reason}; {_HINT}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path.name} is no safetensors file: {_HINT}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("__metadata__", {}), dict):
        raise CheckpointError(f"{path.name} is no safetensors file: {_HINT}")
    return raw, _LENGTH + length


def _of_record(path: Path) -> WeightsHeader:
    """From the record of a trial that ended before weights had a header."""
    file = path.parent / FILES.record
    if path.name != FILES.weights or not file.exists():
        raise CheckpointError(
            f"{path.name} does not say what model it is of: {_HINT}; older ones are read where "
            f"their {FILES.record} lies beside them"
        )
    try:
        record = TrialRecord.read(file)
    except RecordError as error:
        raise CheckpointError(f"{path.name} has no header, and {error}") from None
    fields = {**record.spec["model"], **{k: v for k, v in record.scoring.items() if k != "metrics"}}
    chosen = record.details["val"].thresholds
    return WeightsHeader(
        task=record.task.task,
        model=ModelConfig.model_validate(fields),
        classes=record.data["val"].classes,
        pixels=record.init.normalisation or IMAGENET,
        batch_size=record.spec["schedule"]["batch_size"],
        threshold=next(iter(chosen.values()), None),
    )
