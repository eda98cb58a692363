"""Which images are shown, and what each box is said to be."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.config import DataConfig, SplitConfig
from frostline.datasets import Boxes, DatasetIndex, ImageRecord
from frostline.errors import DatasetError
from frostline.evaluation import Detections, to_coco_results
from frostline.reporting.examples import (
    Panel,
    example_images,
    pick_images,
    read_detections,
)
from frostline.trial import load_data
from tests.factories import make_record
from tests.helpers import write_squares


def image(
    file: str,
    boxes: list[list[float]],
    labels: list[int] | None = None,
    crowd: list[bool] | None = None,
) -> ImageRecord:
    n = len(boxes)
    return ImageRecord(
        file,
        64,
        64,
        Boxes(
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(labels or [1] * n, dtype=np.int64),
            np.array(crowd or [False] * n, dtype=np.bool_),
        ),
    )


def write_images(root: Path, index: DatasetIndex) -> DatasetIndex:
    for record in index.images:
        Image.new("RGB", (64, 64), (10, 90, 30)).save(root / record.file)
    return index


def show(
    root: Path, record: ImageRecord, found: Detections, classes: tuple[str, ...] = ("ear",)
) -> tuple[Panel, Panel]:
    index = write_images(root, DatasetIndex(root, classes, (record,)))
    file = root / "detections.json"
    file.write_text(json.dumps({"val": to_coco_results(index, [found])}))
    (example,) = example_images(index, [("best", make_record(), file)], count=1)
    truth, panel = example.panels
    return truth, panel


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(np.array(boxes), np.array(scores), np.array(labels))


BOX = [10.0, 10.0, 30.0, 30.0]
FAR = [40.0, 40.0, 60.0, 60.0]


def test_hit_false_and_missed(tmp_path: Path) -> None:
    found = detections((BOX, 0.9, 1), ([50.0, 2.0, 60.0, 12.0], 0.8, 1), (FAR, 0.1, 1))
    truth, panel = show(tmp_path, image("a.png", [BOX, FAR]), found)
    assert truth.counts == {"truth": 2}
    assert panel.counts == {"hit": 1, "false": 1, "missed": 1}
    assert {box.kind: box.text for box in panel.boxes} == {
        "hit": "ear 0.90",
        "false": "ear 0.80",
        "missed": "ear",
    }
    assert "0.62" in panel.title, "drawn from the threshold the wheat metric chose"


def test_a_box_is_found_once(tmp_path: Path) -> None:
    found = detections((BOX, 0.7, 1), ([11.0, 10.0, 31.0, 30.0], 0.9, 1))
    _, panel = show(tmp_path, image("a.png", [BOX]), found)
    assert panel.counts == {"hit": 1, "false": 1, "missed": 0}
    assert [box.text for box in panel.boxes if box.kind == "hit"] == ["ear 0.90"]


def test_another_class_is_no_hit(tmp_path: Path) -> None:
    found = detections((BOX, 0.9, 2))
    _, panel = show(tmp_path, image("a.png", [BOX]), found, ("ear", "leaf"))
    assert panel.counts == {"hit": 0, "false": 1, "missed": 1}


def test_half_an_overlap_is_the_limit(tmp_path: Path) -> None:
    just = detections(([10.0, 10.0, 30.0, 20.0], 0.9, 1))  # IoU exactly 0.5
    assert show(tmp_path, image("a.png", [BOX]), just)[1].counts["hit"] == 1
    below = detections(([10.0, 10.0, 30.0, 19.9], 0.9, 1))
    assert show(tmp_path, image("a.png", [BOX]), below)[1].counts["hit"] == 0


def test_a_crowd_is_neither_annotated_nor_wrong_to_find(tmp_path: Path) -> None:
    record = image("a.png", [BOX, FAR], crowd=[False, True])
    found = detections((BOX, 0.9, 1), ([45.0, 45.0, 55.0, 55.0], 0.9, 1))
    truth, panel = show(tmp_path, record, found)
    assert truth.counts == {"truth": 1}
    assert panel.counts == {"hit": 1, "false": 0, "missed": 0}


def test_an_empty_image(tmp_path: Path) -> None:
    truth, panel = show(tmp_path, image("a.png", []), Detections.none())
    assert truth.boxes == panel.boxes == ()
    _, panel = show(tmp_path, image("a.png", []), detections((BOX, 0.9, 1)))
    assert panel.counts == {"hit": 0, "false": 1, "missed": 0}


def test_images_are_picked_from_few_to_many_boxes_without_their_detections() -> None:
    images = tuple(image(f"{n}.png", [BOX] * n) for n in (5, 0, 3, 7, 1, 2, 6, 4))
    index = DatasetIndex(Path(), ("ear",), images)
    chosen = pick_images(index, 4)
    assert [len(images[i].boxes) for i in chosen] == [1, 3, 5, 7]
    assert len(pick_images(index, 100)) == 8
    assert pick_images(DatasetIndex(Path(), ("ear",), ()), 4) == []


def test_thumbnails_are_small_jpeg_data(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1000), (10, 90, 30)).save(tmp_path / "big.png")
    record = ImageRecord(
        "big.png", 2000, 1000, Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    )
    index = DatasetIndex(tmp_path, ("ear",), (record,))
    file = tmp_path / "detections.json"
    file.write_text('{"val": []}')
    (example,) = example_images(index, [("best", make_record(), file)])
    head, data = example.image.split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (480, 240)
    assert (example.width, example.height) == (2000, 1000)


@pytest.mark.parametrize(
    "text", [None, "not json", "{}", '{"val": 3}', '{"val": [{"image_id": 9}]}']
)
def test_unusable_detections_are_one_error(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "detections.json"
    if text is not None:
        file.write_text(text)
    index = DatasetIndex(tmp_path, ("ear",), (image("a.png", [BOX]),))
    with pytest.raises(DatasetError):
        read_detections(file, index)


def test_real_layout_end_to_end(tmp_path: Path) -> None:
    write_squares(tmp_path)
    config = DataConfig(
        layout="kaggle",
        images="images",
        annotations="train.csv",
        split=SplitConfig(val_groups=("field_1",)),
    )
    index = load_data(config, tmp_path)["val"]
    file = tmp_path / "detections.json"
    found = [Detections(i.boxes, np.ones(len(i.boxes)), i.labels) for i in index.images]
    file.write_text(json.dumps({"val": to_coco_results(index, found)}))
    examples = example_images(index, [("best", make_record(), file)])
    assert len(examples) == 3
    assert all(e.panels[1].counts == {"hit": 2, "false": 0, "missed": 0} for e in examples)
    assert examples[0].group == "field_1"
