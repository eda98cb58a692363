"""The record's schema: a change here is a change of ``SCHEMA_VERSION``."""

import hashlib
import json

from frostline.records import SCHEMA_VERSION, TrialRecord

FIELDS = [
    "audit",
    "data",
    "differences",
    "environment",
    "finished_at",
    "flags",
    "history",
    "init",
    "key",
    "metrics",
    "plan",
    "ranked",
    "resumed_at_steps",
    "schema_version",
    "seconds",
    "spec",
]
DIGEST = "726fa70e092e"


def test_fields_of_schema_version_one() -> None:
    assert SCHEMA_VERSION == 1
    schema = TrialRecord.model_json_schema()
    assert sorted(schema["properties"]) == FIELDS
    shape = {name: sorted(part["properties"]) for name, part in sorted(schema["$defs"].items())}
    assert hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:12] == DIGEST
