"""The page: everything that ``report.html`` shows, gathered and rendered."""

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frostline.advice.result import Advice
from frostline.advice.words import next_commands, price_cells, sentences, verdict
from frostline.architectures import architecture_of
from frostline.cells import FROZEN_RANDOM, cell_plan, plan_of_key
from frostline.config import ModelConfig, StudyConfig
from frostline.figures import DepthTable, DifferenceTable, LossTable, Quantity
from frostline.figures.theme import LIGHT
from frostline.pages import render_page, template_source
from frostline.records import TrialRecord
from frostline.reporting import drawings, formats, rows
from frostline.reporting.answer import Answer
from frostline.reporting.examples import Example
from frostline.reporting.words import (
    cautions,
    compare_with_rule,
    findings,
    headline,
    points,
    signed_points,
)
from frostline.scores import merged
from frostline.trial_folder import TrialState

__all__ = ["Contents", "render"]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page is made of.

    Attributes:
        name: of the study.
        config: the study.
        records: finished trials.
        unfinished: every other cell.
        strays: trials in the folder that the study no longer names.
        notes: what is to be known of the folder besides its trials.
        answer: what the study found.
        depths: Figure 3, one table per score.
        differences: Figure 2, one table per quantity.
        losses: training curves.
        examples: example images; empty if there are none.
        examples_note: why there are none, or how they were chosen.
        tints: name and colour of each class of example masks, "" for one that is not tinted;
            empty for boxes.
        advice: what ``frostline advise`` found, where it ran in the folder.
    """

    name: str
    config: StudyConfig
    records: tuple[TrialRecord, ...]
    unfinished: tuple[TrialState, ...]
    strays: tuple[TrialState, ...]
    notes: tuple[str, ...]
    answer: Answer
    depths: tuple[DepthTable, ...]
    differences: Mapping[Quantity, DifferenceTable]
    losses: LossTable
    examples: tuple[Example, ...]
    examples_note: str
    tints: tuple[tuple[str, str], ...] = ()
    advice: Advice | None = None


def render(contents: Contents) -> str:
    """The whole page as one HTML text that asks for nothing from outside itself."""
    filters: dict[str, Callable[..., Any]] = {
        "score": formats.score,
        "thousandths": formats.thousandths,
        "points": points,
        "signed": signed_points,
        "duration": formats.duration,
        "number": formats.number,
        "percent": formats.percent,
        "text": formats.text,
        "plan": lambda record: cell_plan(record).name,
        "plan_of_key": plan_of_key,
        "unplaced": formats.unplaced,
        "breakable": formats.breakable,
        "with_code": formats.with_code,
    }
    return render_page("report.html", _context(contents), filters)


def _context(contents: Contents) -> dict[str, Any]:
    records = contents.records
    first = records[0]
    script = template_source("report.js")
    return {
        "name": contents.name,
        "config": contents.config,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_advice(contents),
        "answer": contents.answer,
        "headline": headline(contents.answer),
        "findings": findings(contents.answer),
        "cautions": (
            *contents.notes,
            *cautions(
                contents.answer, waiting=len(contents.unfinished), strays=len(contents.strays)
            ),
        ),
        "forest": rows.forest(contents.answer),
        **_figures(contents),
        "inits": contents.depths[0].inits,
        "examples": contents.examples,
        "examples_note": contents.examples_note,
        "tints": contents.tints,
        "wrong": LIGHT.alert,
        "segments": bool(first.data["val"].pixels),
        "trials": rows.trials(records, contents.depths[0].inits),
        "flagged": [record for record in records if set(record.flags) - {FROZEN_RANDOM}],
        "any_flag": any(record.flags or record.resumed_at_steps for record in records),
        "has_test": any("test" in record.scores for record in records),
        **_score_columns(records),
        "parts": {
            "class": rows.parts(records, contents.answer, "class"),
            "group": rows.parts(records, contents.answer, "group"),
        },
        "unfinished": contents.unfinished,
        "waiting": rows.waiting(contents.unfinished),
        "to_come": rows.plans_to_come(contents.unfinished),
        "strays": contents.strays,
        **_depth_words(contents),
        "first": first,
        "data": rows.data_rows(first.data),
        "same_data": len({str(record.spec.get("data")) for record in records}) == 1,
        "plans": rows.plans(records, contents.depths[0].stages, contents.answer),
        "stages": contents.depths[0].stages,
        "deepest": contents.answer.deepest,
        "rest": architecture_of(contents.config.model).rest,
        "network": _network(contents.config.model),
        "sources": rows.sources(records),
        "schedule": rows.schedule(records),
        "model": first.spec.get("model", {}),
        "versions": rows.versions(records),
        "phases": rows.phases(records),
        "total_seconds": sum(sum(record.seconds.values()) for record in records),
        "finished": max(record.finished_at for record in records),
    }


def _figures(contents: Contents) -> dict[str, Any]:
    """The figures, and what is said beside them."""
    cosine = contents.differences["cosine"]
    return {
        "rule": compare_with_rule(contents.answer, cosine),
        "figure3": drawings.figure3(contents.depths),
        "figure2": drawings.figure2(contents.differences),
        "stage_means": rows.stage_means(cosine),
        "profiles": cosine.lines,
        "unprofiled": rows.unprofiled(contents.records, cosine),
        "marks": _marks(contents),
        "curves": drawings.curves(contents.losses),
    }


def _network(model: ModelConfig) -> str:
    """What was trained, in a few words; a preset is named where there are several."""
    several = len(architecture_of(model).presets) > 1
    return f"{model.architecture} with {model.backbone}{f' ({model.preset})' if several else ''}"


def _advice(contents: Contents) -> dict[str, Any]:
    """The first section, where there is an advice."""
    found = contents.advice
    if found is None:
        return {"advice": None}
    return {
        "advice": found,
        "advice_words": {
            "headline": verdict(found),
            "sentences": sentences(found),
            "prices": [price_cells(found, row) for row in found.prices],
            "next": next_commands(found, contents.name),
        },
    }


def _score_columns(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The scores that the tables show, and those that the list of words explains."""
    scores = merged(record.task for record in records).scores
    chosen = {key for record in records for key in record.details["val"].thresholds}
    return {
        "by_trial": [score for score in scores if score.by_trial],
        "by_part": [score for score in scores if score.by_part],
        "chosen": chosen,
        "least_gain": records[0].task.least_gain,
        "explained": [score for score in scores if score.meaning],
    }


def _depth_words(contents: Contents) -> dict[str, Any]:
    """What the page calls k, and whether some cells are no depth."""
    table = contents.depths[0]
    paper = table.numbering == "paper"
    others = bool(table.plans) or any(line.variant for line in table.lines)
    k = "k (paper)" if paper else "k"
    return {
        "paper": paper,
        "unit": table.unit,
        "others": table.plans,
        "k_head": f"{k} or plan" if others else k,
    }


def _marks(contents: Contents) -> dict[str, bool]:
    """Which marks the figures hold, so that their captions explain no other."""
    means = [value for line in contents.differences["cosine"].lines for value in line.mean]
    points = (p for table in contents.depths for line in table.lines for p in line.cells)
    return {
        "collapsed": any(point.collapsed for point in points),
        "counts_collapsed": contents.depths[0].counts_collapsed,
        "frozen_random": any(table.frozen_random for table in contents.depths),
        "zero": 0.0 in means,
        "gap": any(math.isnan(value) for value in means),
    }
