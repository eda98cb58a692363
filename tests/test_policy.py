"""What a study does with what its policy names, and with orders that come in between."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from frostline.attempt import ask_to_pause
from frostline.errors import ConfigError, RecordError
from frostline.events import Event, Stepped
from frostline.policy import Advance, Observed, Policy
from frostline.records import TrialKey
from frostline.study import Study
from frostline.study_notes import notes_of
from tests.helpers import SCHEDULE, write_study


def _study(folder: Path) -> Study:
    schedule = SCHEDULE | {"epochs": 2}
    inits = {"a": {"source": "a.safetensors"}}
    return Study.from_yaml(write_study(folder, inits=inits, depths=[0, "all"], schedule=schedule))


def _always(*advances: Advance) -> Policy:
    def policy(observed: Observed, _budget: float | None) -> Sequence[Advance]:
        return advances

    return policy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plan": "k51"}, r"policy names a-k51-s0; did you mean a-k52-s0"),
        ({"init": "c"}, r"policy names c-k52-s0"),
        ({"variant": "lr3e-4"}, r"policy names a-k52-lr3e-4-s0"),
        ({"seed": 1}, r"policy names a-k52-s1"),
    ],
)
def test_a_trial_that_is_none_of_the_study_s(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    """It would train something else than its name says."""
    study = _study(tmp_path)
    key = study.cells()[1].model_copy(update=change)
    with pytest.raises(ConfigError, match=said):
        study.run(policy=_always(Advance(key)))
    assert not (study.folder / "trials").exists()


def test_a_trial_that_is_named_twice(tmp_path: Path) -> None:
    study = _study(tmp_path)
    key = study.cells()[0]
    with pytest.raises(ConfigError, match="names a-k00-s0 twice"):
        study.run(policy=_always(Advance(key, 1), Advance(key)))


def test_a_pause_by_order_holds_until_the_next_run(tmp_path: Path) -> None:
    """The policy wants it to go on: it would not rest at all."""
    study = _study(tmp_path)
    key = study.cells()[1]

    def steer(event: Event) -> None:
        if isinstance(event, Stepped) and event.key == key:
            ask_to_pause(study.trial_folder(key))

    ended = {one.key: one for one in study.run(threads=1, on_event=steer)}
    assert [(ended[one].ok, ended[one].paused_at) for one in study.cells()] == [
        (True, None),
        (False, 1),
    ]
    (again,) = study.run(threads=1)
    assert (again.key, again.ok) == (key, True)


def test_the_score_of_an_ended_trial_is_observed(tmp_path: Path) -> None:
    """It was not evaluated after epochs, but at its end it was."""
    study = _study(tmp_path)
    study.run(threads=1)
    scores = {(one.key, one.epoch): (one.score, one.last) for one in study.observed()}
    assert scores == {
        (record.key, epoch): (record.score(), True) if epoch == 2 else (None, False)
        for record in study.records()
        for epoch in (1, 2)
    }


def test_a_stray_is_named_by_its_record(tmp_path: Path) -> None:
    study = _study(tmp_path)
    study.run(threads=1)
    (first, second) = study.cells()
    record = study.records()[0]
    odd = TrialKey(init="my-start", plan="up-to-4", variant="lr3e-4", seed=3)
    folder = study.trial_folder(odd)
    folder.mkdir()
    record.model_copy(update={"key": odd}).write(folder / "record.json")
    for name in ("my-start-k09-s12", "notes"):
        (study.folder / "trials" / name).mkdir()
        (study.folder / "trials" / name / "checkpoint.pt").touch()
    assert {(s.key.init, s.key.plan, s.key.variant, s.key.seed) for s in study.strays()} == {
        ("my-start", "up-to-4", "lr3e-4", 3),
        ("my-start", "k09", None, 12),
        ("notes", "", None, 0),
    }
    assert [state.key for state in study.status()] == [first, second]


def test_a_record_of_a_later_version_is_kept(tmp_path: Path) -> None:
    """It is not damaged: a run in its place would throw work away."""
    study = _study(tmp_path)
    folder = study.trial_folder(study.cells()[0])
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"schema_version": 3}')
    (state, _) = study.status()
    assert state.state == "damaged"
    assert "expected schema version 1 to 2, got 3" in state.detail
    assert notes_of(study) == ()
    with pytest.raises(RecordError, match=r"later frostline \(schema version 3"):
        study.run()
    assert [path.name for path in folder.iterdir()] == ["record.json"]


@pytest.mark.parametrize("counts", [(0, None), (1, 0)])
def test_no_workers_or_threads(tmp_path: Path, counts: tuple[int, int | None]) -> None:
    with pytest.raises(ConfigError, match="at least 1 worker and 1 thread, got"):
        _study(tmp_path).run(workers=counts[0], threads=counts[1])
