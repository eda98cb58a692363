import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from frostline.depth import LayerTable, layer_table
from frostline.errors import PlanError
from frostline.observing import observe_table
from frostline.plans import BatchNormPolicy, FreezePlan

TABLE = layer_table("resnet18")
_POLICIES: tuple[BatchNormPolicy, ...] = ("frozen", "follow", "live")


@pytest.mark.parametrize(
    ("policy", "tensors"),
    [
        ("frozen", 2 + 20 * 4),  # two convolutions, and every BatchNorm of the backbone
        ("follow", 2 + 2 * 5),  # their own BatchNorm, which also counts batches
        ("live", 2),
    ],
)
def test_what_a_policy_adds(policy: BatchNormPolicy, tensors: int) -> None:
    assert len(FreezePlan.at_depth(TABLE, 2, batch_norm=policy).tensors) == tensors


def test_depth_by_hand() -> None:
    plan = FreezePlan.at_depth(TABLE, 1, batch_norm="follow")
    assert plan.tensors == (
        "backbone.body.bn1.bias",
        "backbone.body.bn1.num_batches_tracked",
        "backbone.body.bn1.running_mean",
        "backbone.body.bn1.running_var",
        "backbone.body.bn1.weight",
        "backbone.body.conv1.weight",
    )
    assert "backbone.body.conv1.weight" in plan
    assert list(plan) == list(plan.tensors)


def test_squeeze_excitation_has_biases() -> None:
    plan = FreezePlan.at_depth(layer_table("mobilenet_v3_large"), 62, batch_norm="live")
    assert sum(name.endswith("bias") for name in plan.tensors) == 16


def test_a_stage_is_the_depth_at_its_end() -> None:
    stage = FreezePlan.at_stage(TABLE, "layer1")
    depth = FreezePlan.at_depth(TABLE, 5)
    assert stage.digest() == depth.digest()
    assert stage.label == "layer1"
    with pytest.raises(PlanError, match="layer4"):
        FreezePlan.at_stage(TABLE, "layer9")


def test_patterns_must_match_something() -> None:
    names = ["backbone.body.conv1.weight", "rpn.head.conv.0.0.weight"]
    assert FreezePlan.matching(names, ["rpn.*"], batch_norm="live").tensors == (
        "rpn.head.conv.0.0.weight",
    )
    with pytest.raises(PlanError, match="matches none of 2"):
        FreezePlan.matching(names, ["neck.*"], batch_norm="live")


def test_patterns_find_names_as_they_are_written_and_as_they_are() -> None:
    """What ``torch.compile`` puts between may be left out, or be part of a pattern."""
    names = ["net._orig_mod.conv.weight", "net._orig_mod.fc.weight"]
    for pattern in ("net.conv.*", "net._orig_mod.conv.*"):
        plan = FreezePlan.matching(names, [pattern], batch_norm="live")
        assert plan.tensors == ("net._orig_mod.conv.weight",)


def test_digest_tells_policies_apart() -> None:
    plans = {FreezePlan.at_depth(TABLE, 0, batch_norm=p).digest() for p in ("follow", "live")}
    assert len(plans) == 2


def _observed() -> LayerTable:
    """A convolution, a layer norm behind it that belongs to no stage, another convolution."""
    stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    net = nn.Sequential(stage, nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    return observe_table(net, torch.zeros(1, 3, 8, 8))


def test_version_one_holds_convolutions_and_version_two_all_up_to_the_cut() -> None:
    table = _observed()
    conv, inner = ("0.0.bias", "0.0.weight"), ("0.1.bias", "0.1.weight")
    by_depth = [FreezePlan.at_depth(table, 1, prefix="", version=v).tensors for v in (1, 2)]
    assert by_depth == [conv, (*conv, *inner, "1.bias", "1.weight")]
    by_stage = [FreezePlan.at_stage(table, "0", prefix="", version=v) for v in (1, 2)]
    assert [plan.tensors for plan in by_stage] == [conv, (*conv, *inner)]
    assert [(plan.label, plan.depth, plan.version) for plan in by_stage] == [
        ("0", 1, 1),
        ("0", 1, 2),
    ]


def test_batch_norm_of_an_observed_table_goes_with_its_convolution() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)
    )
    table = observe_table(net, torch.zeros(1, 3, 8, 8))
    norms = {n: {x for x in net.state_dict() if x.startswith(f"{n}.")} for n in "13"}
    held = {p: set(FreezePlan.at_depth(table, 1, batch_norm=p, prefix="")) for p in _POLICIES}
    conv = {"0.weight", "0.bias"}
    assert held["live"] == conv
    assert held["follow"] == conv | norms["1"]
    assert held["frozen"] == conv | norms["1"] | norms["3"]
    picked = FreezePlan.of_layers(
        "the second", table, table.layers[1:], batch_norm="follow", prefix=""
    )
    assert set(picked) == {"2.weight", "2.bias"} | norms["3"]
    assert (picked.label, picked.depth, picked.batch_norm) == ("the second", None, "follow")


def test_labels_say_how_a_depth_is_counted() -> None:
    table = layer_table("resnet50")
    paper = FreezePlan.at_depth(table, 9, numbering="paper")
    assert (paper.label, paper.numbering) == ("k=9 (paper)", "paper")
    assert FreezePlan.at_depth(table, 11).label == "k=11"
    assert paper.digest() == FreezePlan.at_depth(table, 11).digest()


NAMES = ("conv1.weight", "bn1.weight", "fc.weight")


def _plan(*tensors: str) -> FreezePlan:
    return FreezePlan("by hand", tuple(sorted(tensors)), "follow")


@pytest.mark.parametrize("prefix", ["", "model.", "module.model.", "_orig_mod."])
def test_a_plan_is_fitted_to_the_names_of_a_wrapper(prefix: str) -> None:
    plan = _plan("bn1.weight", "conv1.weight")
    fitted = plan.fitted_to([prefix + name for name in NAMES])
    assert fitted.tensors == (f"{prefix}bn1.weight", f"{prefix}conv1.weight")
    assert fitted.label == "by hand"


def test_a_plan_for_a_detectors_backbone_fits_the_bare_network() -> None:
    plan = _plan("backbone.body.conv1.weight")
    assert plan.fitted_to(NAMES).tensors == ("conv1.weight",)
    assert plan.fitted_to(["net.conv1.weight"]).tensors == ("net.conv1.weight",)


def test_a_plan_is_never_fitted_by_guessing() -> None:
    plan = _plan("bn1.weight", "conv1.weight")
    twice = [f"{copy}.{name}" for copy in ("student", "teacher") for name in NAMES]
    with pytest.raises(PlanError, match=r"prefixes 'student\.', 'teacher\.'"):
        plan.fitted_to(twice)
    with pytest.raises(PlanError, match=r"names 2 tensors .* first 'bn1\.weight'"):
        plan.fitted_to(["model.conv1.weight", "xbn1.weight"])
    assert _plan().fitted_to(["a"]).tensors == ()


def test_a_module_is_a_stage_too() -> None:
    assert FreezePlan.at_stage(TABLE, "layer2.0").depth == 8  # 5, two, and the projection
    assert FreezePlan.at_stage(TABLE, "layer2.0.conv1").depth == 6
    with pytest.raises(PlanError, match=r"no stage 'layer2\.9'"):
        FreezePlan.at_stage(TABLE, "layer2.9")


def _written(tmp_path: Path, **changes: Any) -> Path:
    """A plan's file with some of its values replaced; None takes one out."""
    path = tmp_path / "plan.json"
    FreezePlan.at_depth(TABLE, 6, batch_norm="follow").write(path)
    data = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not None}
    path.write_text(json.dumps(data))
    return path


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = FreezePlan.at_depth(TABLE, 6, batch_norm="follow")
    assert FreezePlan.read(_written(tmp_path)) == plan
    text = json.loads((tmp_path / "plan.json").read_text())
    assert (text["version"], text["unit"], text["depth"]) == (2, "convolution", 6)


def test_a_file_from_before_versions_is_version_one(tmp_path: Path) -> None:
    plan = FreezePlan.read(_written(tmp_path, version=None, unit=None))
    assert (plan.version, plan.unit) == (1, "convolution")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": ["backbone.body.conv1.weight"]}, "was changed: expected digest .* 1 names"),
        ({"tensors": ["b", "a"]}, "sorted"),
        ({"tensors": "all"}, "list of names"),
        ({"batch_norm": "live"}, "was changed"),
        ({"batch_norm": None}, "one of frozen, follow, live under 'batch_norm', got None"),
        ({"version": 3}, "one of 1, 2 under 'version', got 3; is it from a newer"),
        ({"depth": "all"}, "whole number or null under 'depth'"),
        ({"label": None}, "text under 'label'"),
        ({"digest": None}, "was changed: expected digest None"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError, match=message) as error:
        FreezePlan.read(_written(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_what_is_no_plan_at_all(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(PlanError, match="expected an object, got list"):
        FreezePlan.read(tmp_path / "list.json")
    with pytest.raises(PlanError, match="cannot read plan"):
        FreezePlan.read(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large"])
def test_both_versions_of_a_written_table_are_one_experiment(name: str) -> None:
    table = layer_table(name)
    for k in (0, 7, len(table)):
        first, second = (FreezePlan.at_depth(table, k, version=v) for v in (1, 2))
        assert (first.digest(), first.version, second.version) == (second.digest(), 1, 2)
