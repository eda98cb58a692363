"""What the engine does when things go wrong around a trial."""

import dataclasses
import json
import pickle
import queue
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.engines import Event, Outcome, local, run_local
from frostline.errors import ConfigError
from frostline.study import Study
from frostline.trial import FILES, TrialSpec
from tests.helpers import write_study


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    study = Study.from_yaml(write_study(tmp_path, depths=["all"], schedule={"epochs": 1}))
    return study.spec(study.cells()[0])


def test_a_bug_or_lack_of_memory_fails_one_trial(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object, **__: object) -> None:
        raise MemoryError("out of\nmemory\x1b[2J")

    monkeypatch.setattr(local, "run_trial", burst)
    (outcome,) = run_local({tmp_path / "t": spec})
    assert not outcome.ok
    assert outcome.message == "MemoryError: out of memory\\x1b[2J"
    failure = json.loads((tmp_path / "t" / FILES.failure).read_text())
    assert failure == {"error": "MemoryError", "text": outcome.message}


def test_a_trial_that_another_process_writes(spec: TrialSpec, tmp_path: Path) -> None:
    with local._locked(tmp_path / "t"):
        (outcome,) = run_local({tmp_path / "t": spec})
    assert outcome == Outcome(spec.key, False, "another process is writing this trial; wait for it")
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

    monkeypatch.setattr(local, "run_trial", look)
    with pytest.raises(KeyboardInterrupt):
        run_local({folder: spec})
    assert there == [False]


def test_torch_is_left_as_it_was(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook the process is the user's."""

    def change(*_: object, **__: object) -> None:
        torch.set_num_threads(7)
        torch.manual_seed(1)
        raise MemoryError

    monkeypatch.setattr(local, "run_trial", change)
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    run_local({tmp_path / "t": spec})
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)


def test_an_observer_that_cannot_be_sent_is_refused_before_anything_runs(
    spec: TrialSpec, tmp_path: Path
) -> None:
    unsendable = dataclasses.replace(spec, observer=lambda moment: None)
    with pytest.raises(ConfigError, match=r"observer that can be pickled .* one worker"):
        run_local({tmp_path / "t": unsendable}, workers=2)
    assert not (tmp_path / "t").exists()
    sent = pickle.loads(pickle.dumps(dataclasses.replace(spec, observer=print)))
    assert sent.observer is print


def test_a_finished_trial_is_not_run_again_and_leftovers_go(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t"
    (first,) = run_local({folder: spec})
    for name in (".checkpoint.pt.x1.tmp", FILES.checkpoint):
        (folder / name).write_text("left by a killed process")
    monkeypatch.setattr(local, "run_trial", lambda *_, **__: pytest.fail("was run again"))
    (second,) = run_local({folder: spec})
    assert first == second
    names = {path.name for path in folder.iterdir()}
    assert FILES.checkpoint not in names
    assert not any(name.endswith(".tmp") for name in names)


def test_when_a_worker_dies_the_waiting_are_not_blamed(spec: TrialSpec) -> None:
    other = spec.key.model_copy(update={"seed": 5})
    waiting = dataclasses.replace(spec, key=other)
    futures: dict[Future[Outcome], TrialSpec] = {}
    for one in (spec, waiting):
        future: Future[Outcome] = Future()
        future.set_exception(BrokenProcessPool())
        futures[future] = one
    events: Any = queue.Queue()
    events.put(Event("started", spec.key))
    seen: list[Event] = []
    outcomes = {o.key: o.message for o in local._collect(futures, events, seen.append)}
    assert "worker died" in outcomes[spec.key]
    assert "not run" in outcomes[other]
    assert [event.kind for event in seen] == ["started"]


def test_every_trial_has_one_end(spec: TrialSpec, tmp_path: Path) -> None:
    second = dataclasses.replace(spec, key=spec.key.model_copy(update={"seed": 1}))
    kinds: list[tuple[str, int]] = []
    run_local(
        {tmp_path / "a": spec, tmp_path / "b": second},
        workers=2,
        on_event=lambda event: kinds.append((event.kind, event.key.seed)),
    )
    for seed in (0, 1):
        assert kinds.count(("started", seed)) == kinds.count(("ended", seed)) == 1
        assert ("step", seed) in kinds
