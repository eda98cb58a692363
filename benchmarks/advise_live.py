"""`frostline advise` for real on data sets of the grid, and what its pick is worth by their rows.

    python benchmarks/advise_live.py bccd playing_cards microcontrollers --out OUT
    python benchmarks/advise_live.py bccd --out OUT --epochs 2 --images 24    # a smoke test
    python benchmarks/advise_live.py bccd --out OUT --killed   # again, killed and restarted

Starts, their rates, splits, pixels and epochs are those of the grid; the seed has no rows there.
``val`` is the grid's selection split, ``test`` the images that score. The model's constants are
fitted without the data set's family. A run that was killed goes on. ``--killed`` advises once more,
in a folder of its own at the prices of the first, in processes that are killed with -9 in turn as a
decision was said, in the middle of its training, and before the next one is taken, until it comes
to its end; that must be the first one's. Rows are appended to
``benchmarks/results/grid/advice/live.csv``, those of smoke tests to ``OUT/live.csv``: fewer epochs
or images are no cell of the grid, and their regret says nothing. Regret is in AP points, of the
pick's cell over the grid's seeds (``scoring.regret``); cost in complete trainings at the prices
measured here; wall-clock of this sitting.
"""

import argparse
import csv
import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from frostline.advice.cells import Candidate
from frostline.advice.constants import from_dict
from frostline.advice.result import Advice
from frostline.advice.scoring import regret
from frostline.advising import advise_study
from frostline.events import Event, Stepped
from frostline.policy import Observed
from frostline.prices import PRICES_FILE
from frostline.study import Study
from grid import processor
from grid_more_plan import DEPTHS, THREE, rate
from grid_plan import DATASETS, RESULTS, WEIGHTS, data_folder, write_annotations
from replay import shipped_constants
from replay_rows import Rows, Task, given, read

SEED = 5  # the grid has 0 to 4
ROWS = RESULTS / "advice" / "live.csv"  # beside it: killed.csv


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


KILLS = ("after", "during", "before")  # a decision was said; training; the next is taken


@dataclasses.dataclass(frozen=True)
class Doomed(Study):
    """A study whose process dies as the second decision is about to be taken.

    Attributes:
        looks: how often it was looked at.
    """

    looks: list[None] = dataclasses.field(default_factory=list)

    def observed(self) -> Observed:
        """What was observed, the first time."""
        self.looks.append(None)
        if len(self.looks) > 1:
            die()
        return super().observed()


def die() -> None:
    """Be killed, here and now."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass
class Steps:
    """Lets a training take so many steps."""

    left: int

    def __call__(self, event: Event) -> None:
        self.left -= isinstance(event, Stepped)
        if not self.left:
            die()


def one(path: Path, asked: argparse.Namespace, when: str) -> Advice:
    """Advise on a study, in a process that is killed at a moment of ``KILLS``, or never."""
    kind = Doomed if when == "before" else Study
    family = DATASETS[asked.data[0]].folder or asked.data[0]

    def say(line: str) -> None:
        print(f"{asked.data[0]}: {line}", flush=True)
        if when == "after" and " epochs, " in line:
            die()

    return advise_study(
        kind.from_yaml(path), budget=asked.budget, workers=asked.workers, threads=asked.threads,
        constants=from_dict(shipped_constants(without=family)["constants"]), say=say,
        on_event=Steps(asked.steps) if when == "during" else lambda event: None,
    )  # fmt: skip


def killed(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Kill an advice again and again; how often, and whether it said what the first one did."""
    first = Study.from_yaml(asked.out / name / "study.yaml").folder
    folder = asked.out / f"{name}-killed"
    study = write_study(name, folder, asked.epochs, asked.images)
    study.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(first / PRICES_FILE, study.folder)
    command = [sys.executable, __file__, name, "--out", str(folder), "--budget", asked.budget,
               "--threads", str(asked.threads), "--steps", str(asked.steps)]  # fmt: skip
    kills = 0
    for when in itertools.cycle(KILLS):
        ended = subprocess.run([*command, "--die", when], check=False).returncode
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, f"ended with {ended}"
        kills += 1
    again, before = Advice.read(study.folder), Advice.read(first)
    assert again is not None
    assert before is not None
    return {
        "data": name,
        "kills": kills,
        "decisions": len(again.cost.steps),
        "same_pick": again.pick.trial == before.pick.trial,
        "same_decisions": again.cost.steps == before.cost.steps,
        "same_scores": (again.pick, again.others) == (before.pick, before.others),
        "threads": asked.threads,
        "processor": processor(),
    }


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
        "processor": processor(),
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
    parser.add_argument("--killed", action="store_true", help="kill one that was not, beside it")
    parser.add_argument("--steps", type=int, default=25, help="of training, and it is killed")
    parser.add_argument("--die", choices=KILLS, help="for itself: OUT is the study's folder")
    asked = parser.parse_args()
    if asked.die:
        one(asked.out / "study.yaml", asked, asked.die)
        return
    folder = asked.out if asked.epochs or asked.images else ROWS.parent
    for name in asked.data:
        single = argparse.Namespace(**(vars(asked) | {"data": [name]}))
        if asked.killed:
            line, file = killed(name, single), "killed.csv"
        else:
            study = write_study(name, asked.out / name, asked.epochs, asked.images)
            began = time.monotonic()
            found = one(study.base / "study.yaml", single, "")
            line, file = row(name, found, time.monotonic() - began, asked.threads), "live.csv"
        print(json.dumps(line, indent=1), flush=True)
        append(folder / file, line)


if __name__ == "__main__":
    main()
