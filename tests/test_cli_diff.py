"""``frostline diff`` as a command: output, exit codes, and what it does not import."""

import csv
import io
import json
import subprocess
import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

from frostline.cli_diff import diff
from frostline.errors import AlignmentError, CheckpointError, ConfigError

app = typer.Typer()
app.command()(diff)


def net(seed):
    g = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        + 1e-3 * torch.randn(4, 3, 3, 3, generator=g),
        "fc.weight": torch.randn(5, 4, generator=torch.Generator().manual_seed(0)),
        "=formula": torch.ones(2) * (seed + 1),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for seed in range(4):
        torch.save(net(seed), tmp_path / f"{seed}.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_table(folder):
    result = run("0.pth", "1.pth")
    assert result.exit_code == 0
    assert "conv.weight" in result.stdout
    assert "1-|cos|" in result.stdout
    assert "file order: no known backbone" in result.stderr


def test_json(folder):
    content = json.loads(run("0.pth", "1.pth", "--format", "json").stdout)
    assert content["before"] == "0.pth"
    assert [row["name"] for row in content["rows"]] == ["conv.weight"]
    assert content["rows"][0]["precision"] == "float64"


def test_csv(folder):
    rows = list(
        csv.DictReader(
            io.StringIO(run("0.pth", "1.pth", "--format", "csv", "--kind", "all").stdout)
        )
    )
    assert [row["name"] for row in rows] == ["conv.weight", "fc.weight", "'=formula"]
    assert rows[0]["shape"] == "4x3x3x3"
    assert 0 < float(rows[0]["cosine"]) < 1e-4
    assert float(rows[1]["cosine"]) == 0
    assert float(rows[0]["filters_median"]) > 0


def test_several_files_are_a_trajectory(folder):
    content = json.loads(run("0.pth", "1.pth", "2.pth", "--format", "json").stdout)
    assert content["steps"] == ["1.pth", "2.pth"]
    assert len(content["rows"][0]["cosine"]) == 2
    header = run("0.pth", "1.pth", "2.pth", "--format", "csv").stdout.splitlines()[0]
    assert "cosine 1.pth,cosine 2.pth" in header
    assert "2.pth" in run("0.pth", "1.pth", "2.pth").stdout


def test_seeds(folder):
    result = run("0.pth", "1.pth", "2.pth", "--seeds", "--control", "3.pth", "--factor", "0.5")
    assert "moved" in result.stdout
    assert "of 1 moved: signal > 0.5 x floor" in result.stderr
    content = json.loads(run("0.pth", "1.pth", "2.pth", "--seeds", "--format", "json").stdout)
    assert content["rows"][0]["floor"] > 0


def test_figures_and_pages(folder):
    run("0.pth", "1.pth", "--plot", "x.svg", "--html", "x.html")
    assert "<svg" in (folder / "x.svg").read_text()
    assert "conv.weight" in (folder / "x.html").read_text()


def test_fail_above(folder):
    assert run("0.pth", "1.pth", "--fail-above", "1e-3").exit_code == 0
    result = run("0.pth", "1.pth", "--fail-above", "1e-12")
    assert result.exit_code == 1
    assert "conv.weight" in result.stderr
    assert run("0.pth", "1.pth", "2.pth", "--fail-above", "1e-12").exit_code == 1
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, folder / "zero.pth")
    assert run("0.pth", "zero.pth", "--fail-above", "0.9").exit_code == 1


def test_map_and_show_map(folder):
    torch.save({"other.weight": net(1)["conv.weight"], "more": torch.zeros(9)}, folder / "x.pth")
    shown = json.loads(
        run("0.pth", "x.pth", "--map", "conv=other", "--show-map", "--format", "json").stdout
    )
    assert {"before": "conv.weight", "after": "other.weight", "how": "map"} in shown
    assert {"before": None, "after": "more", "how": None} in shown
    assert {"before": "fc.weight", "after": None, "how": None} in shown
    assert "conv.weight" in run("0.pth", "x.pth", "--show-map").stdout
    assert run("0.pth", "x.pth", "1.pth", "--show-map", "--format", "csv").stdout.startswith(
        "file,"
    )


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["0.pth", "gone.pth"], CheckpointError),
        (["0.pth", "1.pth", "--map", "nosign"], ConfigError),
        (["0.pth", "1.pth", "--map", "a=b"], AlignmentError),
        (["0.pth", "1.pth", "--plot", "x.jpg"], ConfigError),
        (["0.pth", "1.pth", "--control", "2.pth"], ConfigError),
        (["0.pth", "1.pth", "--seeds"], ConfigError),
        (["0.pth", "1.pth", "--include", "x*"], AlignmentError),
        (["0.pth", "1.pth", "--section", "model"], CheckpointError),
        (["0.pth", "1.pth", "--model", "resnet50"], AlignmentError),
    ],
)
def test_misuse_is_one_line(folder, args, error):
    with pytest.raises(error) as caught:
        run(*args)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (folder / "x.jpg").exists()


def test_unknown_kind(folder):
    assert run("0.pth", "1.pth", "--kind", "convs").exit_code == 2


def test_no_terminal_escapes_in_tables(folder):
    torch.save({"\x1b[31mred.weight": torch.ones(2, 2)}, "evil.pth")
    assert "\x1b[31m" not in run("evil.pth", "evil.pth").stdout


IMPORTS = """
import sys, typer
from frostline.cli_diff import diff
app = typer.Typer()
app.command()(diff)
app(sys.argv[1:], standalone_mode=False)
print(*sorted(sys.modules), file=sys.stderr)
"""
HEAVY = {
    "torch",
    "matplotlib",
    "pydantic",
    "safetensors",
    "yaml",
    "jinja2",
    "PIL",
    "lightning_fabric",
}


@pytest.mark.parametrize("output", ["json", "csv", "table"])
def test_imports_are_counted(folder, output):
    command = [sys.executable, "-c", IMPORTS, "0.pth", "1.pth", "--format", output]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & HEAVY
    ours = {name for name in loaded if name.startswith("frostline")}
    assert "frostline.figures" not in ours
    assert "frostline.comparison.page" not in ours
    if output != "table":
        assert "rich.table" not in loaded
