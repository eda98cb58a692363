"""BatchNorm: drift by hand, and the folded weight against long double."""

import math

import numpy as np
import pytest

from frostline.difference import (
    NormTensors,
    difference,
    fold_of,
    folded_difference,
    norm_drift,
)
from tests.difference.long_double import LONG, Array, needs_long_double, reference


def norm(rng: np.random.Generator, channels: int, drift: float = 0.0) -> NormTensors:
    def near(value: float) -> Array:
        return (value * (1 + drift * rng.standard_normal(channels))).astype(np.float32)

    return NormTensors(near(1.0), near(0.5), near(0.2), np.abs(near(0.8)))


@needs_long_double
@pytest.mark.parametrize("drift", [0.0, 1e-6, 1e-2])
@pytest.mark.parametrize("step", [0.0, 1e-7, 1e-3])
def test_folded_difference_agrees_with_long_double(drift: float, step: float) -> None:
    rng = np.random.default_rng(7)
    u = rng.standard_normal((16, 9)).astype(np.float32)
    v = (u + step * rng.standard_normal(u.shape)).astype(np.float32)
    before = norm(rng, 16)
    after = NormTensors(
        *(
            (x * (1 + drift * rng.standard_normal(16))).astype(np.float32)
            for x in (before.weight, before.bias, before.running_mean, before.running_var)
        )
    )
    eps = 1e-5

    def folded(weight: Array, n: NormTensors) -> Array:
        scale = n.weight.astype(LONG) / np.sqrt(n.running_var.astype(LONG) + LONG(eps))
        result: Array = scale[:, None] * weight.astype(LONG)
        return result

    truth = reference(folded(u, before), folded(v, after))
    plain, got = folded_difference(
        lambda: [(0, u.astype(np.float64), v.astype(np.float64))],
        16,
        fold_of(before, after, eps),
        filters=True,
    )
    assert got.cosine == pytest.approx(truth, rel=1e-9, abs=1e-25)
    assert plain == difference(u, v)


@needs_long_double
def test_folding_that_undoes_the_weight_is_summed_afresh() -> None:
    """Weights doubled and BatchNorm's variance with them: the network does what it did."""
    rng = np.random.default_rng(8)
    u = rng.standard_normal((16, 27))
    v = 2 * u
    before = norm(rng, 16)
    after = NormTensors(before.weight / 2, before.bias, before.running_mean, before.running_var)
    plain, folded = folded_difference(
        lambda: [(0, u.copy(), v.copy())], 16, fold_of(before, after, 1e-5), filters=True
    )
    assert plain.relative_l2 == pytest.approx(1.0)
    assert folded.relative_l2 < 1e-15
    assert folded.cosine < 1e-30


def test_a_negative_variance_makes_folding_not_comparable() -> None:
    rng = np.random.default_rng(9)
    u = rng.standard_normal((4, 9))
    good = norm(rng, 4)
    bad = NormTensors(good.weight, good.bias, good.running_mean, -good.running_var)
    _, folded = folded_difference(
        lambda: [(0, u.copy(), u.copy())], 4, fold_of(good, bad, 1e-5), filters=True
    )
    assert folded.note.startswith("not comparable")


def test_norm_drift_by_hand() -> None:
    before = NormTensors(
        np.array([3.0, 4.0]), np.array([0.0, 0.0]), np.zeros(2), np.array([4.0, 4.0])
    )
    after = NormTensors(
        np.array([3.0, 5.0]), np.array([0.5, 0.0]), np.array([2.0, 0.0]), np.array([4.0, 16.0])
    )
    drift = norm_drift(before, after)
    assert drift.weight == pytest.approx(1 / 5)
    assert drift.bias == pytest.approx(0.5 / 5)
    assert drift.running_mean == pytest.approx(math.sqrt(1 / 2))
    assert drift.running_var == pytest.approx(math.log(2) / math.sqrt(2))
    assert norm_drift(before, before).to_dict() == dict.fromkeys(drift.to_dict(), 0.0)
