"""Every kind of finding is explained, and nothing else is."""

import ast
from pathlib import Path

import pytest
from typer.testing import CliRunner

import frostline.datasets
from frostline.cli_data import data_app
from frostline.datasets import findings
from frostline.datasets.codes import CODES, explain
from frostline.errors import DatasetError

SOURCE = Path(frostline.datasets.__file__).parent
MAKERS = ("error", "warning", "note", "Finding", "_BadEntryError")
OTHERS = {findings.PATH_FOUND, findings.UNLISTED, "image-missing", "image-unreadable"}


def made() -> set[str]:
    """Codes that stand in the calls that make findings."""
    return {
        argument.value
        for path in SOURCE.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", getattr(call.func, "id", "")) in MAKERS
        for argument in call.args[:2]
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and "-" in argument.value
        and " " not in argument.value
    }


def test_every_code_is_explained() -> None:
    assert made() | OTHERS == set(CODES)
    assert list(CODES) == sorted(CODES)
    for code in CODES:
        text = explain(code)
        assert text.startswith(f"{code}: ")
        assert text.isprintable()


def test_unknown_code_is_told_with_the_nearest() -> None:
    with pytest.raises(DatasetError, match=r"got 'box-emtpy'; did you mean box-empty\?"):
        explain("box-emtpy")


def test_on_the_command_line() -> None:
    result = CliRunner().invoke(data_app, ["check", "--explain", "box-empty"])
    assert result.exit_code == 0
    assert result.stdout == "box-empty: a box has no area; correct or remove it\n"
    nothing = CliRunner().invoke(data_app, ["check"])
    assert nothing.exit_code == 2
