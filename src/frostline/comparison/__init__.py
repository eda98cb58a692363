"""What did my fine-tuning change? Weight files compared layer by layer.

Names are loaded when they are first used: comparing two files needs a third of this package.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.comparison.floor import noise_floor
    from frostline.comparison.pairs import diff
    from frostline.comparison.results import Comparison, NoiseFloor, Trajectory
    from frostline.comparison.rows import LayerFloor, TensorDifference
    from frostline.comparison.steps import trajectory

__all__ = [
    "Comparison",
    "LayerFloor",
    "NoiseFloor",
    "TensorDifference",
    "Trajectory",
    "diff",
    "noise_floor",
    "trajectory",
]

_PLACES = {
    "Comparison": "results",
    "LayerFloor": "rows",
    "NoiseFloor": "results",
    "TensorDifference": "rows",
    "Trajectory": "results",
    "diff": "pairs",
    "noise_floor": "floor",
    "trajectory": "steps",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'frostline.comparison' has no attribute '{name}'")
    return getattr(importlib.import_module(f"frostline.comparison.{_PLACES[name]}"), name)
