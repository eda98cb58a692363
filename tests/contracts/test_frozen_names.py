"""Which tensors a depth freezes: the tables held against real networks, and golden digests."""

import hashlib

import pytest
import torch

from frostline.backbones import known_backbone
from frostline.config import ModelConfig
from frostline.depth import BACKBONES, ConvLayer
from frostline.observing import observe_table
from frostline.plans import BatchNormPolicy, FreezePlan
from tests.helpers import build_detector

# First 12 hex digits of SHA-256 over all tensor lists k = 0, 1, 2, ... joined; policies in turn.
GOLDEN = {
    "resnet18": ("5e27a4daaab5", "bf1c7df01ff7", "641687698595"),
    "resnet34": ("f32f36da9ff8", "347c6457cb81", "b98c5542d6f6"),
    "resnet50": ("49260debeef4", "4737d2c6c864", "85a2f39b38dc"),
    "resnet101": ("014d191b6a03", "becb714f15da", "731faa42ecf3"),
    "mobilenet_v2": ("f85141e2993f", "fded5b84a8b8", "2c227eceb93d"),
    "mobilenet_v3_large": ("5f3f2c45fd76", "e31184c8b4b5", "1ad2e9efeda3"),
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_tables_are_what_a_forward_pass_meets(backbone: str) -> None:
    config = ModelConfig(backbone=backbone, preset="slim", batch_norm="live")
    body = build_detector(config, 1).backbone.body
    table = known_backbone(config).table
    observed = observe_table(body, torch.zeros(1, 3, 64, 64))
    assert not observed.repeated
    assert not observed.unused
    assert [_facts(layer) for layer in observed.layers] == [_facts(layer) for layer in table.layers]
    modules = dict(body.named_modules())
    for layer in table.layers:
        conv = modules[layer.name]
        assert tuple(conv.weight.shape) == layer.shape
        assert (conv.bias is not None) == layer.bias
        if layer.norm is not None:
            assert isinstance(modules[layer.norm], torch.nn.BatchNorm2d)
            assert modules[layer.norm].num_features == layer.shape[0]


def _facts(layer: ConvLayer) -> tuple[object, ...]:
    return (layer.index, layer.name, layer.norm, layer.role, layer.shape, layer.bias)


@pytest.mark.parametrize("policy", ["frozen", "follow", "live"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_plans_name_tensors_that_exist(backbone: str, policy: BatchNormPolicy) -> None:
    config = ModelConfig(backbone=backbone, preset="slim", batch_norm=policy)
    state = build_detector(config, 1).state_dict()
    table = known_backbone(config).table
    everything = FreezePlan.at_depth(table, len(table), batch_norm=policy)
    assert set(everything.tensors) <= set(state)
    body = {name for name in state if name.startswith("backbone.body.")}
    if policy != "live":
        assert set(everything.tensors) == body


def _digest(backbone: str, policy: BatchNormPolicy) -> str:
    config = ModelConfig(backbone=backbone)
    table = known_backbone(config).table
    total = hashlib.sha256()
    for k in range(len(table) + 1):
        names = FreezePlan.at_depth(table, k, batch_norm=policy).tensors
        total.update("\n".join(names).encode())
    return total.hexdigest()[:12]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_names_do_not_change_unnoticed(backbone: str) -> None:
    got = tuple(_digest(backbone, policy) for policy in ("frozen", "follow", "live"))
    assert got == GOLDEN[backbone]
