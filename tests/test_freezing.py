import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from frostline.architectures.building import build_model
from frostline.backbones import known_backbone
from frostline.config import ModelConfig
from frostline.depth import layer_table
from frostline.errors import AuditError, PlanError
from frostline.freezing import (
    Frozen,
    PlanLike,
    apply_plan,
    audit,
    compare,
    fingerprint,
    freeze,
    plan_for,
    require_passed,
    set_train_mode,
)
from frostline.plans import BatchNormPolicy, FreezePlan

POLICIES: tuple[BatchNormPolicy, ...] = ("frozen", "follow", "live")


def _model(policy: BatchNormPolicy, backbone: str = "mobilenet_v2") -> tuple[Any, ModelConfig]:
    config = ModelConfig(backbone=backbone, preset="slim", batch_norm=policy, image_size=64)
    return build_model(config, 1), config


def _train_a_little(model: nn.Module, plan: FreezePlan, steps: int = 2) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])
    targets = [{"boxes": boxes, "labels": torch.ones(1, dtype=torch.int64)}] * 2
    for _ in range(steps):
        set_train_mode(model, plan)
        losses = model(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("k", [0, 18, 52])
def test_audit_passes_after_training(policy: BatchNormPolicy, k: int) -> None:
    model, config = _model(policy)
    plan = FreezePlan.at_depth(known_backbone(config).table, k, batch_norm=policy)
    apply_plan(model, plan)
    before = fingerprint(model)
    _train_a_little(model, plan)
    result = audit(before, model, plan)
    assert result.passed
    assert result.frozen == len(plan.tensors)
    assert not [name for name in result.unmoved if "running" in name]
    require_passed(result)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("k", [0, 10, 11, 24, 53])
def test_resnet50_stock_trains_and_passes_the_audit(policy: BatchNormPolicy, k: int) -> None:
    config = ModelConfig(backbone="resnet50", preset="stock", batch_norm=policy, image_size=64)
    model = build_model(config, 1)
    plan = FreezePlan.at_depth(known_backbone(config).table, k, batch_norm=policy)
    apply_plan(model, plan)
    before = fingerprint(model)
    _train_a_little(model, plan)
    result = audit(before, model, plan)
    assert result.passed
    moved = set(before) - set(result.unmoved) - set(plan.tensors)
    assert any(name.startswith("roi_heads") for name in moved)
    assert any(name.startswith("backbone.fpn") for name in moved)


def test_a_planted_change_fails_the_audit() -> None:
    model, config = _model("follow")
    plan = FreezePlan.at_depth(known_backbone(config).table, 18, batch_norm="follow")
    apply_plan(model, plan)
    before = fingerprint(model)
    model.get_buffer("backbone.body.0.1.running_mean").add_(1e-7)
    result = audit(before, model, plan)
    assert result.changed == ("backbone.body.0.1.running_mean",)
    with pytest.raises(AuditError, match=r"1 changed \(backbone.body.0.1.running_mean\)"):
        require_passed(result)


def test_train_of_the_parent_would_move_frozen_statistics() -> None:
    """The trap that ``set_train_mode`` exists for."""
    model, config = _model("follow")
    plan = FreezePlan.at_depth(known_backbone(config).table, 52, batch_norm="follow")
    apply_plan(model, plan)
    before = fingerprint(model)
    model.train()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert "backbone.body.0.1.running_mean" in audit(before, model, plan).changed


def test_backward_stops_below_the_frozen_prefix() -> None:
    model, config = _model("frozen")
    plan = FreezePlan.at_depth(known_backbone(config).table, 52)
    frozen, trainable = apply_plan(model, plan)
    assert frozen == sum(p.numel() for p in model.backbone.body.parameters())
    assert trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    features = model.backbone.body(torch.rand(1, 3, 64, 64))
    assert not any(level.requires_grad for level in features.values())


def test_a_plan_for_another_model_is_refused() -> None:
    model, _ = _model("frozen")
    _, config = _model("frozen", "resnet18")
    plan = FreezePlan.at_depth(known_backbone(config).table, 3)
    with pytest.raises(PlanError, match="does not have"):
        apply_plan(model, plan)


def test_a_plan_that_leaves_nothing_is_refused() -> None:
    model, _ = _model("frozen")
    plan = FreezePlan.matching(model.state_dict(), ["*"], batch_norm="frozen")
    with pytest.raises(PlanError, match="nothing is left to train"):
        apply_plan(model, plan)


def _net() -> Any:
    """Two convolutions with their BatchNorm, and a head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )


EXAMPLE = torch.zeros(1, 3, 8, 8)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    optimizer.zero_grad()
    model(torch.randn(4, 3, 8, 8) + 3).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("plan", [1, "0", ["0.*"]])
def test_freeze_holds_against_train_and_weight_decay(plan: PlanLike) -> None:
    net = _net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.5)
    _step(net, optimizer)  # momentum and gradients from before the freeze
    frozen = freeze(net, plan, example_input=EXAMPLE)
    for _ in range(2):
        _step(net, optimizer)
    result = frozen.audit()
    assert result.passed
    assert result.frozen == 6
    assert not result.unmoved
    assert frozen.frozen_parameters == 4 * 27 + 8
    assert frozen.trainable_parameters == 4 * 36 + 8 + 10


def test_batch_norm_policies_of_a_depth() -> None:
    counts = {"follow": 6, "live": 1, "frozen": 11}
    for policy in POLICIES:
        plan, table = plan_for(_net(), 1, example_input=EXAMPLE, batch_norm=policy)
        assert len(plan.tensors) == counts[policy]
        assert table is not None
        assert table.max_depth() == 2


def test_undo_lets_everything_train_as_before() -> None:
    net = _net()
    net[1][0].weight.requires_grad_(False)
    net[0][1].eval()
    frozen = freeze(net, 2, example_input=EXAMPLE)
    frozen.undo()
    frozen.undo()
    assert [p.requires_grad for p in net.parameters()] == [True] * 3 + [False] + [True] * 4
    assert not net[0][1].training
    assert net[1][1].training
    _step(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert "0.1.running_mean" in frozen.audit().changed
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_enforce_and_remember() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    net[0][0].weight.requires_grad_(True)
    net[0][0].weight.grad = torch.ones_like(net[0][0].weight)
    assert frozen.enforce() == 1
    assert net[0][0].weight.grad is None
    net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()})
    assert len(frozen.audit().changed) == 6
    frozen.remember()
    assert frozen.audit().passed


def test_copies_are_frozen_too_and_can_be_saved(tmp_path: Path) -> None:
    net = _net()
    freeze(net, 1, example_input=EXAMPLE)
    torch.save(net, tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    for other in (copy.deepcopy(net), loaded):
        before = fingerprint(other)
        other.train()(torch.rand(2, 3, 8, 8))
        assert before["0.1.running_mean"] == fingerprint(other)["0.1.running_mean"]
        assert before["1.1.running_mean"] != fingerprint(other)["1.1.running_mean"]


def test_spectral_norm_and_tied_weights_hold() -> None:
    first, tied = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    tied.weight = first.weight
    spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1))
    net = nn.Sequential(spectral, first, tied, nn.Conv2d(3, 1, 1))
    frozen = freeze(net, ["0.*", "2.weight"])
    assert not first.weight.requires_grad
    _step(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert frozen.audit().passed
    assert frozen.audit().unmoved == ("1.weight",)  # the same tensor, outside the plan by this name


def test_plans_of_other_names_are_fitted() -> None:
    net = torchvision.models.resnet18(weights=None)
    plan = FreezePlan.at_depth(layer_table("resnet18"), 5, batch_norm="follow")
    frozen = freeze(nn.ModuleDict({"net": net}), plan)
    assert frozen.plan.tensors[0] == "net.bn1.bias"
    assert frozen.plan.label == "k=5"
    assert freeze(net, 5, example_input=torch.zeros(1, 3, 32, 32)).plan.tensors == tuple(
        name.removeprefix("net.") for name in frozen.plan.tensors
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (3, "expected 0 to 2 .* frostline.layers"),
        ("layer9", "no stage 'layer9': expected one of 0, 1"),
        ("0.*", "patterns are a list"),
        (["nothing.*"], "matches none of 14"),
        (FreezePlan.at_depth(layer_table("resnet18"), 1), "names 81 tensors that the model"),
    ],
)
def test_plans_that_do_not_fit_are_one_line(plan: PlanLike, message: str) -> None:
    with pytest.raises(PlanError, match=message) as error:
        freeze(_net(), plan, example_input=EXAMPLE)
    assert "\n" not in str(error.value)


def test_frozen_shows_itself() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    data = json.loads(json.dumps(frozen.to_dict()))
    assert data["plan"]["tensors"] == list(frozen.plan)
    assert data["table"]["stages"] == {"0": 1, "1": 2}
    assert "116 of 278" in frozen._repr_html_()
    assert "116 of 278" in repr(frozen)
    assert "freeze audit: passed" in frozen.audit()._repr_html_()
    assert frozen.audit().to_dict()["passed"] is True


def _trained(policy: BatchNormPolicy, *, public: bool) -> tuple[dict[str, Tensor], Any]:
    """A detector after two steps, frozen by ``Frozen`` or by the functions beside it."""
    torch.manual_seed(0)
    model, config = _model(policy)
    plan = FreezePlan.at_depth(known_backbone(config).table, 18, batch_norm=policy)
    if public:
        frozen = Frozen(model, plan).require_trainable()
        counts, before = (frozen.frozen_parameters, frozen.trainable_parameters), frozen.fingerprint
    else:
        counts, before = apply_plan(model, plan), fingerprint(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 44.0]]), "labels": torch.ones(1).long()}
    for step in range(2):
        torch.manual_seed(step)
        frozen.train() if public else set_train_mode(model, plan)
        losses = model([torch.rand(3, 64, 64)], [target])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    result = frozen.audit() if public else audit(before, model, plan)
    modes = {name for name, module in model.named_modules() if module.training}
    return model.state_dict(), (counts, before, result, modes)


@pytest.mark.parametrize("policy", POLICIES)
def test_frozen_trains_as_the_functions_do_to_the_bit(policy: BatchNormPolicy) -> None:
    (state, facts), (other, others) = (_trained(policy, public=public) for public in (True, False))
    assert facts == others
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_frozen_refuses_a_plan_for_another_model_and_one_that_leaves_nothing() -> None:
    net = _net()
    with pytest.raises(PlanError, match="names 81 tensors that the model does not have"):
        Frozen(net, FreezePlan.at_depth(layer_table("resnet18"), 1))
    everything = FreezePlan.matching(net.state_dict(), ["*"], batch_norm="follow")
    with pytest.raises(PlanError, match="freezes every parameter of Sequential: nothing is left"):
        Frozen(net, everything).require_trainable()
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_an_audit_of_digests_by_hand() -> None:
    plan = FreezePlan("by hand", ("a", "b", "gone"), "follow")
    before = {"a": "1", "b": "2", "gone": "3", "c": "4", "d": "5"}
    result = compare(before, {"a": "1", "b": "0", "c": "4", "d": "6"}, plan)
    assert (result.frozen, result.changed, result.unmoved) == (3, ("b", "gone"), ("c",))
