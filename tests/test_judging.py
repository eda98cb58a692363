"""What is judged is what a trainer left; what is no model is refused, for that trial alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from frostline import attempt
from frostline.engines import run_trials
from frostline.study import Study
from frostline.trial import FILES, TrialSpec
from tests.helpers import write_study
from tests.trainers import toy

BIAS = "roi_heads.box_predictor.cls_score.bias"
Tensors = dict[str, Tensor]


def _missing(tensors: Tensors) -> Tensors:
    return {name: x for name, x in tensors.items() if name != BIAS}


def _more(tensors: Tensors) -> Tensors:
    return tensors | {"ema.decay": torch.ones(1)}


def _not_finite(tensors: Tensors) -> Tensors:
    return tensors | {BIAS: torch.full_like(tensors[BIAS], torch.nan)}


def _half(tensors: Tensors) -> Tensors:
    return tensors | {BIAS: tensors[BIAS].half()}


def _longer(tensors: Tensors) -> Tensors:
    return tensors | {BIAS: torch.zeros(7)}


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    study = Study.from_yaml(write_study(tmp_path, schedule={"epochs": 1}))
    return study.spec(study.cells()[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_missing, f"{BIAS} is missing"),
        (_more, "ema.decay is not one of them"),
        (_not_finite, f"{BIAS} is not finite"),
        (_half, f"{BIAS} is float16 (2,), expected float32 (2,)"),
        (_longer, f"{BIAS} is float32 (7,), expected float32 (2,)"),
    ],
)
def test_weights_that_are_not_the_model_s(
    spec: TrialSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Tensors], Tensors],
    said: str,
) -> None:
    def train(start: Any, folder: Path, **options: Any) -> Any:
        trained = toy.train(start, folder, **options)
        assert trained.weights is not None
        tensors = safetensors.torch.load_file(trained.weights)
        if start.spec.key == spec.key:
            safetensors.torch.save_file(change(tensors), trained.weights)
        return trained

    monkeypatch.setattr(attempt, "trainer", lambda name: train)
    other = dataclasses.replace(spec, key=spec.key.model_copy(update={"seed": 5}))
    outcomes = run_trials({tmp_path / "t": spec, tmp_path / "o": other})
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert outcomes[0].message.endswith(f"the trained weights {FILES.weights}: {said}")
    assert not (tmp_path / "t" / FILES.record).exists()
