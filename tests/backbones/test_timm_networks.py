"""timm's networks against timm itself, and their tables against what a frozen prefix must mean."""

import copy
import dataclasses
import types
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from frostline.backbones import known_backbone, timm_networks
from frostline.backbones.timm_networks import build_timm_body, timm_backbone
from frostline.config import IMAGENET, ModelConfig, Normalisation
from frostline.depth import layer_table
from frostline.errors import ConfigError
from frostline.freezing import Frozen
from frostline.plans import BatchNormPolicy, FreezePlan
from tests.helpers import build_detector

# Flattened and whole extractors; BatchNorm with and without activation, layer norms, none at all.
NETWORKS = ("test_resnet", "test_efficientnet", "test_convnext", "test_byobnet", "test_nfnet")
STRIDES = (8, 16, 32)


def _images(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def _scramble(module: nn.Module, keep: frozenset[str] = frozenset(), seed: int = 7) -> None:
    """Other values in every floating-point tensor, running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point() and name not in keep:
                noise = torch.rand(tensor.shape, generator=generator) + 0.5
                tensor.mul_(noise).add_(0.01 * noise)


def _body(model: str, seed: int = 0) -> nn.Module:
    known = timm_backbone(model)
    return build_timm_body(known, [known.taps[x] for x in STRIDES], eps=None, seed=seed)


def _whole_and_body(model: str) -> tuple[Any, nn.Module]:
    """timm's whole network and our body with its weights."""
    whole = timm.create_model(model, pretrained=False).eval()
    _scramble(whole)
    body = _body(model).eval()
    state = whole.state_dict()
    body.load_state_dict({name: state[name] for name in body.state_dict()}, strict=True)
    return whole, body


@torch.no_grad()
def _expected(whole: Any, model: str) -> list[Tensor]:
    indices = [int(timm_backbone(model).taps[stride].name) for stride in STRIDES]
    maps: list[Tensor] = whole.forward_intermediates(
        _images(), indices=indices, intermediates_only=True
    )
    return maps


def _assert_equal(maps: dict[str, Tensor], expected: list[Tensor]) -> None:
    assert list(maps) == ["0", "1", "2"]
    for found, wanted in zip(maps.values(), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("model", [*NETWORKS, "tf_mobilenetv3_small_minimal_100"])
def test_names_and_maps_are_those_of_the_whole_network(model: str) -> None:
    """Also with TensorFlow's padding (the ``tf_`` models), which depends on the image's size."""
    whole, body = _whole_and_body(model)
    with torch.no_grad():
        maps = body(_images())
    _assert_equal(maps, _expected(whole, model))
    channels = [timm_backbone(model).taps[stride].channels for stride in STRIDES]
    assert [features.shape[1] for features in maps.values()] == channels


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_tables_equal_those_written_by_rule(architecture: str) -> None:
    def facts(table: Any) -> list[tuple[Any, ...]]:
        return [(x.index, x.name, x.norm, x.stage, x.role, x.shape, x.bias) for x in table.layers]

    assert facts(timm_backbone(architecture).table) == facts(layer_table(architecture))


def test_stages_and_roles_of_efficientnet() -> None:
    table = timm_backbone("tf_efficientnet_lite0").table
    assert table.stage_ends() == {
        "stem": 1, "blocks.0": 3, "blocks.1": 9, "blocks.2": 15, "blocks.4": 33, "blocks.6": 48
    }  # fmt: skip
    squeezes = [x for x in timm_backbone("test_efficientnet").table.layers if x.role == "squeeze"]
    assert squeezes
    assert all(".se." in layer.name and layer.norm is None for layer in squeezes)


def test_a_stage_may_end_without_a_convolution_of_its_own() -> None:
    """VGG's last feature map is a pooled one."""
    assert timm_backbone("vgg11").table.stage_ends()["features.20"] == 8


def test_what_is_no_convolution_goes_with_the_one_before_it() -> None:
    layers = {layer.name: layer for layer in timm_backbone("test_convnext").table.layers}
    block = "stages.0.blocks.0"
    tensors = layers[f"{block}.conv_dw"].tensors
    assert tensors is not None
    assert {f"{block}.{name}" for name in ("gamma", "norm.weight", "mlp.fc2.bias")} <= set(tensors)
    assert not any(name.startswith("stages.0.blocks.1") for name in tensors)


@pytest.mark.parametrize("policy", ["frozen", "follow", "live"])
@pytest.mark.parametrize("model", NETWORKS)
def test_the_deepest_plan_freezes_the_whole_body(model: str, policy: BatchNormPolicy) -> None:
    config = ModelConfig(backbone=f"timm:{model}", preset="slim", batch_norm=policy, image_size=64)
    state = build_detector(config, 1).state_dict()
    table = known_backbone(config).table
    plan = FreezePlan.at_depth(table, len(table), batch_norm=policy)
    norms = {f"backbone.body.{n}" for x in table.layers for n in x.norm_tensors or ()}
    body = {name for name in state if name.startswith("backbone.body.")}
    assert set(plan.tensors) == (body - norms if policy == "live" else body)


@pytest.mark.parametrize("model", NETWORKS)
def test_a_frozen_prefix_keeps_the_function_of_the_pretrained_network(model: str) -> None:
    """In train mode, whatever happens to all the other tensors, BatchNorm statistics included."""
    whole, body = _whole_and_body(model)
    expected = _expected(whole, model)
    table = timm_backbone(model).table
    ends = list(table.stage_ends().values())
    for level, k in enumerate(ends[-3:]):
        plan = FreezePlan.at_depth(table, k, batch_norm="follow", prefix="")
        frozen = Frozen(body, plan)
        _scramble(body, frozenset(plan.tensors), seed=k)
        frozen.train()
        with torch.no_grad():
            maps = list(body(_images()).values())
        assert torch.equal(maps[level], expected[level])
        if level < 2:
            assert not torch.equal(maps[level + 1], expected[level + 1])
        frozen.undo()
        body.load_state_dict({n: whole.state_dict()[n] for n in body.state_dict()})


def test_the_seed_decides_and_the_global_generator_does_not_move() -> None:
    def body(seed: int) -> dict[str, Tensor]:
        return _body("test_resnet", seed).state_dict()

    state = torch.get_rng_state()
    first, again, other = body(0), body(0), body(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "legacy_xception"])
def test_a_copy_and_a_conversion_take_all_of_the_body_along(model: str) -> None:
    """The extractor is no submodule, and must not keep tensors of its own behind."""
    body = _body(model).eval()
    twin = copy.deepcopy(body)
    with torch.no_grad():
        expected = body(_images())
        for parameter in body.parameters():
            parameter.zero_()
        assert all(torch.equal(twin(_images())[name], expected[name]) for name in expected)
        assert twin.double()(_images().double())["2"].dtype == torch.float64


def test_heads_do_not_depend_on_the_backbones_library() -> None:
    def head(backbone: str) -> dict[str, Tensor]:
        state = build_detector(ModelConfig(backbone=backbone, preset="stock"), 2).state_dict()
        return {name: tensor for name, tensor in state.items() if ".body." not in name}

    ours, theirs = head("resnet18"), head("timm:resnet18")
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_eps_and_normalisation() -> None:
    lite = ModelConfig(backbone="timm:tf_efficientnet_lite0", preset="slim")
    assert known_backbone(lite).eps == 1e-3
    assert known_backbone(lite).pixels == Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert known_backbone(ModelConfig(backbone="timm:test_convnext")).eps is None
    assert known_backbone(ModelConfig()).pixels == IMAGENET
    model = build_detector(lite.model_copy(update={"norm_eps": 0.01}), 1)
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}
    assert model.transform.image_mean == model.transform.image_std == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("test_vit", "has feature maps of strides 16: expected a convolutional network"),
        ("swin_tiny_patch4_window7_224", "does not run on images of 320x256 px"),
        ("test_mambaout", "where channels come second"),
        ("hieradet_small", "names in its weight files are not known"),
        ("resnet8", "has no model 'resnet8'; did you mean resnet"),
    ],
)
def test_networks_without_a_depth(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_detector(ModelConfig(backbone=f"timm:{model}"), 1)
    assert "\n" not in str(caught.value)


class _StemOnly(nn.Module):
    """A network of timm's kind that has one convolution and goes on without any."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, stride=8)
        self.stage1, self.stage2 = nn.AvgPool2d(2), nn.AvgPool2d(2)
        rows = [(8, "stem"), (16, "stage1"), (32, "stage2")]
        info = [{"reduction": stride, "num_chs": 4, "module": name} for stride, name in rows]
        self.feature_info = types.SimpleNamespace(info=info)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in (self.stage1, self.stage2):
            maps.append(stage(maps[-1]))
        return maps


def test_a_network_with_no_convolution_behind_its_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.backbones.timm_networks._create", lambda *_, **__: _StemOnly())
    with pytest.raises(ConfigError, match="no convolution behind its stem"):
        timm_backbone("test_vit2")


def test_stock_needs_stride_4(monkeypatch: pytest.MonkeyPatch) -> None:
    known = timm_backbone("test_resnet")
    taps = {stride: known.taps[stride] for stride in STRIDES}
    monkeypatch.setattr(
        timm_networks, "timm_backbone", lambda _: dataclasses.replace(known, taps=taps)
    )
    with pytest.raises(ConfigError, match="use preset: slim"):
        build_detector(ModelConfig(backbone="timm:test_resnet", preset="stock"), 1)
    build_detector(ModelConfig(backbone="timm:test_resnet", preset="slim"), 1)


@pytest.mark.parametrize("preset", ["slim", "stock"])
def test_a_detector_detects_and_learns(preset: str) -> None:
    config = ModelConfig(backbone="timm:test_efficientnet", preset=preset, image_size=64)
    model = build_detector(config, 1)
    image = torch.rand(3, 64, 64)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    sum(model.train()([image], [target]).values()).backward()
    assert model.backbone.body.conv_stem.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert set(model.eval()([image])[0]) == {"boxes", "labels", "scores"}
