"""Commands and options that people have in their scripts."""

import typer.main

from frostline.cli import app

OPTIONS = {
    "advise": [
        *("--budget", "--device", "--dry-run", "--format", "--keep", "--out", "--prefer"),
        *("--threads", "--workers"),
        "STUDY",
    ],
    "demo": ["--workers", "DIR"],
    "doctor": ["--format"],
    "init": [
        *("--backbone", "--device", "--force", "--images", "--layout", "--out", "--task"),
        *("--weights", "DATA"),
    ],
    "layers": ["--format", "MODEL"],
    "plan": ["--cell", "--init", "--out", "--rule", "--t", "DIR"],
    "predict": [
        *("--device", "--no-pictures", "--out", "--threshold"),
        *("WEIGHTS", "IMAGES..."),
    ],
    "report": ["--base", "DIR"],
    "run": ["--device", "--dry-run", "--format", "--out", "--threads", "--workers", "STUDY"],
    "schema": [],
    "status": ["--format", "DIR"],
}


def test_commands() -> None:
    group = typer.main.get_group(app)
    assert sorted(group.commands) == sorted([*OPTIONS, "data", "diff"])


def test_options() -> None:
    group = typer.main.get_group(app)
    for name, expected in OPTIONS.items():
        params = [p for p in group.commands[name].params if p.name != "help"]
        options = [name for p in params if p.param_type_name == "option" for name in p.opts]
        arguments = [
            str(p.metavar or p.name).upper() for p in params if p.param_type_name == "argument"
        ]
        assert sorted(options) + arguments == expected, name


def test_every_command_and_option_has_help() -> None:
    group = typer.main.get_group(app)
    for name in OPTIONS:
        assert group.commands[name].help, name
