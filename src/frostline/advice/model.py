"""A Gaussian model of the cells, in closed form: what was observed says of every candidate.

Scores in [0, 1] enter as log odds, in which parts carry over between data sets better than as
points or logarithms. With f the log odds of a cell's selection score over seeds,

    f(cell)       = level + start + rate - loss(start) * (shape(depth) + rest(cell))
    end(trial)    = f(cell) + seed + noise(trial)
    seen(trial,t) = end(trial) - mean gap(t) - gap(task,t) - gap(start and rate,t) - gap(trial,t)
                    + loss(start) * shape(depth) * drift(start and rate,t)
    test(cell)    = f(cell) - mean offset - offset(task) - offset(cell)

Every part is normal and independent of the others; in the products with ``rest`` and ``drift``,
loss is a number: the mean of the starts that were looked at frozen, else that of other data sets. A
gap is what training still gains after a share t of the epochs; its increments are independent, so
that its covariance at t and t' is its variance at the later of the two. Starts differ in it by a
share of what the task's own trainings gained after t, where one has ended: fast tasks and slow ones
are alike in that. What images make (a trial's
noise and gap, a cell's offset) falls with the root of the number of boxes that they hold.
Conditioning on everything seen is one solve of linear equations (Rasmussen and Williams, Gaussian
Processes for Machine Learning, equations 2.23 and 2.24), done again where the loss was seen.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frostline.advice.cells import Candidate, Evaluated, Problem

__all__ = ["FLOOR", "Constants", "Posterior", "condition", "inverse", "log_odds"]

Array = npt.NDArray[np.float64]

FLOOR = 0.01  # scores below count as this one: the log odds of a first epoch's 0 say nothing
LEVEL_SD = 1.0  # of the log score of an unknown task
SMALLEST_LOSS = 0.05  # log odds that freezing everything is thought to cost at least
BOXES = 100  # for which noise is given
DRAWS = 4000


@dataclass(frozen=True)
class Constants:
    """Standard deviations and means of the parts, as logarithms of scores.

    Attributes:
        start: SD between starts.
        rate: SD between rates of a start.
        slope: mean log score lost when all is frozen, >= 0.
        slope_task: its SD between tasks.
        slope_start: its SD between starts of a task.
        shape: (frozen share of the backbone, share of the loss), both rising from 0 to 1.
        rest: SD of a depth's loss around the shape, as a share of the loss when all is frozen and
            of ``2 sqrt(s (1 - s))`` with s the shape: none where nothing or all is frozen.
        seed: SD that the cells of one seed share.
        noise: SD of one trial, with ``BOXES`` boxes.
        gaps: (share of the epochs, mean gap, SD task, SD start and rate as a share of the task's
            gap, SD trial with ``BOXES`` boxes, SD of drift), by rising share; the last share is 1
            with no gap.
        offset: mean log odds of the selection score minus log odds of the test score.
        offset_task: its SD between tasks.
        offset_cell: its SD between cells, with ``BOXES`` boxes.
    """

    start: float
    rate: float
    slope: float
    slope_task: float
    slope_start: float
    shape: tuple[tuple[float, float], ...]
    rest: float
    seed: float
    noise: float
    gaps: tuple[tuple[float, float, float, float, float, float], ...]
    offset: float
    offset_task: float
    offset_cell: float

    def lost(self, depth: float) -> float:
        """Share of the loss at a frozen share of the backbone."""
        x, y = zip(*self.shape, strict=True)
        return float(np.interp(depth, x, y))

    def gap(self, share: Array, gains: Array) -> Array:
        """Mean gap and the four SDs at shares of the epochs, (5, n).

        Args:
            share: (n,).
            gains: what the task gains after each share of ``gaps``, (m,).
        """
        table = np.array(self.gaps).T
        # The earlier a gap is looked at, the larger is its variance.
        table[3] = np.maximum.accumulate((table[3] * gains)[::-1])[::-1]
        return np.stack([np.interp(share, table[0], row) for row in table[1:]])


@dataclass(frozen=True)
class Posterior:
    """Normal distribution of the candidates' log scores.

    Attributes:
        cells: candidates.
        mean: of log odds of the test scores over seeds, (n,).
        covariance: of the same, (n, n).
        selection_mean: of log odds of the selection scores over seeds, (n,).
        selection_covariance: of the same, (n, n).
        spread: SD of one further seed around its cell.
    """

    cells: tuple[Candidate, ...]
    mean: Array
    covariance: Array
    selection_mean: Array
    selection_covariance: Array
    spread: float

    def chances(self, among: Sequence[Candidate]) -> dict[Candidate, float]:
        """Probability of each candidate to be the best of some by selection score."""
        places = [self.cells.index(cell) for cell in among]
        draws = _draws(
            self.selection_mean[places], self.selection_covariance[np.ix_(places, places)]
        )
        counts = np.bincount(draws.argmax(1), minlength=len(places)) / len(draws)
        return dict(zip(among, counts.tolist(), strict=True))

    def expected_regret(self, pick: Candidate, among: Sequence[Candidate]) -> float:
        """Mean of the best score minus the pick's, in score units."""
        places = [self.cells.index(cell) for cell in among]
        scores = _score(_draws(self.mean[places], self.covariance[np.ix_(places, places)]))
        return float((scores.max(1) - scores[:, list(among).index(pick)]).mean())

    def score(self, cell: Candidate) -> float:
        """Median of a cell's test score over seeds."""
        return float(_score(self.mean[[self.cells.index(cell)]])[0])

    def interval(self, cell: Candidate, seeds: float = math.inf) -> tuple[float, float]:
        """95 % interval of a cell's test score: its mean over a number of further seeds."""
        place = self.cells.index(cell)
        sd = math.sqrt(self.covariance[place, place] + self.spread**2 / seeds)
        middle = self.mean[place]
        low, high = _score(np.array([middle - 1.96 * sd, middle + 1.96 * sd]))
        return float(low), float(high)

    def difference(
        self, a: Candidate, b: Candidate, seeds: float = math.inf
    ) -> tuple[float, float, float]:
        """Mean and 95 % interval of test score a - b, each a mean over so many further seeds."""
        places = [self.cells.index(a), self.cells.index(b)]
        covariance = self.covariance[np.ix_(places, places)] + self.spread**2 / seeds * np.eye(2)
        scores = _score(_draws(self.mean[places], covariance))
        low, high = np.quantile(scores[:, 0] - scores[:, 1], [0.025, 0.975])
        return float((scores[:, 0] - scores[:, 1]).mean()), float(low), float(high)


def log_odds(score: float) -> float:
    """Log odds of a score, which counts as at least ``FLOOR`` and at most one minus it.

    >>> round(log_odds(0.8), 4)
    1.3863
    """
    inside = min(max(score, FLOOR), 1 - FLOOR)
    return math.log(inside / (1 - inside))


def inverse(odds: float) -> float:
    """The score with these log odds.

    >>> inverse(log_odds(0.8))
    0.8
    """
    return 1 / (1 + math.exp(-odds))


def _score(odds: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-odds))
    return result


def _draws(mean: Array, covariance: Array) -> Array:
    """Fixed draws: the same observations always give the same numbers."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
    result: Array = mean + normal @ root.T
    return result


def condition(problem: Problem, observed: Iterable[Evaluated], constants: Constants) -> Posterior:
    """What the observations say of every candidate.

    The order of observations does not matter; those with fewer images say nothing here. Cost:
    cubic in their number, some hundreds.
    """
    constants = at_boxes(constants, problem.boxes)
    whole = (one for one in observed if problem.cells[one.cell].images == 1)
    seen = sorted(whole, key=lambda one: (one.cell, one.seed, one.epoch))
    first = _solved(problem, seen, constants, constants.slope)
    loss = _seen_loss(problem, seen, first, constants)
    return first if loss is None else _solved(problem, seen, constants, loss)


def _seen_loss(
    problem: Problem, seen: Sequence[Evaluated], posterior: Posterior, constants: Constants
) -> float | None:
    """Mean loss, were all frozen, of the starts that ran with something frozen; None without."""
    ran = {one.cell for one in seen if problem.cells[one.cell].depth > 0}
    losses = []
    for cell in problem.unfrozen:
        deep = [c for c in ran if (c.init, c.variant) == (cell.init, cell.variant)]
        if deep:
            end = max(deep, key=lambda c: problem.cells[c].depth)
            places = [posterior.cells.index(c) for c in (cell, end)]
            whole, frozen = posterior.selection_mean[places]
            losses.append((whole - frozen) / constants.lost(problem.cells[end].depth))
    return max(SMALLEST_LOSS, float(np.mean(losses))) if losses else None


def _gains(problem: Problem, seen: Sequence[Evaluated], constants: Constants) -> Array:
    """Log odds gained after each share of the table of gaps, (m,).

    By the trials with nothing frozen that ended, but at least half of the mean of other data sets:
    a trial that gained nothing says little of another. Where none has ended, by other data sets.
    """
    shares, means, tasks = np.array(constants.gaps).T[:3]
    curves: dict[tuple[Candidate, int], list[tuple[float, float]]] = {}
    for one in seen:
        if problem.cells[one.cell].depth == 0:
            point = one.epoch / problem.epochs, log_odds(one.score)
            curves.setdefault((one.cell, one.seed), []).append(point)
    gained = [
        curve[-1][1] - np.interp(shares, *np.array(curve).T)
        for curve in curves.values()
        if curve[-1][0] == 1 and len(curve) > 1
    ]
    if not gained:
        return np.asarray(np.hypot(means, tasks), float)
    return np.asarray(np.maximum(np.mean(gained, axis=0), means / 2), float)


def _solved(
    problem: Problem, seen: Sequence[Evaluated], constants: Constants, loss: float
) -> Posterior:
    cells = tuple(problem.cells)
    lost = np.array([constants.lost(problem.cells[cell].depth) for cell in cells])
    prior_mean = -constants.slope * lost
    prior = _covariance(cells, lost, constants, loss)
    places = np.array([cells.index(one.cell) for one in seen], dtype=int)
    shares = np.array([one.epoch / problem.epochs for one in seen])
    values = np.array([log_odds(one.score) for one in seen])
    gains = _gains(problem, seen, constants)
    expected = prior_mean[places] - constants.gap(shares, gains)[0]
    within = prior[np.ix_(places, places)]
    within = within + _trial_covariance(seen, shares, gains, loss * lost[places], constants)
    weights = np.linalg.solve(within + 1e-10 * np.eye(len(seen)), prior[places])
    mean = prior_mean + (values - expected) @ weights
    covariance = prior - prior[:, places] @ weights
    offsets = constants.offset_task**2 + constants.offset_cell**2 * np.eye(len(cells))
    spread = math.hypot(constants.seed, constants.noise)
    return Posterior(cells, mean - constants.offset, covariance + offsets, mean, covariance, spread)


def at_boxes(constants: Constants, boxes: float) -> Constants:
    """Constants for images with another number of boxes than ``BOXES``."""
    factor = math.sqrt(BOXES / boxes)
    return dataclasses.replace(
        constants,
        noise=constants.noise * factor,
        offset_cell=constants.offset_cell * factor,
        gaps=tuple((*row[:4], row[4] * factor, row[5]) for row in constants.gaps),
    )


def _covariance(
    cells: Sequence[Candidate], lost: Array, constants: Constants, loss: float
) -> Array:
    """Prior covariance of cells, (n, n)."""
    start = _same([cell.init for cell in cells])
    rate = _same([cell.arm for cell in cells])
    slopes = constants.slope_task**2 + constants.slope_start**2 * start
    rest = 2 * constants.rest * loss * np.sqrt(lost * (1 - lost))
    result: Array = (
        LEVEL_SD**2
        + constants.start**2 * start
        + constants.rate**2 * rate
        + slopes * np.outer(lost, lost)
        + np.diag(rest**2)
    )
    return result


def _trial_covariance(
    seen: Sequence[Evaluated], shares: Array, gains: Array, lost: Array, constants: Constants
) -> Array:
    """What trials have beside their cells: seed, noise, gaps and drift, (n, n)."""
    seed = _same([one.seed for one in seen])
    start = _same([one.cell.arm for one in seen])
    trial = _same([(one.cell, one.seed) for one in seen])
    later = np.maximum.outer(shares, shares)
    found = constants.gap(later.ravel(), gains).reshape(5, *later.shape)
    _, of_task, of_start, of_trial, drift = found
    result: Array = (
        constants.seed**2 * seed
        + constants.noise**2 * trial
        + of_task**2
        + of_start**2 * start
        + of_trial**2 * trial
        + drift**2 * start * np.outer(lost, lost)
    )
    return result


def _same(values: Sequence[object]) -> Array:
    """1 where two of them are equal, else 0, (n, n)."""
    return np.array([[x == y for y in values] for x in values], dtype=float).reshape(
        len(values), len(values)
    )
