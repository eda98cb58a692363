import csv
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from frostline.checkpoints import open_checkpoint
from frostline.config import load_study
from frostline.datasets import DatasetIndex, load_image, read_dataset
from frostline.demo import (
    FIELDS,
    IMAGE_SIDE,
    NOTICE,
    STARTS,
    Field,
    paint,
    run_demo,
    summary,
    write_demo,
)
from frostline.errors import ConfigError
from frostline.events import Ended, Event
from frostline.records import TrialRecord, file_digest
from frostline.study import Study
from frostline.trial import load_data, prepare
from tests.factories import make_record

# Of the table the demo writes: a change of it is a change of every figure the demo has shown.
TABLE_SHA256 = "f55db8cf5457dc88f8cfd2774a14ef2a04fc6e929b2714d30aab164647c2f798"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any") / "demo"
    write_demo(folder)
    return folder


@pytest.fixture(scope="module")
def index(demo: Path) -> DatasetIndex:
    return read_dataset(demo / "data" / "train", demo / "data" / "train.csv", layout="kaggle")


def _hash(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


# --- the field ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_painting_depends_on_field_number_and_seed_alone(field: Field) -> None:
    first, again = paint(field, 3), paint(field, 3)
    assert _hash(first.pixels) == _hash(again.pixels)
    assert _hash(first.boxes) == _hash(again.boxes)
    assert len({_hash(p.pixels) for p in (first, paint(field, 4), paint(field, 3, seed=1))}) == 3


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_boxes_are_inside_and_large_enough(field: Field) -> None:
    painting = paint(field, 0)
    assert painting.pixels.shape == (IMAGE_SIDE, IMAGE_SIDE, 3)
    assert painting.pixels.dtype == np.uint8
    assert 3 <= len(painting.boxes) <= 30
    assert painting.boxes.min() >= 0
    assert painting.boxes.max() <= IMAGE_SIDE
    assert (painting.boxes[:, 2:] - painting.boxes[:, :2]).min() >= 12


def test_fields_differ_in_colour() -> None:
    means = np.array([paint(field, 0).pixels.mean(axis=(0, 1)) for field in FIELDS])
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    assert distances[~np.eye(len(FIELDS), dtype=bool)].min() > 4


def test_an_empty_painting_has_soil_and_leaves_and_no_boxes() -> None:
    empty = paint(FIELDS[0], 0, empty=True)
    assert empty.boxes.shape == (0, 4)
    assert empty.pixels.std() > 10


def test_a_box_frames_its_ear() -> None:
    """The difference to the painting without ears is mostly inside the boxes."""
    field = FIELDS[1]
    change = np.abs(paint(field, 2).pixels.astype(int) - paint(field, 2, empty=True).pixels)
    inside = np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=bool)
    for x0, y0, x1, y1 in paint(field, 2).boxes:
        inside[y0:y1, x0:x1] = True
    moved = change.sum(axis=2)
    assert moved[inside].mean() > 3 * moved[~inside].mean()


# --- what is written ------------------------------------------------------------------------------


def test_the_table_is_always_the_same(demo: Path) -> None:
    assert file_digest(demo / "data" / "train.csv") == TABLE_SHA256


def test_kaggles_layout_is_read_back(demo: Path, index: DatasetIndex) -> None:
    counts = index.counts()
    with (demo / "data" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image_id", "width", "height", "bbox", "source"]
    assert counts.boxes == len(rows)
    assert counts.empty_images == 2
    assert set(counts.images_per_group) >= {field.name for field in FIELDS}
    assert [f.code for f in index.findings] == ["image-unlisted"]


def test_pictures_show_what_was_painted(index: DatasetIndex) -> None:
    record = index.images[0]
    field = next(field for field in FIELDS if field.name == record.group)
    painting = paint(field, int(record.file[-7:-4]))
    seen = load_image(index.root, record.file).astype(int)
    assert np.abs(seen - painting.pixels).mean() < 6  # JPEG
    np.testing.assert_array_equal(record.boxes, painting.boxes)


def test_writing_again_changes_nothing(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    write_demo(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_an_interrupted_write_is_completed(tmp_path: Path, demo: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "synthetic_green_000.jpg").write_bytes(b"cut off")
    write_demo(tmp_path)
    for path in (tmp_path / "data").rglob("*.*"):
        assert path.read_bytes() == (demo / path.relative_to(tmp_path)).read_bytes()


def test_a_changed_study_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("version: 1\n")
    with pytest.raises(ConfigError, match=r"study\.yaml is not the demo's own"):
        write_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_every_text_says_that_it_is_synthetic(demo: Path) -> None:
    assert NOTICE.startswith("Everything in this demo is synthetic")
    assert NOTICE in (demo / "README.md").read_text()
    assert "Everything in this demo is synthetic" in (demo / "study.yaml").read_text()


# --- the starting points --------------------------------------------------------------------------


def test_assets_are_the_ones_described() -> None:
    folder = resources.files("frostline") / "assets"
    described = (folder / "README.md").read_text()
    for name in STARTS:
        content = (folder / f"start_{name}.safetensors").read_bytes()
        assert len(content) <= 4_000_000
        assert hashlib.sha256(content).hexdigest() in described


def test_starts_fill_the_backbone_completely(demo: Path) -> None:
    study = Study.from_yaml(demo / "study.yaml")
    assert [key.plan for key in study.cells()[:5]] == ["k00", "k09", "k18", "k39", "k52"]
    assert len(study.cells()) == 20
    for key in {key.init: key for key in study.cells()}.values():
        init = prepare(study.spec(key), load_data(study.config.data, demo)).init
        assert (init.missing, init.unexpected, init.mismatched) == ((), (), ())
        assert init.matched == 52 * 5  # a weight and four of BatchNorm


def test_starts_are_trained_and_differ(demo: Path) -> None:
    first, second = (open_checkpoint(demo / f"{name}.safetensors") for name in STARTS)
    for checkpoint in (first, second):
        means = checkpoint["backbone.body.0.1.running_mean"].read()
        assert np.abs(means).max() > 1e-3  # statistics of data, not a fresh BatchNorm's zeros
    name = "backbone.body.0.0.weight"
    assert not np.array_equal(first[name].read(), second[name].read())


def test_whole_fields_are_held_out(demo: Path) -> None:
    config = load_study(demo / "study.yaml")
    data = load_data(config.data, demo)
    groups = {split: {image.group for image in part} for split, part in data.items()}
    assert not groups["train"] & groups["val"]
    assert len(groups["val"]) == 2


# --- the lines of result --------------------------------------------------------------------------


@pytest.fixture
def records() -> list[TrialRecord]:
    scores = {("classification", 0): (0.30, 0.34), ("classification", 52): (0.20, 0.22)}
    scores |= {("detection", 0): (0.36, 0.38), ("detection", 52): (0.30, 0.34)}
    return [
        make_record(init, depth, seed, ap=ap)
        for (init, depth), both in scores.items()
        for seed, ap in enumerate(both)
    ]


def test_summary_gives_every_seed(records: list[TrialRecord]) -> None:
    freezing, starts = summary(records)
    assert "classification -11.0 AP points (seeds -10.0, -12.0)" in freezing
    assert "detection -5.0 AP points (seeds -6.0, -4.0)" in freezing
    assert "classification AP 0.320 (seeds 0.300, 0.340), AP50 0.512 (seeds 0." in starts
    assert "The ears are synthetic" in starts


def test_summary_of_an_incomplete_study(records: list[TrialRecord]) -> None:
    assert all("n/a" in line for line in summary([]))
    assert "n/a" in summary(records[:1])[0]


# --- the whole pipeline ---------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo at one epoch, 64 px, four trials, two images a field."""
    from frostline.demo import pipeline

    text = pipeline._STUDY
    for pattern, value in (
        (r"epochs: \d+\n", "epochs: 1\n"),
        (r"image_size: \d+", "image_size: 64"),
        (r"depths: .*?\]", "depths: [0, all]"),
        (r"seeds: .*?\]", "seeds: [0]"),
    ):
        text, count = re.subn(pattern, value, text)
        assert count == 1
    monkeypatch.setattr(pipeline, "_STUDY", text)
    monkeypatch.setattr(pipeline, "_IMAGES", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_the_demo_from_nothing_to_report(tmp_path: Path) -> None:
    events: list[Event] = []
    result = run_demo(tmp_path / "demo", workers=1, on_event=events.append)
    assert result.ok
    assert result.report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert len(result.lines) == 3
    assert sum(isinstance(e, Ended) for e in events) == 4 + 2  # one epoch is a whole training
    assert result.advice.startswith("Advice for 2.00 trainings: ")
    assert 'id="advice"' in result.advice_report.read_text(encoding="utf-8")

    again: list[Event] = []
    repeated = run_demo(tmp_path / "demo", workers=1, on_event=again.append)
    assert (repeated.lines, repeated.advice) == (result.lines, result.advice)
    assert again == []  # nothing is done twice
