"""`frostline advise` for real on data sets of the grid, and what its pick is worth by their rows.

    python benchmarks/advise_live.py bccd playing_cards microcontrollers --out OUT
    python benchmarks/advise_live.py bccd --out OUT --epochs 2 --images 24    # a smoke test

Starts, their rates, splits, pixels and epochs are those of the grid; the seed has no rows there.
``val`` is the grid's selection split, ``test`` the images that score. The model's constants are
fitted without the data set's family. A run that was killed goes on. Rows are appended to
``benchmarks/results/grid/advice/live.csv``, those of smoke tests to ``OUT/live.csv``: fewer epochs
or images are no cell of the grid, and their regret says nothing. Regret is in AP points, of the
pick's cell over the grid's seeds (``scoring.regret``); cost in complete trainings at the prices
measured here; wall-clock of this sitting.
"""

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import yaml

from frostline.advice.cells import Candidate
from frostline.advice.constants import from_dict
from frostline.advice.result import Advice
from frostline.advice.scoring import regret
from frostline.advising import advise_study
from frostline.study import Study
from grid_more_plan import DEPTHS, THREE, rate
from grid_plan import DATASETS, RESULTS, WEIGHTS, data_folder, write_annotations
from replay import shipped_constants
from replay_rows import Rows, Task, given, read

SEED = 5  # the grid has 0 to 4
ROWS = RESULTS / "advice" / "live.csv"


def write_study(name: str, folder: Path, epochs: int | None, images: int | None) -> Study:
    """The grid's setting of a data set as a study."""
    data = DATASETS[name]
    write_annotations(name, folder / "data")
    for part in ("train", "select", "score") if images else ():
        _cut(folder / "data" / f"{part}.json", images or 0)
    weights = Path(os.environ["FROSTLINE_WEIGHTS"])
    rates = {init: rate(name, init, read(name).selection) for init in THREE}
    study = {
        "version": 1,
        "data": {
            "layout": "coco",
            "images": str(data_folder(name) / "images"),
            **{to: f"data/{part}.json"
               for to, part in (("train", "train"), ("val", "select"), ("test", "score"))},
        },
        "model": {"backbone": "mobilenet_v2", "preset": "slim", "image_size": data.image_size},
        "inits": {
            init: {"source": str(weights / WEIGHTS[init]), "schedule": {"lr": lr}}
            for init, lr in rates.items()
            if lr
        },
        "depths": list(DEPTHS),
        "seeds": [SEED],
        "schedule": {
            "epochs": epochs or data.epochs, "batch_size": 4, "optimizer": "adamw",
            "augment": dict(data.augment),
        },
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return Study.from_yaml(path)


def _cut(path: Path, images: int) -> None:
    """The first images of a file, for smoke tests."""
    coco = json.loads(path.read_bytes())
    coco["images"] = coco["images"][:images]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [box for box in coco["annotations"] if box["image_id"] in kept]
    path.write_text(json.dumps(coco))


def row(name: str, found: Advice, seconds: float, threads: int) -> dict[str, Any]:
    """What an advice spent and picked, and its regret by the grid's rows."""
    rows = read(name)
    task = given(rows, DEPTHS)
    assert task is not None, "a data set with rows of two seeds"
    pick = found.pick
    return {
        "data": name,
        "seed": SEED,
        "budget": found.cost.budget,
        "spent": round(found.cost.spent, 4),
        "pick": f"{pick.init} {pick.plan}",
        "regret": _regret(task, Candidate(pick.init, pick.plan)),
        "ties": " ".join(f"{other.init} {other.plan}" for other in found.ties),
        "chance": round(found.chance, 3),
        "expected": round(pick.expected, 4),
        "low": round(pick.low, 4),
        "high": round(pick.high, 4),
        "val": pick.val,
        "test": pick.test,
        "mean_test_in_grid": _mean_test(task, rows, Candidate(pick.init, pick.plan)),
        "unit_seconds": round(found.cost.unit_seconds, 1),
        "wall_seconds": round(seconds, 1),
        "grid_trainings": round(found.cost.grid, 2),
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
    }


def _regret(task: Task, pick: Candidate) -> float:
    return round(100 * regret(pick, SEED, task.facts, task.scores), 2)


def _mean_test(task: Task, rows: Rows, pick: Candidate) -> float | None:
    found = [score for (cell, _), score in task.scores.test.items() if cell == pick]
    return round(sum(found) / len(found), 4) if found else None


def append(path: Path, found: dict[str, Any]) -> None:
    """A row; the heading first where the file is new."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(found), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(found)


def main() -> None:
    """Advise on each data set and append its row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", choices=list(DATASETS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the studies")
    parser.add_argument("--budget", default="2x")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="fewer, for a smoke test")
    parser.add_argument("--images", type=int, help="of each split, for a smoke test")
    asked = parser.parse_args()
    for name in asked.data:
        family = DATASETS[name].folder or name
        constants = from_dict(shipped_constants(without=family)["constants"])
        study = write_study(name, asked.out / name, asked.epochs, asked.images)
        began = time.monotonic()
        found = advise_study(
            study, budget=asked.budget, workers=asked.workers, threads=asked.threads,
            constants=constants, say=lambda line, name=name: print(f"{name}: {line}", flush=True),
        )  # fmt: skip
        line = row(name, found, time.monotonic() - began, asked.threads)
        print(json.dumps(line, indent=1), flush=True)
        append(asked.out / "live.csv" if asked.epochs or asked.images else ROWS, line)


if __name__ == "__main__":
    main()
