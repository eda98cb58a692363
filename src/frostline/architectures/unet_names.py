"""Where the parts of a U-Net lie in its state dict, in segmentation-models-pytorch's names."""

from typing import Final

__all__ = ["PARTS"]

PARTS: Final = {"encoder": "encoder.", "decoder": "decoder.", "head": "segmentation_head."}
