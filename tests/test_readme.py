"""The README's commands, typed after `make demo` as they stand."""

import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from frostline.cli import app, main
from frostline.demo import write_demo

README = Path(__file__).parents[1] / "README.md"
COMMANDS = [
    shlex.split(line.strip(), comments=True)[1:]
    for line in README.read_text().splitlines()
    if line.startswith("    frostline ")
]
TRAINED = "demo/runs/"  # what these name is there only after the demo's study has run


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in COMMANDS}
    assert shown == set(typer.main.get_group(app).commands) - {"demo"}


def test_commands_work_on_what_the_demo_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_demo(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    ran = 0
    for words in COMMANDS:
        if any(word.startswith(TRAINED) for word in words) or words == ["run", "demo/study.yaml"]:
            continue
        monkeypatch.setattr(sys, "argv", ["frostline", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code in (0, None), words
        ran += 1
    assert ran >= 4
