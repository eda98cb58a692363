"""The page: everything that ``report.html`` shows, gathered and rendered."""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from frostline.config import StudyConfig
from frostline.figures import (
    SCORES,
    DepthTable,
    DifferenceTable,
    LossTable,
    Quantity,
    Score,
    Stage,
    depths_figure,
    differences_figure,
    is_collapsed,
    losses_figure,
    score_of,
)
from frostline.records import DataRecord, TrialRecord
from frostline.reporting.answer import Answer, Comparison
from frostline.reporting.examples import Example
from frostline.reporting.svg import PAGE, inline_svg
from frostline.reporting.words import (
    cautions,
    compare_with_rule,
    findings,
    headline,
    points,
    signed_points,
)
from frostline.study import TrialState

__all__ = ["Contents", "render"]

_MOST_GROUPS = 12
#: An absolute path, POSIX or Windows; the group is its last part.
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"]*)*[\\/]([^\s\\/:;,'\"]+)")
#: Up to so many seconds, in units of so many, with so many decimals.
_UNITS = ((10, 1, 1, "s"), (100, 1, 0, "s"), (5400, 60, 1, "min"))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page is made of.

    Attributes:
        name: of the study.
        config: the study.
        records: finished trials.
        unfinished: every other cell.
        answer: what the study found.
        depths: Figure 3, one table per score.
        differences: Figure 2, one table per quantity.
        losses: training curves.
        examples: example images; empty if there are none.
        examples_note: why there are none, or how they were chosen.
    """

    name: str
    config: StudyConfig
    records: tuple[TrialRecord, ...]
    unfinished: tuple[TrialState, ...]
    answer: Answer
    depths: tuple[DepthTable, ...]
    differences: Mapping[Quantity, DifferenceTable]
    losses: LossTable
    examples: tuple[Example, ...]
    examples_note: str


def render(contents: Contents) -> str:
    """The whole page as one HTML text that asks for nothing from outside itself."""
    environment = Environment(
        loader=PackageLoader("frostline", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "thousandths": _thousandths,
        "points": points,
        "signed": signed_points,
        "duration": _duration,
        "number": _number,
        "percent": _percent,
        "text": _text,
        "unplaced": _unplaced,
    }
    return environment.get_template("report.html").render(_context(environment, contents))


def _context(environment: Environment, contents: Contents) -> dict[str, Any]:
    records = contents.records
    first = records[0]
    script = _source(environment, "report.js")
    return {
        "name": contents.name,
        "config": contents.config,
        "version": metadata.version("frostline"),
        "style": Markup(_source(environment, "report.css")),  # noqa: S704  (our own file)
        "script": Markup(script),  # noqa: S704  (our own file)
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "answer": contents.answer,
        "headline": headline(contents.answer),
        "findings": findings(contents.answer),
        "cautions": cautions(contents.answer, waiting=len(contents.unfinished)),
        "rule": compare_with_rule(contents.answer, contents.differences["cosine"]),
        "forest": _forest(contents.answer),
        "figure3": _figure3(contents.depths),
        "figure2": _figure2(contents.differences),
        "stage_means": _stage_means(contents.differences["cosine"]),
        "left_out": [x for x in contents.differences["cosine"].lines if x.left_out],
        "curves": _curves(contents.losses),
        "inits": contents.depths[0].inits,
        "examples": contents.examples,
        "examples_note": contents.examples_note,
        "trials": [_trial(record) for record in sorted(records, key=_order(contents))],
        "flagged": [record for record in records if record.flags],
        "any_flag": any(record.flags or record.resumed_at_steps for record in records),
        "has_test": any("test" in record.metrics for record in records),
        "parts": {kind: _parts(contents, kind) for kind in ("class", "group")},
        "unfinished": contents.unfinished,
        "waiting": _waiting(contents.unfinished),
        "first": first,
        "data": [(split, _data(data)) for split, data in first.data.items()],
        "same_data": len({str(record.spec.get("data")) for record in records}) == 1,
        "plans": _plans(contents),
        "stages": contents.depths[0].stages,
        "deepest": contents.answer.deepest,
        "sources": _sources(records),
        "schedule": _schedule(records),
        "model": first.spec.get("model", {}),
        "versions": _versions(records),
        "phases": _phases(records),
        "total_seconds": sum(_work_seconds(record) for record in records),
        "finished": max(record.finished_at for record in records),
    }


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


# Figures


def _both_shapes(draw: Any, name: str, title: str) -> dict[str, Markup]:
    return {
        shape: inline_svg(draw(shape), name=f"{name}-{shape}", title=title)
        for shape in ("wide", "narrow")
    }


def _figure3(tables: Sequence[DepthTable]) -> dict[str, Markup]:
    names = " and ".join(SCORES[table.score] for table in tables)
    return _both_shapes(
        lambda shape: depths_figure(tables, shape=shape, theme=PAGE),
        "f3",
        f"{names} against the number of frozen convolutions, one line per start; "
        "the table of cells below has the numbers",
    )


_VIEWS: tuple[tuple[str, Quantity, bool, str], ...] = (
    ("log", "cosine", True, "1 \u2212 |cos|"),
    ("linear", "cosine", False, "linear"),
    ("angle", "angle", False, "angle"),
    ("folded", "folded", True, "folded"),
)


def _figure2(tables: Mapping[Quantity, DifferenceTable]) -> list[dict[str, Any]]:
    """One view per quantity and axis; empty if no trial with k = 0 has finished."""
    views = []
    for name, quantity, log, label in _VIEWS:
        table = tables[quantity]
        if not any(math.isfinite(value) for line in table.lines for value in line.mean):
            continue
        title = f"{label} of each convolution between start and end of training, a line per start"
        drawings = _both_shapes(
            lambda shape, table=table, log=log: differences_figure(
                table, log=log, shape=shape, theme=PAGE
            ),
            f"f2-{name}",
            title,
        )
        views.append({"name": name, "label": label, **drawings})
    return views


def _curves(table: LossTable) -> dict[str, Markup]:
    return _both_shapes(
        lambda shape: losses_figure(table, shape=shape, theme=PAGE),
        "loss",
        "training loss by epoch, a panel per depth, a line per trial",
    )


def _stage_means(table: DifferenceTable) -> list[dict[str, Any]]:
    """Mean difference over the layers of each stage, by init."""
    rows = []
    for stage in table.stages:
        span = slice(stage.first - 1, stage.last)
        values = {line.init: _mean(line.mean[span]) for line in table.lines}
        rows.append({"stage": stage, "layers": stage.last - stage.first + 1, "values": values})
    return rows


# Tables


def _forest(answer: Answer) -> list[dict[str, Any]]:
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


def _rank(comparison: Comparison) -> float:
    return math.inf if math.isnan(comparison.difference) else -comparison.difference


def _order(contents: Contents) -> Callable[[TrialRecord], tuple[int, int, int]]:
    """Start by start, then by depth and seed."""
    inits = contents.depths[0].inits
    return lambda record: (inits.index(record.key.init), record.key.depth, record.key.seed)


def _trial(record: TrialRecord) -> dict[str, Any]:
    wheat = record.metrics["val"]["wheat"]["overall"]
    names: tuple[Score, ...] = ("ap", "ap50", "ap75")
    return {
        "record": record,
        "key": record.key,
        "collapsed": is_collapsed(record),
        **{name: score_of(record, name) for name in names},
        "test_ap": score_of(record, "ap", "test"),
        "wheat": wheat["score"],
        "threshold": wheat["threshold"],
        "at_half": wheat["score_at_half"],
        "seconds": record.seconds.get("train", math.nan),
    }


def _waiting(states: Iterable[TrialState]) -> list[tuple[str, int, list[int]]]:
    """Cells that have not been started, as (init, seed, depths)."""
    groups: dict[tuple[str, int], list[int]] = {}
    for state in states:
        if state.state == "waiting":
            groups.setdefault((state.key.init, state.key.seed), []).append(state.key.depth)
    return [(init, seed, depths) for (init, seed), depths in groups.items()]


def _parts(contents: Contents, kind: str) -> dict[str, Any]:
    """Scores per class or group: the best cell of each init, means over its seeds."""
    columns = []
    for init in contents.answer.within:
        cell = contents.answer.best_of(init)
        if cell is not None:
            own = [
                r.metrics["val"]
                for r in contents.records
                if (r.key.init, r.key.depth) == (cell.init, cell.depth) and r.key.seed in cell.seeds
            ]
            columns.append((cell, own))
    names = dict.fromkeys(
        name for _, own in columns for m in own for name in m["coco"][f"per_{kind}"]
    )
    rows = [(name, [_part_scores(own, kind, name) for _, own in columns]) for name in names]
    return {"cells": [cell for cell, _ in columns], "rows": rows}


def _part_scores(metrics: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[str, float]:
    coco = [m["coco"][f"per_{kind}"].get(name, {}) for m in metrics]
    wheat = [m["wheat"][f"per_{kind}"].get(name, {}) for m in metrics]
    return {
        "ap": _mean(part.get("ap") for part in coco),
        "ap50": _mean(part.get("ap50") for part in coco),
        "wheat": _mean(part.get("score") for part in wheat),
    }


def _data(data: DataRecord) -> dict[str, Any]:
    groups = list(data.groups.items())
    return {
        "data": data,
        "per_image": data.boxes / data.images if data.images else math.nan,
        "groups": groups[:_MOST_GROUPS],
        "more_groups": max(0, len(groups) - _MOST_GROUPS),
        "findings": sum(data.findings.values()),
    }


def _plans(contents: Contents) -> list[dict[str, Any]]:
    """What each depth freezes, once per BatchNorm policy, with its strip and its audits."""
    stages, deepest = contents.depths[0].stages, contents.answer.deepest
    groups: dict[tuple[int, str], list[TrialRecord]] = {}
    for record in contents.records:
        groups.setdefault((record.key.depth, record.plan.batch_norm), []).append(record)
    return [
        {
            "plan": found[0].plan,
            "depth": depth,
            "reach": _reach(depth, stages, deepest),
            "strip": [_strip_part(stage, depth) for stage in stages],
            "share": found[0].plan.frozen_parameters
            / max(1, found[0].plan.frozen_parameters + found[0].plan.trainable_parameters),
            "tensors": len(found[0].plan.tensors),
            "audits": sum(record.audit.passed for record in found),
            "unmoved": max(len(record.audit.unmoved) for record in found),
            "trials": len(found),
            "ranked": found[0].ranked,
        }
        for (depth, _), found in sorted(groups.items())
    ]


def _reach(depth: int, stages: Sequence[Stage], deepest: int) -> str:
    if depth == 0:
        return "nothing"
    if depth == deepest:
        return "the whole backbone"
    for stage in stages:
        if depth == stage.last:
            return f"to the end of {stage.name}"
        if depth < stage.last:
            return f"{depth - stage.first + 1} of {stage.last - stage.first + 1} in {stage.name}"
    return f"{depth} convolutions"


def _strip_part(stage: Stage, depth: int) -> dict[str, Any]:
    layers = stage.last - stage.first + 1
    frozen = min(max(depth - stage.first + 1, 0), layers)
    return {"name": stage.name, "layers": layers, "share": round(100 * frozen / layers, 2)}


def _sources(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One record per init, for the table of starting weights; references last."""
    first: dict[str, TrialRecord] = {}
    for record in records:
        first.setdefault(record.key.init, record)
    return sorted(first.values(), key=lambda record: not record.ranked)


def _schedule(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Hyper-parameters by init; one column where all inits share them."""
    sources = _sources(records)
    columns = {r.key.init: _flatten(r.spec.get("schedule", {})) for r in sources}
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


def _versions(records: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    """Name and version; several where the trials differ."""
    names = dict.fromkeys(name for record in records for name in record.environment)
    return [
        (name, " / ".join(dict.fromkeys(r.environment.get(name, "n/a") for r in records)))
        for name in names
    ]


def _phases(records: Sequence[TrialRecord]) -> list[tuple[str, float, float]]:
    """Phase, mean seconds of a trial, seconds of all trials. ``steps`` is a part of ``train``."""
    names = dict.fromkeys(name for record in records for name in record.seconds)
    rows = []
    for name in names:
        values = [r.seconds[name] for r in records if name in r.seconds]
        rows.append((name, sum(values) / len(values), sum(values)))
    return rows


def _work_seconds(record: TrialRecord) -> float:
    return sum(value for name, value in record.seconds.items() if name != "steps")


# Filters


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _score(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def _thousandths(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{1000 * value:#.3g}".rstrip(".")


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.0f}\u2009%"


def _duration(seconds: float | None) -> str:
    """Three digits or so, in the unit that suits: seconds, minutes or hours."""
    if seconds is None or math.isnan(seconds):
        return "n/a"
    for most, unit, digits, name in _UNITS:
        if seconds < most:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 3600:.1f} h"


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "\u2009")


def _text(value: object) -> str:
    """A setting as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unplaced(text: str) -> str:
    """A message without the folders of the machine it came from: a page may be sent to others."""
    return _PATH.sub(lambda match: match[1], text)
