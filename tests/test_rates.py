"""Several rates for a start: each with nothing frozen, and the frozen cells at the best."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from frostline.config import ScheduleConfig, parse_study, save_study
from frostline.errors import ConfigError, RecordError
from frostline.rates import RATES_FILE, choose_rates, chosen_rates
from frostline.study import Study
from frostline.variants import short_number, slug_of, values_of
from tests.helpers import write_study, write_yaml

RATES = {"epochs": 1, "batch_size": 2, "lr": [1e-3, 1e-2]}
ONE_START = {"a": {"source": "a.safetensors"}}


def _config(**schedule: Any) -> dict[str, Any]:
    return {
        "data": {"images": "i", "train": "t", "val": "v"},
        "inits": {"a": {"source": "random"}, "b": {"source": "random"}},
        "schedule": schedule,
    }


@pytest.mark.parametrize("value", [3e-4, 0.1, 1.0, 1e-5, 0.00035, 0.02, 1 / 3, 12.5, 100.0])
def test_a_number_in_a_name_is_exact(value: float) -> None:
    text = short_number(value)
    assert float(text) == value
    assert len(text) <= len(repr(value))
    assert values_of(slug_of({"lr": value, "backbone_lr_scale": value})) == (
        {"lr": value, "backbone_lr_scale": value},
        100,
        100,
    )


def test_fewer_images_have_as_many_steps() -> None:
    """A quarter of the images: four times the epochs, the warm-up and the time between scores."""
    study = parse_study(_config(lr=[1e-3, 3e-4], epochs=6, warmup_epochs=0.5, eval_every=2))
    found = study.schedule_of("a", "lr3e-4-i25")
    assert (found.lr, found.epochs, found.warmup_epochs, found.eval_every) == (3e-4, 24, 2.0, 8)
    assert parse_study(_config(epochs=6)).schedule_of("a", "i25").eval_every is None


def test_one_rate_is_the_schedule_it_was() -> None:
    plain = parse_study(_config(lr=1e-3))
    assert plain.schedules_of("a") == {None: ScheduleConfig(lr=1e-3)}
    assert parse_study(_config(lr=[1e-3])).schedules_of("a") == plain.schedules_of("a")
    assert not parse_study(_config(lr=[1e-3])).has_lists


def test_lists_multiply_and_an_init_has_its_own() -> None:
    raw = _config(lr=[1e-3, 3e-4], backbone_lr_scale=[1, 0.1])
    raw["inits"]["b"]["schedule"] = {"lr": 5e-4, "backbone_lr_scale": 1}
    study = parse_study(raw)
    rates = {key: (s.lr, s.backbone_lr_scale) for key, s in study.schedules_of("a").items()}
    assert rates == {
        "lr1e-3-b1": (1e-3, 1.0),
        "lr1e-3-b0.1": (1e-3, 0.1),
        "lr3e-4-b1": (3e-4, 1.0),
        "lr3e-4-b0.1": (3e-4, 0.1),
    }
    assert list(study.schedules_of("b")) == [None]
    assert parse_study(json.loads(json.dumps(study.model_dump(mode="json")))) == study
    assert "lr:\n  - 0.001\n  - 0.0003" in save_study(study)


def test_a_share_of_the_epochs_is_a_whole_schedule() -> None:
    study = parse_study(_config(epochs=12, warmup_epochs=2.0, lr=[1e-3, 3e-4]))
    short = study.schedule_of("a", "lr3e-4-e25")
    assert (short.epochs, short.warmup_epochs, short.lr) == (3, 0.5, 3e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": {"lr": []}}, r"schedule\.lr: .* at least 1 item"),
        ({"schedule": {"lr": [1e-3, 0]}}, r"schedule\.lr\.1: .* greater than 0"),
        ({"schedule": {"lr": [1e-3, 1e-3]}}, r"'lr' repeats a value"),
        ({"schedule": {"lr": "fast"}}, r"schedule\.lr: .* valid number.*got 'fast'$"),
        ({"schedule": {"lr": [1e-3, 1e-2]}, "depths": [9]}, r"put 0 in 'depths'"),
        (
            {"schedule": {"lr": [1e-3, 1e-2]},
             "plans": {"r": {"rule": "freeze-above", "t": 0.1}}},
            r"need one rate for each start",
        ),
    ],
)  # fmt: skip
def test_lists_that_are_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_study(_config() | changes)


def test_the_highest_mean_is_chosen_once(tmp_path: Path) -> None:
    """Means of .2 and .25, one of nothing; a start that has its rate keeps it."""
    assert chosen_rates(tmp_path) == {}
    choose_rates(tmp_path, {"a": {"lr1e-3": [0.1, 0.3], "lr1e-2": [0.25], "lr1": []}, "b": {}})
    assert chosen_rates(tmp_path) == {"a": "lr1e-2"}
    choose_rates(tmp_path, {"a": {"lr1e-3": [0.9], "lr1e-2": [0.1]}})
    assert chosen_rates(tmp_path) == {"a": "lr1e-2"}
    choose_rates(tmp_path, {"a": {"lr5e-3": [0.9]}})  # the study lists other rates now
    assert chosen_rates(tmp_path) == {"a": "lr5e-3"}
    (tmp_path / RATES_FILE).write_text("{")
    with pytest.raises(RecordError, match=r"rates\.json: .*; delete it to choose anew"):
        chosen_rates(tmp_path)


@pytest.mark.slow
def test_run_tries_each_rate_and_freezes_at_the_best(tmp_path: Path) -> None:
    path = write_study(tmp_path, inits=ONE_START, depths=[0, "all"], schedule=RATES)
    study = Study.from_yaml(path)
    assert [key.slug for key in study.cells()] == ["a-k00-lr1e-3-s0", "a-k00-lr0.01-s0"]
    assert study.estimate().cells == 3  # the frozen one at one of the two
    study.run(threads=1)
    scores = {record.key.variant: record.score() for record in study.records()[:2]}
    best = max(scores, key=lambda rate: scores[rate])
    assert chosen_rates(study.folder) == {"a": best}
    assert [key.slug for key in study.cells()][-1].startswith(f"a-k52-{best}")
    assert {state.state for state in study.status()} == {"done"}
    assert {r.key.variant: r.spec["schedule"]["lr"] for r in study.records()} == {
        "lr1e-3": 1e-3,
        "lr0.01": 1e-2,
    }


@pytest.mark.slow
def test_a_trial_of_a_list_is_that_of_the_rate_alone(tmp_path: Path) -> None:
    """Identity and numbers are those of a study that names this rate only."""
    schedule = RATES | {"lr": 1e-2}
    alone = Study.from_yaml(
        write_study(tmp_path / "alone", inits=ONE_START, depths=[0], schedule=schedule)
    )
    alone.run(threads=1)
    path = write_study(tmp_path / "listed", inits=ONE_START, depths=[0], schedule=RATES)
    listed = Study.from_yaml(path)
    listed.run(threads=1)
    (one,) = alone.records()
    (other,) = [r for r in listed.records() if r.key.variant == "lr0.01"]
    assert one.spec == other.spec
    assert one.differences == other.differences
    again = Study.from_yaml(write_yaml(path, schedule=RATES | {"lr": [1e-2, 1e-3]}))
    assert {state.state for state in again.status()} == {"done"}
    assert dataclasses.replace(again, config=listed.config) == listed
