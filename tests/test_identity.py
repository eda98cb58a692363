"""What is part of a trial's identity, field by field."""

from typing import Any

import pytest

from frostline.config import IMAGENET, ModelConfig, Normalisation, ScheduleConfig
from frostline.identity import INTRODUCED, NOT_TRAINING, SCORING, Identity, changes, identify

#: Fields that every identity of the first form held: a list that never grows.
FIRST = {
    "model": {
        *("backbone", "preset", "batch_norm", "image_size", "width_mult", "norm_eps"),
        "max_detections",
    },
    "schedule": {
        *("epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "lr_schedule"),
        *("warmup_epochs", "clip_norm", "precision", "augment", "eval_every"),
        "checkpoint_seconds",
    },
}
CONFIGS: dict[str, type[ModelConfig] | type[ScheduleConfig]] = {
    "model": ModelConfig,
    "schedule": ScheduleConfig,
}


def _identity(
    model: dict[str, Any] | None = None, schedule: dict[str, Any] | None = None, **changed: Any
) -> Identity:
    given: dict[str, Any] = {
        "seed": 0,
        "model": ModelConfig(**(model or {})),
        "norm_eps": 1e-5,
        "schedule": ScheduleConfig(**(schedule or {})),
        "weights": "w" * 64,
        "parts": ("backbone",),
        "section": "",
        "normalisation": IMAGENET,
        "plan": "p" * 64,
        "data": {"train": "t" * 64, "val": "v" * 64},
        "pixels": {"train": "x" * 64, "val": "y" * 64},
        "cell": ("imagenet", 9, "all"),
    }
    return identify(**given | changed)


@pytest.mark.parametrize("part", FIRST)
def test_every_field_is_of_the_first_form_or_says_what_stood_before_it(part: str) -> None:
    """A new field without a line in INTRODUCED would make every folder another experiment."""
    fields = set(CONFIGS[part].model_fields)
    assert fields - FIRST[part] - NOT_TRAINING[part] == set(INTRODUCED[part])
    assert FIRST[part] <= fields


@pytest.mark.parametrize(
    "schedule", [{"eval_every": 1}, {"eval_every": 3}, {"checkpoint_seconds": 0.0}]
)
def test_what_changes_no_training(schedule: dict[str, Any]) -> None:
    assert _identity(schedule=schedule).digest == _identity().digest
    assert changes(_identity(), _identity(schedule=schedule)) == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"schedule": {"lr": 0.5}}, "schedule.lr was 0.0003, is 0.5"),
        (
            {"schedule": {"augment": {"flip": False}}},
            "schedule.augment.flip was True, is False",
        ),
        ({"model": {"image_size": 640}}, "model.image_size was 320, is 640"),
        ({"norm_eps": 0.0}, "model.norm_eps was 1e-05, is 0.0"),
        ({"data": {"train": "t" * 64}}, f"data.val was '{'v' * 64}', is None"),
        (
            {"pixels": {"train": "x" * 64, "val": "z" * 64}},
            f"pixels.val was '{'y' * 64}', is '{'z' * 64}'",
        ),
        ({"section": "ema"}, "section was None, is 'ema'"),
        ({"trainer": "mine"}, "trainer was None, is 'mine'"),
        ({"grey_levels": 4096}, "grey_levels was None, is 4096"),
        (
            {"normalisation": Normalisation(mean=(0, 0, 0), std=(1, 1, 1))},
            "normalisation was None, is {'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0]}",
        ),
    ],
)
def test_what_makes_another_training_is_said(changed: dict[str, Any], said: str) -> None:
    other = _identity(**changed)
    assert other.digest != _identity().digest
    assert changes(_identity(), other) == (said,)
    assert not other.knows(_identity().digest)


@pytest.mark.parametrize("levels", [None, 65536])
def test_all_grey_levels_are_those_of_all_trials_before(levels: int | None) -> None:
    assert _identity(grey_levels=levels).to_dict() == _identity().to_dict()


def test_what_changes_scores_alone_is_the_same_training_but_told() -> None:
    other = _identity(model={"max_detections": 7})
    assert other.digest == _identity().digest
    assert changes(_identity(), other) == ("scoring.max_detections was 300, is 7",)
    assert set(other.scoring) == SCORING


def test_a_start_of_another_name_is_the_same_training() -> None:
    assert _identity(cell=("mine", 9, "all")).digest == _identity().digest
    assert _identity(cell=None).digest == _identity().digest


def test_what_version_1_could_not_say_has_no_older_digest() -> None:
    assert len(_identity().older) == 1
    assert _identity(schedule={"backbone_lr_scale": 0.5}).older == frozenset()
    assert _identity(trainer="mine").older == frozenset()
    assert _identity(grey_levels=4096).older == frozenset()
    assert _identity(cell=None).older == frozenset()


@pytest.mark.parametrize(
    "stored",
    [
        {"form": 3},
        {"form": 2},
        {"form": 2, "scoring": 1},
        {"form": []},
        {},
        {"key": "imagenet", "model": {}, "schedule": {}},
        {"key": {"seed": 0}, "model": 1, "schedule": {}},
        ["form"],
        None,
    ],
)
def test_what_is_no_identity_or_of_a_later_form_is_refused(stored: Any) -> None:
    with pytest.raises(KeyError):
        Identity.of_stored(stored)
