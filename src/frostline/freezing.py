"""Applying a freeze plan to a model, keeping it in force, and proving afterwards that it held."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.errors import AuditError, PlanError
from frostline.plans import FreezePlan
from frostline.records import AuditRecord

__all__ = ["apply_plan", "audit", "fingerprint", "require_passed", "set_train_mode"]


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
    names = frozenset(plan.tensors)
    counts = {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
        counts[name in names] += parameter.numel()
    if counts[False] == 0:
        raise PlanError(f"plan '{plan.label}' freezes every parameter: nothing is left to train")
    return counts[True], counts[False]


def set_train_mode(model: nn.Module, plan: FreezePlan) -> None:
    """``model.train()``, except BatchNorm whose statistics the plan fixes, which stays in eval.

    Call it wherever ``model.train()`` would be called: a parent's ``train()`` undoes a child's
    ``eval()``, and a BatchNorm in train mode moves its statistics even without gradients.
    """
    model.train()
    names = frozenset(plan.tensors)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_mean" in names:
            module.eval()


def fingerprint(model: nn.Module) -> dict[str, str]:
    """SHA-256 (hex) of the bytes of every parameter and buffer, by state-dict name."""
    return {name: _digest(tensor) for name, tensor in model.state_dict().items()}


def audit(before: Mapping[str, str], model: nn.Module, plan: FreezePlan) -> AuditRecord:
    """Compare fingerprints: what the plan names must be byte-identical, the rest should have moved.

    Args:
        before: ``fingerprint(model)`` from before training.
        model: the trained model.
        plan: the plan that was in force.
    """
    after = fingerprint(model)
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
