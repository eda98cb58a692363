"""How a run looks on stderr: bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from frostline.events import Ended, Event, Paused, Stepped
from frostline.events import Progress as TrainingProgress

__all__ = ["follow", "step_note"]

_LINE_EVERY_SECONDS = 30.0


@contextlib.contextmanager
def follow(trials: int) -> Iterator[Callable[[Event], None]]:
    """A function to give to ``Study.run`` that shows what happens.

    Args:
        trials: number of trials that are going to run; 0 where it is not known.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines(trials)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress, trials)


class _Bars:
    """One bar for the study, one for each trial that is running."""

    def __init__(self, progress: Progress, trials: int) -> None:
        self._progress = progress
        self._all = progress.add_task("trials", total=trials or None, note="")
        self._running: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        slug = event.key.slug
        if isinstance(event, Stepped):
            if slug in self._running:  # else a late message of a trial that has ended
                now, task = event.progress, self._running[slug]
                note = step_note(now)
                self._progress.update(task, completed=now.step, total=now.steps, note=note)
        elif isinstance(event, Ended | Paused):
            if slug in self._running:
                self._progress.remove_task(self._running.pop(slug))
            if isinstance(event, Ended):
                self._progress.advance(self._all)
            self._progress.console.print(f"{escape(slug)}: {escape(event.outcome.message)}")
        elif slug not in self._running:  # it may start again, after its worker died
            self._running[slug] = self._progress.add_task(escape(slug), total=None, note="loading")


class _Lines:
    """One line when a trial starts or ends, and one every half minute in between."""

    def __init__(self, trials: int) -> None:
        self._trials = trials
        self._ended = 0
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        slug, now = event.key.slug, time.monotonic()
        if isinstance(event, Stepped):
            if now - self._last.get(slug, now) < _LINE_EVERY_SECONDS:
                self._last.setdefault(slug, now)
                return
            self._last[slug] = now
            p = event.progress
            text = f"epoch {p.epoch}, step {p.step}/{p.steps}, {step_note(p)}"
        elif isinstance(event, Paused):
            text = event.outcome.message
        elif isinstance(event, Ended):
            self._ended += 1
            count = f" ({self._ended} of {self._trials} ended)" if self._trials else ""
            text = f"{event.outcome.message}{count}"
        else:
            text = "started"
        print(f"{slug}: {text}", file=sys.stderr, flush=True)  # noqa: T201


def step_note(now: TrainingProgress) -> str:
    """Loss, speed and time left of a running trial."""
    left = now.seconds_left / 60
    return f"loss {now.loss:.3f}, {now.images_per_second:.1f} images/s, {left:.1f} min left"
