"""Records of earlier versions in today's form: plain values in, plain values out."""

from collections.abc import Mapping
from typing import Any

from frostline.depth import depth_label
from frostline.identity import Identity

__all__ = ["of_first_version"]

_BACKBONE = "backbone.body."  # all plans of version 1 were of a detector's backbone


def of_first_version(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record of schema version 1: its key was a depth, its identity of the first form.

    Raises:
        KeyError: it lacks what every record of version 1 has.
    """
    key, plan, identity = raw["key"], raw["plan"], Identity.of_stored(raw["spec"])
    frozen = set(plan["tensors"])
    layers = [
        row["index"] for row in raw["differences"] if f"{_BACKBONE}{row['name']}.weight" in frozen
    ]
    return {
        **raw,
        "schema_version": 2,
        "key": {"init": key["init"], "plan": depth_label(key["depth"]), "seed": key["seed"]},
        "spec": identity.training,
        "scoring": identity.scoring,
        "plan": {**plan, "version": 1, "layers": layers},
    }
