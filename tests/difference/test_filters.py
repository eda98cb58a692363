"""The spread over a layer's filters."""

import numpy as np
import pytest

from frostline.difference import FilterQuantiles, difference
from tests.difference.long_double import Array, moved, needs_long_double, reference


def filters_of(u: Array, v: Array) -> FilterQuantiles:
    found = difference(u, v).filters
    assert found is not None
    return found


@needs_long_double
@pytest.mark.parametrize("ratio", [1.0, 1.3, -1.3])
def test_filters_agree_with_long_double(ratio: float) -> None:
    rng = np.random.default_rng(2)
    for exponent in (-12, -8, -4, -1):
        u, v = moved(rng, (16, 8, 3, 3), np.float32, 10.0**exponent, ratio)
        filters = filters_of(u, v)
        truth = np.quantile(
            [reference(a, b) for a, b in zip(u, v, strict=True)], [0, 0.25, 0.5, 0.75, 1]
        )
        got = [filters.minimum, filters.lower_quartile, filters.median]
        got += [filters.upper_quartile, filters.maximum]
        np.testing.assert_allclose(got, truth, rtol=1e-11)
        assert filters.undefined == 0


def test_dead_filters_are_counted_not_averaged() -> None:
    u = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    v = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    filters = filters_of(u, v)
    assert filters.undefined == 1
    assert filters.maximum == 0.0
