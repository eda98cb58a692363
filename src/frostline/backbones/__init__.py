"""Networks under a neck or decoder: what is known of one, looked up from a configuration.

Here alone it is asked whose network it is. torchvision's six need no deep-learning framework until
they are built; one of timm's has to be looked at.
"""

import importlib
from typing import TYPE_CHECKING

from frostline.backbones.known import KnownBackbone, Tap
from frostline.depth import TIMM_PREFIX, LayerTable, layer_table

if TYPE_CHECKING:  # printing a table loads neither configuration nor framework
    from types import ModuleType

    from frostline.config import ModelConfig

__all__ = ["KnownBackbone", "Tap", "backbone_table", "known_backbone"]


def known_backbone(config: "ModelConfig") -> KnownBackbone:
    """What is known of the configured network.

    Raises:
        ConfigError: timm does not have it, or not with the feature maps it must have.
        DependencyError: timm or torch is not installed, or broken.
    """
    if not config.backbone.startswith(TIMM_PREFIX):
        from frostline.backbones import torchvision_networks

        return torchvision_networks.known_in_torchvision(config)
    found: KnownBackbone = _timm_networks().known_in_timm(config)
    return found


def backbone_table(name: str, *, width_mult: float = 1.0) -> LayerTable:
    """The convolutions of a network in forward order, by its name alone.

    Args:
        name: one of ``depth.BACKBONES``, or ``timm:<model>``.
        width_mult: channel multiplier, for ``mobilenet_v2`` only; > 0.

    Raises:
        ConfigError: timm has no such model, or none that depth is defined for.
        DependencyError: timm or torch is not installed, or broken.
        PlanError: the name is unknown, or the width is given for another network.
    """
    if not name.startswith(TIMM_PREFIX):
        return layer_table(name, width_mult=width_mult)
    found: LayerTable = _timm_networks().timm_backbone(name.removeprefix(TIMM_PREFIX)).table
    return found


def _timm_networks() -> "ModuleType":
    """The module that knows timm's networks, once torch is known to work."""
    from frostline.doctor import require_torch

    require_torch()
    return importlib.import_module("frostline.backbones.timm_networks")
