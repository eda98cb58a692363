"""What this machine has, found without importing torch: its import alone costs two seconds."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Device", "Machine", "this_machine", "torch_cache", "usable_cores"]

Device = Literal["auto", "cpu", "cuda"]

_AMPERE = 8.0  # CUDA compute capability from which bf16 is done in hardware
_CPU_BF16 = re.compile(r"^flags\s*:.*\b(?:avx512_bf16|amx_bf16)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the study is expected to run.

    Attributes:
        cores: CPU cores that a process may use, >= 1.
        gpu: name of the first GPU, or None.
        bf16: whether bfloat16 arithmetic is done in hardware, on the GPU or else on the CPU.
        cache: folder in which torchvision's weights are kept once they were downloaded.
    """

    cores: int
    gpu: str | None
    bf16: bool
    cache: Path

    @property
    def where(self) -> str:
        """The part that trains, in words."""
        return self.gpu or f"a CPU with {self.cores} cores"


def this_machine(device: Device = "auto") -> Machine:
    """Look at this machine.

    Args:
        device: ``cpu`` looks for no GPU; ``cuda`` expects one, also where none is found here.
    """
    found = None if device == "cpu" else _gpu()
    if found is None and device == "cuda":
        found = ("a GPU that is not in this machine", False)
    gpu, bf16 = found or (None, _cpu_has_bf16())
    return Machine(usable_cores(), gpu, bf16, torch_cache())


def usable_cores() -> int:
    """CPU cores that this process may use: on a shared machine not all that there are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_cache() -> Path:
    """Folder of downloaded weights, by the rule of ``torch.hub.get_dir``."""
    home = os.environ.get("TORCH_HOME")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _gpu() -> tuple[str, bool] | None:
    """Name of the first NVIDIA GPU, and whether it has bf16."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None  # the driver does not answer: torch would not find the GPU either
    name, _, capability = result.stdout.partition("\n")[0].rpartition(",")
    try:
        return name.strip(), float(capability) >= _AMPERE
    except ValueError:
        return None


def _cpu_has_bf16() -> bool:
    try:
        return _CPU_BF16.search(Path("/proc/cpuinfo").read_text(encoding="utf-8")) is not None
    except OSError:  # not Linux: unknown, so not claimed
        return False
