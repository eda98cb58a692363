"""What one forward pass entered, used and left, in order: where a freeze can be cut."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

__all__ = ["Event", "Passage", "as_written"]

Event = tuple[Literal["enter", "use", "leave", "end"], str]

_COMPILED = "_orig_mod"  # what torch.compile puts between a module and its name


@dataclasses.dataclass(frozen=True, slots=True)
class Passage:
    """One forward pass through a model.

    Attributes:
        events: in order, each the first of its kind: a module is entered (``enter``), a tensor of
            the state dict is used (``use``), a module returns (``leave``). A module or tensor
            with several names is there under each. One ``end``: where the deepest depth is cut.
        training: the same of a pass in train mode, which may use more (auxiliary heads); None where
            there was none. What either pass uses before a cut lies before it.
    """

    events: tuple[Event, ...]
    training: "Passage | None" = None

    def before(self, module: str) -> frozenset[str]:
        """Tensors that are used before a module (or the first one inside it) is entered."""
        used = self._used(self.entry(module))
        if self.training is None or not any(self.training._positions("enter", module)):
            return used
        return used | self.training.before(module)

    def until(self, module: str) -> frozenset[str]:
        """Tensors that are used until a module (or the last one inside it) has returned."""
        used = self._used(self.exit(module))
        return used if self.training is None else used | self.training.until(module)

    def to_the_end(self) -> frozenset[str]:
        """Tensors that the deepest depth holds."""
        used = self._used(self.events.index(("end", "")))
        return used if self.training is None else used | self.training.to_the_end()

    def entry(self, module: str) -> int:
        """Position at which a module, or the first one inside it, is entered."""
        return min(self._positions("enter", module), default=len(self.events))

    def exit(self, module: str) -> int:
        """Position at which a module has returned; of one that is only a container, the last."""
        if ("leave", module) in self.events:
            return self.events.index(("leave", module))
        return max(self._positions("leave", module), default=-1)

    def find(self, module: str) -> tuple[str, ...]:
        """Full names of the modules that a name may mean: itself, else those that end with it.

        Several names of one module count as one.
        """
        entered = [name for kind, name in self.events if kind == "leave"]
        known = dict.fromkeys(part for name in entered for part in _ancestry(name))
        if module in known:
            return (module,)
        ending = f".{module}"
        fits = [name for name in known if f".{as_written(name)}".endswith(ending)]
        return tuple({self.exit(name): name for name in reversed(fits)}.values())[::-1]

    def _used(self, end: int) -> frozenset[str]:
        return frozenset(name for kind, name in self.events[:end] if kind == "use")

    def _positions(self, kind: str, module: str) -> Iterator[int]:
        inside = f"{module}." if module else ""
        for position, (what, name) in enumerate(self.events):
            if what == kind and (name == module or name.startswith(inside)):
                yield position


def as_written(name: str) -> str:
    """A module's or tensor's name without what ``torch.compile`` puts into it."""
    if _COMPILED not in name:
        return name
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def _ancestry(name: str) -> Iterator[str]:
    """A module's name, and those of the modules around it, without the root."""
    while name:
        yield name
        name = name.rpartition(".")[0]
