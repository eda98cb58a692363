"""Tables at several widths: no number is cut, and what is left out is said."""

import re

import pytest

from frostline.cli_table import print_csv, print_table

ROWS = [
    {"#": 1, "layer": "features.0.0.weight", "shape": "32x3x3x3", "l": 5.46e-5, "note": None},
    {"#": 2, "layer": "features.1.conv.0.0.weight", "shape": "32x1x3x3", "l": 0.25, "note": None},
]


def written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, **options: str
) -> tuple[str, str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the capture for a terminal
    rows = [row | options for row in ROWS]
    print_table(rows, cell=lambda _, value: "" if value is None else str(value), spare=("shape",))
    out, err = capsys.readouterr()
    return re.sub(r"\x1b\[[0-9;]*m", "", out), err


def test_all_columns_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = written(capsys, monkeypatch, 80)
    assert "32x3x3x3" in out
    assert "note" not in out, "a column without values is no column"
    assert err == ""


def test_a_column_that_does_not_fit_is_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = written(capsys, monkeypatch, 50)
    assert "32x3x3x3" not in out
    assert "features.1.conv.0.0.weight" in out
    assert err == "no room for shape: widen the terminal, or --format csv\n"


@pytest.mark.parametrize("width", [10, 24, 30])
def test_text_is_folded_and_numbers_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    out, _ = written(capsys, monkeypatch, width)
    assert "5.46e-05" in out
    assert "features.1.conv.0.0.weight" not in out


def test_long_text_leaves_its_neighbours_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = written(capsys, monkeypatch, 100, note="a long remark " * 10)
    assert "32x3x3x3" in out
    assert err == ""


def test_a_pipe_has_no_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    print_table(ROWS, cell=lambda _, value: str(value), spare=("shape",))
    out, err = capsys.readouterr()
    assert "32x3x3x3" in out
    assert err == ""


def test_nothing_draws_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "=größe\x1b[31m\n", "n": -1.5}]
    print_table(rows, cell=lambda _, value: str(value))
    assert "=größe\\x1b[31m\\n" in capsys.readouterr().out
    print_csv(rows)
    assert capsys.readouterr().out == "name,n\n'=größe\\x1b[31m\\n,-1.5\n"
