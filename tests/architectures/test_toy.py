"""An architecture that only its own file and its line in the table know, from study to report."""

import re
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file

from frostline.architectures import architecture_of
from frostline.architectures.building import build_model
from frostline.architectures.norms import with_filled_norms
from frostline.cli import main
from frostline.config import ModelConfig
from frostline.errors import ConfigError
from frostline.members import ARCHITECTURES
from frostline.plans import FreezePlan
from frostline.study import Study
from frostline.tasks import require_model
from tests.helpers import SIZE, write_study

TOY = {"architecture": "toy", "preset": "stock", "image_size": SIZE}
NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "toy", "tests.architectures.toy:ARCHITECTURE")
    monkeypatch.setitem(ARCHITECTURES, "toy_masks", "tests.architectures.toy:FOR_MASKS")


def _study(folder: Path, **changes: object) -> Study:
    path = write_study(folder, model=TOY, depths=[0, "all"], **changes)
    config = ModelConfig.model_validate(TOY)
    for seed, name in ((1, "a"), (2, "b")):
        state = build_model(config, 1, seed=seed).state_dict()
        safetensors.torch.save_file(dict(state), folder / f"{name}.safetensors")
    return Study.from_yaml(path)


def test_from_study_to_status_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(tmp_path)
    assert [cell.plan for cell in study.cells()] == ["k00", "k01", "k00", "k01"]
    assert [outcome.message for outcome in study.run() if not outcome.ok] == []
    frozen = next(record for record in study.records() if record.plan.depth == 1)
    norms = {f"body.norm.{name}" for name in NORM}
    assert set(frozen.plan.tensors) == {"body.far.weight", *norms}
    assert frozen.audit.passed
    assert [row["name"] for row in frozen.differences] == ["far"]
    assert frozen.init.parts == ("backbone",)
    assert frozen.init.normalisation is not None
    assert frozen.init.normalisation.mean == (0.5, 0.5, 0.5)
    assert _said(capsys, monkeypatch, "status", study.folder, "--format", "json").count("done") == 4
    _said(capsys, monkeypatch, "report", study.folder)
    assert ">far<" in (study.folder / "report.html").read_text()


def _said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> str:
    """What a command prints that ends well."""
    monkeypatch.setattr(sys, "argv", ["frostline", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    return capsys.readouterr().out


def test_a_part_that_starts_random_learns_its_statistics(tmp_path: Path) -> None:
    """Policy ``frozen`` fixes the body's BatchNorm; the head's only where the start fills it."""
    study = _study(tmp_path, inits={
        "a": {"source": "a.safetensors"}, "b": {"source": "b.safetensors", "parts": ["all"]},
    })  # fmt: skip
    assert all(outcome.ok for outcome in study.run())
    moved: dict[tuple[str, str], set[bool]] = {}
    for key in study.cells():
        now = load_file(study.trial_folder(key) / "weights.safetensors")
        before = load_file(tmp_path / f"{key.init}.safetensors")
        for name in ("body.norm.running_mean", "head.0.running_mean"):
            same = torch.equal(now[name], before[name])
            moved.setdefault((key.init, name), set()).add(not same)
    assert moved == {
        ("a", "body.norm.running_mean"): {False},
        ("a", "head.0.running_mean"): {True},
        ("b", "body.norm.running_mean"): {False},
        ("b", "head.0.running_mean"): {False},
    }


def test_other_policies_are_left_as_they_are() -> None:
    config = ModelConfig.model_validate(TOY)
    architecture, names = architecture_of(config), build_model(config, 1).state_dict().keys()
    for policy in ("follow", "live"):
        plan = FreezePlan("none", (), policy)
        assert with_filled_norms(plan, names, architecture, ("all",)) == plan


def test_a_task_refuses_a_model_that_is_built_for_another() -> None:
    masks = ModelConfig.model_validate(TOY | {"architecture": "toy_masks"})
    with pytest.raises(ConfigError, match="expected one for detection, got toy_masks, which is"):
        require_model("detection", masks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": TOY | {"preset": "slim"}}, "model.preset: toy has stock, got 'slim'"),
        (
            {"inits": {"a": {"source": "a.safetensors", "parts": ["backbone", "neck"]}}},
            "inits.a: expected parts of toy (backbone, head, all), got 'neck'",
        ),
        (
            {"inits": {"a": {"source": "a.safetensors", "parts": ["head"]}}},
            "inits.a: 'parts' must name 'backbone' or 'all': a start fills the backbone; got head",
        ),
        (
            {"inits": {"a": {"source": "a.safetensors", "parts": []}}},
            "inits.a: 'parts' must name 'backbone' or 'all': a start fills the backbone; got none",
        ),
    ],
)
def test_what_it_does_not_have(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_study(tmp_path, **({"model": TOY} | changes))
    with pytest.raises(ConfigError, match=re.escape(message)):
        Study.from_yaml(path).check()
