"""torchvision's networks as backbones. Nothing here needs torch before one is built."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from frostline.backbones.known import KnownBackbone, Tap
from frostline.config import IMAGENET, ModelConfig
from frostline.depth import LayerTable, layer_table, published_eps

if TYPE_CHECKING:
    from torch import nn

__all__ = ["known_in_torchvision"]

# Strides of the feature maps, by module: where a stage ends, or its last convolution.
_RESNET_TAPS = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
_TAPS: Mapping[str, Mapping[str, int]] = {
    "mobilenet_v2": {"6": 8, "13": 16, "18": 32},
    "mobilenet_v3_large": {"6": 8, "12": 16, "13": 32, "16": 32},
}


def known_in_torchvision(config: ModelConfig) -> KnownBackbone:
    """What is known of one of ``depth.BACKBONES``."""
    table = layer_table(config.backbone, width_mult=config.width_mult)
    eps = config.norm_eps if config.norm_eps is not None else published_eps(config.backbone)
    strides = _TAPS.get(config.backbone, _RESNET_TAPS)
    return KnownBackbone(
        table=table,
        eps=eps,
        pixels=IMAGENET,
        taps=tuple(Tap(stride, name, _channels(table, name)) for name, stride in strides.items()),
        build=functools.partial(_build, config, eps),
        drawn=False,
        rewritten=True,
    )


def _channels(table: LayerTable, module: str) -> int:
    """Of a module's output: those of its last convolution."""
    inside = [layer for layer in table.layers if layer.name.startswith(f"{module}.")]
    return inside[-1].shape[0]


def _build(config: ModelConfig, eps: float, taps: Sequence[Tap], _seed: int) -> "nn.Module":
    """The network up to its last tap, with a normalisation layer that does not depend on weights.

    torchvision's own builders change it, its eps and what is trainable with the weights given.
    """
    from torch import nn
    from torchvision.models import mobilenet_v2, mobilenet_v3_large, resnet
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.ops import FrozenBatchNorm2d

    kind = FrozenBatchNorm2d if config.batch_norm == "frozen" else nn.BatchNorm2d
    norm = functools.partial(kind, eps=eps)
    if config.backbone == "mobilenet_v2":
        network = mobilenet_v2(width_mult=config.width_mult, norm_layer=norm).features
    elif config.backbone == "mobilenet_v3_large":
        network = mobilenet_v3_large(norm_layer=norm).features
    else:
        network = getattr(resnet, config.backbone)(norm_layer=norm)
    names = {tap.name: str(level) for level, tap in enumerate(taps)}
    body: nn.Module = IntermediateLayerGetter(network, names)
    return body
