"""What the engine does when things go wrong around a trial."""

import dataclasses
import json
import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import torch

from frostline import attempt as attempting
from frostline.engines import Job, engine, run_trials
from frostline.errors import ConfigError, RecordError
from frostline.events import Ended, Event, Outcome, Started, Stepped
from frostline.records import TrialRecord
from frostline.study import Study
from frostline.trial import FILES, Moment, TrialSpec
from tests.helpers import run_trial, write_study


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    study = Study.from_yaml(write_study(tmp_path, depths=["all"], schedule={"epochs": 1}))
    return study.spec(study.cells()[0])


def test_a_bug_or_lack_of_memory_fails_one_trial(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object, **__: object) -> None:
        raise MemoryError("out of\nmemory\x1b[2J")

    monkeypatch.setattr(attempting, "run_trial", burst)
    (outcome,) = run_trials({tmp_path / "t": spec})
    assert not outcome.ok
    assert outcome.message == "MemoryError: out of memory\\x1b[2J"
    failure = json.loads((tmp_path / "t" / FILES.failure).read_text())
    assert failure == {"error": "MemoryError", "text": outcome.message}


def test_a_trial_that_another_process_writes(spec: TrialSpec, tmp_path: Path) -> None:
    with attempting._locked(tmp_path / "t"):
        (outcome,) = run_trials({tmp_path / "t": spec})
    message = "another process is running this trial; run again when it is done"
    assert outcome == Outcome(spec.key, False, message, elsewhere=True)
    assert not outcome.failed
    assert not (tmp_path / "t" / FILES.failure).exists()


def test_a_second_attempt_has_not_failed_yet(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / FILES.failure).write_text('{"text": "of before"}')
    there: list[bool] = []

    def look(*_: object, **__: object) -> None:
        there.append((folder / FILES.failure).exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(attempting, "run_trial", look)
    with pytest.raises(KeyboardInterrupt):
        run_trials({folder: spec})
    assert there == [False]


def test_torch_is_left_as_it_was(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook the process is the user's."""

    def change(*_: object, **__: object) -> None:
        torch.set_num_threads(7)
        torch.manual_seed(1)
        raise MemoryError

    monkeypatch.setattr(attempting, "run_trial", change)
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    run_trials({tmp_path / "t": spec})
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)


def test_an_observer_that_cannot_be_sent_is_refused_before_anything_runs(
    spec: TrialSpec, tmp_path: Path
) -> None:
    unsendable = dataclasses.replace(spec, observer=lambda moment: None)
    with pytest.raises(ConfigError, match=r"observer that can be pickled .* one worker"):
        run_trials({tmp_path / "t": unsendable}, workers=2)
    assert not (tmp_path / "t").exists()
    sent = pickle.loads(pickle.dumps(dataclasses.replace(spec, observer=print)))
    assert sent.observer is print


def test_a_finished_trial_is_not_run_again_and_leftovers_go(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t"
    (first,) = run_trials({folder: spec})
    for name in (".checkpoint.pt.x1.tmp", FILES.checkpoint):
        (folder / name).write_text("left by a killed process")
    monkeypatch.setattr(attempting, "run_trial", lambda *_, **__: pytest.fail("was run again"))
    (second,) = run_trials({folder: spec})
    assert first == second
    names = {path.name for path in folder.iterdir()}
    assert FILES.checkpoint not in names
    assert not any(name.endswith(".tmp") for name in names)


@dataclasses.dataclass(frozen=True)
class _Killer:
    """Kills the process that trains, as the system does where memory ends; each file one time."""

    files: tuple[Path, ...]
    step: int = 1

    def __call__(self, moment: Moment) -> None:
        for file in self.files:
            if moment.step == self.step and not file.exists():
                file.touch()
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(("deaths", "ok"), [(1, True), (2, False)])
def test_a_worker_that_dies_is_replaced(
    spec: TrialSpec, tmp_path: Path, deaths: int, ok: bool
) -> None:
    """Its trial goes on once; one that kills worker after worker fails, and the other one ends."""
    killer = _Killer(tuple(tmp_path / f"death{n}" for n in range(deaths)))
    killed = dataclasses.replace(spec, observer=killer)
    other = dataclasses.replace(spec, key=spec.key.model_copy(update={"seed": 5}))
    seen: list[Event] = []
    outcomes = run_trials(
        {tmp_path / "k": killed, tmp_path / "o": other}, workers=2, on_event=seen.append
    )
    results = {outcome.key: outcome for outcome in outcomes}
    assert results[other.key].ok
    assert results[spec.key].ok == ok
    if not ok:
        assert "its worker died twice" in results[spec.key].message
    assert sum(isinstance(e, Started) and e.key == spec.key for e in seen) == 2
    assert sum(isinstance(e, Ended) for e in seen) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_worker_that_is_killed_in_its_second_epoch_changes_no_bit(
    spec: TrialSpec, tmp_path: Path
) -> None:
    longer = dataclasses.replace(spec, schedule=spec.schedule.model_copy(update={"epochs": 3}))
    killed = dataclasses.replace(longer, observer=_Killer((tmp_path / "death",), step=2))
    (outcome,) = run_trials({tmp_path / "k": killed}, workers=2)
    assert (tmp_path / "death").exists()
    assert outcome.ok
    straight = run_trial(longer, tmp_path / "straight")
    record = TrialRecord.read(tmp_path / "k" / FILES.record)
    assert (record.resumed_at_steps, straight.resumed_at_steps) == ((1,), ())
    weights = [(tmp_path / f / FILES.weights).read_bytes() for f in ("k", "straight")]
    assert weights[0] == weights[1]
    assert (record.scores, record.details) == (straight.scores, straight.details)
    assert [e.losses for e in record.history] == [e.losses for e in straight.history]


@pytest.mark.parametrize("workers", [1, 2])
def test_pause_continue_and_cancel(spec: TrialSpec, tmp_path: Path, workers: int) -> None:
    """A trial pauses when asked to, goes on where it was, and one that is cancelled ends."""
    longer = dataclasses.replace(spec, schedule=spec.schedule.model_copy(update={"epochs": 3}))
    other = dataclasses.replace(longer, key=spec.key.model_copy(update={"seed": 5}))
    folders = tmp_path / "p", tmp_path / "c"
    with engine(workers=workers) as here:

        def steer(event: Event) -> None:
            if isinstance(event, Stepped) and event.key == spec.key:
                here.pause(folders[0])
            elif isinstance(event, Stepped):
                here.cancel(folders[1])

        for folder, one in zip(folders, (longer, other), strict=True):
            here.submit(Job(folder, one))
        first = {outcome.key: outcome for outcome in here.wait(steer)}
        assert first[spec.key].paused_at == 1
        assert not first[other.key].ok
        assert "cancelled" in first[other.key].message
        for folder, one in zip(folders, (longer, other), strict=True):
            here.submit(Job(folder, one))
        assert [outcome.ok for outcome in here.wait(lambda event: None)] == [True, True]
    straight = run_trial(longer, tmp_path / "straight")
    paused = TrialRecord.read(folders[0] / FILES.record)
    assert (paused.scores, paused.details) == (straight.scores, straight.details)
    assert paused.differences == straight.differences
    assert not (folders[0] / FILES.history).exists()


def test_every_trial_has_one_end(spec: TrialSpec, tmp_path: Path) -> None:
    second = dataclasses.replace(spec, key=spec.key.model_copy(update={"seed": 1}))
    kinds: list[tuple[type, int]] = []
    run_trials(
        {tmp_path / "a": spec, tmp_path / "b": second},
        workers=2,
        on_event=lambda event: kinds.append((type(event), event.key.seed)),
    )
    for seed in (0, 1):
        assert kinds.count((Started, seed)) == kinds.count((Ended, seed)) == 1
        assert (Stepped, seed) in kinds


def test_a_record_that_cannot_be_written_stops_a_run_in_workers(
    spec: TrialSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / FILES.log).mkdir()
    with pytest.raises(RecordError, match="cannot write"):
        run_trials({folder: spec}, workers=2)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown engine 'locl': .*; did you mean local\?"):
        engine("locl")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pause_before_the_start(spec: TrialSpec, tmp_path: Path, workers: int) -> None:
    """One still in line pauses before its first epoch, twice asked or once; cancelled, it ends."""
    keys = [spec.key.model_copy(update={"seed": seed}) for seed in range(3)]
    folders = [tmp_path / key.slug for key in keys]
    with engine(workers=workers) as here:
        for folder, key in zip(folders, keys, strict=True):
            here.submit(Job(folder, dataclasses.replace(spec, key=key)))
        here.pause(folders[1])
        here.pause(folders[1])
        here.cancel(folders[2])
        first = {outcome.key: outcome for outcome in here.wait(lambda event: None)}
        assert [first[key].ok for key in keys] == [True, False, False]
        assert [first[key].paused_at for key in keys] == [None, 0, None]
        assert first[keys[2]].message == "cancelled; run again to go on"
        assert not folders[2].exists()
        here.submit(Job(folders[1], dataclasses.replace(spec, key=keys[1])))
        assert [outcome.ok for outcome in here.wait(lambda event: None)] == [True]


def test_an_order_to_a_run_that_was_killed_does_not_hold_the_next(
    spec: TrialSpec, tmp_path: Path
) -> None:
    attempting.ask_to_pause(tmp_path / "t")
    (outcome,) = run_trials({tmp_path / "t": spec})
    assert outcome.ok


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 worker, got 0"):
        engine(workers=0)
