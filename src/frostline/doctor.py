"""What is installed here, what it can use, and what is wrong with it, in plain words."""

import importlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from frostline.errors import DependencyError
from frostline.extras import install_command
from frostline.records import environment
from frostline.starter.machine import this_machine, torch_cache, usable_cores

__all__ = ["Fact", "examine", "import_problem", "require_torch", "unmet_requirements"]

_CHECKED = ("frostline", "torchvision")  # whose requirements are looked at
_LEAST_FREE_GB = 1.0  # the largest published start has 0.2 GB


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of ``frostline doctor``.

    Attributes:
        what: package, device or folder.
        value: what was found.
        problem: what is wrong and what to do; empty if nothing is.
    """

    what: str
    value: str
    problem: str = ""


def examine() -> tuple[Fact, ...]:
    """Versions, optional extras, devices and the weights cache of this machine."""
    return (*_versions(), *_extras(), *_devices(), _cache())


def require_torch() -> None:
    """Import torch and torchvision, or say in one line why that fails.

    Raises:
        DependencyError: one of them is missing or broken, or the two do not fit each other.
    """
    problem = import_problem()
    if problem:
        raise DependencyError(f"{problem}; `frostline doctor` says more")


def import_problem() -> str:
    """Why torch or torchvision cannot be imported, and what to do; empty if they can."""
    for package in ("torch", "torchvision"):
        try:
            importlib.import_module(package)
        except Exception as error:
            reasons = [text for _, text in unmet_requirements(("torchvision",))]
            came = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            advice = reasons[0] if reasons else "install both again: pip install torch torchvision"
            return f"{package} cannot be imported ({came}); {advice}"
    return ""


def unmet_requirements(packages: Iterable[str] = _CHECKED) -> Iterator[tuple[str, str]]:
    """What packages need and do not find: name of the needed package, and a line about it.

    The packages' own metadata say what they need, so that no table of versions grows old here.
    """
    for package in packages:
        for needed in _requirements(package):
            found = _version(needed.name)
            if found is not None and needed.specifier.contains(found, prereleases=True):
                continue
            came = f"found {found}" if found else "it is not installed"
            wanted = f"{needed.name}{needed.specifier}"
            both = f"'{wanted}'" if package == "frostline" else f"{needed.name} {package}"
            yield (
                needed.name,
                f"{package} {_version(package)} needs {wanted}, {came}: "
                f"pip install --upgrade {both}",
            )


def _requirements(package: str, extra: str | None = None) -> Iterator[Requirement]:
    """What a package needs on this platform, for itself or for one of its extras."""
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        try:
            needed = Requirement(line)
        except InvalidRequirement:  # not ours to judge
            continue
        always = needed.marker is None or needed.marker.evaluate({"extra": ""})
        with_extra = needed.marker is not None and needed.marker.evaluate({"extra": extra or ""})
        if always if extra is None else with_extra and not always:
            yield needed


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Fact]:
    facts = environment()
    problems: dict[str, str] = {}
    for name, line in unmet_requirements():
        problems.setdefault(name, line)
    for name in dict.fromkeys((*facts, *problems)):
        yield Fact(
            name, facts.get(name) or _version(name) or "not installed", problems.get(name, "")
        )


def _extras() -> Iterator[Fact]:
    """Optional parts of frostline; one that is missing is no problem."""
    try:
        names = metadata.metadata("frostline").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    for extra in sorted(names):
        needed = list(dict.fromkeys(r.name for r in _requirements("frostline", extra)))
        there = [f"{name} {_version(name)}" for name in needed if _version(name)]
        absent = [name for name in needed if not _version(name)]
        text = ", ".join(there)
        if absent:
            text = f"not installed: {', '.join(absent)} ({install_command(extra)})"
        yield Fact(f"extra {extra}", text)


def _devices() -> Iterator[Fact]:
    yield Fact("cpu cores", str(usable_cores()))
    problem = import_problem()
    if problem:
        yield Fact("torch imports", "no", problem)
        return
    import torch

    yield Fact("cpu capability", torch.backends.cpu.get_cpu_capability())
    if torch.cuda.is_available():
        yield Fact("cuda", torch.cuda.get_device_name())
        return
    seen = this_machine().gpu
    problem = (
        f"nvidia-smi sees {seen}, but this torch ({torch.__version__}) cannot use it: install the "
        f"build for your CUDA version, see pytorch.org"
    )
    yield Fact("cuda", "none", problem if seen else "")


def _cache() -> Fact:
    """The folder of downloaded weights: free space, and whether it can be written."""
    folder = torch_cache()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    problem = ""
    if not os.access(there, os.W_OK):
        problem = f"{there} cannot be written: set TORCH_HOME to a folder that can"
    elif free < _LEAST_FREE_GB:
        problem = f"{free:.1f} GB are free: make room, or set TORCH_HOME to another disk"
    files = len(list(folder.glob("*.pth"))) if folder.is_dir() else 0
    noun = "file" if files == 1 else "files"
    return Fact("weights cache", f"{_home(folder)} ({files} {noun}, {free:.0f} GB free)", problem)


def _home(path: Path) -> str:
    """With ``~`` for the home folder: a bug report need not name its owner."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return str(path)
