"""What is known of a network before it is built."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from frostline.depth import LayerTable

if TYPE_CHECKING:
    from torch import nn

    from frostline.config import Normalisation

__all__ = ["KnownBackbone", "Tap"]


@dataclasses.dataclass(frozen=True, slots=True)
class Tap:
    """A feature map that a neck or decoder can read.

    Attributes:
        stride: in px of the image.
        name: of the module that gives it (torchvision), or its number from 0 (timm).
        channels: of the map.
    """

    stride: int
    name: str
    channels: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KnownBackbone:
    """A network as a model's configuration asks for it; nothing is built yet.

    Attributes:
        table: its convolutions in forward order, for the configured width.
        eps: of every BatchNorm: as configured, or what the published weights are used with; None
            where a network has no BatchNorm or several values.
        pixels: what images are normalised with, unless the weights want something else.
        taps: its feature maps in forward order.
        build: some of the taps and a seed, >= 0 -> a module from float32 (N, 3, H, W) to an
            ordered dict of the maps, named ``"0"``, ``"1"``, ... Its tensors have the names of the
            table. Torch's global generator may move.
        drawn: whether ``build`` gives the network its own random values, from the seed; else they
            are whatever its library draws, and are to be drawn again.
        rewritten: whether a model may replace convolutions by faster ones that compute the same.
    """

    table: LayerTable
    eps: float | None
    pixels: "Normalisation"
    taps: tuple[Tap, ...]
    build: "Callable[[Sequence[Tap], int], nn.Module]"
    drawn: bool
    rewritten: bool

    def at(self, *strides: int) -> tuple[Tap, ...]:
        """The last tap of each stride that it has."""
        last = {tap.stride: tap for tap in self.taps}
        return tuple(last[stride] for stride in strides if stride in last)
