"""What a reader of a comparison must know besides its numbers, and how the numbers are written."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from frostline.comparison import Comparison, NoiseFloor, Trajectory

__all__ = ["notes", "number_format"]

_PLAIN: Final = (1e-3, 1e4)  # numbers between these are as short without a power of ten


def notes(result: "Comparison | Trajectory | NoiseFloor") -> Iterator[str]:
    """Order, eps, precision, and what has no counterpart; a line each."""
    first: Any = result.steps[0] if hasattr(result, "steps") else result
    if first.order == "forward":
        yield f"forward order of {first.architecture}, recognised by its names"
    else:
        yield "file order: no known backbone was recognised (--model names one)"
    if hasattr(first, "factor"):
        yield f"{len(first.moved)} of {len(first.rows)} moved: signal > {first.factor:g} x floor"
        return
    if first.eps is not None:
        yield f"folded with BatchNorm eps {first.eps:g} (--eps if the model has another)"
    if any(row.precision == "float32" for row in first.rows):
        yield "16-bit weights: float32 sums within pieces, errors to 1e-6 (--exact: float64)"
    left = len(first.only_before), len(first.only_after)
    if any(left):
        yield f"without counterpart: {left[0]} tensors before, {left[1]} after (--format json)"


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
