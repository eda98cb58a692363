"""An advice in sentences for a reader who never heard of the method."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from frostline.advice.cells import Candidate, Decision, Problem
from frostline.advice.replay import Step
from frostline.depth import depth_of_label

if TYPE_CHECKING:
    from frostline.advice.result import Advice, Other

__all__ = [
    "lasting",
    "name_of",
    "next_commands",
    "price_cells",
    "round_line",
    "sentences",
    "verdict",
]

_MINUTE, _HOUR = 60, 3600


def verdict(advice: "Advice") -> str:
    """What to do, in a sentence."""
    pick = advice.pick
    if not advice.learned:
        return (
            f"Nothing was learned that could be compared: {pick.init} ended as poorly as a "
            "constant prediction. Train longer, or try other rates."
        )
    frozen = "nothing" if pick.depth == 0 else f"its first {pick.depth} {advice.unit}s"
    text = f"Start from {pick.init}, at learning rate {pick.lr:g}, and freeze {frozen}."
    ties = [name_of(other, advice) for other in advice.others if not other.told_apart]
    if not ties:
        return text
    return f"{text} This budget cannot tell it from {' or '.join(ties)}."


def sentences(advice: "Advice") -> tuple[str, ...]:
    """What goes with the verdict: what to expect, what cannot be told, what it cost."""
    return tuple(_sentences(advice))


def _sentences(advice: "Advice") -> Iterator[str]:
    pick, label = advice.pick, advice.label
    if not advice.learned:
        yield _spent(advice)
        return
    yield (
        f"Expect {label} {pick.expected:.3f} (95%: {pick.low:.3f} to {pick.high:.3f}) from "
        f"a training with a new seed, on new images like the {advice.images} validation images."
    )
    if pick.test is not None:
        yield (
            f"The trained weights have {label} {pick.test:.3f} on the test images, which chose "
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
    yield from _more_labels(advice)
    yield _spent(advice)


def _more_labels(advice: "Advice") -> Iterator[str]:
    """Whether labels or choosing would help more."""
    found = advice.labels
    if found is None:
        return
    yield (
        f"With {found.images} of the {found.of_images} training images, and as many steps, "
        f"{advice.label} on the validation images was {found.score:.3f} instead of "
        f"{found.of_score:.3f}: a doubling of the labels gave {100 * found.doubling:+.1f} points "
        f"(95%: {100 * found.low:+.1f} to {100 * found.high:+.1f})."
    )
    if found.choosing is not None:
        if found.low > found.choosing:
            what = "more labels would help more than more choosing"
        elif found.high < found.choosing:
            what = "choosing helps more than twice the labels would"
        else:
            what = "which of the two helps more cannot be told"
        yield f"The choice gave {100 * found.choosing:+.1f} points over the others' mean: {what}."


def _spent(advice: "Advice") -> str:
    cost = advice.cost
    each = f", of {lasting(cost.unit_seconds)} each" if cost.unit_seconds else ""
    return (
        f"It cost {cost.spent:.2f} of {cost.budget:.4g} trainings{each}; every start at every "
        f"depth would have cost {cost.grid:.1f}."
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
        f"Of these {what} it is the best with a chance of {advice.chance:.0%}; against the best of "
        f"them it is expected to lose {100 * advice.regret:.1f} points."
    )


def _speed(advice: "Advice") -> Iterator[str]:
    """The cheapest of what cannot be told apart, or what speed cost."""
    if advice.pick.depth:
        row = next(row for row in advice.prices if row.plan == advice.pick.plan)
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
        "95%": f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
        "time saved": _saved(row, advice),
        "memory saved": memory,
        "known from": "trained here" if row.trained else "other data",
    }


def next_commands(advice: "Advice", folder: str, study: str = "STUDY.yaml") -> tuple[str, ...]:
    """Commands to type next.

    Args:
        advice: the advice.
        folder: the study's output folder, as it is typed.
        study: the study's file, and where it writes to if that is said, as they are typed; the
            folder does not say them.
    """
    weights = f"{folder}/trials/{advice.pick.trial}/weights.safetensors"
    use = f"frostline predict {weights} IMAGES --out DIR"
    if advice.tool != "frostline":
        use = f"use {folder}/trials/{advice.pick.trial} with {advice.tool}, which trained it"
    more = f"frostline advise {study} --budget {advice.cost.budget + 1:g}x   # goes on from here"
    return use, more, f"frostline run {study}   # every start at every depth, every seed"


def round_line(
    problem: Problem, decision: Decision, steps: Sequence[Step], before: float, budget: float
) -> str:
    """A round in a line: what it spends, on what, and why.

    Args:
        problem: the pick.
        decision: what was decided.
        steps: what it asks for beyond what ran, at least one.
        before: spent until then, ``x``.
        budget: ``x``.
    """
    price = sum(problem.cells[s.cell].price * (s.end - s.begin) for s in steps) / problem.epochs
    cells = [step.cell for step in steps]
    names = ", ".join(_trained_name(problem, cell) for cell in cells)
    depth = depth_of_label(cells[0].label)
    frozen = f" with k={depth} frozen" if depth else ""
    until = "to the end" if steps[0].end == problem.epochs else f"to epoch {steps[0].end}"
    return (
        f"{names}{frozen} {until} of {problem.epochs} epochs, {price:.2f}x: {decision.why} "
        f"({before:.2f} of {budget:.4g}x spent before)"
    )


def _trained_name(problem: Problem, cell: Candidate) -> str:
    images = problem.cells[cell].images
    if images < 1:
        return f"{cell.init} on {images:.0%} of the training images"
    return cell.arm_name


def name_of(row: "Other", advice: "Advice") -> str:
    """A cell as people call it."""
    depth = f" with k={row.depth} frozen" if row.depth else ""
    rate = f" at {row.variant}" if row.variant else ""
    return f"{row.init}{rate}{depth}"


def lasting(seconds: float) -> str:
    """A lasting as people say it.

    Example:
        >>> lasting(42), lasting(600), lasting(5400)
        ('42 s', '10 min', '1.5 h')
    """
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"


def _against(row: "Other", advice: "Advice") -> str:
    return f"{name_of(row, advice)} ({_change(row)})"


def _change(row: "Other") -> str:
    return f"{100 * row.change:+.1f} points, 95%: {100 * row.low:+.1f} to {100 * row.high:+.1f}"


def _saved(row: "Other", advice: "Advice") -> str:
    return f"{max(0.0, 1 - row.price / advice.base.price):.0%}"


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)
