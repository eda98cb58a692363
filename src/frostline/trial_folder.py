"""What one trial's folder says: where the trial stands, its record, and what it was made as."""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from frostline.cells import FROZEN_RANDOM
from frostline.errors import RecordError, StudyChangedError, one_line
from frostline.identity import Identity, changes
from frostline.policy import Observation
from frostline.records import FILES, SCHEMA_VERSION, EpochRecord, TrialKey, TrialRecord

__all__ = [
    "TRIALS",
    "TrialState",
    "failure_in",
    "is_stray",
    "later_version",
    "observations_in",
    "progress_in",
    "record_in",
    "require_known_version",
    "require_same",
    "several_images",
    "state_in",
    "stray_in",
]

TRIALS = "trials"
"""Folder of a study that holds one folder a trial."""

_NAMED = 5  # image files that a message names
_SLUG = re.compile(r"(?P<init>.+)-(?P<plan>[^-]+)-s(?P<seed>[0-9]+)")


@dataclasses.dataclass(frozen=True, slots=True)
class TrialState:
    """Where one cell of a study stands."""

    key: TrialKey
    state: Literal["done", "damaged", "failed", "started", "waiting", "unlisted"]
    detail: str = ""


def record_in(folder: Path) -> TrialRecord | RecordError | None:
    """A trial's record, what keeps it from being read, or None where there is none."""
    if not (folder / FILES.record).exists():
        return None
    try:
        return TrialRecord.read(folder / FILES.record)
    except RecordError as error:
        return error


def require_known_version(path: Path) -> None:
    """Refuse a record that a later version wrote: nothing is wrong with it."""
    version = later_version(path)
    if version:
        raise RecordError(
            f"{path} was written by a later frostline (schema version {version}, expected up to "
            f"{SCHEMA_VERSION}); use that version, or --out for a new folder"
        )


def later_version(path: Path) -> int | None:
    """The schema version of a record that this frostline is too old for; None of all others."""
    try:
        version = json.loads(path.read_bytes())["schema_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) and version > SCHEMA_VERSION else None


def state_in(key: TrialKey, folder: Path) -> TrialState:
    """Where a trial stands, read from its folder."""
    if (folder / FILES.record).exists():
        found = record_in(folder)
        damaged = isinstance(found, RecordError)
        if damaged:
            return TrialState(key, "damaged", str(found))
        marked = isinstance(found, TrialRecord) and FROZEN_RANDOM in found.flags
        return TrialState(key, "done", FROZEN_RANDOM if marked else "")
    if (folder / FILES.failure).exists():
        return TrialState(key, "failed", failure_in(folder))
    if (folder / FILES.checkpoint).exists():
        return TrialState(key, "started", "has a checkpoint")
    return TrialState(key, "waiting")


def progress_in(folder: Path) -> str:
    """How far a trial is that another waits for, in brackets; "" if it has not begun."""
    for file, word in ((FILES.record, "done"), (FILES.failure, "failed"),
                       (FILES.checkpoint, "started")):  # fmt: skip
        if (folder / file).exists():
            return f" ({word})"
    return ""


def failure_in(folder: Path) -> str:
    """Why a trial failed."""
    try:
        return str(json.loads((folder / FILES.failure).read_bytes())["text"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{FILES.failure} cannot be read"


def _identity_in(folder: Path) -> Identity | None:
    if (folder / FILES.record).exists():
        record = record_in(folder)
        return Identity(record.spec, record.scoring) if isinstance(record, TrialRecord) else None
    if not (folder / FILES.checkpoint).exists():
        return None  # nothing is lost by starting anew
    try:
        return Identity.of_stored(json.loads((folder / FILES.spec).read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"cannot read {folder / FILES.spec}: {error}; delete the trial") from None


def require_same(
    identity: Identity, key: TrialKey, folder: Path, replaced: Sequence[str] = ()
) -> None:
    """Explain, value by value, in what a trial differs from the one already in its folder.

    Args:
        identity: what is asked for now.
        key: the cell.
        folder: of the trial.
        replaced: image files that have other bytes than they had.
    """
    before = _identity_in(folder)
    if before is None:
        return
    different = changes(before, identity)
    rest = tuple(line for line in different if not line.startswith("pixels."))
    if replaced and rest != different:  # names say more than a digest of all images
        different = (*rest, f"other bytes in {several_images(replaced)}")
    if different:
        raise StudyChangedError(
            f"trial {key.slug} in {folder.parent.parent} was made by another study: "
            f"{'; '.join(different)}; change it back, delete the trial's folder "
            f"({TRIALS}/{key.slug}) to run it anew, or use --out for a new folder"
        )


def several_images(names: Sequence[str]) -> str:
    """``2 image files (a.jpg, b.jpg)``, with at most a few names."""
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    return f"{len(names)} image file{'s' * (len(names) != 1)} ({listed})"


def observations_in(key: TrialKey, folder: Path, rank: str, epochs: int) -> Iterator[Observation]:
    """A trial's epochs so far, from its record or, where it is paused, from its history."""
    record = record_in(folder)
    if isinstance(record, TrialRecord):
        history, final = record.history, record.scores["val"].get(rank)
    elif (folder / FILES.history).exists():
        history, final = _history_in(folder), None
    else:
        return
    if isinstance(record, TrialRecord) and not history:  # a trainer that says its end alone
        yield Observation(key, epochs, final, record.seconds.get("train", 0.0), True)
    seconds = 0.0
    for epoch in history:
        seconds += epoch.seconds
        last = isinstance(record, TrialRecord) and epoch is history[-1]
        score = final if last else (epoch.metrics or {}).get(rank)
        yield Observation(key, epoch.epoch, score, seconds, last)


def _history_in(folder: Path) -> tuple[EpochRecord, ...]:
    """The epochs of a paused trial."""
    try:
        raw = json.loads((folder / FILES.history).read_bytes())
        return tuple(EpochRecord.model_validate(row) for row in raw)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"cannot read {folder / FILES.history}: {one_line(error)}; delete it"
        ) from None


def _key_of(slug: str) -> TrialKey:
    """What a folder's name says, as far as it says it: names may hold hyphens."""
    found = _SLUG.fullmatch(slug)
    if found is None:
        return TrialKey(init=slug, plan="", seed=0)
    return TrialKey(init=found["init"], plan=found["plan"], seed=int(found["seed"]))


def is_stray(folder: Path, named: Collection[str]) -> bool:
    """Whether work lies in a folder whose name is none of ``named``."""
    return folder.name not in named and any(
        (folder / file).exists() for file in (FILES.record, FILES.checkpoint)
    )


def stray_in(folder: Path) -> TrialState:
    """A trial that no cell names; without a record its key is read off its folder's name."""
    record = record_in(folder)
    key = record.key if isinstance(record, TrialRecord) else _key_of(folder.name)
    what = "a record" if (folder / FILES.record).exists() else "a checkpoint"
    return TrialState(key, "unlisted", f"the study does not name it; its folder has {what}")
