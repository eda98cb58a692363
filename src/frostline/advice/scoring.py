"""What a recommendation was worth: regret on seeds that the policy did not see, and intervals."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.advice.cells import Candidate

__all__ = ["Scores", "family_interval", "family_mean", "reference", "regret"]

Table = Mapping[tuple[Candidate, int], float]


@dataclass(frozen=True)
class Scores:
    """Scores of complete trials by (cell, seed).

    Attributes:
        selection: on the images that policies see.
        test: on the images that score them.
    """

    selection: Table
    test: Table

    def held_out(self, cell: Candidate, seed: int) -> frozenset[int]:
        """Seeds of a cell other than one."""
        return frozenset(s for c, s in self.test if c == cell and s != seed)


def reference(cells: Iterable[Candidate], seed: int, scores: Scores) -> Candidate:
    """The cell with the highest mean selection score over the held-out seeds.

    Where cells have different numbers of seeds, only those with the most count: a maximum over
    means of few seeds would be inflated by noise.
    """
    seeds = {cell: scores.held_out(cell, seed) for cell in cells}
    most = max(map(len, seeds.values()))
    whole = [cell for cell, found in seeds.items() if len(found) == most]
    return max(whole, key=lambda cell: _mean(scores.selection, cell, seeds[cell]))


def regret(pick: Candidate, seed: int, cells: Iterable[Candidate], scores: Scores) -> float:
    """Mean test score of the reference minus the pick's, over the held-out seeds that both have.

    It may be negative: the reference is chosen by selection scores. NaN where they share no seed.

    >>> a, b = Candidate("imagenet", "k00"), Candidate("coco", "k00")
    >>> table = {(a, 1): 0.5, (a, 2): 0.7, (b, 1): 0.4, (b, 2): 0.5}
    >>> round(regret(b, 0, (a, b), Scores(table, table)), 3)
    0.15
    """
    top = reference(cells, seed, scores)
    shared = scores.held_out(top, seed) & scores.held_out(pick, seed)
    if not shared:
        return float("nan")
    return _mean(scores.test, top, shared) - _mean(scores.test, pick, shared)


def _mean(table: Table, cell: Candidate, seeds: Iterable[int]) -> float:
    return statistics.fmean(table[cell, seed] for seed in sorted(seeds))


Grouped = Mapping[str, Sequence[float]]


def family_mean(values: Grouped) -> float:
    """Mean over families of each family's mean."""
    return statistics.fmean(statistics.fmean(found) for found in values.values())


def family_interval(
    values: Grouped,
    statistic: Callable[[Grouped], float] = family_mean,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval by a bootstrap over families; values of a family stay together.

    Args:
        values: family -> one value a task and seed.
        statistic: of a resampled mapping; a family drawn twice is in it twice.
        samples: resampled sets of families, >= 1.
        level: in (0, 1).
        seed: of the resampling.
    """
    names, random = sorted(values), np.random.default_rng(seed)
    drawn = random.integers(len(names), size=(samples, len(names)))
    means = [
        statistic({f"{place} {names[i]}": values[names[i]] for place, i in enumerate(row)})
        for row in drawn.tolist()
    ]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
