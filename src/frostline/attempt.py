"""One attempt at one trial in its folder: what every engine does, wherever it runs.

A lock keeps two processes out of one folder, what a killed one left is cleared away, an error
becomes a failure file, and a pause is a file beside the trial that is looked at between epochs.
"""

import contextlib
import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from frostline.errors import BusyError, FrostlineError, RecordError, TrainingError, one_line
from frostline.events import Ended, Event, Outcome, Paused, Progress, Started, Stepped
from frostline.identity import Identity, changes
from frostline.judging import judge
from frostline.records import FILES, EpochRecord, TrialRecord, append_line, write_json
from frostline.tasks import Task
from frostline.trainers import Trainer, trainer
from frostline.training import torch_as_before
from frostline.trial import TrialSpec, begin

__all__ = ["ask_to_pause", "attempt", "run_trial"]

_log = logging.getLogger(__name__)
_PAUSE = ".pause"


def attempt(
    folder: Path,
    spec: TrialSpec,
    *,
    emit: Callable[[Event], None],
    until: int | None = None,
) -> Outcome:
    """Bring a trial to its end, or to the end of an epoch, and go on where an earlier attempt was.

    Args:
        folder: the trial's own folder; made if it does not exist.
        spec: the cell.
        emit: called for everything that happens, the end included.
        until: epochs after which to pause; None trains to the end.

    Returns:
        How it ended; of what went wrong, what stops this trial alone.

    Raises:
        RecordError: nothing can be written, which would stop every trial.
    """
    outcome = _outcome(folder, spec, emit, until)
    ended = Ended if outcome.paused_at is None else Paused
    emit(ended(spec.key, outcome))
    return outcome


def ask_to_pause(folder: Path) -> None:
    """Let the trial in ``folder`` pause at the end of the epoch that is under way.

    It must have said that it has started: what was asked before that is forgotten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _PAUSE).touch()


def run_trial(
    spec: TrialSpec,
    folder: Path,
    *,
    task: Task | None = None,
    train: Trainer | None = None,
    until: int | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> TrialRecord | None:
    """Begin, train and judge one cell; resume if the folder holds a checkpoint.

    Args:
        spec: the cell.
        folder: the trial's own folder; made if it does not exist.
        task: the task's functions; None takes the task that the cell names.
        train: who trains; None takes the one that the cell names.
        until: epochs after which to pause; None trains to the end.
        on_step: called after each training step.

    Returns:
        The record, which is also written to ``folder``; None where the training was paused, with
        its epochs in ``history.json``.

    Raises:
        FrostlineError: unusable data or weights, a non-finite loss, a failed audit, a full disk.
    """
    started = time.monotonic()
    start = begin(spec, task=task)
    identity = _claim(folder, start.identity)
    loaded = {"load": time.monotonic() - started}

    def pause(epochs: int) -> bool:
        return (until is not None and epochs >= until) or (folder / _PAUSE).exists()

    train = train or trainer(spec.trainer)
    trained = train(start, folder, identity=identity, pause=pause, on_step=on_step)
    if trained.weights is None:
        _write_history(folder, trained.history)
        return None
    record = judge(start, trained, folder, identity=identity, seconds={**loaded, **trained.seconds})
    record.write(folder / FILES.record)
    for name in (FILES.checkpoint, FILES.failure, FILES.history):
        (folder / name).unlink(missing_ok=True)
    return record


def _write_history(folder: Path, history: tuple[EpochRecord, ...]) -> None:
    write_json(folder / FILES.history, [epoch.model_dump(mode="json") for epoch in history])


def _outcome(
    folder: Path, spec: TrialSpec, emit: Callable[[Event], None], until: int | None
) -> Outcome:
    """One trial to its end; an error becomes a failure file and an outcome."""
    try:
        with _locked(folder):
            record = _finish(folder, spec, until, emit)
            return _paused(folder, spec) if record is None else _done(record)
    except BusyError as error:
        return Outcome(spec.key, False, str(error), elsewhere=True)
    except RecordError:
        raise  # a full disk or a wrong folder stops every trial
    except FrostlineError as error:
        return _failed(folder, spec, error, one_line(error))
    except Exception as error:  # out of memory, or a bug: the other trials may still be fine
        _log.exception("trial %s", spec.key.slug)
        return _failed(folder, spec, error, f"{type(error).__name__}: {one_line(error)}")


def _failed(folder: Path, spec: TrialSpec, error: Exception, text: str) -> Outcome:
    write_json(folder / FILES.failure, {"error": type(error).__name__, "text": text})
    return Outcome(spec.key, False, text)


def _paused(folder: Path, spec: TrialSpec) -> Outcome:
    epochs = len(json.loads((folder / FILES.history).read_bytes()))
    return Outcome(spec.key, False, f"paused after epoch {epochs}", paused_at=epochs)


def _done(record: TrialRecord) -> Outcome:
    """The headline of a result."""
    value, label = record.score(), record.task.ranking.label
    flags = "".join(f" [{flag}]" for flag in record.flags)
    return Outcome(
        record.key, True, f"{label} {'n/a' if math.isnan(value) else f'{value:.3f}'}{flags}"
    )


def _finish(
    folder: Path, spec: TrialSpec, until: int | None, emit: Callable[[Event], None]
) -> TrialRecord | None:
    """The trial's record: of another process that was here first, or made now."""

    def on_step(progress: Progress) -> None:
        emit(Stepped(spec.key, progress))

    for leftover in folder.glob(".*.tmp"):  # of a killed process: the lock says it is gone
        leftover.unlink()
    (folder / _PAUSE).unlink(missing_ok=True)  # asked of an earlier attempt
    emit(Started(spec.key))
    if (folder / FILES.record).exists():
        record = TrialRecord.read(folder / FILES.record)
        (folder / FILES.checkpoint).unlink(missing_ok=True)
        return record
    (folder / FILES.failure).unlink(missing_ok=True)  # of an earlier attempt
    append_line(folder / FILES.log, {"event": "started"})
    try:
        with torch_as_before():
            return run_trial(spec, folder, until=until, on_step=on_step)
    except TrainingError:
        # From here it leads to the same failure, and the way out, another rate, would not fit it.
        (folder / FILES.checkpoint).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the trial's folder; the operating system lets go of it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise BusyError(
            "another process is running this trial; run again when it is done"
        ) from None


def _claim(folder: Path, identity: Identity) -> Identity:
    """Write the identity beside the trial, or refuse a folder that holds another trial's work.

    Returns:
        The identity, with the digests under which the work that is there knows it.
    """
    path = folder / FILES.spec
    worked = any((folder / name).exists() for name in (FILES.checkpoint, FILES.record))
    if not (path.exists() and worked):
        write_json(path, identity.to_dict())
        return identity
    try:
        before = Identity.of_stored(json.loads(path.read_bytes()))
        other = changes(before, identity)
    except (ValueError, KeyError):
        raise RecordError(f"cannot read {path}; delete the trial's folder to run it anew") from None
    if other:
        raise RecordError(
            f"{folder.name} holds another trial: {'; '.join(other)}; delete it or use --out for a "
            "new folder"
        )
    return dataclasses.replace(identity, older=identity.older | before.older | {before.digest})
