"""The tables of the page: from records and the answer to the rows that the templates show."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from frostline.cells import CellPlan, cell_plan, plan_of_key, shared_name
from frostline.figures import DifferenceTable, Stage, is_collapsed
from frostline.figures.stages import stages_of_rows
from frostline.figures.values import mean_of
from frostline.records import DataRecord, PartRecord, SplitDetails, TrialRecord
from frostline.reporting.answer import Answer, CellComparison
from frostline.trial_folder import TrialState

__all__ = [
    "data_rows",
    "forest",
    "parts",
    "phases",
    "plans",
    "plans_to_come",
    "schedule",
    "sources",
    "stage_means",
    "trials",
    "unprofiled",
    "versions",
    "waiting",
]

_MOST_GROUPS = 12


def stage_means(table: DifferenceTable) -> list[dict[str, Any]]:
    """Mean difference over the layers of each stage, by init."""
    rows = []
    for stage in table.stages:
        span = slice(stage.first - 1, stage.last)
        values = {line.init: mean_of(line.mean[span]) for line in table.lines}
        rows.append({"stage": stage, "layers": stage.last - stage.first + 1, "values": values})
    return rows


def unprofiled(records: Iterable[TrialRecord], table: DifferenceTable) -> list[str]:
    """Starts without a line in Figure 2, since what they trained with nothing frozen collapsed."""
    shown = {line.init for line in table.lines}
    lost = (r.key.init for r in records if r.plan.nothing_frozen and is_collapsed(r))
    return [init for init in dict.fromkeys(lost) if init not in shown]


def forest(answer: Answer) -> list[dict[str, Any]]:
    """Cells from the best down, each with its interval as percentages of a common axis."""
    known = [c for c in answer.comparisons if math.isfinite(c.difference)]
    ends = [v for c in known for v in (c.difference, c.low, c.high) if math.isfinite(v)]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    room = max(high - low, 1e-3)

    def place(value: float) -> float:
        return round(100 * (value - low) / room, 2)

    rows = []
    for comparison in sorted(answer.comparisons, key=_rank):
        known_interval = math.isfinite(comparison.low)
        rows.append(
            {
                "comparison": comparison,
                "cell": comparison.cell,
                "zero": place(0.0),
                "at": place(comparison.difference)
                if math.isfinite(comparison.difference)
                else None,
                "left": place(comparison.low) if known_interval else None,
                "length": place(comparison.high) - place(comparison.low)
                if known_interval
                else None,
            }
        )
    return rows


def _rank(comparison: CellComparison) -> float:
    return math.inf if math.isnan(comparison.difference) else -comparison.difference


def trials(records: Iterable[TrialRecord], inits: Sequence[str]) -> list[dict[str, Any]]:
    """One row per trial, start by start, then by plan and seed."""
    ordered = sorted(
        records, key=lambda r: (inits.index(r.key.init), cell_plan(r).order, r.key.seed)
    )
    return [_trial(record) for record in ordered]


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "record": record,
        "key": record.key,
        "frozen": cell_plan(record),
        "collapsed": is_collapsed(record),
        "scores": record.scores["val"],
        "test": record.score(split="test"),
        "thresholds": record.details["val"].thresholds,
        "seconds": record.seconds.get("train", math.nan),
    }


def waiting(states: Iterable[TrialState]) -> list[tuple[str, int, str]]:
    """Cells that have not been started, as (init, seed, plans)."""
    groups: dict[tuple[str, int], list[CellPlan]] = {}
    for state in states:
        if state.state == "waiting":
            groups.setdefault((state.key.init, state.key.seed), []).append(plan_of_key(state.key))
    return [(init, seed, shared_name(plans)) for (init, seed), plans in groups.items()]


def plans_to_come(states: Iterable[TrialState]) -> list[tuple[str, str]]:
    """What is known of the plans of cells that have not been started, as (cell, in words)."""
    told = {s.key.cell: s.detail for s in states if s.state == "waiting" and s.detail}
    return list(told.items())


def parts(
    records: Sequence[TrialRecord], answer: Answer, kind: Literal["class", "group"]
) -> dict[str, Any]:
    """Scores per class or group: the best cell of each init, means over its seeds."""
    columns = []
    for init in answer.within:
        cell = answer.best_of(init)
        if cell is not None:
            own = [
                r.details["val"]
                for r in records
                if (r.key.init, cell_plan(r)) == (cell.init, cell.frozen)
                and r.key.seed in cell.seeds
            ]
            columns.append((cell, own))
    tables = [[_part_tables(details)[kind] for details in own] for _, own in columns]
    names = dict.fromkeys(name for own in tables for parts in own for name in parts)
    rows = [(name, [_part_scores(own, name) for own in tables]) for name in names]
    return {"cells": [cell for cell, _ in columns], "rows": rows}


def _part_tables(details: SplitDetails) -> dict[str, dict[str, PartRecord]]:
    return {"class": details.by_class, "group": details.by_group}


def _part_scores(tables: Sequence[Mapping[str, PartRecord]], name: str) -> dict[str, float]:
    """Mean of each score over the trials that have the part."""
    found = [table[name].scores for table in tables if name in table]
    keys = dict.fromkeys(key for scores in found for key in scores)
    return {key: mean_of(scores.get(key) for scores in found) for key in keys}


def data_rows(data: Mapping[str, DataRecord]) -> list[tuple[str, dict[str, Any]]]:
    """Split, and what is in it; of many groups the first few."""
    return [(split, _data(record)) for split, record in data.items()]


def _data(data: DataRecord) -> dict[str, Any]:
    groups = list(data.groups.items())
    return {
        "data": data,
        "per_image": data.boxes / data.images if data.images else math.nan,
        "pixels": _pixel_shares(data),
        "groups": groups[:_MOST_GROUPS],
        "more_groups": max(0, len(groups) - _MOST_GROUPS),
        "findings": sum(data.findings.values()),
    }


def _pixel_shares(data: DataRecord) -> list[tuple[str, float]]:
    """Classes of masks and their share of the pixels that count."""
    total = sum(data.pixels.values())
    return [(name, pixels / total) for name, pixels in data.pixels.items() if total]


def plans(
    records: Iterable[TrialRecord], stages: Sequence[Stage], answer: Answer
) -> list[dict[str, Any]]:
    """What each plan freezes, once per BatchNorm policy, with its strip and its audits.

    A rule's plan is that of one start, and stands once for each.
    """
    groups: dict[tuple[CellPlan, str, str, bool], list[TrialRecord]] = {}
    for record in records:
        plan = dataclasses.replace(cell_plan(record), variant=None)
        init = "" if record.plan.rule is None else record.key.init
        group = (plan, record.plan.batch_norm, init, plan.frozen_random)
        groups.setdefault(group, []).append(record)
    return [
        {
            "plan": found[0].plan,
            "frozen": plan,
            "reach": _reach(plan, stages, answer),
            "strip": _strip(found[0], plan, stages),
            "share": found[0].plan.frozen_parameters
            / max(1, found[0].plan.frozen_parameters + found[0].plan.trainable_parameters),
            "tensors": len(found[0].plan.tensors),
            "audits": sum(record.audit.passed for record in found),
            "unmoved": max(len(record.audit.unmoved) for record in found),
            "trials": len(found),
            "ranked": found[0].ranked,
            "rule": _rule(found[0]),
        }
        for (plan, *_), found in sorted(
            groups.items(), key=lambda item: (item[0][0].order, *item[0][1:])
        )
    ]


def _rule(record: TrialRecord) -> dict[str, Any] | None:
    """Of a rule's plan: its start, the rule and t in words, and what it was made from."""
    rule = record.plan.rule
    if rule is None:
        return None
    t, above = rule["t"], rule["rule"] == "freeze-above"
    if t == "floor":
        test = f"{'moved' if above else 'not moved'} beyond the noise floor, t = floor"
    else:
        value = f" = {rule['threshold']:.3g}" if isinstance(t, str) else ""
        test = f"l {'>' if above else '≤'} t, t = {t}{value}"
    return {
        "init": record.key.init,
        "text": f"{rule['rule']}: {test}",
        "count": f"{rule['frozen_layers']} of {rule['of_layers']}",
        "file": f"plans/{record.key.cell}.json",
        "references": list(rule["references"]),
    }


def _reach(plan: CellPlan, stages: Sequence[Stage], answer: Answer) -> str:
    depth = plan.k
    if depth is None:
        return f"{plan.layers} {plan.unit if plan.layers == 1 else f'{plan.unit}s'}"
    if depth == 0:
        return "nothing"
    if depth == answer.deepest:
        return f"the whole {answer.counted}"
    for stage in stages:
        if depth == stage.last:
            return f"to the end of {stage.name}"
        if depth < stage.last:
            return f"{depth - stage.first + 1} of {stage.last - stage.first + 1} in {stage.name}"
    return f"{depth} {plan.unit}s"


def _strip(record: TrialRecord, plan: CellPlan, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """The stages as blocks; of a plan that is no depth the share of layers that it names."""
    if plan.k is not None:
        return [_strip_part(stage, plan.k) for stage in stages]
    held = set(record.plan.layers)
    return [
        {
            "name": stage.name,
            "layers": stage.last - stage.first + 1,
            "share": _share(held & set(range(stage.first, stage.last + 1)), stage),
        }
        for stage in stages_of_rows(record.differences) or stages
    ]


def _share(held: set[int], stage: Stage) -> float:
    return round(100 * len(held) / (stage.last - stage.first + 1), 2)


def _strip_part(stage: Stage, depth: int) -> dict[str, Any]:
    layers = stage.last - stage.first + 1
    frozen = min(max(depth - stage.first + 1, 0), layers)
    return {"name": stage.name, "layers": layers, "share": round(100 * frozen / layers, 2)}


def sources(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One record per init, for the table of starting weights; references last."""
    first: dict[str, TrialRecord] = {}
    for record in records:
        first.setdefault(record.key.init, record)
    return sorted(first.values(), key=lambda record: not record.ranked)


def schedule(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Hyper-parameters by init; one column where all inits share them."""
    columns = {r.key.init: _flatten(r.spec.get("schedule", {})) for r in sources(records)}
    if all(column == next(iter(columns.values())) for column in columns.values()):
        columns = {"all starts": next(iter(columns.values()))}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return {
        "columns": list(columns),
        "rows": [(name, [column.get(name) for column in columns.values()]) for name in names],
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def versions(records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    """Name and version; several where the trials differ."""
    names = dict.fromkeys(name for record in records for name in record.environment)
    return [
        (name, " / ".join(dict.fromkeys(r.environment.get(name, "n/a") for r in records)))
        for name in names
    ]


def phases(records: Sequence[TrialRecord]) -> list[tuple[str, float, float]]:
    """Phase, mean seconds of a trial, seconds of all trials."""
    names = dict.fromkeys(name for record in records for name in record.seconds)
    rows = []
    for name in names:
        values = [r.seconds[name] for r in records if name in r.seconds]
        rows.append((name, sum(values) / len(values), sum(values)))
    return rows
