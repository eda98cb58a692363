"""What a cell of a study is called and where it stands: its plan, beside the name of its start."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from frostline.depth import depth_label, depth_of_label

if TYPE_CHECKING:
    from frostline.records import PlanRecord, TrialKey, TrialRecord

__all__ = [
    "FROZEN_RANDOM",
    "CellPlan",
    "cell_plan",
    "key_columns",
    "numbering_column",
    "plan_of_key",
    "shared_name",
]

FROZEN_RANDOM = "random, frozen"
"""The flag of a trial that keeps random weights as they are (``allow_frozen_random``)."""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """The plan and variant of a cell, as tables and sentences name them.

    Attributes:
        label: of the plan, as in the trial's key.
        variant: what differs from the start's own schedule; None for nothing.
        depth: k, where the plan is a prefix of the backbone; else None.
        numbering: how ``depth`` counts: ``all`` or ``paper``.
        layers: how many layers are frozen, of the backbone and of other parts that count on.
        unit: what a layer is: ``convolution`` or ``block``.
        frozen_random: whether it keeps random weights as they are; it is the same plan all the
            same, of another start.
    """

    label: str
    variant: str | None
    depth: int | None
    numbering: str
    layers: int
    unit: str = "convolution"
    frozen_random: bool = field(default=False, compare=False)

    @property
    def k(self) -> int | None:
        """The depth of a plan that was given as one; None for all others."""
        return self.depth if self.depth is not None and self.is_depth else None

    @property
    def is_depth(self) -> bool:
        """Whether the plan was given as a depth, and so lies on a curve over k."""
        return self.depth is not None and self.label == depth_label(self.depth)

    @property
    def nothing_frozen(self) -> bool:
        """Whether all layers are updated."""
        return not self.layers

    @property
    def plan(self) -> str:
        """``k=9``, ``paper k=9``, or the plan's label."""
        if not self.is_depth:
            return self.label
        return f"{'paper ' if self.numbering == 'paper' else ''}k={self.depth}"

    @property
    def name(self) -> str:
        """The plan, and the variant where there is one: ``k=9``, ``layer2, lr3e-4``."""
        return self.plan if self.variant is None else f"{self.plan}, {self.variant}"

    @property
    def marked(self) -> str:
        """The name, with the mark of a cell that keeps random weights as they are."""
        return f"{self.name} ({FROZEN_RANDOM})" if self.frozen_random else self.name

    @property
    def order(self) -> tuple[bool, int, str, str]:
        """Where its cell stands among those of its start: depths, then by what is frozen."""
        by = self.layers if self.k is None else self.k
        return (self.k is None, by, self.label, self.variant or "")


def cell_plan(record: "TrialRecord") -> CellPlan:
    """The plan of a trial's cell."""
    plan, key = record.plan, record.key
    marked, layers = FROZEN_RANDOM in record.flags, len(plan.layers)
    return CellPlan(
        key.plan, key.variant, plan.depth, plan.numbering, layers, plan.unit, frozen_random=marked
    )


def plan_of_key(key: "TrialKey") -> CellPlan:
    """The plan of a trial that has no record: what its label says."""
    depth = depth_of_label(key.plan)
    return CellPlan(key.plan, key.variant, depth, "all", depth or 0)


def key_columns(key: "TrialKey", plan: "PlanRecord | None" = None) -> dict[str, Any]:
    """The columns of every table that say which trial a row is of.

    Args:
        key: of the trial.
        plan: as its record has it; None for a trial without one: its depth is what the label says.
    """
    columns = {
        "init": key.init,
        "plan": key.plan,
        "variant": key.variant,
        "depth": depth_of_label(key.plan) if plan is None else plan.depth,
    }
    return columns | ({} if plan is None else numbering_column(plan)) | {"seed": key.seed}


def numbering_column(plan: "PlanRecord | CellPlan") -> dict[str, Any]:
    """How the depth beside it counts; nothing where there is no depth."""
    return {"numbering": None if plan.depth is None else plan.numbering}


def shared_name(plans: Iterable[CellPlan]) -> str:
    """Several plans of one start in one phrase: ``k=0, 9, layer2``."""
    text, counted = "", False
    for plan in plans:
        name = plan.marked
        if counted and plan.is_depth:
            name = name.partition("=")[2]
        counted = counted or plan.is_depth
        text += f", {name}" if text else name
    return text
