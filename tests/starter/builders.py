"""Weight files and machines for tests, without torch."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from frostline.depth import layer_table
from frostline.starter import Machine


def machine(cache: Path, *, gpu: str | None = None, bf16: bool = False) -> Machine:
    return Machine(cores=2, gpu=gpu, bf16=bf16, cache=cache)


def write_backbone(
    path: Path,
    architecture: str = "mobilenet_v2",
    width: float = 0.1,
    *,
    seed: int = 1,
    without: str = "nothing",
) -> Path:
    """A backbone under torchvision's names; tensors whose name has ``without`` are left out."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in layer_table(architecture, width_mult=width).layers:
        values = rng.standard_normal(layer.shape).astype(np.float16)
        tensors[f"features.{layer.name}.weight"] = values
        if layer.bias:
            tensors[f"features.{layer.name}.bias"] = np.zeros(layer.shape[0], np.float16)
        if layer.norm is not None:
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"features.{layer.norm}.{part}"] = np.ones(layer.shape[0], np.float16)
    save_file({name: t for name, t in tensors.items() if without not in name}, path)
    return path
