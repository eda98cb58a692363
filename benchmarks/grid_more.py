"""More rows of the grid, for advice: other starts, rates, seeds and families, short schedules.

    python benchmarks/grid_more.py run --out OUT            # everything left, in order; resumes
    python benchmarks/grid_more.py run --out OUT --data pear640 bccd      # of these data sets alone
    python benchmarks/grid_more.py list                     # what is done and what is left

Rows go to ``benchmarks/results/grid/more/<data set>/``, tables of their own: their key also names
what the key of ``grid.py`` does not hold. What ``grid.py`` has at the same setting is not run
again. Each trial runs in a process of its own, one thread, so that its peak memory and processor
time are its own (``costs.csv``). While the file PAUSE exists (default OUT/PAUSE), it waits.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grid
from frostline.config import InitConfig, ScheduleConfig
from frostline.engines import run_trials
from frostline.events import Event, Stepped
from frostline.records import TrialRecord
from frostline.trial import FILES, TrialSpec
from grid_more_plan import OWN, More, left, pair_of, rows_of_more, settings, winner
from grid_plan import RESULTS, Arm, rows_of, write_annotations

MORE = RESULTS / "more"
AS_SEEDS = 0.03  # AP by which seeds of one cell differ


def spec_of(name: str, arm: More, out: Path) -> TrialSpec:
    """One arm, ready to run: ``grid.py``'s trial with what the arm changes."""
    spec = _spec_of_start(name, arm, out)
    epochs, warmup = settings(name, arm)
    changed = {"epochs": epochs, "warmup_epochs": warmup}
    if arm.backbone_lr_scale != 1:
        changed["backbone_lr_scale"] = arm.backbone_lr_scale
    schedule = ScheduleConfig.model_validate(spec.schedule.model_dump() | changed)
    observed = (
        not arm.init.startswith(OWN)
        and arm.depth == 0
        and arm.seed in (0, 1)
        and arm.share == 1
        and arm.image_share == 1
    )
    data = spec.data
    if arm.image_share != 1:
        data = data.model_copy(update={"train": str(_fewer(out / "data" / name, arm.image_share))})
    return dataclasses.replace(
        spec,
        schedule=schedule,
        data=data,
        observer=grid.Observer(rewinds=True) if observed else None,
    )


def _spec_of_start(name: str, arm: More, out: Path) -> TrialSpec:
    """``grid.py``'s trial, also from a winner of another family: its backbone and neck."""
    if not arm.init.startswith(OWN):
        return grid.spec_of(name, arm.basic, out)
    basic = dataclasses.replace(arm.basic, init="imagenet")  # its pixels are the winner's, too
    spec = grid.spec_of(name, basic, out)
    source = _winner_of(arm.init.removeprefix(OWN), out)
    return dataclasses.replace(
        spec,
        key=spec.key.model_copy(update={"init": arm.init}),
        init=InitConfig(source=str(source), parts=("backbone", "neck")),
    )


def _winner_of(name: str, out: Path) -> Path:
    """Weights of a family's winner, trained again where OUT does not have them.

    Another processor rounds otherwise, and so ends with other weights that are as good; the
    records of what starts from them hold the digest of the file.

    Raises:
        SystemExit: it ends further from the committed row than seeds do.
    """
    best = winner(name)
    assert best is not None, f"{name}: no rows to tell the winner from"
    folder = out / "winners" / name / best.slug
    if not (folder / FILES.record).exists():
        write_annotations(name, out / "data" / name)
        run_trials({folder: dataclasses.replace(grid.spec_of(name, best, out), observer=None)})
    again = TrialRecord.read(folder / FILES.record).scores["val"]["ap"]
    (row,) = (row for row in rows_of(name) if Arm.of_row(row) == best)
    if abs(again - float(row["select_ap"])) > AS_SEEDS:
        raise SystemExit(f"{folder}: selection AP {again}, the row has {row['select_ap']}")
    return folder / FILES.weights


def _fewer(folder: Path, share: float) -> Path:
    """The training images' first share, in the order of their hashed names."""
    coco = json.loads((folder / "train.json").read_bytes())
    images = sorted(
        coco["images"], key=lambda x: hashlib.sha256(x["file_name"].encode()).hexdigest()
    )
    kept = images[: round(share * len(images))]
    ids = {image["id"] for image in kept}
    boxes = [box for box in coco["annotations"] if box["image_id"] in ids]
    path = folder / f"train_{100 * share:02.0f}.json"
    path.write_text(json.dumps({**coco, "images": kept, "annotations": boxes}))
    return path


@dataclasses.dataclass
class Meter:
    """Processor seconds of each step of this process, and the pause while PAUSE exists."""

    pause: Path
    steps: list[float] = dataclasses.field(default_factory=list)
    last: float | None = None

    def __call__(self, event: Event) -> None:
        now = time.process_time()
        if isinstance(event, Stepped):
            if self.last is not None:
                self.steps.append(now - self.last)
            self.last = now
        while self.pause.exists():
            time.sleep(1)


def run_one(name: str, arm: More, out: Path, pause: Path) -> bool:
    """Run one trial in this process and append its rows."""
    write_annotations(name, out / "data" / name)
    folder, target = out / "more" / name / arm.slug, MORE / name
    spec, meter = spec_of(name, arm, out), Meter(pause)
    outcomes = run_trials({folder: spec}, on_event=meter)
    print(f"{name} {arm.slug}: {outcomes[0].message}", flush=True)
    if error := grid.divergence(folder):
        row = grid._key(name, arm) | {"error": error}
        grid.append_csv(target / "failures.csv", [row])
        return True
    if not (folder / FILES.record).exists():
        return False
    grid.require_same(spec, folder)
    if meter.steps:
        grid.append_csv(target / "costs.csv", [_cost(name, arm, meter)])
    grid.append_trial(target, name, arm, folder)
    return True


def _cost(name: str, arm: More, meter: Meter) -> grid.Row:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **grid._key(name, arm),
        "step_cpu_seconds": round(statistics.median(meter.steps), 5),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_mib": round(peak / 1024),
        "processor": grid.processor(),
        "threads": 1,
        "load_average": round(os.getloadavg()[1], 1),
        "cores": os.cpu_count(),
    }


def run(out: Path, pause: Path, data: list[str]) -> bool:
    """Run what is left, one process a trial; one that fails otherwise is not tried again now."""
    failed: set[tuple[str, More]] = set()
    tried: set[tuple[str, More]] = set()
    while todo := [p for p in left() if p not in failed and (not data or p[0] in data)]:
        name, arm = todo[0]
        assert todo[0] not in tried, f"{name} {arm.slug}: ran, and its rows are not found"
        tried.add(todo[0])
        print(f"{len(todo)} left; {name} {arm.slug}", flush=True)
        text = json.dumps({"data": name, **dataclasses.asdict(arm)})
        command = [sys.executable, __file__, "one", text, "--out", str(out), "--pause", str(pause)]
        if subprocess.run(command, check=False).returncode:
            failed.add((name, arm))
    return not failed


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="More rows of the grid.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    runner, one = commands.add_parser("run"), commands.add_parser("one")
    runner.add_argument("--data", nargs="+", default=[], help="data sets; all of them otherwise")
    one.add_argument("arm")
    for sub in (runner, one):
        sub.add_argument("--out", type=Path, required=True)
        sub.add_argument("--pause", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "list":
        for line in _state():
            print(line)
        return
    out = arguments.out.resolve()
    pause = arguments.pause or out / "PAUSE"
    if arguments.command == "run":
        raise SystemExit(0 if run(out, pause, arguments.data) else 1)
    name, arm = pair_of(json.loads(arguments.arm))
    raise SystemExit(0 if run_one(name, arm, out, pause) else 1)


def _state() -> Iterator[str]:
    for name, arm in left():
        yield f"left {name} {arm.slug}"
    for folder in sorted(path for path in MORE.glob("*") if path.is_dir()):
        yield f"done {folder.name}: {len(rows_of_more(folder.name))}"


if __name__ == "__main__":
    main()
