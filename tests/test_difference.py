"""Algorithm 1 and its relatives against long double references, and the properties they promise."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostline.depth import ConvLayer, LayerTable
from frostline.difference import (
    Difference,
    NormTensors,
    difference,
    difference_of_blocks,
    fold_of,
    folded_difference,
    norm_drift,
    profile,
)

LONG = np.longdouble
needs_long_double = pytest.mark.skipif(
    np.finfo(LONG).nmant < 60, reason="this platform's long double is no better than double"
)


def reference(u: Any, v: Any) -> Any:
    """1 - |cos| by unit vectors in long double: |u/|u| - v/|v||^2 / 2."""
    u, v = u.astype(LONG).ravel(), v.astype(LONG).ravel()
    a, b = u / np.sqrt((u * u).sum()), v / np.sqrt((v * v).sum())
    sign = 1 if (a * b).sum() >= 0 else -1
    return float(((a - sign * b) ** 2).sum() / 2)


def moved(rng: Any, shape: Any, dtype: Any, target: Any, ratio: Any) -> Any:
    """A pair whose 1 - |cos| is about ``target`` and whose norms differ by ``ratio``."""
    u = rng.standard_normal(shape).astype(dtype)
    step = rng.standard_normal(shape) * math.sqrt(2 * target)
    return u, (ratio * (u.astype(np.float64) + step)).astype(dtype)


@needs_long_double
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (32, 3, 3, 3), (64, 64, 3, 3), (3, 17000)])
@pytest.mark.parametrize("ratio", [1.0, 1.0001, 30.0, 1e-3, -1.3])
def test_agrees_with_long_double(shape: Any, dtype: Any, ratio: Any) -> None:
    rng = np.random.default_rng(1)
    for exponent in (-14, -13, -10, -6, -2, 0):
        u, v = moved(rng, shape, dtype, 10.0**exponent, ratio)
        truth = reference(u, v)
        if truth >= 1e-14:
            assert difference(u, v).cosine == pytest.approx(truth, rel=1e-11)


@needs_long_double
@pytest.mark.parametrize("ratio", [1.0, 1.3, -1.3])
def test_filters_agree_with_long_double(ratio: Any) -> None:
    rng = np.random.default_rng(2)
    for exponent in (-12, -8, -4, -1):
        u, v = moved(rng, (16, 8, 3, 3), np.float32, 10.0**exponent, ratio)
        filters = difference(u, v).filters
        truth = np.quantile(
            [reference(a, b) for a, b in zip(u, v, strict=True)], [0, 0.25, 0.5, 0.75, 1]
        )
        got = [filters.minimum, filters.lower_quartile, filters.median]  # type: ignore[union-attr]
        got += [filters.upper_quartile, filters.maximum]  # type: ignore[union-attr]
        np.testing.assert_allclose(got, truth, rtol=1e-11)
        assert filters.undefined == 0  # type: ignore[union-attr]


def test_a_case_by_hand() -> None:
    d = difference(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
    assert d.cosine == pytest.approx(1 / 25, rel=1e-15)
    assert d.signed_cosine == pytest.approx(24 / 25)
    assert d.angle == pytest.approx(math.degrees(math.acos(24 / 25)))
    assert d.relative_l2 == pytest.approx(math.sqrt(2) / 5)
    assert d.norm_ratio == pytest.approx(1.0)


def test_opposite_direction_counts_as_none_and_shows_its_sign() -> None:
    u = np.random.default_rng(0).standard_normal((4, 5))
    d = difference(u, -u)
    assert (d.cosine, d.signed_cosine, d.angle, d.relative_l2) == (0.0, -1.0, 180.0, 2.0)


def test_pure_scaling_does_not_turn() -> None:
    u = np.random.default_rng(0).standard_normal((64, 32, 3, 3))
    d = difference(u, 1.01 * u)
    assert d.cosine < 1e-30
    assert d.norm_ratio == pytest.approx(1.01, rel=1e-14)
    assert d.relative_l2 == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-310, 1e-170, 1e170, 1e300])
def test_extreme_magnitudes(scale: Any) -> None:
    rng = np.random.default_rng(3)
    u, v = moved(rng, (5, 7), np.float64, 1e-3, 1.0)
    assert difference(u * scale, v * scale).cosine == pytest.approx(
        difference(u, v).cosine, rel=1e-5
    )


def test_zeros_and_what_is_not_finite() -> None:
    one, zero = np.ones((2, 3)), np.zeros((2, 3))
    both = difference(zero, zero)
    assert (both.cosine, both.angle, both.note) == (0.0, 0.0, "both are zero")
    gone = difference(one, zero)
    assert math.isnan(gone.cosine)
    assert (gone.relative_l2, gone.norm_ratio, gone.note) == (1.0, 0.0, "it is zero after")
    born = difference(zero, one)
    assert math.isnan(born.cosine)
    assert math.isnan(born.norm_ratio)
    assert born.note == "it was zero before"
    for bad in (math.nan, math.inf):
        broken = difference(one, np.array([[1.0, 1, 1], [1, bad, 1]]))
        assert math.isnan(broken.cosine)
        assert broken.note == "a value is not finite"


def test_dead_filters_are_counted_not_averaged() -> None:
    u = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    v = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    filters = difference(u, v).filters
    assert filters.undefined == 1  # type: ignore[union-attr]
    assert filters.maximum == 0.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape [2, 3] against [3, 2]"),
        (np.zeros(3, complex), np.zeros(3), "complex128"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no elements"),
    ],
)
def test_not_comparable_is_said_and_never_one(before: Any, after: Any, why: Any) -> None:
    d = difference(before, after)
    assert math.isnan(d.cosine)
    assert d.note.startswith("not comparable")
    assert why in d.note


def test_scalars_vectors_and_integers() -> None:
    assert difference(np.array(3), np.array(5)).cosine == 0.0
    assert difference(np.array(3), np.array(5)).relative_l2 == pytest.approx(2 / 3)
    assert difference(np.array([1, 2]), np.array([2, 1])).filters is None
    assert difference(np.array([True, False]), np.array([True, True])).angle == pytest.approx(45.0)


def test_unsigned_integers_do_not_wrap() -> None:
    assert difference(
        np.array([1, 2], np.uint8), np.array([2, 1], np.uint8)
    ).angle == pytest.approx(math.degrees(math.acos(0.8)))


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.floats(-100, 100, width=32),
)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_equal_tensors_give_exactly_zero(u: Any) -> None:
    d = difference(u, u.copy())
    assert (d.cosine, d.signed_cosine, d.angle, d.relative_l2, d.norm_ratio) == (0, 1, 0, 0, 1)
    if d.filters is not None:
        assert d.filters.maximum == 0.0


@given(arrays, st.integers(0, 2**32 - 1), st.floats(1e-6, 2))
@settings(max_examples=200, deadline=None)
def test_symmetric(u: Any, seed: Any, size: Any) -> None:
    v = u + np.random.default_rng(seed).standard_normal(u.shape) * size
    there, back = difference(u, v), difference(v, u)
    if math.isfinite(there.cosine) and math.isfinite(back.cosine):
        assert there.cosine == pytest.approx(back.cosine, rel=1e-9, abs=1e-18)
        assert there.norm_ratio * back.norm_ratio == pytest.approx(1.0)


@given(arrays)
@settings(max_examples=100, deadline=None)
def test_storage_type_does_not_matter_where_it_is_exact(u: Any) -> None:
    u = u.astype(np.float32)
    v = (u * np.float32(1.5)).astype(np.float32)
    assert difference(u, v) == difference(u.astype(np.float64), v.astype(np.float64)) or np.isnan(
        difference(u, v).cosine
    )


def test_pieces_of_any_size_give_the_same() -> Any:
    rng = np.random.default_rng(5)
    u, v = moved(rng, (12, 50), np.float64, 1e-6, 1.2)

    def blocks() -> Any:
        for top in range(0, 12, 5):
            for left in range(0, 50, 7):
                part = slice(top, top + 5), slice(left, left + 7)
                yield top, u[part].copy(), v[part].copy()

    whole, pieces = difference(u, v), difference_of_blocks(blocks, 12, filters=True)
    assert pieces.cosine == pytest.approx(whole.cosine, rel=1e-12)
    assert pieces.filters.median == pytest.approx(whole.filters.median, rel=1e-12)  # type: ignore[union-attr]


# BatchNorm


def norm(rng: Any, channels: Any, drift: Any = 0.0) -> Any:
    def near(value: Any) -> Any:
        return (value * (1 + drift * rng.standard_normal(channels))).astype(np.float32)

    return NormTensors(near(1.0), near(0.5), near(0.2), np.abs(near(0.8)))


@needs_long_double
@pytest.mark.parametrize("drift", [0.0, 1e-6, 1e-2])
@pytest.mark.parametrize("step", [0.0, 1e-7, 1e-3])
def test_folded_difference_agrees_with_long_double(drift: Any, step: Any) -> Any:
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

    def folded(weight: Any, n: Any) -> Any:
        scale = n.weight.astype(LONG) / np.sqrt(n.running_var.astype(LONG) + LONG(eps))
        return scale[:, None] * weight.astype(LONG)

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


# A backbone

TABLE = LayerTable(
    "toy",
    (
        ConvLayer(1, "stem", "bn", "stem", "main", (4, 3, 3, 3)),
        ConvLayer(2, "squeeze", None, "layer1", "squeeze", (2, 4, 1, 1)),
    ),
)


def tensors(seed: Any = 0) -> Any:
    rng = np.random.default_rng(seed)
    n = norm(rng, 4)
    return {
        "b.stem.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b.squeeze.weight": rng.standard_normal((2, 4, 1, 1)).astype(np.float32),
        **{f"b.bn.{key}": getattr(n, key) for key in NormTensors._fields},
    }


def test_profile_of_an_unchanged_backbone_is_exactly_zero() -> None:
    rows = profile(tensors(), tensors(), TABLE, prefix="b.", eps=1e-5)
    assert [row.index for row in rows] == [1, 2]
    assert [row.cosine for row in rows] == [0.0, 0.0]
    assert rows[0].folded.cosine == 0.0  # type: ignore[union-attr]
    assert rows[0].norm.running_var == 0.0  # type: ignore[union-attr]
    assert rows[1].folded is None
    assert rows[1].norm is None


def test_profile_without_eps_folds_nothing() -> None:
    rows = profile(tensors(), tensors(), TABLE, prefix="b.")
    assert rows[0].folded is None
    assert rows[0].norm is not None


def test_profile_equals_the_difference_of_each_weight() -> None:
    a, b = tensors(0), tensors(1)
    rows = profile(a, b, TABLE, prefix="b.", eps=1e-3)
    for row, name in zip(rows, ("b.stem.weight", "b.squeeze.weight"), strict=True):
        assert row.weight == difference(a[name], b[name])
        assert row.angle == row.weight.angle
        assert row.norm_ratio == row.weight.norm_ratio
        assert row.signed_cosine == row.weight.signed_cosine
        assert row.relative_l2 == row.weight.relative_l2


def test_profile_says_what_is_missing_or_has_another_shape() -> None:
    a, b = tensors(0), tensors(1)
    del b["b.stem.weight"]
    b["b.squeeze.weight"] = np.zeros((3, 4, 1, 1))
    rows = profile(a, b, TABLE, prefix="b.")
    assert "b.stem.weight is not in 'after'" in rows[0].note
    assert "shape" in rows[1].note
    assert all(math.isnan(row.cosine) for row in rows)


def test_rows_are_json_safe() -> None:
    a, b = tensors(0), tensors(1)
    del b["b.stem.weight"]
    for row in profile(a, b, TABLE, prefix="b.", eps=1e-5):
        text = json.dumps(row.to_dict(), allow_nan=False)
        assert json.loads(text)["name"] in {"stem", "squeeze"}
    assert Difference(math.nan, math.inf, 0, 0, 0).to_dict()["signed_cosine"] is None
