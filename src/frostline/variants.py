"""Variants of a schedule: what they change, and the slug that names them in a trial's key."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

__all__ = [
    "FEWER_PERCENT",
    "SHORT_PERCENT",
    "Changes",
    "fewer_variant",
    "short_number",
    "short_variant",
    "slug_of",
    "values_of",
]

SHORT_PERCENT = 25  # of the epochs: the short complete runs of trainers that cannot pause
FEWER_PERCENT = 25  # of the training images: what says whether more labels would help

#: Letters of a slug, and the field of the schedule that each stands for.
_FIELDS = {"lr": "lr", "b": "backbone_lr_scale"}
_PART = re.compile(r"(lr|b|e|i)([0-9.e-]+?)(?=-(?:lr|b|e|i)|$)")


class Changes(NamedTuple):
    """What a variant changes.

    Attributes:
        schedule: fields of the schedule, and their values.
        epochs: percentage of the epochs.
        images: percentage of the training images, with the same number of steps.
    """

    schedule: dict[str, Any]
    epochs: int = 100
    images: int = 100


def short_number(value: float) -> str:
    """The shortest text that stands for exactly this number.

    Example:
        >>> short_number(0.0003), short_number(0.1), short_number(1.0), short_number(0.015)
        ('3e-4', '0.1', '1', '0.015')
    """
    number = Decimal(repr(value)).normalize()
    plain = format(number, "f")
    digits = "".join(map(str, number.as_tuple().digits))
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return min((plain, f"{mantissa}e{number.adjusted()}"), key=len)


def slug_of(values: Mapping[str, float]) -> str | None:
    """The variant with these values of the schedule; None for none.

    Example:
        >>> slug_of({"lr": 3e-4, "backbone_lr_scale": 0.1})
        'lr3e-4-b0.1'
    """
    letters = {field: letter for letter, field in _FIELDS.items()}
    parts = [letters[name] + short_number(values[name]) for name in _FIELDS.values()
             if name in values]  # fmt: skip
    return "-".join(parts) or None


def short_variant(variant: str | None) -> str:
    """The same with a complete schedule of ``SHORT_PERCENT`` of the epochs.

    Example:
        >>> short_variant("lr3e-4"), short_variant(None)
        ('lr3e-4-e25', 'e25')
    """
    return "-".join(filter(None, (variant, f"e{SHORT_PERCENT}")))


def fewer_variant(variant: str | None) -> str:
    """The same with ``FEWER_PERCENT`` of the training images.

    Example:
        >>> fewer_variant("lr3e-4"), fewer_variant(None)
        ('lr3e-4-i25', 'i25')
    """
    return "-".join(filter(None, (variant, f"i{FEWER_PERCENT}")))


def values_of(variant: str | None) -> Changes:
    """What a variant changes, read off its name.

    Example:
        >>> values_of("lr3e-4-e25")
        Changes(schedule={'lr': 0.0003}, epochs=25, images=100)
    """
    found = dict(_PART.findall(variant or ""))
    schedule = {_FIELDS[letter]: float(n) for letter, n in found.items() if letter in _FIELDS}
    return Changes(schedule, int(found.get("e", 100)), int(found.get("i", 100)))
