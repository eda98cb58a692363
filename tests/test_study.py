import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from frostline import cli
from frostline.errors import (
    ConfigError,
    DatasetError,
    FrostlineError,
    InitError,
    PlanError,
    RecordError,
    StudyChangedError,
)
from frostline.events import Ended, Event, Started, Stepped
from frostline.study import Study, open_study, read_records
from frostline.study_file import StudyFile
from frostline.study_notes import notes_of
from frostline.trial import FILES
from tests.helpers import TINY_MODEL, write_start, write_study, write_yaml


def _study(folder: Path, **changes: object) -> Study:
    return Study.from_yaml(write_study(folder, **changes))


def test_cells_seed_by_seed(tmp_path: Path) -> None:
    study = _study(tmp_path, seeds=[0, 1])
    slugs = [key.slug for key in study.cells()]
    assert slugs[:6] == ["a-k00-s0", "a-k09-s0", "a-k52-s0", "b-k00-s0", "b-k09-s0", "b-k52-s0"]
    assert len(slugs) == 12


def test_cells_of_a_network_of_timm(tmp_path: Path) -> None:
    model = {"backbone": "timm:resnet18", "preset": "slim"}
    study = _study(tmp_path, model=model, depths=[0, 11, "all"])
    assert [key.slug for key in study.cells()][:3] == ["a-k00-s0", "a-k11-s0", "a-k20-s0"]
    assert [state.state for state in study.status()] == ["waiting"] * 6
    with pytest.raises(PlanError, match="depth 21 is beyond timm:resnet18: expected 0 to 20"):
        _study(tmp_path, model=model, depths=[21]).cells()


def test_random_is_a_reference_at_depth_zero_with_live_norm(tmp_path: Path) -> None:
    inits = {"random": {"source": "random"}, "a": {"source": "a.safetensors"}}
    study = _study(tmp_path, inits=inits)
    keys = [key for key in study.cells() if key.init == "random"]
    assert [key.plan for key in keys] == ["k00"]
    assert study.spec(keys[0]).model.batch_norm == "live"
    assert study.spec(study.cells()[-1]).model.batch_norm == "frozen"


def test_run_skips_what_is_done_and_adds_cells(tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": 3}
    study = _study(tmp_path, depths=["all"], schedule=schedule)
    events: list[Event] = []
    outcomes = study.run(on_event=events.append)
    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert {type(event) for event in events} == {Started, Stepped, Ended}
    assert study.run() == []
    more = _study(tmp_path, depths=["all"], schedule=schedule, seeds=[0, 1])
    assert [state.state for state in more.status()] == ["done", "done", "waiting", "waiting"]
    config, records = read_records(study.folder)
    assert [record.key.init for record in records] == ["a", "b"]
    assert open_study(study.folder).config == config


def test_a_changed_study_is_explained(tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": 3}
    _study(tmp_path, depths=["all"], schedule=schedule).run()
    changed = _study(
        tmp_path,
        depths=["all"],
        schedule={"epochs": 2, "batch_size": 3},
        inits={"a": {"source": "b.safetensors"}, "b": {"source": "b.safetensors"}},
    )
    with pytest.raises(StudyChangedError) as caught:
        changed.run()
    assert "trial a-k52-s0" in str(caught.value)
    assert "schedule.epochs was 1, is 2" in str(caught.value)
    assert "weights was" in str(caught.value)
    assert "delete the trial's folder (trials/a-k52-s0) to run it anew" in str(caught.value)


def test_a_weight_file_that_changed_under_its_name_is_told(tmp_path: Path) -> None:
    fast = {"depths": ["all"], "schedule": {"epochs": 1, "batch_size": 3}}
    study = _study(tmp_path, **fast)
    study.run()
    write_start(tmp_path / "b.safetensors", seed=9)
    with pytest.raises(StudyChangedError, match=r"trial b-k52-s0 .*weights was"):
        study.run()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"depths": [53]}, PlanError, "expected 0 to 52"),
        ({"numbering": "paper", "depths": [1]}, PlanError, "bottleneck ResNets"),
        ({"inits": {"a": {"source": "none.pth"}}}, FrostlineError, "does not exist"),
        (
            {"model": {**TINY_MODEL, "width_mult": 1.0}},
            InitError,
            "is it of another architecture",
        ),
        (
            {"data": {"images": "images", "train": "t.json", "val": "v.json"}},
            DatasetError,
            r"expected an annotation file, found none at .*t\.json$",
        ),
        (
            {
                "data": {
                    "layout": "kaggle",
                    "images": "no",
                    "annotations": "train.csv",
                    "split": {"val_groups": ["field_1"]},
                }
            },
            DatasetError,
            r"expected a folder or zip file of images, found none at .*no$",
        ),
    ],
)
def test_bad_studies_stop_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    study = _study(tmp_path, **changes)
    with pytest.raises(error, match=message):
        study.run()
    assert not study.folder.exists()


def test_a_gpu_that_is_not_there_stops_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    study = _study(tmp_path)
    with pytest.raises(ConfigError, match="expected a CUDA device, found none"):
        study.run(device="cuda")
    assert not study.folder.exists()


def test_a_failed_trial_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    inits = {
        "hot": {"source": "a.safetensors", "schedule": {"lr": 1e30, "clip_norm": None}},
        "b": {"source": "b.safetensors"},
    }
    study = _study(tmp_path, inits=inits, depths=[0], schedule={"epochs": 2, "batch_size": 1})
    outcomes = study.run()
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert "not finite" in outcomes[0].message
    states = study.status()
    assert (states[0].state, states[1].state) == ("failed", "done")
    assert "not finite" in states[0].detail


def test_a_start_that_diverged_runs_at_a_lower_rate(tmp_path: Path) -> None:
    """Its checkpoint, of the higher rate, does not stand in the way; what is done stays."""
    hot = {"source": "a.safetensors", "schedule": {"lr": 1e30, "clip_norm": None}}
    other = {"source": "b.safetensors"}
    grid = {"depths": [0], "schedule": {"epochs": 2, "batch_size": 3}}
    (failed, done) = _study(tmp_path, inits={"hot": hot, "b": other}, **grid).run()
    assert "in epoch 2" in failed.message, "the first epoch left a checkpoint"
    assert done.ok
    cooler = {"source": "a.safetensors", "schedule": {"lr": 1e-4}}
    (again,) = _study(tmp_path, inits={"hot": cooler, "b": other}, **grid).run()
    assert again.ok, again.message


def test_estimate_writes_nothing(tmp_path: Path) -> None:
    study = _study(tmp_path)
    result = study.estimate(workers=2)
    assert (result.cells, result.left) == (6, 6)
    assert result.minutes > 0
    assert result.disk_mb > 0
    assert not study.folder.exists()


def test_two_workers_give_the_results_of_one(tmp_path: Path) -> None:
    one = _study(tmp_path, depths=[0])
    one.run(threads=1)
    two = Study(one.config, one.base, tmp_path / "two")
    outcomes = two.run(workers=2)
    assert all(outcome.ok for outcome in outcomes)
    for a, b in zip(one.records(), two.records(), strict=True):
        assert (a.scores, a.details) == (b.scores, b.details)
        assert a.differences == b.differences


def test_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no study"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(RecordError, match="cannot read"):
        open_study(tmp_path)


def test_a_locked_trial_is_left_alone(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    study = _study(tmp_path, depths=["all"], inits={"a": {"source": "a.safetensors"}})
    folder = study.trial_folder(study.cells()[0])
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcomes = study.run()
    assert outcomes[0].elsewhere
    assert not (folder / FILES.failure).exists()
    assert study.status()[0].state == "waiting"


def run_cli(*words: str) -> None:
    """A command, as typed."""
    argv, sys.argv = sys.argv, ["frostline", *words]
    try:
        cli.main()
    finally:
        sys.argv = argv


FAST = {"depths": ["all"], "schedule": {"epochs": 1, "batch_size": 3}}


def _invert(path: Path) -> None:
    with Image.open(path) as image:
        inverted = ImageOps.invert(image.convert("RGB"))
    inverted.save(path)


def test_other_pixels_under_the_same_name_are_another_study(tmp_path: Path) -> None:
    study = _study(tmp_path, **FAST)
    study.run()
    hashes = (study.folder / "images.json").read_text()
    study.check()
    assert (study.folder / "images.json").read_text() == hashes, "a check writes nothing"
    _invert(tmp_path / "images" / "im1.png")
    with pytest.raises(
        StudyChangedError, match=r"a-k52-s0 .*other bytes in 1 image file \(im1\.png"
    ):
        study.run()
    (note,) = notes_of(study)
    assert "1 image file (im1.png) changed" in note
    (study.folder / "images.json").unlink()
    with pytest.raises(StudyChangedError, match=r"pixels\.val was"):
        Study(study.config, study.base, study.folder).check()
    assert notes_of(study) == (), "without the hashes of before nothing is known of single files"
    shutil.rmtree(tmp_path / "images")
    (study.folder / "images.json").write_text(hashes)
    assert notes_of(study) == (), "images that are elsewhere have not changed"


def test_a_study_by_photo_decodes_for_its_split_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks are kept in the folder; a check writes none, and a copy in another file is seen."""
    study = _study(tmp_path, **FAST)
    image = Image.open(tmp_path / "images" / "im0.png").transpose(Image.Transpose.ROTATE_90)
    image.save(tmp_path / "images" / "im5.png")
    data = {"layout": "kaggle", "images": "images", "annotations": "train.csv",
            "split": {"fraction": 0.34, "by": "photo"}}  # fmt: skip
    study = Study.from_yaml(write_yaml(tmp_path / "study.yaml", data=data))
    study.check()
    assert not (study.folder / "looks.json").exists()
    study.run()
    assert len(json.loads((study.folder / "looks.json").read_text())) == 6
    monkeypatch.setattr("frostline.datasets.looks.grey_thumbnail", _never)
    parts = study.spec(study.cells()[0]).load()
    sides = [{image.file for image in part} for part in parts.values()]
    assert [len(side) for side in sides] == [4, 2]
    assert any({"im0.png", "im5.png"} <= side for side in sides)


def _never(*words: object) -> None:
    raise AssertionError("an image was decoded again")


def test_images_in_a_zip_file_are_the_same_pixels(tmp_path: Path) -> None:
    study = _study(tmp_path, **FAST)
    study.run()
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "images").iterdir()):
            archive.write(path, path.name)
    zipped = study.config.data.model_copy(update={"images": "images.zip"})
    config = study.config.model_copy(update={"data": zipped})
    Study(config, study.base, study.folder).check()


def test_a_damaged_record_is_named_and_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(tmp_path, **FAST)
    study.run()
    before = {record.key: record for record in study.records()}
    path = study.folder / "trials" / "b-k52-s0" / FILES.record
    path.write_text(path.read_text()[:1000])
    assert [state.state for state in study.status()] == ["done", "damaged"]
    assert len(study.records()) == 1
    for command in ("status", "report"):
        with pytest.raises(SystemExit) as ended:
            run_cli(command, str(study.folder))
        assert ended.value.code == 1
        assert "b-k52-s0 has a damaged record" in capsys.readouterr().err
    assert "b-k52-s0 has a damaged record" in (study.folder / "report.html").read_text()
    (outcome,) = study.run()
    assert outcome.ok
    assert path.with_name("record.json.damaged").exists()
    assert [state.state for state in study.status()] == ["done", "done"]
    after = {record.key: record for record in study.records()}
    assert after[outcome.key].differences == before[outcome.key].differences


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    path = write_study(tmp_path, **FAST)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="is no folder; use --out"):
        Study.from_yaml(path, tmp_path / "file" / "out").estimate()


def test_its_folder_keeps_its_cells_with_every_depth_as_a_number(tmp_path: Path) -> None:
    study = _study(tmp_path, **FAST, plans={"early": {"stage": "stage1"}})
    study.run()
    kept = StudyFile.read(study.folder)
    assert [key.slug for key in kept.cells] == [
        "a-k52-s0", "a-early-s0", "b-k52-s0", "b-early-s0"
    ]  # fmt: skip
    assert kept.table is not None
    assert kept.table.layers == study.layers().layers
    assert kept.base == study.base
