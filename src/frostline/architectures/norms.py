"""Which BatchNorm a policy fixes outside the part that depth counts."""

import dataclasses
from collections.abc import Collection

from frostline.architectures.architecture import Architecture
from frostline.plans import FreezePlan

__all__ = ["with_filled_norms"]

_MARK = ".running_mean"  # what every BatchNorm has, and nothing else


def with_filled_norms(
    plan: FreezePlan, names: Collection[str], architecture: Architecture, parts: Collection[str]
) -> FreezePlan:
    """The plan with the BatchNorm that policy ``frozen`` fixes beside that of the counted part.

    ``frozen`` governs the parts that a start fills. For a part that starts random, whose statistics
    are those of nothing, it is read as ``follow``: fixed exactly where the convolution is.

    Args:
        plan: made from the counted part's layer table.
        names: of the model's parameters and buffers.
        architecture: of the model.
        parts: what the start fills; none for ``random``.
    """
    if plan.batch_norm != "frozen":
        return plan
    filled = architecture.parts if "all" in parts else parts
    prefixes = architecture.prefixes(part for part in filled if part != architecture.counted)
    norms = {x.removesuffix("running_mean") for x in names if x.endswith(_MARK)}
    found = {x for x in names if x.startswith(prefixes) and f"{x.rpartition('.')[0]}." in norms}
    return dataclasses.replace(plan, tensors=tuple(sorted({*plan.tensors, *found})))
