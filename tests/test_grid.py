"""The grid's plan and statistics: pure functions of the scripts under ``benchmarks/``."""

import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from frostline.reporting.answer import Noise

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("grid_plan")
    for name in ("grid_plan", "grid_rows", "grid_table", "grid"):
        sys.modules.pop(name, None)


def test_splits_are_disjoint_and_divide_no_group(plan: ModuleType) -> None:
    for name, data in plan.DATASETS.items():
        split = json.loads(plan.split_file(name).read_text())
        parts = [set(split[part]) for part in ("train", "select", "score")]
        assert all(parts), name
        assert len(set.union(*parts)) == sum(map(len, parts)), name
        train, select, _ = ({data.group(file) for file in part} for part in parts)
        assert not train & select, name


def test_rates_are_chosen_by_the_mean_of_both_ends(plan: ModuleType) -> None:
    scores = {1e-4: (0.5, 0.1), 3e-4: (0.4, 0.3), 1e-3: (0.6, 0.0)}
    rows = [
        {"init": init, "depth": str(k), "seed": "0", "optimizer": "adamw", "lr": str(lr),
         "boxes": "true", "select_ap": str(ap)}
        for init in plan.DATASETS["wheat29_tiles512"].starts
        for lr, pair in scores.items()
        for k, ap in zip((0, 52), pair, strict=True)
    ]  # fmt: skip
    assert plan.chosen_rates("wheat29_tiles512", rows)["imagenet"] == 3e-4
    assert plan.chosen_rates("wheat29_tiles512", rows[:-1]) is None


def test_trials_are_all_different_and_whole_curves_come_first(plan: ModuleType) -> None:
    rates = {"imagenet": 3e-4, "coco_then_person": 1e-3}
    arms = plan.arms("wheat29_tiles512", rates)
    assert len(set(arms)) == len(arms) == len({arm.slug for arm in arms})
    cells = plan.cell_arms("wheat29_tiles512", rates)
    assert len(cells) == 2 * 6 * 5
    assert set(cells) <= set(arms)
    kinds = {(arm.init, arm.optimizer, arm.boxes) for arm in arms}
    assert {("random", "adamw", "true"), ("imagenet", "sgd", "true")} <= kinds
    assert ("coco_then_person", "adamw", "shuffled") in kinds
    last_of_seed_1 = max(i for i, arm in enumerate(arms) if arm in cells and arm.seed == 1)
    assert all(arm.seed < 2 for arm in arms[:last_of_seed_1])


def test_shuffled_boxes_go_to_other_images_and_stay_inside(plan: ModuleType) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 10 * i, "height": 50} for i in (1, 2, 3)]
    boxes = [
        {"id": i, "image_id": i, "bbox": [0, 0, 9 * i, 20], "area": 180 * i, "category_id": 1}
        for i in (1, 2, 3)
    ]
    moved = plan.shuffle_boxes({"images": images, "annotations": boxes})["annotations"]
    width = {image["id"]: image["width"] for image in images}
    before = {box["id"]: box["image_id"] for box in boxes}
    assert {box["image_id"] for box in moved} == {1, 2, 3}
    assert all(box["image_id"] != before[box["id"]] for box in moved)
    assert all(box["bbox"][2] <= width[box["image_id"]] for box in moved)


def test_statistics_of_the_table(plan: ModuleType) -> None:
    table = importlib.import_module("grid_table")
    assert table.spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)  # by hand
    assert table.spearman([1, 1, 2], [1, 1, 5]) == pytest.approx(1.0)
    assert math.isnan(table.spearman([1, 2], [3, 3]))
    mean, half = table.interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3), rel=1e-3))
    assert math.isnan(table.interval([1.0])[1])
    assert table.student(9) == pytest.approx(2.262, abs=5e-4)  # printed tables
    noise = Noise(sd=0.01, freedom=10)
    mean, half, seeds = table.contrast({0: 0.5, 1: 0.6, 7: 0.9}, {0: 0.4, 1: 0.4}, noise)
    assert (mean, seeds) == (pytest.approx(0.15), 2)
    assert half == pytest.approx(2.228 * 0.01, abs=1e-5)
    assert math.isnan(table.contrast({0: 0.5}, {0: 0.4}, Noise(math.nan, 0))[1])
    assert table.contrast({0: 0.5}, {1: 0.4}, noise)[2] == 0


def test_signals_of_the_table_by_hand(plan: ModuleType) -> None:
    table = importlib.import_module("grid_table")
    layers = dict.fromkeys(range(1, 53), 0.01)
    moved = {0: dict.fromkeys(layers, 0.0), 5: layers, 9: {i: i / 100 for i in layers}}
    rewound = {5: dict.fromkeys(plan.DEPTHS, 0.3), 9: {k: -k / 100 for k in plan.DEPTHS}}
    levels = table.depth_signals(rewound, moved)
    assert levels["rewind, end"] == [-k / 100 for k in plan.DEPTHS]
    assert levels["movement, early"] == pytest.approx([-k / 100 for k in plan.DEPTHS])
    assert table.pearson(levels["movement, early"], levels["k itself"]) == pytest.approx(1)
    assert math.isnan(table.pearson(levels["rewind, early"], levels["k itself"]))
    bands = table.band_signals(moved, {0: layers, 5: layers})
    assert bands["movement, end"][0] == pytest.approx(0.05)  # layers 1 to 9
    assert bands["relative gradient, step 0"] == pytest.approx([0.01] * 5)
