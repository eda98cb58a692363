"""The command line as a user meets it: exit codes, one-line errors, stdout for results."""

import dataclasses
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frostline.architectures.building import build_model
from frostline.cli import main
from frostline.config import ModelConfig
from frostline.estimate import Estimate
from frostline.study import threads_of_trial
from tests.factories import make_config, make_record, write_study_folder
from tests.helpers import SIZE, write_study

FAST = {"depths": ["all"], "schedule": {"epochs": 1, "batch_size": 3}}


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def frostline(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in this process: what a shell would see."""

    def run(*arguments: str, cwd: Path | None = None) -> Ran:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["frostline", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two trials, run by a real process."""
    folder = tmp_path_factory.mktemp("cli")
    write_study(folder, **FAST)
    command = [sys.executable, "-m", "frostline", "run", "study.yaml", "--format", "json"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert [row["init"] for row in json.loads(result.stdout)] == ["a", "b"]
    assert "next: frostline report runs/study" in result.stderr
    return folder


def test_status_and_report(done: Path, frostline: Command) -> None:
    status = frostline("status", "runs/study", "--format", "csv", cwd=done)
    assert status.out.split() == [
        "init,plan,variant,depth,seed,state,detail",
        "a,k52,,52,0,done,",
        "b,k52,,52,0,done,",
    ]
    report = frostline("report", "runs/study", cwd=done)
    assert report.code == 0, report.err
    page = (done / report.out.strip()).read_text()
    assert page.lower().startswith("<!doctype html>")


def test_running_again_has_nothing_to_do(done: Path, frostline: Command) -> None:
    result = frostline("run", "study.yaml", cwd=done)
    assert result.code == 0
    assert "started" not in result.err
    records = {p: p.read_bytes() for p in (done / "runs/study/trials").glob("*/record.json")}
    assert len(records) == 2
    rows = json.loads(frostline("run", "study.yaml", "--format", "json", cwd=done).out)
    for row, (path, text) in zip(rows, sorted(records.items()), strict=True):
        assert path.read_bytes() == text
        stored = json.loads(text)
        assert (row["init"], row["seed"]) == (stored["key"]["init"], stored["key"]["seed"])
        for label, score in (("AP", "ap"), ("AP50", "ap50")):
            assert row[label] == stored["scores"]["val"][score]
        assert row["minutes"] * 60 == pytest.approx(sum(stored["seconds"].values()))


def test_dry_run_writes_nothing(tmp_path: Path, frostline: Command) -> None:
    write_study(tmp_path)
    result = frostline("run", "study.yaml", "--dry-run", "--format", "json", cwd=tmp_path)
    assert json.loads(result.out)[0]["left"] == 6
    assert not (tmp_path / "runs").exists()


def test_threads_sleep_while_they_wait(
    tmp_path: Path, frostline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in workers, which inherit it; what the user has set stays."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    frostline("run", "none.yaml", cwd=tmp_path)
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    frostline("run", "none.yaml", cwd=tmp_path)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_threads_by_one_rule(
    tmp_path: Path, frostline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asked, else OMP_NUM_THREADS, else the cores that the process may use / workers."""
    write_study(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 7, 9}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_of_trial(workers) for workers in (1, 2, 8)] == [5, 2, 1]
    for value, threads in (("3", 3), ("4,2", 4), ("", 5), ("0", 5), ("many", 5), ("-1", 5)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert threads_of_trial(1) == threads
        assert threads_of_trial(1, 7) == 7
    asked: list[int | None] = []

    def estimate(_study: object, *, threads: int | None, **_: object) -> Estimate:
        asked.append(threads)
        return Estimate(6, 6, 1.0, 1.0)

    monkeypatch.setattr("frostline.study.Study.estimate", estimate)
    frostline("run", "study.yaml", "--dry-run", cwd=tmp_path)
    frostline("run", "study.yaml", "--dry-run", "--threads", "6", cwd=tmp_path)
    assert asked == [None, 6]


def test_layers_prints_both_numberings(frostline: Command) -> None:
    rows = json.loads(frostline("layers", "resnet50", "--format", "json").out)
    assert len(rows) == 53
    assert rows[10] == {
        "k": 11,
        "paper": 9,
        "convolution": "layer1.2.conv3",
        "stage": "layer1",
        "role": "main",
        "weight": "256x64x1x1",
        "batch norm": "layer1.2.bn3",
        "completes": "layer1",
    }
    assert "layer4.2.conv3" in frostline("layers", "resnet50").out


def test_layers_of_timm(frostline: Command) -> None:
    rows = json.loads(frostline("layers", "timm:test_resnet", "--format", "json").out)
    assert [row["completes"] for row in rows if row["completes"]] == [
        "stem", "layer1", "layer2", "layer3", "layer4"
    ]  # fmt: skip
    assert {row["paper"] for row in rows} == {None}
    result = frostline("layers", "timm:resnt50")
    assert (result.code, result.out) == (2, "")
    assert "did you mean resnet50" in result.err
    assert result.err.count("\n") == 1


def test_doctor_and_version(frostline: Command) -> None:
    assert "torchvision" in frostline("doctor").out
    assert frostline("--version").out.startswith("frostline ")


def test_a_failed_trial_is_exit_code_one(tmp_path: Path, frostline: Command) -> None:
    hot = {"hot": {"source": "a.safetensors", "schedule": {"lr": 1e30, "clip_norm": None}}}
    write_study(tmp_path, inits=hot, depths=[0], schedule={"epochs": 2, "batch_size": 1})
    result = frostline("run", "study.yaml", cwd=tmp_path)
    assert result.code == 1
    assert "failed: hot-k00-s0: loss or gradient is not finite" in result.err


class _Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def _hostile(folder: Path) -> None:
    torch.save({"features.0.0.weight": _Hostile()}, folder / "a.safetensors")


def _truncated(folder: Path) -> None:
    whole = (folder / "a.safetensors").read_bytes()
    (folder / "a.safetensors").write_bytes(whole[: len(whole) // 2])


def _other_architecture(folder: Path) -> None:
    model = build_model(ModelConfig(backbone="resnet18", preset="slim"), 1)
    safetensors.torch.save_file(model.state_dict(), folder / "a.safetensors")


def _raw_pickle(folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(pickle.dumps(_Hostile()))


def _not_torch(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.safetensors", "w") as archive:
        archive.writestr("readme.txt", "hello")


def _row(text: str) -> Callable[[Path], None]:
    def append(folder: Path) -> None:
        with (folder / "train.csv").open("a") as file:
            file.write(text + "\n")

    return append


def _box(box: str) -> Callable[[Path], None]:
    return _row(f'im0,{SIZE},{SIZE},"{box}",field_0')


def _empty(folder: Path) -> None:
    (folder / "train.csv").write_text("image_id,width,height,bbox,source\n")
    for image in (folder / "images").iterdir():
        image.unlink()


def _absent(folder: Path) -> None:
    (folder / "images" / "im0.png").unlink()


def _twice(folder: Path) -> None:
    path = folder / "study.yaml"
    text = path.read_text()
    path.write_text(text.replace("  b:\n", "  a:\n"))


def _nothing(folder: Path) -> None:
    """The study's own values are what is bad."""


BAD: dict[str, tuple[Callable[[Path], None], dict[str, object], str]] = {
    "unknown key": (_nothing, {"dephts": [0]}, "did you mean 'depths'"),
    "depth beyond the model": (_nothing, {"depths": [99]}, "expected 0 to 52"),
    "two inits with one name": (_twice, {}, "'a' is given twice"),
    "missing weights": (_nothing, {"inits": {"a": {"source": "no.pth"}}}, "does not exist"),
    "corrupt weights": (
        _nothing,
        {"inits": {"a": {"source": "train.csv"}}},
        "got a text of 473 bytes",
    ),
    "truncated weights": (_truncated, {}, "it is truncated, corrupt or hostile"),
    "hostile weights": (_hostile, {}, "got a call of 'posix.system'; it was not run"),
    "hostile pickle": (_raw_pickle, {}, "got a call of 'posix.system'; it was not run"),
    "zip of something else": (_not_torch, {}, "(1 files, the first: 'readme.txt'); unpack it"),
    "another architecture": (_other_architecture, {}, "fills 0 of 260 tensors of part backbone"),
    "empty data set": (_empty, {}, "expected at least one usable image in"),
    "bad row": (_row("im0,64"), {}, "train.csv, line 14: expected 5 columns, got 2"),
    "NaN box": (_box("[nan, 1, 5, 5]"), {}, "line 14: expected four finite numbers"),
    "inverted box": (_box("[30, 30, -9, 5]"), {}, "line 14: expected x0 < x1 and y0 < y1"),
    "box outside": (_box("[70, 1, 5, 5]"), {}, "line 14: expected a box at least half inside"),
    "absent image": (_absent, {}, "line 2: im0.jpg: expected a file in the data root, found none"),
    "path leaving the root": (
        _row(f'../x,{SIZE},{SIZE},"[1, 1, 5, 5]",f'),
        {},
        "'../x.jpg' leads out of it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_two(
    tmp_path: Path, frostline: Command, case: str
) -> None:
    spoil, changes, message = BAD[case]
    write_study(tmp_path, **changes)
    spoil(tmp_path)
    result = frostline("run", "study.yaml", cwd=tmp_path)
    assert result.code == 2, result.err
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("error: ")
    assert result.out == ""
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "executed").exists()


def test_full_disk_is_one_line_and_leaves_no_half_files(
    tmp_path: Path, frostline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, **FAST)
    real = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    result = frostline("run", "study.yaml", cwd=tmp_path)
    assert result.code == 2
    assert "No space left on device; free space, or write to another folder" in result.err
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("record.json"))
    monkeypatch.setattr(os, "fsync", real)
    assert frostline("run", "study.yaml", cwd=tmp_path).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_is_exit_code_130_and_resumes(
    tmp_path: Path, frostline: Command, workers: str
) -> None:
    write_study(tmp_path, depths=[0], schedule={"epochs": 20, "batch_size": 1})
    command = [sys.executable, "-m", "frostline", "run", "study.yaml", "--workers", workers]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell without job control inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while not list(tmp_path.glob("runs/study/trials/*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "interrupted; the same command resumes"
    assert "Traceback" not in err
    status = frostline("status", "runs/study", "--format", "json", cwd=tmp_path)
    assert "started" in {row["state"] for row in json.loads(status.out)}


def test_debug_shows_the_traceback(
    tmp_path: Path, frostline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = frostline("run", "none.yaml", cwd=tmp_path)
    assert plain.code == 2
    assert "Traceback" not in plain.err
    monkeypatch.setattr(sys, "argv", ["frostline", "--debug", "run", "none.yaml"])
    with pytest.raises(Exception, match=r"cannot read none\.yaml"):
        main()


def test_status_lists_what_the_study_no_longer_names(tmp_path: Path, frostline: Command) -> None:
    records = [make_record(), make_record("gone", 9)]
    write_study_folder(tmp_path / "out", records, make_config(records[:1]))
    result = frostline("status", "out", "--format", "json", cwd=tmp_path)
    rows = [(row["init"], row["depth"], row["state"]) for row in json.loads(result.out)]
    assert rows == [("imagenet", 0, "done"), ("gone", 9, "unlisted")]
    shown = frostline("status", "out", cwd=tmp_path).out
    assert "variant" not in shown, "a column that says nothing is left out"
