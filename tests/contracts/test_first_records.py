"""Every record of version 1 that the benchmarks keep is read, with the values that it has."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.records import TrialRecord

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def _raw(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row.get("record", row)


def _files(version: int) -> list[Path]:
    """Files whose records are of a version; none has several."""
    found = sorted(RESULTS.glob("*/*/records.jsonl.gz"))
    return [path for path in found if next(_raw(path))["schema_version"] == version]


FILES = _files(1)


def test_there_are_some() -> None:
    assert len(FILES) >= 5


def test_those_of_version_2_are_read_and_written_as_they_are() -> None:
    records = [raw for path in _files(2) for raw in _raw(path)]
    assert records
    for raw in records:
        assert TrialRecord.from_dict(raw).model_dump(mode="json") == raw


@pytest.mark.parametrize("path", FILES, ids=["/".join(path.parts[-3:-1]) for path in FILES])
def test_values_are_those_of_the_file(path: Path) -> None:
    read = 0
    for raw in _raw(path):
        assert raw["schema_version"] == 1
        record = TrialRecord.from_dict(raw)
        assert (record.key.init, record.plan.depth, record.key.seed) == tuple(
            raw["key"][name] for name in ("init", "depth", "seed")
        )
        for split, tables in raw["metrics"].items():
            _compare(record, split, tables)
        assert record.task.ranking.key == "ap"
        assert TrialRecord.from_dict(record.model_dump(mode="json")) == record
        read += 1
    assert read >= 20


def _compare(record: TrialRecord, split: str, tables: dict[str, Any]) -> None:
    coco, wheat = tables["coco"], tables["wheat"]
    scores, details = record.scores[split], record.details[split]
    assert {name: scores[name] for name in coco["overall"]} == coco["overall"]
    assert scores["wheat"] == wheat["overall"]["score"]
    assert scores["wheat_at_half"] == wheat["overall"]["score_at_half"]
    assert details.thresholds == {"wheat": wheat["overall"]["threshold"]}
    assert details.counts["wheat_empty_images"] == wheat["overall"]["empty_images"]
    assert details.counts["beyond_max_dets"] == coco["beyond_max_dets"]
    for kind, parts in (("per_class", details.by_class), ("per_group", details.by_group)):
        assert parts.keys() == coco[kind].keys()
        for name, part in parts.items():
            assert {key: part.scores[key] for key in coco[kind][name]} == coco[kind][name]
            assert part.scores["wheat"] == wheat[kind][name]["score"]
            assert part.counts["wheat_images"] == wheat[kind][name]["images"]
