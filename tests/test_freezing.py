import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import prune

from frostline.architectures.building import build_model
from frostline.backbones import known_backbone
from frostline.config import ModelConfig
from frostline.depth import layer_table
from frostline.errors import AuditError, PlanError
from frostline.freezing import (
    FreezeAudit,
    Frozen,
    PlanLike,
    compare,
    fingerprint,
    freeze,
    plan_for,
    require_passed,
)
from frostline.plans import BatchNormPolicy, FreezePlan
from tests.autograd_lists import any_loss, three_steps

POLICIES: tuple[BatchNormPolicy, ...] = ("frozen", "follow", "live")


def _model(policy: BatchNormPolicy, backbone: str = "mobilenet_v2") -> tuple[Any, ModelConfig]:
    config = ModelConfig(backbone=backbone, preset="slim", batch_norm=policy, image_size=64)
    return build_model(config, 1), config


def _train_a_little(frozen: Frozen, steps: int = 2) -> None:
    model: Any = frozen.model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])
    targets = [{"boxes": boxes, "labels": torch.ones(1, dtype=torch.int64)}] * 2
    for _ in range(steps):
        frozen.train()
        losses = model(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("k", [0, 18, 52])
def test_audit_passes_after_training(policy: BatchNormPolicy, k: int) -> None:
    model, config = _model(policy)
    plan = FreezePlan.at_depth(known_backbone(config).table, k, batch_norm=policy)
    frozen = Frozen(model, plan)
    _train_a_little(frozen)
    result = frozen.audit()
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
    frozen = Frozen(model, plan)
    _train_a_little(frozen)
    result = frozen.audit()
    assert result.passed
    moved = set(frozen.fingerprint) - set(result.unmoved) - set(plan.tensors)
    assert any(name.startswith("roi_heads") for name in moved)
    assert any(name.startswith("backbone.fpn") for name in moved)


def test_a_planted_change_fails_the_audit() -> None:
    model, config = _model("follow")
    plan = FreezePlan.at_depth(known_backbone(config).table, 18, batch_norm="follow")
    frozen = Frozen(model, plan)
    model.get_buffer("backbone.body.0.1.running_mean").add_(1e-7)
    result = frozen.audit()
    assert result.changed == ("backbone.body.0.1.running_mean",)
    with pytest.raises(AuditError, match=r"1 changed \(backbone.body.0.1.running_mean\)"):
        require_passed(result)


def test_train_of_the_parent_would_move_frozen_statistics() -> None:
    """The trap that holding modules exists for."""
    model, config = _model("follow")
    plan = FreezePlan.at_depth(known_backbone(config).table, 52, batch_norm="follow")
    frozen = Frozen(model, plan)
    model.train()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert frozen.audit().passed
    frozen.undo()
    model.train()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert "backbone.body.0.1.running_mean" in frozen.audit().changed


def test_backward_stops_below_the_frozen_prefix() -> None:
    model, config = _model("frozen")
    plan = FreezePlan.at_depth(known_backbone(config).table, 52)
    frozen = Frozen(model, plan)
    assert frozen.frozen_parameters == sum(p.numel() for p in model.backbone.body.parameters())
    assert frozen.trainable_parameters == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    features = model.backbone.body(torch.rand(1, 3, 64, 64))
    assert not any(level.requires_grad for level in features.values())


def test_a_plan_for_another_model_is_refused() -> None:
    model, _ = _model("frozen")
    _, config = _model("frozen", "resnet18")
    plan = FreezePlan.at_depth(known_backbone(config).table, 3)
    with pytest.raises(PlanError, match="does not have"):
        Frozen(model, plan)


def test_a_plan_that_leaves_nothing_is_refused() -> None:
    model, _ = _model("frozen")
    plan = FreezePlan.matching(model.state_dict(), ["*"], batch_norm="frozen")
    with pytest.raises(PlanError, match="nothing is left to train"):
        Frozen(model, plan).require_trainable()


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
        ("running", "no stage 'running'"),
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


class _ByHand:
    """What freezing is, in plain torch: flags set by name, before each step again."""

    def __init__(self, model: nn.Module, plan: FreezePlan) -> None:
        self.model, self.names = model, set(plan.tensors)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in self.names)

    def train(self) -> None:
        self.model.train()
        for path, module in self.model.named_modules():
            if f"{path}.running_mean" in self.names:
                module.eval()


def _trained(policy: BatchNormPolicy, freezer: Any) -> tuple[dict[str, Tensor], set[str]]:
    """A detector after two steps, and its modules in train mode."""
    torch.manual_seed(0)
    model, config = _model(policy)
    frozen = freezer(
        model, FreezePlan.at_depth(known_backbone(config).table, 18, batch_norm=policy)
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 44.0]]), "labels": torch.ones(1).long()}
    for step in range(2):
        torch.manual_seed(step)
        frozen.train()
        losses = model([torch.rand(3, 64, 64)], [target])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.state_dict(), {name for name, m in model.named_modules() if m.training}


@pytest.mark.parametrize("policy", POLICIES)
def test_frozen_trains_as_plain_torch_does_to_the_bit(policy: BatchNormPolicy) -> None:
    (state, modes), (other, others) = (_trained(policy, each) for each in (Frozen, _ByHand))
    assert modes == others
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


# What people do next.


def _moved(model: nn.Module) -> set[str]:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3)) + 3
    return three_steps(model, lambda: any_loss(model(images)))


BEHIND = {"1.0.weight", "1.1.weight", "1.1.bias", "1.1.running_mean", "1.1.running_var"}
BEHIND |= {"1.1.num_batches_tracked", "2.2.weight", "2.2.bias"}


def _synced(net: Any) -> Any:
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]


def _without_root(net: Any) -> Any:
    """Another root calls the parts, so that hooks of the first root never run."""
    return nn.Sequential(*_synced(net))


def _loaded(net: Any) -> Any:
    state = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    return net


def _replaced_data(net: Any) -> Any:
    for parameter in net.parameters():
        parameter.data = parameter.data.clone()
    return net


@pytest.mark.parametrize(
    "change",
    [
        _synced,
        _without_root,
        _loaded,
        _replaced_data,
        lambda net: net.to(memory_format=torch.channels_last),
        lambda net: net.double().float(),
        lambda net: net.train().requires_grad_(False).requires_grad_(True) and net,
    ],
    ids=["sync", "no root", "assigned", "data", "channels last", "and back", "requires grad"],
)
def test_a_freeze_survives(change: Any) -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    changed = change(net)
    if any(p.requires_grad for p in frozen._parameters()):
        assert frozen.enforce() == 3
    assert _moved(changed) == BEHIND
    assert frozen.audit().passed


@pytest.mark.parametrize("whole", [True, False])
def test_a_freeze_survives_compiling(whole: bool) -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    if whole:
        compiled: Any = torch.compile(net, backend="eager", fullgraph=True)
        moved = _moved(compiled)
        assert moved == {f"_orig_mod.{name}" for name in BEHIND}
    else:
        net[0] = torch.compile(net[0], backend="eager")  # its tensors have other names now
        assert _moved(net) == BEHIND
    assert frozen.audit().passed
    assert freeze(net, ["0.0.*"]).plan.tensors[0].endswith("0.weight")


def test_a_copy_is_held_by_its_own_names() -> None:
    net = _net()
    freeze(net, 1, example_input=EXAMPLE)
    assert _moved(_synced(copy.deepcopy(net))) == BEHIND
    assert net[0][1].num_batches_tracked == 0


def test_who_sets_a_gradient_again_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    with caplog.at_level(logging.WARNING, "frostline"):
        _moved(net)
        assert not caplog.records
        net[0][1].bias.requires_grad_(True)
        assert "0.1.bias" in _moved(net)
    (record,) = caplog.records
    assert "'0.1.bias' requires a gradient again" in record.getMessage()
    assert "more)" not in record.getMessage()
    assert frozen.audit().changed == ("0.1.bias",)
    assert frozen.enforce() == 1


def test_of_several_gradients_the_first_is_named_and_the_others_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = _net()
    freeze(net, 1, example_input=EXAMPLE)
    net[0].requires_grad_(True)
    with caplog.at_level(logging.WARNING, "frostline"):
        net(EXAMPLE)
    (record,) = caplog.records
    assert "'0.0.weight' (and 2 more) requires a gradient again" in record.getMessage()


def test_flags_are_right_before_a_forward_pass() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    net.train()
    assert net[0][1].training
    frozen.train()
    assert not net[0][1].training
    assert net[1].training
    net.train()
    net[0][0].weight.requires_grad_(True)
    net[0][0].weight.grad = torch.ones_like(net[0][0].weight)
    assert frozen.enforce() == 1
    assert not net[0][1].training
    assert not net[0][0].weight.requires_grad
    assert net[0][0].weight.grad is None
    assert frozen.enforce() == 0


def test_a_module_under_another_name_is_the_same_one_and_one_that_left_is_gone() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    first = net[0][0]
    net.renamed, net[0][0] = first, nn.Identity()
    assert frozen.audit().passed
    del net.renamed
    result = frozen.audit()
    assert isinstance(result, FreezeAudit)
    assert result.gone == result.changed == ("0.0.weight",)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_traced_part_takes_hooks_and_is_frozen() -> None:
    net = _net()
    net[0] = torch.jit.trace(net[0].eval(), EXAMPLE)  # type: ignore[no-untyped-call]
    frozen = freeze(net, ["0.*"])
    _moved(net)
    assert frozen.audit().passed


def test_another_dtype_is_no_change_of_values() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    net.to(torch.bfloat16)
    result = frozen.audit()
    assert isinstance(result, FreezeAudit)
    assert result.retyped["0.0.weight"] == "float32 is bfloat16 now"
    assert len(result.retyped) == len(result.changed) == 5  # the counter is no float
    with pytest.raises(AuditError, match=r"5 have another dtype \(0.0.weight: float32 is bfloat16"):
        require_passed(result)
    frozen.remember()
    assert frozen.audit().passed


@pytest.mark.filterwarnings("ignore:.*(weight|spectral)_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        lambda conv: prune.l1_unstructured(conv, "weight", 0.5),  # type: ignore[no-untyped-call]
    ],
)
def test_what_is_computed_from_others_now_is_gone(change: Any) -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    change(net[0][0])
    result = frozen.audit()
    assert isinstance(result, FreezeAudit)
    assert result.gone == ("0.0.weight",)
    with pytest.raises(AuditError, match=r"1 are not in the model any more \(0.0.weight\)"):
        require_passed(result)


def test_a_replaced_module_does_not_pass_for_the_frozen_one() -> None:
    """A new BatchNorm has the values of one that has seen nothing, and trains."""
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    net[0][1] = nn.BatchNorm2d(4)
    assert frozen.audit().passed  # until it trains
    _moved(net)
    assert frozen.audit().changed == ("0.1.bias", "0.1.weight")


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "kind", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm], ids=["old", "new"]
)
def test_the_output_of_a_frozen_spectral_layer_stays(kind: Any) -> None:
    net = _net()
    kind(net[0][0])
    freeze(net, 1, example_input=EXAMPLE)
    images = torch.rand(2, 3, 8, 8)
    before = net.eval()[0](images).detach()
    assert _moved(net)
    assert torch.equal(net.eval()[0](images).detach(), before)


class WithMean(nn.Module):
    """A network that owns what it subtracts, and notes its mode."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.net = _net()
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.training)
        out: Tensor = self.net(x - self.mean)
        return out


def test_a_network_that_owns_a_constant_still_trains() -> None:
    model = WithMean()
    frozen = freeze(model, 1, example_input=EXAMPLE)
    assert "mean" in frozen.plan
    model.seen.clear()
    assert _moved(model) == {f"net.{name}" for name in BEHIND}
    assert model.seen == [True] * 3


class Borrowed(nn.Module):
    """Moves the statistics of a BatchNorm that it does not call, by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        norm, x = self.norm, self.conv(x)
        x = nn.functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, self.training
        )
        out: Tensor = self.last(x)
        return out


def test_what_cannot_be_held_fails_its_audit() -> None:
    model = Borrowed()
    frozen = freeze(model, 1, example_input=EXAMPLE)
    expected = {name for name in model.state_dict() if not name.startswith("last")}
    assert set(frozen.plan) == expected - {"norm.num_batches_tracked"}  # functions do not count
    live, _ = plan_for(model, 1, example_input=EXAMPLE, batch_norm="live")
    assert set(live) == {"conv.weight", "conv.bias"}
    _moved(model)
    assert frozen.audit().changed == ("norm.running_mean", "norm.running_var")


class Late(nn.Module):
    """Builds a layer in its first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "between"):
            self.between = nn.Linear(x.shape[-1], x.shape[-1])
        out: Tensor = self.last(self.between(self.first(x)))
        return out


def test_a_layer_that_the_first_pass_builds_is_in_the_plan() -> None:
    model = Late()
    frozen = freeze(model, 1, example_input=EXAMPLE)
    assert "between.weight" in frozen.plan
    assert _moved(model) == {"last.weight", "last.bias"}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_models_that_cannot_be_frozen_say_what_to_do_in_one_line() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    scripted = torch.jit.script(_net())
    cases: list[tuple[Any, PlanLike, str]] = [
        (lazy, ["0.*"], "'0.weight' and 5 more .* run one forward pass first"),
        (lazy, 1, "run one forward pass first"),
        (_net().to("meta"), ["0.*"], "have no values .* give the model its values first"),
        (_net().to("meta"), 1, "give the model its values first"),
        (scripted, ["0.*"], "compiled to TorchScript, which takes no hooks"),
    ]
    for model, plan, message in cases:
        with pytest.raises(PlanError, match=message) as error:
            freeze(model, plan, example_input=EXAMPLE)
        assert "\n" not in str(error.value)


def test_tensors_without_values_are_counted() -> None:
    net = _net()
    names = list(net.state_dict())
    with pytest.raises(PlanError, match=rf"^'{names[0]}' and {len(names) - 1} more tensors of"):
        freeze(net.to("meta"), ["0.*"])
    net = _net()
    net[0][0].to("meta")
    with pytest.raises(PlanError, match=r"^'0.0.weight' and 0 more tensors of"):
        freeze(net, ["0.*"])


def test_a_model_without_values_has_a_plan() -> None:
    plan, _ = plan_for(_net().to("meta"), 1, example_input=EXAMPLE)
    assert plan == plan_for(_net(), 1, example_input=EXAMPLE)[0]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_distributed_data_parallel_comes_after_the_freeze() -> None:
    net = _net()
    frozen = freeze(net, 1, example_input=EXAMPLE)
    wrapped = nn.parallel.DistributedDataParallel(net)
    assert _moved(wrapped) == {f"module.{name}" for name in BEHIND}
    assert frozen.audit().passed
    for model in (wrapped, nn.Sequential(wrapped)):
        with pytest.raises(PlanError, match=r"wrapped already .*: freeze the model first"):
            freeze(model, 1, example_input=EXAMPLE)


# Names, numbers and cuts.


def test_the_end_of_a_name_is_enough_where_it_is_the_only_one() -> None:
    wrapped = nn.Sequential(torchvision.models.resnet18(weights=None))
    example = torch.zeros(1, 3, 32, 32)
    assert freeze(wrapped, "layer1", example_input=example).table is not None
    assert plan_for(wrapped, "layer2.0", example_input=example)[0].depth == 8
    with pytest.raises(PlanError, match=r"'conv1' may be any of 9 modules .*0\.layer1\.0\.conv1, "):
        plan_for(wrapped, "conv1", example_input=example)
    with pytest.raises(PlanError, match=r"no stage 'layer7': expected one of 0\.conv1, 0\.layer1"):
        plan_for(wrapped, "layer7", example_input=example)


def test_all_holds_the_backbone_and_leaves_the_head() -> None:
    plan, _ = plan_for(_net(), "all", example_input=EXAMPLE)
    assert plan.depth == 2
    assert {name for name in _net().state_dict() if name not in plan} == {"2.2.weight", "2.2.bias"}


def test_a_layer_norm_between_is_inside_a_depth_and_outside_a_stage() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    depth, _ = plan_for(net, 1, example_input=EXAMPLE)
    stage, _ = plan_for(net, "0", example_input=EXAMPLE)
    assert set(depth) - set(stage) == {"1.weight", "1.bias"}
    assert (depth.version, stage.version, stage.label) == (2, 2, "0")


class Sums(nn.Module):
    """BatchNorm behind a sum and a concatenation; a convolution of a module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.added, self.joined = nn.BatchNorm2d(4), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        out: Tensor = self.last(self.joined(torch.cat([self.added(a + b), b], 1)))
        return out


def test_batch_norm_behind_sums_and_concatenations_is_held() -> None:
    model = Sums()
    frozen = freeze(model, 2, example_input=EXAMPLE)
    assert _moved(model) == {"last.weight", "last.bias"}
    assert frozen.audit().passed
    live, _ = plan_for(model, 2, example_input=EXAMPLE, batch_norm="live")
    assert {name[:2] for name in live} == {"a.", "b."}


def test_blocks_are_depths() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoder(layer, 3), nn.Linear(4, 2))
    tokens = torch.rand(2, 5, 3)
    by_number = freeze(model, 2, example_input=tokens)
    moved = three_steps(model, lambda: any_loss(model(tokens)))
    assert {name.rpartition("layers.")[2][0] for name in moved if "layers" in name} == {"2"}
    assert moved - set(by_number.plan) == moved
    assert by_number.plan.unit == "block"
    assert "0.weight" in by_number.plan
    by_name, _ = plan_for(model, "layers.1", example_input=tokens)
    assert by_name.tensors == by_number.plan.tensors
    with pytest.raises(PlanError, match="depth 4 is beyond Sequential: expected 0 to 3"):
        plan_for(model, 4, example_input=tokens)


class Centre(nn.Module):
    """Subtracts a mean that follows the data in train mode, in a buffer that is not saved."""

    mean: Tensor
    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, 1, 1), persistent=False)
        self.register_buffer("grid", torch.zeros(1, 2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean += 0.1 * (x.detach().mean((0, 2, 3)).view(-1, 1, 1) - self.mean)
        self.grid = torch.ones(1, x.shape[-1])  # a cache that fits the input
        return x - self.mean


def _centred() -> Any:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), Centre())
    return nn.Sequential(block, nn.Conv2d(4, 4, 1), Centre(), nn.Flatten(), nn.LazyLinear(2))


@pytest.mark.parametrize("plan", [1, "0", ["0.*"]], ids=str)
def test_buffers_that_are_in_no_state_dict_are_held_and_audited(plan: PlanLike) -> None:
    """That of the frozen block; the one behind it goes on."""
    model, x = _centred(), torch.rand(2, 3, 8, 8)
    model(x)
    for part in (model[0][1], model[2]):
        part.mean.zero_()
    frozen = freeze(model, plan, example_input=x)
    output = model.train()[0](x)
    any_loss(model(x)).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(model[0](x), output)
    assert model[0][1].mean.abs().max() == 0
    assert model[2].mean.abs().max() > 0
    assert frozen.audit().passed
    assert frozen.audit().frozen == 2
    model[0][1].mean += 1
    assert frozen.audit().changed == ("0.1.mean",)
    frozen.remember()
    assert frozen.audit().passed


def test_patterns_that_name_a_batch_norm_freeze_it_whatever_the_policy() -> None:
    """What is named is what is frozen; ``live`` is about the BatchNorm of a number or a stage."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    frozen = freeze(model, ["1.*"], batch_norm="live")
    assert set(frozen.plan) == {n for n in model.state_dict() if n.startswith("1.")}
    moved = three_steps(model, lambda: any_loss(model(torch.rand(2, 3, 8, 8))))
    assert moved == {n for n in model.state_dict() if not n.startswith("1.")}
