"""Applying a freeze plan to a model, keeping it in force, and proving afterwards that it held."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from frostline.depth import LayerTable
from frostline.errors import AuditError, PlanError
from frostline.notebook import facts_html
from frostline.observing import observe_table
from frostline.plans import BatchNormPolicy, FreezePlan
from frostline.records import AuditRecord

__all__ = [
    "Frozen",
    "PlanLike",
    "apply_plan",
    "audit",
    "compare",
    "fingerprint",
    "freeze",
    "plan_for",
    "require_passed",
    "set_train_mode",
]

PlanLike = FreezePlan | int | str | Sequence[str]


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
    as they are.

    Args:
        model: any model; changed in place. Freeze before ``torch.compile`` and before the model is
            sharded; ``undo`` before ``torch.jit.script``, which knows no hooks.
        plan: what to freeze: a ``FreezePlan``; a number k of convolutions, counted from the input;
            the name of a stage or module (``layer2``), with all that comes before it in a forward
            pass; or a list of shell patterns of tensor names (``["stem.*"]``), which freeze what
            they name and nothing else. A plan made for the bare backbone, or for the model before
            it was wrapped, is fitted to the model's names.
        example_input: what the model is called with (see ``observing.observe_table``), for a number
            or a stage; None: the model's ``example_input_array``, if it has one.
        batch_norm: which BatchNorm go with a number or stage: ``follow`` (those of the frozen
            convolutions), ``frozen`` (every one) or ``live`` (none). The first is the default here
            because the weights may be anybody's; ``frozen`` is for pretrained statistics.

    Returns:
        The plan in force, with ``audit`` and ``undo``.

    Raises:
        PlanError: the plan does not fit the model, or there is no example where one is needed.

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
    names = model.state_dict(keep_vars=True).keys()
    if isinstance(plan, FreezePlan):
        return plan.fitted_to(names), None
    if not isinstance(plan, int | str):
        return FreezePlan.matching(names, plan, batch_norm=batch_norm), None
    if isinstance(plan, str) and not set(plan).isdisjoint("*?["):
        raise PlanError(f"expected a stage or module, got pattern '{plan}'; patterns are a list")
    table = observe_table(model, example_input)
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
        self.model = model
        self.plan = plan
        self.table = table
        _require_known(plan, model.state_dict(keep_vars=True))
        self._parameters = tuple(_frozen_parameters(model, plan))
        self._held = tuple(_held_modules(model, plan))
        self._before_freezing = (
            [(p, p.requires_grad) for p in self._parameters],
            [(m, m.training) for m in self._held],
        )
        self.fingerprint = fingerprint(model)
        self.enforce()
        self._hooks: list[RemovableHandle] = [
            module.register_forward_pre_hook(_stay_in_eval) for module in self._held
        ]
        self.frozen_parameters = sum(p.numel() for p in self._parameters)
        self.trainable_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def enforce(self) -> int:
        """Put the plan in force again, where something else has undone it.

        Returns:
            How many frozen parameters required a gradient again.
        """
        loose = [parameter for parameter in self._parameters if parameter.requires_grad]
        for parameter in self._parameters:
            parameter.requires_grad_(False)
            parameter.grad = None  # what an optimiser finds here it would apply
        for module in self._held:
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
        for module in self._held:
            module.training = False

    def audit(self) -> AuditRecord:
        """Compare every byte: the plan's tensors must be what they were when it came in force.

        Loading other weights since then counts as a change, unless ``remember`` was called.
        """
        return audit(self.fingerprint, self.model, self.plan)

    def remember(self, digests: Mapping[str, str] | None = None) -> None:
        """Audit against the model's present bytes, after other weights were loaded into it.

        Args:
            digests: digests of some tensors to keep instead, such as those of a checkpoint.
        """
        self.fingerprint = fingerprint(self.model) | dict(digests or {})

    def undo(self) -> None:
        """Let the model train as before: gradients, BatchNorm modes, no hooks. Once is enough."""
        for hook in self._hooks:
            hook.remove()
        parameters, modules = self._before_freezing
        for parameter, required in parameters:
            parameter.requires_grad_(required)
        for module, training in modules:
            module.training = training
        self._hooks, self._before_freezing = [], ([], [])

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


def apply_plan(model: nn.Module, plan: FreezePlan) -> tuple[int, int]:
    """Set ``requires_grad`` of every parameter: False exactly for those the plan names.

    The plan already contains what its BatchNorm policy fixes. Give the optimiser only the
    parameters that still require a gradient.

    Returns:
        Numbers of frozen and of trainable parameters (elements; buffers are not counted).

    Raises:
        PlanError: the plan names tensors that the model does not have, or leaves none to train.
    """
    _require_known(plan, model.state_dict(keep_vars=True))
    frozen = set(_frozen_parameters(model, plan))
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter not in frozen)
        counts[parameter in frozen] += parameter.numel()
    if counts[False] == 0:
        raise PlanError(f"plan '{plan.label}' freezes every parameter: nothing is left to train")
    return counts[True], counts[False]


def set_train_mode(model: nn.Module, plan: FreezePlan) -> None:
    """``model.train()``, except modules with buffers that the plan fixes, which stay in eval.

    Call it wherever ``model.train()`` would be called: a parent's ``train()`` undoes a child's
    ``eval()``, and a BatchNorm in train mode moves its statistics even without gradients.
    """
    model.train()
    for module in _held_modules(model, plan):
        module.training = False


def fingerprint(model: nn.Module) -> dict[str, str]:
    """SHA-256 (hex) of the bytes of every parameter and buffer, by state-dict name."""
    state = model.state_dict().items()
    return {name: _digest(value) for name, value in state if isinstance(value, Tensor)}


def audit(before: Mapping[str, str], model: nn.Module, plan: FreezePlan) -> AuditRecord:
    """Compare fingerprints: what the plan names must be byte-identical, the rest should have moved.

    Args:
        before: ``fingerprint(model)`` from before training.
        model: the trained model.
        plan: the plan that was in force.
    """
    return compare(before, fingerprint(model), plan)


def compare(before: Mapping[str, str], after: Mapping[str, str], plan: FreezePlan) -> AuditRecord:
    """``audit`` of two fingerprints, such as those of weight files.

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
    if not result.passed:
        shown = ", ".join(result.changed[:3])
        raise AuditError(
            f"freeze audit: expected {result.frozen} tensors to stay byte-identical, "
            f"{len(result.changed)} changed ({shown}); the trial does not count"
        )


def _frozen_parameters(model: nn.Module, plan: FreezePlan) -> Iterator[nn.Parameter]:
    """Each parameter once; one with several names (tied weights) is frozen under any of them."""
    names = frozenset(plan.tensors)
    named = model.named_parameters(remove_duplicate=False)
    yield from dict.fromkeys(parameter for name, parameter in named if name in names)


def _held_modules(model: nn.Module, plan: FreezePlan) -> Iterator[nn.Module]:
    """Modules that own a buffer of the plan: BatchNorm, spectral norm and the like.

    Eval mode is what keeps such buffers as they are.
    """
    names = frozenset(plan.tensors)
    held: dict[nn.Module, None] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        if any(prefix + buffer in names for buffer, _ in module.named_buffers(recurse=False)):
            held[module] = None
    yield from held


def _stay_in_eval(module: nn.Module, _inputs: Any) -> None:
    """A hook before each forward pass: ``train()`` of any parent may have been called since."""
    module.training = False


def _require_known(plan: FreezePlan, state: Mapping[str, Tensor]) -> None:
    unknown = [name for name in plan.tensors if name not in state]
    if unknown:
        raise PlanError(
            f"plan '{plan.label}' names {len(unknown)} tensors that the model does not have, "
            f"first '{unknown[0]}'; was it made for this backbone and BatchNorm policy?"
        )


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
