"""Weight files of every common format, opened without running anything from them."""

from frostline.checkpoints.alignment import Alignment, TensorPair, align
from frostline.checkpoints.dialects import shows_detectron2
from frostline.checkpoints.names import strip_prefixes
from frostline.checkpoints.opening import Checkpoint, open_checkpoint
from frostline.checkpoints.tensors import TensorRef

__all__ = [
    "Alignment",
    "Checkpoint",
    "TensorPair",
    "TensorRef",
    "align",
    "open_checkpoint",
    "shows_detectron2",
    "strip_prefixes",
]
