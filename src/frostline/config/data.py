"""The data of a study, and what is done to its pixels."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from frostline.config.names import LayoutName
from frostline.config.settings import Settings

__all__ = ["IMAGENET", "DataConfig", "MasksConfig", "Normalisation", "SplitConfig"]

_Channels = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


class Normalisation(Settings):
    """What is done to pixels before the first convolution: (pixel - mean) / std.

    Attributes:
        mean: of red, green and blue, for pixels in [0, 1].
        std: of the same, > 0.
        bgr: the weights were trained on blue, green, red: the first convolution's input channels
            are turned round as they are read, and everything else stays red, green, blue.
    """

    mean: _Channels
    std: tuple[_Positive, _Positive, _Positive]
    bgr: bool = False


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class SplitConfig(Settings):
    """How one annotation file becomes training and validation data: exactly one of the two ways.

    Attributes:
        fraction: share of images that go to validation, in (0, 1), chosen by seeded file name.
        seed: seed of that choice.
        val_groups: groups (``source`` or ``domain``) that are the validation data.
        by: what the fraction is drawn of: each ``file`` by itself, or each ``photo`` with all its
            versions, tiles and near-duplicates, which are told by name or by how they look.
    """

    fraction: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    val_groups: tuple[str, ...] | None = None
    by: Literal["file", "photo"] = "file"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.fraction is None) == (self.val_groups is None):
            raise ValueError("give exactly one of 'fraction' and 'val_groups'")
        if self.by == "photo" and self.fraction is None:
            raise ValueError("'by: photo' goes with 'fraction'; groups are held out whole anyway")
        return self


_Value = Annotated[int, Field(ge=0, le=0xFFFF)]
_Shade = Annotated[int, Field(ge=0, le=255)]
_Colour = tuple[_Shade, _Shade, _Shade]


class MasksConfig(Settings):
    """What the pixels of masks mean. Without it their values are the classes.

    Attributes:
        classes: name of each class by its value in the mask files; every value that there is.
        colours: red, green and blue of each class, 0 to 255, for masks that are told by colour.
        ignore_index: value of pixels that are neither learned nor scored.
        ignore_colour: their colour, with ``colours``.
    """

    classes: dict[_Value, str] = Field(default_factory=dict)
    colours: dict[str, _Colour] = Field(default_factory=dict)
    ignore_index: _Value | None = None
    ignore_colour: _Colour | None = None

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Self:
        if self.classes and self.colours:
            raise ValueError("give 'classes' for masks of numbers or 'colours', not both")
        if self.ignore_index in self.classes:
            raise ValueError(f"'ignore_index' {self.ignore_index} is the value of a class")
        if self.ignore_colour in self.colours.values():
            raise ValueError("'ignore_colour' is the colour of a class")
        if len(set(self.classes.values())) != len(self.classes):
            raise ValueError("'classes' gives two values one name; name each class once")
        if len(set(self.colours.values())) != len(self.colours):
            raise ValueError("'colours' gives two classes one colour")
        return self


class DataConfig(Settings):
    """Images and boxes, or masks. Paths are relative to the study's file.

    Attributes:
        layout: annotation layout; ``auto`` recognises it.
        images: folder of images, the data root: nothing outside it is read.
        train: annotation file of the training images.
        val: annotation file of the validation images, on which scores are measured.
        test: optional annotation file, scored with what was chosen on ``val``.
        annotations: one annotation file for both, with ``split``.
        split: how ``annotations`` is divided.
        on_problem: ``raise`` stops at the first bad box or row; ``drop`` counts and omits it.
        metrics: scores to measure besides the task's usual ones; of detection: ``wheat``, which is
            measured unasked for layouts ``kaggle`` and ``gwhd2021``.
        masks: what the pixels of masks mean (layout ``masks``).
        grey_levels: levels that 16-bit grey images use, 256 to 65536, one number for the whole set:
            4096 for 12 bits. Level v becomes ``v * 256 // grey_levels``; None is all 65536.
    """

    layout: LayoutName = "auto"
    images: str
    train: str | None = None
    val: str | None = None
    test: str | None = None
    annotations: str | None = None
    split: SplitConfig | None = None
    on_problem: Literal["raise", "drop"] = "raise"
    metrics: tuple[str, ...] = ()
    masks: MasksConfig = MasksConfig()
    grey_levels: int | None = Field(default=None, ge=256, le=65536)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        by_file = self.train is not None and self.val is not None
        by_split = self.annotations is not None and self.split is not None
        files, split = (self.train, self.val, self.test), (self.annotations, self.split)
        if by_file == by_split or (any(split) if by_file else any(files)):
            raise ValueError("give 'train', 'val' (and 'test'), or 'annotations' and 'split'")
        return self
