"""Rows and their files: complete."""

import csv
import json
from pathlib import Path

import pytest

from frostline.errors import RecordError
from frostline.reporting.tables import difference_rows, score_rows, trial_rows, write_table
from tests.factories import make_record


def test_a_trial_is_one_row() -> None:
    (row,) = trial_rows([make_record(depth=9, ap=0.5, flags=("collapsed: x",), with_test=True)])
    assert (row["init"], row["plan"], row["depth"], row["seed"]) == ("imagenet", "k09", 9, 0)
    assert row["val_ap"] == row["test_ap"] == 0.5
    assert row["val_wheat_at_half"] == 0.49
    assert row["val_wheat_threshold"] == 0.62
    assert row["flags"] == "collapsed: x"
    assert row["audit"] == "passed"
    assert row["train_seconds"] == pytest.approx(100 * (1 - 0.3 * 9 / 52))


def test_a_failed_audit_shows() -> None:
    assert trial_rows([make_record(changed=("backbone.body.0.0.weight",))])[0]["audit"] == "failed"


def test_differences_are_one_row_per_trial_and_layer() -> None:
    rows = difference_rows([make_record(), make_record(seed=1)])
    assert len(rows) == 2 * 52
    first = rows[0]
    assert first["name"] == "0.0"
    assert first["shape"] == "32x3x3x3"
    assert first["folded_cosine"] == pytest.approx(2 * first["cosine"])
    assert first["norm_bias"] == 0.0


def test_scores_are_one_row_per_part() -> None:
    rows = score_rows([make_record(classes=("a", "b"), groups=("g",))])
    assert [(row["part"], row["name"]) for row in rows] == [
        ("overall", ""),
        ("class", "a"),
        ("class", "b"),
        ("group", "g"),
    ]
    assert rows[1]["ap"] == 0.5
    assert rows[1]["wheat_at_half"] == 0.49


def test_files_hold_the_same_rows(tmp_path: Path) -> None:
    rows = trial_rows([make_record(), make_record(ap=None, seed=1)])
    as_csv, as_json = write_table(tmp_path / "tables", "trials", rows)
    assert json.loads(as_json.read_text()) == rows
    read = list(csv.DictReader(as_csv.read_text().splitlines()))
    assert [row["val_ap"] for row in read] == ["0.5", ""]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(RecordError, match="cannot write"):
        write_table(tmp_path / "tables", "trials", [{"a": 1}])
