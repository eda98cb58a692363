"""A toy backbone, layer by layer."""

import json
import math

import numpy as np
import pytest

from frostline.depth import ConvLayer, LayerTable
from frostline.difference import Difference, NormTensors, difference, profile
from tests.difference.long_double import Array
from tests.difference.test_norms import norm

TABLE = LayerTable(
    "toy",
    (
        ConvLayer(1, "stem", "bn", "stem", "main", (4, 3, 3, 3)),
        ConvLayer(2, "squeeze", None, "layer1", "squeeze", (2, 4, 1, 1)),
    ),
)


def tensors(seed: int = 0) -> dict[str, Array]:
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


@pytest.mark.parametrize("side", [0, 1])
def test_a_batch_norm_that_one_side_lacks_is_not_compared_and_the_weight_is(side: int) -> None:
    both = tensors(0), tensors(1)
    for key in NormTensors._fields:
        del both[side][f"b.bn.{key}"]
    row = profile(*both, TABLE, prefix="b.", eps=1e-5)[0]
    assert (row.norm, row.folded) == (None, None)
    assert row.weight == difference(both[0]["b.stem.weight"], both[1]["b.stem.weight"])


def test_rows_are_json_safe() -> None:
    a, b = tensors(0), tensors(1)
    del b["b.stem.weight"]
    for row in profile(a, b, TABLE, prefix="b.", eps=1e-5):
        text = json.dumps(row.to_dict(), allow_nan=False)
        assert json.loads(text)["name"] in {"stem", "squeeze"}
    assert Difference(math.nan, math.inf, 0, 0, 0).to_dict()["signed_cosine"] is None


def test_batch_norms_of_both_sides_make_the_folded_weights_and_the_drift() -> None:
    """Folded by hand, in plain numpy, from each side's own BatchNorm."""
    before, after = tensors(0), tensors(1)
    rng = np.random.default_rng(5)
    for key in NormTensors._fields:
        after[f"b.bn.{key}"] = (after[f"b.bn.{key}"] * rng.uniform(0.5, 2, 4)).astype(np.float32)
    row = profile(before, after, TABLE, prefix="b.", eps=1e-3)[0]

    def folded(side: dict[str, Array]) -> Array:
        x = {n: v.astype(np.float64) for n, v in side.items()}
        scale = x["b.bn.weight"] / np.sqrt(x["b.bn.running_var"] + 1e-3)
        result: Array = x["b.stem.weight"] * scale[:, None, None, None]
        return result

    expected = difference(folded(before), folded(after))
    assert row.folded is not None
    assert row.folded.cosine == pytest.approx(expected.cosine, rel=1e-9)
    assert row.folded.relative_l2 == pytest.approx(expected.relative_l2, rel=1e-9)
    assert row.folded.norm_ratio == pytest.approx(expected.norm_ratio, rel=1e-9)
    gamma = [side["b.bn.weight"].astype(np.float64) for side in (before, after)]
    assert row.norm is not None
    moved = np.linalg.norm(gamma[1] - gamma[0]) / np.linalg.norm(gamma[0])
    assert row.norm.weight == pytest.approx(float(moved))
