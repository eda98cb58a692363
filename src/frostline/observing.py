"""The layer table of any model, read off one forward pass instead of a known architecture."""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from frostline.attention import AttentionCalls, is_attention_function
from frostline.depth import ConvLayer, LayerTable, Role, Section, Unit
from frostline.errors import PlanError
from frostline.passage import Event, Passage
from frostline.tracing import Tracer, aliases, eager_and_quiet, state_names, unmoved

__all__ = ["has_running_statistics", "observe_sections", "observe_table", "require_values"]

_SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
_PRODUCTS = {"mul", "mul_", "__mul__", "__imul__", "__rmul__"}
_MATRIX = 2  # dimensions of a weight from which on it makes a layer of its own


def observe_table(
    module: nn.Module,
    example: Any = None,
    *,
    architecture: str | None = None,
    backbone: bool = False,
    unit: Unit | None = None,
) -> LayerTable:
    """The convolutions of a model in the order in which one forward pass meets them.

    Convolutions are 1, 2 and 3-dimensional, transposed and deformable ones included, and modules
    without children that convolve with parameters of their own. One that is called several times
    counts once, where it is first called, and is listed in ``repeated``; one that is never called
    has no depth and is listed in ``unused``. The norm of a convolution is the BatchNorm that reads
    its output directly. A BatchNorm without such a convolution goes with the convolution that
    follows it (pre-activation networks), or with the last one.

    Where no convolution follows the first attention call (ViT, Swin), the table has the blocks
    instead: the modules that hold an attention and what goes with it.

    Stages are the model's top-level children; where one child holds all layers, the children of
    that one, and so on. Roles are read off the data flow: a ``projection`` is the shorter of
    two branches that end in a convolution and are added; a ``squeeze`` convolution reads one
    pixel although later convolutions read more.

    The pass runs in eval mode without gradients; flags and tensors of the model stay as they are.
    A second one runs in train mode, where the model can be called so: what train mode alone uses
    (auxiliary heads) has no depth, but lies before the cuts that come after it. Buffers and random
    generators are as they were before, while BatchNorm stays in eval mode.

    Args:
        module: any model.
        example: what the model is called with: a tuple is its positional arguments, a mapping its
            keyword arguments, anything else (a tensor, a list of images) its one argument. Large
            enough that no feature map becomes empty; tensors are moved to the model's device.
            None: the model's ``example_input_array`` (Lightning's name for it).
        architecture: name of the table; None: the name of the model's class.
        backbone: whether the model is a backbone, all of which the deepest depth holds, and which
            is looked at in eval mode alone. Else that depth ends where a head begins: at the first
            weight matrix behind the last layer's stage.
        unit: ``convolution`` counts these whatever attention there is; None: as above.

    Raises:
        PlanError: there is no example, the forward pass fails, it meets neither convolution nor
            attention, or layers are lazy ones that are not built yet.
    """
    seen = _watched(module, example)
    training = None if backbone else _events_in_training(module, example)
    _note_norms_of_training(seen, training or ())
    name = architecture or type(module).__name__
    blocks = seen.attention.blocks(after=seen.last_convolution())
    if unit == "convolution":
        blocks = []
    rows = tuple(_block_rows(seen, blocks) if blocks else _rows(seen))
    if not rows:
        raise PlanError(
            f"expected a model with convolutions or attention, found none in a forward pass of "
            f"{type(module).__name__}; models compiled to TorchScript cannot be looked into"
        )
    return LayerTable(
        name,
        rows,
        repeated=tuple(row.name for row in rows if seen.tracer.calls.get(row.name, 1) > 1),
        unused=tuple(name for name in seen.convolutions if name not in seen.calls),
        unit="block" if blocks else "convolution",
        passage=_passage(seen, rows, training, backbone=backbone),
    )


def observe_sections(
    module: nn.Module,
    example: Any,
    parts: Mapping[str, str],
    *,
    counted: str = "backbone",
    architecture: str | None = None,
) -> LayerTable:
    """The layers of a whole model in named sections, of which depth counts one.

    Args:
        module: the whole model.
        example: see ``observe_table``.
        parts: name of each section -> what stands before its tensors' names (``backbone.body.``).
        counted: the section that depth counts; its layers' names are those inside it.
        architecture: name of the table; None: the name of the model's class.

    Returns:
        The table of the counted section; ``others`` holds the convolutions and linear layers of the
        other sections.

    Raises:
        PlanError: see ``observe_table``, or the counted section has no layers.
    """
    seen = _watched(module, example)
    sections = {name: _section(seen, name, prefix) for name, prefix in parts.items()}
    own = [x for x in _rows(seen) if x.name.startswith(parts[counted])]
    if not own:
        raise PlanError(f"section '{counted}' ({parts[counted]}*) has no convolution")
    prefix = parts[counted]
    passage = _inside(seen, prefix)
    return LayerTable(
        architecture or type(module).__name__,
        tuple(_renamed(row, prefix, index) for index, row in enumerate(own, start=1)),
        section=counted,
        others=tuple(section for name, section in sections.items() if name != counted),
        passage=passage,
    )


def require_values(module: nn.Module) -> None:
    """Refuse a model that has not been built to the end.

    Raises:
        PlanError: a layer is lazy and has not met an input yet.
    """
    tensors = (*module.named_parameters(), *module.named_buffers())
    lazy = [name for name, x in tensors if nn.parameter.is_lazy(x)]
    if lazy:
        raise PlanError(
            f"'{lazy[0]}' and {len(lazy) - 1} more tensors of {type(module).__name__} have no "
            "shape yet (lazy layers): run one forward pass first, then freeze"
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
        tracer: order and tensors.
        attention: where attention was called.
        convolutions: names of all convolutions, in the order of registration.
        calls: convolution -> number of calls, in the order of the first.
        norms: convolution -> every BatchNorm that reads its output, the first one first.
        loose: BatchNorm that reads no convolution's output -> convolutions met before it.
        pixels: convolution -> spatial size of what it reads, in px (of all dimensions together).
        projections: convolutions of shortcuts.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.root = root
        self.tracer = Tracer(root)
        self.attention = AttentionCalls(root)
        self.convolutions = [n for n, m in root.named_modules() if _is_convolution(m)]
        self.calls: dict[str, int] = {}
        self.norms: dict[str, list[str]] = {}
        self.loose: dict[str, int] = {}
        self.pixels: dict[str, int] = {}
        self.projections: set[str] = set()
        # Weak, by identity: nothing keeps a feature map alive, and no id is taken for another's.
        self._made: _Notes = WeakTensorKeyDictionary()
        self._scaled: _Notes = WeakTensorKeyDictionary()  # also through norms and products
        self._ancestors: MutableMapping[Tensor, frozenset[str]] = WeakTensorKeyDictionary()

    def watch(self, example: Any) -> None:
        """Take down one forward pass."""
        with self.tracer.hooks(self._enter, self._leave), self, self.tracer:
            _call(self.root, example)
        for name, module in self.root.named_modules():  # BatchNorm by functional calls alone
            if has_running_statistics(module) and name not in self.tracer.calls:
                self._note_uncalled(name, module)

    def last_convolution(self) -> int:
        """Position of the last event at which a convolution was entered first; -1 without any."""
        passage = Passage(tuple(self.tracer.events))
        return max((passage.entry(name) for name in self.calls), default=-1)

    def _enter(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.attention.enter(name, module, len(self.tracer.events))
        if _is_convolution(module):
            self.calls[name] = self.calls.get(name, 0) + 1
        if inputs and isinstance(inputs[0], Tensor):
            self.pixels.setdefault(name, math.prod(inputs[0].shape[2:]))

    def _leave(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name in self.tracer.convolved and not _is_convolution(module):
            self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.calls and isinstance(output, Tensor):
            self._made[output] = self._scaled[output] = (name, output._version)
            self._ancestors[output] = self._ancestors_of(inputs) | {name}
        elif has_running_statistics(module):
            self._leave_norm(name, inputs, output)

    def _leave_norm(self, name: str, inputs: tuple[Any, ...], output: Any) -> None:
        read = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        conv = None if read is None else self._origin(self._made, read)
        if conv is None:
            if not any(name in norms for norms in self.norms.values()):
                self.loose.setdefault(name, len(self.calls))
            return
        own = self.norms.setdefault(conv, [])
        if name not in own:
            own.append(name)
        self.loose.pop(name, None)
        if isinstance(output, Tensor):
            self._scaled[output] = (conv, output._version)

    def _note_uncalled(self, name: str, module: nn.Module) -> None:
        """A BatchNorm whose tensors are used by others: with the convolution that comes next."""
        own = {("use", tensor) for tensor in state_names(module, [name])}
        met = 0
        for event in self.tracer.events:
            if event in own:
                self.loose[name] = met
                return
            met += event[0] == "enter" and event[1] in self.calls

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kind = getattr(func, "__name__", "")
        if is_attention_function(kind):
            self.attention.called(self.tracer.running, len(self.tracer.events))
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


def _is_convolution(module: nn.Module) -> bool:
    """What is known to be one before it is called: torch's, and torchvision's deformable."""
    return isinstance(module, _ConvNd) or type(module).__name__ == "DeformConv2d"


def _watched(module: nn.Module, example: Any) -> _Watcher:
    require_values(module)
    if example is None:
        example = _own_example(module)
    with eager_and_quiet(module):
        seen = _Watcher(module)
        seen.watch(example)
        if seen.tracer.is_incomplete():  # the pass itself has built layers
            seen = _Watcher(module)
            seen.watch(example)
    return seen


def _events_in_training(module: nn.Module, example: Any) -> list[Event] | None:
    """What a pass in train mode enters, uses and leaves; None where there can be none.

    It may need targets, or two images. BatchNorm stays in eval mode: it uses the same tensors so,
    and asks neither for more than one pixel nor for other processes.
    """
    if example is None:
        example = _own_example(module)
    training = [m for m in module.modules() if not has_running_statistics(m)]
    with unmoved(module), eager_and_quiet(module, training=training):
        tracer = Tracer(module)

        def nothing(*_: Any) -> None:
            pass

        try:
            with tracer.hooks(nothing, nothing), tracer:
                _call(module, example)
        except PlanError:
            return None
        return tracer.events


def _note_norms_of_training(seen: _Watcher, events: Sequence[Event]) -> None:
    """BatchNorm that train mode alone calls: with the convolution that comes next in it."""
    entered = [name for kind, name in events if kind == "enter"]
    for position, name in enumerate(entered):
        if name not in seen.tracer.calls and has_running_statistics(seen.root.get_submodule(name)):
            met = [other for other in entered[:position] if other in seen.calls]
            seen.loose.setdefault(name, len(met))


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
    example = _on_device_of(module, example)
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


def _on_device_of(module: nn.Module, example: Any) -> Any:
    """The example's tensors on the device of the first parameter."""
    first = next(module.parameters(), None)
    if first is None:
        return example
    return tree_map_only(Tensor, lambda tensor: tensor.to(first.device), example)


def _rows(seen: _Watcher) -> Iterator[ConvLayer]:
    modules = dict(seen.root.named_modules())
    names = list(seen.calls)
    stages = _stages(names)
    known = aliases(seen.root)
    for index, name in enumerate(names, start=1):
        conv = modules[name]
        weight = _weight(conv)
        norms = list(seen.norms.get(name, ()))
        norms += [n for n, met in seen.loose.items() if min(met + 1, len(names)) == index]
        yield ConvLayer(
            index,
            name,
            next(iter(norms), None) if name in seen.norms else None,
            stages[name],
            _role(seen, index, name, weight),
            tuple(weight.shape),
            getattr(conv, "bias", None) is not None,
            tensors=tuple(state_names(conv, known[conv])),
            norm_tensors=tuple(
                t for n in norms for t in state_names(modules[n], known[modules[n]])
            ),
        )


def _weight(conv: nn.Module) -> Tensor:
    """A convolution's weight; of a module that convolves by itself, its largest parameter."""
    weight = getattr(conv, "weight", None)
    if isinstance(weight, Tensor):
        return weight
    return max(conv.parameters(), key=lambda parameter: (parameter.ndim, parameter.numel()))


def _role(seen: _Watcher, index: int, name: str, weight: Tensor) -> Role:
    if name in seen.projections:
        return "projection"
    later = list(seen.calls)[index:]
    one_pixel = seen.pixels.get(name) == 1 and set(weight.shape[2:]) == {1}
    if one_pixel and name not in seen.norms and any(seen.pixels.get(n, 0) > 1 for n in later):
        return "squeeze"
    return "main"


def _block_rows(seen: _Watcher, blocks: Sequence[str]) -> Iterator[ConvLayer]:
    """Blocks as layers; a block's BatchNorm are those used from its entry to the next one's."""
    passage = Passage(tuple(seen.tracer.events))
    stages = _stages(blocks)
    norms = _norm_names(seen)
    parameters = {name for name, _ in seen.root.named_parameters(remove_duplicate=False)}
    for index, name in enumerate(blocks, start=1):
        start = passage.before(name) if index > 1 else frozenset()
        end = passage.before(blocks[index]) if index < len(blocks) else _all_used(seen)
        used = end - start
        block = seen.root.get_submodule(name)
        yield ConvLayer(
            index,
            name,
            None,
            stages[name],
            "main",
            (sum(parameter.numel() for parameter in block.parameters()),),
            tensors=tuple(sorted(used & parameters - norms)),
            norm_tensors=tuple(sorted(used & norms)),
        )


def _section(seen: _Watcher, name: str, prefix: str) -> Section:
    """A section's convolutions and linear layers, in the order in which they are called."""
    convolutions = {row.name: row for row in _rows(seen)}
    known = aliases(seen.root)
    rows = []
    for path in seen.tracer.calls:
        module = seen.root.get_submodule(path)
        if not path.startswith(prefix):
            continue
        if path in convolutions:
            rows.append(convolutions[path])
        elif isinstance(module, nn.Linear):
            shape, bias = tuple(module.weight.shape), module.bias is not None
            own = tuple(state_names(module, known[module]))
            rows.append(ConvLayer(1, path, None, name, "main", shape, bias, own, ()))
    return Section(name, prefix, tuple(_renamed(r, prefix, i) for i, r in enumerate(rows, 1)))


def _renamed(row: ConvLayer, prefix: str, index: int) -> ConvLayer:
    """A layer under the name that it has inside a section."""

    def inside(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    stage = row.stage.removeprefix(prefix)
    return dataclasses.replace(
        row,
        index=index,
        name=row.name.removeprefix(prefix),
        norm=None if row.norm is None else row.norm.removeprefix(prefix),
        stage=stage or row.stage,
        tensors=inside(row.tensors or ()),
        norm_tensors=inside(row.norm_tensors or ()),
    )


def _norm_names(seen: _Watcher) -> frozenset[str]:
    known = aliases(seen.root)
    norms = [m for m in seen.root.modules() if has_running_statistics(m)]
    return frozenset(name for m in norms for name in state_names(m, known[m]))


def _all_used(seen: _Watcher) -> frozenset[str]:
    return frozenset(name for kind, name in seen.tracer.events if kind == "use")


def _passage(
    seen: _Watcher, rows: Sequence[ConvLayer], training: list[Event] | None, *, backbone: bool
) -> Passage:
    """What happened, with the end of the deepest depth put where it belongs."""
    events = seen.tracer.events
    if backbone:
        used = _all_used(seen)
        left = [name for name in seen.root.state_dict(keep_vars=True) if name not in used]
        rest: list[Event] = [("use", name) for name in left]
        return Passage((*events, *rest, ("end", "")))
    matrices = {
        name
        for name, parameter in seen.root.named_parameters(remove_duplicate=False)
        if parameter.ndim >= _MATRIX
    }
    also = None if training is None else _ended(training, rows[-1], matrices)
    return dataclasses.replace(_ended(events, rows[-1], matrices), training=also)


def _ended(events: Sequence[Event], last: ConvLayer, matrices: Collection[str]) -> Passage:
    """A pass, with its end at the first weight matrix behind the last layer's stage."""
    passage = Passage(tuple(events))
    head = _head(events, matrices, passage.exit(last.stage))
    if head is None:  # the stage holds the head, too
        head = _head(events, matrices, passage.exit(last.name))
    end = len(events) if head is None else head
    return Passage((*events[:end], ("end", ""), *events[end:]))


def _head(events: Sequence[Event], matrices: Collection[str], after: int) -> int | None:
    """Position of the first use of a weight matrix behind a position; None without any."""
    for position, (kind, name) in enumerate(events):
        if position > after and kind == "use" and name in matrices:
            return position
    return None


def _inside(seen: _Watcher, prefix: str) -> Passage:
    """What happened inside a section, in the names inside it; it ends where the section does."""
    events: list[Event] = [
        (kind, name.removeprefix(prefix))
        for kind, name in seen.tracer.events
        if name.startswith(prefix)
    ]
    return Passage((*events, ("end", "")))


def _stages(names: Sequence[str]) -> dict[str, str]:
    """Name of the first module that does not hold all of them: ``layer1``, ``features.3``."""
    parts = [name.split(".") for name in names]
    depth = 0
    while len({tuple(p[: depth + 1]) for p in parts}) == 1 and all(
        len(p) > depth + 1 for p in parts
    ):
        depth += 1
    return {name: ".".join(p[: depth + 1]) for name, p in zip(names, parts, strict=True)}
