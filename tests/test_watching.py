"""What shows a run from Python: a notebook's cell, a terminal's bars, or nothing."""

import io
import sys
import types
from typing import Any

import pytest

from frostline.events import Ended, Outcome, Progress, Started, Stepped
from frostline.records import TrialKey
from frostline.watching import watch

KEY = TrialKey(init="<b>", plan="k09", seed=0)
STEP = Progress(epoch=1, step=3, steps=8, loss=0.5, images_per_second=4.0, seconds_left=90.0)
EVENTS = (
    Started(KEY),
    Stepped(KEY, STEP),
    Ended(KEY, Outcome(KEY, True, "AP 0.500 & more")),
    Stepped(KEY, STEP),  # a worker's message may come late
)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kernel as rich and the cell see it; what the cell showed, in turn."""
    shown: list[str] = []

    class Handle:
        def update(self, html: str) -> None:
            shown.append(html)

    def display(html: str, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(html)
        return Handle()

    module = types.ModuleType("IPython.display")
    module.HTML, module.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console.Console.is_terminal", False)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("frostline.watching._SECONDS_BETWEEN_UPDATES", -1.0)
    return shown


def test_a_cell_of_a_notebook(notebook: list[str]) -> None:
    with watch(2) as show:
        for event in EVENTS:
            show(event)
    assert "0 of 2 trials ended" in notebook[0]
    assert "loading" in notebook[1]
    assert (
        '<progress value="3" max="8"></progress> loss 0.500, 4.0 images/s, 1.5 min' in notebook[2]
    )
    assert "1 of 2 trials ended" in notebook[-1]
    assert "AP 0.500 &amp; more" in notebook[-1]
    assert "progress" not in notebook[-1]
    assert all("<b>" not in html for html in notebook)


def test_steps_do_not_flood_a_notebook(
    notebook: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.watching._SECONDS_BETWEEN_UPDATES", 60.0)
    with watch(1) as show:
        for _ in range(100):
            show(EVENTS[1])
    assert len(notebook) == 2  # when it starts, and when it ends


@pytest.mark.parametrize("silent", [False, True])
def test_nothing_where_nobody_looks(
    silent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if silent:
        monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with watch(1, silent=silent) as show:
        for event in EVENTS:
            show(event)
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with watch(1) as show:
        for event in EVENTS:
            show(event)
    assert "0.500" in terminal.getvalue()
