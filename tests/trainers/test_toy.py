"""A trainer comes in by one line: study, status and report take what it leaves."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from frostline.errors import ConfigError, StudyChangedError
from frostline.members import TRAINERS
from frostline.reporting import report
from frostline.study import Study, open_study
from tests.helpers import write_study
from tests.trainers.toy import NUDGE


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINERS, "toy", "tests.trainers.toy:train")


def test_it_trains_a_study(toy: None, tmp_path: Path) -> None:
    study = Study.from_yaml(write_study(tmp_path, depths=[0, "all"], trainer="toy"))
    assert all(outcome.ok for outcome in study.run())
    opened = open_study(study.folder)
    assert [state.state for state in opened.status()] == ["done"] * 4
    for record in opened.records():
        assert record.audit.passed
        assert record.spec["trainer"] == "toy"
        assert [epoch.losses for epoch in record.history] == [{"toy": 1.0}, {"toy": 0.5}]
        assert record.seconds["train"] == 2.0
    start = load_file(tmp_path / "a.safetensors")["features.0.0.weight"]
    for plan, moved in (("k00", NUDGE), ("k52", 0.0)):
        weights = load_file(study.folder / "trials" / f"a-{plan}-s0" / "weights.safetensors")
        difference = weights["backbone.body.0.0.weight"] - start
        assert difference == pytest.approx(moved, abs=1e-6)
    assert report(study).html.exists()


def test_another_trainer_is_another_trial(toy: None, tmp_path: Path) -> None:
    Study.from_yaml(write_study(tmp_path, depths=["all"], trainer="toy")).run()
    with pytest.raises(StudyChangedError, match="trainer was 'toy', is None"):
        Study.from_yaml(write_study(tmp_path, depths=["all"])).run()


def test_an_unknown_trainer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trainer: expected one of frostline; did you mean"):
        Study.from_yaml(write_study(tmp_path, trainer="frostlin"))
