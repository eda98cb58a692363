"""The whole report: self-contained, escaped, honest about what is missing, always the same."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer.main

from frostline import reporting
from frostline.cli import app
from frostline.depth import layer_table
from frostline.errors import RecordError
from frostline.records import TrialRecord, write_json
from frostline.reporting import ReportPaths, report
from frostline.reporting.examples import Example, example_images
from frostline.study import open_study
from frostline.study_file import StudyFile
from tests.factories import (
    make_config,
    make_grid,
    make_record,
    write_squares_study,
    write_study_folder,
)

COLLAPSED = ("collapsed: AP50 near 0",)
VOID = {"meta", "link", "input", "br", "img", "hr", "wbr"}


class Page(html.parser.HTMLParser):
    """Collects what a page asks for, its ids, its visible text, and whether its tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.scripts = 0
        self.joint = False  # behind a <wbr>, which is no space
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href", "action")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        self.scripts += tag == "script"
        self.joint = tag == "wbr"
        assert not any(name.startswith("on") for name in values), "no inline handlers"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data if not self.joint else self.words.pop() + data)
        self.joint = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make(folder: Path, records: list[TrialRecord]) -> tuple[ReportPaths, str]:
    paths = report(write_study_folder(folder, records))
    return paths, paths.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportPaths, str]:
    """A study with everything in it: collapse, reference, failure, groups, names that bite."""
    folder = tmp_path_factory.mktemp("runs") / "a & b"
    bad = make_record("coco", 39, 1, ap=0.003, flags=COLLAPSED)
    grid = make_grid(
        classes=("<script>alert(1)</script>", "b&c"),
        groups=("arvalis", '"usask"'),
        findings={"box-clipped": 7},
    )
    records = [bad if record.key == bad.key else record for record in grid]
    records += [make_record("random", 0, seed, ranked=False, ap=0.41) for seed in (0, 1)]
    write_study_folder(folder, records, make_config(records))
    stopped = folder / "trials" / "random-k00-s2"
    write_json(
        stopped / "failure.json",
        {"error": "TrainingError", "text": "loss is not finite, see /home/me/secret/im.jpg"},
    )
    paths = report(folder)
    return paths, paths.html.read_text(encoding="utf-8")


def test_every_file_is_there(whole: tuple[ReportPaths, str]) -> None:
    paths, _ = whole
    assert paths.html.name == "report.html"
    assert {path.name for path in paths.figures} == {
        f"{name}.{kind}"
        for name in ("figure2", "figure2_angle", "figure2_folded", "figure3", "training")
        for kind in ("svg", "png")
    }
    assert {path.name for path in paths.tables} == {
        f"{name}.{kind}"
        for name in ("cells", "differences", "scores", "trials")
        for kind in ("csv", "json")
    }
    assert all(path.stat().st_size > 0 for path in (*paths.figures, *paths.tables))
    assert len(json.loads((paths.html.parent / "tables" / "trials.json").read_text())) == 38


def test_the_page_asks_for_nothing_from_outside(whole: tuple[ReportPaths, str]) -> None:
    page = Page(whole[1])
    outside = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)", whole[1])
    assert "default-src 'none'" in whole[1]


def test_the_page_is_well_formed_and_its_links_lead_somewhere(
    whole: tuple[ReportPaths, str],
) -> None:
    page = Page(whole[1])
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)), "ids are unique"
    targets = {link[1:] for link in page.links if link.startswith("#")}
    assert targets <= set(page.ids)
    used = set(re.findall(r"url\(#([^)]+)\)", whole[1]))
    assert used <= set(page.ids)


def test_the_policy_allows_exactly_our_script(whole: tuple[ReportPaths, str]) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", whole[1], re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in whole[1]


def test_names_are_escaped(whole: tuple[ReportPaths, str]) -> None:
    page = Page(whole[1])
    assert page.scripts == 1
    assert "<script>alert(1)</script>" in page.text
    assert "a & b" in page.text
    assert '"usask"' in page.text


def test_the_answer_comes_first(whole: tuple[ReportPaths, str]) -> None:
    paths, _ = whole
    text = Page(whole[1]).text
    assert paths.lines[0] in text
    assert text.index(paths.lines[0]) < text.index("Figure 3.")
    assert all(line in text for line in paths.lines)


def test_what_went_wrong_stands_on_the_page(whole: tuple[ReportPaths, str]) -> None:
    text = Page(whole[1]).text
    assert "1 collapsed" in text
    assert "coco, k=39, seed 1: collapsed: AP50 near 0" in text
    assert "random unranked" in text
    assert "1 trial is not finished" in text
    assert "loss is not finite, see im.jpg" in text, "folders of the machine are left out"
    assert "box-clipped: 7" in text
    assert "There are no example images" in text


def test_settings_versions_hashes_and_plans_are_there(whole: tuple[ReportPaths, str]) -> None:
    text = Page(whole[1]).text
    for part in ("0.0003", "adamw", "2.15.0", "a" * 12, "c" * 12, "to the end of stage4"):
        assert part in text, part
    assert "the whole backbone" in text
    assert "6 of 6 passed" in text


def test_a_start_that_only_collapsed_is_missed_by_name_in_figure_2(tmp_path: Path) -> None:
    flags = ("collapsed: AP 0.003, a constant prediction has 0.000",)
    lost = [make_record("scratch", 0, seed, ap=0.003, flags=flags) for seed in (0, 1)]
    text = Page(make(tmp_path / "lost", [*make_grid(depths=(0,)), *lost])[1]).text
    assert "Without a line: scratch, of which every trial that froze nothing collapsed." in text


def test_captions_explain_the_marks_that_are_there(tmp_path: Path) -> None:
    text = Page(make(tmp_path / "plain", make_grid(seeds=(0,)))[1]).text
    for absent in ("A red cross", "A small triangle", "A gap is", "Without a line"):
        assert absent not in text
    record = make_record()
    zero = [row | {"cosine": 0.0} for row in record.differences[:1]]
    gap = [row | {"cosine": None} for row in record.differences[1:2]]
    marked = record.model_copy(update={"differences": (*zero, *gap, *record.differences[2:])})
    bad = make_record(seed=1, ap=0.003, flags=COLLAPSED)
    text = Page(make(tmp_path / "marked", [marked, bad])[1]).text
    for present in ("A red cross", "A small triangle", "A gap is", "collapsed seed 1 left out"):
        assert present in text


def test_the_words_that_the_headline_uses_are_said_below_it(
    whole: tuple[ReportPaths, str],
) -> None:
    text = Page(whole[1]).text
    assert text.index("A cell is all trials of one start at one depth") < text.index("What was")
    for word in ("Trial, cell", "Noise of a trial", "Interval", "Cannot be told apart"):
        assert word in text


def test_both_themes_and_print_are_styled(whole: tuple[ReportPaths, str]) -> None:
    assert "prefers-color-scheme: dark" in whole[1]
    assert "@media print" in whole[1]
    assert "#010e" not in whole[1], "every colour of a drawing became a variable"
    assert whole[1].count("<svg") >= 12


def test_the_page_is_small(whole: tuple[ReportPaths, str]) -> None:
    assert len(whole[1].encode()) < 1_500_000


def test_the_same_records_give_the_same_files(tmp_path: Path) -> None:
    records = make_grid(seeds=(0, 1))
    first, _ = make(tmp_path / "one" / "study", records)
    second, _ = make(tmp_path / "two" / "study", records)
    for a, b in zip(
        (first.html, *first.figures, *first.tables),
        (second.html, *second.figures, *second.tables),
        strict=True,
    ):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_a_report_can_be_written_again(tmp_path: Path) -> None:
    records = make_grid(seeds=(0,))
    folder = write_study_folder(tmp_path / "study", records, make_config(make_grid(seeds=(0, 1))))
    report(folder)
    for record in make_grid(seeds=(1,)):
        record.write(folder / "trials" / record.key.slug / "record.json")
    paths = report(folder)
    assert "over 2 seeds" in paths.lines[0]
    assert not list(folder.rglob("*.tmp"))


def test_examples_stand_beside_the_ground_truth(tmp_path: Path) -> None:
    folder = write_squares_study(tmp_path)
    text = report(folder).html.read_text()
    page = Page(text)
    assert text.count("data:image/jpeg;base64,") == 3, "each photo is embedded once"
    assert "imagenet, k=0, seed 0" in page.text
    assert "imagenet, k=52, seed 0" in page.text
    assert "2 found, 0 missed, 0 not annotated" in page.text
    assert "3 of 3 validation images" in page.text


def test_an_example_whose_name_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(*given: Any, **options: Any) -> tuple[Example, ...]:
        shown = example_images(*given, **options)
        return tuple(dataclasses.replace(example, file="\udcff.png") for example in shown)

    monkeypatch.setitem(reporting._DRAWN, "boxes", renamed)
    text = report(write_squares_study(tmp_path)).html.read_text(encoding="utf-8")
    assert r"\udcff.png" in Page(text).text


def test_compute_adds_up_every_phase(tmp_path: Path) -> None:
    seconds = {"load": 1.0, "train": 100.0, "evaluate_epochs": 60.0, "evaluate": 19.0}
    record = make_record().model_copy(update={"seconds": seconds})
    _, text = make(tmp_path, [record, make_record(depth=9, seconds=100.0)])
    page = Page(text)
    assert "compute, all trials 4.7 min" in page.text
    assert "evaluate_epochs 60 s 60 s" in page.text, "a trial without it is no trial of 0 s"


def test_the_data_root_can_be_given(tmp_path: Path) -> None:
    folder = write_squares_study(tmp_path / "there")
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    text = report(moved).html.read_text()
    assert "There are no example images" in text
    (option,) = set(re.findall(r"The option (--[a-z-]+) names", text))
    command: Any = typer.main.get_command(app)
    assert option in {name for p in command.commands["report"].params for name in p.opts}
    assert "3 of 3 validation images" in report(moved, base=tmp_path / "there").html.read_text()
    assert "No example images were asked for" in report(moved, examples=0).html.read_text()


def test_the_folder_knows_where_its_study_lies(tmp_path: Path) -> None:
    """A folder that --out named is not two levels below the study's file."""
    folder = write_squares_study(tmp_path / "there")
    far = tmp_path / "elsewhere" / "deep" / "out"
    shutil.copytree(folder, far)
    config = open_study(folder).config
    StudyFile(config, tmp_path / "there", layer_table(config.model.backbone)).write(far)
    assert "3 of 3 validation images" in report(far).html.read_text()


def test_changed_data_are_not_shown(tmp_path: Path) -> None:
    folder = write_squares_study(tmp_path)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace("[", "[1"))
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    assert "There are no example images" in report(folder).html.read_text()


def test_no_finished_trial_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    folder = write_study_folder(tmp_path / "study", [], make_config(make_grid()))
    with pytest.raises(RecordError, match="expected a finished trial"):
        report(folder)
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no study"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([make_record()], "It is the only cell"),
        ([make_record(ap=None)], "No ranked trial has a score"),
        ([make_record(flags=COLLAPSED, ap=0.0)], "No trial with k=0 has finished"),
        ([make_record(depth=9)], "No trial with k=0 has finished"),
        ([make_record("random", ranked=False)], "No ranked trial has a score"),
        ([make_record(epochs=1)], "It is the only cell"),
        ([make_record(backbone="resnet50", depth=53)], "the whole backbone frozen"),
        ([make_record(with_test=True), make_record(seed=1, with_test=True)], "test AP"),
    ],
    ids=["one", "no-ap", "collapsed", "no-k0", "random", "one-epoch", "resnet50", "test-split"],
)
def test_small_studies(tmp_path: Path, records: list[TrialRecord], said: str) -> None:
    ranked = make_config([*records, make_record("imagenet", 0)])
    folder = write_study_folder(tmp_path / "study", records, ranked)
    page = Page(report(folder).html.read_text(encoding="utf-8"))
    assert page.open == []
    assert said in page.text


def test_data_that_differ_between_trials_are_told(tmp_path: Path) -> None:
    records = [make_record(), make_record(seed=1, digests={"train": "e" * 64, "val": "f" * 64})]
    _, text = make(tmp_path / "study", records)
    assert "data differ between trials" in text


def test_schedules_that_differ_stand_side_by_side(tmp_path: Path) -> None:
    a, b = make_record("a"), make_record("b")
    spec = b.spec | {"schedule": b.spec["schedule"] | {"lr": 0.02}}
    _, text = make(tmp_path / "study", [a, b.model_copy(update={"spec": spec})])
    page = Page(text)
    assert "setting a b" in page.text
    assert "lr 0.0003 0.02" in page.text


def test_cells_that_are_no_depth_and_trials_that_are_no_cell(tmp_path: Path) -> None:
    grid = make_grid(depths=(0, 9), seeds=(0, 1))
    late = [make_record(seed=s, ap=0.2, plan_label="late", layers=(40, 52)) for s in (0, 1)]
    stray = make_record("gone", 9, 0, ap=0.9)
    config = make_config(grid, plans={"late": {"patterns": ["backbone.body.18.*"]}})
    paths = report(write_study_folder(tmp_path / "study", [*grid, *late, stray], config))
    page = Page(paths.html.read_text(encoding="utf-8"))
    for said in (
        "Right of the dotted line stand plans that were not given as a depth ( late )",
        "In the folder, but not in the study",
        "gone-k09-s0 the study does not name it; its folder has a record",
        "1 trial in the folder that the study no longer names",
        "What each plan freezes",
    ):
        assert said.replace("( late )", "(late)") in page.text, said
    assert "0.900" not in page.text, "a stray is in no table"
    rows = json.loads((paths.html.parent / "tables" / "cells.json").read_text())
    assert [(r["plan"], r["variant"], r["depth"]) for r in rows if r["init"] == "imagenet"] == [
        ("k00", None, 0),
        ("k09", None, 9),
        ("late", None, None),
    ]
