"""A Lightning callback that freezes by plan: weights and BatchNorm statistics, proven by bytes.

    trainer = lightning.Trainer(callbacks=[FreezeCallback(plan)])

Needs the extra ``lightning``; works with ``lightning`` and with ``pytorch_lightning``.
"""

import functools
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from frostline.errors import PlanError
from frostline.extras import load_extra
from frostline.freezing import Frozen, PlanLike, freeze, require_passed
from frostline.plans import BatchNormPolicy
from frostline.records import AuditRecord


def _callback_class() -> Any:
    """The base class of callbacks; the hooks of both packages are the same."""
    package = "lightning.pytorch"
    if find_spec("lightning") is None and find_spec("pytorch_lightning") is not None:
        package = "pytorch_lightning"
    return load_extra(package, "lightning").Callback


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = _callback_class()

__all__ = ["FreezeCallback"]

_log = logging.getLogger(__name__)

_BUILDERS = ("setup", "configure_model")  # where a LightningModule may build its layers


class FreezeCallback(Callback):
    """Freeze part of a LightningModule while it is fitted.

    The plan is in force from ``setup("fit")``, before optimisers exist, on what the module's own
    ``setup`` and ``configure_model`` leave (built, filled or compiled there), and again at the
    start of every batch, so neither Lightning's own ``train()`` nor another callback undoes it.
    Frozen parameters have no gradient: an optimiser over all parameters skips them, weight decay
    and momentum included. When training ends every frozen tensor must have the bytes it had when
    it began; a resumed training is held to the beginning of the first. After the fit the module's
    ``requires_grad`` flags are what they were before.

    Not for strategies that shard parameters (FSDP, DeepSpeed): bytes cannot be compared there.

    Args:
        plan: what to freeze; see ``frostline.freeze``. A ``FreezePlan`` may be in the names of the
            network inside the LightningModule: the prefix (``model.``) is found.
        example_input: for a depth or a stage; None: the module's ``example_input_array``.
        batch_norm: for a depth or a stage; see ``frostline.freeze``.

    Attributes:
        frozen: the plan in force during a fit; None outside of one.
        result: the audit of the last fit; None before its end.
    """

    def __init__(
        self,
        plan: PlanLike,
        *,
        example_input: Any = None,
        batch_norm: BatchNormPolicy = "follow",
    ) -> None:
        super().__init__()
        self.plan = plan
        self.example_input = example_input
        self.batch_norm = batch_norm
        self.frozen: Frozen | None = None
        self.result: AuditRecord | None = None
        self._resumed: dict[str, Any] | None = None
        self._structure: Any = None

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Freeze, unless the module builds its layers later; then freeze what it has built.

        The module's own ``setup`` and ``configure_model`` come after this, before the strategy
        wraps the module and the optimisers exist.
        """
        if stage != "fit":
            return
        self._undo()
        self.result = self._resumed = None
        self._freeze_if_possible(pl_module)
        for name in _BUILDERS:
            pl_module.__dict__[name] = self._then_freeze(pl_module, getattr(pl_module, name))

    def on_fit_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Freeze at last, before anything is trained.

        Raises:
            PlanError: the plan does not fit the module, or leaves nothing to train.
        """
        _release(pl_module)
        if self.frozen is None or self._structure != _structure(pl_module):
            self._freeze(pl_module)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Remember the bytes: weights are restored and in their final precision now.

        Raises:
            PlanError: the checkpoint was trained with another plan.
        """
        frozen = self._in_force()
        frozen.remember()
        if self._resumed is None:
            return
        if self._resumed["plan"] != frozen.plan.digest():
            raise PlanError(
                f"the checkpoint was trained with plan '{self._resumed['label']}', expected "
                f"'{frozen.plan.label}'; resume with the plan it had, or start anew from its "
                "weights"
            )
        frozen.remember(self._resumed["fingerprint"])

    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: "LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Put the plan in force again, whatever happened since the last batch."""
        if loose := self._in_force().enforce():
            _log.warning("batch %d: froze %d parameters that were set free", batch_idx, loose)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Compare every byte.

        Raises:
            AuditError: a frozen tensor changed; ``result`` has the names.
        """
        self.result = self._in_force().audit()
        require_passed(self.result)

    def on_exception(
        self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException
    ) -> None:
        """Leave the module as it was."""
        _release(pl_module)
        self._undo()

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Leave the module as it was."""
        _release(pl_module)
        self._undo()

    def state_dict(self) -> dict[str, Any]:
        """The plan and the bytes to keep, for the checkpoint."""
        if self.frozen is None:
            return {}
        plan = self.frozen.plan
        return {
            "plan": plan.digest(),
            "label": plan.label,
            "fingerprint": {name: self.frozen.fingerprint[name] for name in plan},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint; checked in ``on_train_start``."""
        self._resumed = state_dict or None

    def _then_freeze(
        self, pl_module: "LightningModule", build: Callable[..., Any]
    ) -> Callable[..., Any]:
        """``build``, and after it the freeze of what it has built."""

        @functools.wraps(build)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = build(*args, **kwargs)
            if self.frozen is None or self._structure != _structure(pl_module):
                self._freeze_if_possible(pl_module)
            return result

        return wrapped

    def _freeze_if_possible(self, pl_module: "LightningModule") -> None:
        try:
            self._freeze(pl_module)
        except PlanError as error:
            _log.debug("tried again once the model is configured: %s", error)

    def _freeze(self, pl_module: "LightningModule") -> None:
        self._undo()
        self.frozen = freeze(
            pl_module, self.plan, example_input=self.example_input, batch_norm=self.batch_norm
        ).require_trainable()
        self._structure = _structure(pl_module)

    def _undo(self) -> None:
        if self.frozen is not None:
            self.frozen.undo()
        self.frozen = None

    def _in_force(self) -> Frozen:
        assert self.frozen is not None, "Lightning calls on_fit_start first"
        return self.frozen


def _structure(module: "LightningModule") -> tuple[tuple[str, int], ...]:
    """What tells a module from one that has been built anew: names and parameters."""
    return tuple((name, id(parameter)) for name, parameter in module.named_parameters())


def _release(module: "LightningModule") -> None:
    """Give a module its own ``setup`` and ``configure_model`` back."""
    for name in _BUILDERS:
        if hasattr(module.__dict__.get(name), "__wrapped__"):
            del module.__dict__[name]
