"""Commands and options that people have in their scripts."""

import typer.main

from frostline.cli import app

OPTIONS = {
    "demo": ["folder", "workers"],
    "doctor": ["output"],
    "layers": ["model", "output"],
    "report": ["data_root", "folder"],
    "run": ["device", "dry_run", "out", "output", "study", "threads", "workers"],
    "status": ["folder", "output"],
}


def test_commands() -> None:
    group = typer.main.get_group(app)
    assert sorted(group.commands) == sorted([*OPTIONS, "data", "diff"])


def test_options() -> None:
    group = typer.main.get_group(app)
    for name, expected in OPTIONS.items():
        got = sorted(p.name for p in group.commands[name].params if p.name != "help")
        assert got == expected, name


def test_every_command_and_option_has_help() -> None:
    group = typer.main.get_group(app)
    for name in OPTIONS:
        assert group.commands[name].help, name
