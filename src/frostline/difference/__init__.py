"""Algorithm 1 and its relatives: how much a layer's weights changed, in numerics that hold.

With u the weights before, v after and d = v - u, everything comes from three float64 sums over the
elements: D = sum d^2, sum d u and sum u^2. Then s = |v|^2 - |u|^2 = 2 sum d u + D,
e = |v| - |u| = s / (|u| + |v|), and

    1 - |cos| = (D - e^2) / (2 |u| |v|)

which is exactly 0 for equal tensors and has no cancellation where little changed. For opposite
directions S = sum (v + u)^2 takes the place of D. Where e^2 takes more than half of D (the norm
changed more than the direction), a second pass brings u to the norm of v first. float32
``1 - cos`` would be noise: for 12.8 million elements its error is 1e-3, where a layer that hardly
moved has 1e-8.

It reads downwards: ``sums`` over pieces of tensors, ``cosine`` from the sums, ``filters`` for the
spread over a layer's filters, ``results`` for what comes out, ``tensors`` for one tensor against
another, ``norms`` and ``folded`` for BatchNorm, ``layers`` for a backbone. Names are loaded when
they are first used: comparing two files needs no ``layers``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.difference.filters import FilterQuantiles
    from frostline.difference.folded import Fold, fold_of, folded_difference
    from frostline.difference.layers import LayerDifference, profile
    from frostline.difference.norms import NormDrift, NormTensors, norm_drift, norm_tensors
    from frostline.difference.results import Difference, not_comparable
    from frostline.difference.sums import Block
    from frostline.difference.tensors import difference, difference_of_blocks

__all__ = [
    "Block",
    "Difference",
    "FilterQuantiles",
    "Fold",
    "LayerDifference",
    "NormDrift",
    "NormTensors",
    "difference",
    "difference_of_blocks",
    "fold_of",
    "folded_difference",
    "norm_drift",
    "norm_tensors",
    "not_comparable",
    "profile",
]

_PLACES = {
    "Block": "sums",
    "Difference": "results",
    "FilterQuantiles": "filters",
    "Fold": "folded",
    "LayerDifference": "layers",
    "NormDrift": "norms",
    "NormTensors": "norms",
    "difference": "tensors",
    "difference_of_blocks": "tensors",
    "fold_of": "folded",
    "folded_difference": "folded",
    "norm_drift": "norms",
    "norm_tensors": "norms",
    "not_comparable": "results",
    "profile": "layers",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'frostline.difference' has no attribute '{name}'")
    return getattr(importlib.import_module(f"frostline.difference.{_PLACES[name]}"), name)
