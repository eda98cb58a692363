"""What a study is said to cost: its own steps, timed by a clock that only they move."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from frostline import measuring as module
from frostline.study import Study
from frostline.tasks import task_named
from frostline.training import train
from tests.helpers import SCHEDULE, write_study

INITS = 2


class _Clock:
    """Stands still but in training steps, which cost what ``price`` says."""

    def __init__(self, price: Callable[["_Clock", Any], float]) -> None:
        self.now = 0.0
        self.price = price
        self.steps: list[int] = []  # of each training

    def loss(self, model: Any, samples: Any, device: Any) -> dict[str, torch.Tensor]:
        losses = task_named("detection").loss(model, samples, device)
        self.steps[-1] += 1
        self.now += self.price(self, model)
        return losses


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Clock]:
    """The real loop on the real model; only its clock is ours."""

    def begin(price: Callable[[_Clock, Any], float]) -> _Clock:
        clock = _Clock(price)

        def counted(*arguments: Any, **options: Any) -> Any:
            clock.steps.append(0)
            return train(*arguments, **options)

        task = dataclasses.replace(task_named("detection"), loss=clock.loss)
        monkeypatch.setattr(module, "train", counted)
        monkeypatch.setattr(module, "task_named", lambda name: task)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    return begin


def _study(folder: Path, *, depths: Any = (0,), plans: Any = None, **schedule: object) -> Study:
    changes = {"depths": list(depths), "schedule": SCHEDULE | schedule, "plans": plans or {}}
    return Study.from_yaml(write_study(folder, **changes))


def test_a_slow_first_step_and_a_disturbed_one_do_not_count(
    tmp_path: Path, timed: Callable[..., _Clock]
) -> None:
    """Three images in batches of 2 are 2 steps an epoch, 60 s each; 3 validate, forward only."""
    odd = {1: 500.0, 4: 5440.0}
    clock = timed(lambda clock, _: odd.get(clock.steps[-1], 60.0))
    found = _study(tmp_path, epochs=10).estimate()
    assert clock.steps == [6]
    minutes = 2 * (10 + 1 / 3)  # of one trial: epochs, and a third of an epoch's images
    assert found.minutes == pytest.approx(INITS * minutes, abs=0.2)


def test_a_study_of_one_step_an_epoch_costs_something(
    tmp_path: Path, timed: Callable[..., _Clock]
) -> None:
    clock = timed(lambda *_: 60.0)
    found = _study(tmp_path, epochs=30, batch_size=8).estimate()
    assert clock.steps == [6]
    assert found.minutes == pytest.approx(INITS * (30 + 1 / 3), abs=0.2)


def _by_layers_that_train(_clock: _Clock, model: Any) -> float:
    """10 s, and 1 s for every convolution from the first one on that the backward pass reaches."""
    convolutions = [
        m.weight.requires_grad
        for m in model.backbone.body.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    assert len(convolutions) == 52
    return 10.0 + 52 - (convolutions.index(True) if any(convolutions) else 52)


def test_plans_cost_what_they_let_the_backward_pass_reach(
    tmp_path: Path, timed: Callable[..., _Clock]
) -> None:
    """One step an epoch, 30 epochs. A stage, a pattern of a prefix, and one of later layers."""
    plans = {
        "stage": {"stage": "4"},  # 12 convolutions
        "stem": {"patterns": ["backbone.body.0.0.weight"]},
        "late": {"patterns": ["backbone.body.1?.*"]},
    }
    clock = timed(_by_layers_that_train)
    study = _study(tmp_path, depths=[0, 9, "all"], plans=plans, epochs=30, batch_size=8)
    seconds = {"k00": 62, "k09": 53, "k52": 10, "stage": 50, "stem": 61, "late": 62}
    assert set(seconds) == {key.plan for key in study.cells()}
    found = study.estimate()
    assert clock.steps == [6, 6], "the two ends are measured, the others lie between"
    expected = INITS * sum(seconds.values()) * (30 + 1 / 3) / 60
    assert found.minutes == pytest.approx(expected, abs=0.2)
    assert not study.folder.exists()


def test_a_study_of_plans_alone_is_measured_at_its_own_ends(
    tmp_path: Path, timed: Callable[..., _Clock]
) -> None:
    timed(_by_layers_that_train)
    plans = {"stage": {"stage": "4"}, "whole": {"stage": "18"}}
    study = _study(tmp_path, depths=["all"], plans=plans, epochs=30, batch_size=8)
    found = study.estimate(workers=2)
    expected = INITS * (50 + 10 + 10) * (30 + 1 / 3) / 60 / 2
    assert found.minutes == pytest.approx(expected, abs=0.2)
