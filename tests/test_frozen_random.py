"""``allow_frozen_random``: what a start leaves random may stay as it is, ranked and marked."""

from pathlib import Path

import pytest

from frostline.errors import InitError
from frostline.records import TrialKey
from frostline.study import Study, open_study
from tests.helpers import SCHEDULE, write_study

MARK = "random, frozen"
INITS = {"a": {"source": "a.safetensors"}, "noise": {"source": "random"}}
PLANS = {"neck": {"patterns": ["backbone.fpn.*"]}}


def _study(folder: Path, **changes: object) -> Study:
    settings: dict[str, object] = {"inits": INITS, "depths": [0, 9], "plans": PLANS}
    settings |= {"schedule": SCHEDULE | {"epochs": 1}}
    return Study.from_yaml(write_study(folder, **(settings | changes)))


def test_without_it_random_weights_are_trained(tmp_path: Path) -> None:
    study = _study(tmp_path)
    assert [key.plan for key in study.cells() if key.init == "noise"] == ["k00"]
    with pytest.raises(InitError, match=r"leaves .* random, and plan .* would freeze it.*"
                                        r"allow_frozen_random: true"):  # fmt: skip
        study.check()  # the neck is random in every start


def test_with_it_such_cells_run_ranked_and_marked(tmp_path: Path) -> None:
    study = _study(tmp_path, allow_frozen_random=True)
    marked = {"noise-k09-s0"}  # known beforehand; of patterns when they have run
    assert {s.key.slug for s in study.status() if MARK in s.detail} == marked
    outcomes = study.run(threads=1)
    assert [outcome.message for outcome in outcomes if not outcome.ok] == []
    records = {record.key: record for record in study.records()}
    expected = {
        ("a", "k00"): False,
        ("a", "k09"): False,
        ("a", "neck"): True,
        ("noise", "k00"): False,
        ("noise", "k09"): True,
        ("noise", "neck"): True,
    }
    assert {(k.init, k.plan): MARK in r.flags for k, r in records.items()} == expected
    assert all(record.ranked and record.audit.passed for record in records.values())
    held = records[TrialKey(init="noise", plan="k09", seed=0)]
    assert held.audit.frozen == len(held.plan.tensors) == 9  # BatchNorm of a random start lives
    assert {layer["cosine"] for layer in held.differences[:9]} == {0.0}
    told = {(s.key.init, s.key.plan): s.detail for s in open_study(study.folder).status()}
    assert {key: detail == MARK for key, detail in told.items()} == expected
