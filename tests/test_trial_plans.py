"""Plans of a study's cells that are no depths."""

from pathlib import Path

import pytest

from frostline.errors import InitError, PlanError
from frostline.loading import load_data
from frostline.study import Study, open_study
from frostline.study_notes import notes_of
from frostline.trial import Start, prepare
from tests.factories import make_config, make_record, write_study_folder
from tests.helpers import TINY_MODEL, write_study

CONV, NORM = "backbone.body.0.0.weight", "backbone.body.0.1."
STATISTICS = {f"{NORM}running_mean", f"{NORM}running_var"}
COUNTER = {f"{NORM}num_batches_tracked"}
BATCH_NORM = STATISTICS | {f"{NORM}weight", f"{NORM}bias"}


def _start(
    folder: Path, *patterns: str, policy: str = "live", parts: tuple[str, ...] = ()
) -> Start:
    init = {"source": "a.safetensors"} | ({"parts": list(parts)} if parts else {})
    path = write_study(
        folder,
        model=TINY_MODEL | {"batch_norm": policy},
        inits={"a": init},
        plans={"mine": {"patterns": list(patterns)}},
    )
    study = Study.from_yaml(path)
    (key,) = [key for key in study.cells() if key.plan == "mine"]
    return prepare(study.spec(key), load_data(study.config.data, study.base))


def test_patterns_name_the_layer_and_the_policy_its_batch_norm(tmp_path: Path) -> None:
    """``follow``: a BatchNorm is fixed exactly where its convolution is, however that was named."""
    live = _start(tmp_path, CONV)
    assert set(live.plan) == {CONV}
    follow = _start(tmp_path, CONV, policy="follow")
    assert set(follow.plan) == {CONV} | BATCH_NORM | COUNTER
    frozen = _start(tmp_path, CONV, policy="frozen")
    norms = {name for name in frozen.plan if name != CONV}
    assert norms > BATCH_NORM
    assert not any(name.endswith(".0.0.weight") for name in norms)


def test_patterns_that_name_a_part_of_a_batch_norm(tmp_path: Path) -> None:
    """The whole module keeps its statistics, as one that counts half of them has none."""
    start = _start(tmp_path, f"{NORM}running_mean")
    assert set(start.plan) == {f"{NORM}running_mean"}
    start.frozen.train()
    assert not start.model.get_submodule(NORM[:-1]).training
    assert start.model.get_submodule("backbone.body.1.conv.0.1").training


def test_patterns_that_name_a_batch_norm_win_over_the_policy_live(tmp_path: Path) -> None:
    """What is named is what is frozen; ``live`` is about what is not."""
    start = _start(tmp_path, "backbone.body.0.*")
    assert set(start.plan) == {CONV} | BATCH_NORM | COUNTER
    start.frozen.train()
    assert not start.model.get_submodule(NORM[:-1]).training
    assert not start.model.get_parameter(f"{NORM}weight").requires_grad
    other = start.model.get_submodule("backbone.body.1.conv.0.1")
    assert other.training
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_plans_that_freeze_the_same_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the check before a run, and of a folder that has records of both."""
    plans = {"whole": {"stage": "18"}, "stem": {"stage": "0"}}
    study = Study.from_yaml(write_study(tmp_path, depths=[0, 1, 9, "all"], plans=plans))
    study.check()
    assert sorted(caplog.messages) == [
        "Plans k01, stem freeze the same tensors from a, b: one experiment, which is run once for "
        "each.",
        "Plans k52, whole freeze the same tensors from a, b: one experiment, which is run once for "
        "each.",
    ]
    records = [make_record(), make_record(depth=9), make_record("coco", 9)]
    twin = records[1].key.model_copy(update={"plan": "early"})
    records.append(records[1].model_copy(update={"key": twin}))
    config = make_config(records, depths=[0, 9], plans={"early": {"stage": "4"}})
    folder = write_study_folder(tmp_path / "out", records, config)
    note, _of_pixels = notes_of(open_study(folder))
    assert note.startswith("Plans k09, early freeze the same tensors from imagenet: one experiment")


def test_a_part_that_the_start_does_not_fill_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(InitError, match=r"leaves backbone\.fpn\..* random, and plan patterns"):
        _start(tmp_path, "backbone.fpn.*")


@pytest.mark.parametrize("policy", ["live", "follow", "frozen"])
def test_a_plan_that_leaves_nothing(tmp_path: Path, policy: str) -> None:
    with pytest.raises((PlanError, InitError), match=r"random|nothing is left to train"):
        _start(tmp_path, "*", policy=policy)


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"pattern 'backbone\.bdy\.\*' matches none"):
        _start(tmp_path, "backbone.bdy.*")
