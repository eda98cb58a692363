"""The folded weight gamma / sqrt(var + eps) * W, what the network really applies."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from frostline.difference.norms import NormTensors
from frostline.difference.results import Difference, not_comparable
from frostline.difference.sums import Block, Blocks, Floats, Sums, sum_blocks
from frostline.difference.tensors import measure

__all__ = ["Fold", "fold_of", "folded_difference"]


class Fold(NamedTuple):
    """Factor gamma / sqrt(var + eps) of each filter before and after, and their difference."""

    before: Floats
    after: Floats
    change: Floats


def fold_of(before: NormTensors, after: NormTensors, eps: float) -> Fold:
    """The factors by which a BatchNorm scales the filters before it.

    Args:
        before: its tensors.
        after: the same after training.
        eps: added to the variance; part of the model, not of the file.
    """
    with np.errstate(all="ignore"):
        g, h = (n.weight.astype(np.float64) for n in (before, after))
        x, y = (n.running_var.astype(np.float64) for n in (before, after))
        p, q = np.sqrt(x + eps), np.sqrt(y + eps)
        # h/q - g/p without cancellation: gamma's change, then that of sigma
        change = (h - g) / q + g * ((x - y) / (p + q)) / (p * q)
        return Fold(g / p, h / q, change)


def folded_difference(
    blocks: Blocks, rows: int, fold: Fold, *, filters: bool
) -> tuple[Difference, Difference]:
    """The difference of a weight, and of the weight scaled row by row as its BatchNorm does.

    Both come from one pass: with row factors a before and b after,
    D' = b^2 D + b (b - a) (s - D) + (b - a)^2 |u|^2 and s' = b^2 s + (b - a)(b + a) |u|^2.

    Args:
        blocks: as in :func:`difference_of_blocks`.
        rows: number of filters.
        fold: the factors, each of shape (rows,).
        filters: whether to give the spread over filters (the same for both: a positive factor
            turns no filter).
    """
    sums = sum_blocks(blocks, rows)
    plain = measure(blocks, sums, filters=filters)
    if math.isnan(plain.cosine) or not np.isfinite(fold.after + fold.before).all():
        return plain, not_comparable("a BatchNorm factor or a weight is zero or not finite")

    def scaled() -> Iterator[Block]:
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            yield top, fold.before[part, None] * u, fold.after[part, None] * v

    folded = _fold_sums(sums, fold)
    if folded is None:  # the scaling undid what the weight did: no digits left, so sum it afresh
        folded = sum_blocks(scaled, rows)
    result = measure(scaled, folded, filters=False)
    return plain, replace(result, filters=plain.filters)


def _fold_sums(sums: Sums, fold: Fold) -> Sums | None:
    """Sums of the scaled rows; None where they would be what is left of a cancellation."""
    a, b, c = fold.before, fold.after, fold.change
    terms = b * b * sums.dd, b * c * (sums.s - sums.dd), c * c * sums.uu
    dd = np.maximum(terms[0] + terms[1] + terms[2], 0.0)
    uu, vv = a * a * sums.uu, b * b * sums.vv
    pp = 2 * (uu + vv) - dd
    magnitude = sum(float(np.abs(term).sum()) for term in terms)
    if dd.sum() < magnitude / 100 or pp.sum() < dd.sum():
        return None
    return Sums(dd, pp, b * b * sums.s + c * (a + b) * sums.uu, uu, vv)
