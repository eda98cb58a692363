import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from frostline.architectures import architecture_of
from frostline.architectures.building import load_tensors
from frostline.config import IMAGENET, InitConfig, ModelConfig, Normalisation
from frostline.errors import CheckpointError, ConfigError, DownloadError, InitError
from frostline.inits import match_source, open_source
from tests.helpers import build_detector
from tests.hub_server import put_in_cache

_match = functools.partial(match_source, architecture=architecture_of(ModelConfig()))
CONFIG = ModelConfig(backbone="resnet18", preset="slim", image_size=64)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return dict(build_detector(CONFIG, 2, seed=3).state_dict())


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _body(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    start = "backbone.body."
    return {prefix + n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: _body(s) | {"fc.weight": torch.zeros(10, 512)},
        lambda s: _body(s, "module."),
        lambda s: {"model": dict(s), "epoch": 3},
        lambda s: {"state_dict": {f"model.{n}": t for n, t in s.items()}},
        lambda s: _body(s, "backbone."),
    ],
    ids=["classifier", "data-parallel", "nested-detector", "lightning", "bare-backbone"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_layouts_fill_the_backbone(
    tmp_path: Path, state: dict[str, Tensor], wrap: Any, suffix: str
) -> None:
    content = wrap(state)
    if suffix == ".safetensors":
        if not all(isinstance(value, Tensor) for value in content.values()):
            pytest.skip("safetensors files are flat")
        safetensors.torch.save_file(content, tmp_path / f"w{suffix}")
    else:
        torch.save(content, tmp_path / f"w{suffix}")
    source = open_source(f"w{suffix}", tmp_path)
    tensors, record = _match(source, _shapes(state), InitConfig(source="w"))
    assert set(tensors) == {name for name in state if name.startswith("backbone.body.")}
    assert record.missing == ()
    assert record.matched == len(tensors)
    fresh = build_detector(CONFIG, 2, seed=4)
    load_tensors(fresh, tensors)
    for name, array in tensors.items():
        assert np.array_equal(fresh.state_dict()[name].numpy(), array)
        assert torch.equal(fresh.state_dict()[name], state[name])


def test_parts_and_the_class_predictor(tmp_path: Path, state: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(state, tmp_path / "d.safetensors")
    other = _shapes(build_detector(CONFIG, 5).state_dict())
    source = open_source("d.safetensors", tmp_path)
    tensors, record = _match(source, other, InitConfig(source="d", parts=("all",)))
    assert len(record.mismatched) == 4  # weight and bias of scores and of boxes
    assert all(text.startswith("roi_heads.box_predictor.") for text in record.mismatched)
    assert "rpn.head.conv.0.0.weight" in tensors
    neck, _ = _match(source, other, InitConfig(source="d", parts=("backbone", "neck")))
    assert {name.split(".")[1] for name in neck} == {"body", "fpn"}


def test_old_torchvision_names_of_neck_and_rpn(tmp_path: Path, state: dict[str, Tensor]) -> None:
    old = {
        name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if "fpn" in name
        else name.replace("conv.0.0", "conv"): tensor
        for name, tensor in state.items()
    }
    torch.save(old, tmp_path / "old.pth")
    parts = ("backbone", "neck", "rpn")
    source = open_source("old.pth", tmp_path)
    _, record = _match(source, _shapes(state), InitConfig(source="old", parts=parts))
    assert record.missing == ()


def test_another_architecture_is_an_error(tmp_path: Path, state: dict[str, Tensor]) -> None:
    other = build_detector(CONFIG.model_copy(update={"backbone": "resnet34"}), 2).state_dict()
    safetensors.torch.save_file(_body(state), tmp_path / "r18.safetensors")
    source = open_source("r18.safetensors", tmp_path)
    with pytest.raises(InitError, match=r"first unfilled: .*layer1\.2"):
        _match(source, _shapes(dict(other)), InitConfig(source="r18"))


def test_allow_missing_by_name(tmp_path: Path, state: dict[str, Tensor]) -> None:
    body = {n: t for n, t in _body(state).items() if not n.startswith("layer4.1")}
    safetensors.torch.save_file(body, tmp_path / "cut.safetensors")
    source = open_source("cut.safetensors", tmp_path)
    allowed = InitConfig(source="cut", allow_missing=("backbone.body.layer4.1.*",))
    _, record = _match(source, _shapes(state), allowed)
    assert len(record.missing) == 10
    with pytest.raises(InitError, match="allow_missing"):
        _match(source, _shapes(state), InitConfig(source="cut"))


RGB = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.01, 0.01, 0.01))
BGR = RGB.model_copy(update={"bgr": True})


def test_names_of_detectron2_do_not_say_which_pixels_they_know(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    body = {_detectron2(name): tensor for name, tensor in _body(state).items()}
    safetensors.torch.save_file(body, tmp_path / "d2.safetensors")
    source = open_source("d2.safetensors", tmp_path)
    with pytest.raises(InitError, match=r"'d2.safetensors' .* blue, green, red .* normalisation"):
        _match(source, _shapes(state), InitConfig(source="d2"))
    stem = "backbone.body.conv1.weight"
    for normalisation, step in ((RGB, 1), (BGR, -1)):
        init = InitConfig(source="d2", normalisation=normalisation)
        tensors, record = _match(source, _shapes(state), init)
        assert record.missing == ()
        assert record.normalisation == normalisation
        assert np.array_equal(tensors[stem], state[stem].numpy()[:, ::step])
        second = "backbone.body.layer1.0.conv1.weight"
        assert np.array_equal(tensors[second], state[second].numpy())


def _detectron2(name: str) -> str:
    stem = {"conv1.weight": "stem.conv1.weight"}.get(name, name.replace("bn1", "stem.conv1.norm"))
    if not name.startswith("layer"):
        return stem
    name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def test_turning_colours_round_needs_three_of_them(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    body = {n: t for n, t in _body(state).items() if n != "conv1.weight"}
    safetensors.torch.save_file(body, tmp_path / "cut.safetensors")
    init = InitConfig(source="c", normalisation=BGR, allow_missing=("backbone.body.conv1.*",))
    with pytest.raises(InitError, match="'bgr' turns round the three input channels"):
        _match(open_source("cut.safetensors", tmp_path), _shapes(state), init)


def test_a_part_of_a_file_is_recorded_and_can_be_chosen(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"model": state, "ema": averaged}, tmp_path / "both.pth")
    name = "backbone.body.conv1.weight"
    for asked, taken, content in ((None, "model", state), ("ema", "ema", averaged)):
        source = open_source("both.pth", tmp_path, section=asked)
        tensors, record = _match(source, _shapes(state), InitConfig(source="both.pth"))
        assert record.section == taken
        assert np.array_equal(tensors[name], content[name].numpy())
    with pytest.raises(CheckpointError, match="swa"):
        open_source("both.pth", tmp_path, section="swa")


def test_random_takes_nothing(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = open_source("random", tmp_path)
    assert _match(source, _shapes(state), InitConfig(source="random"))[0] == {}


def test_missing_file_and_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_source("none.pth", tmp_path)
    with pytest.raises(InitError, match="ResNet50_Weights"):
        open_source("torchvision:NoSuch_Weights.X", tmp_path)
    with pytest.raises(ConfigError, match=r"timm .* has no model 'resnet05'"):
        open_source("timm:resnet05", tmp_path)
    with pytest.raises(InitError, match=r"source 'hf:me/net': expected hf:<owner>"):
        open_source("hf:me/net", tmp_path)


def test_torchvision_weights_from_the_cache(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(_body(state), folder / "resnet18-f37072fd.pth")
    source = open_source("torchvision:ResNet18_Weights.IMAGENET1K_V1", tmp_path)
    _, record = _match(source, _shapes(state), InitConfig(source="x"))
    assert record.source == "torchvision:ResNet18_Weights.IMAGENET1K_V1"
    assert record.missing == ()


def test_failed_download_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(DownloadError, match="check the network or proxy"):
        open_source("torchvision:ResNet18_Weights.IMAGENET1K_V1", tmp_path)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


def test_download_goes_to_torchs_cache(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    prefixes: list[str | None] = []

    def fetch(url: str, path: str, hash_prefix: str | None, progress: bool) -> None:
        prefixes.append(hash_prefix)
        torch.save(_body(state), path)

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    source = open_source("torchvision:ResNet18_Weights.IMAGENET1K_V1", tmp_path)
    assert source.checkpoint is not None
    assert prefixes == ["f37072fd"]


def test_timm_weights_fill_timms_backbone_and_say_how_they_see_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classifier is left over, the normalisation is the source's unless the init has one."""
    import huggingface_hub.constants
    import timm

    whole = timm.create_model("test_resnet", pretrained=False)
    content = safetensors.torch.save(whole.state_dict())
    put_in_cache(tmp_path, "timm/test_resnet.r160_in1k", "model.safetensors", content)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = build_detector(ModelConfig(backbone="timm:test_resnet", preset="slim"), 1)
    source = open_source("timm:test_resnet", tmp_path)
    shapes = _shapes(dict(model.state_dict()))
    tensors, record = _match(source, shapes, InitConfig(source="timm:test_resnet"))
    load_tensors(model, tensors)
    for name, tensor in model.backbone.body.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    assert record.source == "timm:test_resnet.r160_in1k"
    assert record.unexpected == ("fc.bias", "fc.weight")
    assert record.normalisation == Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    own = InitConfig(source="timm:test_resnet", normalisation=IMAGENET)
    assert _match(source, shapes, own)[1].normalisation == IMAGENET


def test_hub_weights_fill_torchvisions_backbone(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    put_in_cache(tmp_path, "me/net", "w/r18.safetensors", safetensors.torch.save(_body(state)))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    source = open_source("hf:me/net/w/r18.safetensors", tmp_path)
    _, record = _match(source, _shapes(state), InitConfig(source="x"))
    assert (record.source, record.missing) == ("hf:me/net/w/r18.safetensors", ())
    assert record.normalisation is None  # the hub does not say


def test_real_efficientnet_lite0_fills_timms(real_weights: Path) -> None:
    """Another layout of names, TensorFlow's padding, a head that the backbone does not have."""
    config = ModelConfig(backbone="timm:tf_efficientnet_lite0", preset="slim", image_size=64)
    model = build_detector(config, 1)
    source = open_source("efficientnet-lite0-57934424.pth", real_weights)
    tensors, record = _match(source, _shapes(dict(model.state_dict())), InitConfig(source="x"))
    assert record.matched == 48 * 6  # num_batches_tracked too
    assert record.missing == record.mismatched == ()
    assert {name.split(".")[0] for name in record.unexpected} == {"_conv_head", "_bn1", "_fc"}
    load_tensors(model, tensors)
    stem = model.backbone.body.conv_stem.weight.detach().numpy()
    assert source.checkpoint is not None
    assert np.array_equal(stem, source.checkpoint["_conv_stem.weight"].read())


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2_imagenet.safetensors",
        "mobilenet_v2_imagenet_original.pt",
        "mobilenet_v2_coco_then_vocperson_ssdlite.safetensors",
        "mobilenet_v2_coco_ssd_dequant.safetensors",
    ],
)
def test_real_weights_fill_mobilenet_v2(real_weights: Path, name: str) -> None:
    model = build_detector(ModelConfig(backbone="mobilenet_v2", preset="slim"), 1)
    source = open_source(name, real_weights)
    _, record = _match(source, _shapes(dict(model.state_dict())), InitConfig(source=name))
    assert record.matched == 52 * 5
    assert record.missing == record.mismatched == ()
