"""``frostline init`` and ``schema`` as a user meets them."""

import json
import re
from pathlib import Path

import pytest

from frostline.config import load_study
from tests.helpers import write_squares
from tests.provocations import Ran, run_here
from tests.starter.builders import write_backbone


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_squares(tmp_path / "data")
    return tmp_path / "data"


def test_what_is_found_is_printed_and_the_study_runs_dry(data: Path, tmp_path: Path) -> None:
    write_backbone(tmp_path / "mine.safetensors")
    ran = run_here(tmp_path, "init", "data", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "data: layout kaggle, 6 images (train 3, val 3), 12 boxes, 1 class",
        "model: mobilenet_v2, 1 of its starting weights are on this machine",
        "starting weights: mine.safetensors",
        "wrote study.yaml: 12 trials",
    ]
    assert ran.err.splitlines() == [
        "next: frostline data check study.yaml",
        "then: frostline run study.yaml --dry-run",
    ]
    assert run_here(tmp_path, "data", "check", "study.yaml").code == 0
    dry = run_here(tmp_path, "run", "study.yaml", "--dry-run", "--threads", "1")
    assert dry.code == 0, dry.err
    lines = dry.out.splitlines()
    assert lines[:3] == ["inits: mine", "depths: 0, 9, 18, 30, 39, 52", "seeds: 0, 1"]
    megabytes = re.search(r"^ +12 +12 +\S.* (\d+) MB *$", dry.out, re.MULTILINE)
    assert megabytes, "cells, left, time, disk"
    assert int(megabytes[1]) > 12, "a trial leaves its weights"


def test_options(data: Path, tmp_path: Path) -> None:
    weights = write_backbone(tmp_path / "w.safetensors")
    arguments = ["init", "data/train.csv", "--images", "data/images", "--layout", "kaggle"]
    arguments += ["--weights", str(weights), "--device", "cuda", "--out", "sub/mine.yaml"]
    ran = run_here(tmp_path, *arguments)
    assert ran.code == 0, ran.err
    study = load_study(tmp_path / "sub" / "mine.yaml")
    assert (study.data.images, study.data.annotations) == ("../data/images", "../data/train.csv")
    assert study.model.preset == "stock"
    assert list(study.inits) == ["w"]
    other = run_here(tmp_path, "init", "data", "--backbone", "resnet18")
    assert other.code == 0
    assert load_study(tmp_path / "study.yaml").model.backbone == "resnet18"


def test_what_is_left_out_is_printed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.pt").write_bytes(b"no weights at all")
    with (data / "train.csv").open("a") as file:
        file.write('im0,64,64,"[nan, 1, 2, 3]",field_0\n')
    ran = run_here(tmp_path, "init", "data")
    assert "data: 1 entry cannot be used and will be left out" in ran.out
    assert "not used: odd.pt: expected a weight file" in ran.out


def _refused(ran: Ran) -> str:
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    return ran.err


def test_refusals(data: Path, tmp_path: Path) -> None:
    assert "found none at nowhere" in _refused(run_here(tmp_path, "init", "nowhere"))
    assert "unknown backbone" in _refused(run_here(tmp_path, "init", "data", "--backbone", "vgg"))
    none = run_here(tmp_path, "init", "data", "--weights", "none.pth")
    assert "none.pth" in _refused(none)
    (tmp_path / "study.yaml").write_text("mine")
    assert "--force" in _refused(run_here(tmp_path, "init", "data"))
    assert (tmp_path / "study.yaml").read_text() == "mine"
    assert run_here(tmp_path, "init", "data", "--force").code == 0
    (tmp_path / "empty").mkdir()
    moved = run_here(tmp_path, "init", "data/train.csv", "--images", "empty", "--force")
    assert "expected at least one usable image in empty" in _refused(moved)


def test_schema(tmp_path: Path) -> None:
    ran = run_here(tmp_path, "schema")
    assert ran.code == 0
    assert json.loads(ran.out)["properties"]["depths"]["description"].startswith("numbers of back")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("layers resnet", ["resnet18", "resnet34", "resnet50", "resnet101"]),
        ("init data --backbone mobilenet_v3", ["mobilenet_v3_large"]),
        ("sch", ["schema"]),
        ("run st", []),  # the shell completes file names itself
    ],
)
def test_completion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_FROSTLINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"frostline {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    assert run_here(tmp_path).out.split() == expected


def test_the_shell_falls_back_to_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_FROSTLINE_COMPLETE", "source_bash")  # whatever shell runs the tests
    assert "complete -o default -F" in run_here(tmp_path).out
