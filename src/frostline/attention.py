"""Where a forward pass calls attention, and the blocks that it divides a model into."""

import re
from collections.abc import Iterator, Sequence

from torch import nn

__all__ = ["AttentionCalls", "is_attention_function"]

_CLASS = re.compile(r"attention", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(^|_)(attn|attention)\d*$")
_MATRIX = 2  # dimensions of a weight that is more than a scale


def is_attention_function(name: str) -> bool:
    """Whether a function of torch is attention."""
    return name == "scaled_dot_product_attention"


class AttentionCalls:
    """Attention calls of one forward pass: by function, by class or by the name of a module.

    Attributes:
        first: position of the first one among the tracer's events; None without any.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._modules = dict(root.named_modules())
        self._named = {name for name, module in self._modules.items() if _is_named(name, module)}
        self._calls: dict[str, None] = {}
        self.first: int | None = None

    def enter(self, name: str, module: nn.Module, position: int) -> None:
        """A module is entered: attention if it is named so, and nothing inside it is."""
        if name in self._named and not any(self._inside(name, self._named)):
            self._note(name, position)

    def called(self, running: Sequence[str], position: int) -> None:
        """The function is called, by the innermost of some modules."""
        if running:
            self._note(running[-1], position)

    def blocks(self, *, after: int) -> list[str]:
        """Names of the blocks, in the order of their first attention.

        A block is the smallest module around an attention that holds weights besides it.

        Args:
            after: position of the last convolution; no blocks where attention comes before it.
        """
        if self.first is None or self.first < after:
            return []
        whole = list(dict.fromkeys(self._whole(name) for name in self._calls))
        found = [self._around(name, whole) for name in whole]
        blocks = [block for block in found if block]
        return list(dict.fromkeys(blocks or [self._repeated(name) for name in whole]))

    def _note(self, name: str, position: int) -> None:
        self._calls[name] = None
        if self.first is None:
            self.first = position

    def _whole(self, name: str) -> str:
        """The outermost module named attention that holds this attention and no other."""
        best = name
        for outer in _ancestors(name):
            if len(list(self._inside(outer, self._calls))) > 1:
                break
            if outer in self._named:
                best = outer
        return best

    def _around(self, name: str, attentions: Sequence[str]) -> str:
        """The nearest module with a weight matrix outside of every attention; "" for the root."""
        for outer in _ancestors(name):
            inside = f"{outer}."
            for path, parameter in self._modules[outer].named_parameters(prefix=outer):
                own = any(path.startswith(f"{attention}.") for attention in attentions)
                if path.startswith(inside) and not own and parameter.ndim >= _MATRIX:
                    return outer
        return ""

    def _repeated(self, name: str) -> str:
        """The nearest module that is a member of a list; else the attention itself."""
        for path in (name, *_ancestors(name)):
            parent = self._modules[path.rpartition(".")[0]]
            if isinstance(parent, nn.Sequential | nn.ModuleList | nn.ModuleDict):
                return path
        return name

    def _inside(self, outer: str, names: "set[str] | dict[str, None]") -> Iterator[str]:
        yield from (name for name in names if name.startswith(f"{outer}."))


def _is_named(name: str, module: nn.Module) -> bool:
    """Attention by its class or its name; not the root, which is named after the whole."""
    attribute = name.rpartition(".")[2]
    named = _CLASS.search(type(module).__name__) or _ATTRIBUTE.search(attribute)
    return bool(name and named) and any(True for _ in module.parameters())


def _ancestors(name: str) -> Iterator[str]:
    """Modules around a module, from the nearest, without the root."""
    while name := name.rpartition(".")[0]:
        yield name
