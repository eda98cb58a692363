"""Freeze depth x start on two real data sets: run the studies, then collect rows and figures.

    python benchmarks/real_runs.py run bccd --out /tmp/real
    python benchmarks/real_runs.py collect /tmp/real/runs/bccd

``run`` writes the study file and runs what is left of it: trials whose records are committed are
not run again. ``collect`` writes records, rows, figures and versions of a study, finished or not,
under ``benchmarks/results/real_runs/<name>/``, and checks every trial's AP against pycocotools on
its stored detections. The images stay where they are: data and weights are found through
FROSTLINE_DATA and FROSTLINE_WEIGHTS.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from frostline.datasets import DatasetIndex
from frostline.events import Ended, Event
from frostline.records import TrialRecord, atomic_write, write_json
from frostline.reporting import report
from frostline.reporting.answer import answer
from frostline.reporting.tables import write_table
from frostline.study import Study, open_study
from frostline.trial import FILES, load_data

RESULTS = Path(__file__).parent / "results" / "real_runs"
RECORDS = "records.jsonl.gz"
SCORES_SHOWN = ("ap", "ap50", "wheat")

SHARED = {
    "version": 1,
    "inits": {
        "imagenet": "mobilenet_v2_imagenet.safetensors",
        "coco_then_person": "mobilenet_v2_coco_then_vocperson_ssdlite.safetensors",
    },
    "depths": [0, 9, 18, 30, 39, 52],
}
STUDIES: dict[str, dict[str, Any]] = {
    "bccd": {
        "image_size": 256,
        "seeds": [0, 1],
        "schedule": {"epochs": 12, "augment": {"colour": False, "scale_jitter": False}},
    },
    "wheat29_tiles512": {
        "image_size": 224,
        "seeds": [0, 1, 2],
        "schedule": {"epochs": 25},
    },
}


def study_file(name: str, folder: Path) -> Path:
    """Write the study of one data set, with the paths of this machine."""
    data = Path(os.environ["FROSTLINE_DATA"]) / name
    weights = Path(os.environ["FROSTLINE_WEIGHTS"])
    wanted = STUDIES[name]
    study = {
        "version": 1,
        "data": {
            "layout": "coco",
            "images": str(data / "images"),
            "train": str(data / "train.json"),
            "val": str(data / "val.json"),
            "metrics": ["wheat"],
        },
        "model": {
            "backbone": "mobilenet_v2",
            "preset": "slim",
            "batch_norm": "frozen",
            "image_size": wanted["image_size"],
        },
        "inits": {init: {"source": str(weights / file)} for init, file in SHARED["inits"].items()},
        "depths": SHARED["depths"],
        "seeds": wanted["seeds"],
        "schedule": {"batch_size": 4, "optimizer": "adamw", "lr": 3e-4, **wanted["schedule"]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def run(name: str, out: Path, workers: int) -> None:
    """Run what is left of one study, one thread a trial, and say what ended."""

    def on_event(event: Event) -> None:
        if isinstance(event, Ended):
            print(f"{event.key.slug}: {event.outcome.message}", flush=True)

    study = Study.from_yaml(study_file(name, out))
    restore(study, name)
    study.run(workers=workers, threads=1, on_event=on_event)


def restore(study: Study, name: str) -> None:
    """Put committed records back, so that the study goes on where it was committed."""
    path = RESULTS / name / RECORDS
    if not path.exists():
        return
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        record = TrialRecord.from_dict(json.loads(line))
        folder = study.trial_folder(record.key)
        if not (folder / FILES.record).exists():
            record.write(folder / FILES.record)


def save_records(path: Path, records: Sequence[TrialRecord]) -> None:
    """All records in full, one JSON line each; equal records give equal bytes."""
    text = "".join(record.model_dump_json() + "\n" for record in records)
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def collect(folder: Path, base: Path) -> None:
    """Copy rows and figures of a study's report; check AP; write versions and hashes."""
    target = RESULTS / folder.name
    study = open_study(folder)
    records = study.records()
    paths = report(folder, base=base, examples=0)
    for path in (*paths.figures, *paths.tables):
        if path.suffix in (".svg", ".csv"):
            (target / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / path.parent.name / path.name)
    write_table(target / "tables", "epochs", [row for record in records for row in _epochs(record)])
    (target / "tables" / "epochs.json").unlink()
    index = load_data(study.config.data, base)["val"]
    gaps = _known_gaps(target) | {
        record.key.slug: _ap_gap(record, study, index)
        for record in records
        if (study.trial_folder(record.key) / FILES.detections).exists()
    }
    save_records(target / RECORDS, records)
    first = records[0]
    facts = {
        "command": f"python benchmarks/real_runs.py run {folder.name} --out OUT",
        "trials": len(records),
        "planned": len(study.cells()),
        "environment": first.environment,
        "weights": {record.key.init: record.init.model_dump(mode="json") for record in records},
        "data": {split: data.model_dump(mode="json") for split, data in first.data.items()},
        "model": first.spec["model"],
        "schedule": first.spec["schedule"],
        "gap_to_pycocotools": gaps,
        "audits_passed": sum(record.audit.passed for record in records),
        "flags": {record.key.slug: record.flags for record in records if record.flags},
        "resumed_at_steps": {r.key.slug: r.resumed_at_steps for r in records if r.resumed_at_steps},
    }
    write_json(target / "facts.json", facts)
    (target / "summary.md").write_text(summary(folder.name, records, paths.lines))
    print(json.dumps({k: facts[k] for k in ("trials", "planned", "flags")}, indent=1))
    print("largest gap to pycocotools:", max(gaps.values()))


def summary(name: str, records: Sequence[TrialRecord], lines: Sequence[str]) -> str:
    """What the report says in words, and every cell with its seeds, as Markdown."""
    found = answer(records, deepest=SHARED["depths"][-1])
    text = [f"# {name}", "", "Written by `real_runs.py collect`; AP on the validation images.", ""]
    text += [f"- {line}" for line in lines]
    text += [
        "",
        "| start | k | AP by seed | mean | minus best [95 %] | AP50 by seed | wheat by seed |",
    ]
    text += ["|---|---|---|---|---|---|---|"]
    for comparison in found.comparisons:
        cell = comparison.cell
        here = sorted(
            (r for r in records if (r.key.init, r.plan.depth) == (cell.init, cell.depth)),
            key=lambda record: record.key.seed,
        )
        seeds = [
            " ".join(f"{100 * record.score(score):.1f}" for record in here)
            for score in SCORES_SHOWN
        ]
        row = [cell.init, str(cell.depth), seeds[0], f"{100 * cell.mean:.1f}",
               f"{100 * comparison.difference:+.1f} [{100 * comparison.low:+.1f}, "
               f"{100 * comparison.high:+.1f}] {comparison.verdict}", *seeds[1:]]  # fmt: skip
        text.append("| " + " | ".join(row) + " |")
    return "\n".join(text) + "\n"


def _known_gaps(target: Path) -> dict[str, float]:
    """Gaps of trials whose detections are no longer here."""
    path = target / "facts.json"
    gaps: dict[str, float] = {}
    if path.exists():
        gaps = json.loads(path.read_bytes())["gap_to_pycocotools"]
    return gaps


def _epochs(record: TrialRecord) -> list[dict[str, Any]]:
    key = record.key.model_dump()
    return [
        {**key, "epoch": e.epoch, "step": e.step, "lr": e.lr, "seconds": e.seconds, **e.losses}
        for e in record.history
    ]


def _ap_gap(record: TrialRecord, study: Study, index: DatasetIndex) -> float:
    """Largest difference of AP, AP50 and AP75 to pycocotools on the stored detections."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = study.trial_folder(record.key) / FILES.detections
    detections = json.loads(path.read_bytes())["val"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = index.to_coco()
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    pairs = zip(("ap", "ap50", "ap75"), evaluation.stats[:3], strict=True)
    return float(max(abs(record.score(name) - theirs) for name, theirs in pairs))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("name", choices=STUDIES)
    runner.add_argument("--out", type=Path, required=True)
    runner.add_argument("--workers", type=int, default=1)
    collector = commands.add_parser("collect")
    collector.add_argument("folder", type=Path)
    collector.add_argument("--base", type=Path, help="where the study's data paths resolve")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.name, arguments.out, arguments.workers)
    else:
        collect(arguments.folder, arguments.base or arguments.folder.resolve().parents[1])


if __name__ == "__main__":
    main()
