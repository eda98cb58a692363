"""Applying a freeze plan to a model, keeping it in force, and proving afterwards that it held."""

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from frostline.depth import LayerTable
from frostline.errors import AuditError, PlanError
from frostline.notebook import facts_html
from frostline.observing import has_running_statistics, observe_table, require_values
from frostline.plans import BatchNormPolicy, FreezePlan
from frostline.records import AuditRecord

__all__ = [
    "FreezeAudit",
    "Frozen",
    "PlanLike",
    "compare",
    "fingerprint",
    "freeze",
    "plan_for",
    "require_passed",
]

PlanLike = FreezePlan | int | str | Sequence[str]

_log = logging.getLogger(__name__)

# Wrappers that note, when they are made, which parameters train, or cut them into pieces.
_WRAPPERS = {"DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}


def freeze(
    model: nn.Module,
    plan: PlanLike,
    *,
    example_input: Any = None,
    batch_norm: BatchNormPolicy = "follow",
) -> "Frozen":
    """Freeze part of any model, BatchNorm statistics included, until ``undo``.

    Frozen parameters get ``requires_grad=False`` and no gradient, so no optimiser moves them, by
    weight decay neither, whether it was made before or after. A BatchNorm (or another module) with
    frozen buffers stays in eval mode, whatever ``model.train()`` says. All other parameters stay
    as they are. Where something sets ``requires_grad`` again, the first forward pass after it logs
    a warning that names the parameter; ``enforce`` puts the plan in force again.

    Args:
        model: any model; changed in place. Freeze it before it is wrapped for distributed training
            or compiled; ``undo`` before ``torch.jit.script``, which knows no hooks.
        plan: what to freeze: a ``FreezePlan``; a number k of layers (convolutions, or blocks where
            attention follows the last convolution), counted from the input, or ``"all"``; the name
            of a stage or module (``layer2``), with all that comes before it in a forward pass; or
            a list of shell patterns of tensor names (``["stem.*"]``), which freeze what they name
            and nothing else. Of a module's name the end is enough where no other ends so. A plan
            made for the bare backbone, or for the model before it was wrapped, is fitted to the
            model's names.
        example_input: what the model is called with (see ``observing.observe_table``), for a number
            or a stage; None: the model's ``example_input_array``, if it has one.
        batch_norm: which BatchNorm go with a number or stage: ``follow`` (those of the frozen
            convolutions), ``frozen`` (every one) or ``live`` (none). The first is the default here
            because the weights may be anybody's; ``frozen`` is for pretrained statistics.

    Returns:
        The plan in force, with ``audit`` and ``undo``.

    Raises:
        PlanError: the plan does not fit the model, there is no example where one is needed, the
            model has no values yet (lazy layers, the meta device), or is wrapped already.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        >>> frozen = freeze(model, 1, example_input=torch.zeros(1, 3, 8, 8))
        >>> frozen.plan.tensors[:3]
        ('0.bias', '0.weight', '1.bias')
        >>> _ = model.train()(torch.rand(2, 3, 8, 8))  # the statistics do not move
        >>> frozen.audit().passed
        True
    """
    fitted, table = plan_for(model, plan, example_input=example_input, batch_norm=batch_norm)
    return Frozen(model, fitted, table)


def plan_for(
    model: nn.Module,
    plan: PlanLike,
    *,
    example_input: Any = None,
    batch_norm: BatchNormPolicy = "follow",
) -> tuple[FreezePlan, LayerTable | None]:
    """The plan that ``freeze`` would put in force, and the layer table where it needed one.

    Raises:
        PlanError: as ``freeze``.
    """
    require_values(model)
    names = model.state_dict(keep_vars=True).keys()
    if isinstance(plan, FreezePlan):
        return plan.fitted_to(names), None
    if isinstance(plan, Integral):
        plan = int(plan)  # of numpy, too
    if not isinstance(plan, int | str):
        return FreezePlan.matching(names, plan, batch_norm=batch_norm), None
    if isinstance(plan, str) and not set(plan).isdisjoint("*?["):
        raise PlanError(f"expected a stage or module, got pattern '{plan}'; patterns are a list")
    table = observe_table(model, example_input)
    if plan == "all":
        plan = table.max_depth()
    if isinstance(plan, int):
        return FreezePlan.at_depth(table, plan, batch_norm=batch_norm, prefix=""), table
    return FreezePlan.at_stage(table, plan, batch_norm=batch_norm, prefix=""), table


class Frozen:
    """A freeze plan in force on a model, from a plan in the model's own names.

    In a training loop ``train`` stands where ``model.train()`` would, and ``audit`` after it.

    Raises:
        PlanError: the plan names tensors that the model does not have.

    Attributes:
        model: the model.
        plan: what is frozen, in the model's own names.
        table: the model's convolutions, where the plan was made from a number or a stage.
        frozen_parameters: number of elements that are not trained.
        trainable_parameters: number of elements that are.
        fingerprint: SHA-256 of every tensor's bytes that the audit compares with.
    """

    def __init__(self, model: nn.Module, plan: FreezePlan, table: LayerTable | None = None) -> None:
        _require_freezable(model)
        _require_known(plan, model.state_dict(keep_vars=True))
        self.model = model
        self.plan = plan
        self.table = table
        self._beside = frozenset(_beside(model, plan))
        self._places = dict(_places(model, frozenset(plan.tensors) | self._beside))
        self._held = tuple(_held_names(model, plan, self._beside))
        self._before_freezing = (
            {n: x.requires_grad for n, x in self._now().items() if isinstance(x, nn.Parameter)},
            {n: m.training for n in self._held if (m := _reach(model, n)) is not None},
        )
        self.remember()
        self.enforce()
        self._hooks: list[RemovableHandle] = list(_hooks(model, self._held, self._watch()))
        self.frozen_parameters = sum(p.numel() for p in self._parameters())
        self.trainable_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def enforce(self) -> int:
        """Put the plan in force again, where something else has undone it.

        For training code that sets ``requires_grad`` itself, or replaces modules: call it before
        each step, after what undoes the plan.

        Returns:
            How many frozen parameters required a gradient again.
        """
        parameters = self._parameters()
        loose = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None  # what an optimiser finds here it would apply
        for module in self._held_now():
            module.training = False
        return len(loose)

    def require_trainable(self) -> Self:
        """Refuse a plan that leaves nothing to train.

        Raises:
            PlanError: no parameter is left; the model is as it was before.
        """
        if self.trainable_parameters == 0:
            self.undo()
            raise PlanError(
                f"plan '{self.plan.label}' freezes every parameter of "
                f"{type(self.model).__name__}: nothing is left to train; freeze less"
            )
        return self

    def train(self) -> None:
        """``model.train()``, except modules with frozen buffers, which stay in eval mode.

        A forward pass puts these back by itself; here their flags are right before it, too.
        """
        self.model.train()
        for module in self._held_now():
            module.training = False

    def audit(self) -> AuditRecord:
        """Compare every byte: the plan's tensors must be what they were when it came in force.

        Loading other weights since then counts as a change, and so does another dtype, unless
        ``remember`` was called. A tensor is found again under the name that a wrapper or
        ``torch.compile`` has given it since; one that is no longer in the model has changed.

        Buffers that are in no state dict, and so in no plan, are compared where everything else of
        their module is frozen, or of the module around it; one that has another shape now is a
        cache, and says nothing.

        Returns:
            The verdict; a ``FreezeAudit`` where dtypes have changed.
        """
        now = {name: tensor for name, tensor in self._now().items() if tensor is not None}
        result = self._compared(now)
        retyped = {
            name: f"{_short(self._kinds[name][0])} is {_short(now[name].dtype)} now"
            for name in result.changed
            if name in now and now[name].dtype != self._kinds[name][0]
        }
        gone = tuple(name for name in result.changed if name not in now)
        if not retyped and not gone:
            return result
        return FreezeAudit(**result.model_dump(), retyped=retyped, gone=gone)

    def remember(self, digests: Mapping[str, str] | None = None) -> None:
        """Audit against the model's present bytes, after other weights were loaded into it.

        Args:
            digests: digests of some tensors to keep instead, such as those of a checkpoint.
        """
        now = {name: tensor for name, tensor in self._now().items() if tensor is not None}
        self._kinds = {name: (tensor.dtype, tensor.shape) for name, tensor in now.items()}
        self.fingerprint = self._digests(now) | dict(digests or {})

    def undo(self) -> None:
        """Let the model train as before: gradients, BatchNorm modes, no hooks. Once is enough."""
        for hook in self._hooks:
            hook.remove()
        parameters, modules = self._before_freezing
        now = self._now()
        for name, required in parameters.items():
            if isinstance(parameter := now[name], nn.Parameter):
                parameter.requires_grad_(required)
        for name, training in modules.items():
            if (module := _reach(self.model, name)) is not None:
                module.training = training
        self._hooks, self._before_freezing = [], ({}, {})

    def _compared(self, now: Mapping[str, Tensor]) -> AuditRecord:
        """The plan's tensors, and what stands beside them in no state dict."""
        after = self._digests(now)
        listed = {name: digest for name, digest in after.items() if name not in self._beside}
        result = compare(self.fingerprint, listed, self.plan)
        kinds = {name: (now[name].dtype, now[name].shape) for name in self._beside & now.keys()}
        moved = (
            name
            for name, kind in kinds.items()
            if kind == self._kinds.get(name) and after[name] != self.fingerprint[name]
        )
        return result.model_copy(update={"changed": tuple(sorted({*result.changed, *moved}))})

    def _digests(self, now: Mapping[str, Tensor]) -> dict[str, str]:
        """Of the plan's tensors, and of all others under the names that they have now."""
        state = self.model.state_dict().items()
        others = {n: x for n, x in state if isinstance(x, Tensor) and n not in self._places}
        return {name: _digest(tensor) for name, tensor in {**now, **others}.items()}

    def _now(self) -> dict[str, Tensor | None]:
        """The plan's tensors as the model has them; None for those that it has no longer."""
        inside = set(self.model.modules())
        now = {}
        for name, (owner, attribute) in self._places.items():
            tensor = _registered(_reach(self.model, name.rpartition(".")[0]), attribute)
            if tensor is None and owner in inside:  # under another name
                tensor = _registered(owner, attribute)
            now[name] = tensor
        return now

    def _parameters(self) -> list[nn.Parameter]:
        """The frozen parameters, each once."""
        now = self._now().values()
        return list(dict.fromkeys(x for x in now if isinstance(x, nn.Parameter)))

    def _held_now(self) -> list[nn.Module]:
        modules = (_reach(self.model, name) for name in self._held)
        return [module for module in modules if module is not None]

    def _watch(self) -> "_Watch":
        names = tuple(n for n, x in self._now().items() if isinstance(x, nn.Parameter))
        return _Watch(names, self._held, self.plan.label)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "plan": self.plan.to_dict(),
            "frozen_parameters": self.frozen_parameters,
            "trainable_parameters": self.trainable_parameters,
            "table": self.table.to_dict() if self.table else None,
        }

    def _repr_html_(self) -> str:
        return facts_html(f"{type(self.model).__name__}, frozen: {self.plan.label}", self._facts())

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self._facts())
        return f"<Frozen {self.plan.label}: {facts}>"

    def _facts(self) -> Iterator[tuple[str, object]]:
        total = sum(parameter.numel() for parameter in self.model.parameters())
        yield "frozen tensors", len(self.plan.tensors)
        yield "frozen parameters", f"{self.frozen_parameters:,} of {total:,}"
        yield "trainable parameters", f"{self.trainable_parameters:,}"
        yield "modules kept in eval mode", len(self._held)


class FreezeAudit(AuditRecord):
    """An audit that also tells why tensors cannot be compared.

    Attributes:
        retyped: those among the changed ones that have another dtype, with what it was and is:
            their bytes say nothing of their values.
        gone: those among the changed ones that the model has no longer, under any name.
    """

    retyped: dict[str, str] = Field(default_factory=dict)
    gone: tuple[str, ...] = ()


def fingerprint(model: nn.Module) -> dict[str, str]:
    """SHA-256 (hex) of the bytes of every parameter and buffer, by state-dict name."""
    state = model.state_dict().items()
    return {name: _digest(value) for name, value in state if isinstance(value, Tensor)}


def compare(before: Mapping[str, str], after: Mapping[str, str], plan: FreezePlan) -> AuditRecord:
    """Compare fingerprints: what the plan names must be byte-identical, the rest should have moved.

    Args:
        before: digests of the tensors by name, from before training.
        after: the same after it.
        plan: the plan that was in force.
    """
    same = {name for name, digest in after.items() if before.get(name) == digest}
    frozen = frozenset(plan.tensors)
    return AuditRecord(
        frozen=len(frozen),
        changed=tuple(sorted(frozen - same)),
        unmoved=tuple(sorted(same - frozen)),
    )


def require_passed(result: AuditRecord) -> None:
    """Turn a failed audit into an error.

    Raises:
        AuditError: frozen tensors changed; names the first ones.
    """
    retyped = result.retyped if isinstance(result, FreezeAudit) else {}
    if retyped and len(retyped) == len(result.changed):
        name, change = next(iter(retyped.items()))
        raise AuditError(
            f"freeze audit: expected {result.frozen} tensors to stay byte-identical, "
            f"{len(retyped)} have another dtype ({name}: {change}), so that their values cannot be "
            "compared; convert the model before it is frozen, or call remember() after that"
        )
    gone = result.gone if isinstance(result, FreezeAudit) else ()
    if gone:
        raise AuditError(
            f"freeze audit: expected {result.frozen} tensors to stay byte-identical, {len(gone)} "
            f"are not in the model any more ({', '.join(gone[:3])}): something replaced their "
            "module or computes them from others; change the model before it is frozen"
        )
    if not result.passed:
        shown = ", ".join(result.changed[:3])
        raise AuditError(
            f"freeze audit: expected {result.frozen} tensors to stay byte-identical, "
            f"{len(result.changed)} changed ({shown}); the trial does not count"
        )


def _places(
    model: nn.Module, names: Collection[str]
) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Name -> the module that owns the tensor, and its name there."""
    for path, module in model.named_modules(remove_duplicate=False):
        own = (module.named_parameters, module.named_buffers)
        for attribute, _ in (x for each in own for x in each("", False, False)):
            name = f"{path}.{attribute}" if path else attribute
            if name in names:
                yield name, (module, attribute)


def _beside(model: nn.Module, plan: FreezePlan) -> Iterator[str]:
    """Buffers that are in no state dict, of modules whose other tensors the plan has all.

    Of a module without other tensors, those of the nearest module around it that has some.
    """
    state, frozen = model.state_dict(keep_vars=True), frozenset(plan.tensors)
    for full, _ in model.named_buffers():
        around = full
        inside: list[str] = []
        while full not in state and around and not inside:
            around = around.rpartition(".")[0]
            prefix = f"{around}." if around else ""
            inside = [name for name in state if name.startswith(prefix)]
        if inside and frozen.issuperset(inside):
            yield full


def _held_names(model: nn.Module, plan: FreezePlan, beside: Collection[str]) -> Iterator[str]:
    """Modules that stay in eval mode, which keeps their frozen buffers as they are.

    BatchNorm, spectral norm and the like: what owns a buffer of the plan, unless it has children
    with something to train (a network that owns the mean of its pixels goes on training). Of
    buffers that are in no state dict, only what has no children: such as tables of positions
    belong to whole blocks, whose other parts go on as they are.
    """
    names = frozenset(plan.tensors)
    held: dict[nn.Module, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        buffers = [prefix + name for name, _ in module.named_buffers(recurse=False)]
        own = not names.isdisjoint(buffers)
        if not set(buffers).isdisjoint(beside) and next(module.children(), None) is None:
            held.setdefault(module, path)
        if own and (has_running_statistics(module) or _is_whole(module, prefix, names)):
            held.setdefault(module, path)
    yield from held.values()


def _is_whole(module: nn.Module, prefix: str, names: Collection[str]) -> bool:
    """Whether a module has no children, or none of their parameters trains."""
    leaf = next(module.children(), None) is None
    return leaf or all(prefix + name in names for name, _ in module.named_parameters())


def _hooks(model: nn.Module, held: Sequence[str], watch: "_Watch") -> Iterator[RemovableHandle]:
    """Hooks before each forward pass: on the root, on what is held, and on what calls it.

    A conversion such as ``convert_sync_batchnorm`` replaces modules, whose hooks are lost.
    """
    inside: dict[str, list[str]] = {}
    for name in held:
        module = _reach(model, name)
        yield module.register_forward_pre_hook(_stay_in_eval, prepend=True)
        caller = _caller(model, name)
        if caller:
            inside.setdefault(caller, []).append(name.removeprefix(f"{caller}."))
    for caller, names in inside.items():
        hook = _Watch((), tuple(names), watch.label)
        yield _reach(model, caller).register_forward_pre_hook(hook, prepend=True)
    yield model.register_forward_pre_hook(watch, prepend=True)


def _caller(model: nn.Module, name: str) -> str:
    """The nearest module around another that is not a mere container; "" for the root."""
    while name := name.rpartition(".")[0]:
        if not isinstance(_reach(model, name), nn.ModuleList | nn.ModuleDict):
            break
    return name


def _stay_in_eval(module: nn.Module, _inputs: Any) -> None:
    """A hook before each forward pass: ``train()`` of any parent may have been called since."""
    module.training = False


class _Watch:
    """A hook before each forward pass of a module: what must hold inside it, by name.

    By name, so that it holds for copies of the model, and for modules that others have replaced.
    """

    def __init__(self, parameters: tuple[str, ...], held: tuple[str, ...], label: str) -> None:
        self.parameters = parameters
        self.held = held
        self.label = label
        self.told = False

    def __call__(self, module: nn.Module, _inputs: Any) -> None:
        if torch.compiler.is_compiling():
            return  # the modules' own hooks are compiled in
        for name in self.held:
            inner = _reach(module, name)
            if inner is not None:
                inner.training = False
        if not self.told:
            self._look(module)

    def _look(self, module: nn.Module) -> None:
        now = ((name, _reach(module, name)) for name in self.parameters)
        loose = [name for name, x in now if isinstance(x, Tensor) and x.requires_grad]
        if loose:
            self.told = True
            _log.warning(
                "freeze plan '%s' is undone: '%s'%s requires a gradient again and trains from now "
                "on; call enforce() of what freeze returned before each step, or undo()",
                self.label,
                loose[0],
                f" (and {len(loose) - 1} more)" if len(loose) > 1 else "",
            )


def _reach(root: nn.Module, path: str) -> Any:
    """What stands at a path of names, also through compiled modules; None if nothing does."""
    found: Any = root
    for part in path.split(".") if path else ():
        found = getattr(found, part, None)
    return found


def _registered(module: Any, attribute: str) -> Tensor | None:
    """A module's own parameter or buffer; what a hook computes into its place is none."""
    if not isinstance(module, nn.Module):
        return None
    if isinstance(module, torch.jit.ScriptModule):
        tensor = getattr(module, attribute, None)
        return tensor if isinstance(tensor, Tensor) else None
    tensor = module._parameters.get(attribute)
    return module._buffers.get(attribute) if tensor is None else tensor


def _require_freezable(model: nn.Module) -> None:
    """Refuse what has no values yet, or a wrapper that a freeze comes too late for."""
    require_values(model)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and not _takes_hooks(module):
            raise PlanError(
                f"{type(model).__name__} is compiled to TorchScript, which takes no hooks: freeze "
                "and train the model itself, undo, then compile it"
            )
        wrapper = _WRAPPERS & {kind.__name__ for kind in type(module).__mro__}
        if wrapper:
            where = f" at '{name}'" if name else ""
            raise PlanError(
                f"{type(model).__name__} is wrapped already ({wrapper.pop()}{where}): freeze the "
                "model first, then wrap it, since a wrapper notes what trains when it is made"
            )
    meta = [name for name, x in model.state_dict(keep_vars=True).items() if _is_meta(x)]
    if meta:
        raise PlanError(
            f"'{meta[0]}' and {len(meta) - 1} more tensors of {type(model).__name__} have no "
            "values (meta device): give the model its values first, then freeze; plan_for makes "
            "the plan alone"
        )


def _takes_hooks(module: nn.Module) -> bool:
    """Traced modules do, scripted ones do not; the classes are one another's parents."""
    try:
        module.register_forward_pre_hook(_stay_in_eval).remove()
    except RuntimeError:
        return False
    return True


def _is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _require_known(plan: FreezePlan, state: Mapping[str, Tensor]) -> None:
    unknown = [name for name in plan.tensors if name not in state]
    if unknown:
        raise PlanError(
            f"plan '{plan.label}' names {len(unknown)} tensors that the model does not have, "
            f"first '{unknown[0]}'; was it made for this model and BatchNorm policy?"
        )


def _digest(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    flat = plain.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
