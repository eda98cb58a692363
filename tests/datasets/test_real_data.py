"""Real annotation files, against an independent count with nothing but the standard library."""

import csv
import gzip
import importlib
import json
import re
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.datasets import check_dataset, find_dataset, read_dataset, read_splits

GRID = Path(__file__).parents[2] / "benchmarks" / "results" / "grid"


@pytest.mark.parametrize("name", ["bccd", "wheat29_tiles512", "playing_cards"])
def test_digests_that_records_hold(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Three published sets, against the digests in the committed records of their trials."""
    monkeypatch.syspath_prepend(str(GRID.parents[1]))
    importlib.import_module("grid_plan").write_annotations(name, tmp_path)
    files = {"train": "train.json", "val": "select.json", "test": "score.json"}
    images = real_data / name / "images"
    read = read_splits(images, {split: tmp_path / file for split, file in files.items()})
    recorded = json.loads((GRID / name / "facts.json").read_text())["data"]
    assert {split: index.digest() for split, index in read.items()} == {
        split: facts["digest"] for split, facts in recorded.items()
    }


def csv_lines(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_complete_kaggle_file(real_data: Path, tmp_path: Path) -> None:
    """3422 images as in the published folder, 49 of them without a row."""
    path = real_data / "gwhd_annotations" / "kaggle2020_train.csv.gz"
    rows = csv_lines(path)
    ids = list(dict.fromkeys(row["image_id"] for row in rows))
    assert (len(rows), len(ids)) == (147_793, 3_373)
    Image.new("1", (1024, 1024)).save(tmp_path / "blank.png")
    blank = (tmp_path / "blank.png").read_bytes()
    images = tmp_path / "images"
    images.mkdir()
    for name in [*ids, *(f"without{n:02}" for n in range(49))]:
        (images / f"{name}.png").write_bytes(blank)
    start = time.process_time()
    index = read_dataset(images, path)
    assert time.process_time() - start < 10
    counts = index.counts()
    assert (counts.images, counts.empty_images, counts.boxes) == (3_422, 49, 147_793)
    assert counts.images_per_group == dict(
        sorted(Counter({row["image_id"]: row["source"] for row in rows}.values()).items())
    )
    numbers = [float(v) for row in rows for v in re.findall(r"[0-9.]+", row["bbox"])]
    xywh = np.array(numbers).reshape(-1, 4)
    read = np.concatenate([i.boxes for i in index])
    assert read.sum(axis=0) == pytest.approx(
        [xywh[:, 0].sum(), xywh[:, 1].sum(), xywh[:, ::2].sum(), xywh[:, 1::2].sum()], rel=1e-12
    )


def test_complete_kaggle_file_without_images(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "gwhd_annotations" / "kaggle2020_train.csv.gz"
    counts = read_dataset(tmp_path, path, check_files=False).counts()
    assert (counts.images, counts.boxes) == (3_373, 147_793)


def test_complete_gwhd_files(real_data: Path, tmp_path: Path) -> None:
    total, images = 0, 0
    for split in ("train", "val", "test"):
        path = real_data / "gwhd_annotations" / f"gwhd2021_{split}.csv.gz"
        rows = csv_lines(path)
        index = read_dataset(tmp_path, path, check_files=False)
        counts = index.counts()
        boxes = sum(
            row["BoxesString"].count(";") + 1 for row in rows if row["BoxesString"] != "no_box"
        )
        assert counts.boxes == boxes
        names = {row["image_name"] for row in rows}
        assert {image.file for image in index} == names
        twice = len(rows) - len(names)
        assert [f.code for f in index.findings].count("image-two-rows") == twice
        assert not [f for f in index.findings if f.severity == "error"]
        assert counts.empty_images == sum(row["BoxesString"] == "no_box" for row in rows)
        assert set(counts.images_per_group) == {row["domain"] for row in rows}
        total, images = total + boxes, images + len(names)
    assert (images, total) == (5_799, 243_642)


@pytest.mark.parametrize(
    ("name", "boxes"),
    [
        ("bccd", 4_886),
        ("pear640", 8_262),
        ("playing_cards", 670),
        ("microcontrollers", 177),
        ("deeppcb", 10_013),
        ("treecrowns_tiles", 1_003),
        ("wheat29_tiles512", 1_177),
    ],
)
def test_coco_sets(real_data: Path, name: str, boxes: int) -> None:
    splits = read_splits(real_data / name)
    assert sum(index.counts().boxes for index in splits.values()) == boxes
    for split, file in find_dataset(real_data / name).splits.items():
        coco = json.loads(file.read_text())
        assert splits[split].counts().images == len(coco["images"])
        per_class = Counter(a["category_id"] for a in coco["annotations"])
        assert splits[split].counts().boxes_per_class == {
            c["name"]: per_class[c["id"]] for c in coco["categories"]
        }
        assert not [f for f in splits[split].findings if f.severity == "error"]


def test_three_layouts_of_the_same_wheat(real_data: Path) -> None:
    root = real_data / "wheat29"
    coco = read_dataset(root / "images", root / "all.json")
    assert (len(coco), coco.counts().boxes) == (29, 1_179)
    for part, layout, images in (
        ("kaggle/train.csv", "kaggle", 9),
        ("gwhd2021/annotations.csv", "gwhd2021", 15),
    ):
        index = read_dataset(root / "images", root / part, layout=layout, unlisted="ignore")
        assert len(index) == images
        by_file = {image.file: image for image in coco}
        for image in index:
            # all.json is rounded to hundredths of a pixel
            true = by_file[image.file].boxes
            np.testing.assert_allclose(image.boxes, true, rtol=0, atol=0.011)


def pairs_by_hand(coco: dict[str, Any]) -> int:
    """Pairs of boxes of a class in an image with an IoU of 0.9, one by one."""
    of_image: dict[tuple[int, int], list[list[float]]] = {}
    for entry in coco["annotations"]:
        key = entry["image_id"], entry["category_id"]
        of_image.setdefault(key, []).append(entry["bbox"])
    found = 0
    for boxes in of_image.values():
        for (x, y, w, h), (u, v, m, n) in combinations(boxes, 2):
            wide, high = min(x + w, u + m) - max(x, u), min(y + h, v + n) - max(y, v)
            shared = max(wide, 0) * max(high, 0)
            found += shared >= 0.9 * (w * h + m * n - shared)
    return found


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        # the two pictures were looked at: one field of cells, in and out of focus
        ("bccd", {"box-duplicate": 7, "image-near-duplicate": 1}),
        ("pear640", {"boxes-small": 1, "images-empty": 3}),
        ("playing_cards", {}),
        ("microcontrollers", {}),
        ("treecrowns_tiles", {"boxes-small": 1}),
        ("wheat29_tiles512", {"box-duplicate": 1, "images-empty": 2}),
    ],
)
def test_findings_are_those_that_were_looked_at(
    real_data: Path, name: str, codes: dict[str, int]
) -> None:
    result = check_dataset(find_dataset(real_data / name))
    assert result.codes() == codes
    files = [json.loads(file.read_text()) for file in (real_data / name).glob("*.json")]
    assert sum(map(pairs_by_hand, files)) == codes.get("box-duplicate", 0)
