"""The backbone below the curves: its stages, which every figure marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.depth import Numbering, layer_table
from frostline.errors import PlanError

if TYPE_CHECKING:
    from frostline.records import TrialRecord

__all__ = ["Stage", "backbone_of", "stages_of_rows"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A backbone's stage: its first and last convolution, counted from 1 in a numbering."""

    name: str
    first: int
    last: int


def stages_of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    """The stages of a difference profile, from the ``stage`` and ``index`` of its rows."""
    spans: dict[str, tuple[int, int]] = {}
    for row in rows:
        first, _ = spans.get(row["stage"], (row["index"], 0))
        spans[row["stage"]] = (first, row["index"])
    return tuple(Stage(name, first, last) for name, (first, last) in spans.items())


def backbone_of(records: Sequence["TrialRecord"]) -> tuple[str, int, tuple[Stage, ...]]:
    """Numbering, largest depth and stages of the records' backbone; empty without records."""
    spec, rows = (records[0].spec, records[0].differences) if records else ({}, ())
    paper = any(record.plan.numbering == "paper" for record in records)
    numbering: Numbering = "paper" if paper else "all"
    model = spec.get("model", {})
    if numbering == "all" and rows:
        stages = stages_of_rows(rows)
        return numbering, stages[-1].last, stages
    try:
        table = layer_table(model.get("backbone", ""), width_mult=model.get("width_mult", 1.0))
        ends = [(name, end) for name, end in table.stage_ends(numbering).items() if end > 0]
    except PlanError:
        return numbering, 0, ()
    starts = [1, *(end + 1 for _, end in ends)]
    stages = tuple(
        Stage(name, first, last) for (name, last), first in zip(ends, starts, strict=False)
    )
    return numbering, table.max_depth(numbering), stages
