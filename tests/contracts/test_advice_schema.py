"""The schema of ``advice.json``: a change here is a change of its version, or an optional field."""

import dataclasses
import hashlib
import typing

from frostline.advice import result
from frostline.advice.result import ADVICE_VERSION, Advice, Cost, Labels, Other, Pick

FIELDS = {
    Advice: "base chance cost images label labels learned others pick prefer prices regret "
    "remarks resolution task tool unit",
    Pick: "depth expected high init low lr plan seed test trial val variant",
    Other: "change depth high init low memory_mb plan price trained variant",
    Cost: "budget grid spent steps unit_seconds",
    Labels: "choosing doubling high images low of_images of_score score",
}
TYPES = "73f5628915ef"


def test_fields_of_version_one() -> None:
    assert ADVICE_VERSION == 1
    found = {
        kind: " ".join(sorted(field.name for field in dataclasses.fields(kind))) for kind in FIELDS
    }
    assert found == FIELDS


def test_types_of_version_one() -> None:
    lines = [
        f"{kind.__name__}.{name} {hint}"
        for kind in FIELDS
        for name, hint in sorted(typing.get_type_hints(kind, vars(result)).items())
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12] == TYPES, lines
