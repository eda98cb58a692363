"""Sources of the hubs, with the libraries' own cache layouts and a hub of this machine."""

import hashlib
import io
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frostline.errors import ConfigError, DependencyError, DownloadError, InitError
from frostline.extras import load_extra
from frostline.hubs import hf_file, timm_config, timm_file
from tests.hub_server import COMMIT, closed_port, hub, open_sources, put_in_cache

TENSORS = {"conv1.weight": torch.ones(2, 3, 1, 1), "conv1.bias": torch.zeros(2)}
SAFE = safetensors.torch.save(TENSORS)
OTHER = safetensors.torch.save({"conv1.weight": torch.zeros(2, 3, 1, 1)})


def _pickled() -> bytes:
    file = io.BytesIO()
    torch.save(TENSORS, file)
    return file.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both caches in an empty folder, and a hub that does not answer, in this process."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    template = closed_port() + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return tmp_path


def test_caches_are_used_without_a_network(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "me/net", "model.safetensors", SAFE)
    put_in_cache(tmp_path, "me/net", "fold1/w.pth", _pickled(), ref="v2", commit="b" * 40)
    put_in_cache(tmp_path, "timm/test_resnet.r160_in1k", "model.safetensors", OTHER)
    put_in_cache(tmp_path, "timm/test_vit.r160_in1k", "pytorch_model.bin", _pickled())
    plain, tagged, commit, resnet, vit, missing, gone = open_sources(
        "hf:me/net/model.safetensors",
        "hf:me/net@v2/fold1/w.pth",
        f"hf:me/net@{'b' * 40}/fold1/w.pth",
        "timm:test_resnet",
        "timm:test_vit.r160_in1k",
        "hf:me/net/other.safetensors",
        "timm:test_efficientnet",
        HF_HOME=str(tmp_path),
        HF_ENDPOINT=closed_port(),
    )
    assert plain == {"name": "hf:me/net/model.safetensors", "sha256": _digest(SAFE), "tensors": 2}
    assert tagged["sha256"] == commit["sha256"] == vit["sha256"] == _digest(_pickled())
    assert resnet["name"] == "timm:test_resnet.r160_in1k"
    assert (resnet["sha256"], resnet["mean"]) == (_digest(OTHER), [0.5, 0.5, 0.5])
    for answer in (missing, gone):
        assert answer["error"] == "DownloadError"
        assert "Connection refused" in answer["text"]
        assert f"{tmp_path}/hub" in answer["text"]
        assert "\n" not in answer["text"]


def test_offline_mode_is_named(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "me/net", "model.safetensors", SAFE)
    found, missing = open_sources(
        "hf:me/net/model.safetensors",
        "hf:me/net@v9/model.safetensors",
        HF_HUB_CACHE=str(tmp_path / "hub"),
        HF_HUB_OFFLINE="1",
    )
    assert found["sha256"] == _digest(SAFE)
    assert missing["error"] == "DownloadError"
    assert "HF_HUB_OFFLINE" in missing["text"]


def test_files_are_fetched_into_the_cache(tmp_path: Path) -> None:
    files = {
        "me/net/model.safetensors": SAFE,
        "tampered/net/model.safetensors": SAFE,
        "timm/test_resnet.r160_in1k/pytorch_model.bin": _pickled(),
        "timm/test_convnext.r160_in1k/readme.md": b"no weights here",
    }
    with hub(files) as address:
        place = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": address}
        plain, resnet, none, no_file, no_repo, no_revision, tampered, broken = open_sources(
            "hf:me/net/model.safetensors",
            "timm:test_resnet",
            "timm:test_convnext",
            "hf:me/net/other.bin",
            "hf:you/net/model.bin",
            "hf:me/net@gone/model.bin",
            "hf:tampered/net/model.safetensors",
            "hf:broken/net/model.bin",
            **place,
        )
    assert plain["sha256"] == _digest(SAFE)
    assert resnet["sha256"] == _digest(_pickled())
    assert "has none of model.safetensors, pytorch_model.bin" in none["text"]
    assert "has no file 'other.bin' in repository 'me/net'" in no_file["text"]
    assert "shows no repository 'you/net'" in no_repo["text"]
    assert "has no repository 'me/net' at 'gone'" in no_revision["text"]
    assert f"expected SHA-256 {_digest(b'')}, got {_digest(SAFE)}" in tampered["text"]
    assert not list((tmp_path / "hub" / "models--tampered--net").rglob("*.safetensors"))
    assert "503" in broken["text"]
    for answer in (none, no_file, no_repo, no_revision, tampered, broken):
        assert answer["error"] == "DownloadError"
        assert "\n" not in answer["text"]
    cached = tmp_path / "hub" / "models--me--net" / "snapshots" / COMMIT / "model.safetensors"
    assert cached.read_bytes() == SAFE


def test_a_proxy_that_is_not_there_is_named(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    with pytest.raises(DownloadError, match=r"check the proxy \(HTTP_PROXY"):
        hf_file("me/net/model.safetensors")


def test_timm_weights_in_torchs_cache(no_cache: Path) -> None:
    folder = no_cache / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18_a1_0-d63eafa0.pth").write_bytes(_pickled())
    found = timm_file("resnet18")
    assert found.name == "timm:resnet18.a1_in1k"
    assert found.path == folder / "resnet18_a1_0-d63eafa0.pth"
    assert found.normalisation is not None
    assert found.normalisation.mean == (0.485, 0.456, 0.406)


def test_timm_weights_with_an_address_only(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def fetch(url: str, path: str, hash_prefix: str | None, progress: bool) -> None:
        asked.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(_pickled())

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    assert timm_file("legacy_seresnet18.in1k").path.read_bytes() == _pickled()
    assert asked == [("seresnet18-4bb0ce65.pth", "4bb0ce65")]


def test_models_without_weights(no_cache: Path) -> None:
    with pytest.raises(InitError, match=r"no weights for 'timm:coatnet_0_224.untrained'"):
        timm_file("coatnet_0_224.untrained")


def test_unknown_names_of_timm() -> None:
    with pytest.raises(ConfigError, match=r"no model 'resnt50'; did you mean resnet50 or"):
        timm_config("resnt50")
    with pytest.raises(ConfigError, match=r"no model .qqqqqq.; timm\.list_models"):
        timm_config("qqqqqq")
    with pytest.raises(ConfigError, match="no tag 'a1' of 'resnet18': expected one of a1_in1k, "):
        timm_config("resnet18.a1")


@pytest.mark.parametrize(
    "location",
    [
        "",
        "me",
        "me/net",
        "me/net/",
        "me/net@/w.pth",
        "/me/net/w.pth",
        "me/net/../w",
        "me/net/a\\b",
        "me/net//etc/w",
    ],
)
def test_locations_that_are_none(location: str) -> None:
    with pytest.raises(InitError, match=r"expected hf:<owner>/<repo>/<file>"):
        hf_file(location)


def test_names_that_the_hub_refuses(no_cache: Path) -> None:
    with pytest.raises(InitError, match="a--b"):
        hf_file("me/a--b/w.pth")


@pytest.mark.parametrize(("module", "extra"), [("timm", "timm"), ("huggingface_hub", "hf")])
def test_a_missing_package_names_its_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=rf"pip install 'frostline\[{extra}\]'"):
        hf_file("me/net/w.pth") if extra == "hf" else timm_file("resnet18")
    with pytest.raises(DependencyError, match=module):
        load_extra(module, extra)
