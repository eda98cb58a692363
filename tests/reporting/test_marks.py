"""Marks of a cell: it keeps random weights, a rule made its plan, it waits for other trials."""

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.cells import cell_plan
from frostline.depth import layer_table
from frostline.errors import ConfigError
from frostline.figures import depth_table, depths_figure, draw_depths, loss_table, losses_figure
from frostline.records import TrialRecord, write_json
from frostline.reporting import answer, report
from frostline.reporting.rows import plans
from frostline.reporting.words import findings, headline
from frostline.study import open_study
from frostline.study_notes import notes_of
from tests.factories import make_config, make_record, write_study_folder
from tests.figures.samples import axes, texts

MARK = ("random, frozen",)
THRESHOLD = 0.00234567


def _random(depth: int, seed: int, ap: float) -> TrialRecord:
    return make_record("random", depth, seed, ap=ap, flags=MARK if depth else ())


@pytest.fixture
def grid() -> list[TrialRecord]:
    """The random start is best where its first nine convolutions stay as they are."""
    records = [make_record("imagenet", k, s, ap=0.4 + s / 100) for k in (0, 9) for s in (0, 1)]
    return records + [_random(k, s, 0.5 + k / 100 + s / 100) for k in (0, 9) for s in (0, 1)]


def test_a_cell_that_keeps_random_weights_says_so_in_words(grid: list[TrialRecord]) -> None:
    found = answer(grid, deepest=52)
    assert "came from random with the first 9 of 52 convolutions frozen (k=9) (random, frozen)" in (
        headline(found)
    )
    assert found.best is not None
    assert found.best.name == "random, k=9 (random, frozen)"
    said = " ".join(findings(found))
    assert "from its best (k=9 (random, frozen))" in said
    assert said.count("random, frozen") == said.count("k=9 (random, frozen)")
    # only of the start that it is true of, though the plan is one and the same
    assert "imagenet reaches 0.405 at its best (k=0)" in said
    assert {start.plans for start in found.starts} == {tuple(map(cell_plan, grid[::2][:2]))}


def test_it_is_marked_in_every_table_of_the_page(tmp_path: Path, grid: list[TrialRecord]) -> None:
    folder = write_study_folder(tmp_path / "study", grid, make_config(grid))
    page = report(folder).html.read_text(encoding="utf-8")
    for section in ("cells", "plans"):
        rows = [row for row in _rows(page, section) if "random, frozen" in row]
        assert len(rows) == 1, section
        assert re.search(r"\b9 random, frozen", rows[0])
    trials = [row for row in _rows(page, "trials") if "random, frozen" in row]
    assert [row.split()[:3] for row in trials] == [["random", "9", "0"], ["random", "9", "1"]]
    assert "A ring marks trials that keep random weights as they are" in page
    assert "<dt>Random, frozen</dt>" in page
    with (folder / "tables" / "cells.csv").open(encoding="utf-8") as file:
        kept = {(row["init"], row["plan"]): row["frozen_random"] for row in csv.DictReader(file)}
    assert kept == {
        ("imagenet", "k00"): "False",
        ("imagenet", "k09"): "False",
        ("random", "k00"): "False",
        ("random", "k09"): "True",
    }


def test_it_is_ringed_in_figure_3_and_dotted_among_the_losses(grid: list[TrialRecord]) -> None:
    table = depth_table(grid)
    ax = axes()
    draw_depths(ax, table)
    rings = [line for line in ax.lines if line.get_markersize() == 12]
    assert [np.asarray(line.get_ydata()).tolist() for line in rings] == [[0.59, 0.60]]
    assert ax.get_xlabel().endswith("\nringed: random, frozen")
    figure = losses_figure(loss_table(grid))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "k=9 (dotted: random, frozen)" in titles
    assert "k=0" in titles
    dotted = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 2


def test_nothing_of_it_where_there_is_none(tmp_path: Path) -> None:
    records = [make_record("imagenet", k, s) for k in (0, 9) for s in (0, 1)]
    folder = write_study_folder(tmp_path / "study", records, make_config(records))
    assert "andom, frozen" not in report(folder).html.read_text(encoding="utf-8")
    (ax, *_) = depths_figure([depth_table(records)]).axes
    assert "ringed" not in ax.get_xlabel()
    assert "random, frozen" not in " ".join(texts(ax))


def _ruled(
    init: str, label: str, rule: str, t: float | str, layers: tuple[int, ...], seed: int = 0
) -> TrialRecord:
    record = make_record(init, 0, seed, plan_label=label, layers=layers)
    made: dict[str, Any] = {
        "rule": rule,
        "t": t,
        "threshold": {"floor": None, "median": THRESHOLD}.get(str(t), t),
        "frozen_layers": len(layers),
        "of_layers": 52,
        "references": {f"{init}-k00-s{s}": {} for s in (0, 1)},
    }
    return record.model_copy(update={"plan": record.plan.model_copy(update={"rule": made})})


def test_the_plans_table_has_the_rule_its_t_and_what_it_froze(tmp_path: Path) -> None:
    half = tuple(range(1, 27))
    records = [
        *(make_record(init, 0, s) for init in ("a", "b") for s in (0, 1)),
        *(_ruled(init, "below", "freeze-below", "median", half, s) for init in ("a", "b")
          for s in (0, 1)),
        _ruled("a", "above", "freeze-above", "floor", (50, 51, 52)),
        _ruled("b", "number", "freeze-above", 1e-3, (7,)),
    ]  # fmt: skip
    table = {
        (row["rule"]["init"], row["frozen"].label): row
        for row in plans(records, (), answer(records, deepest=52))
        if row["rule"]
    }
    # two starts, two plans, though both are called below and freeze as many layers
    assert list(table) == [("b", "number"), ("a", "above"), ("a", "below"), ("b", "below")]
    assert table["a", "below"]["trials"] == table["b", "below"]["trials"] == 2
    assert table["a", "below"]["rule"] == {
        "init": "a",
        "text": "freeze-below: l ≤ t, t = median = 0.00235",
        "count": "26 of 52",
        "file": "plans/a-below.json",
        "references": ["a-k00-s0", "a-k00-s1"],
    }
    texts_of = {key: row["rule"]["text"] for key, row in table.items()}
    assert texts_of["a", "above"] == "freeze-above: moved beyond the noise floor, t = floor"
    assert texts_of["b", "number"] == "freeze-above: l > t, t = 0.001"
    config = make_config(records[:4])
    labels = {r.key.plan: {"rule": r.plan.rule["rule"], "t": r.plan.rule["t"]}
              for r in records[4:] if r.plan.rule}  # fmt: skip
    config = make_config(records[:4], plans=labels)
    folder = write_study_folder(tmp_path / "study", records, config)
    page = report(folder).html.read_text(encoding="utf-8")
    rows = _rows(page, "plans")
    assert any("26 of 52 convolutions of a freeze-below: l ≤ t, t = median" in row for row in rows)
    kept = json.loads((folder / "tables" / "trials.json").read_text())
    (row,) = [row for row in kept if (row["init"], row["plan"]) == ("b", "number")]
    assert [row[x] for x in ("rule", "t", "threshold", "frozen_layers", "of_layers")] == [
        "freeze-above", 1e-3, 1e-3, 1, 52]  # fmt: skip


def test_what_waits_on_what_stands_below_the_trials(tmp_path: Path) -> None:
    records = [make_record("a", 0, 0)]
    rules = {"late": {"rule": "freeze-above", "t": "floor"},
             "half": {"rule": "freeze-below", "t": "median"}}  # fmt: skip
    config = make_config(records, seeds=[0, 1], plans=rules)
    folder = write_study_folder(tmp_path / "study", records, config)
    _write_rule(folder, "a-half", frozen=26)
    page = report(folder).html.read_text(encoding="utf-8")
    text = " ".join(
        html.unescape(re.sub(r"<wbr>", "", re.sub(r"<(?!wbr)[^>]*>", " ", page))).split()
    )
    assert "a-late: its plan is made from a-k00-s0 (done), a-k00-s1" in text
    assert "a-half: its plan freezes 26 of 52 layers" in text


def _write_rule(folder: Path, cell: str, *, frozen: int, lost: int = 0) -> None:
    table = layer_table("mobilenet_v2")
    layers = [
        {
            "name": x.name,
            "difference": None if n < lost else 0.1,
            "above": None if n < lost else True,
        }
        for n, x in enumerate(table.layers)
    ]
    rule = {
        "rule": "freeze-above",
        "t": 1.5,
        "threshold": 1.5,
        "frozen_layers": frozen,
        "of_layers": 52,
        "layers": layers,
        "references": {f"a-k00-s{seed}": {} for seed in (0, 1)},
    }
    write_json(folder / "plans" / f"{cell}.json", {"rule": rule})


@pytest.mark.parametrize(
    ("frozen", "lost", "said"),
    [
        (0, 0, "Plan a-late (freeze-above, t = 1.5) freezes nothing: its trials are those with k=0 "
               "again."),
        (52, 0, "Plan a-late (freeze-above, t = 1.5) freezes all 52 layers."),
        (9, 3, "Plan a-late leaves 3 of 52 layers out, which could not be compared: they are "
               "updated."),
        (9, 0, None),
    ],
)  # fmt: skip
def test_a_rule_that_froze_nothing_or_everything_is_told(
    tmp_path: Path, frozen: int, lost: int, said: str | None
) -> None:
    records = [make_record("a", 0, s) for s in (0, 1)]
    config = make_config(records, plans={"late": {"rule": "freeze-above", "t": 1.5}})
    folder = write_study_folder(tmp_path / "study", records, config)
    _write_rule(folder, "a-late", frozen=frozen, lost=lost)
    page = html.unescape(report(folder).html.read_text(encoding="utf-8"))
    notes = re.findall(r"Plan a-late[^<]*", page)
    assert notes == ([] if said is None else [said])


def test_rules_that_froze_nothing_from_several_starts_are_told_in_one_line(tmp_path: Path) -> None:
    records = [make_record(init, 0, s) for init in ("a", "b") for s in (0, 1)]
    config = make_config(records, plans={"late": {"rule": "freeze-above", "t": 1.5}})
    folder = write_study_folder(tmp_path / "study", records, config)
    for cell in ("a-late", "b-late"):
        _write_rule(folder, cell, frozen=0, lost=0)
    said = [note for note in notes_of(open_study(folder)) if "nothing" in note]
    assert said == [
        "Plans a-late, b-late (freeze-above, t = 1.5) freeze nothing: their trials are those with "
        "k=0 again."
    ]


def test_one_reference_tells_no_floor(tmp_path: Path) -> None:
    records = [make_record("a", 0, 0)]
    study = open_study(write_study_folder(tmp_path / "study", records, make_config(records)))
    with pytest.raises(ConfigError, match="expected two finished trials, found one"):
        study.plan_of_rule("a", "freeze-above", "floor")


def _rows(page: str, section: str) -> list[str]:
    """The rows of a section's tables as text."""
    part = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", part, re.S)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in rows]
