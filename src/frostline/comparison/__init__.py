"""What did my fine-tuning change? Weight files compared layer by layer.

Names are loaded when they are first used: comparing two files needs a third of this package.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.comparison.floor import LayerFloor, NoiseFloor, noise_floor
    from frostline.comparison.pairs import Comparison, TensorDifference, diff
    from frostline.comparison.steps import Trajectory, trajectory

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
    "Comparison": "pairs",
    "LayerFloor": "floor",
    "NoiseFloor": "floor",
    "TensorDifference": "pairs",
    "Trajectory": "steps",
    "diff": "pairs",
    "noise_floor": "floor",
    "trajectory": "steps",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'frostline.comparison' has no attribute '{name}'")
    return getattr(importlib.import_module(f"frostline.comparison.{_PLACES[name]}"), name)
