"""Threshold rules: which layers they freeze, what they wait for, and how they fail."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frostline.architectures import faster_rcnn
from frostline.cli import main
from frostline.config import parse_study
from frostline.depth import ConvLayer, LayerTable
from frostline.errors import ConfigError
from frostline.estimate import Estimate
from frostline.members import ARCHITECTURES, TASKS
from frostline.plans import FreezePlan
from frostline.policy import Advance
from frostline.records import TrialKey
from frostline.rules import layers_above, require_rules, threshold_of
from frostline.study import Study, open_study
from frostline.study_notes import notes_of
from frostline.trial import TrialSpec
from tests.helpers import TINY_MODEL, write_study

COUNTER = dataclasses.replace(faster_rcnn.ARCHITECTURE, name="counter", task="count")
PLANS = {
    "below-median": {"rule": "freeze-below", "t": "median"},
    "above-floor": {"rule": "freeze-above", "t": "floor"},
}


@pytest.fixture
def _nothing_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy task asks for no gain, so that two epochs of squares make references."""
    monkeypatch.setitem(TASKS, "count", "tests.tasks.count:TASK")
    monkeypatch.setitem(ARCHITECTURES, "counter", f"{__name__}:COUNTER")


def _study(folder: Path, **changes: object) -> Study:
    model = TINY_MODEL | {"architecture": "counter"}
    settings: dict[str, object] = {"task": "count", "model": model, "depths": [0], "seeds": [0, 1]}
    settings |= {"inits": {"a": {"source": "a.safetensors"}}, "plans": PLANS}
    settings |= {"schedule": {"epochs": 1, "batch_size": 2, "lr": 1e-3}}
    return Study.from_yaml(write_study(folder, **(settings | changes)))


def test_quantiles_by_hand() -> None:
    assert threshold_of(0.25, [1.0]) == 0.25
    assert threshold_of("median", [0.3, float("nan"), 0.1, 0.2]) == 0.2
    assert threshold_of("q75", [0.0, 0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.3)


def test_moved_is_further_than_the_seeds_are_apart() -> None:
    layers = tuple(ConvLayer(n, name, None, "s", "main", (2, 1, 1, 1)) for n, name in
                   enumerate(("together", "apart", "gone"), start=1))  # fmt: skip
    base = {f"p.{x.name}.weight": np.array([1.0, 0.0]) for x in layers}
    one = base | {"p.together.weight": np.array([1.0, 0.5]), "p.apart.weight": np.array([1.0, 0.5])}
    two = base | {"p.together.weight": np.array([1.0, 0.45]),
                  "p.apart.weight": np.array([1.0, -0.4])}  # fmt: skip
    del two["p.gone.weight"]
    # together: signal 25 degrees, floor 2.3 / 2; apart: signal 2.9 degrees, floor 48 / 2
    assert layers_above(LayerTable("toy", layers), "p.", base, [one, two]) == (True, False, None)


@pytest.mark.usefixtures("_nothing_collapses")
def test_rules_wait_then_run_and_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(tmp_path)
    key = TrialKey(init="a", plan="below-median", seed=1)
    states = {state.key: state for state in study.status()}
    assert states[key].detail == "its plan is made from a-k00-s0, a-k00-s1"
    references = ("a-k00-s0", "a-k00-s1")
    assert study.waits() == {"a-below-median": references, "a-above-floor": references}
    outcomes = study.run(threads=1)
    assert [o.message for o in outcomes if not o.ok] == []
    assert [o.key.plan for o in outcomes[:2]] == ["k00", "k00"]
    records = {record.key: record for record in study.records()}
    assert len(records) == 6
    assert all(record.audit.passed for record in records.values())

    # the layers by hand, from the references' own differences
    rows = [records[TrialKey(init="a", plan="k00", seed=s)].differences for s in (0, 1)]
    means = [(x["cosine"] + y["cosine"]) / 2 for x, y in zip(*rows, strict=True)]
    below = [n for n, mean in enumerate(means, start=1) if mean <= np.median(means)]
    for seed in (0, 1):
        frozen = records[TrialKey(init="a", plan="below-median", seed=seed)].plan
        assert list(frozen.layers) == below
        assert frozen.rule is not None
        assert (frozen.rule["rule"], frozen.rule["t"]) == ("freeze-below", "median")
        assert frozen.rule["threshold"] == pytest.approx(np.median(means))
    assert study.waits() == {}
    file = study.folder / "plans" / "a-above-floor.json"
    kept = json.loads(file.read_text())
    assert set(kept["rule"]["references"]) == {"a-k00-s0", "a-k00-s1"}
    assert len(kept["rule"]["layers"]) == kept["rule"]["of_layers"] == 52
    plan = FreezePlan.read(file)
    seen = records[TrialKey(init="a", plan="above-floor", seed=0)].plan
    assert plan.digest() == seen.digest
    assert study.plan_of_rule("a", "freeze-above", 1.5)["rule"]["frozen_layers"] == 0
    assert study.plan_of_rule("a", "freeze-below", 1.5)["rule"]["frozen_layers"] == 52

    # another reference later changes nothing, and is said
    text = file.read_bytes()
    more = _study(tmp_path, seeds=[0, 1, 2], plans={"above-floor": PLANS["above-floor"]})
    assert [o.message for o in more.run(threads=1) if not o.ok] == []
    assert file.read_bytes() == text
    assert any("was made before a-k00-s2" in note for note in notes_of(more))
    again = {record.key: record for record in more.records()}
    assert again[TrialKey(init="a", plan="above-floor", seed=2)].plan.digest == seen.digest

    _plan_command(study, kept, capsys, monkeypatch)


def _plan_command(
    study: Study,
    kept: dict[str, object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``frostline plan``: of the best cell, of a named one, and of a rule on the spot."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["frostline", "plan", str(study.folder), *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    capsys.readouterr()
    code, printed, _ = run("--cell", "a-above-floor")
    assert code == 0
    assert FreezePlan.from_dict(json.loads(printed)).tensors == tuple(kept["tensors"])  # type: ignore[arg-type]
    out = study.folder.parent / "plan.json"
    code, _, told = run("--out", str(out))
    assert (code, out.exists()) == (0, True)
    assert "frostline.FreezePlan.read(file)" in told
    assert re.search(r"^the plan of \S+, the best cell$", told, re.M), "which one is said"
    best = FreezePlan.read(out)
    assert best.digest() in {record.plan.digest for record in study.records()}
    code, printed, _ = run("--init", "a", "--rule", "freeze-above", "--t", "median")
    ruled = json.loads(printed)["rule"]
    assert ruled["frozen_layers"] + 26 == ruled["of_layers"] == 52  # the other half
    for rule, t, end in (
        ("freeze-above", "1.5", "nothing"),
        ("freeze-below", "1.5", "all 52 layers"),
        ("freeze-below", "0", "nothing"),
    ):
        code, printed, told = run("--init", "a", "--rule", rule, "--t", t)
        assert (code, told) == (0, f"{rule} with t = {float(t)} freezes {end}\n")
    for arguments, message in (
        (("--cell", "a-above-flor"), "did you mean a-above-floor"),
        (("--init", "a"), "go together"),
        (("--init", "b", "--rule", "freeze-above", "--t", "1"), "expected a start of the study"),
        (("--init", "a", "--rule", "freeze-over", "--t", "1"), "freeze-above"),
        (("--init", "a", "--rule", "freeze-above", "--t", "mean"), "plan:"),
    ):
        code, _, told = run(*arguments)
        assert code == 2, arguments
        assert message in told


@pytest.mark.usefixtures("_nothing_collapses")
def test_what_waits_on_what_before_and_between(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by ``--dry-run`` and ``status``, with how far the references are."""
    study = _study(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["frostline", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        return capsys.readouterr().out

    monkeypatch.setattr("frostline.study.Study.estimate", lambda self, **_: Estimate(
        6, 6, 1.0, 1.0, self.waits()))  # fmt: skip
    file = str(tmp_path / "study.yaml")
    line = "waits: a-below-median, a-above-floor for a-k00-s0, a-k00-s1"
    assert line in run("run", file, "--dry-run").splitlines()
    (row,) = json.loads(run("run", file, "--dry-run", "--format", "json"))
    assert row["waits"]["a-above-floor"] == ["a-k00-s0", "a-k00-s1"]
    assert line.removeprefix("waits: ") in run("run", file, "--dry-run", "--format", "csv")

    outcomes = study.run(threads=1, policy=lambda observed, _: [] if observed else [
        Advance(TrialKey(init="a", plan="k00", seed=0))])  # fmt: skip
    assert [outcome.ok for outcome in outcomes] == [True]
    rows = json.loads(run("status", str(study.folder), "--format", "json"))
    told = {(row["plan"], row["seed"]): row["detail"] for row in rows}
    assert told["above-floor", 1] == "its plan is made from a-k00-s0 (done), a-k00-s1"
    assert told["k00", 0] == told["k00", 1] == ""
    failure = study.trial_folder(TrialKey(init="a", plan="k00", seed=1)) / "failure.json"
    failure.parent.mkdir(parents=True)
    failure.write_text(json.dumps({"error": "TrainingError", "text": "no"}))
    rows = json.loads(run("status", str(study.folder), "--format", "json"))
    assert rows[1]["detail"] == "its plan is made from a-k00-s0 (done), a-k00-s1 (failed)"


def test_an_estimate_reckons_with_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule's cell costs at most what nothing frozen costs."""
    priced: list[tuple[str, int | None]] = []

    def estimate(specs: Sequence[TrialSpec], **given: object) -> Estimate:
        priced.extend((spec.key.plan, spec.plan.depth) for spec in specs)
        return Estimate(6, 6, 1.0, 1.0, given["waits"])  # type: ignore[arg-type]

    monkeypatch.setattr("frostline.estimate.estimate", estimate)
    monkeypatch.setattr("frostline.study.Study.check", lambda self: None)
    found = _study(tmp_path, task="detection", model=TINY_MODEL, depths=[0, 9]).estimate()
    assert set(priced) == {("k00", 0), ("k09", 9), ("below-median", 0), ("above-floor", 0)}
    assert set(found.to_dict()["waits"]) == {"a-below-median", "a-above-floor"}


def test_a_reference_that_collapsed_fails_the_cell_with_that_reason(tmp_path: Path) -> None:
    plans = {"above": {"rule": "freeze-above", "t": "median"}}
    study = _study(tmp_path, task="detection", model=TINY_MODEL, seeds=[0], plans=plans)
    outcomes = {outcome.key.slug: outcome for outcome in study.run(threads=1)}
    assert outcomes["a-k00-s0"].ok
    assert not outcomes["a-above-s0"].ok
    assert "reference a-k00-s0 collapsed" in outcomes["a-above-s0"].message
    (state,) = [s for s in open_study(study.folder).status() if s.key.plan == "above"]
    assert (state.state, "collapsed" in state.detail) == ("failed", True)


@pytest.mark.usefixtures("_nothing_collapses")
def test_a_reference_that_failed_fails_the_cell(tmp_path: Path) -> None:
    plans = {"above": {"rule": "freeze-above", "t": "median"}}
    schedule = {"epochs": 1, "batch_size": 2, "optimizer": "sgd", "lr": 1e9, "clip_norm": None}
    study = _study(tmp_path, seeds=[0], plans=plans, schedule=schedule)
    outcomes = {outcome.key.slug: outcome for outcome in study.run(threads=1)}
    assert not outcomes["a-k00-s0"].ok
    assert "reference a-k00-s0 failed (loss or gradient is not finite" in (
        outcomes["a-above-s0"].message
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0], "plans": {"x": {"rule": "freeze-above", "t": "floor"}}}, "at least two"),
        ({"depths": [9], "plans": {"x": {"rule": "freeze-above", "t": 0.1}}}, "put 0 among"),
        ({"plans": {"x": {"rule": "freeze-above"}}}, "'rule' and 't' go together"),
        ({"plans": {"x": {"stage": "layer1", "t": 0.1}}}, "'rule' and 't' go together"),
        ({"plans": {"x": {"rule": "freeze-above", "t": -1}}}, "expected a number from 0 on"),
        ({"plans": {"x": {"rule": "freeze-above", "t": "mean"}}}, "such as q75, or floor"),
    ],
)
def test_rules_that_cannot_be(changes: dict[str, object], message: str) -> None:
    raw = {"data": {"images": ".", "train": "a", "val": "b"}, "inits": {"a": {"source": "x"}}}
    with pytest.raises(ConfigError, match=message):
        require_rules(parse_study(raw | changes))
