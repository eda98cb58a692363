"""``frostline predict`` as typed."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from frostline import cli
from frostline.weights_header import read_weights_header
from tests.test_study import run_cli


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["predict", *map(str, words)])


def test_weights_and_images_are_enough(trial: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(trial / "weights.safetensors", tmp_path / "w.safetensors"))
    kept = json.loads((trial / "detections.json").read_text())
    images = [trial.parents[3] / "images" / name for name in kept["images"]["val"]]
    result = typed(weights, *images, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == kept["val"]
    listed = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [image["file_name"] for image in listed["images"]] == kept["images"]["val"]
    assert listed["categories"] == [{"id": 1, "name": "ear"}, {"id": 2, "name": "leaf"}]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 8
    threshold = read_weights_header(weights).threshold
    assert listed["info"]["threshold"] == (0.5 if threshold is None else threshold)


def test_a_folder_of_a_trial_and_of_images(trial: Path, tmp_path: Path) -> None:
    result = typed(
        trial,
        trial.parents[3] / "images",
        "--out",
        tmp_path / "o",
        "--threshold",
        0,
        "--no-pictures",
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("16 images: ")
    found = len(json.loads((tmp_path / "o" / "results.json").read_text()))
    assert f": {found} boxes with a score of 0 or more (given), {found} in all" in result.stdout
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "images.json",
        "results.json",
    ]


def test_masks(mask_trial: Path, tmp_path: Path) -> None:
    result = typed(mask_trial, mask_trial.parents[3] / "images" / "0.png", "--out", tmp_path / "o")
    assert result.stdout == "1 image: the class of every pixel, of 0, 1\n"
    rows = json.loads((tmp_path / "o" / "results.json").read_text())
    assert {row["image_id"] for row in rows} == {1}
    assert all(row["segmentation"]["size"] == [64, 64] for row in rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["W", "absent.png", "--out", "o"], "found none at absent.png"),
        (["absent.safetensors", "I", "--out", "o"], "cannot read absent.safetensors: No such file"),
        (["S", "I", "--out", "o"], "study.yaml is no safetensors file"),
        (["W", "S", "--out", "o"], "study.yaml: expected a readable image"),
        (["W", "I", "--out", "I"], "expected a new or empty folder to write to"),
        (["W", "I", "--out", "S/o"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    trial: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = trial.parents[3]
    known = {
        "W": trial,
        "I": root / "images",
        "S": root / "study.yaml",
        "S/o": root / "study.yaml" / "o",
    }
    with pytest.raises(SystemExit) as end:
        run_cli("predict", *(str(known.get(word, word)) for word in words))
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert message in told.replace("\n", " ") if len(told) > 400 else message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "o").exists()
