"""How a trial trains; a study may list several rates to choose from."""

import itertools
import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, WithJsonSchema, model_validator

from frostline.config.names import OptimizerName
from frostline.config.settings import Settings
from frostline.variants import slug_of

__all__ = ["TAGS", "AugmentConfig", "ScheduleConfig", "StudySchedule", "short_epochs"]


class AugmentConfig(Settings):
    """Training-time transforms, each off by its switch; validation images are only resized.

    Attributes:
        flip: horizontal flip with probability 0.5.
        colour: brightness, contrast and saturation jitter of 20 %.
        scale_jitter: the image is scaled by 0.8 to 1.25 and cropped or padded to the canvas.
    """

    flip: bool = True
    colour: bool = True
    scale_jitter: bool = True


class ScheduleConfig(Settings):
    """How one trial trains. Every field can be overridden per init.

    Attributes:
        epochs: passes over the training images, >= 1.
        batch_size: images a step, >= 1.
        optimizer: ``sgd`` (with ``momentum``) or ``adamw``.
        lr: peak learning rate, > 0.
        momentum: of SGD, in [0, 1).
        weight_decay: >= 0, on trainable parameters only.
        lr_schedule: ``cosine`` to zero, ``step`` (x0.1 at 2/3 and 8/9 of the steps after warm-up),
            ``constant``.
        warmup_epochs: linear warm-up from lr/100, in epochs, may be a fraction; 0 for none.
        clip_norm: largest L2 norm of all gradients together; None for no clipping.
        precision: ``fp32``, or ``bf16`` autocast (the heads' outputs, from which losses and boxes
            are computed, and evaluation are float32).
        augment: training-time transforms.
        eval_every: evaluate every so many epochs; None evaluates at the end only.
        checkpoint_seconds: write a checkpoint when the last one is this old, s; and at each epoch.
        backbone_lr_scale: the backbone's learning rate as a share of the others', > 0.
    """

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=4, ge=1)
    optimizer: OptimizerName = "adamw"
    lr: float = Field(default=3e-4, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    lr_schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0)
    clip_norm: float | None = Field(default=10.0, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: AugmentConfig = AugmentConfig()
    eval_every: int | None = Field(default=None, ge=1)
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    backbone_lr_scale: float = Field(default=1.0, gt=0, le=100)


_Rate = Annotated[float, Field(gt=0)]
_Scale = Annotated[float, Field(gt=0, le=100)]
TAGS = (
    "function-one",
    "function-several",
)  # of a union, told apart by its form: an error is of one of them


def _one_or_several(most: float | None) -> Any:
    """What a field takes that is a number, or a list of candidates for it."""
    number = {"type": "number", "exclusiveMinimum": 0} | ({"maximum": most} if most else {})
    several = {"type": "array", "items": number, "minItems": 1}
    form = Discriminator(lambda value: TAGS[isinstance(value, list | tuple)])
    return form, WithJsonSchema({"anyOf": [number, several]})


_Rates = Annotated[
    Annotated[_Rate, Tag(TAGS[0])]
    | Annotated[tuple[_Rate, ...], Field(min_length=1), Tag(TAGS[1])],
    *_one_or_several(None),
]
_Scales = Annotated[
    Annotated[_Scale, Tag(TAGS[0])]
    | Annotated[tuple[_Scale, ...], Field(min_length=1), Tag(TAGS[1])],
    *_one_or_several(100),
]


class StudySchedule(ScheduleConfig):
    """A study's schedule: one value of each field, or several rates to choose from.

    Attributes:
        lr: peak learning rate, > 0; or a list of candidates, of which `frostline advise` and
            `frostline run` find the best for each start.
        backbone_lr_scale: the backbone's learning rate as a share of the others', > 0; or a list of
            candidates.
    """

    # The schedules that it stands for have one value each.
    lr: _Rates = 3e-4  # type: ignore[assignment]
    backbone_lr_scale: _Scales = 1.0  # type: ignore[assignment]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in _LISTED:
            values = getattr(self, name)
            if isinstance(values, tuple) and len(set(values)) != len(values):
                raise ValueError(f"'{name}' repeats a value: {list(values)}")
        return self

    def variants(self) -> dict[str | None, ScheduleConfig]:
        """Every schedule that it stands for, by the variant in the trial's key.

        Where a field has several values, all of them are named; where none has, the only schedule
        is that of variant None.
        """
        values = {name: getattr(self, name) for name in _LISTED}
        values = {n: v if isinstance(v, tuple) else (v,) for n, v in values.items()}
        several = [name for name in _LISTED if len(values[name]) > 1]
        shared = self.model_dump()
        found: dict[str | None, ScheduleConfig] = {}
        for chosen in itertools.product(*values.values()):
            one = dict(zip(_LISTED, chosen, strict=True))
            key = slug_of({name: one[name] for name in several})
            found[key] = ScheduleConfig.model_validate(shared | one)
        return found


_LISTED = ("lr", "backbone_lr_scale")


def short_epochs(epochs: int, percent: int) -> int:
    """Epochs of a complete schedule of a share, rounded up, at least 2 where there are as many.

    Example:
        >>> short_epochs(12, 25), short_epochs(12, 100), short_epochs(5, 10)
        (3, 12, 2)
    """
    return min(epochs, max(2, math.ceil(epochs * percent / 100)))
