"""Blocks and units of networks whose answer is known."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.depth import LayerTable
from frostline.observing import observe_table


class Block(nn.Module):
    """Attention without a telling name, by the function."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v))
        return x + out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.qkv(x).softmax(-1)
        return out


class Tokens(nn.Module):
    """A patch embedding, some layers over tokens, and perhaps a convolution behind them."""

    def __init__(self, layers: Any, *, behind: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.layers = layers
        self.norm = nn.LayerNorm(4)
        self.behind = nn.Conv1d(4, 4, 1) if behind else None
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token, x], 1)
        for layer in self.layers:
            if isinstance(layer, nn.ModuleList):
                for part in layer:
                    x = x + part(x)
            else:
                x = layer(x)
        x = self.norm(x)
        if self.behind is not None:
            x = self.behind(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.head(x.mean(1))
        return out


IMAGE = torch.zeros(1, 3, 8, 8)


def _names(table: LayerTable) -> list[str]:
    return [layer.name for layer in table.layers]


def _pairs(count: int) -> nn.ModuleList:
    """Attention and a linear layer side by side in lists, as some ViTs are written."""
    return nn.ModuleList(nn.ModuleList([Attention(), nn.Linear(4, 4)]) for _ in range(count))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (nn.ModuleList(nn.TransformerEncoderLayer(4, 1, 8) for _ in range(2)), ["0", "1"]),
        (nn.ModuleList([nn.TransformerEncoderLayer(4, 1, 8)]), ["0"]),
        (_pairs(3), ["0", "1", "2"]),
        (nn.Sequential(Block(), nn.Identity(), Block()), ["0", "2"]),
        (nn.Sequential(Attention(), Attention()), ["0", "1"]),  # nothing but attention
    ],
)
def test_blocks_are_what_holds_an_attention_and_what_goes_with_it(
    layers: Any, names: list[str]
) -> None:
    table = observe_table(Tokens(layers), IMAGE)
    assert table.unit == "block"
    assert _names(table) == [f"layers.{name}" for name in names]
    block = table.layers[-1]
    inside = Tokens(layers).get_submodule(block.name)
    assert block.shape == (sum(p.numel() for p in inside.parameters()),)


def test_a_convolution_behind_attention_counts_convolutions() -> None:
    table = observe_table(Tokens(_pairs(2), behind=True), IMAGE)
    assert table.unit == "convolution"
    assert _names(table) == ["patches", "behind"]


def test_encoder_and_decoder_of_a_transformer() -> None:
    model = nn.Transformer(8, 2, 2, 3, 16, batch_first=True)
    table = observe_table(model, (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)))
    assert table.unit == "block"
    layers = [f"encoder.layers.{i}" for i in range(2)] + [f"decoder.layers.{i}" for i in range(3)]
    assert _names(table) == layers


@pytest.mark.parametrize(
    ("build", "size", "unit", "count", "last"),
    [
        (torchvision.models.vit_b_32, 224, "block", 12, "encoder.layers.encoder_layer_11"),
        (torchvision.models.swin_t, 64, "block", 12, "features.7.1"),
        (torchvision.models.convnext_tiny, 64, "convolution", 22, "features.7.2.block.0"),
        (torchvision.models.maxvit_t, 224, "convolution", 61, "blocks.3.layers.1.layers.MBconv."),
        ("vit_tiny_patch16_224", 224, "block", 12, "blocks.11"),
        ("swin_tiny_patch4_window7_224", 224, "block", 12, "layers.3.blocks.1"),
    ],
)
def test_units_of_published_networks(
    build: Any, size: int, unit: str, count: int, last: str
) -> None:
    with torch.device("meta"):
        model = timm.create_model(build) if isinstance(build, str) else build()
    table = observe_table(model, torch.zeros(1, 3, size, size))
    assert (table.unit, len(table)) == (unit, count)
    assert table.layers[-1].name.startswith(last)
