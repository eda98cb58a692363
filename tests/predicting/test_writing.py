"""Files of what was found: results that pycocotools reads, and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from frostline.config import ModelConfig
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.errors import RecordError
from frostline.evaluation import Detections
from frostline.predicting import Predicted, write_predictions
from frostline.predicting.drawing import draw_boxes, draw_labels
from frostline.predicting.images import NO_BOXES
from frostline.predicting.rle import encoded
from frostline.weights_header import WeightsHeader

BOXES = WeightsHeader(task="detection", model=ModelConfig(), classes=("ear", "leaf"))
MASKS = WeightsHeader(task="segmentation", model=ModelConfig(), classes=("ground", "disc", "rim"))
BLUE = (11, 111, 184)  # of the first class


def index(folder: Path, *names: str) -> DatasetIndex:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (60, 40), (200, 200, 200)).save(folder / name)
    records = tuple(ImageRecord(name, 60, 40, NO_BOXES) for name in names)
    return DatasetIndex(folder, ("ear", "leaf"), records)


TWO = Detections(
    np.array([[5.0, 6, 25, 30], [30, 26, 50, 38]]), np.array([0.9, 0.3]), np.array([2, 1])
)


def test_pycocotools_reads_boxes(tmp_path: Path) -> None:
    parts = [
        Predicted(index(tmp_path / "a", "1.png", "2.png"), [Detections.none(), TWO]),
        Predicted(index(tmp_path / "b", "1.png"), [TWO]),
    ]
    out = tmp_path / "deep" / "out"
    write_predictions(out, parts, BOXES, threshold=0.5)
    truth = COCO(str(out / "images.json"))
    assert [image["file_name"].rsplit("/", 2)[-2:] for image in truth.dataset["images"]] == [
        ["a", "1.png"], ["a", "2.png"], ["b", "1.png"],
    ]  # fmt: skip
    found = truth.loadRes(str(out / "results.json"))
    assert found.getAnnIds(imgIds=[1]) == []
    for n in (2, 3):
        rows = found.loadAnns(found.getAnnIds(imgIds=[n]))
        assert [(r["bbox"], r["category_id"], r["score"]) for r in rows] == [
            ([5, 6, 20, 24], 2, 0.9), ([30, 26, 20, 12], 1, 0.3),
        ]  # fmt: skip
    assert truth.loadCats([2])[0]["name"] == "leaf"
    assert truth.dataset["info"] == {"threshold": 0.5}
    drawn = sorted(path.name for path in (out / "pictures").iterdir())
    assert drawn == ["00001_1.jpg", "00002_2.jpg", "00003_1.jpg"]
    plain = np.asarray(Image.open(out / "pictures" / "00001_1.jpg")).astype(int)
    assert np.abs(plain - 200).max() < 8
    shown = np.asarray(Image.open(out / "pictures" / "00002_2.jpg")).astype(int)
    assert np.abs(shown[27:39, 32:58] - 200).max() < 20, "below the threshold"
    assert np.abs(shown[30, 8:24] - 200).max() > 60


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_masks(tmp_path: Path) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 10:30] = 2
    part = Predicted(index(tmp_path / "a", "1.png"), [labels])
    write_predictions(tmp_path / "out", [part], MASKS, threshold=0.5, pictures=False)
    truth = COCO(str(tmp_path / "out" / "images.json"))
    found = truth.loadRes(str(tmp_path / "out" / "results.json"))
    rows = {r["category_id"]: found.annToMask(r) for r in found.loadAnns(found.getAnnIds())}
    assert rows.keys() == {1, 3}
    np.testing.assert_array_equal(rows[3], labels == 2)
    np.testing.assert_array_equal(rows[1], labels == 0)
    assert not (tmp_path / "out" / "pictures").exists()


@pytest.mark.parametrize("seed", range(12))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 300, 2)
    coarse = rng.random(shape // 17 + 1) < rng.random()
    mask = coarse.repeat(17, 0).repeat(17, 1)[: shape[0], : shape[1]] ^ (rng.random(shape) < 0.001)
    for one in (mask, np.zeros(shape, bool), np.ones(shape, bool)):
        expected = coco_mask.encode(np.asfortranarray(one, np.uint8))
        assert encoded(one) == {
            "size": list(expected["size"]), "counts": expected["counts"].decode(),
        }  # fmt: skip


def test_boxes_lie_where_they_were_found() -> None:
    pixels = np.full((200, 300, 3), 128, np.uint8)
    found = Detections(np.array([[100.0, 80, 180, 150]]), np.array([0.75]), np.array([1]))
    drawn = np.asarray(draw_boxes(pixels, found, ("ear", "leaf")))
    assert (pixels == 128).all(), "the image that was given is as it was"
    for y, x in ((150, 140), (120, 100), (120, 180), (81, 140)):
        assert tuple(drawn[y, x]) == BLUE, (y, x)
    assert (drawn[90:145, 110:170] == 128).all(), "nothing inside"
    assert (drawn[160:] == 128).all()
    assert (drawn[60:80, 100:130] != 128).any(), "class and score above it"


def test_masks_are_tinted_and_the_background_is_not() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    labels[2:4] = 1
    drawn = np.asarray(draw_labels(pixels, labels))
    assert (drawn[labels == 0] == 100).all()
    np.testing.assert_array_equal(drawn[2, 0], [60, 105, 138])  # .55 * 100 + .45 * BLUE


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    part = Predicted(index(tmp_path / "a", "1.png"), [TWO])
    (tmp_path / "file").write_text("x")
    for used in (tmp_path / "a", tmp_path / "file"):
        with pytest.raises(RecordError, match="expected a new or empty folder"):
            write_predictions(used, [part], BOXES, threshold=0.5)
    with pytest.raises(RecordError, match="cannot write"):
        write_predictions(tmp_path / "file" / "out", [part], BOXES, threshold=0.5)
    (tmp_path / "empty").mkdir()
    write_predictions(tmp_path / "empty", [part], BOXES, threshold=0.5)
    assert len(json.loads((tmp_path / "empty" / "results.json").read_text())) == 2


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    part = Predicted(index(tmp_path / "a", "1.png"), [TWO])
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    with pytest.raises(Exception, match="expected a readable image"):
        write_predictions(tmp_path / "out", [part], BOXES, threshold=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
