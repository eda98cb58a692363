"""An engine that is not ours: last in, first out, in this process."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from frostline.attempt import ask_to_pause, attempt
from frostline.engines import Job
from frostline.events import Event, Outcome


class ToyEngine:
    """Runs what was submitted last first."""

    def __init__(self, workers: int) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Put a trial in line."""
        self.jobs.append(job)

    def wait(self, on_event: Callable[[Event], None]) -> list[Outcome]:
        """Run all."""
        ended = []
        while self.jobs:
            job = self.jobs.pop()
            ended.append(attempt(job.folder, job.spec, until=job.until, emit=on_event))
        return ended

    def pause(self, folder: Path) -> None:
        """At the end of its epoch."""
        ask_to_pause(folder)

    def cancel(self, folder: Path) -> None:
        """Take it out of line."""
        self.jobs = [job for job in self.jobs if job.folder != folder]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.jobs = []
