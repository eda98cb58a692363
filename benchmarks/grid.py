"""The grid: AP by start, freeze depth, data set and seed, with what could have predicted it.

    python benchmarks/grid.py splits                            # once; the lists are committed
    python benchmarks/grid.py run bccd --out OUT --workers 2    # resumes by the committed rows
    python benchmarks/grid.py rerun bccd SLUG --out OUT         # one trial again, rows compared
    python benchmarks/grid_table.py                             # what the rows show

``run`` appends rows to ``benchmarks/results/grid/<data set>/`` as trials end: ``trials.csv``,
``evaluations.csv`` (selection split, every epoch), ``rewind.csv``, ``layers.csv.gz`` and
``records.jsonl.gz`` (the engine's whole records; appended members of one gzip file). A trial whose
loss is no number ends in ``failures.csv``: it would end so again. Rows that are there are not run
again. Data and weights are found through FROSTLINE_DATA and FROSTLINE_WEIGHTS;
no image is committed, only lists of file names.
"""

import argparse
import csv
import dataclasses
import gzip
import io
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.backbones import known_backbone
from frostline.config import DataConfig, InitConfig, ModelConfig, PlanConfig, ScheduleConfig
from frostline.depth import depth_label
from frostline.difference import profile
from frostline.engines import run_trials
from frostline.errors import TrainingError
from frostline.events import Ended, Event
from frostline.identity import training_fields
from frostline.records import TrialKey, TrialRecord, read_lines, write_json
from frostline.signals import gradient_rows, probe_losses, rewind_curve
from frostline.trial import FILES, Moment, TrialSpec
from grid_plan import (
    DATASETS,
    DEPTHS,
    RANDOM,
    RESULTS,
    WEIGHTS,
    Arm,
    arms,
    chosen_rates,
    data_folder,
    failures_of,
    make_split,
    rate_arms,
    rows_of,
    split_file,
    write_annotations,
)

EARLY = (0.02, 0.1)  # of all steps; the second also has a rewind curve
PROBE_BATCHES = 8
OBSERVED = "observed.json"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Observer:
    """Writes layer rows and rewind curves of a few moments, each once: resuming repeats none."""

    rewinds: bool

    def __call__(self, moment: Moment) -> None:
        early, later = (max(1, round(part * moment.steps)) for part in EARLY)
        if moment.step not in (0, early, later, moment.steps):
            return
        path = moment.folder / f"step{moment.step:05d}-{OBSERVED}"
        if path.exists():
            return
        began = time.monotonic()
        rewound = self.rewinds and moment.step in (later, moment.steps)
        result = {
            "step": moment.step,
            "layers": layer_rows(moment),
            "rewind": rewind_rows(moment) if rewound else [],
        }
        write_json(path, result | {"seconds": time.monotonic() - began})


def layer_rows(moment: Moment) -> list[Row]:
    """Difference from the start, and gradients, of every convolution at one moment."""
    start, config = moment.start, moment.spec.model
    known = known_backbone(config)
    table = known.table
    now = {name: t.detach().cpu().numpy() for name, t in start.model.state_dict().items()}
    changes = profile(start.before, now, table, eps=known.eps)
    gradients = {
        row.index: row
        for row in gradient_rows(start.model, table, probe_losses(moment, PROBE_BATCHES))
    }
    rows = []
    for change in changes:
        gradient = gradients.get(change.index)
        rows.append(
            {
                "index": change.index,
                "name": change.name,
                "cosine": _short(change.cosine),
                "signed_cosine": _short(change.signed_cosine, 12),
                "angle": _short(change.angle),
                "norm_ratio": _short(change.norm_ratio, 9),
                "folded": _short(change.folded.cosine if change.folded else math.nan),
                "gradient_norm_mean": _short(gradient.mean_norm) if gradient else None,
                "gradient_norm_variance": _short(gradient.norm_variance) if gradient else None,
                "norm_of_mean_gradient": _short(gradient.norm_of_mean) if gradient else None,
                "weight_norm": _short(gradient.weight_norm) if gradient else None,
            }
        )
    return rows


def rewind_rows(moment: Moment) -> list[Row]:
    """The rewind curve on the selection split."""
    table = known_backbone(moment.spec.model).table
    model, backbone = moment.start.model, moment.start.before
    points = rewind_curve(model, backbone, table, DEPTHS, moment.score)
    return [{"rewound": point.depth, **point.metrics} for point in points]


def _short(value: float, digits: int = 7) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


# Trials


def spec_of(name: str, arm: Arm, out: Path) -> TrialSpec:
    """One arm, ready to run: ``val`` is the selection split, ``test`` the images that score."""
    data, folder = DATASETS[name], out / "data" / name
    train = "train.json" if arm.boxes == "true" else "train_shuffled.json"
    random = arm.init == RANDOM
    source = RANDOM if random else str(Path(os.environ["FROSTLINE_WEIGHTS"]) / WEIGHTS[arm.init])
    return TrialSpec(
        key=TrialKey(init=arm.init, plan=depth_label(arm.depth), seed=arm.seed),
        init=InitConfig(source=source),
        model=ModelConfig(
            backbone="mobilenet_v2",
            preset="slim",
            batch_norm="live" if random else "frozen",
            image_size=data.image_size,
        ),
        schedule=ScheduleConfig.model_validate(
            {
                "epochs": data.epochs,
                "batch_size": 4,
                "optimizer": arm.optimizer,
                "lr": arm.lr,
                "augment": dict(data.augment),
                "eval_every": 1,
            }
        ),
        data=DataConfig(
            layout="coco",
            images=str(data_folder(name) / "images"),
            train=str(folder / train),
            val=str(folder / "select.json"),
            test=str(folder / "score.json"),
            metrics=("wheat",),
        ),
        base=out,
        plan=PlanConfig(depth=arm.depth),
        # Gradients of a live BatchNorm would move its statistics: the reference is not observed.
        observer=None if random else Observer(rewinds=arm.depth == 0 and arm.boxes == "true"),
    )


def run(name: str, out: Path, workers: int) -> bool:
    """Run what is left of a data set, first the choice of rates; whether nothing is left now."""
    write_annotations(name, out / "data" / name)
    _run_left(name, rate_arms(name), out, workers)
    rates = chosen_rates(name, rows_of(name))
    if rates is None:
        print(f"{name}: a trial of the choice of rates is missing; see above", flush=True)
        return False
    print(f"{name}: rates {rates}", flush=True)
    return _run_left(name, arms(name, rates), out, workers)


def _run_left(name: str, wanted: Sequence[Arm], out: Path, workers: int) -> bool:
    done = {Arm.of_row(row) for row in rows_of(name)} | set(failures_of(name))
    left = {out / "trials" / name / arm.slug: arm for arm in wanted if arm not in done}
    print(f"{name}: {len(left)} of {len(wanted)} trials left", flush=True)
    written: set[Path] = set()

    def on_event(event: Event) -> None:
        if not isinstance(event, Ended):
            return
        print(f"{name} {event.key.slug}: {event.outcome.message}", flush=True)
        for folder, arm in left.items():  # events name cells, and two rates share a cell
            if folder in written:
                continue
            if (folder / FILES.record).exists():
                require_same(specs[folder], folder)
                append_trial(RESULTS / name, name, arm, folder)
                written.add(folder)
            elif error := divergence(folder):
                append_csv(RESULTS / name / "failures.csv", [_key(name, arm) | {"error": error}])
                written.add(folder)

    specs = {folder: spec_of(name, arm, out) for folder, arm in left.items()}
    run_trials(specs, workers=workers, on_event=on_event)
    return len(written) == len(left)


def require_same(spec: TrialSpec, folder: Path) -> None:
    """Refuse the record of other settings, which an old OUT may hold under the same name."""
    made = TrialRecord.read(folder / FILES.record).spec
    for part, wanted in (("model", spec.model), ("schedule", spec.schedule)):
        values, then = (
            training_fields(config) for config in (wanted, wanted.model_validate(made[part]))
        )
        for key in dict.fromkeys([*values, *then]):
            value = values.get(key)
            if key != "norm_eps" and then.get(key) != value:  # norm_eps is resolved
                raise SystemExit(
                    f"{folder}: made with {part}.{key} {then.get(key)}, expected {value}; "
                    "delete the folder, or give another --out"
                )


def divergence(folder: Path) -> str | None:
    """What a trial that diverged said; None for one that failed otherwise, or did not end."""
    path = folder / FILES.failure
    failure = json.loads(path.read_bytes()) if path.exists() else {}
    return failure["text"] if failure.get("error") == TrainingError.__name__ else None


# Rows


def append_trial(target: Path, name: str, arm: Arm, folder: Path) -> None:
    """Append all rows of one finished trial; ``trials.csv`` last, which marks it as done.

    Killed in between, the trial is appended again: readers take the last of equal keys.
    """
    record = TrialRecord.read(folder / FILES.record)
    observed = [json.loads(p.read_bytes()) for p in sorted(folder.glob(f"step*-{OBSERVED}"))]
    key = _key(name, arm)
    target.mkdir(parents=True, exist_ok=True)
    moments = [{**key, "step": o["step"], **row} for o in observed for row in o["layers"]]
    append_gzip(target / "layers.csv.gz", _csv(moments, is_empty(target / "layers.csv.gz")))
    rewinds = [{**key, "step": o["step"], **row} for o in observed for row in o["rewind"]]
    append_csv(target / "rewind.csv", rewinds)
    append_csv(target / "evaluations.csv", [_evaluation(key, e) for e in record.history])
    line = {"slug": arm.slug, "record": record.model_dump(mode="json")}
    append_gzip(target / "records.jsonl.gz", json.dumps(line) + "\n")
    append_csv(target / "trials.csv", [_trial(key, record, _logged_rate(folder))])
    write_json(target / "facts.json", facts(name, record))


def _key(name: str, arm: Arm) -> Row:
    return {"data": name, **dataclasses.asdict(arm)}


def _trial(key: Row, record: TrialRecord, rate: float | None) -> Row:
    select, score = (record.scores[split] for split in ("val", "test"))
    last, first = record.history[-1], record.history[0]
    return {
        **key,
        "epochs": last.epoch,
        "steps": last.step,
        "image_size": record.spec["model"]["image_size"],
        "batch_norm": record.plan.batch_norm,
        "ranked": record.ranked,
        "flags": "; ".join(record.flags),
        "audit": "passed" if record.audit.passed else "failed",
        "first_loss": _short(sum(first.losses.values())),
        **{name: _short(value) for name, value in last.losses.items()},
        **{f"select_{name}": select[name] for name in ("ap", "ap50", "wheat")},
        **{name: score[name] for name in ("ap", "ap50", "ap75", "wheat")},
        "wheat_threshold": record.details["test"].thresholds["wheat"],
        "images": record.data["train"].images * last.epoch,
        "images_per_second": rate,
        "train_seconds": round(record.seconds["train"], 1),
        "evaluate_seconds": round(record.seconds["evaluate"], 1),
        "trainable_parameters": record.plan.trainable_parameters,
        "resumed": len(record.resumed_at_steps),
        "device": record.environment["device"],
        "processor": processor(),
        "threads": record.environment["threads"],
        "torch": record.environment["torch"],
        "torchvision": record.environment["torchvision"],
        "frostline": record.environment["frostline"],
        "finished_at": record.finished_at,
    }


def _logged_rate(folder: Path) -> float | None:
    rates = [row["images_per_second"] for row in read_lines(folder / FILES.log) if "step" in row
             and "images_per_second" in row]  # fmt: skip
    return _short(sorted(rates)[len(rates) // 2], 4) if rates else None


def _evaluation(key: Row, epoch: Any) -> Row:
    return {
        **key,
        "epoch": epoch.epoch,
        "step": epoch.step,
        "learning_rate": _short(epoch.lr),
        **{name: _short(value) for name, value in epoch.losses.items()},
        **{f"select_{name}": value for name, value in (epoch.metrics or {}).items()},
        "seconds": round(epoch.seconds, 2),
    }


def facts(name: str, record: TrialRecord) -> Row:
    """What made the rows, beside them: versions, hashes, settings."""
    return {
        "command": f"python benchmarks/grid.py run {name} --out OUT --workers 2",
        "environment": record.environment,
        "processor": processor(),
        "data": {s: d.model_dump(mode="json", exclude={"groups"}) for s, d in record.data.items()},
        "model": record.spec["model"],
        "schedule": {k: v for k, v in record.spec["schedule"].items() if k != "lr"},
        "early_moments": EARLY,
        "probe_batches": PROBE_BATCHES,
    }


def processor() -> str:
    """Name of the processor: bit-equality across kinds of them is not promised."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = ("vendor_id", "cpu family", "model\t", "model name")
    facts_ = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines
              if line.startswith(wanted)}  # fmt: skip
    return " ".join(facts_[k] for k in sorted(facts_)) or platform.machine()


def append_csv(path: Path, rows: Sequence[Row]) -> None:
    """Append rows; the header comes with the first ones, and must be the same ever after."""
    if not rows:
        return
    if not is_empty(path):
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        assert header == list(rows[0]), f"{path.name}: columns changed, {header}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _csv(rows, is_empty(path))
    with path.open("a", newline="") as file:
        file.write(text)


def is_empty(path: Path) -> bool:
    """Whether nothing has been written yet; a kill may leave a file of no bytes."""
    return not path.exists() or path.stat().st_size == 0


def _csv(rows: Sequence[Row], header: bool) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    if header and rows:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def append_gzip(path: Path, text: str) -> None:
    """Append a member; readers of gzip see one text."""
    if text:
        with path.open("ab") as file:
            file.write(gzip.compress(text.encode(), mtime=0))


def rerun(name: str, slug: str, out: Path) -> bool:
    """Run one committed trial again and say in which columns its row differs."""
    write_annotations(name, out / "data" / name)
    (row,) = (row for row in rows_of(name) if Arm.of_row(row).slug == slug)
    arm = Arm.of_row(row)
    folder = out / "rerun" / name / slug
    if folder.exists():
        raise SystemExit(f"{folder} is of an earlier rerun: delete it, or give another --out")
    outcomes = run_trials({folder: spec_of(name, arm, out)})
    print(outcomes[0].message)
    scratch = out / "rerun" / "rows" / name / slug
    append_trial(scratch, name, arm, folder)
    with (scratch / "trials.csv").open(newline="") as file:
        (again,) = csv.DictReader(file)
    free = {"images_per_second", "train_seconds", "evaluate_seconds", "resumed", "finished_at"}
    different = {c: (row[c], again[c]) for c in row if c not in free and row[c] != again[c]}
    print("bit-equal" if not different else f"differs: {different}")
    return not different


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="AP by start, freeze depth, data set and seed.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("splits")
    runner = commands.add_parser("run")
    runner.add_argument("names", nargs="+", choices=DATASETS)
    runner.add_argument("--workers", type=int, default=1)
    again = commands.add_parser("rerun")
    again.add_argument("name", choices=DATASETS)
    again.add_argument("slug")
    for sub in (runner, again):
        sub.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "splits":
        for name in DATASETS:
            split_file(name).parent.mkdir(parents=True, exist_ok=True)
            write_json(split_file(name), make_split(name))
    elif arguments.command == "run":
        out, workers = arguments.out.resolve(), arguments.workers
        complete = [run(name, out, workers) for name in arguments.names]
        raise SystemExit(0 if all(complete) else 1)
    else:
        same = rerun(arguments.name, arguments.slug, arguments.out.resolve())
        raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
