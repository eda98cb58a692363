"""A study as its ``study.yaml`` describes it: typed, frozen, and checked before anything runs."""

import difflib
import itertools
import math
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from frostline.depth import BACKBONES, TIMM_PREFIX
from frostline.errors import ConfigError
from frostline.layouts import LAYOUTS
from frostline.members import ARCHITECTURES, TASKS, TRAINERS, nearest
from frostline.variants import slug_of, values_of

__all__ = [
    "IMAGENET",
    "AugmentConfig",
    "DataConfig",
    "Depth",
    "InitConfig",
    "MasksConfig",
    "ModelConfig",
    "Normalisation",
    "OptimizerName",
    "Part",
    "PlanConfig",
    "ScheduleConfig",
    "SplitConfig",
    "StudyConfig",
    "StudySchedule",
    "load_study",
    "parse_plan",
    "parse_study",
    "save_study",
    "short_epochs",
]

Part = Literal["backbone", "neck", "rpn", "head", "encoder", "decoder", "all"]
OptimizerName = Literal["sgd", "adamw"]
Depth = Annotated[int, Field(ge=0)] | Literal["all"]

_TIMM_BACKBONE = rf"{TIMM_PREFIX}[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?"
_MAX_BYTES = 1_000_000
_T = r"^(floor|median|q[1-9]?[0-9])$"
_SHOWN_CHARACTERS = 60
_DEPTH_LABEL = re.compile(r"[kK]\d+")
_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.+-]*[A-Za-z0-9_+-])?")


def _known_backbone(name: str) -> str:
    """Accept a name of ours, or one that timm may know: its list is not read for a YAML file."""
    if name in BACKBONES or re.fullmatch(_TIMM_BACKBONE, name):
        return name
    near = difflib.get_close_matches(name, BACKBONES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"expected {', '.join(BACKBONES)} or timm:<model>{hint}")


def _known_layout(name: str) -> str:
    """Accept ``auto`` and what stands in the table of layouts now."""
    if name == "auto" or name in LAYOUTS:
        return name
    near = difflib.get_close_matches(name, LAYOUTS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"expected auto, {', '.join(LAYOUTS)}{hint}")


_LayoutName = Annotated[
    str,
    AfterValidator(_known_layout),
    WithJsonSchema({"type": "string", "enum": ["auto", *LAYOUTS]}),
]


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"expected one of {known}{nearest(name, ARCHITECTURES)}")
    return name


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"expected one of {', '.join(TASKS)}{nearest(name, TASKS)}")
    return name


_Task = Annotated[str, AfterValidator(_known_task), WithJsonSchema({"enum": list(TASKS)})]

_Architecture = Annotated[
    str, AfterValidator(_known_architecture), WithJsonSchema({"enum": list(ARCHITECTURES)})
]

# Editors complete the names that are ours; timm has more than a thousand of its own.
_Backbone = Annotated[
    str,
    AfterValidator(_known_backbone),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(BACKBONES)},
                {"type": "string", "pattern": f"^{_TIMM_BACKBONE}$"},
            ]
        }
    ),
]


def _known_trainer(name: str) -> str:
    if name not in TRAINERS:
        raise ValueError(f"expected one of {', '.join(TRAINERS)}{nearest(name, TRAINERS)}")
    return name


_TrainerName = Annotated[
    str, AfterValidator(_known_trainer), WithJsonSchema({"enum": list(TRAINERS)})
]
_Channels = tuple[float, float, float]
_Positive = Annotated[float, Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Normalisation(_Model):
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


class SplitConfig(_Model):
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


class MasksConfig(_Model):
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


class DataConfig(_Model):
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

    layout: _LayoutName = "auto"
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


class ModelConfig(_Model):
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

    architecture: _Architecture = "faster_rcnn"
    backbone: _Backbone = "resnet50"
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


class AugmentConfig(_Model):
    """Training-time transforms, each off by its switch; validation images are only resized.

    Attributes:
        flip: horizontal flip with probability 0.5.
        colour: brightness, contrast and saturation jitter of 20 %.
        scale_jitter: the image is scaled by 0.8 to 1.25 and cropped or padded to the canvas.
    """

    flip: bool = True
    colour: bool = True
    scale_jitter: bool = True


class ScheduleConfig(_Model):
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
_TAGS = (
    "function-one",
    "function-several",
)  # of a union, told apart by its form: an error is of one of them


def _one_or_several(most: float | None) -> Any:
    """What a field takes that is a number, or a list of candidates for it."""
    number = {"type": "number", "exclusiveMinimum": 0} | ({"maximum": most} if most else {})
    several = {"type": "array", "items": number, "minItems": 1}
    form = Discriminator(lambda value: _TAGS[isinstance(value, list | tuple)])
    return form, WithJsonSchema({"anyOf": [number, several]})


_Rates = Annotated[
    Annotated[_Rate, Tag(_TAGS[0])]
    | Annotated[tuple[_Rate, ...], Field(min_length=1), Tag(_TAGS[1])],
    *_one_or_several(None),
]
_Scales = Annotated[
    Annotated[_Scale, Tag(_TAGS[0])]
    | Annotated[tuple[_Scale, ...], Field(min_length=1), Tag(_TAGS[1])],
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


class InitConfig(_Model):
    """A named source of starting weights.

    Attributes:
        source: ``random``, ``torchvision:<WeightsEnum>.<MEMBER>``, ``timm:<model>``,
            ``hf:<owner>/<repo>[@<revision>]/<file>``, or a weight file's path.
        parts: what is taken from it; None is what depth counts, the ``backbone`` of
            ``faster_rcnn``, so that two starts differ in that alone.
        allow_missing: shell-style patterns of tensor names that may stay at their seeded values.
        schedule: fields of the schedule that this init overrides (a learning rate that suits it).
        normalisation: of the pixels that the weights were trained on; None takes what torchvision
            or timm says of its own weights, for any other source what is usual for the backbone.
        section: the part of the file that holds the weights (``ema``); None takes the usual one.
    """

    source: str = Field(min_length=1)
    parts: tuple[Part, ...] | None = None
    allow_missing: tuple[str, ...] = ()
    schedule: dict[str, Any] = Field(default_factory=dict)
    normalisation: Normalisation | None = None
    section: str | None = None

    @field_validator("schedule")
    @classmethod
    def _part_of_a_schedule(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        StudySchedule.model_validate(overrides)  # here an error is told with the init's name
        return overrides

    @property
    def is_random(self) -> bool:
        """Whether this is the unranked reference that starts from no weights at all."""
        return self.source == "random"


def _known_threshold(t: float | str) -> float | str:
    if (isinstance(t, str) and not re.fullmatch(_T, t)) or (not isinstance(t, str) and t < 0):
        raise ValueError("expected a number from 0 on, median, a quantile such as q75, or floor")
    return t


_Threshold = Annotated[
    float | str,
    AfterValidator(_known_threshold),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _T}]}
    ),
]


class PlanConfig(_Model):
    """What a freeze plan freezes: exactly one of the ways.

    Attributes:
        depth: number of convolutions, counted from the input.
        stage: a stage or module of the backbone (``layer2``), with all that comes before it.
        patterns: shell-style patterns of tensor names (``backbone.body.0.*``), and nothing else
            but the BatchNorm that the policy fixes.
        rule: made from the start's own trials with nothing frozen, once these have ended:
            ``freeze-above`` stops updating layers that moved by more than ``t``, ``freeze-below``
            those that did not.
        t: of the rule: a number for the difference (Algorithm 1, mean over seeds), a quantile of
            those of the layers (``median``, ``q75``), or ``floor``: above is what moved beyond the
            noise floor of the seeds.
    """

    depth: int | None = Field(default=None, ge=0)
    stage: str | None = Field(default=None, min_length=1)
    patterns: tuple[str, ...] | None = Field(default=None, min_length=1)
    rule: Literal["freeze-above", "freeze-below"] | None = None
    t: _Threshold | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name, value in self if value is not None and name != "t"]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of 'stage', 'patterns' and 'rule', got "
                f"{' and '.join(given) or 'none'}"
            )
        if (self.rule is None) != (self.t is None):
            raise ValueError("'rule' and 't' go together: t is a number, median, q75 or floor")
        return self


class StudyConfig(_Model):
    """What ``frostline run`` needs: inits x plans x seeds over one data set and one model.

    Attributes:
        version: of this format.
        task: what is trained for, and so which scores are measured.
        data: images and boxes.
        model: the detector that every arm shares.
        inits: starting weights by name; names become parts of folder names.
        depths: numbers of backbone convolutions, counted from the input, that are not updated;
            ``all`` is the whole backbone.
        plans: freeze plans beside the depths, by label; labels become parts of folder names.
        numbering: ``all`` counts every convolution; ``paper`` the main path of bottleneck ResNets.
        seeds: one trial each; equal seeds draw equal images in equal order in all arms.
        schedule: how one trial trains.
        trainer: who trains; ``frostline`` is the loop of its own.
        allow_frozen_random: whether plans may freeze what a start leaves random, as a U-Net's
            decoder, or layers of start ``random``, which is then ranked like the others. Such
            trials are marked "random, frozen" wherever they appear.
        differences: whose weights are compared before and after: of the layers that depth counts
            (``counted``), or of all layers.
    """

    version: Literal[1] = 1
    task: _Task = "detection"
    data: DataConfig
    model: ModelConfig = ModelConfig()
    inits: dict[str, InitConfig] = Field(min_length=1)
    depths: tuple[Depth, ...] = Field(default=(0,), min_length=1)
    plans: dict[str, PlanConfig] = Field(default_factory=dict)
    numbering: Literal["all", "paper"] = "all"
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0,), min_length=1)
    schedule: StudySchedule = StudySchedule()
    trainer: _TrainerName = "frostline"
    allow_frozen_random: bool = False
    differences: Literal["counted", "all"] = "counted"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.inits:
            if not _SLUG.fullmatch(name):
                raise ValueError(f"init name '{name}': use letters, digits, '_', '-', '.', '+'")
        for label, plan in self.plans.items():
            _require_label(label, plan)
        for what, values in (("depths", self.depths), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"'{what}' repeats a value: {list(values)}")
        if len({name.lower() for name in self.inits}) != len(self.inits):
            raise ValueError("two init names differ only in case: folders would collide")
        if self.has_lists and 0 not in self.depths:
            raise ValueError(
                "a list of rates is chosen from with nothing frozen; put 0 in 'depths'"
            )
        if self.has_lists and any(plan.rule is not None for plan in self.plans.values()):
            raise ValueError("'plans' with a rule need one rate for each start, not a list")
        return self

    def schedules_of(self, init: str) -> dict[str | None, ScheduleConfig]:
        """The schedules of one init, its overrides applied, by the variant in the trial's key."""
        overrides = self.inits[init].schedule
        shared = self.schedule.model_dump()
        if isinstance(overrides.get("augment"), dict):
            overrides = overrides | {"augment": shared["augment"] | overrides["augment"]}
        return StudySchedule.model_validate(shared | overrides).variants()

    def schedule_of(self, init: str, variant: str | None = None) -> ScheduleConfig:
        """The schedule of one init in one variant.

        A variant that the study does not list is read off its name; a share of the epochs gets a
        complete schedule of its own, at least 2 epochs, with the warm-up scaled. With a share of
        the images there are as many more epochs, and as many between evaluations.
        """
        known = self.schedules_of(init)
        if variant in known:
            return known[variant]
        changed = values_of(variant)
        schedule = next(iter(known.values())).model_copy(update=changed.schedule)
        epochs = short_epochs(schedule.epochs, changed.epochs)
        times = round(100 / changed.images)
        return schedule.model_copy(
            update={
                "epochs": epochs * times,
                "warmup_epochs": schedule.warmup_epochs * epochs * times / schedule.epochs,
                "eval_every": schedule.eval_every and schedule.eval_every * times,
            }
        )

    @property
    def has_lists(self) -> bool:
        """Whether a start has several rates to choose from."""
        return any(len(self.schedules_of(init)) > 1 for init in self.inits)


def short_epochs(epochs: int, percent: int) -> int:
    """Epochs of a complete schedule of a share, rounded up, at least 2 where there are as many.

    Example:
        >>> short_epochs(12, 25), short_epochs(12, 100), short_epochs(5, 10)
        (3, 12, 2)
    """
    return min(epochs, max(2, math.ceil(epochs * percent / 100)))


def _require_label(label: str, plan: PlanConfig) -> None:
    if not _SLUG.fullmatch(label):
        raise ValueError(f"plan label '{label}': use letters, digits, '_', '-', '.', '+'")
    if _DEPTH_LABEL.fullmatch(label):
        raise ValueError(f"plan label '{label}' is that of a depth; choose another")
    if plan.depth is not None:
        raise ValueError(f"plan '{label}' is a depth; name it under 'depths'")


class _StrictLoader(yaml.SafeLoader):
    """YAML without tags, anchors, aliases or repeated keys, each refused with its line."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor or getattr(event, "tag", None):  # an alias has its anchor's name
            raise ConfigError(
                f"line {event.start_mark.line + 1}: expected plain values, got a tag, an anchor or "
                "an alias; write it out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: expected a name before ':'")
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"line {line}: '{key.value}' is given twice; names must differ")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_study(path: Path) -> StudyConfig:
    """Read and check a ``study.yaml``.

    Raises:
        ConfigError: missing, too large, not YAML, an unknown key (with the nearest known one), or
            a value out of its range; names file and line or key.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path.name}: over {_MAX_BYTES} bytes; is it a study file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; is it a study.yaml?") from None
    try:
        raw = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader, made stricter)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: not valid YAML: {_one_line(error)}") from None
    return parse_study(raw, path.name)


def parse_study(raw: object, name: str = "study") -> StudyConfig:
    """Check a study given as plain Python data; ``name`` stands in error messages.

    Raises:
        ConfigError: as ``load_study``.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name}: expected a mapping with 'data', 'inits', …, got {_kind(raw)}")
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_explain(error)}") from None


def parse_plan(raw: object) -> PlanConfig:
    """Check a plan given as plain Python data.

    Raises:
        ConfigError: as ``load_study``.
    """
    try:
        return PlanConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"plan: {_explain(error)}") from None


def save_study(config: StudyConfig) -> str:
    """The study as YAML text that ``load_study`` reads back to an equal value."""
    data = config.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump({"version": config.version, **data}, sort_keys=False)


_PLACES: dict[str, type[BaseModel]] = {
    "at the top of the file": StudyConfig,
    "under 'data'": DataConfig,
    "under 'data.split'": SplitConfig,
    "under 'data.masks'": MasksConfig,
    "under 'model'": ModelConfig,
    "in a start of 'inits'": InitConfig,
    "under 'schedule'": StudySchedule,
    "under 'schedule.augment'": AugmentConfig,
    "under 'normalisation' of a start": Normalisation,
}
_FORMS = ("function-after", *_TAGS)  # parts of a place that no file has


def _explain(error: ValidationError) -> str:
    """The first problem in one line: where, what was expected, what came, the nearest key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in _FORMS) or "study"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'{_hint(str(first['loc'][-1]))}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}; got {_shown(first['input'])}{more}"


def _hint(key: str) -> str:
    """Where a key belongs that stands in the wrong place, or the nearest key there is."""
    homes = [place for place, model in _PLACES.items() if key in model.model_fields]
    if homes:
        return f"; expected it {' or '.join(homes)}"
    every = [name for model in _PLACES.values() for name in model.model_fields]
    near = difflib.get_close_matches(key, every, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else _kind(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
