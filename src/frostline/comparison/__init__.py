"""What did my fine-tuning change? Weight files compared layer by layer."""

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
