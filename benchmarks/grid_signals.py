"""What one k=0 trial shows, held against AP by depth of the other seeds."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from grid_plan import DEPTHS
from grid_rows import Grid, layer_curves, rewind_curves
from grid_statistics import Estimate, jackknife, pearson, spearman

BANDS = tuple(itertools.pairwise(DEPTHS))  # the layers between two depths
DEPTH_BASELINE = "k itself"
BAND_BASELINE = "position"

Correlation = Callable[[Sequence[float], Sequence[float]], float]
Layers = Mapping[int, Mapping[int, float]]  # step -> layer -> value


@dataclass(frozen=True)
class Evidence:
    """Signals of one start, by seed, and what they are to tell.

    Attributes:
        signals: seed -> name -> one number a depth, or a band, expected to rise with the truth.
        truth: seed -> what that seed's own trials gave.
        correlation: of a signal with the mean truth of the other seeds.
        baseline: the signal that costs nothing.
    """

    signals: Mapping[int, Mapping[str, Sequence[float]]]
    truth: Mapping[int, Sequence[float]]
    correlation: Correlation
    baseline: str

    @property
    def names(self) -> list[str]:
        return list(next(iter(self.signals.values()), {}))

    def agreement(self, name: str, seeds: Sequence[int]) -> float:
        """Mean over seeds of the correlation of a seed's signal with the others' truth."""
        values = [
            self.correlation(self.signals[seed][name], self._others(seed, seeds)) for seed in seeds
        ]
        return statistics.fmean(values)

    def _others(self, seed: int, seeds: Sequence[int]) -> list[float]:
        others = [self.truth[other] for other in seeds if other != seed]
        return [statistics.fmean(values) for values in zip(*others, strict=True)]

    def estimate(self, name: str) -> Estimate:
        """The agreement of a signal."""
        return jackknife(list(self.signals), lambda seeds: self.agreement(name, seeds))

    def against_baseline(self, name: str) -> Estimate:
        """The same, minus that of the baseline."""

        def gain(seeds: Sequence[int]) -> float:
            return self.agreement(name, seeds) - self.agreement(self.baseline, seeds)

        return jackknife(list(self.signals), gain)


def evidence(grid: Grid) -> Iterator[tuple[str, Evidence, Evidence]]:
    """(start, by depth, by band) of every start that has at least two whole seeds."""
    rewound, (moved, gradient) = rewind_curves(grid.name), layer_curves(grid.name)
    for init in grid.starts:
        levels, drops, by_depth, by_band = {}, {}, {}, {}
        for seed in grid.cell("ap", init, 0):
            own = [grid.cell("ap", init, depth).get(seed, math.nan) for depth in DEPTHS]
            arm = grid.chosen(init, 0, seed)
            if any(math.isnan(value) for value in own) or arm not in moved:
                continue
            levels[seed] = own
            drops[seed] = [a - b for a, b in itertools.pairwise(own)]
            by_depth[seed] = depth_signals(rewound[arm], moved[arm]) | {"AP of this seed": own}
            by_band[seed] = band_signals(moved[arm], gradient[arm])
        if len(levels) > 1:
            yield (
                init,
                Evidence(by_depth, levels, pearson, DEPTH_BASELINE),
                Evidence(by_band, drops, spearman, BAND_BASELINE),
            )


def depth_signals(rewound: Layers, moved: Layers) -> dict[str, list[float]]:
    """One number a depth, that is expected to rise with AP."""
    signals = {}
    for label, step in zip(("early", "end"), sorted(rewound), strict=True):
        signals[f"rewind, {label}"] = [rewound[step][k] for k in DEPTHS]
    for label, step in zip(("early", "end"), sorted(moved)[-2:], strict=True):
        signals[f"movement, {label}"] = [
            -math.fsum(v for layer, v in moved[step].items() if layer <= k) for k in DEPTHS
        ]
    return signals | {DEPTH_BASELINE: [-float(k) for k in DEPTHS]}


def band_signals(moved: Layers, gradient: Layers) -> dict[str, list[float]]:
    """One number for the layers between two depths, expected to rise with what freezing costs."""
    early, end = sorted(moved)[-2:]
    sources = {
        "movement, early": moved[early],
        "movement, end": moved[end],
        "relative gradient, step 0": gradient[0],
        "relative gradient, early": gradient[early],
    }
    signals = {
        name: [statistics.fmean(layers[i] for i in range(a + 1, b + 1)) for a, b in BANDS]
        for name, layers in sources.items()
    }
    return signals | {BAND_BASELINE: [-float(number) for number, _ in enumerate(BANDS)]}
