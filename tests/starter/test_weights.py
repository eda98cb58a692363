"""Which backbone and which starting weights are chosen."""

from pathlib import Path

import pytest

from frostline.errors import CheckpointError, ConfigError, PlanError
from frostline.starter.weights import PUBLISHED, choose, look_at, nearby_files
from tests.starter.builders import machine, write_backbone


def test_published_weights_are_torchvisions() -> None:
    from torchvision.models import get_weight

    for row in PUBLISHED:
        weights = get_weight(row.enum)
        assert weights.url.rpartition("/")[2] == row.file
        assert abs(weights.meta["_file_size"] - row.megabytes) <= 0.5, row.enum


def test_published_names_are_unique_by_backbone() -> None:
    keys = [(row.backbone, row.name) for row in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_nothing_here_means_downloads(tmp_path: Path) -> None:
    choice = choose([], [], machine(tmp_path))
    assert (choice.backbone, choice.downloads) == ("mobilenet_v3_large", True)
    assert [row.name for row in choice.absent] == ["imagenet", "coco", "imagenet_v2"]
    assert choose([], [], machine(tmp_path, gpu="A100")).backbone == "resnet50"


def test_the_cache_decides_the_backbone(tmp_path: Path) -> None:
    (tmp_path / "resnet18-f37072fd.pth").touch()
    choice = choose([], [], machine(tmp_path))
    assert choice.backbone == "resnet18"
    assert [row.enum for row in choice.cached] == ["ResNet18_Weights.IMAGENET1K_V1"]
    assert not choice.downloads
    other = choose([], [], machine(tmp_path), "resnet50")
    assert (other.backbone, other.reason, other.downloads) == ("resnet50", "as asked for", True)


def test_a_file_is_recognised_with_its_width(tmp_path: Path) -> None:
    file = look_at(write_backbone(tmp_path / "my best (2).safetensors", width=0.35))
    assert (file.name, file.backbone, file.width_mult) == ("my-best-2", "mobilenet_v2", 0.35)
    choice = choose([file.path], [], machine(tmp_path))
    assert (choice.width_mult, choice.cached, choice.absent) == (0.35, (), ())
    assert choice.reason == "what the weight files hold"


@pytest.mark.parametrize("without", ["running_var", "18.1.bias"])
def test_an_incomplete_backbone_is_refused(tmp_path: Path, without: str) -> None:
    path = write_backbone(tmp_path / "a.safetensors", without=without)
    with pytest.raises(ConfigError, match=r"a\.safetensors: its mobilenet_v2 has tensors missing"):
        look_at(path)


def test_nearby_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    write_backbone(tmp_path / "a.safetensors")
    write_backbone(tmp_path / "copy.safetensors")
    write_backbone(tmp_path / "c.safetensors", width=0.35)
    write_backbone(tmp_path / "d.safetensors", seed=2)
    (tmp_path / "e.pt").write_bytes(b"nothing of the kind")
    files = nearby_files([tmp_path, tmp_path, tmp_path / "absent"])
    choice = choose([], files, machine(tmp_path))
    assert [file.name for file in choice.files] == ["a", "d"]
    assert choice.reason == "2 of its starting weights are on this machine"
    left_out = "\n".join(choice.left_out)
    assert "e.pt: expected a weight file" in left_out
    assert "c.safetensors: holds mobilenet_v2 of width 0.35" in left_out
    assert "copy.safetensors: the weights of a.safetensors" in left_out


def test_given_files_must_agree(tmp_path: Path) -> None:
    a = write_backbone(tmp_path / "a.safetensors")
    b = write_backbone(tmp_path / "b.safetensors", width=0.35)
    with pytest.raises(ConfigError, match=r"expected weights of mobilenet_v2 of width 0\.1, got"):
        choose([a, b], [], machine(tmp_path))
    with pytest.raises(ConfigError, match="expected weights of resnet18"):
        choose([a], [], machine(tmp_path), "resnet18")
    with pytest.raises(CheckpointError):
        choose([tmp_path / "none.pth"], [], machine(tmp_path))
    with pytest.raises(PlanError, match="unknown backbone 'resnet51'"):
        choose([], [], machine(tmp_path), "resnet51")


def test_names_differ_in_more_than_case(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    a = write_backbone(tmp_path / "Start.safetensors")
    b = write_backbone(tmp_path / "x" / "start.safetensors", seed=2)
    assert [file.name for file in choose([a, b], [], machine(tmp_path)).files] == [
        "Start",
        "start-2",
    ]


def test_real_weights(real_weights: Path, tmp_path: Path) -> None:
    choice = choose([], nearby_files([real_weights]), machine(tmp_path))
    assert choice.backbone == "mobilenet_v2"
    assert [file.name for file in choice.files] == [
        "mobilenet_v2_coco_ssd_dequant",
        "mobilenet_v2_coco_then_vocperson_ssdlite",
        "mobilenet_v2_imagenet",
    ]
    assert choice.left_out == (
        "efficientnet-lite0-57934424.pth: no known backbone in it",
        "mobilenet_v2_imagenet_original.pt: the weights of mobilenet_v2_imagenet.safetensors",
    )
