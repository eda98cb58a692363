"""How the numbers of a comparison are written."""

import math
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["number_format"]

_PLAIN: Final = (1e-3, 1e4)  # numbers between these are as short without a power of ten


def number_format(values: Iterable[object]) -> Callable[[float], str]:
    """How to write a column: three digits, with a power of ten where any of its numbers needs one.

    Example:
        >>> write = number_format([0.00123, 12.3456])
        >>> write(12.3456)
        '12.3'
    """
    sizes = [abs(value) for value in values if isinstance(value, float) and math.isfinite(value)]
    low, high = _PLAIN
    plain = all(low <= size < high for size in sizes if size > 0)

    def write(value: float) -> str:
        if not math.isfinite(value):
            return ""
        if value == 0:
            return "0"
        return f"{value:#.3g}".rstrip(".") if plain else f"{value:.2e}"

    return write
