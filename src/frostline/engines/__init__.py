"""Engines run trials, here or elsewhere: they only schedule, ``attempt`` does the work."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from frostline.errors import ConfigError
from frostline.events import Event, Outcome
from frostline.members import ENGINES, member
from frostline.trial import TrialSpec

__all__ = ["Engine", "Job", "engine", "run_trials"]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One trial to advance.

    Attributes:
        folder: the trial's own folder.
        spec: the cell; its ``threads`` and ``device`` are the resources that it asks for.
        until: epochs after which to pause; None runs to the end.
    """

    folder: Path
    spec: TrialSpec
    until: int | None = None


class Engine(Protocol):
    """Advances trials side by side. Made with a number of workers; closed when it is left.

    All methods are called in the process, and the thread, that made it; ``pause`` and ``cancel``
    also from ``on_event``.
    """

    def __init__(self, workers: int) -> None: ...

    def submit(self, job: Job) -> None:
        """Put a trial in line; one that was paused goes on where it was.

        Raises:
            ConfigError: it cannot be sent to where it would run; nothing has run.
        """

    def wait(self, on_event: Callable[[Event], None]) -> list[Outcome]:
        """Run until every submitted trial has ended, is paused or was cancelled.

        Raises:
            RecordError: a record cannot be written; what is left would fail as well.
            KeyboardInterrupt: Ctrl-C; finished trials keep their records, the others their
                checkpoints.
        """

    def pause(self, folder: Path) -> None:
        """Let a trial pause at the end of its epoch; one still in line pauses before its first."""

    def cancel(self, folder: Path) -> None:
        """Take a trial out of line, or end it now: its last checkpoint stays."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def engine(name: str = "local", *, workers: int = 1) -> Engine:
    """An engine by its name.

    Raises:
        ConfigError: there is none of that name; names the nearest. Or there are no workers.
    """
    if workers < 1:
        raise ConfigError(f"expected at least 1 worker, got {workers}")
    made: Engine = member(ENGINES, name, "engine")(workers)
    return made


def run_trials(
    trials: Mapping[Path, TrialSpec],
    *,
    workers: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[Outcome]:
    """Run trials here to their ends, each in its own folder, and go on after one has failed.

    Args:
        trials: trial folder to cell, in the order in which they start.
        workers: how many run side by side, >= 1; with 1 they run in this process.
        on_event: called in this process for everything that happens.

    Returns:
        One outcome per trial, in the order in which they ended.

    Raises:
        FrostlineError: as ``Engine.submit`` and ``Engine.wait``.
    """
    with engine(workers=workers) as here:
        for folder, spec in trials.items():
            here.submit(Job(folder, spec))
        return here.wait(on_event)
