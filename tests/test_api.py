"""``frostline.layers`` and ``frostline.run``, and how every public result shows itself."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import nn

import frostline
from frostline.errors import ConfigError, DependencyError, PlanError, RecordError
from frostline.evaluation import Detections
from frostline.events import Ended, Event, Started, Stepped
from tests.factories import make_grid, write_study_folder
from tests.helpers import write_study


def _axes() -> Any:
    return Figure().subplots()


def test_layers_of_a_name_and_of_a_model() -> None:
    assert frostline.layers("resnet18") == frostline.layers("resnet18")
    assert len(frostline.layers("mobilenet_v2", width_mult=0.5)) == 52
    table = frostline.layers(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4))
    assert (len(table), table.architecture) == (1, "Conv2d")
    with pytest.raises(PlanError, match="unknown backbone"):
        frostline.layers("resnet5")


def test_a_broken_torch_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where a network of timm must be looked at before anything else."""
    path = write_study(tmp_path, model={"backbone": "timm:resnet18"})
    monkeypatch.setattr("frostline.doctor.import_problem", lambda: "torch cannot be imported")
    with pytest.raises(DependencyError, match="torch cannot be imported; `frostline doctor`"):
        frostline.layers("timm:resnet18")
    with pytest.raises(DependencyError, match="torch cannot be imported"):
        frostline.Study.from_yaml(path).cells()


def test_layer_tables_show_themselves() -> None:
    table = frostline.layers("resnet50")
    data = json.loads(json.dumps(table.to_dict()))
    assert data["stages"] == {"stem": 1, "layer1": 11, "layer2": 24, "layer3": 43, "layer4": 53}
    assert [layer["index"] for layer in data["layers"]] == list(range(1, 54))
    html = table._repr_html_()
    assert html.count("<tr>") == 54
    assert "<td>64 x 3 x 7 x 7</td><td>bn1</td>" in html
    ax = _axes()
    table.plot(ax)
    (line,) = (line for line in ax.lines if len(line.get_xdata()) > 2)
    shares = line.get_ydata()
    assert shares[0] == 0
    assert shares[53] == 100
    assert shares[1] == pytest.approx(100 * 9408 / 23_454_912)  # conv1 of all convolutions


def test_what_is_repeated_and_never_called_is_shown() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1))
    net.append(net[0])
    net[0].unused = nn.Conv2d(1, 1, 1)
    html = frostline.layers(net, torch.zeros(1, 3, 4, 4))._repr_html_()
    assert "called several times: 0; never called, without a depth: 0.unused" in html


def test_plans_show_themselves() -> None:
    plan = frostline.FreezePlan.at_depth(frostline.layers("resnet18"), 1, batch_norm="follow")
    data = json.loads(json.dumps(plan.to_dict()))
    assert data["tensors"] == list(plan.tensors)
    assert data["digest"] == plan.digest()
    assert plan._repr_html_().count("<tr>") == 7


@pytest.fixture
def finished(tmp_path: Path) -> frostline.Study:
    """A study of made-up records, with what they look like in its folder."""
    from frostline.study import open_study

    records = make_grid(inits=("imagenet",), depths=(0, 52), seeds=(0, 1))
    return open_study(write_study_folder(tmp_path / "runs" / "<study>", records[:-1]))


def test_a_study_shows_itself(finished: frostline.Study) -> None:
    html = finished._repr_html_()
    assert "study &lt;study&gt;: 3 of 4 trials done" in html
    assert html.count("<td>done</td>") == 3
    assert html.count("<td>waiting</td><td></td><td></td>") == 1
    trials = json.loads(json.dumps(finished.to_dict()))["trials"]
    first = finished.records()[0]
    assert trials[0]["ap"] == first.scores["val"]["ap"]
    assert [trial["state"] for trial in trials].count("done") == 3
    ax = _axes()
    finished.plot(ax)
    assert "frozen convolutions" in ax.get_xlabel()
    finished.plot(_axes(), "ap50")
    empty = dataclasses.replace(finished, folder=finished.folder / "empty")
    with pytest.raises(RecordError, match=r"expected a finished trial in .*empty, found none"):
        empty.plot(_axes())


def test_a_report_takes_a_study_or_a_folder(
    finished: frostline.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.reporting._write_figures", lambda *_: iter(()))  # seconds
    paths = frostline.report(finished, examples=0)
    assert frostline.report(str(finished.folder), examples=0) == paths
    assert json.loads(json.dumps(paths.to_dict()))["html"] == str(paths.html)
    assert "&lt;study&gt;" in paths._repr_html_()


def test_an_evaluation_shows_itself(tmp_path: Path) -> None:
    from tests.helpers import write_squares

    write_squares(tmp_path)
    index = frostline.read_dataset(tmp_path / "images", tmp_path / "train.csv", layout="kaggle")
    perfect = [
        Detections(
            image.boxes.astype(np.float32),
            np.ones(len(image.labels), np.float32),
            np.asarray(image.labels),
        )
        for image in index.images
    ]
    result = frostline.evaluate(index, perfect)
    html = result._repr_html_()
    assert "6 images, 12 boxes, 12 detections" in html
    assert html.count("<tr><td>") == 4  # all, one class, two groups
    assert "<td>all</td><td>1.000</td><td>1.000</td><td>1.000</td><td>1.000</td>" in html
    ax = _axes()
    result.plot(ax)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([1.0] * 3)
    labels = ax.get_yticklabels()
    assert "field_1" in [label.get_text() for label in labels]
    assert not any(label.get_parse_math() for label in labels)  # a class may be called "$x"
    assert "field_1" not in index._repr_html_()  # classes and counts


def test_run_of_a_path_resumes_and_says_what_failed(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_study(tmp_path, depths=["all"], schedule={"epochs": 1, "batch_size": 3})
    monkeypatch.setattr(Console, "is_terminal", True)  # nothing is shown besides on_event
    events: list[Event] = []
    study = frostline.run(str(path), out=str(tmp_path / "out"), on_event=events.append)
    assert capsys.readouterr().err == ""
    assert study.folder == tmp_path / "out"
    assert [state.state for state in study.status()] == ["done", "done"]
    assert {type(event) for event in events} == {Started, Stepped, Ended}
    assert frostline.run(study, progress=False).left() == ()
    with pytest.raises(ConfigError, match="expected out with the path of a study"):
        frostline.run(study, out=tmp_path / "elsewhere")

    def burst(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("frostline.attempt.run_trial", burst)
    with caplog.at_level(logging.WARNING, "frostline.api"):
        again = frostline.run(path, out=tmp_path / "again")
    assert "trial a-k52-s0 failed: MemoryError: no room" in caplog.messages
    assert [state.state for state in again.status()] == ["failed", "failed"]
