"""The network of ``unet``: segmentation-models-pytorch's, without weights of its own."""

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.architectures.unet_names import PARTS
from frostline.backbones import KnownBackbone
from frostline.config import ModelConfig, Normalisation
from frostline.depth import TIMM_PREFIX, LayerTable
from frostline.errors import ConfigError, PlanError
from frostline.extras import load_extra
from frostline.hubs import timm_config
from frostline.observing import observe_sections
from frostline.seeds import derived_seed

__all__ = ["build_network", "known_encoder"]

_NUMBERED = ("blocks", "stages", "features")  # of timm, whose children are stages
_LOSSES = ("cross_entropy", "dice")
_EXAMPLE = (1, 3, 256, 320)  # not square, so that a network of one fixed size shows itself


def build_network(config: ModelConfig, num_classes: int, seed: int) -> nn.Module:
    """The network, with random weights; those of an encoder of timm are timm's own, from the seed.

    Input of the model: float32 (N, 3, H, W) RGB in [0, 1], sides multiples of 32. Output: logits
    float32 (N, C, H, W). State-dict names are segmentation-models-pytorch's.

    Args:
        config: encoder, eps and weights of the losses.
        num_classes: number of classes, background counted as one where it is one.
        seed: of an encoder of timm.

    Raises:
        ConfigError: the package has no such encoder.
        DependencyError: it is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, config.backbone))
        model = _unet(_encoder(config.backbone), num_classes)
    for module in model.get_submodule("encoder").modules():
        if isinstance(module, _BatchNorm) and config.norm_eps is not None:
            module.eps = config.norm_eps
    weights: dict[str, float] = dict.fromkeys(_LOSSES, 1.0)
    chosen: Any = weights if config.losses is None else dict(config.losses)
    model.loss_weights = chosen
    model.register_forward_pre_hook(_normalise)
    # Losses and the largest logit are told in float32; autocast would round them to bfloat16.
    model.get_submodule("segmentation_head").register_forward_hook(lambda _m, _i, out: out.float())
    return model


def known_encoder(config: ModelConfig) -> KnownBackbone:
    """What is known of an encoder of timm, read off a forward pass on the meta device.

    Raises:
        ConfigError: timm does not have it, or it cannot be an encoder.
        DependencyError: timm or segmentation-models-pytorch is not installed.
    """
    about = timm_config(config.backbone.removeprefix(TIMM_PREFIX))
    table, eps = _observed(config.backbone)
    return KnownBackbone(
        table=table,
        eps=eps if config.norm_eps is None else config.norm_eps,
        pixels=Normalisation(mean=about.mean, std=about.std),
        taps=(),
        build=lambda _taps, seed: build_network(config, 2, seed).get_submodule("encoder"),
        drawn=True,
        rewritten=False,
    )


@functools.lru_cache(maxsize=8)
def _observed(backbone: str) -> tuple[LayerTable, float | None]:
    """Layers of the whole network in sections, and the eps of the encoder's BatchNorm."""
    with torch.device("meta"):
        model = _unet(_encoder(backbone), 2)
    try:
        example = torch.zeros(_EXAMPLE, device="meta")
        table = observe_sections(model, example, PARTS, counted="encoder", architecture=backbone)
    except PlanError as error:
        raise ConfigError(f"model.backbone: {backbone} cannot be an encoder: {error}") from None
    layers = tuple(dataclasses.replace(x, stage=_stage(x.name)) for x in table.layers)
    table = dataclasses.replace(table, layers=layers)
    encoder = model.get_submodule("encoder")
    eps = {module.eps for module in encoder.modules() if isinstance(module, _BatchNorm)}
    return table, eps.pop() if len(eps) == 1 else None


def _stage(name: str) -> str:
    """The part of timm's network that a layer is in.

    Example:
        >>> _stage("model.layer1.0.conv1"), _stage("model.blocks.2.0.conv_dw")
        ('layer1', 'blocks.2')
    """
    _, first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first in _NUMBERED and rest else first


def _encoder(backbone: str) -> str:
    """The package's name of an encoder."""
    if backbone.startswith(TIMM_PREFIX):
        return f"tu-{backbone.removeprefix(TIMM_PREFIX)}"
    return backbone


def _unet(encoder: str, num_classes: int) -> nn.Module:
    smp: Any = load_extra("segmentation_models_pytorch", "unet")
    try:
        model: nn.Module = smp.Unet(encoder, encoder_weights=None, classes=num_classes)
    except Exception as error:  # each family of encoders has its own way to say that it cannot
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"model.backbone: segmentation-models-pytorch cannot build encoder {encoder} "
            f"({reason}); expected mobilenet_v2, a resnet, or timm:<model> with feature maps of "
            "strides 2 (or 4) to 32"
        ) from None
    return model


def _normalise(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Pixels as the encoder's weights want them; ``set_pixels`` says which."""
    pixels: Normalisation = model.pixels  # type: ignore[assignment]
    (images,) = inputs
    mean, std = (images.new_tensor(x).view(3, 1, 1) for x in (pixels.mean, pixels.std))
    return ((images - mean) / std,)
