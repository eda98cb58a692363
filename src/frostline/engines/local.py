"""Trials on this machine: in this process, or side by side in several.

A worker ends when the process that started it ends, however that ended. A worker that dies is
replaced, and its trial goes on from its checkpoint once more; whatever is killed, a trial is
written by one process at a time.
"""

import collections
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from frostline.attempt import ask_to_pause, attempt
from frostline.engines import Job
from frostline.errors import ConfigError, FrostlineError, RecordError, one_line
from frostline.events import Ended, Event, Outcome, Paused, Started
from frostline.trial import TrialSpec

__all__ = ["LocalEngine"]

_log = logging.getLogger(__name__)
_MOST_DEATHS = 2  # of one trial's workers: a trial that kills them would go on for ever

OnEvent = Callable[[Event], None]


class _CancelledError(BaseException):
    """Ends a trial in this process from inside; no handler of errors may take it for one."""


@dataclasses.dataclass(slots=True, eq=False)
class _Worker:
    """A process that runs one trial after another."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None

    def end(self) -> None:
        """Now: every trial has its checkpoint, nothing waits for an epoch's end."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


class LocalEngine:
    """The engine of this machine; see ``Engine``. With one worker, trials run in this process."""

    def __init__(self, workers: int = 1) -> None:
        self._count = workers
        self._line: collections.deque[Job] = collections.deque()
        self._workers: list[_Worker] = []
        self._deaths: collections.Counter[Path] = collections.Counter()
        self._cancelled: set[Path] = set()
        self._pausing: set[Path] = set()  # holds for another worker, too
        self._begun: set[Path] = set()
        self._outcomes: list[Outcome] = []

    def submit(self, job: Job) -> None:
        """Put a trial in line."""
        if self._count > 1:
            _require_sendable(job.spec)
        self._cancelled.discard(job.folder)
        self._pausing.discard(job.folder)
        self._deaths.pop(job.folder, None)
        self._line.append(job)

    def pause(self, folder: Path) -> None:
        """Let a trial pause at the end of its epoch; one still in line before its first."""
        self._pausing.add(folder)
        if folder in self._begun:
            ask_to_pause(folder)

    def cancel(self, folder: Path) -> None:
        """Take a trial out of line, or end it now."""
        self._cancelled.add(folder)

    def wait(self, on_event: OnEvent) -> list[Outcome]:
        """Run until every submitted trial has ended, is paused or was cancelled."""
        self._outcomes = []
        if self._count == 1:
            self._run_here(on_event)
        else:
            self._run_in_workers(on_event)
        return self._outcomes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    # In this process

    def _run_here(self, on_event: OnEvent) -> None:
        while self._line:
            job = self._next()

            def emit(event: Event, job: Job = job) -> None:
                self._note(job, event)
                on_event(event)
                if job.folder in self._cancelled and not isinstance(event, Ended | Paused):
                    raise _CancelledError

            try:
                if job.folder in self._cancelled:
                    raise _CancelledError
                self._outcomes.append(attempt(job.folder, job.spec, until=job.until, emit=emit))
            except _CancelledError:
                self._end(job, _cancelled(job), on_event)

    # In workers

    def _run_in_workers(self, on_event: OnEvent) -> None:
        while self._line or any(worker.job for worker in self._workers):
            self._hand_out(on_event)
            busy = [worker for worker in self._workers if worker.job]
            things = [thing for w in busy for thing in (w.connection, w.process.sentinel)]
            wait(things, timeout=0.2)
            for worker in busy:
                self._listen(worker, on_event)

    def _hand_out(self, on_event: OnEvent) -> None:
        """Give every idle worker a trial; start as many workers as there is work for."""
        for job in [job for job in self._line if job.folder in self._cancelled]:
            self._line.remove(job)
            self._end(job, _cancelled(job), on_event)
        while self._line:
            worker = next((worker for worker in self._workers if worker.job is None), None)
            if worker is None and len(self._workers) == self._count:
                return
            if worker is None:
                worker = _start_worker()
                self._workers.append(worker)
            worker.job = self._next()
            with contextlib.suppress(OSError):  # it has died: noticed where it is listened to
                worker.connection.send(worker.job)

    def _listen(self, worker: _Worker, on_event: OnEvent) -> None:
        """Everything that a worker has said, then whether it still lives."""
        alive = worker.process.is_alive()  # asked first: what it said before it died still counts
        try:
            while worker.job is not None and worker.connection.poll():
                self._hear(worker, worker.connection.recv(), on_event)
        except (EOFError, OSError):
            alive = False
        job = worker.job
        if job is not None and job.folder in self._cancelled:
            self._drop(worker)
            self._end(job, _cancelled(job), on_event)
        elif not alive:
            self._drop(worker)
            if job is not None:
                self._mourn(job, on_event)

    def _hear(self, worker: _Worker, message: Event | FrostlineError, on_event: OnEvent) -> None:
        if isinstance(message, FrostlineError):
            raise message
        assert worker.job is not None, "an idle worker says nothing"
        self._note(worker.job, message)
        if isinstance(message, Ended | Paused):
            worker.job = None
            self._outcomes.append(message.outcome)
        on_event(message)

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def _mourn(self, job: Job, on_event: OnEvent) -> None:
        """A worker died: its trial goes on in another, unless it was not the first one's."""
        self._deaths[job.folder] += 1
        if self._deaths[job.folder] < _MOST_DEATHS:
            _log.warning("the worker of %s died; another goes on", job.spec.key.slug)
            self._line.appendleft(job)
            return
        text = "its worker died twice (out of memory, or killed); run again to go on"
        self._end(job, Outcome(job.spec.key, False, text), on_event)

    def _next(self) -> Job:
        job = self._line.popleft()
        return dataclasses.replace(job, until=0) if job.folder in self._pausing else job

    def _note(self, job: Job, event: Event) -> None:
        """A trial has begun, and what was asked of it until then holds; or it is over."""
        if isinstance(event, Started):
            self._begun.add(job.folder)
            if job.folder in self._pausing:
                ask_to_pause(job.folder)
        elif isinstance(event, Ended | Paused):
            self._begun.discard(job.folder)

    def _end(self, job: Job, outcome: Outcome, on_event: OnEvent) -> None:
        self._begun.discard(job.folder)
        self._outcomes.append(outcome)
        on_event(Ended(job.spec.key, outcome))


def _cancelled(job: Job) -> Outcome:
    return Outcome(job.spec.key, False, "cancelled; run again to go on")


def _require_sendable(spec: TrialSpec) -> None:
    """Refuse now what would end a worker later; all else in a spec is plain values."""
    try:
        pickle.dumps(spec.observer)
    except Exception as error:  # pickle raises what the object's own code raises
        raise ConfigError(
            f"expected an observer that can be pickled and sent to a worker ({one_line(error)}); "
            "define it at the top of a module, or run with one worker"
        ) from None


def _start_worker() -> _Worker:
    context = multiprocessing.get_context("spawn")  # forking a threaded torch can deadlock
    ours, its = context.Pipe()
    process = context.Process(target=_work, args=(its,), daemon=False)
    with _ctrl_c_is_ours():
        process.start()
    its.close()
    return _Worker(process, ours)


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


def _work(connection: Connection) -> None:
    """What a worker does: trials as they come, until its connection or its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        try:
            attempt(job.folder, job.spec, until=job.until, emit=connection.send)
        except RecordError as error:
            connection.send(RecordError(str(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only called in a worker"
    parent.join()
    os._exit(1)
