"""The detector against torchvision's own builder, through torchvision's weights path."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights, get_model
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, fasterrcnn_resnet50_fpn
from torchvision.ops import FrozenBatchNorm2d

from frostline.architectures.faster_rcnn_network import anchor_sizes
from frostline.backbones import known_backbone
from frostline.config import IMAGENET, ModelConfig
from frostline.depth import BACKBONES
from frostline.errors import FrostlineError
from tests.helpers import build_detector

STOCK = ModelConfig(backbone="resnet50", preset="stock", image_size=128, max_detections=100)


def _seeded(shapes: dict[str, Tensor]) -> "OrderedDict[str, Tensor]":
    """Random tensors of the same shapes, scaled so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    values: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in shapes.items():
        if not tensor.is_floating_point():
            continue
        fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 100
        value = torch.randn(tensor.shape, generator=generator) * (2 / fan_in) ** 0.5
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value = value.abs() + 0.5
        values[name] = value
    return values


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """torchvision's weights enums give seeded tensors instead of a download."""
    given: dict[str, Any] = {}

    def get_state_dict(self: Any, *_: object, **__: object) -> "OrderedDict[str, Tensor]":
        return OrderedDict(given[str(self)])

    monkeypatch.setattr(type(ResNet50_Weights.IMAGENET1K_V1), "get_state_dict", get_state_dict)
    monkeypatch.setattr(
        type(FasterRCNN_ResNet50_FPN_Weights.COCO_V1), "get_state_dict", get_state_dict
    )
    return given


def _images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 128, width, generator=generator) for width in (96, 128)]


def _assert_same_outputs(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    with torch.no_grad():
        a, b = ours.eval()(_images()), theirs.eval()(_images())
    assert sum(len(output["boxes"]) for output in b) > 0
    for mine, reference in zip(a, b, strict=True):
        for key in ("boxes", "scores", "labels"):
            assert torch.equal(mine[key], reference[key])


def test_coco_weights_give_torchvisions_keys_and_outputs(patched: dict[str, Any]) -> None:
    ours = build_detector(STOCK.model_copy(update={"norm_eps": 0.0}), 90)
    weights = _seeded(ours.state_dict())
    patched[str(FasterRCNN_ResNet50_FPN_Weights.COCO_V1)] = weights
    theirs = fasterrcnn_resnet50_fpn(
        weights=FasterRCNN_ResNet50_FPN_Weights.COCO_V1, min_size=128, max_size=128
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(weights, strict=True)
    eps = {m.eps for m in theirs.modules() if isinstance(m, FrozenBatchNorm2d)}
    assert eps == {0.0}  # torchvision overwrites it for COCO_V1
    assert {m.eps for m in ours.modules() if isinstance(m, FrozenBatchNorm2d)} == {0.0}
    _assert_same_outputs(ours, theirs)


def test_imagenet_backbone_gives_torchvisions_keys_and_outputs(patched: dict[str, Any]) -> None:
    ours = build_detector(STOCK, 90)
    weights = _seeded(ours.state_dict())
    body = {
        name.removeprefix("backbone.body."): tensor
        for name, tensor in weights.items()
        if name.startswith("backbone.body.")
    }
    classifier = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    patched[str(ResNet50_Weights.IMAGENET1K_V1)] = OrderedDict(body | classifier)
    theirs = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=ResNet50_Weights.IMAGENET1K_V1,
        min_size=128,
        max_size=128,
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert {m.eps for m in theirs.modules() if isinstance(m, FrozenBatchNorm2d)} == {1e-5}
    theirs.load_state_dict({n: t for n, t in weights.items() if ".body." not in n}, strict=False)
    ours.load_state_dict(weights, strict=True)
    _assert_same_outputs(ours, theirs)


def test_mobilenet_v3_stock_has_torchvisions_keys() -> None:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

    theirs = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=4)
    config = ModelConfig(backbone="mobilenet_v3_large", batch_norm="live")
    ours = build_detector(config, 3)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    assert known_backbone(config).eps == 1e-3


def test_heads_are_the_same_for_every_policy_and_differ_by_seed() -> None:
    def head(policy: str, seed: int) -> Tensor:
        config = ModelConfig(backbone="resnet18", preset="slim", batch_norm=policy)
        state = build_detector(config, 2, seed=seed).state_dict()
        return torch.cat([state[n].flatten() for n in sorted(state) if "body" not in n])

    assert torch.equal(head("frozen", 0), head("live", 0))
    assert not torch.equal(head("frozen", 0), head("frozen", 1))


def test_folding_changes_no_name_and_no_output() -> None:
    config = ModelConfig(backbone="mobilenet_v2", preset="slim", width_mult=0.35, image_size=64)
    folded = build_detector(config, 1).backbone.body
    plain = build_detector(config.model_copy(update={"batch_norm": "live"}), 1).backbone.body
    state = _seeded(folded.state_dict())
    folded.load_state_dict(state)
    plain.load_state_dict(state, strict=False)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    expected, got = plain.double().eval()(x.double()), folded.double().eval()(x.double())
    for level, value in expected.items():
        torch.testing.assert_close(got[level], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_folded_resnet_trains_as_torchvisions_own_does(backbone: str) -> None:
    """In train mode, outputs and the gradient of every convolution, with statistics of a training.

    The reference is torchvision's builder with its FrozenBatchNorm2d, of which nothing is folded.
    """
    config = ModelConfig(backbone=backbone, preset="slim", image_size=64)
    folded = build_detector(config, 1).backbone.body
    plain = get_model(backbone, weights=None, norm_layer=FrozenBatchNorm2d)
    state = _seeded(folded.state_dict())
    folded.load_state_dict(state)
    left = plain.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)).double()
    theirs = _stages_of_resnet(plain.double().train(), x)
    ours = folded.double().train()(x)
    assert len(ours) >= 3
    for level, value in ours.items():
        torch.testing.assert_close(value, theirs[-len(ours) :][int(level)], rtol=1e-9, atol=1e-12)
    sum(value.square().mean() for value in ours.values()).backward()
    sum(value.square().mean() for value in theirs[-len(ours) :]).backward()  # type: ignore[union-attr]
    reference = dict(plain.named_parameters())
    names = [name for name, parameter in folded.named_parameters() if parameter.requires_grad]
    assert len(names) == {"resnet18": 20, "resnet50": 53}[backbone]
    for name in names:
        gradient, expected = folded.get_parameter(name).grad, reference[name].grad
        assert expected is not None, name
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)
    assert all(torch.equal(value, state[n].double()) for n, value in folded.named_buffers())


def _stages_of_resnet(resnet: Any, x: Tensor) -> list[Tensor]:
    x, found = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x)))), []
    for stage in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
        x = stage(x)
        found.append(x)
    return found


def test_bfloat16_heads_give_float32() -> None:
    model = build_detector(ModelConfig(backbone="resnet18", preset="slim", image_size=64), 1)
    seen: list[torch.dtype] = []
    for module in (model.rpn.head, model.roi_heads.box_predictor):
        module.register_forward_hook(lambda _m, _i, out: seen.extend(t.dtype for t in _flat(out)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.eval()([torch.rand(3, 64, 64)])
    assert seen
    assert set(seen) == {torch.float32}


def _flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for item in value for t in _flat(item)]


def test_anchor_levels_fit_the_pyramid() -> None:
    for backbone, preset, levels in [
        ("resnet50", "stock", 5),
        ("resnet18", "slim", 4),
        ("mobilenet_v2", "slim", 4),
        ("mobilenet_v2", "stock", 4),
        ("mobilenet_v3_large", "stock", 3),
    ]:
        config = ModelConfig(backbone=backbone, preset=preset)
        assert len(anchor_sizes(config)) == levels


def test_no_classes_is_an_error() -> None:
    with pytest.raises(FrostlineError, match="at least one object class"):
        build_detector(ModelConfig(backbone="resnet18"), 0)


@pytest.mark.parametrize("side", [96, 100, 128])
def test_images_are_not_resized_in_training_nor_in_evaluation(side: int) -> None:
    """A study at 100 px has a canvas of 128: objects must be as large as those it trained on."""
    model = build_detector(ModelConfig(backbone="resnet18", preset="slim", image_size=side), 1)
    image = torch.rand(3, 128, 96)
    for training in (True, False):
        batch, _ = model.train(training).transform([image])
        assert batch.tensors.shape == (1, 3, 128, 96)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
        assert torch.equal(batch.tensors[0], (image - mean) / std)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_frozen_norm_is_folded_into_the_convolution_before_it(backbone: str) -> None:
    """The pairs come from the layer table; these are torchvision's names for them."""
    config = ModelConfig(backbone=backbone, preset="slim")
    body = build_detector(config, 1).get_submodule("backbone.body")
    named = dict(body.named_modules())
    pairs = {
        norm: name
        for name, module in named.items()
        for norm, other in named.items()
        if module.__dict__.get("folded_norm") is other
    }
    norms = [name for name, module in named.items() if isinstance(module, FrozenBatchNorm2d)]
    assert sorted(pairs) == sorted(norms)
    for norm, conv in pairs.items():
        if "downsample" in norm or backbone.startswith("mobilenet"):
            place, _, number = norm.rpartition(".")
            assert conv == f"{place}.{int(number) - 1}"
        else:
            assert conv == norm.replace("bn", "conv")
