"""One tensor against another: long double references, and the properties that are promised."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostline.difference import difference, difference_of_blocks
from frostline.difference.sums import Block
from tests.difference.long_double import Array, moved, needs_long_double, reference


@needs_long_double
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (32, 3, 3, 3), (64, 64, 3, 3), (3, 17000)])
@pytest.mark.parametrize("ratio", [1.0, 1.0001, 30.0, 1e-3, -1.3])
def test_agrees_with_long_double(shape: tuple[int, ...], dtype: type, ratio: float) -> None:
    rng = np.random.default_rng(1)
    for exponent in (-14, -13, -10, -6, -2, 0):
        u, v = moved(rng, shape, dtype, 10.0**exponent, ratio)
        truth = reference(u, v)
        if truth >= 1e-14:
            assert difference(u, v).cosine == pytest.approx(truth, rel=1e-11)


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
def test_extreme_magnitudes(scale: float) -> None:
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


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape [2, 3] against [3, 2]"),
        (np.zeros(3, complex), np.zeros(3), "complex128"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no elements"),
    ],
)
def test_not_comparable_is_said_and_never_one(before: Array, after: Array, why: str) -> None:
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
def test_equal_tensors_give_exactly_zero(u: Array) -> None:
    d = difference(u, u.copy())
    assert (d.cosine, d.signed_cosine, d.angle, d.relative_l2, d.norm_ratio) == (0, 1, 0, 0, 1)
    if d.filters is not None:
        assert d.filters.maximum == 0.0


@given(arrays, st.integers(0, 2**32 - 1), st.floats(1e-6, 2))
@settings(max_examples=200, deadline=None)
def test_symmetric(u: Array, seed: int, size: float) -> None:
    v = u + np.random.default_rng(seed).standard_normal(u.shape) * size
    there, back = difference(u, v), difference(v, u)
    if math.isfinite(there.cosine) and math.isfinite(back.cosine):
        assert there.cosine == pytest.approx(back.cosine, rel=1e-9, abs=1e-18)
        assert there.norm_ratio * back.norm_ratio == pytest.approx(1.0)


@given(arrays)
@settings(max_examples=100, deadline=None)
def test_storage_type_does_not_matter_where_it_is_exact(u: Array) -> None:
    u = u.astype(np.float32)
    v = (u * np.float32(1.5)).astype(np.float32)
    exact = difference(u.astype(np.float64), v.astype(np.float64))
    assert difference(u, v).to_dict() == exact.to_dict()  # None in place of NaN


def test_pieces_of_any_size_give_the_same() -> None:
    rng = np.random.default_rng(5)
    u, v = moved(rng, (12, 50), np.float64, 1e-6, 1.2)

    def blocks() -> Iterator[Block]:
        for top in range(0, 12, 5):
            for left in range(0, 50, 7):
                part = slice(top, top + 5), slice(left, left + 7)
                yield top, u[part].copy(), v[part].copy()

    whole, pieces = difference(u, v), difference_of_blocks(blocks, 12, filters=True)
    assert pieces.cosine == pytest.approx(whole.cosine, rel=1e-12)
    assert pieces.filters.median == pytest.approx(whole.filters.median, rel=1e-12)  # type: ignore[union-attr]
