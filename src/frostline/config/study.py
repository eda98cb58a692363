"""Starts, freeze plans, and the study that crosses them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from frostline.config.data import DataConfig, Normalisation
from frostline.config.model import ModelConfig
from frostline.config.names import Depth, Part, TaskName, TrainerName
from frostline.config.schedule import ScheduleConfig, StudySchedule, short_epochs
from frostline.config.settings import Settings
from frostline.variants import values_of

__all__ = ["InitConfig", "PlanConfig", "StudyConfig"]

_T = r"^(floor|median|q[1-9]?[0-9])$"
_DEPTH_LABEL = re.compile(r"[kK]\d+")
_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.+-]*[A-Za-z0-9_+-])?")


class InitConfig(Settings):
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


class PlanConfig(Settings):
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


class StudyConfig(Settings):
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
    task: TaskName = "detection"
    data: DataConfig
    model: ModelConfig = ModelConfig()
    inits: dict[str, InitConfig] = Field(min_length=1)
    depths: tuple[Depth, ...] = Field(default=(0,), min_length=1)
    plans: dict[str, PlanConfig] = Field(default_factory=dict)
    numbering: Literal["all", "paper"] = "all"
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0,), min_length=1)
    schedule: StudySchedule = StudySchedule()
    trainer: TrainerName = "frostline"
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


def _require_label(label: str, plan: PlanConfig) -> None:
    if not _SLUG.fullmatch(label):
        raise ValueError(f"plan label '{label}': use letters, digits, '_', '-', '.', '+'")
    if _DEPTH_LABEL.fullmatch(label):
        raise ValueError(f"plan label '{label}' is that of a depth; choose another")
    if plan.depth is not None:
        raise ValueError(f"plan '{label}' is a depth; name it under 'depths'")
