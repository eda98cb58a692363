"""What makes a trial the same trial: one definition, the forms it had before, and one comparer.

A trial is defined by what its training depends on; what only its scores depend on (how many
detections are kept) is compared apart, so that scores of two kinds never stand in one table. How
often to evaluate, where files lie and how often to write a checkpoint change neither.

A field that is added to the configuration later is left out while it has the value that it was
introduced with: all trials from before it are still the same trials. Identities are written to
``spec.json``, into records and, as a digest, into checkpoints; what an earlier version wrote there
is brought into the present form before it is compared.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from frostline.config import IMAGENET, ModelConfig, Normalisation, ScheduleConfig

__all__ = [
    "FIRST_TASK",
    "FORM",
    "INTRODUCED",
    "NOT_TRAINING",
    "SCORING",
    "Identity",
    "changes",
    "identify",
    "training_fields",
]

Json = dict[str, Any]

FORM = 2  # of an identity; form 1 had the cell's key, eval_every and max_detections in it

#: Fields that came after form 1, with the value that stands for all trials before them.
INTRODUCED: Mapping[str, Mapping[str, Any]] = {
    "model": {"architecture": "faster_rcnn", "losses": None},
    "schedule": {"backbone_lr_scale": 1.0},
}

#: The task of all trials from before there was a choice.
FIRST_TASK = "detection"

_ALL_LEVELS = 65536

#: Fields of the configuration that change neither training nor scores.
NOT_TRAINING: Mapping[str, frozenset[str]] = {
    "model": frozenset(),
    "schedule": frozenset({"checkpoint_seconds", "eval_every"}),
}

#: Fields of the model's configuration that change scores alone; ``data.metrics`` does so too.
SCORING = frozenset({"max_detections"})


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What defines one trial.

    Attributes:
        training: what its training depends on, as plain JSON values; ``form`` says in which form.
        scoring: what only its scores depend on.
        older: digests under which checkpoints of earlier versions know the same training.
    """

    training: Json
    scoring: Json
    older: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what defines the training: equal digests mean equal trainings."""
        return _digest(self.training)

    def knows(self, digest: str) -> bool:
        """Whether a digest, of this form or of an earlier one, is of this training."""
        return digest == self.digest or digest in self.older

    def to_dict(self) -> Json:
        """Plain values, as ``spec.json`` holds them."""
        return {**self.training, "scoring": self.scoring}

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> "Identity":
        """What an earlier run wrote, in any form, in the present one.

        Raises:
            KeyError: it is no identity, or of a later form.
        """
        try:
            form = stored.get("form", 1)
            if form == FORM:
                training = {name: value for name, value in stored.items() if name != "scoring"}
                return cls(training, dict(stored["scoring"]))
            if form == 1:
                return _of_first_form(dict(stored))
        except (AttributeError, TypeError, ValueError) as error:
            raise KeyError(f"no identity: {error}") from None
        raise KeyError(f"form {form}, expected up to {FORM}")


def identify(
    *,
    seed: int,
    model: ModelConfig,
    norm_eps: float | None,
    schedule: ScheduleConfig,
    weights: str | None,
    parts: tuple[str, ...],
    section: str,
    normalisation: Normalisation | None,
    plan: str,
    data: Mapping[str, str],
    pixels: Mapping[str, str],
    trainer: str = "frostline",
    cell: tuple[str, int, str] | None = None,
    task: str = FIRST_TASK,
    metrics: Collection[str] = (),
    grey_levels: int | None = None,
) -> Identity:
    """The identity of one trial.

    Args:
        seed: of new tensors, order and augmentation.
        model: the detector.
        norm_eps: eps of BatchNorm as it is resolved; None where the backbone has several.
        schedule: with the overrides of the start applied.
        weights: SHA-256 (hex) of the weight file; None for ``random``. A renamed file is the same
            experiment, a changed one is not.
        parts: what was taken from it.
        section: the part of the file that was taken, where it has several; else "".
        normalisation: of the pixels; ImageNet's is what all trials had before there was a choice.
        plan: digest of the freeze plan.
        data: digest of each split: names, sizes and boxes.
        pixels: digest of the image files of each split.
        trainer: who trains.
        cell: name of the start, depth and numbering of a cell that version 1 could express.
        task: its name.
        metrics: what is measured besides the task's usual scores.
        grey_levels: of 16-bit images; all 65536 is what all trials had before there was a choice.
    """
    shapes = model.model_dump(mode="json")
    training: Json = {
        "form": FORM,
        "seed": seed,
        "model": training_fields(model) | {"norm_eps": norm_eps},
        "schedule": training_fields(schedule),
        "weights": weights,
        "parts": list(parts),
        **({"section": section} if section else {}),
        "plan": plan,
        "data": dict(data),
        "pixels": dict(pixels),
        **({} if trainer == "frostline" else {"trainer": trainer}),
        **({} if task == FIRST_TASK else {"task": task}),
        **({} if grey_levels in (None, _ALL_LEVELS) else {"grey_levels": grey_levels}),
        **_other_pixels(normalisation),
    }
    scoring = {name: shapes[name] for name in sorted(SCORING)}
    if metrics:
        scoring["metrics"] = sorted(metrics)
    older = _first_form(training, scoring, cell, schedule.eval_every) if cell else None
    return Identity(training, scoring, frozenset({_digest(older)} if older else ()))


def changes(before: Identity, now: Identity) -> tuple[str, ...]:
    """In what two trials differ, value by value (``schedule.lr was 0.001, is 0.01``).

    To have measured more than is asked for now is no difference, and pixels that were not
    recorded, as before version 2, are taken to be the same.
    """
    scoring = dict(before.scoring)
    if set(now.scoring.get("metrics", ())) <= set(scoring.pop("metrics", ())):
        scoring |= {name: now.scoring[name] for name in ("metrics",) if name in now.scoring}
    old, new = before.training | {"scoring": scoring}, now.training | {"scoring": now.scoring}
    if "pixels" not in old:
        new.pop("pixels", None)
    return tuple(_changes(old, new))


def _changes(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{where.rstrip('.')} was {old!r}, is {new!r}"
        return
    for key in dict.fromkeys([*old, *new]):
        yield from _changes(old.get(key), new.get(key), f"{where}{key}.")


def training_fields(config: ModelConfig | ScheduleConfig) -> Json:
    """What of a model's or a schedule's configuration training depends on, as JSON values.

    Fields that came later are left out while they have the value that they were introduced with.
    """
    part = "model" if isinstance(config, ModelConfig) else "schedule"
    first = INTRODUCED[part]
    return {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if name not in NOT_TRAINING[part] | SCORING and not (name in first and first[name] == value)
    }


def _other_pixels(normalisation: Normalisation | None) -> Json:
    """The normalisation where it is not ImageNet's."""
    if normalisation is None or normalisation == IMAGENET:
        return {}
    return {"normalisation": normalisation.model_dump(mode="json", exclude_defaults=True)}


def _first_form(
    training: Json, scoring: Json, cell: tuple[str, int, str], eval_every: int | None
) -> Json | None:
    """The same trial as version 1 wrote it; None if it has a field that version 1 did not."""
    later = any(INTRODUCED[part].keys() & training[part].keys() for part in INTRODUCED)
    if later or {"trainer", "task", "grey_levels"} & training.keys():
        return None
    init, depth, numbering = cell
    rest = {k: v for k, v in training.items() if k not in ("form", "seed", "pixels")}
    return rest | {
        "key": {"init": init, "depth": depth, "seed": training["seed"]},
        "model": training["model"] | {name: scoring[name] for name in sorted(SCORING)},
        "schedule": training["schedule"] | {"eval_every": eval_every},
        "numbering": numbering,
    }


def _of_first_form(stored: Json) -> Identity:
    """A version 1 identity in this form; its own digest stays known."""
    training = {"form": FORM, "seed": stored["key"]["seed"]}
    training |= {k: v for k, v in stored.items() if k not in ("key", "numbering")}
    model, schedule = dict(stored["model"]), dict(stored["schedule"])
    scoring = {name: model.pop(name) for name in sorted(SCORING)} | {"metrics": ["wheat"]}
    schedule.pop("eval_every", None)
    training |= {"model": model, "schedule": schedule}
    return Identity(training, scoring, frozenset({_digest(stored)}))


def _digest(values: Json) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
