"""An advice in sentences for a reader who never heard of the method."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from frostline.advice.cells import Decision, Problem
from frostline.advice.replay import Step
from frostline.depth import depth_of_label

if TYPE_CHECKING:
    from frostline.advice.result import Advice, Other

__all__ = [
    "duration",
    "headline",
    "name_of",
    "next_commands",
    "price_cells",
    "round_line",
    "sentences",
]

_MINUTE, _HOUR = 60, 3600


def headline(advice: "Advice") -> str:
    """What to do, in a sentence."""
    choice = advice.choice
    frozen = (
        "freeze nothing" if choice.depth == 0 else f"freeze its first {choice.depth} {advice.unit}s"
    )
    return f"Start from {choice.init}, at learning rate {choice.lr:g}, and {frozen}."


def sentences(advice: "Advice") -> tuple[str, ...]:
    """What goes with the headline: what to expect, what cannot be told, what it cost."""
    return tuple(_sentences(advice))


def _sentences(advice: "Advice") -> Iterator[str]:
    choice, label = advice.choice, advice.label
    yield (
        f"Expect {label} {choice.expected:.3f} (95 %: {choice.low:.3f} to {choice.high:.3f}) from "
        f"a training with a new seed, on new images like the {advice.images} validation images."
    )
    if choice.test is not None:
        yield (
            f"The trained weights have {label} {choice.test:.3f} on the test images, which chose "
            "nothing."
        )
    yield from _starts(advice)
    yield from _speed(advice)
    if advice.resolution is not None:
        yield (
            f"The {advice.images} validation images tell two trained models apart where these "
            f"differ by about {100 * advice.resolution:.1f} points or more, without counting what "
            "another seed would change."
        )
    cost = advice.cost
    yield (
        f"It cost {cost.spent:.2f} of {cost.budget:g} trainings, of {duration(cost.unit_seconds)} "
        f"each; every start at every depth would have cost {cost.grid:.1f}."
    )


def _starts(advice: "Advice") -> Iterator[str]:
    """How the other starts stand."""
    if not advice.others:
        return
    ties = [other for other in advice.others if not other.told_apart]
    worse = [other for other in advice.others if other.told_apart]
    what = "rates" if len({o.init for o in (*advice.others, advice.base)}) == 1 else "starts"
    if ties:
        names = _listed([_against(other, advice) for other in ties])
        yield f"Cannot be told from {name_of(advice.base, advice)}: {names}."
    if worse:
        names = _listed([_against(other, advice) for other in worse])
        yield f"Behind it by more than chance explains: {names}."
    yield (
        f"The chance that no other of these {what} is better is {advice.chance:.0%}; what is lost "
        f"if one is comes to {100 * advice.regret:.1f} points on average."
    )


def _speed(advice: "Advice") -> Iterator[str]:
    """The cheapest of what cannot be told apart, or what speed cost."""
    if advice.choice.depth:
        row = next(row for row in advice.prices if row.plan == advice.choice.plan)
        yield (
            f"Speed was preferred: freezing k={row.depth} is expected to change "
            f"{advice.label} by {_change(row)}, and saves {_saved(row, advice)} of the time."
        )
        return
    cheap = advice.cheapest
    if cheap is not None:
        yield (
            f"The cheapest of what cannot be told from it is {name_of(cheap, advice)}: "
            f"{_change(cheap)}, and {_saved(cheap, advice)} less time."
        )


def price_cells(advice: "Advice", row: "Other") -> dict[str, str]:
    """A row of the price list, as texts by heading."""
    base = advice.base
    memory = (
        ""
        if row.memory_mb is None or base.memory_mb is None
        else f"{base.memory_mb - row.memory_mb:.0f} MB"
    )
    return {
        "frozen": f"k={row.depth}",
        f"{advice.label} change": f"{100 * row.change:+.1f}",
        "95 %": f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
        "time saved": _saved(row, advice),
        "memory saved": memory,
        "known from": "trained here" if row.trained else "other data",
    }


def next_commands(advice: "Advice", folder: str, study: str = "study.yaml") -> tuple[str, ...]:
    """Commands to type next.

    Args:
        advice: the advice.
        folder: the study's output folder, as it is typed.
        study: the study's file, as it is typed.
    """
    weights = f"{folder}/trials/{advice.choice.trial}/weights.safetensors"
    use = f"frostline predict {weights} IMAGES --out DIR"
    if advice.tool != "frostline":
        use = f"use {folder}/trials/{advice.choice.trial} with {advice.tool}, which trained it"
    more = f"frostline advise {study} --budget {advice.cost.budget + 1:g}x   # goes on from here"
    return use, more, f"frostline run {study}   # every start at every depth, every seed"


def round_line(
    problem: Problem, decision: Decision, steps: Sequence[Step], before: float, budget: float
) -> str:
    """A round in a line: what it spends, on what, and why.

    Args:
        problem: the choice.
        decision: what was decided.
        steps: what it asks for beyond what ran, at least one.
        before: spent until then, ``x``.
        budget: ``x``.
    """
    price = sum(problem.cells[s.cell].price * (s.end - s.begin) for s in steps) / problem.epochs
    cells = [step.cell for step in steps]
    names = ", ".join(" ".join(filter(None, (c.init, c.variant))) for c in cells)
    depth = depth_of_label(cells[0].label)
    frozen = f" with k={depth} frozen" if depth else ""
    until = "to the end" if steps[0].end == problem.epochs else f"to epoch {steps[0].end}"
    return (
        f"{names}{frozen} {until} of {problem.epochs} epochs, {price:.2f}x: {decision.why} "
        f"({before:.2f} of {budget:.4g}x spent before)"
    )


def name_of(row: "Other", advice: "Advice") -> str:
    """A cell as people call it."""
    depth = f" with k={row.depth} frozen" if row.depth else ""
    rate = f" at {row.variant}" if row.variant else ""
    return f"{row.init}{rate}{depth}"


def duration(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> duration(42), duration(600), duration(5400)
        ('42 s', '10 min', '1.5 h')
    """
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"


def _against(row: "Other", advice: "Advice") -> str:
    return f"{name_of(row, advice)} ({_change(row)})"


def _change(row: "Other") -> str:
    return f"{100 * row.change:+.1f} points, 95 %: {100 * row.low:+.1f} to {100 * row.high:+.1f}"


def _saved(row: "Other", advice: "Advice") -> str:
    return f"{max(0.0, 1 - row.price / advice.base.price):.0%}"


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)
