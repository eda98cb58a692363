"""The grid's plan and statistics: pure functions of the scripts under ``benchmarks/``."""

import dataclasses
import importlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from frostline.records import TrialRecord, write_json
from frostline.reporting.answer import StartComparison
from tests.factories import make_record

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("grid_plan")
    for name in [name for name in sys.modules if name == "grid" or name.startswith("grid_")]:
        sys.modules.pop(name)


def test_splits_are_disjoint_and_divide_no_group(plan: ModuleType) -> None:
    for name, data in plan.DATASETS.items():
        split = json.loads(plan.split_file(name).read_text())
        parts = [set(split[part]) for part in ("train", "select", "score")]
        assert all(parts), name
        assert len(set.union(*parts)) == sum(map(len, parts)), name
        train, select, score = ({data.group(file) for file in part} for part in parts)
        assert not train & select, name
        assert not score & (train | select), name


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


def test_statistics_of_the_tables(plan: ModuleType) -> None:
    statistics = importlib.import_module("grid_statistics")
    assert statistics.spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)  # by hand
    assert statistics.spearman([1, 1, 2], [1, 1, 5]) == pytest.approx(1.0)
    assert math.isnan(statistics.spearman([1, 2], [3, 3]))
    mean, half = statistics.interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3), rel=1e-3))
    assert math.isnan(statistics.interval([1.0])[1])
    assert statistics.student(9) == pytest.approx(2.262, abs=5e-4)  # printed tables
    assert statistics.differences({0: 3.0, 1: 5.0, 7: 9.0}, {0: 1.0, 1: 1.0}) == {0: 2.0, 1: 4.0}


def test_the_jackknife_of_a_mean_is_its_t_interval(plan: ModuleType) -> None:
    statistics = importlib.import_module("grid_statistics")
    values = [1.0, 2.5, 3.0, 7.0, 4.0]

    def mean(seeds: Sequence[int]) -> float:
        return sum(values[seed] for seed in seeds) / len(seeds)

    assert statistics.jackknife(range(5), mean) == pytest.approx(statistics.interval(values))
    assert math.isnan(statistics.jackknife(range(2), mean)[1])


def test_agreement_by_hand(plan: ModuleType) -> None:
    """Two seeds: the signal of each against the truth of the other."""
    signals = importlib.import_module("grid_signals")
    statistics = importlib.import_module("grid_statistics")
    found = signals.Evidence(
        signals={
            0: {"s": [1, 2, 4, 3], "b": [1, 2, 3, 4]},
            1: {"s": [1, 2, 3, 4], "b": [4, 3, 2, 1]},
        },
        truth={0: [1, 2, 3, 4], 1: [10, 20, 30, 40]},
        correlation=statistics.spearman,
        baseline="b",
    )
    assert found.names == ["s", "b"]
    assert found.estimate("s")[0] == pytest.approx((0.8 + 1.0) / 2)
    assert found.against_baseline("s")[0] == pytest.approx(0.9 - 0.0)


def test_signals_of_the_table_by_hand(plan: ModuleType) -> None:
    table = importlib.import_module("grid_signals")
    layers = dict.fromkeys(range(1, 53), 0.01)
    moved = {0: dict.fromkeys(layers, 0.0), 5: layers, 9: {i: i / 100 for i in layers}}
    rewound = {5: dict.fromkeys(plan.DEPTHS, 0.3), 9: {k: -k / 100 for k in plan.DEPTHS}}
    levels = table.depth_signals(rewound, moved)
    assert levels["rewind, end"] == [-k / 100 for k in plan.DEPTHS]
    assert levels["movement, early"] == pytest.approx([-k / 100 for k in plan.DEPTHS])
    pearson = importlib.import_module("grid_statistics").pearson
    assert pearson(levels["movement, early"], levels["k itself"]) == pytest.approx(1)
    assert math.isnan(pearson(levels["rewind, early"], levels["k itself"]))
    bands = table.band_signals(moved, {0: layers, 5: layers})
    assert bands["movement, end"][0] == pytest.approx(0.05)  # layers 1 to 9
    assert bands["relative gradient, step 0"] == pytest.approx([0.01] * 5)


NAME = "wheat29_tiles512"


@pytest.fixture
def grid(plan: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script, with a folder of its own for rows."""
    script = importlib.import_module("grid")
    for name in ("grid_plan", "grid_rows", "grid_table", "grid"):
        monkeypatch.setattr(importlib.import_module(name), "RESULTS", tmp_path / "results")
    return script


def _finish(grid: ModuleType, arm: Any, folder: Path, ap: float, flags: tuple[str, ...]) -> None:
    """What a trial leaves, made up: its record, and two observed moments."""
    record = make_record(arm.init, arm.depth, arm.seed, ap=ap, flags=flags, with_test=True)
    environment = record.environment | {"threads": "1", "torchvision": "0.30.0"}
    history = tuple(e.model_copy(update={"metrics": {"ap": ap}}) for e in record.history)
    record = record.model_copy(update={"environment": environment, "history": history})
    write_json(folder / "record.json", record.model_dump(mode="json"))
    for step in (0, 2, 4):
        layer = {"index": 1, "name": "x", "cosine": step / 100, "norm_of_mean_gradient": 1.0}
        layers = [layer | {"index": i, "weight_norm": 2.0} for i in range(1, 53)]
        rewind = [{"rewound": k, "ap": ap - k / 1000} for k in grid.DEPTHS if step]
        write_json(folder / f"step{step:05d}-observed.json",
                   {"step": step, "layers": layers, "rewind": rewind})  # fmt: skip


def _every_arm(plan: ModuleType) -> Iterator[Any]:
    yield from plan.arms(NAME, dict.fromkeys(plan.DATASETS[NAME].starts, 3e-4))


def _text(*names: str) -> str:
    table, rows = (importlib.import_module(name) for name in ("grid_table", "grid_rows"))
    text: str = table.text_of(map(rows.Grid, names))
    return text


def test_rows_of_made_up_trials_give_the_tables(
    grid: ModuleType, plan: ModuleType, tmp_path: Path
) -> None:
    """Freezing costs 0.1 a depth; one trial collapsed and is counted, in no mean."""
    collapsed = plan.Arm("imagenet", 9, 1, "adamw", 3e-4)
    for number, arm in enumerate(_every_arm(plan)):
        best = 0.5 if arm.lr == 3e-4 else 0.4
        ap = best - plan.DEPTHS.index(arm.depth) / 10 + arm.seed / 1000 + number % 7 / 10_000
        flags = ("collapsed: made up",) if arm == collapsed else ()
        folder = tmp_path / "trials" / arm.slug
        _finish(grid, arm, folder, 0.0 if flags else ap, flags)
        grid.append_trial(grid.RESULTS / NAME, NAME, arm, folder)
    grid.append_trial(grid.RESULTS / NAME, NAME, arm, folder)  # killed before, and done again
    diverged = {"data": NAME, **dataclasses.asdict(plan.Arm("random", 0, 0, "adamw", 1.0))}
    grid.append_csv(grid.RESULTS / NAME / "failures.csv", [diverged | {"error": "loss is nan"}])
    text = _text(NAME)
    assert f"{number + 1} of {number + 1} trials; flagged: {collapsed.slug}" in text
    assert "without a score: random-adamw-1e+00-k00-s0." in text
    rows = {tuple(line.split(" | ")[:4]) for line in text.splitlines()}
    assert ("| imagenet", "9", "4", "1") in rows  # seeds, collapsed
    assert ("| imagenet", "18", "5", "0") in rows
    told = [line for line in text.splitlines() if line.startswith("| coco_then_person | +1.00 ")]
    assert len(told) == 1  # the rewind curve falls with k, as AP does


def test_a_difference_has_an_interval_only_where_noise_was_measured(plan: ModuleType) -> None:
    table = importlib.import_module("grid_table")
    found = StartComparison("coco", (), -0.04, -0.062, -0.018, "lower")
    assert table.compared(found) == "-4.0 [-6.2, -1.8]"
    unknown = dataclasses.replace(found, low=math.nan, high=math.nan, verdict="unknown")
    assert table.compared(unknown) == "-4.0"


def test_records_of_other_settings_are_refused(
    grid: ModuleType, plan: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_DATA", str(tmp_path))
    monkeypatch.setenv("FROSTLINE_WEIGHTS", str(tmp_path))
    arm = plan.Arm("imagenet", 0, 0, "adamw", 3e-4)
    spec = grid.spec_of(NAME, arm, tmp_path)
    record = make_record("imagenet", with_test=True)
    made = {"model": spec.model.model_dump(mode="json"),
            "schedule": spec.schedule.model_dump(mode="json")}  # fmt: skip

    def put(made: dict[str, Any]) -> None:
        changed: TrialRecord = record.model_copy(update={"spec": record.spec | made})
        write_json(tmp_path / "record.json", changed.model_dump(mode="json"))

    put(made)
    grid.require_same(spec, tmp_path)
    put(made | {"schedule": made["schedule"] | {"epochs": 12}})
    with pytest.raises(SystemExit, match=r"schedule.epochs 12, expected 40; delete the folder"):
        grid.require_same(spec, tmp_path)


def test_a_diverged_trial_is_told_from_one_that_was_killed(
    grid: ModuleType, tmp_path: Path
) -> None:
    assert grid.divergence(tmp_path) is None
    write_json(tmp_path / "failure.json", {"error": "TrainingError", "text": "loss is nan"})
    assert grid.divergence(tmp_path) == "loss is nan"
    write_json(tmp_path / "failure.json", {"error": "MemoryError", "text": "full"})
    assert grid.divergence(tmp_path) is None


def test_a_diverged_rate_counts_as_nothing(plan: ModuleType) -> None:
    failed = [plan.Arm("imagenet", depth, 0, "adamw", 1e-3) for depth in (0, plan.DEEPEST)]
    assert plan.rate_means("imagenet", [], failed) == {1e-3: 0.0}


def test_files_of_no_bytes_get_a_header(grid: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.touch()
    grid.append_csv(path, [{"a": 1}])
    grid.append_csv(path, [{"a": 2}])
    assert path.read_text() == "a\n1\n2\n"
    with pytest.raises(AssertionError, match="columns changed"):
        grid.append_csv(path, [{"b": 2}])


def test_the_committed_tables_are_what_the_rows_give(plan: ModuleType) -> None:
    text = _text(*(name for name in plan.DATASETS if plan.rows_of(name)))
    assert (plan.RESULTS / "tables.md").read_text() == text
