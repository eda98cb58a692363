"""Constants of the model by moments, from complete grids of other data sets."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frostline.advice.cells import Candidate, Facts
from frostline.advice.model import BOXES, Constants, log_odds

__all__ = ["History", "fit"]

Array = npt.NDArray[np.float64]
SMALLEST_GAP = 0.02  # log odds: shares of less say nothing
SHARES = (0.05, 0.1, 0.2, 0.34, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class History:
    """Complete trials of one data set.

    Attributes:
        facts: its cells.
        curves: (cell, seed) -> selection score after each epoch.
        test: (cell, seed) -> test score; empty where test images are unlike selection images.
        boxes: on the selection images.
    """

    facts: Mapping[Candidate, Facts]
    curves: Mapping[tuple[Candidate, int], Sequence[float]]
    test: Mapping[tuple[Candidate, int], float]
    boxes: int = BOXES

    def of_images(self, variance: float | None) -> float | None:
        """A variance that images make, for ``BOXES`` boxes."""
        return None if variance is None else variance * self.boxes / BOXES

    def ends(self) -> dict[Candidate, dict[int, float]]:
        """Candidate -> seed -> log of the last selection score."""
        found: dict[Candidate, dict[int, float]] = {cell: {} for cell in self.facts}
        for (cell, seed), curve in self.curves.items():
            found[cell][seed] = log_odds(curve[-1])
        return {cell: by_seed for cell, by_seed in found.items() if by_seed}


def fit(histories: Sequence[History], families: Sequence[str]) -> Constants:
    """Moments of each data set, averaged over families (standard deviations as variances).

    Args:
        histories: data sets, none of the family that the constants are for.
        families: of each of them; data sets of one family count together as one.
    """
    slopes = [slope for history in histories if (slope := _slope(history)) is not None]
    shape = _shape(histories)
    offsets = [_offsets(history) for history in histories]
    middles = [
        statistics.fmean(map(statistics.fmean, table.values())) for table in offsets if table
    ]
    pooled = _pooled(families)
    slope = statistics.fmean(slopes)
    return Constants(
        start=pooled([_start_variance(h) for h in histories]),
        rate=pooled([_rate_variance(h) for h in histories]),
        slope=slope,
        slope_task=max(_between(slopes), slope),  # as of a positive quantity of unknown scale
        slope_start=pooled([_slope_variance(h) for h in histories]),
        shape=shape,
        rest=pooled([_rest_variance(h, shape) for h in histories]),
        seed=pooled([_noise(h)[0] for h in histories]),
        noise=pooled([h.of_images(_noise(h)[1]) for h in histories]),
        gaps=_gaps(histories, pooled),
        offset=statistics.fmean(middles),
        offset_task=_between(middles),
        offset_cell=pooled(
            [h.of_images(_offset_variance(t)) for h, t in zip(histories, offsets, strict=True)]
        ),
    )


Variances = Sequence[float | None]


def _pooled(families: Sequence[str]) -> Callable[[Variances], float]:
    """Root of the mean over families of the mean variance; negative estimates count as zero."""

    def pool(variances: Variances) -> float:
        by_family: dict[str, list[float]] = {}
        for family, variance in zip(families, variances, strict=True):
            if variance is not None:
                by_family.setdefault(family, []).append(variance)
        means = [statistics.fmean(found) for found in by_family.values()]
        return math.sqrt(max(0.0, statistics.fmean(means))) if means else 0.0

    return pool


def _between(values: Sequence[float]) -> float:
    """SD of a further data set around the mean of some, of which there are few.

    As if one more degree of freedom had shown half the mean: two data sets that happen to agree
    would otherwise promise that all do. The mean's own error is added.
    """
    middle, count = statistics.fmean(values), len(values)
    squares = sum((value - middle) ** 2 for value in values) + (middle / 2) ** 2
    return math.sqrt(squares / count * (1 + 1 / count))


def _variance(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.variance(found) if len(found) > 1 else None


def _unfrozen(history: History) -> dict[Candidate, float]:
    return {
        cell: statistics.fmean(by_seed.values())
        for cell, by_seed in history.ends().items()
        if history.facts[cell].depth == 0
    }


def _start_variance(history: History) -> float | None:
    """Between starts, each at the best of its rates."""
    best: dict[str, float] = {}
    for cell, value in _unfrozen(history).items():
        best[cell.init] = max(best.get(cell.init, -math.inf), value)
    return _variance(best.values())


def _rate_variance(history: History) -> float | None:
    by_start: dict[str, list[float]] = {}
    for cell, value in _unfrozen(history).items():
        by_start.setdefault(cell.init, []).append(value)
    found = [v for values in by_start.values() if (v := _variance(values)) is not None]
    return statistics.fmean(found) if found else None


def _losses(history: History) -> dict[str, dict[float, float]]:
    """Start -> depth -> log odds lost against nothing frozen, over the seeds that both have.

    Of each start at the one of its variants that has most depths.
    """
    ends = history.ends()
    found: dict[tuple[str, str], dict[float, float]] = {}
    for cell, by_seed in ends.items():
        depth, whole = history.facts[cell].depth, _whole(history, cell)
        shared = sorted(by_seed.keys() & ends.get(whole, {}).keys()) if whole else []
        if whole and depth > 0 and shared:
            lost = statistics.fmean(ends[whole][s] - by_seed[s] for s in shared)
            found.setdefault(cell.arm, {})[depth] = lost
    widest: dict[str, dict[float, float]] = {}
    for (init, _), by_depth in sorted(found.items()):
        if len(by_depth) > len(widest.get(init, {})):
            widest[init] = by_depth
    return widest


def _whole(history: History, cell: Candidate) -> Candidate | None:
    """The cell with the same start and variant that freezes nothing."""
    same = (
        other
        for other, facts in history.facts.items()
        if facts.depth == 0 and other.arm == cell.arm
    )
    return next(same, None)


def _all_frozen(history: History) -> list[float]:
    return [by_depth[1.0] for by_depth in _losses(history).values() if 1.0 in by_depth]


def _slope(history: History) -> float | None:
    found = _all_frozen(history)
    return statistics.fmean(found) if found else None


def _slope_variance(history: History) -> float | None:
    return _variance(_all_frozen(history))


def _shape(histories: Sequence[History]) -> tuple[tuple[float, float], ...]:
    """Mean loss at each depth over that of all frozen, made to rise, each start with weight."""
    sums: dict[float, list[tuple[float, float]]] = {}
    for history in histories:
        for by_depth in _losses(history).values():
            for depth, lost in by_depth.items():
                if 1.0 in by_depth:
                    sums.setdefault(depth, []).append((lost, by_depth[1.0]))
    ratios = {
        depth: sum(a for a, _ in pairs) / sum(b for _, b in pairs) for depth, pairs in sums.items()
    }
    points, highest = [(0.0, 0.0)], 0.0
    for depth in sorted(ratios):
        highest = min(1.0, max(highest, ratios[depth]))
        points.append((depth, highest))
    return tuple(points)


def _rest_variance(history: History, shape: Sequence[tuple[float, float]]) -> float | None:
    """Of losses around the shape, in shares of the loss when all is frozen; see ``Constants``."""
    x, y = zip(*shape, strict=True)
    squares, wholes = [], []
    for by_depth in _losses(history).values():
        for depth, lost in by_depth.items():
            expected = float(np.interp(depth, x, y))
            if 1.0 in by_depth and 0 < expected < 1:
                squares.append((lost - by_depth[1.0] * expected) ** 2)
                wholes.append(4 * by_depth[1.0] ** 2 * expected * (1 - expected))
    return sum(squares) / sum(wholes) if squares else None


def _drift_variance(history: History, share: float) -> float | None:
    """Of the change, from a share of the epochs to the end, of what freezing everything costs.

    In shares of that cost; of means over seeds, without what their noise adds.
    """
    changes, noises, wholes = [], [], []
    for cell, facts in history.facts.items():
        whole = _whole(history, cell) if facts.depth == 1 else None
        now, late = (_paired(history, whole, cell, at) for at in (share, 1.0))
        if len(late) > 1:
            change = [b - a for a, b in zip(now, late, strict=True)]
            changes.append(statistics.fmean(change) ** 2)
            noises.append(statistics.variance(change) / len(change))
            wholes.append(statistics.fmean(late) ** 2)
    return (sum(changes) - sum(noises)) / sum(wholes) if changes else None


def _paired(
    history: History, whole: Candidate | None, cell: Candidate, share: float
) -> list[float]:
    """By seed that both have: log odds lost by a cell after a share of the epochs."""
    if whole is None:
        return []
    seeds = sorted(s for c, s in history.curves if c == cell and (whole, s) in history.curves)
    return [
        _at(history.curves[whole, seed], share) - _at(history.curves[cell, seed], share)
        for seed in seeds
    ]


def _at(curve: Sequence[float], share: float) -> float:
    return log_odds(curve[max(1, round(share * len(curve))) - 1])


def _noise(history: History) -> tuple[float | None, float | None]:
    """Variance of the seed that all cells share, and of a trial beside it (two-way layout).

    Of cells with nothing frozen, which are what is picked; frozen ones scatter more. Of these, the
    cells with the most seeds.
    """
    ends = {c: by_seed for c, by_seed in history.ends().items() if history.facts[c].depth == 0}
    most = max(map(len, ends.values()))
    whole = [by_seed for by_seed in ends.values() if len(by_seed) == most]
    seeds = sorted(set.intersection(*map(set, whole)))
    table = np.array([[by_seed[s] for s in seeds] for by_seed in whole])
    if min(table.shape) <= 1:
        return None, None
    rest = table - table.mean(1, keepdims=True)
    shared = rest.mean(0)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    trial = float(((rest - shared) ** 2).sum() / freedom)
    return max(0.0, float(shared.var(ddof=1)) - trial / table.shape[0]), trial


def _offsets(history: History) -> dict[Candidate, list[float]]:
    """Nothing frozen: cell -> by seed, log odds of the selection score minus of the test score."""
    return {
        cell: [value - log_odds(history.test[cell, seed]) for seed, value in by_seed.items()]
        for cell, by_seed in history.ends().items()
        if history.facts[cell].depth == 0 and history.test
    }


def _offset_variance(table: Mapping[Candidate, Sequence[float]]) -> float | None:
    """Between cells, without what the noise of their few seeds adds."""
    whole = [values for values in table.values() if len(values) > 1]
    between = _variance(map(statistics.fmean, whole))
    if between is None:
        return None
    return between - statistics.fmean(statistics.variance(v) / len(v) for v in whole)


def _gaps(
    histories: Sequence[History], pool: Callable[[Variances], float]
) -> tuple[tuple[float, float, float, float, float, float], ...]:
    rows = [(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    for share in reversed(SHARES):
        tables = [_gaps_at(history, share) for history in histories]
        means = [statistics.fmean(map(statistics.fmean, table.values())) for table in tables]
        cell = pool([_relative(t, m) for t, m in zip(tables, means, strict=True)])
        trial = pool([h.of_images(_within(t)) for h, t in zip(histories, tables, strict=True)])
        drift = pool([_drift_variance(history, share) for history in histories])
        mean, task, later = statistics.fmean(means), _between(means), rows[0]
        # The earlier a gap is looked at, the larger is its variance.
        rows.insert(0, (share, mean, max(task, later[2]), cell,
                        max(trial, later[4]), max(drift, later[5])))  # fmt: skip
    return tuple(rows)


def _relative(table: Mapping[Candidate, Sequence[float]], mean: float) -> float | None:
    """Variance between cells of their mean gaps, in squares of the data set's mean gap."""
    found = _variance(map(statistics.fmean, table.values()))
    return None if found is None else found / max(mean, SMALLEST_GAP) ** 2


def _within(table: Mapping[Candidate, Sequence[float]]) -> float | None:
    found = [v for values in table.values() if (v := _variance(values)) is not None]
    return statistics.fmean(found) if found else None


def _gaps_at(history: History, share: float) -> dict[Candidate, list[float]]:
    """Nothing frozen: cell -> by seed, log odds at the end minus those after a share."""
    found: dict[Candidate, list[float]] = {}
    for (cell, _seed), curve in sorted(history.curves.items()):
        if history.facts[cell].depth == 0:
            found.setdefault(cell, []).append(_at(curve, 1.0) - _at(curve, share))
    return found
