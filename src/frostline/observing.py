"""The layer table of any model, read off one forward pass instead of a known architecture."""

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from frostline.depth import ConvLayer, LayerTable, Role
from frostline.errors import PlanError

__all__ = ["has_running_statistics", "observe_table"]

_SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
_PRODUCTS = {"mul", "mul_", "__mul__", "__imul__", "__rmul__"}


def observe_table(
    module: nn.Module, example: Any = None, *, architecture: str | None = None
) -> LayerTable:
    """The convolutions of a model in the order in which one forward pass meets them.

    Convolutions are 1, 2 and 3-dimensional, transposed ones included. One that is called several
    times counts once, where it is first called, and is listed in ``repeated``; one that is never
    called has no depth and is listed in ``unused``. The norm of a convolution is the BatchNorm
    that reads its output directly. A BatchNorm without such a convolution goes with the
    convolution that follows it (pre-activation networks), or with the last one.

    Stages are the model's top-level children; where one child holds all convolutions, the children
    of that one, and so on. Roles are read off the data flow: a ``projection`` is the shorter of
    two branches that end in a convolution and are added; a ``squeeze`` convolution reads one
    pixel although later convolutions read more.

    The pass runs in eval mode without gradients; flags and tensors of the model stay as they are.

    Args:
        module: any model.
        example: what the model is called with: a tuple is its positional arguments, a mapping its
            keyword arguments, anything else (a tensor, a list of images) its one argument. On the
            model's device, large enough that no feature map becomes empty. None: the model's
            ``example_input_array`` (Lightning's name for it).
        architecture: name of the table; None: the name of the model's class.

    Raises:
        PlanError: there is no example, the forward pass fails, or it meets no convolution.
    """
    if example is None:
        example = _own_example(module)
    seen = _Watcher(module)
    with _quiet(module), seen.hooks(), seen:
        _call(module, example)
    if not seen.calls:
        raise PlanError(
            f"expected a model with convolutions, found none in a forward pass of "
            f"{type(module).__name__}; models compiled to TorchScript cannot be looked into"
        )
    return LayerTable(
        architecture or type(module).__name__,
        tuple(_rows(seen)),
        repeated=tuple(name for name, calls in seen.calls.items() if calls > 1),
        unused=tuple(name for name in seen.convolutions if name not in seen.calls),
    )


def has_running_statistics(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm of any kind, torchvision's and detectron2's frozen ones too.

    Told by its buffers ``running_mean`` and ``running_var``.
    """
    buffers = dict(module.named_buffers(recurse=False))
    return "running_mean" in buffers and "running_var" in buffers


# A tensor -> the convolution that made it, and the tensor's version then.
_Notes = MutableMapping[Tensor, tuple[str, int]]


class _Watcher(TorchFunctionMode):
    """Notes of one forward pass, taken by hooks on modules and from every function on tensors.

    Attributes:
        convolutions: names of all convolutions, in the order of registration.
        calls: convolution -> number of calls, in the order of the first.
        norms: convolution -> BatchNorm that reads its output.
        loose: BatchNorm that reads no convolution's output -> convolutions met before it.
        pixels: convolution -> spatial size of what it reads, in px (of all dimensions together).
        projections: convolutions of shortcuts.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.root = root
        self.convolutions = [n for n, m in root.named_modules() if isinstance(m, _ConvNd)]
        self.calls: dict[str, int] = {}
        self.norms: dict[str, str] = {}
        self.loose: dict[str, int] = {}
        self.pixels: dict[str, int] = {}
        self.projections: set[str] = set()
        # Weak, by identity: nothing keeps a feature map alive, and no id is taken for another's.
        self._made: _Notes = WeakTensorKeyDictionary()
        self._scaled: _Notes = WeakTensorKeyDictionary()  # also through norms and products
        self._ancestors: MutableMapping[Tensor, frozenset[str]] = WeakTensorKeyDictionary()

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Hooks in force: their removal is certain."""
        handles = []
        for name, module in self.root.named_modules():
            if isinstance(module, _ConvNd):
                handles.append(module.register_forward_pre_hook(self._enter_conv(name)))
                handles.append(module.register_forward_hook(self._leave_conv(name)))
            elif has_running_statistics(module):
                handles.append(module.register_forward_hook(self._leave_norm(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter_conv(self, name: str) -> Callable[..., None]:
        def enter(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.calls[name] = self.calls.get(name, 0) + 1
            if inputs:
                self.pixels.setdefault(name, math.prod(inputs[0].shape[2:]))

        return enter

    def _leave_conv(self, name: str) -> Callable[..., None]:
        def leave(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._made[output] = self._scaled[output] = (name, output._version)
            self._ancestors[output] = self._ancestors_of(inputs) | {name}

        return leave

    def _leave_norm(self, name: str) -> Callable[..., None]:
        def leave(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            conv = self._origin(self._made, inputs[0]) if inputs else None
            if conv is None:
                if name not in self.norms.values():
                    self.loose.setdefault(name, len(self.calls))
                return
            self.norms.setdefault(conv, name)
            self.loose.pop(name, None)
            self._scaled[output] = (conv, output._version)

        return leave

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = getattr(func, "__name__", "")
        conv = self._factor(args) if kind in _PRODUCTS else None
        if kind in _SUMS:
            self._note_sum(args)
        ancestors = self._ancestors_of(args)
        output = func(*args, **(kwargs or {}))
        for tensor in _tensors((output,)):
            self._ancestors[tensor] = self._ancestors_of((tensor,)) | ancestors
            if conv is not None:
                self._scaled[tensor] = (conv, tensor._version)
        return output

    def _note_sum(self, terms: Sequence[Any]) -> None:
        """Of two convolutions that are added, neither of which feeds the other, the shorter."""
        origins = [self._origin(self._scaled, x) for x in terms if isinstance(x, Tensor)]
        if len(origins) != 2 or None in origins:  # noqa: PLR2004  (two terms)
            return
        paths = [self._ancestors_of((term,)) for term in terms]
        (short, path), (other, longer) = sorted(
            zip(origins, paths, strict=True), key=lambda branch: len(branch[1])
        )
        if len(path) < len(longer) and short not in longer and short != other:
            self.projections.add(str(short))

    def _factor(self, factors: Sequence[Any]) -> str | None:
        """The convolution whose output a product scales: squeeze-excitation, layer scale."""
        found = [self._origin(self._scaled, x) for x in factors if isinstance(x, Tensor)]
        return next((conv for conv in found if conv is not None), None)

    def _origin(self, notes: _Notes, tensor: Tensor) -> str | None:
        """The convolution noted for a tensor, unless it was changed in place since."""
        note = notes.get(tensor)
        return note[0] if note is not None and note[1] == tensor._version else None

    def _ancestors_of(self, values: Sequence[Any]) -> frozenset[str]:
        known = (self._ancestors.get(tensor, frozenset()) for tensor in _tensors(values))
        return frozenset().union(*known)


def _tensors(values: Any) -> Iterator[Tensor]:
    """Tensors in lists and tuples, one level deep."""
    for value in values:
        inside = value if isinstance(value, list | tuple) else (value,)
        yield from (item for item in inside if isinstance(item, Tensor))


@contextmanager
def _quiet(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module gets its own flag back."""
    flags = {child: child.training for child in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for child, flag in flags.items():
            child.training = flag


def _own_example(module: nn.Module) -> Any:
    example = getattr(module, "example_input_array", None)
    if example is None:
        first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
        channels = first.in_channels if first else 3
        raise PlanError(
            f"the order of {type(module).__name__}'s convolutions is read off a forward pass: "
            f"expected an example_input, such as torch.zeros(1, {channels}, 224, 224)"
        )
    return example


def _call(module: nn.Module, example: Any) -> None:
    try:
        if isinstance(example, tuple):
            module(*example)
        elif isinstance(example, Mapping):
            module(**example)
        else:
            module(example)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PlanError(
            f"{type(module).__name__} cannot be called with the example input ({reason}); "
            "give what the model is called with: a tensor, a list of images, a tuple of arguments"
        ) from error


def _rows(seen: _Watcher) -> Iterator[ConvLayer]:
    modules = dict(seen.root.named_modules())
    names = list(seen.calls)
    stages = _stages(names)
    aliases = _aliases(seen.root)
    for index, name in enumerate(names, start=1):
        conv = modules[name]
        assert isinstance(conv, _ConvNd), "only convolutions are counted"
        norms = [seen.norms[name]] if name in seen.norms else []
        norms += [n for n, met in seen.loose.items() if min(met + 1, len(names)) == index]
        yield ConvLayer(
            index,
            name,
            seen.norms.get(name),
            stages[name],
            _role(seen, index, name, conv),
            tuple(conv.weight.shape),
            conv.bias is not None,
            tensors=tuple(_state_names(conv, aliases[conv])),
            norm_tensors=tuple(
                t for n in norms for t in _state_names(modules[n], aliases[modules[n]])
            ),
        )


def _role(seen: _Watcher, index: int, name: str, conv: _ConvNd) -> Role:
    if name in seen.projections:
        return "projection"
    later = list(seen.calls)[index:]
    one_pixel = seen.pixels.get(name) == 1 and set(conv.kernel_size) == {1}
    if one_pixel and name not in seen.norms and any(seen.pixels.get(n, 0) > 1 for n in later):
        return "squeeze"
    return "main"


def _stages(names: Sequence[str]) -> dict[str, str]:
    """Name of the first module that does not hold all of them: ``layer1``, ``features.3``."""
    parts = [name.split(".") for name in names]
    depth = 0
    while len({tuple(p[: depth + 1]) for p in parts}) == 1 and all(
        len(p) > depth + 1 for p in parts
    ):
        depth += 1
    return {name: ".".join(p[: depth + 1]) for name, p in zip(names, parts, strict=True)}


def _aliases(root: nn.Module) -> dict[nn.Module, list[str]]:
    """Every name of every module: one that is registered twice has its tensors twice."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in root.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def _state_names(module: nn.Module, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        prefix = f"{name}." if name else ""
        yield from (prefix + tensor for tensor in module.state_dict())
