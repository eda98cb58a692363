"""The network that every cell of a study shares."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from frostline.config.names import ArchitectureName, BackboneName
from frostline.config.settings import Settings

__all__ = ["ModelConfig"]


class ModelConfig(Settings):
    """The model that every arm of the study shares.

    Attributes:
        architecture: what is built over the backbone; ``faster_rcnn`` is a detector, ``unet``
            segments (extra ``unet``).
        backbone: network under the FPN, or encoder: one of torchvision's six, or ``timm:<model>``
            for any of timm's convolutional feature extractors (extra ``timm``).
        preset: ``stock`` is the library's own model; ``slim``, of ``faster_rcnn``, has a smaller
            neck and head.
        batch_norm: ``frozen`` (affine and statistics fixed everywhere), ``follow`` (fixed exactly
            where the convolution is), ``live``.
        image_size: longest side after resizing, px, on a canvas that is fixed for the study.
        width_mult: channel multiplier of ``mobilenet_v2``, > 0.
        norm_eps: eps of BatchNorm; None is the value the backbone's published weights use.
        max_detections: boxes kept per image, >= 1 (wheat images reach 116 boxes).
        losses: weights of the losses of ``unet``, >= 0: ``cross_entropy`` and ``dice``; one that is
            not named is 0. None is 1 for each.
    """

    architecture: ArchitectureName = "faster_rcnn"
    backbone: BackboneName = "resnet50"
    preset: Literal["stock", "slim"] = "stock"
    batch_norm: Literal["frozen", "follow", "live"] = "frozen"
    image_size: int = Field(default=320, ge=64, le=4096)
    width_mult: float = Field(default=1.0, gt=0, le=4)
    norm_eps: float | None = Field(default=None, ge=0, le=0.1)
    max_detections: int = Field(default=300, ge=1, le=10_000)
    losses: dict[Literal["cross_entropy", "dice"], Annotated[float, Field(ge=0)]] | None = None

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        if self.losses is not None and not sum(self.losses.values()):
            raise ValueError("expected a loss with a weight above 0 under 'losses'")
        return self

    @model_validator(mode="after")
    def _width_of_mobilenet(self) -> Self:
        if self.width_mult != 1.0 and self.backbone != "mobilenet_v2":
            raise ValueError("'width_mult' is defined for backbone mobilenet_v2 only")
        return self
