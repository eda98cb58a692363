"""Each error of frostline, provoked by a real command: for tests, and for docs/errors.md.

The commands run in this process, in a folder of their own, unless they need a broken torch.
"""

import contextlib
import dataclasses
import fcntl
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import frostline
from frostline.cli import main
from frostline.errors import (
    AlignmentError,
    AuditError,
    BusyError,
    CheckpointError,
    ConfigError,
    DatasetError,
    DependencyError,
    DownloadError,
    FrostlineError,
    InitError,
    PlanError,
    RecordError,
    StudyChangedError,
    TrainingError,
    UnsafeCheckpointError,
)
from tests.helpers import SIZE, write_study, write_yaml

__all__ = ["HOME", "PROVOCATIONS", "Provocation", "Ran", "provoke", "run_here"]

HOME = "~/wheat"
"""What stands for the temporary folder in messages."""

_FAST = {"inits": {"a": {"source": "a.safetensors"}}, "depths": ["all"]}
_SCHEDULE = {"epochs": 1, "batch_size": 3, "optimizer": "adamw", "lr": 1e-3}
_RUN = ("run", "study.yaml")
_NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command left behind.

    Attributes:
        code: exit code.
        out: stdout.
        err: stderr.
        new_files: names of files that were not there before.
    """

    code: int
    out: str
    err: str
    new_files: frozenset[str] = frozenset()

    @property
    def message(self) -> str:
        """The line that tells the error: ``error: …``, or ``failed: …`` and the like of a trial."""
        told = ("error: ", "failed: ", "elsewhere: ")
        lines = [x for x in self.err.splitlines() if x.startswith(told)]
        return lines[0] if len(lines) == 1 else f"expected one line, got {lines}"


@dataclasses.dataclass(frozen=True)
class Provocation:
    """How an error comes about.

    Attributes:
        error: the class.
        cause: what was done, in words.
        command: arguments of ``frostline``.
        prepare: makes the folder in which the command runs.
        during: what holds while it runs.
        of_trial: whether it fails one trial, and the command goes on with the others.
        own_process: whether it needs a Python of its own.
    """

    error: type[FrostlineError]
    cause: str
    command: tuple[str, ...]
    prepare: Callable[[Path], object]
    during: Callable[[Path], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    of_trial: bool = False
    own_process: bool = False


def provoke(provocation: Provocation, folder: Path) -> Ran:
    """Prepare the folder and run the command in it; messages are the same wherever it is."""
    folder.mkdir(parents=True, exist_ok=True)
    provocation.prepare(folder)
    before = _files(folder)
    run = _run_in_process if provocation.own_process else run_here
    with provocation.during(folder):
        ran = run(folder, *provocation.command)
    err = ran.err.replace(str(folder.resolve()), HOME)
    return dataclasses.replace(ran, err=err, new_files=_files(folder) - before)


def run_here(folder: Path, *arguments: str) -> Ran:
    """The command line in this process: what a shell would see."""
    out, err = io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["frostline", *arguments]),
        streams[0],
        streams[1],
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def _run_in_process(folder: Path, *arguments: str) -> Ran:
    source = Path(frostline.__file__).parents[1]
    path = os.pathsep.join([str(folder / "broken"), str(source)])
    result = subprocess.run(
        [sys.executable, "-m", "frostline", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(result.returncode, result.stdout, result.stderr)


def _files(folder: Path) -> frozenset[str]:
    return frozenset(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- folders -------------------------------------------------------------------------------------


def _study(**changes: object) -> Callable[[Path], object]:
    return lambda folder: write_study(folder, **{**_FAST, "schedule": _SCHEDULE, **changes})


def _then(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [step(folder) for step in steps]


def _finished_then_changed(folder: Path) -> None:
    _study()(folder)
    assert run_here(folder, *_RUN).code == 0
    write_yaml(folder / "study.yaml", schedule=_SCHEDULE | {"lr": 5e-4})


def _bad_row(folder: Path) -> None:
    with (folder / "train.csv").open("a") as file:
        file.write(f'im0,{SIZE},{SIZE},"[30, 30, -9, 5]",field_0\n')


def _truncated(folder: Path) -> None:
    whole = (folder / "a.safetensors").read_bytes()
    (folder / "a.safetensors").write_bytes(whole[: len(whole) // 2])


class _Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def _hostile(folder: Path) -> None:
    (folder / "found.pkl").write_bytes(pickle.dumps({"conv1.weight": _Hostile()}))


def _broken_torch(folder: Path) -> None:
    """Two packages that do not fit each other, as a careless upgrade leaves them."""
    for name, version, needs in (("torch", "2.8.0", ""), ("torchvision", "0.24.0", "torch==2.9.0")):
        package = folder / "broken" / name
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        info = folder / "broken" / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *[f"Requires-Dist: {needs}"] * bool(needs)]
        (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    text = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (folder / "broken" / "torchvision" / "__init__.py").write_text(text)


# --- circumstances -------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_network(folder: Path) -> Iterator[None]:
    with mock.patch.dict(os.environ, _NO_NETWORK | {"TORCH_HOME": str(folder / "cache")}):
        yield


@contextlib.contextmanager
def _another_run(folder: Path) -> Iterator[None]:
    trial = folder / "runs" / "study" / "trials" / "a-k52-s0"
    trial.mkdir(parents=True)
    with (trial / ".lock").open("w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _plan_not_applied(_folder: Path) -> Iterator[None]:
    with mock.patch("frostline.freezing.Frozen.enforce", return_value=0):
        yield


PROVOCATIONS = (
    Provocation(
        ConfigError,
        "`study.yaml` has a misspelt key",
        _RUN,
        _study(dephts=[0]),
    ),
    Provocation(
        StudyChangedError,
        "the learning rate in `study.yaml` was edited after a trial had finished",
        _RUN,
        _finished_then_changed,
    ),
    Provocation(
        DatasetError,
        "a box of `train.csv` has a negative width",
        _RUN,
        _then(_study(), _bad_row),
    ),
    Provocation(
        CheckpointError,
        "the first file is half of a download",
        ("diff", "a.safetensors", "b.safetensors"),
        _then(_study(), _truncated),
    ),
    Provocation(
        UnsafeCheckpointError,
        "a file from the web wants to run a shell command when it is loaded",
        ("diff", "found.pkl", "found.pkl"),
        _hostile,
    ),
    Provocation(
        AlignmentError,
        "the files hold a MobileNetV2, another backbone is asked for",
        ("diff", "a.safetensors", "b.safetensors", "--model", "resnet50"),
        _study(),
    ),
    Provocation(
        InitError,
        "the weight file holds a MobileNetV2, the study's backbone is a ResNet-18",
        _RUN,
        _study(model={"backbone": "resnet18", "preset": "slim", "image_size": SIZE}),
    ),
    Provocation(
        DownloadError,
        "torchvision's weights are not in the cache, and there is no network",
        _RUN,
        _study(inits={"a": {"source": "torchvision:MobileNet_V2_Weights.IMAGENET1K_V1"}}),
        during=_no_network,
    ),
    Provocation(
        PlanError,
        "`depths` of a MobileNetV2, which has 52 convolutions, has a 60",
        _RUN,
        _study(depths=[0, 60]),
    ),
    Provocation(
        RecordError,
        "the folder given to `status` is not that of a study",
        ("status", "images"),
        _study(),
    ),
    Provocation(
        BusyError,
        "the same study runs in another terminal",
        _RUN,
        _study(),
        during=_another_run,
        of_trial=True,
    ),
    Provocation(
        DependencyError,
        "torch was downgraded, torchvision was not",
        _RUN,
        _then(_study(), _broken_torch),
        own_process=True,
    ),
    Provocation(
        TrainingError,
        "the learning rate is 1e30, without gradient clipping",
        _RUN,
        _study(schedule=_SCHEDULE | {"epochs": 2, "lr": 1e30, "clip_norm": None}),
        of_trial=True,
    ),
    Provocation(
        AuditError,
        "the freezing of layers was switched off on purpose, to see the audit find it",
        _RUN,
        _study(),
        during=_plan_not_applied,
        of_trial=True,
    ),
)
"""One for each class of ``frostline.errors`` but their base."""
