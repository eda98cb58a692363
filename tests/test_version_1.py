"""A folder that version 1 began: its records are read, and its half-trained trial goes on.

``fixtures/version_1.zip`` was written by ``scripts/make_old_folder.py`` with version 1's code.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import RecordError, StudyChangedError
from frostline.identity import Identity, changes
from frostline.loading import load_data
from frostline.records import FILES, TrialRecord
from frostline.reporting import report
from frostline.study import Study, open_study
from frostline.trial import prepare
from tests.helpers import write_yaml

FIXTURE = Path(__file__).parent / "fixtures" / "version_1.zip"
#: SHA-256 of what defines the half-trained trial, in the form of today and in that of version 1.
GOLDEN = {
    2: "2c7593be8a0b1fdf9cc4786d0793f7fca4698ddf7f428b37dc064b448401bdf7",
    1: "020caad31d12e81653c6a2664c67648e3cd8573c864f6e3c77b1677d100d12bb",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def _trial(folder: Path, name: str) -> Path:
    return folder / "runs" / "study" / "trials" / name


def _json(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result


def test_its_record_is_read_in_todays_form(folder: Path) -> None:
    path = _trial(folder, "a-k52-s0") / FILES.record
    raw, record = _json(path), TrialRecord.read(path)
    assert raw["schema_version"] == 1
    assert (record.key.init, record.key.plan, record.key.seed) == ("a", "k52", 0)
    assert record.key.variant is None
    assert record.key.slug == "a-k52-s0"
    assert record.plan.layers == tuple(range(1, 53))
    assert (record.plan.depth, record.plan.version) == (52, 1)
    assert record.spec["model"] == {
        name: value for name, value in raw["spec"]["model"].items() if name != "max_detections"
    }
    assert record.scoring == {"max_detections": 300, "metrics": ["wheat"]}
    assert [row["cosine"] for row in record.differences] == [0.0] * 52
    assert TrialRecord.from_dict(record.model_dump(mode="json")) == record


def test_the_golden_identity(folder: Path) -> None:
    study = Study.from_yaml(folder / "study.yaml")
    spec = study.spec(study.cells()[0])
    start = prepare(spec, load_data(spec.data, spec.base))
    stored = _json(_trial(folder, "a-k00-s0") / FILES.spec)
    assert start.identity.digest == GOLDEN[2]
    first = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()
    assert first == GOLDEN[1]
    assert start.identity.knows(first)
    assert changes(Identity.of_stored(stored), start.identity) == ()
    assert Identity.of_stored(start.identity.to_dict()).digest == GOLDEN[2]


@pytest.mark.parametrize("eval_every", [None, 1])
def test_its_half_trained_trial_goes_on(folder: Path, eval_every: int | None) -> None:
    """Evaluating more often is no other training."""
    path = folder / "study.yaml"
    schedule = {"epochs": 3, "batch_size": 1, "lr": 1e-3, "checkpoint_seconds": 0.0}
    study = Study.from_yaml(write_yaml(path, schedule=schedule | {"eval_every": eval_every}))
    assert [state.state for state in study.status()] == ["started", "done"]
    (outcome,) = study.run(threads=1)
    assert outcome.ok
    half, whole = open_study(study.folder).records()
    assert half.resumed_at_steps == (3,)
    assert [epoch.epoch for epoch in half.history] == [1, 2, 3]
    assert whole.plan.version == 1
    assert _json(study.folder / "study.json")["plan_version"] == 1, "it keeps what it began with"
    assert report(study).html.exists()


def test_it_is_opened_without_its_study_file_and_finds_its_images(folder: Path) -> None:
    (folder / "study.yaml").unlink()
    study = open_study(folder / "runs" / "study")
    assert set(load_data(study.config.data, study.base)) == {"train", "val"}
    assert [(state.key.slug, state.state) for state in study.strays()] == [
        ("a-k00-s0", "unlisted")  # its study.json, a later run's, names the deepest alone
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"max_detections": 100}}, "scoring.max_detections was 300, is 100"),
        ({"schedule": {"lr": 0.01}}, "schedule.lr was 0.001, is 0.01"),
        ({"schedule": {"backbone_lr_scale": 0.1}}, "schedule.backbone_lr_scale was None, is 0.1"),
    ],
)
def test_what_changes_it_is_said(folder: Path, changes: dict[str, Any], said: str) -> None:
    config = Study.from_yaml(folder / "study.yaml").config.model_dump(mode="json")
    changed = {part: config[part] | values for part, values in changes.items()}
    study = Study.from_yaml(write_yaml(folder / "study.yaml", **changed))
    with pytest.raises(StudyChangedError, match=said):
        study.run()


def test_a_folder_of_a_later_version_is_one_line(folder: Path) -> None:
    path = folder / "runs" / "study" / "study.json"
    path.write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(RecordError, match=r"written by a later frostline \(study version 99"):
        open_study(path.parent)
    with pytest.raises(RecordError, match=r"written by a later frostline \(study version 99"):
        Study.from_yaml(folder / "study.yaml")
