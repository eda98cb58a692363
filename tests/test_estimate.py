"""What a study is said to cost: the usual step counts, whatever disturbs some of them."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frostline import measuring as module
from frostline.study import Study
from tests.helpers import SCHEDULE, write_study


def _study(folder: Path, **schedule: object) -> Study:
    return Study.from_yaml(write_study(folder, depths=[0], schedule=SCHEDULE | schedule))


def _steps_of(monkeypatch: pytest.MonkeyPatch, ends: list[float]) -> list[int]:
    """Let every training end its steps at these times; returns the epochs it was asked for."""
    asked = []

    def train(*_: Any, schedule: Any, on_step: Any, **__: Any) -> None:
        asked.append(schedule.epochs)
        for _step in ends:
            on_step(None)

    times = itertools.cycle(ends)
    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(times)))
    return asked


def test_a_slow_first_step_and_a_disturbed_one_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images in batches of 2 are 2 steps an epoch, 60 s each; 3 validate, forward only."""
    study = _study(tmp_path, epochs=10)
    asked = _steps_of(monkeypatch, [500.0, 560.0, 620.0, 6000.0, 6060.0, 6120.0])
    found = study.estimate()
    assert asked == [3]
    two_inits, steps_and_validation = 2, 2 * (10 + 1 / 3)
    assert found.minutes == pytest.approx(two_inits * steps_and_validation, abs=0.2)


def test_a_study_of_one_step_an_epoch_costs_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _steps_of(monkeypatch, [float(60 * n) for n in range(6)])
    found = _study(tmp_path, epochs=30, batch_size=8).estimate()
    assert asked == [6]
    assert found.minutes == pytest.approx(2 * (30 + 1 / 3), abs=0.2)
