"""Taking down one forward pass: which modules it calls, which tensors of the model it uses."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frostline.passage import Event

__all__ = ["Tracer", "aliases", "eager_and_quiet", "state_names", "unmoved"]

_CONVOLUTION = re.compile(r"(^|_)conv(olution)?(_|\d|$)")  # convolution, deform_conv2d
_VALUE_FREE = re.compile(r"(_like$|^new_)")  # what takes a shape and a type, and no values


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes of one forward pass, from hooks on modules and from every operation on tensors.

    A tensor counts as used where an operation reads or writes its memory, under whatever name and
    through whatever view, so functional calls, ties and parametrizations are seen, too. Buffers
    that eval mode leaves alone (counters) count as used with the module that owns them.

    Attributes:
        events: see ``passage.Passage``; without ``end``.
        calls: module -> number of calls, by first name, in the order of the first.
        running: names of the modules that are being called, the innermost last.
        convolved: modules without children that called a convolution themselves.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.root = root
        self.events: list[Event] = []
        self.calls: dict[str, int] = {}
        self.running: list[str] = []
        self.convolved: dict[str, None] = {}
        self._aliases = aliases(root)
        self._memory = _Memory(root)
        self._noted: set[Event] = set()

    @contextmanager
    def hooks(
        self,
        enter: Callable[[str, nn.Module, Any], None],
        leave: Callable[[str, nn.Module, Any, Any], None],
    ) -> Iterator[None]:
        """Hooks in force, their removal certain.

        Args:
            enter: called with name, module and inputs when a module is entered.
            leave: called with name, module, inputs and output when it has returned.
        """
        with ExitStack() as stack:
            for name, module in self.root.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                # Before hooks that others have put there: those may use the module's tensors.
                first = module.register_forward_pre_hook(self._entering(name, enter), prepend=True)
                stack.callback(first.remove)
                last = module.register_forward_hook(self._leaving(name, leave))
                stack.callback(last.remove)
            yield

    def is_incomplete(self) -> bool:
        """Whether the pass has added tensors to the model, of which nothing is noted."""
        return not self._memory.covers(self.root.state_dict(keep_vars=True))

    def _entering(
        self, name: str, enter: Callable[[str, nn.Module, Any], None]
    ) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            self.running.append(name)
            self.calls[name] = self.calls.get(name, 0) + 1
            self._note("enter", self._aliases[module])
            enter(name, module, inputs)

        return hook

    def _leaving(
        self, name: str, leave: Callable[[str, nn.Module, Any, Any], None]
    ) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            leave(name, module, inputs, output)
            for alias in self._aliases[module]:
                own = (buffer for buffer, _ in module.named_buffers(recurse=False))
                self._note("use", self._memory.of_state([_join(alias, name) for name in own]))
            self._note("leave", self._aliases[module])
            while self.running and self.running.pop() != name:  # a forward pass may catch errors
                pass

        return hook

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = func.__name__.partition(".")[0]
        if not _VALUE_FREE.search(kind):
            for value in tree_leaves((args, kwargs)):
                if isinstance(value, Tensor):
                    self._note("use", self._memory.names(value))
        if _CONVOLUTION.search(kind):
            self._note_convolution()
        return func(*args, **(kwargs or {}))

    def _note_convolution(self) -> None:
        name = self.running[-1] if self.running else ""
        module = self.root.get_submodule(name)
        parts = {child for child, _ in module.named_children()} - {"parametrizations"}
        if name and not parts and any(True for _ in module.parameters()):
            self.convolved[name] = None

    def _note(self, kind: Any, names: Sequence[str]) -> None:
        for name in names:
            event = (kind, name)
            if event not in self._noted:
                self._noted.add(event)
                self.events.append(event)


class _Memory:
    """Whose memory a tensor is: names in the state dict by storage and by position in it."""

    def __init__(self, root: nn.Module) -> None:
        self._state = root.state_dict(keep_vars=True)
        self._regions: dict[int, list[tuple[int, int, str]]] = {}
        for name, tensor in self._state.items():
            region = _region(tensor) if isinstance(tensor, Tensor) else None
            if region is not None:
                storage, start, end = region
                self._regions.setdefault(storage, []).append((start, end, name))

    def covers(self, state: Mapping[str, Any]) -> bool:
        """Whether these are the tensors that were there before the pass."""
        return state.keys() == self._state.keys() and all(
            state[name] is tensor for name, tensor in self._state.items()
        )

    def of_state(self, names: Sequence[str]) -> list[str]:
        """Those of some names that stand in the state dict."""
        return [name for name in names if name in self._state]

    def names(self, tensor: Tensor) -> list[str]:
        """Names of the model's tensors that share memory with one."""
        region = _region(tensor)
        if region is None or region[0] not in self._regions:
            return []
        storage, start, end = region
        return [name for a, z, name in self._regions[storage] if a < end and start < z]


def _region(tensor: Tensor) -> tuple[int, int, int] | None:
    """Storage, first byte and the byte behind the last one; None for what has no memory."""
    try:
        storage = tensor.untyped_storage()._cdata
        if tensor.numel() == 0:
            return None
        reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    except (NotImplementedError, RuntimeError):  # sparse tensors, tensors made of tensors
        return None
    size = tensor.element_size()
    start = int(tensor.storage_offset()) * size
    return storage, start, start + (int(reach) + 1) * size


def aliases(root: nn.Module) -> dict[nn.Module, list[str]]:
    """Every name of every module: one that is registered twice has its tensors twice."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in root.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def state_names(module: nn.Module, names: Sequence[str]) -> Iterator[str]:
    """State-dict names of a module's tensors in the model in which it has these names."""
    for name in names:
        yield from (_join(name, tensor) for tensor in module.state_dict(keep_vars=True))


@contextmanager
def eager_and_quiet(module: nn.Module, *, training: Iterable[nn.Module] = ()) -> Iterator[None]:
    """Eval mode without gradients, nothing compiled, no fused layers; then all as it was.

    Args:
        module: the model.
        training: modules that are in train mode all the same.
    """
    flags = {child: child.training for child in module.modules()}
    fused = torch.backends.mha.get_fastpath_enabled()
    module.eval()
    try:
        for child in training:
            child.training = True
        torch.backends.mha.set_fastpath_enabled(False)  # it calls no submodules
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for child, flag in flags.items():
            child.training = flag


@contextmanager
def unmoved(module: nn.Module) -> Iterator[None]:
    """Whatever a forward pass does to a model besides its parameters, then all is as it was.

    That is buffers, moved, replaced or added, also those that are in no state dict; numbers and
    tensors in plain attributes; and random generators.
    """
    children = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    owned = [(child, dict(child._buffers), _plain(child)) for child in children]
    kept = [
        (buffer, buffer.detach().clone())
        for _, buffers, _ in owned
        for buffer in buffers.values()
        if buffer is not None and _is_writable(buffer)
    ]
    python, old_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(_gpus(module)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(old_numpy)
        for child, buffers, plain in owned:
            child._buffers.clear()
            child._buffers.update(buffers)
            child.__dict__.update(plain)
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _is_writable(buffer: Tensor) -> bool:
    """Whether a forward pass may write into it: a sparse or an expanded one it can only replace."""
    if buffer.is_meta or buffer.is_nested or buffer.layout is not torch.strided:
        return False
    return all(step or size == 1 for size, step in zip(buffer.shape, buffer.stride(), strict=True))


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module that are values by themselves."""
    kinds = (bool, int, float, str, Tensor)
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


def _gpus(module: nn.Module) -> list[int]:
    """Numbers of the GPUs that a model is on, which have generators of their own."""
    devices = {parameter.device for parameter in module.parameters()}
    return sorted(d.index or 0 for d in devices if d.type == "cuda")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
