"""What a comparison of two tensors says, as plain values."""

import math
from dataclasses import dataclass
from typing import Any

from frostline.difference.filters import FilterQuantiles

__all__ = ["Difference", "json_fields", "not_comparable", "undefined"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a tensor moved.

    Attributes:
        cosine: 1 - |cos|, from 0 (same direction, or its opposite) to 1 (orthogonal).
        signed_cosine: cos, from -1 to 1.
        angle: angle between the two in degrees, from 0 to 180.
        relative_l2: |after - before| / |before|.
        norm_ratio: |after| / |before|.
        filters: spread of ``cosine`` over the first axis; None for vectors and scalars.
        note: why numbers are NaN, or that they rest on a convention; "" otherwise.
    """

    cosine: float
    signed_cosine: float
    angle: float
    relative_l2: float
    norm_ratio: float
    filters: FilterQuantiles | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return json_fields(self)


def not_comparable(why: str) -> Difference:
    """A difference without numbers, and the reason."""
    nan = math.nan
    return Difference(nan, nan, nan, nan, nan, None, f"not comparable: {why}")


def undefined(why: str) -> Difference:
    """A difference of two tensors that can be compared but have no angle, and the reason."""
    nan = math.nan
    return Difference(nan, nan, nan, nan, nan, None, why)


def json_fields(result: Any) -> dict[str, Any]:
    """A dataclass of numbers, also nested, for JSON; what is not finite is None."""
    return {name: _json(getattr(result, name)) for name in result.__dataclass_fields__}


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json_fields(value) if hasattr(value, "__dataclass_fields__") else value
