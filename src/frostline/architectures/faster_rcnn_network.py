"""The network of ``faster_rcnn``: torchvision's Faster R-CNN over any of the backbones."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from frostline.backbones import KnownBackbone, Tap
from frostline.config import ModelConfig
from frostline.depth import LayerTable
from frostline.errors import ConfigError

__all__ = ["anchor_sizes", "build_network"]

_SLIM_CHANNELS = 128
_STOCK_CHANNELS = 256
_SLIM_ANCHORS = ((16, 23), (32, 45), (64, 91), (128, 181))
_STOCK_ANCHORS = ((32,), (64,), (128,), (256,), (512,))
_MOBILE_STOCK_TAPS: Mapping[str, tuple[str, ...]] = {
    "mobilenet_v2": ("6", "13", "18"),
    "mobilenet_v3_large": ("13", "16"),  # as torchvision's builder
}
_MOBILE_STOCK_ANCHORS = (32, 64, 128, 256, 512)
_RATIOS = (0.5, 1.0, 2.0)


def build_network(
    config: ModelConfig, backbone: KnownBackbone, num_classes: int, seed: int
) -> FasterRCNN:
    """The detector, with random weights of no matter.

    Input of the model: a list of float32 (3, H, W) RGB images in [0, 1], already on the study's
    canvas: the model normalises but does not resize. State-dict names are torchvision's; those of
    a timm backbone are timm's.

    Args:
        config: preset and sizes.
        backbone: what is known of the network under the pyramid.
        num_classes: number of object classes, without background, >= 1.
        seed: of a backbone that draws its own values.

    Raises:
        ConfigError: the backbone lacks a feature map that the preset joins.
    """
    taps = _taps(config, backbone)
    body = backbone.build(taps, seed)
    slim = config.preset == "slim"
    joined = _BodyWithFPN(body, taps, _SLIM_CHANNELS if slim else _STOCK_CHANNELS)
    model = FasterRCNN(joined, **_head_arguments(config, taps, num_classes))
    if slim and backbone.rewritten:
        _fold_frozen_norms(body, backbone.table)
        _speed_up_pointwise(model)
    model.transform.__class__ = _OnCanvas
    _keep_outputs_float32(model)
    return model


def anchor_sizes(config: ModelConfig) -> tuple[tuple[int, ...], ...]:
    """Anchor side lengths in px of the canvas, per pyramid level."""
    if config.preset == "slim":
        return _SLIM_ANCHORS
    if config.backbone in _MOBILE_STOCK_TAPS:
        levels = len(_MOBILE_STOCK_TAPS[config.backbone]) + 1
        return (_MOBILE_STOCK_ANCHORS,) * levels
    return _STOCK_ANCHORS


def _taps(config: ModelConfig, backbone: KnownBackbone) -> tuple[Tap, ...]:
    """The feature maps that the pyramid joins; ``stock`` joins those that torchvision does."""
    if config.preset == "slim":
        return backbone.at(8, 16, 32)
    if config.backbone in _MOBILE_STOCK_TAPS:
        names = _MOBILE_STOCK_TAPS[config.backbone]
        return tuple(tap for tap in backbone.taps if tap.name in names)
    taps = backbone.at(4, 8, 16, 32)
    if taps[0].stride != 4:  # noqa: PLR2004  (px)
        found = ", ".join(str(stride) for stride in sorted({tap.stride for tap in backbone.taps}))
        raise ConfigError(
            f"preset stock expects a feature map of stride 4, backbone {config.backbone} has "
            f"strides {found}; use preset: slim"
        )
    return taps


class _BodyWithFPN(nn.Module):
    """torchvision's ``BackboneWithFPN``, for a body that gives its feature maps itself."""

    def __init__(self, body: nn.Module, taps: Sequence[Tap], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            [tap.channels for tap in taps], out_channels, extra_blocks=LastLevelMaxPool()
        )
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels: dict[str, Tensor] = self.fpn(self.body(images))
        return levels


def _head_arguments(config: ModelConfig, taps: Sequence[Tap], num_classes: int) -> dict[str, Any]:
    sizes = anchor_sizes(config)
    arguments: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(sizes, (_RATIOS,) * len(sizes)),
        "box_detections_per_img": config.max_detections,
    }
    if config.preset == "stock":
        if config.backbone == "mobilenet_v3_large":
            arguments["rpn_score_thresh"] = 0.05  # as torchvision's builder
        return arguments | {"num_classes": num_classes + 1}
    levels = [str(level) for level in range(len(taps))]
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


def _fold_frozen_norms(body: nn.Module, table: LayerTable) -> None:
    """Join every bias-free convolution with the FrozenBatchNorm2d that the table names after it."""
    for layer in table.layers:
        conv = body.get_submodule(layer.name)
        norm = body.get_submodule(layer.norm) if layer.norm else None
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
