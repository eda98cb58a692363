"""Budgets: ``2x`` is twice a complete training with nothing frozen, ``90min`` is wall-clock."""

import math
import re
import statistics
from typing import NamedTuple

from frostline.advice.cells import Problem
from frostline.advice.shipped import are_few, kept_for_depth
from frostline.errors import ConfigError

__all__ = ["Budget", "parse_budget", "trainings"]

_FORM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(x|min|h)?\s*")
_MINUTES = {"min": 1.0, "h": 60.0}


class Budget(NamedTuple):
    """What may be spent; one of the two is None.

    Attributes:
        x: complete trainings with nothing frozen.
        minutes: of wall-clock.
    """

    x: float | None
    minutes: float | None


def parse_budget(text: str | float) -> Budget:
    """A budget as it is typed; a number alone is in ``x``.

    Example:
        >>> parse_budget("2x"), parse_budget("1.5h")
        (Budget(x=2.0, minutes=None), Budget(x=None, minutes=90.0))

    Raises:
        ConfigError: it is none.
    """
    found = _FORM.fullmatch(str(text))
    if found is None or not float(found[1]):
        raise ConfigError(
            f"expected a budget such as 2x (trainings), 90min or 3h, got '{text}'; give one of them"
        )
    number, unit = float(found[1]), found[2] or "x"
    if unit == "x":
        return Budget(number, None)
    return Budget(None, number * _MINUTES[unit])


def trainings(budget: Budget, problem: Problem, unit_seconds: float, workers: int) -> float:
    """A budget in ``x``: minutes as what workers can do in them at the measured prices.

    Of n candidates all go to a share e of the epochs, or one less on each of n - 1 equal stretches
    of it; then the best is finished alone and its price of depth looked at. With w workers, m
    candidates take ceil(m / w) turns, and with means over the stretches it takes
    (1 - e + e turns + aside) x, while (1 - e + e m + aside) x are spent.

    Args:
        budget: what was asked for.
        problem: the choice.
        unit_seconds: seconds of 1x, > 0.
        workers: trials side by side, >= 1.
    """
    if budget.x is not None:
        return budget.x
    assert budget.minutes is not None, "one of the two is given"
    wall = 60 * budget.minutes / unit_seconds
    count = len(problem.unfrozen)
    if count == 1:
        return wall
    crowds = [count] if are_few(problem) else range(2, count + 1)
    crowd = statistics.fmean(crowds)
    turns = statistics.fmean(math.ceil(m / workers) for m in crowds)
    aside = kept_for_depth(problem, wall)
    rest = wall - 1 - aside
    share = min(1.0, rest / (turns - 1)) if turns > 1 else float(rest >= 0)
    if share <= 0:
        return wall
    beyond = rest - share * (turns - 1)  # every candidate is through: more depths
    return 1 + aside + share * (crowd - 1) + beyond
