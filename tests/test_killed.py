"""A study that is killed with -9 again and again ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from frostline.records import read_lines
from frostline.study import Study, read_records
from frostline.trial import FILES
from tests.helpers import write_study

KILLS = 20
LONG = {
    "depths": [0],
    "schedule": {"epochs": 40, "batch_size": 1, "lr": 1e-3, "checkpoint_seconds": 0.1},
}


def _start(folder: Path, workers: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "frostline", "run", "study.yaml", "--threads", "1"]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _steps_logged(folder: Path) -> int:
    logs = (folder / "runs" / "study" / "trials").glob(f"*/{FILES.log}")
    return sum(line["event"] == "step" for log in logs for line in read_lines(log))


def _kill_while_training(folder: Path, workers: int, moment: random.Random) -> bool:
    """Kill one run at a random moment after its first step; False if it ended before."""
    before = _steps_logged(folder)
    process = _start(folder, workers)
    while process.poll() is None and _steps_logged(folder) == before:
        time.sleep(0.1)
    time.sleep(moment.uniform(0.0, 1.0))
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _results(folder: Path) -> list[tuple[Any, ...]]:
    _, records = read_records(folder / "runs" / "study")
    return [(r.key, r.scores, r.differences, [e.losses for e in r.history]) for r in records]


def _resumed(study: Path) -> int:
    """How often trials went on from a checkpoint; each time is in the log too."""
    resumed = [step for record in read_records(study)[1] for step in record.resumed_at_steps]
    logged = {
        line["step"]
        for log in study.glob(f"trials/*/{FILES.log}")
        for line in read_lines(log)
        if line["event"] == "resumed"
    }
    assert set(resumed) <= logged
    return len(resumed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    straight = Study.from_yaml(write_study(tmp_path / "straight", **LONG))
    assert all(outcome.ok for outcome in straight.run())
    moment, kills, resumed, studies = random.Random(0), 0, 0, 0
    while kills < KILLS:  # a fast machine may end a study before it was killed often enough
        studies += 1
        folder = tmp_path / f"killed{studies}"
        write_study(folder, **LONG)
        while kills < KILLS and _kill_while_training(folder, _workers(kills), moment):
            kills += 1
        assert _start(folder, 1).wait() == 0
        assert _results(folder) == _results(tmp_path / "straight")
        resumed += _resumed(folder / "runs" / "study")
        assert studies <= KILLS, "nothing trained long enough to be killed"
    assert resumed >= KILLS // 2


def _workers(kills: int) -> int:
    return 2 if kills % 5 == 4 else 1  # a killed parent's workers must end with it
