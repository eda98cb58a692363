"""Another engine and another policy: the study's loop takes both, and the numbers are the same."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from frostline.errors import ConfigError
from frostline.events import Ended, Event, Paused
from frostline.members import ENGINES
from frostline.policy import Advance, Observed
from frostline.records import TrialKey
from frostline.reporting import report
from frostline.study import Study, open_study
from tests.helpers import write_study

LONG = {"epochs": 3, "batch_size": 4, "lr": 1e-3, "eval_every": 1}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "toy", "tests.engines.toy:ToyEngine")


def _study(folder: Path) -> Study:
    return Study.from_yaml(write_study(folder, depths=["all"], schedule=LONG))


def halving(observed: Observed, _budget: float | None) -> Sequence[Advance]:
    """Every start for an epoch, then the better of them to its end."""
    starts = {seen.key for seen in observed}
    if not starts:
        return [Advance(key, until=1) for key in KEYS]
    best = max(observed, key=lambda seen: (seen.score or 0.0, seen.key.slug)).key
    ended = any(seen.last for seen in observed)
    return [] if ended else [Advance(best)]


KEYS: tuple[TrialKey, ...] = ()  # set by the test: a policy is a function of what was observed


def test_an_engine_comes_in_by_one_line(toy: None, tmp_path: Path) -> None:
    ours, theirs = _study(tmp_path / "ours"), _study(tmp_path / "theirs")
    ours.run(threads=1)
    order: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Ended):
            order.append(event.key.init)

    theirs.run(threads=1, engine="toy", on_event=note)
    assert order == ["b", "a"]
    for one, other in zip(ours.records(), theirs.records(), strict=True):
        assert one.differences == other.differences
    assert report(theirs).html.exists()
    with pytest.raises(ConfigError, match=r"unknown engine 'toys': .* did you mean toy"):
        theirs.run(engine="toys")


def test_a_policy_pauses_and_continues_and_no_bit_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, steered = _study(tmp_path / "straight"), _study(tmp_path / "steered")
    straight.run(threads=1)
    monkeypatch.setattr("tests.engines.test_toy.KEYS", steered.cells())
    seen: list[Event] = []
    outcomes = steered.run(threads=1, policy=halving, on_event=seen.append)
    assert sum(isinstance(event, Paused) for event in seen) == 2
    (done,) = [outcome for outcome in outcomes if outcome.ok]
    (left,) = [outcome for outcome in outcomes if not outcome.ok]
    assert left.paused_at == 1
    states = {state.key: state.state for state in open_study(steered.folder).status()}
    assert states == {done.key: "done", left.key: "started"}
    (record,) = steered.records()
    (same,) = [r for r in straight.records() if r.key == record.key]
    assert record.differences == same.differences
    assert [e.losses for e in record.history] == [e.losses for e in same.history]
    assert [e.metrics for e in record.history] == [e.metrics for e in same.history]
    epochs = {(seen.key, seen.epoch) for seen in steered.observed()}
    assert epochs == {(done.key, 1), (done.key, 2), (done.key, 3), (left.key, 1)}
    steered.run(threads=1)
    assert [state.state for state in steered.status()] == ["done", "done"]
    for one, other in zip(straight.records(), steered.records(), strict=True):
        assert one.differences == other.differences
