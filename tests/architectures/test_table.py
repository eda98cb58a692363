"""Every listed architecture: light to read, and its facts true of the model that it builds."""

import subprocess
import sys
from typing import get_args

import pytest
from torch import nn

from frostline.architectures import architecture_of
from frostline.architectures.building import build_model
from frostline.config import ModelConfig, Part
from frostline.members import ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_its_facts_and_its_tables_need_no_torch(name: str) -> None:
    program = (
        "import sys\n"
        "from frostline.architectures import architecture_of\n"
        "from frostline.config import ModelConfig\n"
        f"config = ModelConfig(architecture={name!r})\n"
        "found = architecture_of(config)\n"
        f"assert found.name == {name!r} and len(found.backbone(config).table) == 53\n"
        "heavy = {'torch', 'torchvision', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_its_parts_hold_every_tensor_once(name: str) -> None:
    config = ModelConfig(architecture=name, backbone="resnet18")
    architecture, state = architecture_of(config), build_model(config, 2).state_dict()
    for tensor in state:
        assert sum(tensor.startswith(prefix) for prefix in architecture.parts.values()) == 1
    for part in architecture.parts:
        assert any(architecture.part_of(tensor) == part for tensor in state)
    table = architecture.backbone(config).table
    assert {f"{architecture.prefix}{layer.name}.weight" for layer in table.layers} <= set(state)
    assert all(any(x.startswith(begin) for x in state) for begin in architecture.replaced)


def test_a_study_can_name_their_presets_and_parts_and_no_others() -> None:
    found = [architecture_of(ModelConfig(architecture=name)) for name in ARCHITECTURES]
    presets = get_args(ModelConfig.model_fields["preset"].annotation)
    assert set(presets) == {preset for x in found for preset in x.presets}
    assert set(get_args(Part)) == {part for x in found for part in x.parts} | {"all"}


@pytest.mark.parametrize("preset", ["stock", "slim"])
def test_only_the_backbone_of_faster_rcnn_has_batch_norm(preset: str) -> None:
    model = build_model(ModelConfig(backbone="resnet18", preset=preset, batch_norm="live"), 1)
    norms = [name for name, x in model.named_modules() if isinstance(x, nn.BatchNorm2d)]
    assert norms
    assert all(name.startswith("backbone.body.") for name in norms)
