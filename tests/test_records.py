import errno
import gzip
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from frostline.errors import RecordError
from frostline.records import (
    AuditRecord,
    EpochRecord,
    InitRecord,
    PlanRecord,
    TrialKey,
    TrialRecord,
    append_line,
    atomic_write,
    environment,
    file_digest,
    read_lines,
    set_aside,
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


def test_a_record_of_version_one_is_read_and_one_of_a_later_version_is_refused(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(Path(__file__).parent / "fixtures" / "version_1.zip") as archive:
        raw = json.loads(archive.read("runs/study/trials/a-k52-s0/record.json"))
    assert raw["schema_version"] == 1
    path = tmp_path / "record.json"
    path.write_text(json.dumps(raw))
    record = TrialRecord.read(path)
    assert (record.schema_version, record.key.slug) == (2, "a-k52-s0")
    for version in (0, 3, None):
        path.write_text(json.dumps(raw | {"schema_version": version}))
        with pytest.raises(RecordError, match=f"expected schema version 1 to 2, got {version};"):
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


def test_a_log_is_whole_lines_also_behind_one_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "log.jsonl"
    append_line(path, {"step": 1})
    append_line(path, {"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    with path.open("a") as file:
        file.write('{"step": ')
    append_line(path, {"step": 3})
    assert path.read_bytes().splitlines()[2:] == [b'{"step": ', b'{"step": 3}']
    assert [row["step"] for row in read_lines(path)] == [1, 2, 3]
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    append_line(empty, {"step": 1})
    assert empty.read_bytes() == b'{"step": 1}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(path, {"loss": math.nan})


def test_what_cannot_be_written_is_told_in_the_systems_words_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reason = "Not a directory; free space, or write to another folder"
    for place in (tmp_path / "file" / "record.json", tmp_path / "file" / "log.jsonl"):
        with pytest.raises(RecordError) as error:
            write_json(place, {}) if place.suffix == ".json" else append_line(place, {})
        assert str(error.value) in {
            f"cannot write {place}: {reason}",
            f"cannot write {place}: File exists; free space, or write to another folder",
        }


def test_a_file_is_written_into_a_new_folder_and_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "record.json"
    write_json(path, [1])
    write_json(path, [2])
    assert json.loads(path.read_text()) == [2]
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_files_that_cannot_be_used_are_kept_each_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    names = []
    for text in ("first", "second", "third"):
        path.write_text(text)
        names.append(set_aside(path).name)
    assert names == ["record.json.damaged", "record.json.damaged1", "record.json.damaged2"]
    assert (tmp_path / names[1]).read_text() == "second"
    with pytest.raises(RecordError) as error:
        set_aside(path)
    assert str(error.value) == (
        f"cannot rename {path}: No such file or directory; delete it to start over"
    )


def test_a_files_digest_is_the_published_one_of_its_bytes(tmp_path: Path) -> None:
    """SHA-256 of "abc", FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "abc") == known


def test_plans_are_in_the_order_of_depths_then_of_what_they_freeze() -> None:
    plans = [
        make_record(depth=9).plan,
        make_record(depth=0).plan,
        make_record(plan_label="b", layers=(1,)).plan,
        make_record(plan_label="a", layers=(3,)).plan,
        make_record(plan_label="c", layers=()).plan,
    ]
    ordered = sorted(plans, key=lambda plan: plan.order)
    assert [plan.label for plan in ordered] == ["k=0", "k=9", "c", "a", "b"]
    assert [plan.nothing_frozen for plan in ordered] == [True, False, True, False, False]


def test_an_audit_says_and_shows_its_verdict() -> None:
    passed = AuditRecord(frozen=0)
    failed = AuditRecord(frozen=3, changed=("a", "b"), unmoved=("c",))
    assert passed.to_dict() == {"passed": True, "frozen": 0, "changed": [], "unmoved": []}
    assert failed.to_dict()["passed"] is False
    assert "freeze audit: passed" in passed._repr_html_()
    assert "freeze audit: FAILED" in failed._repr_html_()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", passed._repr_html_())
    assert cells == ["0", "0", "0"]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", failed._repr_html_()) == ["3", "a, b", "1"]


@pytest.mark.parametrize(
    ("kind", "values", "least"),
    [
        (TrialKey, {"init": "a", "plan": "k00", "seed": 0}, "seed"),
        (InitRecord, {"source": "w", "parts": (), "matched": 0}, "matched"),
        (AuditRecord, {"frozen": 0}, "frozen"),
        (
            EpochRecord,
            {"epoch": 1, "step": 0, "lr": 0.1, "losses": {}, "seconds": 1.0}
            | {"images_per_second": 1.0},
            "step",
        ),
    ],
)
def test_counts_have_a_least_value_and_nothing_is_changed_or_added(
    kind: Any, values: dict[str, Any], least: str
) -> None:
    made = kind(**values)
    with pytest.raises(ValidationError, match="greater than or equal to"):
        kind(**values | {least: values[least] - 1})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, least, 5)
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind(**values, later=1)


def test_parameters_of_a_plan_are_counted_from_zero() -> None:
    plan = make_record().plan.model_dump()
    for name in ("frozen_parameters", "trainable_parameters"):
        assert getattr(PlanRecord(**plan | {name: 0}), name) == 0
        with pytest.raises(ValidationError, match="greater than or equal to"):
            PlanRecord(**plan | {name: -1})
