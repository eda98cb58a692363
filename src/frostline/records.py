"""What a trial leaves behind: records with a schema version, written whole or not at all."""

import contextlib
import hashlib
import itertools
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frostline.config import Normalisation
from frostline.errors import RecordError
from frostline.notebook import facts_html
from frostline.record_versions import of_first_version
from frostline.scores import Declaration

__all__ = [
    "FILES",
    "SCHEMA_VERSION",
    "AuditRecord",
    "DataRecord",
    "EpochRecord",
    "InitRecord",
    "PartRecord",
    "PlanRecord",
    "SplitDetails",
    "TrialKey",
    "TrialRecord",
    "append_line",
    "atomic_write",
    "environment",
    "file_digest",
    "read_lines",
    "set_aside",
    "write_json",
]

SCHEMA_VERSION = 2
_PACKAGES = (
    *("frostline", "torch", "torchvision", "timm", "lightning-fabric", "hotcoco", "numpy"),
    "pillow",
    "segmentation-models-pytorch",
)


@dataclass(frozen=True, slots=True)
class _Files:
    """Names of the files in a trial's folder."""

    record: str = "record.json"
    spec: str = "spec.json"
    log: str = "log.jsonl"
    checkpoint: str = "checkpoint.pt"
    weights: str = "weights.safetensors"
    history: str = "history.json"
    detections: str = "detections.json"
    failure: str = "failure.json"


FILES = _Files()


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrialKey(_Record):
    """Which trial of a study this is: start x plan (x variant) x seed.

    Attributes:
        init: name of the start in the study.
        plan: label of the freeze plan; of a depth it is ``k09``, with ``all`` as the number it
            stands for.
        variant: what differs from the start's own schedule (``lr3e-4``); None for nothing.
        seed: of the new tensors, and of the images' order and augmentation.
    """

    init: str
    plan: str
    variant: str | None = None
    seed: int = Field(ge=0)

    @property
    def cell(self) -> str:
        """Name of the trial without its seed: ``imagenet-k09``, ``imagenet-k09-lr3e-4``."""
        return "-".join(part for part in (self.init, self.plan, self.variant) if part)

    @property
    def slug(self) -> str:
        """Folder name, legal on every platform."""
        return f"{self.cell}-s{self.seed}"


class InitRecord(_Record):
    """Where the starting weights came from, and the four lists that say what was filled.

    Attributes:
        source: as given, a file by its name only.
        parts: what was asked of it; none for ``random``.
        sha256: of the file, or of the tensors where there is no file; None for ``random``.
        matched: tensors filled from the source (count); the three lists below name the others.
        missing: tensors of the asked parts that the source does not have.
        unexpected: tensors of the source that no asked part has.
        mismatched: tensors whose shapes differ, as ``name: expected, got``.
        normalisation: of the pixels; None in records from when it was always ImageNet's.
        section: the part of the file that was taken, where it has several (``model``); else "".
    """

    source: str
    parts: tuple[str, ...]
    sha256: str | None = None
    matched: int = Field(ge=0)
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    section: str = ""


class PlanRecord(_Record):
    """The freeze plan in force, in full.

    Attributes:
        label: one phrase for tables, such as ``k=11``.
        depth: k, where the plan was made from a depth; None for a plan that is no prefix.
        numbering: how ``depth`` counts: ``all`` or ``paper``.
        batch_norm: the BatchNorm policy, already part of ``tensors``.
        digest: SHA-256 (hex) over names and policy: equal plans are equal experiments.
        version: of the rule that made the list; see ``FreezePlan``.
        unit: what ``depth`` and ``layers`` count.
        layers: which layers of the backbone's table are frozen, by their index, from 1; where the
            table covers other sections too (``unet``), those follow and count on.
        tensors: state-dict names of what must not change, sorted.
        rule: of a plan that a rule made: ``rule``, ``t``, the ``threshold`` that it stood for, how
            many layers it froze, and its references; None for all others.
        frozen_parameters: elements that are not updated; buffers are not counted.
        trainable_parameters: elements that are.
    """

    label: str
    depth: int | None
    numbering: str
    batch_norm: str
    digest: str
    version: int = 1
    unit: str = "convolution"
    layers: tuple[int, ...]
    tensors: tuple[str, ...]
    rule: dict[str, Any] | None = None
    frozen_parameters: int = Field(ge=0)
    trainable_parameters: int = Field(ge=0)

    @property
    def nothing_frozen(self) -> bool:
        """Whether all layers are updated, whatever the BatchNorm policy fixes."""
        return not self.layers

    @property
    def order(self) -> tuple[bool, int, str]:
        """Where its cell stands among those of its start: depths first, then by what is frozen."""
        if self.depth is not None:
            return (False, self.depth, "")
        return (True, len(self.layers), self.label)


class AuditRecord(_Record):
    """Result of the freeze audit: what was hashed before and after training.

    Attributes:
        frozen: number of tensors that had to stay, byte for byte.
        changed: frozen tensors that changed all the same; a trial with any has failed.
        unmoved: tensors outside the plan that training did not change.
    """

    frozen: int = Field(ge=0)
    changed: tuple[str, ...] = ()
    unmoved: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every tensor of the plan is byte-identical."""
        return not self.changed

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"passed": self.passed, **self.model_dump(mode="json")}

    def _repr_html_(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        facts = [
            ("frozen tensors", self.frozen),
            ("of these changed", ", ".join(self.changed) or 0),
            ("others that did not move", len(self.unmoved)),
        ]
        return facts_html(f"freeze audit: {verdict}", facts)


class DataRecord(_Record):
    """Summary of one split: counts, what was dropped, and a hash of names, sizes and boxes.

    Attributes:
        digest: SHA-256 (hex) over classes, file names, sizes, groups and boxes; no folder counts.
        images: how many.
        empty_images: how many of them have no boxes.
        boxes: how many.
        classes: names; label n of the model is the nth of them, from 1.
        groups: images by group (``source`` or ``domain``); empty where there are none.
        findings: what reading the data found or dropped, by kind; where one annotation file was
            divided, what names no image of ``val`` is under ``train``.
        pixels: of masks, pixels by class; empty where annotations are boxes.
    """

    digest: str
    images: int
    empty_images: int
    boxes: int
    classes: tuple[str, ...]
    groups: dict[str, int] = Field(default_factory=dict)
    findings: dict[str, int] = Field(default_factory=dict)
    pixels: dict[str, int] = Field(default_factory=dict)


class PartRecord(_Record):
    """The scores of one class or group on one split.

    Attributes:
        scores: by key; None for a quantity that is absent.
        counts: what the scores are over, by name.
    """

    scores: dict[str, float | None]
    counts: dict[str, int | str | None] = Field(default_factory=dict)


class SplitDetails(_Record):
    """A task's own part of what was measured on one split.

    Attributes:
        floor: the ranking score of a constant prediction.
        thresholds: score thresholds by the score that they were chosen for, in [0, 1].
        counts: what the scores are over, by name.
        by_class: by name of the class.
        by_group: by name of the group; empty where there are none.
    """

    floor: float
    thresholds: dict[str, float] = Field(default_factory=dict)
    counts: dict[str, int | str | None] = Field(default_factory=dict)
    by_class: dict[str, PartRecord] = Field(default_factory=dict)
    by_group: dict[str, PartRecord] = Field(default_factory=dict)


class EpochRecord(_Record):
    """Means over one epoch.

    Attributes:
        epoch: from 1.
        step: optimiser steps taken by its end.
        lr: learning rate of its last step.
        losses: mean over its images, by torchvision's names.
        seconds: wall-clock time of training, without evaluation.
        images_per_second: training images.
        metrics: headline scores on ``val`` by key; None where there was no evaluation.
    """

    epoch: int = Field(ge=1)
    step: int = Field(ge=0)
    lr: float
    losses: dict[str, float]
    seconds: float
    images_per_second: float
    metrics: dict[str, float | None] | None = None


class TrialRecord(_Record):
    """Everything known about one finished trial. No absolute path, host or user name.

    Attributes:
        schema_version: of this format.
        key: the cell.
        ranked: False for the random reference.
        spec: what defines the training (model, schedule, weights and data by hash): equal specs
            mean equal experiments, and a differing one on an existing folder is explained.
        scoring: what only the scores depend on; they are comparable where it is equal.
        init: where the starting weights came from, and what matched.
        plan: what was frozen.
        audit: whether it stayed.
        data: by split: counts and a hash.
        history: one entry per epoch.
        task: what was trained for, and the scores that it declares.
        scores: by split (``val``, ``test``) and by the score's key; None for an absent quantity.
        details: by split, the task's own part: classes, groups, thresholds, counts.
        differences: per convolution in forward order: ``LayerDifference.to_dict()``.
        other_differences: the same for the layers of the other sections, with the ``section`` of
            each, where the study asks for ``differences: all``.
        flags: ``collapsed`` and the like; shown wherever the trial's numbers appear.
        environment: versions, platform and device.
        conditions: device, threads, torch and vector instructions of the training, again where a
            resumed part had others; empty in older records.
        seconds: wall-clock time by phase: ``load``, ``train`` (steps), ``evaluate_epochs`` (with
            ``eval_every``; not in older records), ``evaluate`` (at the end), ``difference``.
        resumed_at_steps: steps at which an interrupted training went on.
        finished_at: UTC, ISO 8601.
    """

    schema_version: Literal[2] = 2
    key: TrialKey
    ranked: bool
    spec: dict[str, Any]
    scoring: dict[str, Any]
    init: InitRecord
    plan: PlanRecord
    audit: AuditRecord
    data: dict[str, DataRecord]
    history: tuple[EpochRecord, ...]
    task: Declaration
    scores: dict[str, dict[str, float | None]]
    details: dict[str, SplitDetails]
    differences: tuple[dict[str, Any], ...]
    other_differences: tuple[dict[str, Any], ...] = ()
    flags: tuple[str, ...] = ()
    environment: dict[str, str]
    conditions: tuple[str, ...] = ()
    seconds: dict[str, float]
    resumed_at_steps: tuple[int, ...] = ()
    finished_at: str

    def score(self, key: str | None = None, split: str = "val") -> float:
        """One score over all of a split; NaN where it is absent.

        Args:
            key: of the score; None takes the one that ranks.
            split: ``val`` or ``test``.
        """
        value = self.scores.get(split, {}).get(key or self.task.ranking.key)
        return math.nan if value is None else float(value)

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            RecordError: the disk is full or the folder cannot be written.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record back; one of an earlier version comes in today's form.

        Raises:
            RecordError: the file is missing, not JSON, or of a later schema version.
        """
        try:
            raw = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RecordError(f"cannot read record {path}: {error}") from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version not in range(1, SCHEMA_VERSION + 1):
            raise RecordError(
                f"{path}: expected schema version 1 to {SCHEMA_VERSION}, got {version}; "
                "use the version of frostline that wrote it, or run the trial again"
            )
        try:
            return cls.from_dict(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RecordError(f"{path}: not a trial record: {where}: {first['msg']}") from None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """A record from its plain values, as any version wrote them.

        Raises:
            ValidationError: they are not a record's.
        """
        if raw.get("schema_version") == 1:
            with contextlib.suppress(KeyError, TypeError):  # what it lacks, validation names
                raw = of_first_version(raw)
        return cls.model_validate(raw)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes its place in one step.

    Raises:
        RecordError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecordError(
            f"cannot write {path}: {reason}; free space, or write to another folder"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used to ``<name>.damaged``, keeping what was there before.

    Raises:
        RecordError: the folder cannot be written.
    """
    names = (f"{path.name}.damaged{n or ''}" for n in itertools.count())
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    try:
        path.rename(aside)
    except OSError as error:
        raise RecordError(
            f"cannot rename {path}: {error.strerror or error}; delete it to start over"
        ) from None
    return aside


def write_json(path: Path, data: object) -> None:
    """Write ``data`` as JSON (NaN is refused: absent quantities are null), atomically.

    File names need not be UTF-8: their other bytes, half surrogate pairs to Python, are escaped.
    """
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as temporary:  # JSON and Python escape a surrogate alike
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def append_line(path: Path, data: Mapping[str, object]) -> None:
    """Append one JSON line. A line cut short by a crash is skipped by ``read_lines``.

    Raises:
        RecordError: the line cannot be written.
    """
    line = json.dumps(data, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write((line if _ends_line(path) else "\n" + line).encode())
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecordError(
            f"cannot write {path}: {reason}; free space, or write to another folder"
        ) from None


def _ends_line(path: Path) -> bool:
    """Whether the last line is whole: a crash may have cut it short."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole JSON lines of a log; an empty list where there is no log."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def environment() -> dict[str, str]:
    """Versions and platform: what repeats a run, and nothing that names its owner."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {"python": platform.python_version(), "platform": platform.system(), **versions}
