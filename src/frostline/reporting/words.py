"""The answer of a study in plain sentences. Every claim carries its seeds and its spread."""

import math
from collections.abc import Iterator, Sequence

from frostline.cells import FROZEN_RANDOM, CellPlan, shared_name
from frostline.figures import DifferenceTable
from frostline.figures.values import mean_of
from frostline.reporting.answer import Answer, Cell, CellComparison

__all__ = ["cautions", "compare_with_rule", "findings", "headline", "points", "signed_points"]

_FEW_SEEDS = 5
_KNOWN_NOISE = 4  # degrees of freedom: below, Tukey's factor is twice what it ends at, or more
_MOST_NAMED = 6
_SAME_TIME = 0.02  # share of the time


def headline(answer: Answer) -> str:
    """The best cell in one sentence, with its seeds and how many others may be as good.

    Or that the trainings were too short to answer; and which starts collapse more often than not.
    """
    text = _too_short(answer) if answer.length.short else _best_cell(answer)
    collapsed = (
        f" {init} collapsed in {times} of its {trials} trials."
        for init, (times, trials) in answer.unsteady.items()
    )
    return text + "".join(collapsed)


def _too_short(answer: Answer) -> str:
    """Why nothing is recommended, and what to do."""
    length, label = answer.length, answer.score.label
    if length.short == "learned little":
        what = "mean" if answer.best else "trial's"
        return (
            f"Too short to answer: the highest {what} {label} on {_images(answer)} is "
            f"{length.reached:.3f}, less than {points(length.least_gain)} points above what a "
            f"constant prediction scores ({length.floor:.3f}). No start or depth is recommended; "
            "train for more epochs, or try another learning rate."
        )
    assert answer.best is not None, "a curve is of the best cell's start"
    return (
        f"Too short to answer: in {length.rising} of {length.curves} trials of {answer.best.init}, "
        f"the start with the highest {answer.score.mean_label} ({answer.best.mean:.3f}), it was "
        "still rising by more than a point in a tenth of the epochs when training ended. No start "
        "or depth is recommended; train for more epochs."
    )


def _best_cell(answer: Answer) -> str:
    best = answer.best
    if best is None:
        return "No ranked trial has a score that counts, so there is nothing to recommend."
    text = (
        f"The highest {answer.score.mean_label} on {_images(answer)}, {best.mean:.3f} over "
        f"{_seeds(len(best.values))}, came from {best.init} with "
        f"{_frozen(best.frozen, answer)}"
    )
    return text + _reservation(answer) + "."


def _images(answer: Answer) -> str:
    return {"val": "the validation images", "test": "the test images"}[answer.split]


def _reservation(answer: Answer) -> str:
    others = [c for c in answer.comparisons if c.verdict != "best" and c.cell.values]
    if not others:
        return ""
    if all(c.verdict == "unknown" for c in others):
        return "; without repeated seeds it cannot be told apart from any other cell"
    ties = len(answer.ties)
    if not ties:
        return ", and no other cell comes near enough to be mistaken for it"
    if ties == len(others) == 1:
        return "; the one other cell cannot be told apart from it"
    if ties == len(others):
        return f"; none of the {ties} other cells can be told apart from it"
    return f"; {ties} of the {len(others)} other cells cannot be told apart from it"


def findings(answer: Answer) -> tuple[str, ...]:
    """What stands beside the headline: spread, ties, the price of freezing, the other starts."""
    best = answer.best
    if best is None:
        return ()
    sentences = [_spread(best), _ties(answer), *_starts(answer)]
    sentences += [_freezing(answer, init) for init in answer.within]
    sentences += _references(answer)
    return tuple(sentence for sentence in sentences if sentence)


def cautions(answer: Answer, *, waiting: int, strays: int = 0) -> tuple[str, ...]:
    """What the numbers cannot carry.

    Args:
        answer: of the study.
        waiting: cells without a finished trial.
        strays: trials in the folder that the study does not name.
    """
    return tuple(_cautions(answer, waiting, strays))


def compare_with_rule(answer: Answer, table: DifferenceTable) -> str:
    """What the rule "prefer the start that moves least" would have picked, and whether it was best.

    Args:
        answer: of the study.
        table: mean differences of the k = 0 trials, quantity ``cosine``.

    Returns:
        One sentence; "" with fewer than two ranked starts.
    """
    size = {line.init: mean_of(line.mean) for line in table.lines if line.ranked}
    size = {init: value for init, value in size.items() if math.isfinite(value)}
    best = answer.best
    if len(size) <= 1 or best is None or best.init not in size:
        return ""
    pick = min(size, key=lambda init: size[init])
    sizes = ", ".join(f"{init} {value:.2g}" for init, value in size.items())
    return (
        f"Mean l over all layers (Figure 2): {sizes}. A rule that prefers the start with the "
        f"smaller differences would pick {pick}; the highest {answer.score.mean_label} came from "
        f"{best.init}" + _test_of_rule(answer, best, pick)
    )


def _test_of_rule(answer: Answer, best: Cell, pick: str) -> str:
    """Whether the rule was right, or that these starts cannot test it."""
    if any(start.verdict != "lower" for start in answer.starts):
        return ", but not every other start is clearly lower, so this is no test of the rule."
    return f", so the rule {'agrees' if pick == best.init else 'disagrees'} with this study."


def points(value: float) -> str:
    """A score difference in points (1 point = 0.01), without a sign."""
    return "n/a" if math.isnan(value) else f"{abs(value) * 100:.1f}"


def signed_points(value: float) -> str:
    """A score difference in points with its sign, a real minus sign where it is negative."""
    if math.isnan(value):
        return "n/a"
    text = points(value)
    sign = "" if text == "0.0" else "\N{MINUS SIGN}" if value < 0 else "+"
    return sign + text


def _frozen(plan: CellPlan, answer: Answer) -> str:
    k, deepest = plan.k, answer.deepest
    if k is None:
        text = f"plan {plan.label}, {_layers(plan)} frozen"
    elif k == 0:
        text = "nothing frozen (k=0)"
    elif k == deepest:
        text = f"the whole {answer.counted} frozen (k={k}{_paper_note(plan)})"
    else:
        kind = f"{'main-path ' if plan.numbering == 'paper' else ''}{plan.unit}s"
        text = f"the first {k} of {deepest} {kind} frozen (k={k}{_paper_note(plan)})"
    text = f"{text} ({FROZEN_RANDOM})" if plan.frozen_random else text
    return text if plan.variant is None else f"{text}, variant {plan.variant}"


def _paper_note(plan: CellPlan) -> str:
    """What a depth of the paper's numbering freezes: stem and projections are not counted there."""
    if plan.numbering != "paper":
        return ""
    return f" in the paper's numbering, {_layers(plan)} in all"


def _layers(plan: CellPlan) -> str:
    return f"1 {plan.unit}" if plan.layers == 1 else f"{plan.layers} {plan.unit}s"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _spread(best: Cell) -> str:
    if len(best.values) == 1:
        return f"That is one seed ({best.low:.3f}); nothing is known of its spread."
    text = f"Over {_seeds(len(best.values))} it ranged from {best.low:.3f} to {best.high:.3f}"
    if best.collapsed:
        text += f"; {_seeds(len(best.collapsed))} more collapsed and stand in no mean"
    return text + "."


def _ties(answer: Answer) -> str:
    others = [c for c in answer.comparisons if c.verdict != "best"]
    if not others:
        return "It is the only cell, so there is nothing to compare it with."
    if all(c.verdict == "unknown" for c in others):
        return (
            "There is no measure of noise (it takes two seeds and two cells), so no cell can be "
            "told apart from another."
        )
    lower = sum(c.verdict == "lower" for c in others)
    if not answer.ties:
        every = "the one other cell" if lower == 1 else f"all {lower} other cells"
        return f"It can be told apart from {every} with a result."
    text = f"It cannot be told apart from {_named(answer.ties)}"
    return text + (f"; {_count(lower, 'cell')} lower." if lower else "; no cell is clearly lower.")


def _named(cells: Sequence[Cell]) -> str:
    """``imagenet at k=0, 9; coco at k=18``, cut off after a few."""
    shown = cells[:_MOST_NAMED]
    inits = dict.fromkeys(cell.init for cell in shown)
    parts = [
        f"{init} at " + shared_name(cell.frozen for cell in shown if cell.init == init)
        for init in inits
    ]
    more = len(cells) - len(shown)
    return " and ".join(parts) + (f" and {more} more" if more else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _freezing(answer: Answer, init: str) -> str:
    """How deep one init can be frozen before a loss can be told, and the time that saves."""
    cells = answer.within[init]
    best, tie = answer.best_of(init), answer.deepest_tie(init)
    known = [c for c in cells if c.verdict in ("tie", "lower")]
    if best is None or tie is None or not known:
        return ""
    text = (
        f"{init}: the deepest freeze that cannot be told apart from its best ({best.frozen.marked})"
    )
    text += " is that one itself" if tie is best else f" is {tie.frozen.marked}"
    text += _time_saved(cells, tie)
    last = next((c for c in reversed(cells) if c.cell.frozen.k == answer.deepest), None)
    if last is not None and last.verdict == "lower":
        text += (
            f"; freezing the whole {answer.counted} costs {points(last.difference)} points "
            f"({points(last.high)} to {points(last.low)})"
        )
    return text + "."


def _time_saved(cells: Sequence[CellComparison], tie: Cell) -> str:
    """Against nothing frozen on the same schedule."""
    same = (c.cell for c in cells if c.cell.frozen.variant == tie.frozen.variant)
    full = next((cell for cell in same if cell.frozen.nothing_frozen), None)
    if full is None or tie.frozen.nothing_frozen or not full.train_seconds > 0:
        return ""
    share = 1 - tie.train_seconds / full.train_seconds
    if abs(share) < _SAME_TIME:
        return ", which trains as long as k=0"
    return f", which took {abs(share):.0%} {'less' if share > 0 else 'more'} time than k=0"


def _starts(answer: Answer) -> Iterator[str]:
    """Each other start against the best cell's, over all depths and at its own best depth."""
    best = answer.best
    for start in answer.starts:
        top = answer.best_of(start.init)
        if best is None or top is None:
            continue
        text = f"{start.init} reaches {top.mean:.3f} at its best ({top.frozen.marked})"
        over = _over(start.plans)
        if start.verdict == "tie":
            text += f"; {over} that both ran it cannot be told apart from {best.init}"
        elif start.verdict != "unknown":
            text += (
                f"; {over} that both ran it is {points(start.difference)} points {start.verdict} "
                f"than {best.init}"
            )
        if start.verdict != "unknown":
            text += f" ({signed_points(start.low)} to {signed_points(start.high)} points)"
        yield text + "."


def _over(plans: Sequence[CellPlan]) -> str:
    noun = "depth" if all(plan.is_depth for plan in plans) else "plan"
    return f"at the {noun}" if len(plans) == 1 else f"over the {len(plans)} {noun}s"


def _references(answer: Answer) -> Iterator[str]:
    for cell in answer.references:
        if cell.values:
            yield (
                f"{cell.init}, a reference outside the ranking (its BatchNorm is trained), reaches "
                f"{cell.mean:.3f} with {_seeds(len(cell.values))}."
            )


def _cautions(answer: Answer, waiting: int, strays: int) -> Iterator[str]:
    seeds = max((len(c.cell.values) for c in answer.comparisons), default=0)
    if 0 < seeds < _FEW_SEEDS:
        yield (
            f"{_seeds(seeds).capitalize()} a cell is few: a gap that cannot be told apart may "
            "still be real, and the winner's mean is flattered by having been picked."
        )
    if answer.noise.freedom:
        degrees = "degree" if answer.noise.freedom == 1 else "degrees"
        yield (
            f"Seeds alone move a trial by about {points(answer.noise.sd)} points (standard "
            f"deviation, {answer.noise.freedom} {degrees} of freedom, pooled over cells)."
        )
    if 0 < answer.noise.freedom < _KNOWN_NOISE:
        yield (
            "So few repeats hardly tell how large that noise is, so the intervals are far wider "
            "than the noise itself; more seeds narrow them at once."
        )
    if answer.best is not None and not answer.length.curves:
        yield (
            f"Whether {answer.score.label} was still rising when training ended is not known: "
            "eval_every: 1 in the schedule measures it after each epoch."
        )
    collapsed = sum(len(c.cell.collapsed) for c in answer.comparisons)
    if collapsed:
        they = "trial collapsed; it is" if collapsed == 1 else "trials collapsed; they are"
        yield f"{collapsed} {they} marked and in no mean."
    if waiting:
        yield (
            f"{_count(waiting, 'trial')} not finished: the answer may change, and means over "
            "different seeds are not quite comparable (the differences allow for that)."
        )
    if strays:
        yield (
            f"{'1 trial' if strays == 1 else f'{strays} trials'} in the folder that the study no "
            "longer names: listed below, in no table and no mean."
        )
    yield "Times are wall clock, with whatever else the machine was doing."
    yield (
        "All of this holds at the learning rate, optimiser and number of epochs below; "
        "another rate can reverse the order of the starts."
    )
