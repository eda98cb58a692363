"""A study's results as flat rows, and the rows as CSV and JSON files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.cells import key_columns
from frostline.csv_text import rows_to_csv
from frostline.records import PartRecord, TrialRecord, atomic_write, write_json

__all__ = ["difference_rows", "score_rows", "trial_rows", "write_table"]

Row = dict[str, Any]


def trial_rows(records: Iterable[TrialRecord]) -> list[Row]:
    """One row per trial: cell, headline scores, flags, audit, cost. Absent scores are None."""
    return [_trial_row(record) for record in records]


def difference_rows(records: Iterable[TrialRecord]) -> list[Row]:
    """One row per trial and convolution, in forward order."""
    return [
        {
            **key_columns(record.key, record.plan),
            "ranked": record.ranked,
            "flags": "; ".join(record.flags),
            **_flat(layer),
        }
        for record in records
        for layer in record.differences
    ]


def score_rows(records: Iterable[TrialRecord]) -> list[Row]:
    """One row per trial, split and part (overall, each class, each group): all scores."""
    return [row for record in records for row in _score_rows(record)]


def write_table(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write ``name.csv`` and ``name.json``, each whole or not at all.

    Raises:
        RecordError: the folder cannot be written.
    """
    as_csv, as_json = folder / f"{name}.csv", folder / f"{name}.json"
    with atomic_write(as_csv) as temporary:
        temporary.write_text(rows_to_csv(rows), encoding="utf-8", newline="")
    write_json(as_json, list(rows))
    return as_csv, as_json


def _trial_row(record: TrialRecord) -> Row:
    row: Row = {
        **key_columns(record.key, record.plan),
        "ranked": record.ranked,
        "flags": "; ".join(record.flags),
    }
    if record.plan.rule is not None:
        kept = ("rule", "t", "threshold", "frozen_layers", "of_layers")
        row |= {name: record.plan.rule[name] for name in kept}
    shown = [score.key for score in record.task.scores if score.by_trial]
    for split, scores in record.scores.items():
        thresholds = record.details[split].thresholds
        for key in shown:
            row[f"{split}_{key}"] = scores.get(key)
            if key in thresholds:
                row[f"{split}_{key}_threshold"] = thresholds[key]
    return row | {
        "audit": "passed" if record.audit.passed else "failed",
        "frozen_tensors": record.audit.frozen,
        "unmoved_tensors": len(record.audit.unmoved),
        "frozen_parameters": record.plan.frozen_parameters,
        "trainable_parameters": record.plan.trainable_parameters,
        "epochs": len(record.history),
        "train_seconds": record.seconds.get("train"),
        "images_per_second": record.history[-1].images_per_second if record.history else None,
        "resumed": len(record.resumed_at_steps),
        "finished_at": record.finished_at,
    }


def _flat(layer: Mapping[str, Any]) -> Row:
    """One level: nested tables become ``folded_cosine``, a shape becomes ``32x3x3x3``."""
    row: Row = {}
    for name, value in layer.items():
        if isinstance(value, Mapping):
            row |= {f"{name}_{inner}": part for inner, part in _flat(value).items()}
        elif isinstance(value, list | tuple):
            row[name] = "x".join(map(str, value))
        else:
            row[name] = value
    return row


def _score_rows(record: TrialRecord) -> Iterator[Row]:
    start: Row = {**key_columns(record.key, record.plan), "ranked": record.ranked}
    start["flags"] = "; ".join(record.flags)
    for split, scores in record.scores.items():
        details = record.details[split]
        whole = PartRecord(scores=scores, counts=details.counts)
        thresholds = {f"{key}_threshold": value for key, value in details.thresholds.items()}
        parts = [("overall", "", whole)]
        parts += [("class", name, part) for name, part in details.by_class.items()]
        parts += [("group", name, part) for name, part in details.by_group.items()]
        for kind, name, part in parts:
            row = start | {"split": split, "part": kind, "name": name}
            yield row | part.scores | thresholds | part.counts
