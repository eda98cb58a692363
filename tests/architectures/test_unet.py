"""U-Net: segmentation-models-pytorch's own tensors, our own weights, every kind of plan."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
import torchvision
from torch import nn

from frostline.architectures import architecture_of
from frostline.architectures.building import build_model, load_tensors
from frostline.architectures.unet_names import PARTS
from frostline.config import IMAGENET, InitConfig, ModelConfig, parse_study
from frostline.depth import layer_table
from frostline.errors import AuditError, ConfigError, InitError
from frostline.freezing import Frozen, require_passed
from frostline.inits import match_source, open_source
from frostline.observing import observe_sections
from frostline.plans import BatchNormPolicy, FreezePlan

BACKBONES = ["mobilenet_v2", "resnet18", "resnet50", "timm:resnet18", "timm:convnext_tiny"]


def _config(backbone: str = "resnet18", **changes: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"architecture": "unet", "backbone": backbone, "image_size": 64} | changes
    )


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(_config(batch_norm="live"), 2)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_its_tensors_are_the_packages_own_and_its_table_is_what_a_pass_meets(
    backbone: str,
) -> None:
    config = _config(backbone)
    with torch.device("meta"):
        own = smp.Unet(backbone.replace("timm:", "tu-"), encoder_weights=None, classes=3)
        seen = observe_sections(own, torch.zeros(1, 3, 64, 96), PARTS, counted="encoder")
    table = architecture_of(config).backbone(config).table
    for key in ("name", "shape", "norm"):
        ours = [getattr(layer, key) for layer in table.layers]
        assert ours == [getattr(layer, key) for layer in seen.layers]
    for layer, met in zip(table.layers, seen.layers, strict=True):
        assert set(layer.norm_tensors or ()) == set(met.norm_tensors or ())
    assert [s.name for s in table.others] == [s.name for s in seen.others] == ["decoder", "head"]
    decoder, met_decoder = table.others[0], seen.others[0]
    assert [x.name for x in decoder.layers] == [x.name for x in met_decoder.layers]
    assert [x.shape for x in decoder.layers] == [x.shape for x in met_decoder.layers]
    if backbone != "resnet50":
        built = build_model(config, 3).state_dict()
        assert list(built) == list(own.state_dict())
        assert all(built[name].shape == x.shape for name, x in own.state_dict().items())


def test_it_computes_what_the_package_computes(model: nn.Module) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
    theirs.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET.mean, IMAGENET.std))
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(images), theirs.eval()((images - mean) / std), rtol=0, atol=0
        )


def test_two_steps_of_the_large_one() -> None:
    model = build_model(_config("resnet50"), 2).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = {name: x.clone() for name, x in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 64, 64)).square().mean().backward()
        optimizer.step()
    moved = [name for name, x in model.named_parameters() if not torch.equal(x, before[name])]
    assert len(moved) == len(before)
    with torch.device("meta"):
        own = smp.Unet("resnet50", encoder_weights=None, classes=2)
    assert list(model.state_dict()) == list(own.state_dict())


def test_a_start_fills_the_encoder_and_all_arms_share_the_rest(real_weights: Path) -> None:
    config = _config("mobilenet_v2")
    architecture = architecture_of(config)
    one, two = build_model(config, 2, seed=3), build_model(config, 2, seed=3)
    shapes = {name: tuple(x.shape) for name, x in one.state_dict().items()}
    source = open_source("mobilenet_v2_imagenet.safetensors", real_weights)
    tensors, record = match_source(source, shapes, InitConfig(source="x"), architecture)
    assert record.parts == ("encoder",)
    assert (record.matched, record.missing) == (52 * 6, ())
    load_tensors(one, tensors)
    filled = [n for n, x in one.state_dict().items() if not torch.equal(x, two.state_dict()[n])]
    assert filled
    assert all(name.startswith("encoder.") for name in filled)


def test_an_encoder_that_the_file_cannot_fill(real_weights: Path) -> None:
    config = _config("resnet18")
    shapes = {n: tuple(x.shape) for n, x in build_model(config, 2).state_dict().items()}
    source = open_source("mobilenet_v2_imagenet.safetensors", real_weights)
    with pytest.raises(InitError, match="is it of another architecture"):
        match_source(source, shapes, InitConfig(source="x"), architecture_of(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "mobilenet_v2", "width_mult": 0.5}, "expected 1 for unet, got 0.5; narrower"),
        ({"backbone": "timm:vit_tiny_patch16_224"}, "cannot build encoder"),
        ({"backbone": "timm:no_such_network"}, "no_such_network"),
    ],
)
def test_what_is_no_encoder(changes: dict[str, object], message: str) -> None:
    config = _config(**changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        architecture_of(config).backbone(config)


def test_mobilenet_v3_is_timms_network_with_torchvisions_tensors(tmp_path: Path) -> None:
    """The package has no encoder of that name; layers, order, eps and results are the same."""
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v3_large(weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # no two alike, so that none can stand for another
            for tensor in (*module.parameters(), module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "v3.safetensors")
    config = _config("mobilenet_v3_large")
    architecture = architecture_of(config)
    model = build_model(config, 2)
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    source = open_source("v3.safetensors", tmp_path)
    tensors, record = match_source(source, shapes, InitConfig(source="x"), architecture)
    counters = [name for name in theirs.features.state_dict() if name.endswith("tracked")]
    assert (record.matched, record.missing) == (len(theirs.features.state_dict()), ())
    assert len(counters) == 46
    load_tensors(model, tensors)
    images = torch.rand(1, 3, 64, 64)
    seen = [images]
    with torch.no_grad():
        for layer in theirs.eval().features:
            seen.append(layer(seen[-1]))
        maps = model.eval().get_submodule("encoder")(images)
    for own, place in zip(maps[1:], (2, 4, 7, 13, 17), strict=True):
        torch.testing.assert_close(own, seen[place], rtol=0, atol=0)

    table, plain = architecture.backbone(config).table, layer_table("mobilenet_v3_large")
    assert [x.shape for x in table.layers] == [x.shape for x in plain.layers]
    assert table.stage_ends() == plain.stage_ends()
    assert table.architecture == "mobilenet_v3_large"
    own = smp.Unet("tu-mobilenetv3_large_100", encoder_weights=None, classes=2)
    assert list(model.state_dict()) == list(own.state_dict())


def test_an_encoder_that_the_package_alone_has() -> None:
    """It would need weights that no source of ours has."""
    raw = {"data": {"images": ".", "train": "a", "val": "b"}, "inits": {"a": {"source": "random"}}}
    model = {"architecture": "unet", "backbone": "vgg16_bn"}
    with pytest.raises(
        ConfigError, match=r"model\.backbone: expected resnet18, .* or timm:<model>"
    ):
        parse_study(raw | {"task": "segmentation", "model": model})


def _plans(names: list[str]) -> dict[str, FreezePlan]:
    config = _config()
    table, prefix = architecture_of(config).backbone(config).table, "encoder."
    policies = get_args(BatchNormPolicy)
    plans = {
        f"k={k} {policy}": FreezePlan.at_depth(table, k, batch_norm=policy, prefix=prefix)
        for k, policy in itertools.product((1, 10), policies)
    }
    plans["whole"] = FreezePlan.at_depth(table, 20, batch_norm="follow", prefix=prefix)
    plans["stage"] = FreezePlan.at_stage(table, "layer2", batch_norm="follow", prefix=prefix)
    later = table.layers[3::4]
    for policy in policies:  # what a rule makes: no prefix, so backward must go through it
        plans[f"rule {policy}"] = FreezePlan.of_layers(
            "rule", table, later, batch_norm=policy, prefix=prefix
        )
    for what in ("decoder.*", "segmentation_head.*", "decoder.*.0.weight"):
        plans[what] = FreezePlan.matching(names, [what], batch_norm="live")
    return plans


def test_every_kind_of_plan_holds(model: nn.Module) -> None:
    for label, plan in _plans(list(model.state_dict())).items():
        frozen = Frozen(model, plan).require_trainable()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-3)
        for _ in range(2):
            frozen.train()
            optimizer.zero_grad()
            model(torch.rand(2, 3, 32, 32)).square().mean().backward()
            optimizer.step()
        audit = frozen.audit()
        assert audit.passed, label
        assert audit.frozen == len(plan.tensors)
        rest = {name for name, _ in model.named_parameters()} - set(plan)
        assert rest, label
        assert not rest & set(audit.unmoved), label
        frozen.undo()


@pytest.mark.parametrize(
    "name",
    [
        "decoder.blocks.3.conv1.0.weight",
        "decoder.blocks.0.conv2.1.running_var",
        "decoder.blocks.4.conv2.1.num_batches_tracked",
    ],
)
def test_a_moved_decoder_tensor_is_caught(model: nn.Module, name: str) -> None:
    """Weights and what BatchNorm counts, by the smallest step there is."""
    plan = FreezePlan.matching(list(model.state_dict()), ["decoder.*"], batch_norm="live")
    frozen = Frozen(model, plan)
    assert frozen.audit().passed
    tensor = model.state_dict()[name].view(-1)
    kept = tensor[0].clone()
    tensor[0] = torch.nextafter(kept, kept + 1) if kept.is_floating_point() else kept + 1
    audit = frozen.audit()
    assert audit.changed == (name,)
    with pytest.raises(AuditError, match=re.escape(name)):
        require_passed(audit)
    tensor[0] = kept
    assert frozen.audit().passed
    frozen.undo()


def test_nothing_of_the_encoder_gets_a_gradient_where_all_of_it_is_frozen(
    model: nn.Module,
) -> None:
    """Backward stops where everything upstream is frozen."""
    config = _config()
    table = architecture_of(config).backbone(config).table
    frozen = Frozen(model, FreezePlan.at_depth(table, 20, prefix="encoder.", batch_norm="frozen"))
    seen: list[bool] = []
    handle = model.get_submodule("encoder").register_forward_hook(
        lambda _m, _i, maps: seen.extend(x.requires_grad for x in maps)
    )
    frozen.train()
    model(torch.rand(2, 3, 32, 32)).mean().backward()
    handle.remove()
    frozen.undo()
    assert seen
    assert not any(seen)


def test_no_download_and_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys; sys.modules['segmentation_models_pytorch'] = None\n"
        "from frostline.config import ModelConfig\n"
        "from frostline.architectures import architecture_of\n"
        "from frostline.architectures.building import build_model\n"
        "config = ModelConfig(architecture='unet', backbone='resnet18')\n"
        "assert len(architecture_of(config).backbone(config).table) == 20\n"
        "try:\n    build_model(config, 2)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("DependencyError")
    assert "frostline[unet]" in done.stdout
