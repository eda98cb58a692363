"""U-Net (Ronneberger et al. 2015) over a pretrained encoder, as segmentation-models-pytorch has it.

What it segments needs no box: the encoder's five feature maps go up through the decoder, and a
convolution gives one number for each class and pixel. Tensors have the package's own names.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from frostline.architectures.architecture import Architecture
from frostline.architectures.draws import glorot_uniform, he_normal, he_uniform
from frostline.architectures.unet_names import PARTS
from frostline.backbones import KnownBackbone
from frostline.config import IMAGENET, ModelConfig, Normalisation
from frostline.depth import (
    TIMM_PREFIX,
    ConvLayer,
    LayerTable,
    Section,
    layer_table,
    published_eps,
)
from frostline.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURE"]

_DECODER = (256, 128, 64, 32, 16)  # channels of its five blocks
_INSIDE = {"mobilenet_v2": "features."}  # before torchvision's names in the encoder
_MOBILE_MAPS = (16, 24, 32, 96, 1280)  # channels of the maps at strides 2, 4, 8, 16, 32
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_TWINS = {"mobilenet_v3_large": "timm:mobilenetv3_large_100"}
"""Networks of torchvision that the package lacks, and those of timm with the same layers."""


def _known(config: ModelConfig) -> KnownBackbone:
    """What is known of the encoder.

    Raises:
        ConfigError: segmentation-models-pytorch does not have it, or not at this width.
        DependencyError: that package, or timm, is not installed.
    """
    if config.width_mult != 1.0:
        raise ConfigError(
            f"model.width_mult: expected 1 for unet, got {config.width_mult:g}; narrower encoders "
            "are networks of timm, such as backbone: timm:mobilenetv2_050"
        )
    if config.backbone in _TWINS:
        return _known_twin(config)
    if config.backbone.startswith(TIMM_PREFIX):
        from frostline.architectures.unet_network import known_encoder

        found: KnownBackbone = known_encoder(config)
        return found
    eps = published_eps(config.backbone) if config.norm_eps is None else config.norm_eps
    return KnownBackbone(
        table=_table(config.backbone),
        eps=eps,
        pixels=IMAGENET,
        taps=(),
        build=lambda _taps, seed: _network(config, 2, seed).get_submodule("encoder"),
        drawn=False,
        rewritten=False,
    )


def _known_twin(config: ModelConfig) -> KnownBackbone:
    """What is known of a twin: stages, eps and pixels as torchvision has them."""
    from frostline.architectures.unet_network import known_encoder

    twin, plain = _as_twin(config), layer_table(config.backbone)
    found: KnownBackbone = known_encoder(twin)
    pairs = zip(found.table.layers, plain.layers, strict=True)
    layers = tuple(dataclasses.replace(own, stage=named.stage) for own, named in pairs)
    table = dataclasses.replace(found.table, architecture=config.backbone, layers=layers)
    return dataclasses.replace(found, table=table, pixels=IMAGENET, drawn=False)


def _as_twin(config: ModelConfig) -> ModelConfig:
    """The same model under the name that the package knows; others as they are."""
    if config.backbone not in _TWINS:
        return config
    eps = published_eps(config.backbone) if config.norm_eps is None else config.norm_eps
    return config.model_copy(update={"backbone": _TWINS[config.backbone], "norm_eps": eps})


def _build(
    config: ModelConfig, backbone: KnownBackbone, num_classes: int, seed: int
) -> "nn.Module":
    return _network(config, num_classes, seed)


def _network(config: ModelConfig, num_classes: int, seed: int) -> "nn.Module":
    from frostline.architectures.unet_network import build_network

    network: nn.Module = build_network(_as_twin(config), num_classes, seed)
    return network


def _set_pixels(model: "nn.Module", values: Normalisation) -> None:
    model.pixels = values  # type: ignore[assignment]


# --- the layers by rule: reading them needs no torch ---------------------------------------------


def _table(backbone: str) -> LayerTable:
    plain = layer_table(backbone)
    inside = _INSIDE.get(backbone, "")
    layers = tuple(_named(layer, inside) for layer in plain.layers)
    return LayerTable(
        plain.architecture,
        layers,
        section="encoder",
        others=(
            Section("decoder", PARTS["decoder"], tuple(_decoder(_maps(plain)))),
            Section("head", PARTS["head"], (_head(),)),
        ),
    )


def _named(layer: ConvLayer, inside: str) -> ConvLayer:
    """A layer under its name in the encoder, with the tensors of its BatchNorm."""
    norm = f"{inside}{layer.norm}"
    return dataclasses.replace(
        layer,
        name=f"{inside}{layer.name}",
        norm=norm,
        norm_tensors=tuple(f"{norm}.{tensor}" for tensor in _NORM),
    )


def _maps(table: LayerTable) -> tuple[int, ...]:
    """Channels of the encoder's maps at strides 2 to 32."""
    if table.architecture in _INSIDE:
        return _MOBILE_MAPS
    last = {layer.stage: layer.shape[0] for layer in table.layers if layer.role == "main"}
    return tuple(last.values())


def _decoder(maps: Sequence[int]) -> Iterator[ConvLayer]:
    """Two convolutions a block; the second of a pair reads the first, which reads the skip too."""
    skips = (*reversed(maps[:-1]), 0)
    below = maps[-1]
    for block, (skip, own) in enumerate(zip(skips, _DECODER, strict=True)):
        for number, channels in ((1, below + skip), (2, own)):
            name = f"blocks.{block}.conv{number}"
            norm = f"{name}.1"
            yield ConvLayer(
                2 * block + number,
                f"{name}.0",
                norm,
                f"block{block}",
                "main",
                (own, channels, 3, 3),
                norm_tensors=tuple(f"{norm}.{tensor}" for tensor in _NORM),
            )
        below = own


def _head() -> ConvLayer:
    """Its first size, the number of classes, is not known here."""
    return ConvLayer(1, "0", None, "head", "main", (0, _DECODER[-1], 3, 3), bias=True)


ARCHITECTURE = Architecture(
    name="unet",
    task="segmentation",
    presets=("stock",),
    parts=PARTS,
    counted="encoder",
    rest="the decoder and the head",
    draws={"encoder": he_normal, "decoder": he_uniform, "head": glorot_uniform},
    replaced=("segmentation_head.",),
    backbone=_known,
    build=_build,
    set_pixels=_set_pixels,
)
