import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from frostline.datasets import Boxes, DatasetIndex, Finding, ImageRecord, read_dataset
from frostline.errors import DatasetError
from tests.datasets.samples import random_index, record

ROOT = Path("anywhere")


def two() -> DatasetIndex:
    images = (
        record("a.png", [[0, 0, 10, 20], [5, 5, 50, 60]], [1, 2], group="north"),
        record("b.png", []),
    )
    return DatasetIndex(ROOT, ("ear", "leaf"), images)


def test_arrays_are_read_only_and_fields_frozen() -> None:
    image = two().images[0]
    with pytest.raises(ValueError, match="read-only"):
        image.boxes[0, 0] = 3
    with pytest.raises(FrozenInstanceError):
        image.width = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 0, 5],
        [10, 0, 5, 5],
        [float("nan"), 0, 5, 5],
        [-1, 0, 5, 5],
        [0, 0, 97, 5],
        [0, 0, 5, 65],
        [0, 0, float("inf"), 5],
    ],
)
def test_record_refuses_boxes_that_are_no_boxes_of_the_image(box: list[float]) -> None:
    with pytest.raises(ValueError, match="empty, inverted, NaN or outside"):
        record("a.png", [box])


def test_record_refuses_wrong_arrays() -> None:
    good = record("a.png", [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"expected boxes float64 \(1, 4\), got float32"):
        ImageRecord("a", 9, 9, Boxes(good.boxes.astype(np.float32), good.labels, good.crowd))
    with pytest.raises(ValueError, match="expected crowd"):
        ImageRecord("a", 9, 9, Boxes(good.boxes, good.labels, np.zeros(2, bool)))
    with pytest.raises(ValueError, match="labels >= 1"):
        record("a.png", [[0, 0, 1, 1]], [0])
    with pytest.raises(ValueError, match="size >= 1"):
        record("a.png", [], size=(0, 4))


def test_index_refuses_what_contradicts_itself() -> None:
    image = record("a.png", [[0, 0, 1, 1]], [2])
    with pytest.raises(ValueError, match="label 2 of 1 classes"):
        DatasetIndex(ROOT, ("ear",), (image,))
    with pytest.raises(ValueError, match="file names to differ"):
        DatasetIndex(ROOT, ("ear", "leaf"), (image, image))
    with pytest.raises(ValueError, match="class names to differ"):
        DatasetIndex(ROOT, ("ear", "ear"), ())


def test_counts() -> None:
    counts = two().counts()
    assert counts.to_dict() == {
        "images": 2,
        "empty_images": 1,
        "boxes": 2,
        "crowd_boxes": 0,
        "boxes_per_class": {"ear": 1, "leaf": 1},
        "images_per_group": {"north": 1},
    }


def test_counts_of_nothing() -> None:
    assert DatasetIndex(ROOT, ("ear",), ()).counts().boxes_per_class == {"ear": 0}


def test_digest_is_of_the_content_and_not_of_the_place() -> None:
    index = two()
    assert index.digest() == DatasetIndex(Path("/elsewhere"), index.classes, index.images).digest()
    noted = DatasetIndex(ROOT, index.classes, index.images, (Finding("note", "x", "f", "m"),))
    assert index.digest() == noted.digest()
    assert len(index.digest()) == 64


def test_digest_is_pinned() -> None:
    """Records hold it, so it may change only with its version prefix."""
    expected = "aca2d781cf00ad419a6f46c3da908e55354146343e4b82581e0ea2be9c83c51d"
    assert two().digest() == expected


def test_digest_changes_with_everything_that_counts() -> None:
    index = two()
    a, b = index.images
    variants = [
        DatasetIndex(ROOT, ("leaf", "ear"), index.images),
        DatasetIndex(ROOT, index.classes, (b, a)),
        DatasetIndex(ROOT, index.classes, (a,)),
        DatasetIndex(ROOT, index.classes, (record("a.png", [], group="north"), b)),
        DatasetIndex(ROOT, index.classes, (a, record("c.png", []))),
        DatasetIndex(ROOT, index.classes, (a, record("b.png", [], size=(95, 64)))),
        DatasetIndex(ROOT, index.classes, (a, record("b.png", [], group=""))),
        DatasetIndex(ROOT, index.classes, (a, record("b.png", [[0, 0, 1, 1]]))),
        DatasetIndex(ROOT, index.classes, (a, record("b.png", [[0, 0, 1, 2]]))),
        DatasetIndex(ROOT, index.classes, (a, record("b.png", [[0, 0, 1, 2]], [2]))),
    ]
    digests = {v.digest() for v in (index, *variants)}
    assert len(digests) == len(variants) + 1


def test_to_coco_counts_ids_from_one() -> None:
    coco = two().to_coco()
    assert [image["id"] for image in coco["images"]] == [1, 2]
    assert [a["id"] for a in coco["annotations"]] == [1, 2]
    assert coco["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "category_id": 2,
        "bbox": [5.0, 5.0, 45.0, 55.0],
        "area": 45.0 * 55.0,
        "iscrowd": 0,
    }
    assert coco["categories"] == [{"id": 1, "name": "ear"}, {"id": 2, "name": "leaf"}]
    assert coco["images"][0]["group"] == "north"
    assert "group" not in coco["images"][1]


def test_a_share_is_the_same_in_any_order_and_grows(tmp_path: Path) -> None:
    index = random_index(tmp_path / "images", "a", 8, seed=1)
    quarter, half = index.share(0.25), index.share(0.5)
    assert (len(quarter), len(half), len(index.share(0.01))) == (2, 4, 1)
    files = [image.file for image in index]
    assert [image.file for image in half] == [f for f in files if f in {i.file for i in half}]
    assert {image.file for image in quarter} < {image.file for image in half}
    turned = DatasetIndex(index.root, index.classes, index.images[::-1])
    assert {image.file for image in turned.share(0.25)} == {image.file for image in quarter}
    assert index.share(1.0).digest() == index.digest()


def test_coco_round_trip_keeps_the_digest(tmp_path: Path) -> None:
    index = random_index(tmp_path / "images", "a", 4, seed=1)
    (tmp_path / "a.json").write_text(json.dumps(index.to_coco()))
    assert read_dataset(tmp_path / "images", tmp_path / "a.json").digest() == index.digest()


def test_plain_values_and_html() -> None:
    index = DatasetIndex(ROOT, ("<b>",), (), (Finding("note", "x", "f", "m"),))
    assert index.to_dict()["findings"][0]["code"] == "x"
    assert json.loads(json.dumps(index.to_dict()))["classes"] == ["<b>"]
    assert '<th scope="row">&lt;b&gt;</th><td>0</td>' in index._repr_html_()
    assert len(index) == len(list(index)) == 0


def test_select_keeps_order_and_refuses_strangers() -> None:
    index = two()
    assert [image.file for image in index.select(["b.png", "a.png"])] == ["a.png", "b.png"]
    assert len(index.select(["b.png"])) == 1
    found = tuple(Finding("note", "x", file, "m") for file in ("all.csv", "a.png", "b.png"))
    noted = DatasetIndex(ROOT, index.classes, index.images, found).select(["b.png"])
    assert [finding.file for finding in noted.findings] == ["b.png"]
    with pytest.raises(DatasetError, match=r"'c\.png' and 1 more that are not in it"):
        index.select(["c.png", "d.png"])


def test_finding_says_where_and_refuses_unknown_severities() -> None:
    assert str(Finding("note", "x", "f.csv", "m", line=3)) == "f.csv, line 3: m"
    assert str(Finding("note", "x", "f.json", "m", entry="images[2]")) == "f.json, images[2]: m"
    assert str(Finding("note", "x", "", "m")) == "m"
    assert Finding("note", "x", "f", "m").to_dict()["severity"] == "note"
    with pytest.raises(ValueError, match="severity"):
        Finding("fatal", "x", "f", "m")  # type: ignore[arg-type]
