from typing import Any

import pytest
import torch
from torch import nn

from frostline.config import BackboneName, ModelConfig
from frostline.errors import AuditError, PlanError
from frostline.freezing import apply_plan, audit, fingerprint, require_passed, set_train_mode
from frostline.models import build_detector, model_layers
from frostline.plans import BatchNormPolicy, FreezePlan

POLICIES: tuple[BatchNormPolicy, ...] = ("frozen", "follow", "live")


def _model(
    policy: BatchNormPolicy, backbone: BackboneName = "mobilenet_v2"
) -> tuple[Any, ModelConfig]:
    config = ModelConfig(backbone=backbone, preset="slim", batch_norm=policy, image_size=64)
    return build_detector(config, 1), config


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
    plan = FreezePlan.at_depth(model_layers(config), k, batch_norm=policy)
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
    model = build_detector(config, 1)
    plan = FreezePlan.at_depth(model_layers(config), k, batch_norm=policy)
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
    plan = FreezePlan.at_depth(model_layers(config), 18, batch_norm="follow")
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
    plan = FreezePlan.at_depth(model_layers(config), 52, batch_norm="follow")
    apply_plan(model, plan)
    before = fingerprint(model)
    model.train()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert "backbone.body.0.1.running_mean" in audit(before, model, plan).changed


def test_backward_stops_below_the_frozen_prefix() -> None:
    model, config = _model("frozen")
    plan = FreezePlan.at_depth(model_layers(config), 52)
    frozen, trainable = apply_plan(model, plan)
    assert frozen == sum(p.numel() for p in model.backbone.body.parameters())
    assert trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    features = model.backbone.body(torch.rand(1, 3, 64, 64))
    assert not any(level.requires_grad for level in features.values())


def test_a_plan_for_another_model_is_refused() -> None:
    model, _ = _model("frozen")
    _, config = _model("frozen", "resnet18")
    plan = FreezePlan.at_depth(model_layers(config), 3)
    with pytest.raises(PlanError, match="does not have"):
        apply_plan(model, plan)


def test_a_plan_that_leaves_nothing_is_refused() -> None:
    model, _ = _model("frozen")
    plan = FreezePlan.matching(model.state_dict(), ["*"], batch_norm="frozen")
    with pytest.raises(PlanError, match="nothing is left to train"):
        apply_plan(model, plan)
