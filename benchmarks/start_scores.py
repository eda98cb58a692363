"""What rates a start without training it to the end: formulas, in numpy alone.

LogME, Spectrum's signal-to-noise ratio, and the two usual rules of a learning-rate range test.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

SKIPPED = 0.1  # of a range test's steps, at the beginning: a mean of few losses
KEPT = 0.9  # of the running mean of the loss, a step


def logme(features: Floats, targets: Floats) -> float:
    """LogME: log evidence of a Bayesian linear model an example, mean over targets.

    You et al. 2021 (arXiv 2102.11005): y ~ N(F w, 1 / beta) with w ~ N(0, 1 / alpha), at the alpha
    and beta that maximise the evidence. Written in the singular values of F, beta has a closed form
    for each alpha / beta, and one maximum over one number is left; the paper iterates instead.

    Args:
        features: (N, D).
        targets: (N, T): one column for each class, 1 or 0, or numbers to regress on.
    """
    u, s, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    squares = s**2
    found = []
    for y in targets.astype(np.float64).T:
        inside = (u.T @ y) ** 2
        outside = max(0.0, y @ y - inside.sum())
        found.append(_log_evidence(squares, inside, outside, len(y)))
    return float(np.mean(found))


def _log_evidence(squares: Floats, inside: Floats, outside: float, count: int) -> float:
    """Of one target: an example's, at the best ratio alpha / beta."""

    def at(log_ratio: Floats) -> Floats:
        shrunk = 1 / (1 + squares / np.exp(log_ratio)[:, None])  # (ratios, singular values)
        total = np.maximum(shrunk @ inside + outside, np.finfo(float).tiny)
        normal = -count / 2 * (np.log(2 * np.pi * total / count) + 1)
        return np.asarray((normal + np.log(shrunk).sum(axis=1) / 2) / count)

    top = np.log(squares.max())
    return _highest(at, top - 20, top + 20)


def _highest(function: Callable[[Floats], Floats], low: float, high: float) -> float:
    """Maximum on an interval, by grids each finer than the last."""
    while True:
        grid = np.linspace(low, high, 201)
        values = function(grid)
        best, step = int(values.argmax()), grid[1] - grid[0]
        if step < 1e-4:
            return float(values[best])
        low, high = grid[best] - step, grid[best] + step


def one_hot(labels: npt.NDArray[np.integer]) -> Floats:
    """(N,) labels as (N, classes that occur)."""
    return np.asarray(labels[:, None] == np.unique(labels)[None], dtype=np.float64)


def signal_to_noise(weight: Floats) -> float:
    """Spectrum (arXiv 2406.06623): sum of singular values above the noise edge over those below.

    The edge is that of Marchenko and Pastur for the size of the matrix. The noise's scale is taken
    from the median singular value (Gavish and Donoho 2014). Spectrum itself takes it from their
    interquartile range, which is right for no shape: of 52 convolutions 19 to 28 then have no
    noise at all, and no ratio.

    Args:
        weight: of a convolution, output channels first.
    """
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    values = np.linalg.svd(matrix, compute_uv=False)
    aspect = min(matrix.shape) / max(matrix.shape)
    edge = np.median(values) / noise_median(aspect) * (1 + np.sqrt(aspect))
    return float(values[values > edge].sum() / values[values <= edge].sum())


def noise_median(aspect: float) -> float:
    """Median singular value of noise, in units of sigma * sqrt(longer side).

    Args:
        aspect: shorter side over longer, in (0, 1].

    >>> round(noise_median(1.0), 3)  # of the quarter circle law
    0.808
    """
    low, high = 1 - np.sqrt(aspect), 1 + np.sqrt(aspect)
    edges = np.linspace(low, high, 20001)
    middle = (edges[1:] + edges[:-1]) / 2
    density = np.sqrt((high**2 - middle**2) * (middle**2 - low**2)) / middle
    below = np.cumsum(density)
    return float(middle[np.searchsorted(below, below[-1] / 2)])


# A range test


def smoothed(losses: Floats) -> Floats:
    """Running mean, with the weight of what is not there yet taken out."""
    total, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        total = KEPT * total + (1 - KEPT) * float(loss)
        found.append(total / (1 - KEPT**step))
    return np.array(found)


def steepest(rates: Floats, losses: Floats) -> float:
    """The rate at which the smoothed loss falls fastest, over the logarithm of the rate.

    Of the steps up to its minimum, without the first tenth.
    """
    mean, first = smoothed(losses), int(SKIPPED * len(losses))
    lowest = first + int(mean[first:].argmin())
    slope = np.gradient(mean, np.log(rates))
    return float(rates[first + int(slope[first : lowest + 1].argmin())])


def tenth_of_lowest(rates: Floats, losses: Floats) -> float:
    """A tenth of the rate at which the smoothed loss is lowest."""
    first = int(SKIPPED * len(losses))
    return float(rates[first + int(smoothed(losses)[first:].argmin())]) / 10
