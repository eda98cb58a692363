"""An advice that trains: what it spends, what it leaves, and that a kill changes nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.advice.result import Advice
from frostline.advising import advise_study, choice, outlook
from frostline.errors import ConfigError, TrainingError
from frostline.events import Event
from frostline.members import TRAINERS
from frostline.policy import Advance
from frostline.records import FILES, TrialKey, TrialRecord, write_json
from frostline.study import Study, open_study
from tests.advising.toy import write_prices, write_toy
from tests.helpers import write_study, write_yaml


def _with_test(folder: Path, **changes: Any) -> Study:
    """The toy with two images for training, two for validation and two for testing."""
    study = write_toy(folder, **changes)
    head, *rows = (folder / "train.csv").read_text().splitlines()
    for split, images in (("one", "im0 im1"), ("two", "im2 im3"), ("three", "im4 im5")):
        kept = [row for row in rows if row.partition(",")[0] in images.split()]
        (folder / f"{split}.csv").write_text("\n".join((head, *kept)) + "\n")
    files = {"train": "one.csv", "val": "two.csv", "test": "three.csv"}
    data = {"layout": "kaggle", "images": "images", **files}
    return Study.from_yaml(write_yaml(folder / "study.yaml", data=data), study.folder)


def _advise(study: Study, **options: Any) -> tuple[Advice, list[str]]:
    lines: list[str] = []
    return advise_study(study, threads=1, say=lines.append, **options), lines


def _states(study: Study) -> dict[str, str]:
    return {state.key.slug: state.state for state in study.status()}


def _weights(study: Study) -> set[str]:
    return {path.parent.name for path in study.folder.glob(f"trials/*/{FILES.weights}")}


def _other(slug: str) -> str:
    return {"a": "b", "b": "a"}[slug[0]] + slug[1:]


def test_two_trainings(tmp_path: Path) -> None:
    """Even shares: .52 / 4 is aside for a look of 1 epoch, so (2 - .13 - 1) is epoch 3 of both.

    So 6 of 4 epochs, one more for the winner and one at the price of .52: 1.88x.
    """
    study = write_toy(tmp_path)
    advice, lines = _advise(study)
    assert advice.cost.spent == pytest.approx(1.88)
    assert advice.cost.unit_seconds == pytest.approx(8.0, abs=1e-6)
    assert advice.cost.grid == pytest.approx(2 * (1 + 0.8 + 0.52))
    winner = advice.pick.trial
    start = advice.pick.init
    assert _states(study) == {
        winner: "done",
        _other(winner): "started",
        f"{start}-k52-s0": "started",
        f"{start}-k09-s0": "waiting",
        _other(f"{start}-k09-s0"): "waiting",
        _other(f"{start}-k52-s0"): "waiting",
    }
    assert len(lines) == 4
    assert lines[0] == "2 candidates with nothing frozen; 1x, a complete training, is 8 s here; " \
        "the budget 2x is 16 s"  # fmt: skip
    assert lines[1].startswith("a, b to epoch 3 of 4 epochs, 1.50x: ")
    assert lines[2].startswith(f"{start} with k=52 frozen to epoch 1 of 4 epochs, 0.13x: ")
    assert lines[3].startswith(f"{start} to the end of 4 epochs, 0.25x: ")
    assert list(advice.cost.steps) == lines[1:]
    assert Advice.read(study.folder) == advice
    assert [row.depth for row in advice.prices] == [9, 52]
    assert [row.trained for row in advice.prices] == [False, True]
    assert advice.resolution is not None
    assert advice.base.memory_mb == 600
    epochs = TrialRecord.read(study.trial_folder(study.cells()[0]).parent / winner / "record.json")
    assert all(epoch.metrics for epoch in epochs.history)


def test_the_pick_is_what_the_best_after_the_first_round_is(tmp_path: Path) -> None:
    study = write_toy(tmp_path)
    advice, _ = _advise(study)
    scores = {
        seen.key.init: seen.score
        for seen in study.observed()
        if seen.epoch == 3 and seen.key.plan == "k00"
    }
    best = max(scores, key=lambda init: (scores[init], init == "a"))
    assert advice.pick.init == best


def test_again_runs_nothing_and_says_the_same(tmp_path: Path) -> None:
    study = write_toy(tmp_path)
    first, _ = _advise(study)
    events: list[Event] = []
    second, lines = _advise(study, on_event=events.append)
    assert second == first
    assert events == []
    assert len(lines) == 1


def test_a_larger_budget_goes_on_and_run_does_the_rest(tmp_path: Path) -> None:
    """With 2.6x both go to their ends, then everything frozen; no step is repeated."""
    study = write_toy(tmp_path)
    first, _ = _advise(study)
    second, lines = _advise(study, budget="2.6x")
    assert second.cost.spent <= 2.6 + 1e-9
    assert second.cost.spent == pytest.approx(2.52)
    other = _other(first.pick.trial)[0]
    assert lines[1].startswith(f"{other} to the end of 4 epochs, 0.25x: ")
    assert _weights(study) == {second.pick.trial}
    for record in study.records():
        assert [epoch.epoch for epoch in record.history] == [1, 2, 3, 4]
    study.run(threads=1)
    assert set(_states(study).values()) == {"done"}


def test_what_run_did_before_counts_and_is_used(tmp_path: Path) -> None:
    """Both starts have end scores alone: nothing is trained but the look at depth."""
    study = write_toy(tmp_path)
    whole = write_yaml(tmp_path / "study.yaml", depths=[0])
    Study.from_yaml(whole).run(threads=1)
    before = _weights(study)
    advice, lines = _advise(study)
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"{advice.pick.init} with k=52 frozen to epoch 1 of 4 epochs, 0.13x"
    ]
    assert advice.cost.spent == pytest.approx(2.13)
    assert any("end score alone" in remark for remark in advice.remarks)
    assert _weights(study) == before  # they are not its own to remove


def test_the_test_images_are_scored_for_the_winner_only(tmp_path: Path) -> None:
    """The same scores as of a run that scored them at once."""
    study = _with_test(tmp_path / "advised")
    advice, _ = _advise(study, budget="2.6x", keep=True)
    tested = {r.key.slug: "test" in r.scores for r in study.records()}
    assert len(tested) >= 2
    assert [slug for slug, test in tested.items() if test] == [advice.pick.trial]
    straight = _with_test(tmp_path / "straight", depths=[0])
    straight.run(threads=1)
    (same,) = [r for r in straight.records() if r.key.slug == advice.pick.trial]
    (ours,) = [r for r in study.records() if r.key.slug == advice.pick.trial]
    assert ours.scores == same.scores
    assert ours.details == same.details
    assert advice.pick.test == same.score(split="test")
    found = [json.loads((s.trial_folder(same.key) / FILES.detections).read_bytes())
             for s in (study, straight)]  # fmt: skip
    assert found[0] == found[1]


def test_weights_of_losers_go_unless_they_are_kept(tmp_path: Path) -> None:
    kept, cleared = write_toy(tmp_path / "kept"), write_toy(tmp_path / "cleared")
    advice, _ = _advise(kept, budget="2.6x", keep=True)
    assert len(_weights(kept)) >= 2
    _advise(cleared, budget="2.6x")
    assert _weights(cleared) == {advice.pick.trial}


def test_a_winner_whose_weights_are_gone_trains_again(tmp_path: Path) -> None:
    study = write_toy(tmp_path)
    advice, _ = _advise(study)
    before = TrialRecord.read(study.folder / "trials" / advice.pick.trial / FILES.record)
    (study.folder / "trials" / advice.pick.trial / FILES.weights).unlink()
    again, _ = _advise(study)
    after = TrialRecord.read(study.folder / "trials" / advice.pick.trial / FILES.record)
    assert again.pick == advice.pick
    assert after.differences == before.differences
    assert _weights(study) == {advice.pick.trial}


def test_a_start_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_toy(tmp_path, inits={
        "a": {"source": "a.safetensors", "schedule": {"lr": 1e30, "clip_norm": None}},
        "b": {"source": "b.safetensors"},
    })  # fmt: skip
    advice, _ = _advise(study)
    assert advice.pick.init == "b"
    assert any("a-k00-s0 failed and was left out" in remark for remark in advice.remarks)


def test_nothing_trained(tmp_path: Path) -> None:
    wild = {"epochs": 4, "batch_size": 2, "lr": 1e30, "clip_norm": None}
    study = write_toy(tmp_path, schedule=wild)
    with pytest.raises(TrainingError, match=r"2 of 6 failed; a-k00-s0: loss or gradient") as error:
        _advise(study)
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("changes", "budget", "said"),
    [
        ({}, "1.2x", r"at least 1\.25x: .*; got 1\.20x; try --budget 1\.25x"),
        ({}, "0.1min", r"got 0\.75x \(0\.1min is 0\.75 of them\)"),
        ({}, "lots", r"expected a budget such as 2x"),
        ({"depths": [9]}, None, r"expected 0 among the depths"),
        (
            {"inits": {"a": {"source": "a.safetensors", "schedule": {"epochs": 5}},
                       "b": {"source": "b.safetensors"}}},
            None,
            r"expected starts with equal epochs, got \{'a': 5, 'b': 4\}",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_advised_on(
    tmp_path: Path, changes: dict[str, Any], budget: str | None, said: str
) -> None:
    study = write_toy(tmp_path, **changes)
    with pytest.raises(ConfigError, match=said):
        _advise(study, budget=budget)
    assert not (study.folder / "trials").exists()


def test_a_dry_run_writes_nothing_and_says_what_comes(tmp_path: Path) -> None:
    study = write_toy(tmp_path)
    files = sorted(study.folder.rglob("*"))
    found = outlook(study, threads=1)
    assert (found.candidates, found.budget, found.first, found.epochs) == (2, 2.0, 3, 4)
    assert found.unit_minutes == pytest.approx(8 / 60)
    assert sorted(study.folder.rglob("*")) == files


def test_one_start_gives_its_price_list(tmp_path: Path) -> None:
    """1x for it, .52x for everything frozen; .8x for nine is too much for the rest."""
    study = write_toy(tmp_path, inits={"a": {"source": "a.safetensors"}})
    advice, _ = _advise(study)
    assert advice.others == ()
    assert [row.trained for row in advice.prices] == [False, True]
    assert advice.cost.spent == pytest.approx(1.52)


def test_rates_are_candidates_and_the_key_names_them(tmp_path: Path) -> None:
    study = write_toy(
        tmp_path,
        inits={"a": {"source": "a.safetensors"}},
        schedule={"epochs": 4, "batch_size": 2, "lr": [1e-3, 3e-4]},
    )
    found = outlook(study, threads=1)
    assert (found.candidates, found.budget) == (2, 4.0)
    advice, lines = _advise(study, budget="2x")
    assert lines[1].startswith("a lr1e-3, a lr3e-4 to epoch 3 of 4 epochs")
    assert advice.pick.variant in ("lr1e-3", "lr3e-4")
    assert advice.pick.lr in (1e-3, 3e-4)
    states = _states(study)
    assert states[advice.pick.trial] == "done"
    assert states[f"a-k52-{advice.pick.variant}-s0"] == "started"
    assert open_study(study.folder).strays() == ()


def test_speed_is_a_depth_or_nothing_frozen_and_keeps_to_the_budget(tmp_path: Path) -> None:
    advice, _ = _advise(write_toy(tmp_path), prefer="speed")
    assert advice.prefer == "speed"
    assert advice.cost.spent <= 2.0 + 1e-9


def test_random_starts_are_left_out(tmp_path: Path) -> None:
    inits = {"a": {"source": "a.safetensors"}, "random": {"source": "random"}}
    advice, lines = _advise(write_toy(tmp_path, inits=inits))
    assert lines[0].startswith("1 candidate with")
    assert "random starts from no weights, and is left out." in advice.remarks


_KILLED = """
import os, signal, sys
from pathlib import Path
from frostline.advising import advise_study
from frostline.events import Stepped
from frostline.study import Study

left = int(sys.argv[2])

def on_event(event):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

study = Study.from_yaml(Path(sys.argv[1]) / "study.yaml")
advise_study(study, threads=1, on_event=on_event)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_at_any_point_it_decides_the_same(tmp_path: Path) -> None:
    """Steps, starts, pauses and ends are the events: each kill comes some further on."""
    straight, killed = write_toy(tmp_path / "straight"), write_toy(tmp_path / "killed")
    expected, _ = _advise(straight)
    kills = 0
    for events in (1, 6, 9, 4, 5):
        command = [sys.executable, "-c", _KILLED, str(tmp_path / "killed"), str(events)]
        kills += subprocess.run(command, capture_output=True, check=False).returncode == -9
    found, _ = _advise(killed)
    assert kills == 5
    assert found == expected
    for one, other in zip(straight.records(), killed.records(), strict=True):
        assert one.differences == other.differences
        assert [e.metrics for e in one.history] == [e.metrics for e in other.history]
    assert _states(straight) == _states(killed)


def test_prices_are_measured_once_and_written(tmp_path: Path) -> None:
    study = write_toy(tmp_path, depths=[0])
    (study.folder / "prices.json").unlink()
    lines: list[str] = []
    advise_study(study, threads=1, budget="1.3x", say=lines.append)
    assert lines[0] == "measuring what a step costs, once, for 1 kind of cell"
    written = (study.folder / "prices.json").read_bytes()
    advise_study(study, threads=1, budget="1.3x", say=lines.append)
    assert (study.folder / "prices.json").read_bytes() == written
    assert sum(line.startswith("measuring") for line in lines) == 1
    write_prices(study)


def test_an_epoch_that_was_never_scored_is_gone_beyond(tmp_path: Path) -> None:
    """`run` was stopped after an epoch without scores: the advice goes on behind it."""
    study = write_toy(tmp_path)

    keys = [key for key in study.cells() if key.plan == "k00"]
    study.run(threads=1, policy=lambda seen, _: [] if seen else [Advance(k, 3) for k in keys])
    assert {seen.score for seen in study.observed()} == {None}
    advice, _ = _advise(study, budget="1.5x")
    assert advice.pick.trial in _weights(study)


def test_what_is_left_shows_what_labels_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4x: both starts whole, a look at .13, 1x with one of two images, then depths at .39 and .8.

    The run with fewer images has four times the epochs and a score for each of all images.
    """
    monkeypatch.setattr(choice, "_IMAGES", 2)
    study = _with_test(tmp_path)
    advice, lines = _advise(study, budget="4x")
    start = advice.pick.init
    assert f"{start} on 25% of the training images to the end of 4 epochs, 1.00x: " in lines[3]
    folder = study.folder / "trials" / f"{start}-k00-i25-s0"
    record = TrialRecord.read(folder / FILES.record)
    assert record.data["train"].images == 1
    assert (record.history[-1].epoch, record.history[-1].step) == (16, 16)
    assert [row.epoch for row in record.history if row.metrics is not None] == [4, 8, 12, 16]
    assert "test" not in record.scores
    labels = advice.labels
    assert labels is not None
    assert (labels.images, labels.of_images) == (1, 2)
    assert labels.score == record.score()
    assert labels.of_score == advice.pick.val
    assert labels.choosing == pytest.approx(-advice.others[0].change)
    assert advice.cost.spent <= 4
    assert list(advice.cost.steps) == lines[1:]
    assert (folder / FILES.weights).exists() is False
    assert _advise(study, budget="4x") == (advice, lines[:1])
    assert study.strays() == ()
    assert {state.key.variant for state in study.status()} == {None}


def test_minutes_for_a_trainer_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that an epoch takes 1 s: 8 s a training, .2 min are 1.5x, all that is needed."""
    monkeypatch.setitem(TRAINERS, "toy", "tests.trainers.toy:train")
    schedule = {"epochs": 8, "batch_size": 2, "lr": 1e-3}
    path = write_study(tmp_path, trainer="toy", depths=[0, "all"], schedule=schedule)
    study = Study.from_yaml(path)
    advice, lines = _advise(study, budget="0.2min")
    assert lines[0] == "a-k00-e25-s0 first, which shows how long a training takes"
    assert lines[1].endswith("1x, a complete training, is 8 s here; the budget 1.5x is 12 s")
    assert advice.cost.spent == pytest.approx(1.5)
    assert advice.cost.unit_seconds == pytest.approx(8.0)
    found = outlook(study)
    assert found.unit_minutes == pytest.approx(8 / 60)
    assert found.minutes == pytest.approx(16 / 60)
    other = Study.from_yaml(path, tmp_path / "again")
    with pytest.raises(ConfigError, match=r"at least 1\.50 trainings .* got 1\.2"):
        _advise(other, budget="0.16min")
    frozen = study.trial_folder(TrialKey(init="a", plan="k52", seed=0))
    study.run(threads=1)
    record = TrialRecord.read(frozen / FILES.record)
    raw = record.model_copy(update={"seconds": record.seconds | {"train": 2.0}})
    write_json(frozen / FILES.record, raw.model_dump(mode="json"))
    again, _ = _advise(study)
    assert {row.plan: row.price for row in again.prices}["k52"] == pytest.approx(0.25)


def test_a_trainer_that_cannot_pause_runs_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of eight epochs for each start, and one of them whole: 1.5x."""
    monkeypatch.setitem(TRAINERS, "toy", "tests.trainers.toy:train")
    schedule = {"epochs": 8, "batch_size": 2, "lr": 1e-3}
    path = write_study(tmp_path, trainer="toy", depths=[0, "all"], schedule=schedule)
    study = Study.from_yaml(path)
    found = outlook(study)
    assert (found.unit_minutes, found.minutes, found.first) == (None, None, 2)
    with pytest.raises(ConfigError, match=r"a budget in trainings, as 2x, for trainer toy"):
        outlook(study, budget="10min")
    advice, lines = _advise(study)
    assert lines[1].startswith("a e25, b e25 to epoch 2 of 8 epochs, 0.50x: ")
    assert advice.cost.spent == pytest.approx(1.5)
    assert advice.tool == "toy"
    assert any("short complete runs" in remark for remark in advice.remarks)
    assert study.strays() == ()
    short = Study.from_yaml(write_yaml(path, schedule=schedule | {"epochs": 2}), tmp_path / "few")
    with pytest.raises(ConfigError, match=r"at least 3 epochs for trainer toy"):
        _advise(short)
