"""What a study found, with its spread: the best cell, and which cells cannot be told from it.

Two or three seeds say little about one cell, but the same noise shows in every cell. So all cells
are fitted together, ``score = cell + seed + noise`` (a randomised block design: trials with one
seed share their new head and the order of images), and the noise that the fit leaves gives one
standard deviation for all. The difference of two cells then has Tukey's interval (Kramer's where
seeds are missing), which holds for all pairs at once and so stands the best cell being picked by
its score. Overlap of the seeds' ranges would be no rule: of two equal cells with two seeds each,
one time in three the ranges do not overlap.

Two starts over all their plans are another question. A seed that suits one start suits it at every
depth; more plans do not average that out, only more seeds do. So each seed gives one difference,
its mean over plans, and the interval is that of a paired t test over seeds (the whole plots of a
split-plot design), with Tukey's range where there are more than two starts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from frostline.cells import CellPlan, cell_plan, numbering_column
from frostline.figures import is_collapsed
from frostline.figures.values import plain_values
from frostline.records import TrialRecord
from frostline.reporting.length import Length, measure_length
from frostline.reporting.tukey import tukey_quantile
from frostline.scores import Score, merged

__all__ = [
    "Answer",
    "Cell",
    "CellComparison",
    "Noise",
    "StartComparison",
    "answer",
    "comparison_row",
]

Verdict = Literal["best", "tie", "lower", "unknown"]

_Floats = npt.NDArray[np.float64]

_CONFIDENCE = 0.95
_NO_SCORE = Score(key="score", label="score", axis="score", ranks=True)  # of no records at all


@dataclass(frozen=True, slots=True)
class Cell:
    """One init with one plan, in one variant.

    Attributes:
        init: name of the start.
        frozen: the plan and the variant.
        seeds: seeds of ``values``, ascending.
        values: score of each trial that did not collapse, in [0, 1].
        collapsed: seeds of the trials that did; in no mean.
        train_seconds: median over trials of the wall-clock seconds of training.
    """

    init: str
    frozen: CellPlan
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    collapsed: tuple[int, ...]
    train_seconds: float

    @property
    def name(self) -> str:
        """``imagenet, k=9``, with the mark of a cell that keeps random weights as they are."""
        return f"{self.init}, {self.frozen.marked}"

    @property
    def depth(self) -> int | None:
        """k, number of frozen convolutions; None for a plan that is no prefix."""
        return self.frozen.depth

    @property
    def mean(self) -> float:
        """Mean score; NaN if every trial collapsed."""
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def low(self) -> float:
        """Smallest score over seeds."""
        return min(self.values, default=math.nan)

    @property
    def high(self) -> float:
        """Largest score over seeds."""
        return max(self.values, default=math.nan)

    def value_of(self, seed: int) -> float:
        """Score of one seed; NaN if it has none."""
        return dict(zip(self.seeds, self.values, strict=True)).get(seed, math.nan)


@dataclass(frozen=True, slots=True)
class Noise:
    """What seeds alone do to a cell's score.

    Attributes:
        sd: standard deviation of one trial around its cell and seed; NaN if it cannot be measured.
        freedom: degrees of freedom behind it; 0 if it cannot be measured.
    """

    sd: float
    freedom: int


@dataclass(frozen=True, slots=True)
class CellComparison:
    """A cell against a reference cell.

    Attributes:
        cell: the cell.
        difference: score of the cell minus score of the reference, negative where it is lower.
        low: lower end of the interval of the difference; NaN without a measure of noise.
        high: upper end.
        verdict: ``best`` (it is the reference), ``tie`` (the interval contains 0), ``lower``
            (it does not), ``unknown`` (no measure of noise, no common seed, or all collapsed).
    """

    cell: Cell
    difference: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StartComparison:
    """A start against the start of the best cell, averaged over the plans that both ran.

    Attributes:
        init: the start.
        plans: the plans (and variants) that both ran.
        difference: its mean score minus that of the best cell's start.
        low: lower end of the interval of the difference; NaN without a measure of noise.
        high: upper end.
        verdict: ``higher``, ``lower``, ``tie`` or ``unknown``.
    """

    init: str
    plans: tuple[CellPlan, ...]
    difference: float
    low: float
    high: float
    verdict: Literal["higher", "lower", "tie", "unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a study found.

    Attributes:
        score: the score that decides.
        split: the split it was measured on.
        deepest: the depth that freezes all of the counted part, or the largest one tried.
        counted: what depth counts the layers of: ``backbone``, of a U-Net ``encoder``.
        comparisons: every ranked cell against the best, in the order inits x plans.
        within: init -> its cells against the best of that init, in the order of the plans.
        starts: every other ranked init against the best cell's.
        noise: what seeds alone do.
        references: cells of unranked inits.
        length: whether the trainings were long enough to answer.
    """

    score: Score
    split: str
    deepest: int
    counted: str
    comparisons: tuple[CellComparison, ...]
    within: dict[str, tuple[CellComparison, ...]]
    starts: tuple[StartComparison, ...]
    noise: Noise
    references: tuple[Cell, ...]
    length: Length

    @property
    def best(self) -> Cell | None:
        """The cell with the highest mean; None if no ranked trial finished without collapsing."""
        return next((c.cell for c in self.comparisons if c.verdict == "best"), None)

    @property
    def ties(self) -> tuple[Cell, ...]:
        """Cells that cannot be told apart from the best."""
        return tuple(c.cell for c in self.comparisons if c.verdict == "tie")

    @property
    def unsteady(self) -> dict[str, tuple[int, int]]:
        """Inits that collapsed in more than half of their trials: how many of how many."""
        found = {}
        for init, compared in self.within.items():
            collapsed = sum(len(c.cell.collapsed) for c in compared)
            trials = collapsed + sum(len(c.cell.values) for c in compared)
            if 2 * collapsed > trials:
                found[init] = (collapsed, trials)
        return found

    def best_of(self, init: str) -> Cell | None:
        """The cell with the highest mean of one init."""
        return next((c.cell for c in self.within[init] if c.verdict == "best"), None)

    def deepest_tie(self, init: str) -> Cell | None:
        """The cell that freezes most of those that are its best or cannot be told apart from it."""
        good = [c.cell for c in self.within[init] if c.verdict in ("best", "tie")]
        return max(good, key=lambda cell: (cell.frozen.layers, cell.mean), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return {
            "score": self.score.key,
            "split": self.split,
            "best": None if self.best is None else [self.best.init, self.best.frozen.label],
            "too_short": self.length.short or None,
            "noise_sd": plain_values(self.noise.sd),
            "noise_freedom": self.noise.freedom,
            "cells": [comparison_row(c) for c in self.comparisons],
            "starts": [_start_row(start) for start in self.starts],
        }


def answer(
    records: Iterable[TrialRecord],
    *,
    deepest: int,
    counted: str = "backbone",
    score: str | None = None,
    split: str = "val",
) -> Answer:
    """Rank the cells of a study and say which cannot be told apart.

    Args:
        records: finished trials of one study.
        deepest: the depth that freezes all of the counted part.
        counted: what that part is called, as the architecture has it.
        score: key of the score that decides; None takes the one that ranks the task's cells.
        split: the split it is measured on.

    Raises:
        ConfigError: no trial declares the score.
    """
    every = list(records)
    by = merged(record.task for record in every).score(score) if every else _NO_SCORE
    ranked = [record for record in every if record.ranked]
    cells = _cells(ranked, by.key, split)
    fit = _fit([cell for cell in cells if cell.values])
    within = {
        init: _compare([cell for cell in cells if cell.init == init], fit)
        for init in dict.fromkeys(cell.init for cell in cells)
    }
    references = _cells([record for record in every if not record.ranked], by.key, split)
    compared = _compare(cells, fit)
    starts = _compare_starts(compared)
    best = next((c.cell for c in compared if c.verdict == "best"), None)
    own = [r for r in ranked if best and r.key.init == best.init and not is_collapsed(r)]
    length = measure_length(ranked, own, best.mean if best else math.nan, by, split)
    return Answer(
        by, split, deepest, counted, compared, within, starts, fit.noise, tuple(references), length
    )


def comparison_row(comparison: CellComparison) -> dict[str, Any]:
    """One cell as a flat row of a table; what is not finite is None."""
    cell = comparison.cell
    return {
        "init": cell.init,
        "plan": cell.frozen.label,
        "variant": cell.frozen.variant,
        "depth": cell.depth,
        **numbering_column(cell.frozen),
        "frozen_random": cell.frozen.frozen_random,
        "seeds": len(cell.values),
        "collapsed": len(cell.collapsed),
        "mean": plain_values(cell.mean),
        "low": plain_values(cell.low),
        "high": plain_values(cell.high),
        "difference": plain_values(comparison.difference),
        "difference_low": plain_values(comparison.low),
        "difference_high": plain_values(comparison.high),
        "verdict": comparison.verdict,
        "train_seconds": plain_values(cell.train_seconds),
    }


def _start_row(start: StartComparison) -> dict[str, Any]:
    plans = [plan.name for plan in start.plans]
    return {**plain_values(asdict(start)), "plans": plans}


def _cells(records: Sequence[TrialRecord], score: str, split: str) -> list[Cell]:
    keys = dict.fromkeys((r.key.init, cell_plan(r)) for r in records)
    inits = list(dict.fromkeys(init for init, _ in keys))
    ordered = sorted(keys, key=lambda key: (inits.index(key[0]), key[1].order))
    return [_cell(records, init, plan, score, split) for init, plan in ordered]


def _cell(
    records: Sequence[TrialRecord], init: str, plan: CellPlan, score: str, split: str
) -> Cell:
    here = [r for r in records if r.key.init == init and cell_plan(r) == plan]
    here.sort(key=lambda record: record.key.seed)
    good = [r for r in here if not is_collapsed(r) and not math.isnan(r.score(score, split))]
    seconds = [r.seconds["train"] for r in here if "train" in r.seconds]
    return Cell(
        init,
        plan,
        tuple(r.key.seed for r in good),
        tuple(r.score(score, split) for r in good),
        tuple(r.key.seed for r in here if is_collapsed(r)),
        median(seconds) if seconds else math.nan,
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares of score = cell + seed."""

    cells: list[Cell]
    effects: _Floats  # (cells + seeds,)
    covariance: _Floats  # the same, squared, in units of the noise
    design: _Floats  # (trials, cells + seeds)
    noise: Noise


def _fit(cells: list[Cell]) -> _Fit:
    seeds = sorted({seed for cell in cells for seed in cell.seeds})
    rows = [(c, seeds.index(s)) for c, cell in enumerate(cells) for s in cell.seeds]
    y = np.array([value for cell in cells for value in cell.values], dtype=np.float64)
    design = np.zeros((len(rows), len(cells) + len(seeds)))
    for n, (c, s) in enumerate(rows):
        design[n, c] = design[n, len(cells) + s] = 1.0
    inverse = np.zeros((design.shape[1],) * 2)
    if rows:
        inverse[:] = np.linalg.pinv(design.T @ design)
    effects = inverse @ design.T @ y
    freedom = len(rows) - (int(np.linalg.matrix_rank(design)) if rows else 0)
    rest = float(((y - design @ effects) ** 2).sum())
    sd = math.sqrt(rest / freedom) if freedom > 0 else math.nan
    return _Fit(cells, effects, inverse, design, Noise(sd, freedom))


def _compare(cells: Sequence[Cell], fit: _Fit) -> tuple[CellComparison, ...]:
    """Every cell against the one with the highest mean, all pairs holding at once."""
    alive = [cell for cell in cells if cell.values]
    if not alive:
        return tuple(CellComparison(c, math.nan, math.nan, math.nan, "unknown") for c in cells)
    best = max(alive, key=lambda cell: cell.mean)
    quantile = math.nan
    if fit.noise.freedom > 0 and len(alive) > 1:
        quantile = tukey_quantile(_CONFIDENCE, len(alive), fit.noise.freedom) / math.sqrt(2)
    return tuple(_compared(cell, best, fit, quantile) for cell in cells)


def _compared(cell: Cell, best: Cell, fit: _Fit, quantile: float) -> CellComparison:
    if cell is best:
        return CellComparison(cell, 0.0, 0.0, 0.0, "best")
    if not cell.values:
        return CellComparison(cell, math.nan, math.nan, math.nan, "unknown")
    difference, half = _contrast(fit, cell, best, quantile)
    if math.isnan(half):
        return CellComparison(cell, cell.mean - best.mean, math.nan, math.nan, "unknown")
    verdict: Verdict = "tie" if difference + half >= 0 else "lower"
    return CellComparison(cell, difference, difference - half, difference + half, verdict)


def _contrast(fit: _Fit, cell: Cell, against: Cell, quantile: float) -> tuple[float, float]:
    """Effect of one cell minus that of another, and half its interval.

    The half is NaN where noise cannot be measured or no common seeds tie the cells together.
    """
    contrast = np.zeros(len(fit.effects))
    contrast[fit.cells.index(cell)], contrast[fit.cells.index(against)] = 1.0, -1.0
    seen = contrast @ fit.covariance @ (fit.design.T @ fit.design)
    if not np.allclose(seen, contrast, atol=1e-6):
        return math.nan, math.nan
    spread = math.sqrt(max(0.0, float(contrast @ fit.covariance @ contrast)))
    return float(contrast @ fit.effects), quantile * fit.noise.sd * spread


def _compare_starts(compared: Sequence[CellComparison]) -> tuple[StartComparison, ...]:
    best = next((c.cell for c in compared if c.verdict == "best"), None)
    alive = {(c.cell.init, c.cell.frozen): c.cell for c in compared if c.cell.values}
    inits = dict.fromkeys(init for init, _ in alive)
    if best is None:
        return ()
    return tuple(
        _compared_start(init, best.init, alive, len(inits)) for init in inits if init != best.init
    )


def _compared_start(
    init: str, against: str, cells: dict[tuple[str, CellPlan], Cell], inits: int
) -> StartComparison:
    plans = tuple(p for name, p in cells if name == init and (against, p) in cells)
    pairs = [(cells[init, p], cells[against, p]) for p in plans]
    seeds = sorted({seed for pair in pairs for seed in _common_seeds(*pair)})
    if len(seeds) <= 1 or not all(_common_seeds(*pair) for pair in pairs):
        difference = sum(a.mean - b.mean for a, b in pairs) / len(pairs) if pairs else math.nan
        return StartComparison(init, plans, difference, math.nan, math.nan, "unknown")
    apart = np.array([[a.value_of(seed) - b.value_of(seed) for a, b in pairs] for seed in seeds])
    levels = np.nanmean(apart, axis=0)
    # Around the mean of its plan, so that a seed that lacks a plan is not taken for different.
    around = np.nanmean(apart - levels, axis=1)
    freedom = len(seeds) - 1
    error = math.sqrt(float((around**2).sum()) / freedom / len(seeds))
    half = tukey_quantile(_CONFIDENCE, inits, freedom) / math.sqrt(2) * error
    return _judged_start(init, plans, float(levels.mean()), half)


def _common_seeds(a: Cell, b: Cell) -> set[int]:
    return set(a.seeds) & set(b.seeds)


def _judged_start(
    init: str, plans: tuple[CellPlan, ...], difference: float, half: float
) -> StartComparison:
    low, high = difference - half, difference + half
    verdict: Literal["higher", "lower", "tie"] = (
        "lower" if high < 0 else "higher" if low > 0 else "tie"
    )
    return StartComparison(init, plans, difference, low, high, verdict)
