"""What a reader of a comparison must know besides its numbers."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from frostline.comparison.results import Comparison, Result
from frostline.errors import printable

__all__ = ["notes"]

_SHOWN: Final = 4


def notes(result: Result) -> Iterator[str]:
    """Order, eps, precision, and what has no counterpart; a line each."""
    steps: Any = result.steps if hasattr(result, "steps") else (result,)
    first = steps[0]
    if first.order == "forward":
        yield f"forward order of {first.architecture}, recognised by its names"
    else:
        yield "file order: no known backbone was recognised (--model names one)"
    if hasattr(first, "factor"):
        yield f"{len(first.moved)} of {len(first.rows)} moved: signal > {first.factor:g} x floor"
        return
    if first.eps is not None and len(steps) == 1:  # of several, nothing folded is shown
        yield f"folded with BatchNorm eps {first.eps:g} (--eps if the model has another)"
    if any(row.precision == "float32" for step in steps for row in step.rows):
        yield "16-bit weights: float32 sums within pieces, errors to 1e-6 (--exact: float64)"
    yield from _pairs(first)
    yield from _left_out(steps)
    for step in steps:
        left = len(step.only_before), len(step.only_after)
        name = f"{printable(step.after)} " if len(steps) > 1 else ""
        if any(left):
            yield (
                f"{name}without counterpart: {left[0]} tensors before, {left[1]} after "
                "(--format json)"
            )
        if name and step.incomparable:
            yield f"{name}without a number: {len(step.incomparable)} tensors (--format json)"


def _left_out(steps: Sequence[Comparison]) -> Iterator[str]:
    """Tensors whose values cannot be read, file by file."""
    files = [(steps[0].before, steps[0].left_out[0])]
    files += [(step.after, step.left_out[1]) for step in steps]
    for name, left_out in files:
        if left_out:
            some = [f"{printable(n)} ({why})" for n, why in list(left_out.items())[:_SHOWN]]
            more = ", ..." if len(left_out) > _SHOWN else ""
            count = f"{len(left_out)} tensor{'s' * (len(left_out) > 1)} left out"
            yield f"{printable(name)}: {count}: {', '.join(some)}{more}"


def _pairs(first: Comparison) -> Iterator[str]:
    """Where the pairs come from, and which of them were not compared."""
    names = (printable(first.before), printable(first.after))
    for name, parts in zip(names, first.sections, strict=True):
        if len(parts) > 1:
            taken, *others = map(printable, parts[: _SHOWN + 1])
            yield f"{name}: part {taken}; it also has {', '.join(others)} (--section)"
    total = sum(first.matched.values())
    if len(first.rows) < total:
        yield f"{len(first.rows)} of {total} matched tensors compared, kind {first.kind} (--kind)"
    guessed = first.matched.get("suffix", 0)
    if guessed:
        yield f"{guessed} of {total} matched by how their names end (--show-map lists them)"
    by_order = first.matched.get("order", 0)
    if by_order:
        yield (
            f"{by_order} of {total} matched by order and shape along the forward structure, not by "
            f"name: confidence {first.confidence:.2f} of 1 (--show-map lists them)"
        )
    elif first.confidence is not None:
        yield (
            "names pair less than half of the smaller file, and order and shape do not tell the "
            f"rest (confidence {first.confidence:.2f}, needed 0.8)"
        )
