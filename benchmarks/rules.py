"""Threshold rules in both directions, on a U-Net and on two detection sets of the grid.

    python benchmarks/rules.py run isbi_membrane --out OUT      # rates, then both starts; resumes
    python benchmarks/rules.py run bccd wheat29_tiles512 --out OUT
    python benchmarks/rules_table.py                            # what the rows show

What the committed rows have is not run again, but for nothing frozen: the rules and the noise
floor need its weights. A rule whose plan freezes nothing, or everything, is that depth, bit for
bit; ``rules.csv`` says so, and it is not run once more. Rows go to
``benchmarks/results/unet/<data set>/``: ``trials.csv``, ``layers.csv`` (how far each layer moved
where nothing was frozen, and what of it is beyond the noise floor of the seeds),
``records.jsonl.gz`` and ``facts.json``. They are written anew after each trial from the records in
OUT and the committed rows together. Data and weights are found through FROSTLINE_DATA and
FROSTLINE_WEIGHTS; one thread each.
"""

import argparse
import csv
import dataclasses
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import frostline
from frostline.architectures import architecture_of
from frostline.checkpoints import open_checkpoint
from frostline.config import PlanConfig, parse_study
from frostline.depth import depth_label
from frostline.difference import difference
from frostline.difference.scatter import scatter
from frostline.events import Ended, Event
from frostline.plans import FreezePlan
from frostline.records import FILES, TrialKey, TrialRecord, write_json
from frostline.rules import FACTOR
from frostline.study import Study
from frostline.trial import begin, plan_of
from grid import processor
from grid_plan import (
    DATASETS,
    WEIGHTS,
    chosen_rates,
    csv_rows,
    data_folder,
    rows_of,
    write_annotations,
)

RESULTS = Path(__file__).parent / "results" / "unet"
CELLS = "isbi_membrane"
RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)
RULES = {
    "above-floor": {"rule": "freeze-above", "t": "floor"},
    "below-floor": {"rule": "freeze-below", "t": "floor"},
    "above-median": {"rule": "freeze-above", "t": "median"},
    "below-median": {"rule": "freeze-below", "t": "median"},
}
OF_RULES = ("rule", "t", "threshold", "frozen_layers", "of_layers")
# The second leaves BatchNorm to train, as the depths do; the first keeps it as it starts, too.
DECODER = {
    "decoder": {"patterns": ["decoder.*"]},
    "decoder-convs": {"patterns": ["decoder.*.conv?.0.weight"]},
}
# Slices of one stack, each like its neighbours: whole runs of them, so that none is divided.
SPLIT = {"train": range(15), "val": range(15, 20), "test": range(20, 30)}

Row = dict[str, Any]


# The studies


@dataclasses.dataclass(frozen=True)
class Rest(Study):
    """A study without the cells that have rows.

    Attributes:
        done: start, plan and seed of those.
    """

    done: frozenset[tuple[str, str, int]] = frozenset()

    def cells(self) -> tuple[TrialKey, ...]:
        """What is to run, nothing frozen always."""
        keys = super().cells()
        return tuple(
            key for key in keys
            if key.plan == "k00" or (key.init, key.plan, key.seed) not in self.done
        )  # fmt: skip


def done_at(name: str, lr: float) -> frozenset[tuple[str, str, int]]:
    """Start, plan and seed of the rows at a rate."""
    rows = (row for row in rows_at(RESULTS / name) if float(row["lr"]) == lr)
    return frozenset((row["init"], row["plan"], int(row["seed"])) for row in rows)


def rows_at(folder: Path) -> list[Row]:
    """Rows of ``trials.csv``."""
    return [*csv_rows(folder / "trials.csv")]


def membranes(out: Path) -> Row:
    """Copy the images into one folder for each split, and say how a study finds them."""
    source, folder = Path(os.environ["FROSTLINE_DATA"]) / CELLS, out / "data" / CELLS
    for split, numbers in SPLIT.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            shutil.copy(source / "labels" / f"{number}.png", folder / split)
    shutil.copytree(source / "images", folder / "images", dirs_exist_ok=True)
    classes = {"classes": {0: "membrane", 255: "cell"}}
    paths = {split: str(folder / split) for split in SPLIT}
    return {"layout": "masks", "images": str(folder / "images"), **paths, "masks": classes}


def unet_study(out: Path, init: str, lr: float, *, whole: bool) -> Rest:
    """One start at one rate: all of its cells, or nothing frozen with one seed."""
    weights = Path(os.environ["FROSTLINE_WEIGHTS"]) / WEIGHTS["imagenet"]
    ranked = init == "imagenet"
    depths = ([0, 9, 18, 30, "all"] if ranked else [0, "all"]) if whole else [0]
    plans = DECODER | RULES if whole and ranked else {}
    study = {
        "task": "segmentation",
        "data": membranes(out),
        "model": {
            "architecture": "unet",
            "backbone": "mobilenet_v2",
            "batch_norm": "live",
            "image_size": 256,
        },
        "inits": {init: {"source": str(weights) if ranked else "random"}},
        "depths": depths,
        "plans": plans,
        "seeds": list(SEEDS) if whole else [0],
        "allow_frozen_random": True,
        "differences": "all",
        "schedule": {
            "epochs": 60,
            "batch_size": 4,
            "lr": lr,
            "eval_every": 5,
            "augment": {"flip": True, "colour": False, "scale_jitter": False},
        },
    }
    folder = out / CELLS / f"{init}-{lr:.0e}".replace("e-0", "e-")
    return Rest(parse_study(study), out, folder, done=done_at(CELLS, lr))


def detection_study(out: Path, name: str) -> Rest:
    """Nothing frozen and the rules, with the settings of the grid's cells."""
    write_annotations(name, out / "data" / name)
    data, folder = DATASETS[name], out / "data" / name
    rates = chosen_rates(name, rows_of(name))
    assert rates is not None, f"{name}: the grid has chosen no rate"
    weights = Path(os.environ["FROSTLINE_WEIGHTS"]) / WEIGHTS["imagenet"]
    splits = {"train": "train.json", "val": "select.json", "test": "score.json"}
    study = {
        "data": {
            "layout": "coco",
            "images": str(data_folder(name) / "images"),
            **{split: str(folder / file) for split, file in splits.items()},
            "metrics": ["wheat"],
        },
        "model": {"backbone": "mobilenet_v2", "preset": "slim", "image_size": data.image_size},
        "inits": {"imagenet": {"source": str(weights)}},
        "depths": [0],
        "plans": RULES,
        "seeds": list(SEEDS),
        "schedule": {
            "epochs": data.epochs,
            "batch_size": 4,
            "lr": rates["imagenet"],
            "augment": dict(data.augment),
            "eval_every": 1,
        },
    }
    lr = rates["imagenet"]
    return Rest(parse_study(study), out, out / name, done=done_at(name, lr))


def run(name: str, out: Path) -> bool:
    """Run a data set to its end; whether every trial has a record."""
    if name != CELLS:
        return _run(name, detection_study(out, name))
    found = {}
    for init in ("imagenet", "random"):
        tried = [lr for lr in RATES if (init, "k00", 0) not in done_at(CELLS, lr)]
        done = [_run(name, unet_study(out, init, lr, whole=False)) for lr in tried]
        if not all(done):
            return False
        scores = _selection(init)
        found[init] = max(scores, key=lambda lr: scores[lr])
        print(f"{init}: selection {scores}, rate {found[init]:g}", flush=True)
    both = [_run(name, unet_study(out, init, lr, whole=True)) for init, lr in found.items()]
    return all(both)


def _selection(init: str) -> dict[float, float]:
    rows = rows_at(RESULTS / CELLS)
    found = [r for r in rows if (r["init"], r["plan"], r["seed"]) == (init, "k00", "0")]
    return {float(row["lr"]): float(row["val_miou"]) for row in found}


def _run(name: str, study: Rest) -> bool:
    def on_event(event: Event) -> None:
        if isinstance(event, Ended):
            print(f"{study.folder.name} {event.key.slug}: {event.outcome.message}", flush=True)
            write_rows(name, study)

    rules = [label for label in RULES if label in study.config.plans]
    if rules:  # first what they are made from
        cells = {
            (init, key, seed) for init in study.config.inits for key in rules for seed in SEEDS
        }
        study = dataclasses.replace(study, done=study.done | cells)
    print(f"{study.folder.name}: {len(study.left())} left", flush=True)
    frostline.run(study, threads=1, on_event=on_event)
    write_rows(name, study)
    if not rules or study.left():
        return not study.left()
    made = {label: study.plan_of_rule("imagenet", **RULES[label]) for label in rules}
    depths = _depths(study)
    equal = {k: depths.get(FreezePlan.from_dict(plan).digest(), "") for k, plan in made.items()}
    _write_rules(name, study, made, equal)
    same = {("imagenet", label, s) for label in rules if equal[label] for s in SEEDS}
    study = dataclasses.replace(study, done=done_at(name, study.config.schedule.lr) | same)
    print(f"{study.folder.name}: {equal}; {len(study.left())} left", flush=True)
    frostline.run(study, threads=1, on_event=on_event)
    write_rows(name, study)
    return not study.left()


def _depths(study: Rest) -> dict[str, str]:
    """Digest of what a depth freezes -> its label: of nothing, and of everything."""
    spec = study.spec(study.cells()[0])
    names = set(begin(spec).model.state_dict())
    deepest = study.layers().max_depth(study.config.numbering)
    plans = {
        depth: plan_of(dataclasses.replace(spec, plan=PlanConfig(depth=depth)), names)
        for depth in (0, deepest)
    }
    return {plan.digest(): depth_label(depth) for depth, plan in plans.items()}


def _write_rules(name: str, study: Rest, made: Row, equal: dict[str, str]) -> None:
    path = RESULTS / name / "rules.csv"
    rows = [
        {
            "init": "imagenet",
            "plan": label,
            "lr": study.config.schedule.lr,
            **{name: plan["rule"][name] for name in OF_RULES},
            "plan_digest": FreezePlan.from_dict(plan).digest(),
            "same_as": equal[label],
            "above": " ".join(x["name"] for x in plan["rule"]["layers"] if x["above"]),
        }
        for label, plan in made.items()
    ]
    _merge(path, rows, 3)


# Rows


def write_rows(name: str, study: Study) -> None:
    """Merge what this study has with the committed rows; the later of equal trials counts."""
    target = RESULTS / name
    target.mkdir(parents=True, exist_ok=True)
    records = study.records()
    if not records:
        return
    lines = {_slug(study, r): r.model_dump(mode="json") for r in records}
    lines = _old_records(target) | lines
    text = "".join(json.dumps({"slug": slug, "record": r}) + "\n" for slug, r in lines.items())
    (target / "records.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    _merge(target / "trials.csv", [_trial(study, r) for r in records], 5)
    layers = list(_layers(study))
    _merge(target / "layers.csv", layers, 4)
    write_json(target / "facts.json", _facts(name, records[-1]))


def _slug(study: Study, record: TrialRecord) -> str:
    return f"{study.config.schedule.lr:g} {record.key.slug}"


def _old_records(target: Path) -> dict[str, Any]:
    path = target / "records.jsonl.gz"
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {row["slug"]: row["record"] for row in rows}


def _merge(path: Path, rows: list[Row], key: int) -> None:
    """Put rows among the file's own, those of equal first ``key`` columns replaced."""
    if not rows:
        return
    merged = {tuple(str(v) for v in row.values())[:key]: row for row in (*csv_rows(path), *rows)}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())


def _trial(study: Study, record: TrialRecord) -> Row:
    rule = record.plan.rule or {}
    scores = {
        f"{split}_{score}": value
        for split, values in record.scores.items()
        for score, value in values.items()
    }
    return {
        "init": record.key.init,
        "plan": record.key.plan,
        "variant": record.key.variant or "",
        "seed": record.key.seed,
        "lr": study.config.schedule.lr,
        "rule": rule.get("rule", ""),
        "t": rule.get("t", ""),
        "threshold": rule.get("threshold"),
        "frozen_layers": len(record.plan.layers),
        "frozen_tensors": len(record.plan.tensors),
        "frozen_parameters": record.plan.frozen_parameters,
        "trainable_parameters": record.plan.trainable_parameters,
        "plan_digest": record.plan.digest,
        **scores,
        "floor": record.details["val"].floor,
        "audit": "passed" if record.audit.passed else "failed",
        "flags": "; ".join(record.flags),
        "epochs": record.history[-1].epoch,
        "steps": record.history[-1].step,
        "train_seconds": round(record.seconds["train"], 1),
        "torch": record.environment["torch"],
        "processor": processor(),
        "finished_at": record.finished_at,
    }


def _layers(study: Study) -> Iterator[Row]:
    """How far each layer moved with nothing frozen: all sections, all seeds together.

    The noise floor needs a start that the seeds share: what starts random, as the decoder, has one
    for each seed, and none is given.
    """
    folders = [
        study.trial_folder(key) for key in study.cells()
        if key.plan == "k00" and (study.trial_folder(key) / FILES.record).exists()
    ]  # fmt: skip
    if len(folders) < len(study.config.seeds) or len(folders) < len(SEEDS):
        return
    keys = [key for key in study.cells() if key.plan == "k00"]
    starts = [begin(study.spec(key)).before for key in keys]
    ends = [_weights(folder) for folder in folders]
    records = [TrialRecord.read(folder / FILES.record) for folder in folders]
    rows = [list(r.differences) + list(r.other_differences) for r in records]
    architecture = architecture_of(study.config.model)
    prefixes = dict(architecture.parts) | {"counted": architecture.prefix}
    for number, row in enumerate(rows[0]):
        section = row.get("section", "counted")
        each = [found[number]["cosine"] for found in rows]
        tensor = f"{prefixes[section]}{row['name']}.weight"
        bases = [start[tensor] for start in starts]
        shared = all(np.array_equal(bases[0], base) for base in bases)
        found = scatter(bases[0], [end[tensor] for end in ends], len(ends)) if shared else None
        yield {
            "init": keys[0].init,
            "lr": study.config.schedule.lr,
            "section": section,
            "index": row["index"],
            "name": row["name"],
            "parameters": int(bases[0].size),
            **{f"cosine_s{key.seed}": _short(v) for key, v in zip(keys, each, strict=True)},
            "signal": _short(found.signal) if found else None,
            "floor": _short(found.floor) if found else None,
            "agreement": _short(found.agreement) if found else None,
            "moved": found.signal > FACTOR * found.floor if found else None,
            **_halves(tensor, row["shape"], bases, [end[tensor] for end in ends]),
        }


def _halves(tensor: str, shape: list[int], bases: list[Any], ends: list[Any]) -> Row:
    """By seed, the difference of what a decoder block reads from below, and of the skip's part.

    ``UnetDecoder`` concatenates the block below, enlarged, and then the skip; what comes from below
    has as many channels as the encoder's last stage or the block before gives out.
    """
    below = BELOW.get(tensor)
    parts = {"below": slice(None, below), "skip": slice(below, None)}
    if below is None or below >= shape[1]:
        return {f"{name}_s{seed}": None for name in parts for seed in range(len(bases))}
    return {
        f"{name}_s{seed}": _short(_cosine(b[:, part], e[:, part]))
        for name, part in parts.items()
        for seed, (b, e) in enumerate(zip(bases, ends, strict=True))
    }


def _cosine(before: Any, after: Any) -> float:
    return difference(np.ascontiguousarray(before), np.ascontiguousarray(after)).cosine


# smp's U-Net over MobileNetV2: 1280 channels at the bottom, then 256, 128, 64, 32 (16 at the top)
BELOW = {
    f"decoder.blocks.{n}.conv1.0.weight": channels
    for n, channels in enumerate((1280, 256, 128, 64, 32))
}


def _weights(folder: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(folder / FILES.weights)
    return {name: checkpoint[name].read() for name in checkpoint}


def _short(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _facts(name: str, record: TrialRecord) -> Row:
    return {
        "command": f"python benchmarks/rules.py run {name} --out OUT",
        "environment": record.environment,
        "processor": processor(),
        "data": {s: d.model_dump(mode="json", exclude={"groups"}) for s, d in record.data.items()},
        "split": {split: list(numbers) for split, numbers in SPLIT.items()}
        if name == CELLS else f"benchmarks/results/grid/splits/{name}.json",
        "model": record.spec["model"],
        "schedule": {k: v for k, v in record.spec["schedule"].items() if k != "lr"},
        "weights": record.init.sha256,
    }  # fmt: skip


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Threshold rules in both directions.")
    runner = parser.add_subparsers(dest="command", required=True).add_parser("run")
    runner.add_argument("names", nargs="+", choices=(CELLS, "bccd", "wheat29_tiles512"))
    runner.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    complete = [run(name, out) for name in arguments.names]
    raise SystemExit(0 if all(complete) else 1)


if __name__ == "__main__":
    main()
