"""Names of tensors across frameworks: wrapper prefixes, and which name means which."""

from collections.abc import Iterable
from typing import Final

__all__ = ["strip_prefixes"]

# Added around a whole model by a wrapper; never part of a torchvision, timm or detectron2 name.
_ALWAYS: Final = ("module.", "_orig_mod.")
# Also names of real submodules, so they go only where every tensor has them.
_SHARED: Final = (
    "model.", "net.", "network.", "model_ema.", "ema_model.", "ema.", "student.", "teacher.",
    "detector.", "module.",
)  # fmt: skip


def strip_prefixes(names: Iterable[str]) -> dict[str, str]:
    """Each name -> the name without the prefixes that wrappers put in front.

    ``module.`` (DataParallel, averaging) and ``_orig_mod.`` (torch.compile) go wherever they lead
    a name; ``_orig_mod.`` also inside one. ``model.``, ``ema.`` and the like go only where all
    names share them. Nothing is stripped that would make two names equal.

    Example:
        >>> strip_prefixes(["module.conv1.weight", "module.bn1.weight"])
        {'module.conv1.weight': 'conv1.weight', 'module.bn1.weight': 'bn1.weight'}
    """
    result = {name: name for name in names}
    for _ in range(8):  # wrappers around wrappers
        stripped = {
            raw: _strip_once(name, _shared(result.values())) for raw, name in result.items()
        }
        if stripped == result or len(set(stripped.values())) != len(stripped):
            break
        result = stripped
    return result


def _shared(names: Iterable[str]) -> str:
    names = list(names)
    for prefix in _SHARED:
        if names and all(name.startswith(prefix) and name != prefix for name in names):
            return prefix
    return ""


def _strip_once(name: str, shared: str) -> str:
    name = name.removeprefix(shared) if shared else name
    for prefix in _ALWAYS:
        name = name.removeprefix(prefix) or name
    return name.replace("._orig_mod.", ".")
