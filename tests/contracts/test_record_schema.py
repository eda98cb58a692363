"""The record's schema: a change here is a change of ``SCHEMA_VERSION``."""

import hashlib
import json
from typing import Any

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
DIGEST = "d014a12f9d7d"


def test_fields_of_schema_version_one() -> None:
    assert SCHEMA_VERSION == 1
    schema = TrialRecord.model_json_schema()
    assert sorted(schema["properties"]) == FIELDS
    text = json.dumps(_without_texts(schema), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == DIGEST


def _without_texts(part: Any) -> Any:
    """Types, bounds and what is required; titles and descriptions may change."""
    if isinstance(part, dict):
        kept = {k: v for k, v in part.items() if k not in ("title", "description")}
        return {name: _without_texts(value) for name, value in kept.items()}
    return [_without_texts(item) for item in part] if isinstance(part, list) else part
