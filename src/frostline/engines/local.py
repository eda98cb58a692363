"""Trials on this machine: in this process, or side by side in several.

A worker ends when the process that started it ends, however that ended, and a lock keeps two
workers out of one folder (where the platform has one): whatever is killed, a trial is written by
one process at a time.
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from frostline.engines.events import Event, Outcome
from frostline.errors import (
    BusyError,
    ConfigError,
    FrostlineError,
    RecordError,
    TrainingError,
    one_line,
)
from frostline.records import TrialRecord, append_line, write_json
from frostline.training import Progress, torch_as_before
from frostline.trial import FILES, TrialSpec, run_trial

__all__ = ["run_local"]

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_queue: "Queue[Event] | None" = None

OnEvent = Callable[[Event], None]


def run_local(
    trials: Mapping[Path, TrialSpec],
    *,
    workers: int = 1,
    on_event: OnEvent = lambda event: None,
) -> list[Outcome]:
    """Run trials, each in its own folder, and go on after one has failed.

    Args:
        trials: trial folder to cell, in the order in which they start.
        workers: how many run side by side, >= 1; with 1 they run in this process.
        on_event: called in this process for everything that happens.

    Returns:
        One outcome per trial, in the order in which they ended.

    Raises:
        ConfigError: an observer cannot be sent to another process; nothing has run.
        RecordError: a record cannot be written; what is left would fail as well.
        KeyboardInterrupt: Ctrl-C; finished trials keep their records, the others their checkpoints.
    """
    run = _run_here if workers == 1 else _run_in_processes
    outcomes = []
    for outcome in run(trials, workers, on_event):
        on_event(Event("ended", outcome.key, outcome=outcome))
        outcomes.append(outcome)
    return outcomes


def _run_here(
    trials: Mapping[Path, TrialSpec], _workers: int, on_event: OnEvent
) -> Iterator[Outcome]:
    for folder, spec in trials.items():
        yield _run_one(folder, spec, on_event)


def _run_one(folder: Path, spec: TrialSpec, on_event: OnEvent) -> Outcome:
    """One trial to its end; an error becomes a failure file and an outcome."""
    on_event(Event("started", spec.key))

    def on_step(progress: Progress) -> None:
        on_event(Event("step", spec.key, progress=progress))

    try:
        with _locked(folder):
            return Outcome(spec.key, True, _headline(_finish(folder, spec, on_step)))
    except BusyError as error:
        return Outcome(spec.key, False, str(error))
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


def _finish(folder: Path, spec: TrialSpec, on_step: Callable[[Progress], None]) -> TrialRecord:
    """The trial's record: of another process that was here first, or made now."""
    for leftover in folder.glob(".*.tmp"):  # of a killed process: the lock says it is gone
        leftover.unlink()
    if (folder / FILES.record).exists():
        (folder / FILES.checkpoint).unlink(missing_ok=True)
        return TrialRecord.read(folder / FILES.record)
    (folder / FILES.failure).unlink(missing_ok=True)  # of an earlier attempt
    append_line(folder / FILES.log, {"event": "started"})
    try:
        with torch_as_before():
            return run_trial(spec, folder, on_step=on_step)
    except TrainingError:
        # From here it leads to the same failure, and the way out, another rate, would not fit it.
        (folder / FILES.checkpoint).unlink(missing_ok=True)
        raise


def _headline(record: TrialRecord) -> str:
    ap = record.metrics["val"]["coco"]["overall"]["ap"]
    flags = "".join(f" [{flag}]" for flag in record.flags)
    return f"AP {'n/a' if ap is None else f'{ap:.3f}'}{flags}"


def _run_in_processes(
    trials: Mapping[Path, TrialSpec], workers: int, on_event: OnEvent
) -> Iterator[Outcome]:
    for spec in trials.values():
        _require_sendable(spec)
    context = multiprocessing.get_context("spawn")  # forking a threaded torch can deadlock
    events: Queue[Event] = context.Queue()
    pool = ProcessPoolExecutor(workers, context, initializer=_enter_worker, initargs=(events,))
    try:
        with _ctrl_c_is_ours():
            futures = {pool.submit(_in_worker, *trial): trial[1] for trial in trials.items()}
        yield from _collect(futures, events, on_event)
    except BaseException:
        _stop(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _require_sendable(spec: TrialSpec) -> None:
    """Refuse now what would end the pool later; all else in a spec is plain values."""
    try:
        pickle.dumps(spec.observer)
    except Exception as error:  # pickle raises what the object's own code raises
        raise ConfigError(
            f"expected an observer that can be pickled and sent to a worker ({one_line(error)}); "
            "define it at the top of a module, or run with one worker"
        ) from None


def _collect(
    futures: Mapping["Future[Outcome]", TrialSpec], events: "Queue[Event]", on_event: OnEvent
) -> Iterator[Outcome]:
    pending, started = set(futures), set()

    def note(event: Event) -> None:
        started.add(event.key)
        on_event(event)

    while pending:
        done, pending = wait(pending, _POLL_SECONDS, FIRST_COMPLETED)
        _forward(events, note)
        for future in done:
            key = futures[future].key
            try:
                yield future.result()
            except BrokenProcessPool:
                died = "a worker died (out of memory, or killed)" if key in started else "not run"
                yield Outcome(key, False, f"{died}; run again to go on")


def _forward(events: "Queue[Event]", on_event: OnEvent) -> None:
    while not events.empty():
        on_event(events.get())


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now: every trial has its checkpoint, nothing waits for an epoch's end."""
    processes: Sequence[Any] = list((getattr(pool, "_processes", None) or {}).values())
    for process in processes:
        process.terminate()


@contextlib.contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first moment: the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _enter_worker(events: "Queue[Event]") -> None:
    global _queue  # noqa: PLW0603  (one per process, set when the process starts)
    _queue = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only called in a worker"
    parent.join()
    os._exit(1)


def _in_worker(folder: Path, spec: TrialSpec) -> Outcome:
    assert _queue is not None, "set when the worker starts"
    return _run_one(folder, spec, _queue.put)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the trial's folder; the operating system lets go of it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        if not _try_lock(file.fileno()):
            raise BusyError("another process is writing this trial; wait for it")
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks; nothing is lost but this check
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
