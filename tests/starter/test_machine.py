"""What is found of a machine without importing torch."""

import stat
import sys
from pathlib import Path

import pytest

from frostline.starter import machine as module
from frostline.starter import this_machine, torch_cache


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TORCH_HOME": "/t"}, "/t/hub/checkpoints"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/torch/hub/checkpoints"),
        ({"TORCH_HOME": "/t", "XDG_CACHE_HOME": "/x"}, "/t/hub/checkpoints"),
        ({"HOME": "/home/me"}, "/home/me/.cache/torch/hub/checkpoints"),
    ],
)
def test_cache_is_where_torch_has_it(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.hub

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert torch_cache() == Path(expected)
    assert torch_cache() == Path(torch.hub.get_dir()) / "checkpoints"


def _nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "gpu", "bf16"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 9.0'; echo 'second, 7.0'", "NVIDIA H100 80GB HBM3", True),
        ("echo 'Tesla T4, 7.5'", "Tesla T4", False),
        ("echo 'No devices were found'", None, None),
        ("exit 9", None, None),
    ],
)
def test_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    gpu: str | None,
    bf16: bool | None,
) -> None:
    _nvidia_smi(tmp_path, script, monkeypatch)
    found = this_machine()
    assert found.gpu == gpu
    if gpu is not None:
        assert found.bf16 is bf16
        assert found.where == gpu
    assert this_machine("cpu").gpu is None


def test_a_gpu_elsewhere_is_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = this_machine("cuda")
    assert found.gpu is not None
    assert not found.bf16
    assert "CPU with" in this_machine().where


@pytest.mark.parametrize(
    ("text", "bf16"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx512f\nbugs: avx512_bf16x\n", False),
    ],
)
def test_bf16_of_a_cpu(text: str, bf16: bool) -> None:
    assert (module._CPU_BF16.search(text) is not None) is bf16
