"""One constructor for every arm of a comparison: torchvision's Faster R-CNN with FPN.

The network under the FPN is one of torchvision's or of timm's.

torchvision's own builders change the normalisation layer, its eps and what is trainable with the
weights they are given. Here none of that depends on where the weights come from, and every new
tensor is drawn from a generator seeded by its name, so all arms share the same random head.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large, resnet
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from frostline.config import IMAGENET, ModelConfig, Normalisation
from frostline.depth import TIMM_PREFIX, LayerTable, layer_table, published_eps
from frostline.errors import ConfigError, FrostlineError
from frostline.plans import BACKBONE_PREFIX
from frostline.seeds import derived_seed
from frostline.timm_backbones import TimmBackbone, build_timm_body, timm_backbone

__all__ = [
    "anchor_sizes",
    "build_detector",
    "load_tensors",
    "model_layers",
    "norm_eps",
    "normalisation",
    "set_normalisation",
]

_SLIM_CHANNELS = 128
_SLIM_ANCHORS = ((16, 23), (32, 45), (64, 91), (128, 181))
_STOCK_ANCHORS = ((32,), (64,), (128,), (256,), (512,))
_MOBILE_STOCK_ANCHORS = (32, 64, 128, 256, 512)
_RATIOS = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Taps:
    """Where the FPN is attached: module names of the body and their channel counts."""

    names: tuple[str, ...]
    channels: tuple[int, ...]


def build_detector(config: ModelConfig, num_classes: int, *, seed: int = 0) -> FasterRCNN:
    """Build the detector; all weights are random, seeded per tensor name.

    Input of the model: a list of float32 (3, H, W) RGB images in [0, 1], already on the study's
    canvas: the model normalises but does not resize. State-dict names are torchvision's; those of
    a timm backbone are timm's, and its random tensors are drawn together, as timm draws them.

    Args:
        config: backbone, preset, BatchNorm policy and sizes.
        num_classes: number of object classes, without background, >= 1.
        seed: seed of the random tensors.

    Raises:
        ConfigError: timm does not have the backbone, or not with the feature maps it must have.
        DependencyError: timm is not installed.
        FrostlineError: no classes.
    """
    if num_classes < 1:
        raise FrostlineError("expected at least one object class, got none")
    timm = _timm(config)
    body, taps = _body(config) if timm is None else _timm_body(config, timm, seed)
    join = _with_fpn if timm is None else _with_own_fpn
    model = FasterRCNN(join(body, taps, config), **_head_arguments(config, taps, num_classes))
    if config.preset == "slim" and timm is None:
        _fold_frozen_norms(body)
        _speed_up_pointwise(model)
    model.transform.__class__ = _OnCanvas
    set_normalisation(model, normalisation(config))
    _keep_outputs_float32(model)
    _initialise(model, seed, given="" if timm is None else BACKBONE_PREFIX)
    return model


def model_layers(config: ModelConfig) -> LayerTable:
    """The backbone's convolutions in forward order, for the configured width.

    Raises:
        ConfigError: timm does not have the backbone, or not with the feature maps it must have.
        DependencyError: timm is not installed.
    """
    timm = _timm(config)
    if timm is not None:
        return timm.table
    return layer_table(config.backbone, width_mult=config.width_mult)


def normalisation(config: ModelConfig) -> Normalisation:
    """What pixels are normalised with unless the weights want something else."""
    timm = _timm(config)
    return IMAGENET if timm is None else timm.normalisation


def set_normalisation(model: nn.Module, values: Normalisation) -> None:
    """Let a detector of ours normalise its images with other values."""
    transform: Any = model.get_submodule("transform")
    transform.image_mean, transform.image_std = list(values.mean), list(values.std)


def norm_eps(config: ModelConfig) -> float | None:
    """Eps of every BatchNorm of the model: as configured, or the backbone's published value.

    None where a backbone of timm has no BatchNorm, or several values.
    """
    if config.norm_eps is not None:
        return config.norm_eps
    timm = _timm(config)
    return published_eps(config.backbone) if timm is None else timm.eps


def anchor_sizes(config: ModelConfig) -> tuple[tuple[int, ...], ...]:
    """Anchor side lengths in px of the canvas, per pyramid level."""
    if config.preset == "slim":
        return _SLIM_ANCHORS
    if config.backbone.startswith("mobilenet"):
        return (_MOBILE_STOCK_ANCHORS,) * (len(_mobile_taps(config)) + 1)
    return _STOCK_ANCHORS


def _timm(config: ModelConfig) -> TimmBackbone | None:
    """What is known of the backbone if it is one of timm's."""
    if not config.backbone.startswith(TIMM_PREFIX):
        return None
    return timm_backbone(config.backbone.removeprefix(TIMM_PREFIX))


def _timm_body(config: ModelConfig, timm: TimmBackbone, seed: int) -> tuple[nn.Module, _Taps]:
    strides = (8, 16, 32) if config.preset == "slim" else (4, 8, 16, 32)
    if strides[0] not in timm.taps:
        raise ConfigError(
            f"preset stock expects a feature map of stride 4, backbone {config.backbone} has "
            f"strides {', '.join(map(str, sorted(timm.taps)))}; use preset: slim"
        )
    body = build_timm_body(timm, strides, eps=config.norm_eps, seed=derived_seed(seed, timm.model))
    names = tuple(str(level) for level in range(len(strides)))
    return body, _Taps(names, tuple(timm.taps[stride].channels for stride in strides))


def _norm_layer(config: ModelConfig) -> Callable[..., nn.Module]:
    frozen = config.batch_norm == "frozen"
    kind: Callable[..., nn.Module] = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
    return functools.partial(kind, eps=norm_eps(config))


def _body(config: ModelConfig) -> tuple[nn.Module, _Taps]:
    norm = _norm_layer(config)
    if config.backbone == "mobilenet_v2":
        body = mobilenet_v2(width_mult=config.width_mult, norm_layer=norm).features
    elif config.backbone == "mobilenet_v3_large":
        body = mobilenet_v3_large(norm_layer=norm).features
    else:
        net = getattr(resnet, config.backbone)(norm_layer=norm)
        stages = (2, 3, 4) if config.preset == "slim" else (1, 2, 3, 4)
        width = net.inplanes // 8
        channels = tuple(width * 2 ** (stage - 1) for stage in stages)
        return net, _Taps(tuple(f"layer{stage}" for stage in stages), channels)
    names = _mobile_taps(config)
    return body, _Taps(names, tuple(_out_channels(body[int(name)]) for name in names))


def _mobile_taps(config: ModelConfig) -> tuple[str, ...]:
    """Strides 8, 16, 32; torchvision's stock MobileNetV3 detector taps its last two stages."""
    if config.backbone == "mobilenet_v2":
        return ("6", "13", "18")
    return ("6", "12", "16") if config.preset == "slim" else ("13", "16")


def _out_channels(block: nn.Module) -> int:
    return int([m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels)


def _with_fpn(body: nn.Module, taps: _Taps, config: ModelConfig) -> BackboneWithFPN:
    return BackboneWithFPN(
        body,
        return_layers={name: str(level) for level, name in enumerate(taps.names)},
        in_channels_list=list(taps.channels),
        out_channels=_fpn_channels(config),
    )


class _BodyWithFPN(nn.Module):
    """What torchvision's ``BackboneWithFPN`` is, for a body that gives its feature maps itself."""

    def __init__(self, body: nn.Module, taps: _Taps, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            list(taps.channels), out_channels, extra_blocks=LastLevelMaxPool()
        )
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels: dict[str, Tensor] = self.fpn(self.body(images))
        return levels


def _with_own_fpn(body: nn.Module, taps: _Taps, config: ModelConfig) -> nn.Module:
    return _BodyWithFPN(body, taps, _fpn_channels(config))


def _fpn_channels(config: ModelConfig) -> int:
    return _SLIM_CHANNELS if config.preset == "slim" else 256


def _head_arguments(config: ModelConfig, taps: _Taps, num_classes: int) -> dict[str, Any]:
    sizes = anchor_sizes(config)
    arguments: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(sizes, (_RATIOS,) * len(sizes)),
        "box_detections_per_img": config.max_detections,
    }
    if config.preset == "stock":
        if config.backbone == "mobilenet_v3_large":
            arguments["rpn_score_thresh"] = 0.05  # as torchvision's builder
        return arguments | {"num_classes": num_classes + 1}
    levels = [str(level) for level in range(len(taps.names))]
    return arguments | {
        "box_roi_pool": MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=1),
        "box_head": TwoMLPHead(_SLIM_CHANNELS * 7 * 7, 256),
        "box_predictor": FastRCNNPredictor(256, num_classes + 1),
        "box_batch_size_per_image": 64,
        "rpn_batch_size_per_image": 128,
        "rpn_pre_nms_top_n_train": 400,
        "rpn_post_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 500,
        "rpn_post_nms_top_n_test": 300,
    }


class _OnCanvas(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalises only: images are on the canvas already.

    torchvision's own switch for it, ``_skip_resize``, holds in training alone. In evaluation a
    canvas of 512 px (for images of 500) would be shrunk to 500: smaller objects than were trained.
    """

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class _FoldedConv(nn.Conv2d):
    """A convolution that applies the fixed normalisation after it through its own weight.

    gamma / sqrt(var + eps) * W gives the same function in one pass over the activations instead of
    three, 8 to 10 % of a training step on a CPU. The tensors and their names stay as they were.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Conv2d's name for it)
        norm: FrozenBatchNorm2d = self.__dict__["folded_norm"]
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.weight * scale.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * scale
        return _convolve(self, input, weight, bias)


class _PointwiseConv(nn.Conv2d):
    """A 1x1 convolution that is fast with one thread, too."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Conv2d's name for it)
        return _convolve(self, input, self.weight, self.bias)


def _convolve(conv: nn.Conv2d, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``conv`` computes, with another weight; 1x1 kernels on a CPU always through oneDNN.

    With one thread torch keeps them from oneDNN unless they are dilated, which costs 11 to 19 % of
    a training step; to a kernel with a single tap dilation means nothing.
    """
    pointwise = conv.kernel_size == (1, 1) and features.device.type == "cpu"
    dilation = (2, 2) if pointwise else conv.dilation
    return nn.functional.conv2d(
        features, weight, bias, conv.stride, conv.padding, dilation, conv.groups
    )


class _FoldedNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """Keeps the normalisation's tensors; the convolution before it does the work."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _fold_frozen_norms(body: nn.Module) -> None:
    """Join every bias-free convolution with the FrozenBatchNorm2d registered right after it."""
    modules = list(body.modules())
    for conv, norm in itertools.pairwise(modules):
        if type(conv) is nn.Conv2d and type(norm) is FrozenBatchNorm2d and conv.bias is None:
            conv.__class__, norm.__class__ = _FoldedConv, _FoldedNorm
            conv.__dict__["folded_norm"] = norm  # not a submodule: its name must not change


def _speed_up_pointwise(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1):
            module.__class__ = _PointwiseConv


def _keep_outputs_float32(model: FasterRCNN) -> None:
    """BoxCoder decodes in the dtype of the deltas: bfloat16 would move boxes by up to 2 px."""
    for module in (model.rpn.head, model.roi_heads.box_predictor):
        module.register_forward_hook(lambda _module, _inputs, outputs: _float32(outputs))


def _float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    return type(outputs)(_float32(item) for item in outputs)


@torch.no_grad()
def _initialise(model: nn.Module, seed: int, *, given: str) -> None:
    """Draw every parameter again from a generator seeded by (seed, name).

    Args:
        model: the detector.
        seed: seed of the generators.
        given: beginning of the names that keep their values; "" for none.
    """
    for name, parameter in model.named_parameters():
        if given and name.startswith(given):
            continue
        generator = torch.Generator().manual_seed(derived_seed(seed, name))
        module = model.get_submodule(name.rpartition(".")[0])
        _draw(name, parameter, module, generator)


def _draw(name: str, parameter: Tensor, module: nn.Module, generator: torch.Generator) -> None:
    """The distributions that torchvision's modules use, tensor by tensor."""
    if isinstance(module, nn.BatchNorm2d):
        parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        parameter.uniform_(-bound, bound, generator=generator)
    elif name.endswith("bias"):
        parameter.zero_()
    elif name.startswith("rpn."):
        parameter.normal_(std=0.01, generator=generator)
    elif ".fpn." in name:
        nn.init.kaiming_uniform_(parameter, a=1, generator=generator)
    else:
        nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu", generator=generator)


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Copy arrays into the parameters and buffers of the same names; shapes must be equal."""
    state = model.state_dict(keep_vars=True)
    for name, array in tensors.items():
        assert state[name].shape == array.shape, f"{name} was matched by shape"
        state[name].copy_(torch.from_numpy(np.array(array)))
