"""What is said of a backbone before it is built, against the built one."""

import subprocess
import sys

import pytest
import torch

from frostline.backbones import backbone_table, known_backbone
from frostline.config import IMAGENET, ModelConfig
from frostline.depth import BACKBONES, layer_table
from frostline.errors import PlanError


@pytest.mark.parametrize("batch_norm", ["frozen", "live"])
@pytest.mark.parametrize("name", [*BACKBONES, "timm:test_resnet"])
def test_taps_are_the_maps_that_the_network_gives(name: str, batch_norm: str) -> None:
    known = known_backbone(ModelConfig(backbone=name, batch_norm=batch_norm))
    body = known.build(known.taps, 0).eval()
    with torch.no_grad():
        maps = body(torch.zeros(1, 3, 64, 96))
    assert list(maps) == [str(level) for level in range(len(known.taps))]
    for tap, features in zip(known.taps, maps.values(), strict=True):
        assert features.shape == (1, tap.channels, 64 // tap.stride, 96 // tap.stride)
    state = body.state_dict()
    for layer in known.table.layers:
        assert tuple(state[f"{layer.name}.weight"].shape) == layer.shape


def test_the_last_tap_of_a_stride_is_taken() -> None:
    known = known_backbone(ModelConfig(backbone="mobilenet_v3_large"))
    assert [(tap.stride, tap.name) for tap in known.taps] == [
        (8, "6"), (16, "12"), (32, "13"), (32, "16")
    ]  # fmt: skip
    assert [tap.name for tap in known.at(4, 8, 32)] == ["6", "16"]


def test_eps_is_the_published_one_unless_it_is_given() -> None:
    assert known_backbone(ModelConfig(backbone="mobilenet_v3_large")).eps == 1e-3
    given = known_backbone(ModelConfig(backbone="resnet18", norm_eps=0.0, width_mult=1.0))
    assert (given.eps, given.pixels) == (0.0, IMAGENET)


def test_a_table_needs_a_name_alone() -> None:
    assert backbone_table("resnet18") == layer_table("resnet18")
    assert backbone_table("timm:test_resnet").architecture == "timm:test_resnet"
    with pytest.raises(PlanError, match="unknown backbone 'resnet19'"):
        backbone_table("resnet19")


def test_printing_a_table_loads_no_configuration() -> None:
    program = (
        "import sys, frostline\n"
        "assert len(frostline.layers('resnet50')) == 53\n"
        "more = {'torch', 'numpy', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "assert not more, more\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
