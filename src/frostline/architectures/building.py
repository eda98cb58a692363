"""Building a configured model: one constructor for every arm of a comparison.

torchvision's own builders change the normalisation layer, its eps and what is trainable with the
weights they are given. Here none of that depends on where the weights come from, and every new
tensor is drawn from a generator seeded by its name, so all arms share the same random head.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.architectures import Architecture, architecture_of
from frostline.config import ModelConfig
from frostline.errors import FrostlineError
from frostline.seeds import derived_seed

__all__ = ["build_model", "load_tensors"]


def build_model(config: ModelConfig, num_classes: int, seed: int = 0) -> nn.Module:
    """Build a model; all weights are random, seeded per tensor name.

    A network of timm keeps the random values that timm draws, all from one generator.

    Args:
        config: architecture, backbone, preset, BatchNorm policy and sizes.
        num_classes: number of classes, without background, >= 1.
        seed: seed of the random tensors.

    Returns:
        The model, on the CPU. It normalises its images, float32 (3, H, W) RGB in [0, 1] on the
        study's canvas, and does not resize them; what else it takes and gives says its task.

    Raises:
        ConfigError: timm does not have the backbone, or not with the feature maps it must have.
        DependencyError: timm is not installed.
        FrostlineError: no classes.
    """
    if num_classes < 1:
        raise FrostlineError("expected at least one object class, got none")
    architecture = architecture_of(config)
    backbone = architecture.backbone(config)
    model = architecture.build(config, backbone, num_classes, seed)
    architecture.set_pixels(model, backbone.pixels)
    _initialise(model, architecture, seed, kept=architecture.prefix if backbone.drawn else None)
    return model


@torch.no_grad()
def _initialise(
    model: nn.Module, architecture: Architecture, seed: int, *, kept: str | None
) -> None:
    """Draw every parameter again from a generator seeded by (seed, name).

    Args:
        model: the model.
        architecture: says how each part is drawn.
        seed: seed of the generators.
        kept: beginning of the names that keep their values.
    """
    for name, parameter in model.named_parameters():
        if kept is not None and name.startswith(kept):
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        draw = architecture.draws[architecture.part_of(name)]
        generator = Generator().manual_seed(derived_seed(seed, name))
        _draw(name, parameter, module, draw, generator)


def _draw(
    name: str,
    parameter: Tensor,
    module: nn.Module,
    draw: Callable[[Tensor, Generator], object],
    generator: Generator,
) -> None:
    """The distributions that torch's and torchvision's modules use, tensor by tensor."""
    if isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
        parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        parameter.uniform_(-bound, bound, generator=generator)
    elif name.endswith("bias"):
        parameter.zero_()
    else:
        draw(parameter, generator)


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Copy arrays into the parameters and buffers of the same names; shapes must be equal."""
    state = model.state_dict(keep_vars=True)
    for name, array in tensors.items():
        assert state[name].shape == array.shape, f"{name} was matched by shape"
        state[name].copy_(torch.from_numpy(np.array(array)))
