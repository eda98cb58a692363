"""The record's schema: a change here is a change of ``SCHEMA_VERSION``, or an optional field."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frostline.records import FILES, SCHEMA_VERSION, TrialRecord
from frostline.study import Study
from tests.helpers import run_trial, write_study

FIXTURE = Path(__file__).parents[1] / "fixtures" / "version_1.zip"
FIELDS = [
    "audit",
    "conditions",
    "data",
    "details",
    "differences",
    "environment",
    "finished_at",
    "flags",
    "history",
    "init",
    "key",
    "other_differences",
    "plan",
    "ranked",
    "resumed_at_steps",
    "schema_version",
    "scores",
    "scoring",
    "seconds",
    "spec",
    "task",
]
#: Of the places of all values in a real record, and of the types, bounds and defaults of fields.
NOW = "5c8ebf1dc36a"
SHAPE, DIGEST = "64877374e125", "584a6fe18fec"


def _record() -> TrialRecord:
    with zipfile.ZipFile(FIXTURE) as archive:
        raw = archive.read("runs/study/trials/a-k52-s0/record.json")
    return TrialRecord.from_dict(json.loads(raw))


def test_fields_of_schema_version_two() -> None:
    assert SCHEMA_VERSION == 2
    schema = TrialRecord.model_json_schema()
    assert sorted(schema["properties"]) == FIELDS
    text = json.dumps(_without_texts(schema), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == DIGEST


def test_the_shape_of_a_real_record() -> None:
    """Also inside what the schema calls any value: the spec, scores, details, differences."""
    places = sorted(set(_places(_record().model_dump(mode="json"))))
    for place in (
        "spec.model.backbone str",
        "scoring.max_detections int",
        "scores.val.ap float",
        "differences[].folded.cosine float",
        "plan.layers[] int",
        "key.variant NoneType",
    ):
        assert place in places
    assert hashlib.sha256("\n".join(places).encode()).hexdigest()[:12] == SHAPE, places


def test_the_shape_of_a_record_written_now(tmp_path: Path) -> None:
    """The same of a trial that is run here, so that a field renamed at its source is seen."""
    study = Study.from_yaml(write_study(tmp_path, schedule={"epochs": 1, "batch_size": 3}))
    folder = tmp_path / "trial"
    run_trial(study.spec(study.cells()[1]), folder)
    stored = json.loads((folder / FILES.record).read_bytes())
    places = sorted(set(_places(stored)))
    inside = [place for place in places if place.startswith(("spec.", "scoring.", "details."))]
    assert hashlib.sha256("\n".join(inside).encode()).hexdigest()[:12] == NOW, inside
    assert {"key.plan str", "plan.tensors[] str", "seconds.train float"} <= set(places)
    assert "differences[].norm.running_var float" in places


def _places(value: Any, where: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner, f"{where}[]")
    else:
        yield f"{where} {type(value).__name__}"


def _without_texts(part: Any) -> Any:
    """Types, bounds and what is required; titles and descriptions may change."""
    if isinstance(part, dict):
        kept = {k: v for k, v in part.items() if k not in ("title", "description")}
        return {name: _without_texts(value) for name, value in kept.items()}
    return [_without_texts(item) for item in part] if isinstance(part, list) else part
