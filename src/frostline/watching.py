"""How a run looks from Python: a notebook's cell, bars on a terminal, nothing elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from html import escape

from rich.console import Console

from frostline.cli_progress import follow, step_note
from frostline.events import Ended, Event, Paused, Progress, Stepped

__all__ = ["watch"]

_SECONDS_BETWEEN_UPDATES = 0.5


@contextlib.contextmanager
def watch(trials: int, *, silent: bool = False) -> Iterator[Callable[[Event], None]]:
    """A function to give to ``Study.run`` that shows what happens where Python runs.

    Args:
        trials: number of trials that are going to run; 0 where it is not known.
        silent: show nothing, wherever it is.
    """
    console = Console(file=sys.stderr)
    if silent or not (console.is_jupyter or console.is_terminal):
        yield lambda event: None
    elif console.is_jupyter:
        cell = _Cell(trials)
        yield cell
        cell.show()
    else:
        with follow(trials) as bars:
            yield bars


class _Cell:
    """The output of one notebook cell, replaced as the trials go on."""

    def __init__(self, trials: int) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._trials = trials
        self._running: dict[str, Progress | None] = {}
        self._ended: dict[str, str] = {}
        self._shown_at = time.monotonic()
        self._handle = display(HTML(self.text()), display_id=True)

    def __call__(self, event: Event) -> None:
        slug = event.key.slug
        if isinstance(event, Ended | Paused):
            self._running.pop(slug, None)
            self._ended[slug] = event.outcome.message
        elif slug not in self._ended:  # else a late message of a trial that has ended
            self._running[slug] = event.progress if isinstance(event, Stepped) else None
        if isinstance(event, Ended) or time.monotonic() - self._shown_at > _SECONDS_BETWEEN_UPDATES:
            self.show()

    def show(self) -> None:
        """Replace what the cell shows by where things stand now."""
        self._handle.update(self._html(self.text()))
        self._shown_at = time.monotonic()

    def text(self) -> str:
        """The cell as HTML."""
        rows = [f"<tr>{_cells(slug, message)}</tr>" for slug, message in self._ended.items()]
        for slug, now in self._running.items():
            bar = f'<progress value="{now.step}" max="{now.steps}"></progress> ' if now else ""
            note = step_note(now) if now else "loading"
            rows.append(f"<tr>{_cells(slug, note, bar)}</tr>")
        of = f" of {self._trials}" if self._trials else ""
        caption = f"{len(self._ended)}{of} trials ended"
        return f"<table><caption>{caption}</caption>{''.join(rows)}</table>"


def _cells(slug: str, text: str, bar: str = "") -> str:
    return f"<td>{escape(slug)}</td><td>{bar}{escape(text)}</td>"
