"""Further rows and the replay of policies on committed rows: scripts under ``benchmarks/``."""

import dataclasses
import importlib
import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from frostline.advice.cells import Policy
from frostline.advice.constants import shipped, to_dict
from frostline.advice.policies import everything, probe
from frostline.advice.replay import replay
from frostline.advice.scoring import regret

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def scripts() -> Iterator[ModuleType]:
    """``replay_rows``, and with it everything that it imports; rows are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("replay_rows")
    for name in [name for name in sys.modules if name.split("_")[0] in ("grid", "replay")]:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bccd", (2.9, 0.80, 0.17, 0.94, 0.97)),
        ("wheat29_tiles512", (3.1, 0.28, 0.00, 0.00, 0.16)),
        ("playing_cards", (12.6, 0.00, 0.00, 0.00, 2.3)),
    ],
)
def test_regrets_that_were_computed_elsewhere(
    scripts: ModuleType, name: str, values: tuple[float, ...]
) -> None:
    """By other code from the same rows: random, grid, starts to the end, to 34 % and to 10 %."""
    rows = scripts.read(name)
    stage_1 = [arm for arm in rows.selection if arm.init != "coco_dequantised" or name != WHEAT]
    kept = dataclasses.replace(rows, selection={arm: rows.selection[arm] for arm in stage_1})
    task = scripts.given(kept, DEPTHS)

    def lost(policy: Policy) -> float:
        picks = [replay(policy, task.problem(seed), task.recorded).pick for seed in task.seeds]
        return statistics.fmean(
            100 * regret(pick, seed, task.facts, task.scores)
            for seed, pick in zip(task.seeds, picks, strict=True)
        )

    random = statistics.fmean(
        100 * regret(cell, seed, task.facts, task.scores)
        for cell in task.facts
        for seed in task.seeds
    )
    found = [random, *map(lost, (probe(1, everything), probe(1), probe(0.34), probe(0.1)))]
    assert found == pytest.approx(list(values), abs=0.051)


NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
WHEAT = "wheat29_tiles512"
DEPTHS = (0, 9, 18, 30, 39, 52)


def test_prices_are_relative_and_fall_with_depth(scripts: ModuleType) -> None:
    prices = scripts.read("bccd").prices
    assert prices[0] == 1
    assert prices[52] < prices[30] < prices[9] < 1


def test_signals_are_known_at_the_end_of_the_epoch_that_gives_them(scripts: ModuleType) -> None:
    """bccd: steps 0, 15, 74 and 738 of 41 an epoch."""
    rows = scripts.read("bccd")
    epochs = {epoch for arm, epoch in rows.signals if arm.depth == 0 and arm.lr == 3e-4}
    assert epochs == {1, 2, 18}
    arm = next(arm for arm, _ in rows.signals if arm.depth == 0)
    names = dict(rows.signals[arm, 2])
    assert {"movement", "gradient", "rewind k00", "rewind k52"} <= names.keys()


def test_the_committed_pages_are_what_the_rows_give(scripts: ModuleType) -> None:
    page, _ = importlib.import_module("replay").text()
    folder = BENCHMARKS / "results" / "grid"
    committed = (folder / "advice" / "tables.md").read_text()
    assert NUMBER.sub("#", committed) == NUMBER.sub("#", page)
    numbers = [[float(x) for x in NUMBER.findall(text)] for text in (committed, page)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.11)  # eigenvectors differ by processor
    more = importlib.import_module("grid_more_table").text()
    assert (folder / "more" / "tables.md").read_text() == more


def test_the_packages_constants_are_what_the_rows_give(scripts: ModuleType) -> None:
    module = importlib.import_module("replay")
    committed, made = json.loads(module.CONSTANTS.read_text()), module.shipped_constants()
    assert {**committed, "constants": {}} == {**made, "constants": {}}
    for name, value in made["constants"].items():
        assert np.array(committed["constants"][name]) == pytest.approx(np.array(value), rel=2e-3)
    assert to_dict(shipped()) == committed["constants"]
    assert "bccd" not in module.shipped_constants("bccd")["families"]


# What runs


def test_short_schedules_scale_the_warm_up_and_fewer_images_keep_the_steps(
    scripts: ModuleType,
) -> None:
    plan = importlib.import_module("grid_more_plan")
    arm = plan.More("imagenet", 0, 0, "adamw", 3e-4)
    assert plan.settings("bccd", arm) == (18, 1.0)
    short = dataclasses.replace(arm, share=0.1)
    assert plan.settings("bccd", short) == (2, pytest.approx(2 / 18))
    assert plan.settings("treecrowns_tiles", dataclasses.replace(arm, share=0.25))[0] == 15
    assert plan.settings("bccd", dataclasses.replace(arm, image_share=0.25)) == (72, 4.0)
    varied = dataclasses.replace(short, backbone_lr_scale=0.3)
    assert varied.slug == "imagenet-adamw-3e-4-b0.3-e0.1-k00-s0"
    assert arm.slug == arm.basic.slug


def test_a_key_names_no_column_of_the_row_again(scripts: ModuleType) -> None:
    """A column of a trial's row would overwrite it: the trial would run for ever."""
    plan = importlib.import_module("grid_more_plan")
    stage_1 = set(plan.rows_of("bccd")[0])
    new = {f.name for f in dataclasses.fields(plan.More)} - {
        f.name for f in dataclasses.fields(plan.Arm)
    }
    assert not new & stage_1
    for name in ("wheat29_tiles512", "microcontrollers"):
        for row in plan.rows_of_more(name):
            assert plan.pair_of(row)[1] in plan.selection(name)


def test_what_ran_is_not_left_and_breadth_comes_first(scripts: ModuleType) -> None:
    plan = importlib.import_module("grid_more_plan")
    left = plan.left()
    assert len(set(left)) == len(left)
    assert not any(arm in plan.selection(name) for name, arm in left)
    keys = [(name, arm.slug) for name, arm in left]
    assert len(set(keys)) == len(keys)


def test_a_rate_is_the_best_of_those_with_most_seeds(scripts: ModuleType) -> None:
    plan = importlib.import_module("grid_more_plan")

    def arm(lr: float, seed: int) -> Any:
        return plan.More("imagenet", 0, seed, "adamw", lr)

    done = {arm(1e-3, 0): 0.6}
    assert plan.rate("pear640", "imagenet", done) is None
    done |= {arm(3e-4, 0): 0.5}
    assert plan.rate("pear640", "imagenet", done) == 1e-3
    assert plan.rate("pear640", "imagenet", done | {arm(3e-4, 1): 0.4}) == 3e-4
    both = done | {arm(3e-4, 1): 0.4, arm(1e-3, 1): 0.1}
    assert plan.rate("pear640", "imagenet", both) == 1e-3
    assert plan.rate("bccd", "imagenet", {}) == 3e-4  # grid.py's own choice stays


# Rows that are made up


def rows_with(scripts: ModuleType, trials: dict[tuple[str, float, int], float], **more: Any) -> Any:
    """Nothing frozen on bccd: (start, rate, seed) -> score, two epochs."""
    plan = importlib.import_module("grid_more_plan")
    scores = {plan.More(i, 0, seed, "adamw", lr): s for (i, lr, seed), s in trials.items()}
    curves = {arm: (score / 2, score) for arm, score in scores.items()}
    seconds = dict.fromkeys(scores, ("", 1.0))
    made = {"seconds": seconds, "signals": {}, "boxes": 100} | more
    return scripts.Rows("bccd", scores, scores, curves, **made)


def test_only_trials_of_one_processor_are_compared_for_prices(scripts: ModuleType) -> None:
    plan = importlib.import_module("grid_more_plan")

    def arm(depth: int, seed: int) -> Any:
        return plan.More("imagenet", depth, seed, "adamw", 3e-4)

    seconds = {
        arm(0, 0): ("fast", 1.0), arm(9, 0): ("fast", 0.8),
        arm(0, 1): ("slow", 4.0), arm(52, 1): ("slow", 2.0),
        arm(30, 2): ("unlike the others", 0.1),
    }  # fmt: skip
    rows = rows_with(scripts, {}, seconds=seconds)
    assert rows.prices == {0: 1.0, 9: 0.8, 52: 0.5}


def test_rates_are_open_where_a_start_has_all_of_them_twice(scripts: ModuleType) -> None:
    rates = (1e-4, 3e-4)
    twice = {("imagenet", lr, seed): 0.5 for lr in rates for seed in (0, 1)}
    assert scripts.open_rates(rows_with(scripts, twice), rates).seeds == (0, 1)
    assert scripts.open_rates(rows_with(scripts, twice), (*rates, 1e-3)) is None
    once = {key: score for key, score in twice.items() if key != ("imagenet", 1e-4, 1)}
    assert scripts.open_rates(rows_with(scripts, once), rates) is None


def test_five_starts_count_seeds_that_all_have(scripts: ModuleType) -> None:
    own = ("own_playing_cards", "own_wheat29_tiles512")
    starts = ("imagenet", "coco_then_person", "coco_dequantised", *own)
    rate = importlib.import_module("grid_more_plan").rate
    rates = {init: rate("bccd", init, {}) or 3e-4 for init in starts}
    trials = {
        (init, rates[init], seed): 0.5 for init in starts for seed in range(2 if init in own else 5)
    }
    found = scripts.five_starts(rows_with(scripts, trials))
    assert {cell.init for cell in found.facts} == set(starts)
    assert found.seeds == (0, 1)
    assert {seed for _, seed in found.scores.test} == {0, 1}
    del trials["own_playing_cards", 3e-4, 1]
    assert scripts.five_starts(rows_with(scripts, trials)) is None
