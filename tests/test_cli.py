"""The command line as a user meets it: exit codes, one-line errors, stdout for results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import write_study

FAST = {"depths": ["all"], "schedule": {"epochs": 1, "batch_size": 3}}


def _frostline(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "frostline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two trials, run from the command line."""
    folder = tmp_path_factory.mktemp("cli")
    write_study(folder, **FAST)
    result = _frostline("run", "study.yaml", "--format", "json", cwd=folder)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [row["init"] for row in rows] == ["a", "b"]
    assert "next: frostline report runs/study" in result.stderr
    return folder


def test_status_and_report(done: Path) -> None:
    status = _frostline("status", "runs/study", "--format", "csv", cwd=done)
    assert status.stdout.splitlines() == [
        "init,depth,seed,state,detail",
        "a,52,0,done,",
        "b,52,0,done,",
    ]
    report = _frostline("report", "runs/study", cwd=done)
    assert report.returncode == 0, report.stderr
    assert (done / report.stdout.strip()).read_text().startswith("<!doctype html>")


def test_running_again_has_nothing_to_do(done: Path) -> None:
    result = _frostline("run", "study.yaml", cwd=done)
    assert result.returncode == 0
    assert "started" not in result.stderr


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_study(tmp_path)
    result = _frostline("run", "study.yaml", "--dry-run", "--format", "json", cwd=tmp_path)
    assert json.loads(result.stdout)[0]["left"] == 6
    assert not (tmp_path / "runs").exists()


def test_layers_prints_both_numberings() -> None:
    result = _frostline("layers", "resnet50", "--format", "json")
    rows = json.loads(result.stdout)
    assert len(rows) == 53
    assert rows[10] == {
        "k": 11,
        "paper": 9,
        "convolution": "layer1.2.conv3",
        "stage": "layer1",
        "role": "main",
        "weight": "256x64x1x1",
        "batch norm": "layer1.2.bn3",
        "completes": "layer1",
    }
    assert "layer4.2.conv3" in _frostline("layers", "resnet50").stdout


def test_doctor_and_version() -> None:
    assert "torchvision" in _frostline("doctor").stdout
    assert _frostline("--version").stdout.startswith("frostline ")


def test_a_failed_trial_is_exit_code_one(tmp_path: Path) -> None:
    hot = {"hot": {"source": "a.safetensors", "schedule": {"lr": 1e30, "clip_norm": None}}}
    write_study(tmp_path, inits=hot, depths=[0], schedule={"epochs": 2, "batch_size": 1})
    result = _frostline("run", "study.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert "failed: hot-k00-s0: loss is not finite" in result.stderr


BAD = {
    "unknown key": ({"dephts": [0]}, "did you mean 'depths'"),
    "depth beyond the model": ({"depths": [99]}, "expected 0 to 52"),
    "missing weights": ({"inits": {"a": {"source": "no.pth"}}}, "does not exist"),
    "corrupt weights": ({"inits": {"a": {"source": "train.csv"}}}, "train.csv"),
    "missing images": (
        {"data": {"images": "none", "annotations": "train.csv", "split": {"fraction": 0.5}}},
        "none",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_two(tmp_path: Path, case: str) -> None:
    changes, message = BAD[case]
    write_study(tmp_path, **changes)
    result = _frostline("run", "study.yaml", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = _frostline("--debug", "run", tmp_path / "none.yaml")
    assert "Traceback" in result.stderr
    plain = _frostline("run", tmp_path / "none.yaml")
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
