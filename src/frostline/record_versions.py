"""Records of earlier versions in today's form: plain values in, plain values out."""

from collections.abc import Mapping, Sequence
from typing import Any

from frostline.depth import depth_label
from frostline.detection_scores import DETECTION_SCORES, scores_and_details
from frostline.identity import Identity

__all__ = ["of_first_version"]

_NO_FALL = "collapsed: loss did not fall"
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
    scores, details = {}, {}
    for split, result in raw["metrics"].items():
        scores[split], details[split] = scores_and_details(result)
    return {
        **{name: value for name, value in raw.items() if name != "metrics"},
        "schema_version": 2,
        "key": {"init": key["init"], "plan": depth_label(key["depth"]), "seed": key["seed"]},
        "spec": identity.training,
        "scoring": identity.scoring,
        "plan": {**plan, "version": 1, "layers": layers},
        "task": DETECTION_SCORES.measured(scores["val"]),
        "scores": scores,
        "details": details,
        "flags": _flags(raw["flags"], scores["val"]["ap"]),
    }


def _flags(flags: Sequence[str], score: float | None) -> list[str]:
    """Version 1 called a trial collapsed whose loss did not fall, whatever it scored."""
    learned = score is not None and score >= DETECTION_SCORES.least_gain
    return [flag.removeprefix("collapsed: ") if learned and flag == _NO_FALL else flag
            for flag in flags]  # fmt: skip
