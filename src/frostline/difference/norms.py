"""BatchNorm: its tensors, and how far they drifted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from frostline.difference.results import json_fields
from frostline.difference.sums import AnyArray, Floats

__all__ = ["NormDrift", "NormTensors", "norm_drift", "norm_tensors"]


class NormTensors(NamedTuple):
    """A BatchNorm's tensors, each float, shape (channels,)."""

    weight: AnyArray
    bias: AnyArray
    running_mean: AnyArray
    running_var: AnyArray


@dataclass(frozen=True, slots=True)
class NormDrift:
    """How far a BatchNorm moved. The first two are learned, the others follow the data.

    Attributes:
        weight: |gamma' - gamma| / |gamma|.
        bias: |beta' - beta| / |gamma|, the shift in units of the outputs' spread.
        running_mean: root mean square over channels of (mu' - mu) / sigma, sigma from before.
        running_var: root mean square over channels of ln(sigma' / sigma).
    """

    weight: float
    bias: float
    running_mean: float
    running_var: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return json_fields(self)


def norm_tensors(tensors: Mapping[str, AnyArray], module: str) -> NormTensors | None:
    """A BatchNorm's tensors by its module name; None where one is missing."""
    parts = [tensors.get(f"{module}.{part}") for part in NormTensors._fields]
    return None if any(part is None for part in parts) else NormTensors(*parts)  # type: ignore[arg-type]


def norm_drift(before: NormTensors, after: NormTensors, eps: float | None = None) -> NormDrift:
    """How far a BatchNorm's learned and measured tensors moved (see :class:`NormDrift`).

    Args:
        before: its tensors, each of shape (channels,).
        after: the same after training.
        eps: added to the variances where known, else 0.
    """
    b = [x.astype(np.float64) for x in before]
    a = [x.astype(np.float64) for x in after]
    with np.errstate(all="ignore"):
        gamma = math.sqrt(float((b[0] ** 2).sum()))
        variance, later = b[3] + (eps or 0.0), a[3] + (eps or 0.0)
        shift = np.where(a[2] == b[2], 0.0, (a[2] - b[2]) / np.sqrt(variance))
        spread = np.where(later == variance, 0.0, 0.5 * np.log(later / variance))
        return NormDrift(
            weight=_over(a[0] - b[0], gamma),
            bias=_over(a[1] - b[1], gamma),
            running_mean=float(np.sqrt((shift**2).mean())),
            running_var=float(np.sqrt((spread**2).mean())),
        )


def _over(change: Floats, norm: float) -> float:
    size = math.sqrt(float((change**2).sum()))
    if size == 0:
        return 0.0
    return size / norm if norm else math.nan
