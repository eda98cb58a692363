"""``frostline advise`` as it is typed."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest

import frostline
from frostline.advice.result import Advice
from frostline.cli import main
from frostline.study import Study
from tests.advising.toy import write_toy


def _type(monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.setattr(sys, "argv", ["frostline", *line.split()])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.slow
def test_the_command_from_a_dry_run_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _type(monkeypatch, "advise study.yaml --dry-run --threads 1") == 0
    said = capsys.readouterr()
    assert "3 of 4 epochs" in said.out
    assert "2x" in said.out
    assert _type(monkeypatch, "advise study.yaml --dry-run --threads 1 --format json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["candidates"] == 2
    assert not (study.folder / "trials").exists()

    assert _type(monkeypatch, "advise study.yaml --threads 1") == 0
    said = capsys.readouterr()
    advice = Advice.read(study.folder)
    assert advice is not None
    assert "1x, a complete training, is 8 s here" in said.err
    assert "to epoch 3 of 4 epochs, 1.50x" in said.err
    use = f"frostline predict runs/study/trials/{advice.pick.trial}/weights.safetensors IMAGES"
    assert use in said.out
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert page.index('id="advice"') < page.index('id="answer"')
    assert "What to type next" in page
    assert "it is the only cell" not in page.partition('id="answer"')[0].lower()

    assert _type(monkeypatch, "advise study.yaml --threads 1 --format json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(advice.to_dict()))
    assert _type(monkeypatch, "advise study.yaml --threads 1 --format csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["plan"] for row in rows] == ["k00", "k00", "k09", "k52"]
    assert _type(monkeypatch, "status runs/study") == 0
    assert "advice for 1.88 of 2 trainings: " in capsys.readouterr().err
    assert _type(monkeypatch, "report runs/study") == 0

    assert _type(monkeypatch, "advise study.yaml --budget 1x") == 2
    assert "at least 1.25x" in capsys.readouterr().err
    again = frostline.advise(Study.from_yaml("study.yaml"), threads=1, progress=False)
    assert again == advice


def test_nothing_trained_is_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = {"epochs": 4, "batch_size": 2, "lr": 1e30, "clip_norm": None}
    write_toy(tmp_path, schedule=wild, inits={"a": {"source": "a.safetensors"}}, depths=[0])
    monkeypatch.chdir(tmp_path)
    assert _type(monkeypatch, "advise study.yaml --threads 1") == 1
    assert "1 of 1 failed; a-k00-s0: loss or gradient is not finite" in capsys.readouterr().err
