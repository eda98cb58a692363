"""Faster R-CNN with a feature pyramid (Ren et al. 2015, Lin et al. 2017), as torchvision has it."""

from typing import TYPE_CHECKING

from frostline.architectures.architecture import Architecture
from frostline.architectures.draws import he_normal, lecun_uniform, small_normal
from frostline.backbones import KnownBackbone, known_backbone
from frostline.config import ModelConfig, Normalisation
from frostline.plans import BACKBONE_PREFIX

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURE"]


def _build(
    config: ModelConfig, backbone: KnownBackbone, num_classes: int, seed: int
) -> "nn.Module":
    from frostline.architectures.faster_rcnn_network import build_network

    network: nn.Module = build_network(config, backbone, num_classes, seed)
    return network


def _set_pixels(model: "nn.Module", values: Normalisation) -> None:
    transform = model.get_submodule("transform")
    transform.image_mean, transform.image_std = list(values.mean), list(values.std)  # type: ignore[assignment]


ARCHITECTURE = Architecture(
    name="faster_rcnn",
    task="detection",
    presets=("stock", "slim"),
    parts={
        "backbone": BACKBONE_PREFIX,
        "neck": "backbone.fpn.",
        "rpn": "rpn.",
        "head": "roi_heads.",
    },
    counted="backbone",
    rest="the neck, the region proposal network and the box head",
    draws={
        "backbone": he_normal,
        "neck": lecun_uniform,
        "rpn": small_normal,
        "head": he_normal,
    },
    replaced=("roi_heads.box_predictor.",),
    backbone=known_backbone,
    build=_build,
    set_pixels=_set_pixels,
)
