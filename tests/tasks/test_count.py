"""A task that only its own file and its line in the table know, from study to report."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from frostline.architectures import faster_rcnn
from frostline.cli import main
from frostline.errors import ConfigError
from frostline.members import ARCHITECTURES, TASKS
from frostline.records import TrialRecord
from frostline.reporting import report
from frostline.study import Study, open_study
from tests.helpers import write_study

# Who would add a task adds a model for it; here it is the detector under another name.
COUNTER = dataclasses.replace(faster_rcnn.ARCHITECTURE, name="counter", task="count")


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "count", "tests.tasks.count:TASK")
    monkeypatch.setitem(ARCHITECTURES, "counter", f"{__name__}:COUNTER")


def _study(folder: Path, **changes: object) -> Study:
    model = {"backbone": "mobilenet_v2", "preset": "slim", "image_size": 64, "width_mult": 0.1}
    model |= {"architecture": "counter"}
    return Study.from_yaml(write_study(folder, task="count", model=model, **changes))


def test_from_study_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(tmp_path, depths=[0, "all"], seeds=[0])
    outcomes = study.run(threads=1)
    assert [outcome.message for outcome in outcomes if not outcome.ok] == []
    assert all(outcome.message.startswith("share counted right 0.") for outcome in outcomes)
    record = study.records()[0]
    assert record.spec["task"] == "count"
    assert record.task.ranking.key == "exact"
    assert set(record.scores["val"]) == {"exact", "near"}
    assert record.history[0].metrics in (None, {"exact": record.score()})
    assert TrialRecord.from_dict(record.model_dump(mode="json")) == record

    monkeypatch.setattr("sys.argv", ["frostline", "report", str(study.folder)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out
    page = (study.folder / "report.html").read_text()
    for said in (
        "The highest mean share counted right on",
        "In how many images the number of objects is right.",
        "This task has no example images.",
        '<th class="n" scope="col">off by one</th>',
        "share of images counted right",
        "By group",
    ):
        assert said in page, said
    assert not re.search(r"\bAP\b", page), re.search(r".{60}\bAP\b.{60}", page)
    rows = json.loads((study.folder / "tables" / "trials.json").read_text())
    assert {"val_exact", "val_near"} <= rows[0].keys()
    assert "val_ap" not in rows[0]
    shown = open_study(study.folder).to_dict()["trials"]
    assert [row["exact"] for row in shown] == [r.score("exact") for r in study.records()]


def test_the_page_is_that_of_its_records(tmp_path: Path) -> None:
    study = _study(tmp_path, depths=["all"], seeds=[0])
    study.run(threads=1)
    assert "share counted right" in report(study).lines[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": "cuont"},
            "task: expected one of detection, segmentation, count; did you mean count?",
        ),
        (
            {"task": "detection", "model": {"architecture": "counter", "preset": "slim"}},
            "model.architecture: expected one for detection, got counter, which is built for count",
        ),
        (
            {"task": "count", "model": {"architecture": "counter", "preset": "slim"},
             "data": {"metrics": ["wheat"]}},
            "data.metrics: expected what count can measure besides the usual (none), got 'wheat'",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    data = changes.pop("data", {})
    path = write_study(tmp_path, **changes)
    if data:
        text = path.read_text().replace("layout: kaggle", "layout: kaggle\n  metrics: [wheat]")
        path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        Study.from_yaml(path).check()
