import errno
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import RecordError
from frostline.records import (
    InitRecord,
    TrialKey,
    TrialRecord,
    append_line,
    atomic_write,
    environment,
    read_lines,
    write_json,
)
from tests.factories import make_record


def test_slug() -> None:
    assert TrialKey(init="imagenet", plan="k09", seed=1).slug == "imagenet-k09-s1"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    names = ["\udcff.png", "\u00e9pi.png"]
    write_json(tmp_path / "names.json", names)
    text = (tmp_path / "names.json").read_text(encoding="utf-8")
    assert json.loads(text) == names
    assert names[1] in text, "all else stays readable"


def test_disk_full_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def fill() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RecordError, match="No space left on device; free space"):
        fill()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_really_full_disk() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this platform has no /dev/full")
    with pytest.raises(RecordError, match="No space left"):
        append_line(full, {"x": 1})


def test_a_log_line_cut_short_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": ')
    assert read_lines(path) == [{"step": 1}]
    assert read_lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_what_is_not_a_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError):
        TrialRecord.read(path)


def test_environment_names_versions_only() -> None:
    facts: dict[str, Any] = environment()
    assert facts["torch"]
    assert not any("/" in value for value in facts.values())


def test_records_from_before_the_normalisation_are_read() -> None:
    before = {"source": "w.pth", "parts": ["backbone"], "matched": 3}
    assert InitRecord.model_validate(before).normalisation is None


def test_scores_of_a_record() -> None:
    record = make_record(ap=0.5)
    assert record.score() == record.score("ap") == 0.5
    assert record.score("wheat") == 0.5
    assert record.score("ap50") == pytest.approx(0.8)
    assert math.isnan(record.score("ap", "test"))
    assert math.isnan(make_record(ap=None).score())


def test_a_loss_that_did_not_fall_excludes_no_trial_that_learned() -> None:
    """Version 1 called it collapsed at any score."""
    path = next((Path(__file__).parents[1] / "benchmarks/results/grid").glob("*/records.jsonl.gz"))
    with gzip.open(path, "rt") as file:
        raw = json.loads(next(file))["record"]
    raw["flags"] = ["collapsed: loss did not fall"]
    overall = raw["metrics"]["val"]["coco"]["overall"]
    for ap, flag in ((0.9, "loss did not fall"), (0.01, "collapsed: loss did not fall")):
        overall["ap"] = ap
        assert TrialRecord.from_dict(raw).flags == (flag,)
