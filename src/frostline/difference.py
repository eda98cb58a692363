"""Algorithm 1 and its relatives: how much a layer's weights changed, in numerics that hold.

With u the weights before, v after and d = v - u, everything comes from three float64 sums over the
elements: D = sum d^2, sum d u and sum u^2. Then s = |v|^2 - |u|^2 = 2 sum d u + D,
e = |v| - |u| = s / (|u| + |v|), and

    1 - |cos| = (D - e^2) / (2 |u| |v|)

which is exactly 0 for equal tensors and has no cancellation where little changed. For opposite
directions S = sum (v + u)^2 takes the place of D. Where e^2 takes more than half of D (the norm
changed more than the direction), a second pass brings u to the norm of v first. float32
``1 - cos`` would be noise: for 12.8 million elements its error is 1e-3, where a layer that hardly
moved has 1e-8.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from frostline.depth import ConvLayer, LayerTable

__all__ = [
    "Block",
    "Difference",
    "FilterQuantiles",
    "Fold",
    "LayerDifference",
    "NormDrift",
    "NormTensors",
    "difference",
    "difference_of_blocks",
    "fold_of",
    "folded_difference",
    "norm_drift",
    "norm_tensors",
    "not_comparable",
    "profile",
]

Floats = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]
#: First row, first column, and the same part of both tensors as rows of float64 (or float32).
Block = tuple[int, AnyArray, AnyArray]
Blocks = Callable[[], Iterable[Block]]

_CHUNK: Final = 1 << 15  # elements at a time: two float64 buffers stay within a 1 MiB L2
_EXTREME: Final = 1e3  # ratio of squared norms beyond which they are summed on their own
_OPPOSITE: Final = 0.25  # S/D below which S is summed on its own
_HAS_VECDOT: Final = hasattr(np, "vecdot")  # from numpy 2.0 on
_FEW: Final = 32  # columns below which einsum beats a dot product for each row
_TINY, _HUGE = 1e-200, 1e200  # squared norms outside are computed again with scaled values


@dataclass(frozen=True, slots=True)
class FilterQuantiles:
    """Spread of 1 - |cos| over the filters (output channels) of one layer.

    Filters that are zero on one side only have no cosine: ``undefined`` counts them, and the
    quantiles leave them out (NaN where none is left).
    """

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    undefined: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a tensor moved.

    Attributes:
        cosine: 1 - |cos|, from 0 (same direction, or its opposite) to 1 (orthogonal).
        signed_cosine: cos, from -1 to 1.
        angle: angle between the two in degrees, from 0 to 180.
        relative_l2: |after - before| / |before|.
        norm_ratio: |after| / |before|.
        filters: spread of ``cosine`` over the first axis; None for vectors and scalars.
        note: why numbers are NaN, or that they rest on a convention; "" otherwise.
    """

    cosine: float
    signed_cosine: float
    angle: float
    relative_l2: float
    norm_ratio: float
    filters: FilterQuantiles | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return _plain(self)


class NormTensors(NamedTuple):
    """A BatchNorm's tensors, each float, shape (channels,)."""

    weight: AnyArray
    bias: AnyArray
    running_mean: AnyArray
    running_var: AnyArray


@dataclass(frozen=True, slots=True)
class NormDrift:
    """How far a BatchNorm moved. The first two are learned, the others follow the data.

    Attributes:
        weight: |gamma' - gamma| / |gamma|.
        bias: |beta' - beta| / |gamma|, the shift in units of the outputs' spread.
        running_mean: root mean square over channels of (mu' - mu) / sigma, sigma from before.
        running_var: root mean square over channels of ln(sigma' / sigma).
    """

    weight: float
    bias: float
    running_mean: float
    running_var: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """How far one convolution of a backbone moved.

    Attributes:
        index: position in forward order, from 1.
        name: module name inside the backbone.
        stage: its stage.
        role: ``main``, ``projection`` or ``squeeze``.
        shape: of the weight before; of the table where the file lacks it.
        weight: difference of the convolution's weight.
        folded: difference of gamma / sqrt(var + eps) * weight, what the network really applies;
            None without a BatchNorm or where eps is not known.
        norm: drift of its BatchNorm; None without one.
        note: why the layer is not comparable; "" otherwise.
    """

    index: int
    name: str
    stage: str
    role: str
    shape: tuple[int, ...]
    weight: Difference
    folded: Difference | None = None
    norm: NormDrift | None = None
    note: str = ""

    @property
    def cosine(self) -> float:
        """1 - |cos| of the weight (Algorithm 1)."""
        return self.weight.cosine

    @property
    def signed_cosine(self) -> float:
        """Cosine of the weight before and after."""
        return self.weight.signed_cosine

    @property
    def angle(self) -> float:
        """Angle of the weight before and after, in degrees."""
        return self.weight.angle

    @property
    def relative_l2(self) -> float:
        """|after - before| / |before| of the weight."""
        return self.weight.relative_l2

    @property
    def norm_ratio(self) -> float:
        """|after| / |before| of the weight."""
        return self.weight.norm_ratio

    def to_dict(self) -> dict[str, Any]:
        """One flat level of plain values for JSON and tables; what is not finite is None."""
        row = {key: getattr(self, key) for key in ("index", "name", "stage", "role")}
        row["shape"] = list(self.shape)
        row |= self.weight.to_dict()
        row["folded"] = self.folded.to_dict() if self.folded else None
        row["norm"] = self.norm.to_dict() if self.norm else None
        row["note"] = self.note or self.weight.note
        return row


def _plain(result: Any) -> dict[str, Any]:
    return {name: _json(getattr(result, name)) for name in result.__dataclass_fields__}


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(value) if hasattr(value, "__dataclass_fields__") else value


def not_comparable(why: str) -> Difference:
    """A difference without numbers, and the reason."""
    nan = math.nan
    return Difference(nan, nan, nan, nan, nan, None, f"not comparable: {why}")


# One tensor


def difference(before: AnyArray, after: AnyArray) -> Difference:
    """How far a tensor moved, in float64 whatever its type.

    Args:
        before: real numbers of any shape; for per-filter quantiles the filters are axis 0.
        after: the same shape; another shape gives a "not comparable" result, not an error.

    Returns:
        The measures. Both norms zero: 0, and ``note`` says so. One norm zero, or a value that is
        not finite: NaN, and ``note`` says which.

    Example:
        >>> import numpy as np
        >>> round(difference(np.array([1.0, 0.0]), np.array([1.0, 1.0])).angle, 9)
        45.0
    """
    if before.shape != after.shape:
        return not_comparable(f"shape {list(before.shape)} against {list(after.shape)}")
    if before.dtype.kind not in "fiub" or after.dtype.kind not in "fiub":
        return not_comparable(f"type {before.dtype} against {after.dtype}")
    rows = before.shape[0] if before.ndim > 1 else 1
    if before.size == 0:
        return not_comparable("it has no elements")
    u, v = before.reshape(rows, -1), after.reshape(rows, -1)
    return difference_of_blocks(lambda: _array_blocks(u, v), rows, filters=before.ndim > 1)


def _array_blocks(u: AnyArray, v: AnyArray) -> Iterator[Block]:
    """Both matrices, shape (rows, columns), in float64 pieces of some 16,000 elements."""
    rows, columns = u.shape
    height = max(1, _CHUNK // columns)
    for top in range(0, rows, height):
        for left in range(0, columns, _CHUNK):
            part = slice(top, top + height), slice(left, left + _CHUNK)
            yield top, u[part].astype(np.float64), v[part].astype(np.float64)


def difference_of_blocks(blocks: Blocks, rows: int, *, filters: bool) -> Difference:
    """The same as :func:`difference` for tensors that come in pieces.

    Args:
        blocks: each call gives all pieces again: (first row, before, after), both of shape
            (rows here, columns here) in float64, or float32 for faster, coarser sums; they may be
            overwritten. Called once, and again where the norm changed more than the direction.
        rows: number of rows (filters) in all; 1 for a vector.
        filters: whether to give the spread over rows.
    """
    return _measure(blocks, _sum_blocks(blocks, rows), filters=filters)


def folded_difference(
    blocks: Blocks, rows: int, fold: "Fold", *, filters: bool
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
    sums = _sum_blocks(blocks, rows)
    plain = _measure(blocks, sums, filters=filters)
    if math.isnan(plain.cosine) or not np.isfinite(fold.after + fold.before).all():
        return plain, not_comparable("a BatchNorm factor or a weight is zero or not finite")

    def scaled() -> Iterator[Block]:
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            yield top, fold.before[part, None] * u, fold.after[part, None] * v

    folded = _fold_sums(sums, fold)
    if folded is None:  # the scaling undid what the weight did: no digits left, so sum it afresh
        folded = _sum_blocks(scaled, rows)
    result = _measure(scaled, folded, filters=False)
    return plain, replace(result, filters=plain.filters)


class _Sums:
    """Sums over the elements of each row, float64 of shape (rows,)."""

    __slots__ = ("dd", "pp", "s", "uu", "vv")

    def __init__(self, dd: Floats, pp: Floats, s: Floats, uu: Floats, vv: Floats) -> None:
        self.dd = dd  # (after - before)^2
        self.pp = pp  # (after + before)^2
        self.s = s  # after^2 - before^2
        self.uu = uu  # before^2
        self.vv = vv  # after^2

    def total(self) -> "_Sums":
        """The same over all rows, shape (1,)."""
        if len(self.dd) == 1:
            return self
        return _Sums(*(x.sum(keepdims=True) for x in (self.dd, self.pp, self.s, self.uu, self.vv)))


def _row_dots(x: AnyArray, y: AnyArray) -> AnyArray:
    """Dot product of each row of two (rows, columns) matrices."""
    if x.shape[1] < _FEW or not _HAS_VECDOT:
        return np.einsum("ij,ij->i", x, y)  # type: ignore[no-any-return]
    return np.vecdot(x, y)  # type: ignore[no-any-return]


def _sum_blocks(blocks: Blocks, rows: int) -> _Sums:
    dd, du, uu = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    with np.errstate(over="ignore", invalid="ignore"):  # _measure looks at the sums
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            d = np.subtract(v, u, out=v)
            dd[part] += _row_dots(d, d)
            du[part] += _row_dots(d, u)
            uu[part] += _row_dots(u, u)
        s = 2 * du + dd
        vv = np.maximum(uu + s, 0.0)
        sums = _Sums(dd, np.maximum(2 * (uu + vv) - dd, 0.0), s, uu, vv)
        extreme = np.minimum(uu, vv) < np.maximum(uu, vv) / _EXTREME
        opposite = sums.pp < _OPPOSITE * dd
    if extreme.any() or opposite.any():  # a sum is lost in the rounding of a larger one
        return _sum_all(blocks, rows)
    return sums


def _sum_all(blocks: Blocks, rows: int) -> _Sums:
    """The same sums, each on its own."""
    sums = _Sums(*(np.zeros(rows) for _ in range(5)))
    with np.errstate(over="ignore", invalid="ignore"):
        for top, u, v in blocks():
            part = slice(top, top + len(u))
            sums.uu[part] += _row_dots(u, u)
            sums.vv[part] += _row_dots(v, v)
            d = v - u
            p = np.add(v, u, out=v)
            sums.dd[part] += _row_dots(d, d)
            sums.pp[part] += _row_dots(p, p)
            sums.s[part] += _row_dots(d, p)
    return sums


def _measure(blocks: Blocks, sums: _Sums, *, filters: bool) -> Difference:
    total = sums.total()
    if not _in_range(total):
        scale = _power_of_two(blocks)
        if scale is None:
            return _undefined("a value is not finite")
        if scale != 1.0:
            return _measure_scaled(blocks, len(sums.dd), scale, filters=filters)
    each = _quantiles(_one_minus_cosine(blocks, sums)) if filters else None
    return _finish(total, _whole(blocks, total), each)


def _whole(blocks: Blocks, total: _Sums) -> float:
    """1 - |cos| of all rows together; arithmetic on plain floats where one pass is enough."""
    u, v = math.sqrt(total.uu[0]), math.sqrt(total.vv[0])
    if u and v:
        low, e = min(float(total.dd[0]), float(total.pp[0])), float(total.s[0]) / (u + v)
        if e * e <= low / 2:
            return min(max((low - e * e) / (2 * u * v), 0.0), 1.0)
    return float(_one_minus_cosine(blocks, total)[0])


def _in_range(total: _Sums) -> bool:
    largest = float(total.dd[0] + total.pp[0])
    return _TINY < largest < _HUGE


def _power_of_two(blocks: Blocks) -> float | None:
    """A power of two that brings the largest value near 1: 1 if all are 0, None if not finite."""
    largest = 0.0
    for _, u, v in blocks():
        if not (np.isfinite(u).all() and np.isfinite(v).all()):
            return None
        largest = max(largest, float(np.abs(u).max()), float(np.abs(v).max()))
    return math.ldexp(1.0, -max(-1000, min(1000, math.frexp(largest)[1]))) if largest else 1.0


def _measure_scaled(blocks: Blocks, rows: int, scale: float, *, filters: bool) -> Difference:
    def scaled() -> Iterator[Block]:
        for top, u, v in blocks():
            yield top, u * scale, v * scale

    sums = _sum_blocks(scaled, rows)
    total = sums.total()
    each = _quantiles(_one_minus_cosine(scaled, sums)) if filters else None
    return _finish(total, _whole(scaled, total), each)


def _one_minus_cosine(blocks: Blocks, sums: _Sums) -> Floats:
    """1 - |cos| of each row, or of the whole where ``sums`` has one entry; NaN if one is zero."""
    u, v = np.sqrt(sums.uu), np.sqrt(sums.vv)
    low = np.minimum(sums.dd, sums.pp)
    with np.errstate(divide="ignore", invalid="ignore"):
        e = sums.s / (u + v)
        result: Floats = (low - e * e) / (2 * u * v)
        turn_is_lost = (e * e > low / 2) & (low > 0) & (u > 0) & (v > 0)
    result[(u == 0) != (v == 0)] = np.nan
    result[(u == 0) & (v == 0)] = 0.0
    if turn_is_lost.any():
        ratio = np.where(sums.dd <= sums.pp, 1.0, -1.0) * v / np.where(u > 0, u, 1.0)
        refined = _after_scaling(blocks, ratio, turn_is_lost, v)
        result[turn_is_lost] = refined[turn_is_lost]
    return np.minimum(np.maximum(result, 0.0), 1.0)


def _after_scaling(blocks: Blocks, ratio: Floats, wanted: AnyArray, v_norm: Floats) -> Floats:
    """1 - cos with u brought to the norm of v first: w = ratio u, d = v - w.

    Args:
        blocks: the pieces.
        ratio: factor for each row, or one for the whole, shape (rows,) or (1,).
        wanted: rows to compute, bool of the same shape; the others stay 0.
        v_norm: |v| of the same shape.
    """
    dd, s = np.zeros_like(ratio), np.zeros_like(ratio)
    for top, u, v in blocks():
        rows = np.arange(len(u))
        if len(ratio) == 1:
            into = np.zeros_like(rows)
        else:
            rows = rows[wanted[top : top + len(u)]]
            into = rows + top
        r = ratio[into, None]
        d, w = _exact_difference(u[rows].astype(np.float64), v[rows].astype(np.float64), r)
        np.add.at(dd, into, _row_dots(d, d))
        np.add.at(s, into, _row_dots(d, w))
    with np.errstate(divide="ignore", invalid="ignore"):
        e = s / (2 * v_norm)  # |v| - |w|; |v| + |w| is 2 |v| up to rounding of the ratio
        result: Floats = (dd - e * e) / (2 * v_norm * (v_norm - e))
    return result


def _exact_difference(u: Floats, v: Floats, r: Floats) -> tuple[Floats, Floats]:
    """(v - r u, v + r u), the first with a relative error of 1e-15 even where it nearly vanishes.

    The rounding of r u alone would be 1e-9 of a difference that small. Both factors are split
    into halves of 26 bits (Dekker 1971, section 4), whose leading product is exact.
    """
    u_high, u_low = _halves(u)
    r_high, r_low = _halves(r)
    d = v - u_high * r_high
    d -= u_high * r_low + u_low * r_high
    d -= u_low * r_low
    return d, v + u * r


def _halves(x: Floats) -> tuple[Floats, Floats]:
    stretched = x * 134217729.0  # 2^27 + 1
    high = stretched - (stretched - x)
    return high, x - high


def _finish(total: _Sums, cosine: float, filters: FilterQuantiles | None) -> Difference:
    u, v = math.sqrt(total.uu[0]), math.sqrt(total.vv[0])
    if u == 0 and v == 0:
        return Difference(0.0, 1.0, 0.0, 0.0, 1.0, filters, "both are zero")
    if u == 0:
        return _undefined("it was zero before")
    same = bool(total.dd[0] <= total.pp[0])
    angle = math.degrees(2 * math.asin(math.sqrt(cosine / 2))) if v else math.nan
    return Difference(
        cosine=cosine,
        signed_cosine=(1 - cosine) if same else (cosine - 1),
        angle=angle if same else 180.0 - angle,
        relative_l2=math.sqrt(total.dd[0]) / u,
        norm_ratio=v / u,
        filters=filters,
        note="" if v else "it is zero after",
    )


def _undefined(why: str) -> Difference:
    nan = math.nan
    return Difference(nan, nan, nan, nan, nan, None, why)


def _quantiles(values: Floats) -> FilterQuantiles:
    known = np.sort(values[np.isfinite(values)])
    undefined = int(values.size - known.size)
    if not known.size:
        return FilterQuantiles(math.nan, math.nan, math.nan, math.nan, math.nan, undefined)
    low, quarter, median, three, high = (_at(known, part) for part in (0, 0.25, 0.5, 0.75, 1))
    return FilterQuantiles(low, quarter, median, three, high, undefined)


def _at(ordered: Floats, part: float) -> float:
    """Linearly interpolated quantile (method 7 of Hyndman and Fan 1996; numpy's default)."""
    place = part * (ordered.size - 1)
    low = int(place)
    high = min(low + 1, ordered.size - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


# BatchNorm


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


def _fold_sums(sums: _Sums, fold: Fold) -> _Sums | None:
    """Sums of the scaled rows; None where they would be what is left of a cancellation."""
    a, b, c = fold.before, fold.after, fold.change
    terms = b * b * sums.dd, b * c * (sums.s - sums.dd), c * c * sums.uu
    dd = np.maximum(terms[0] + terms[1] + terms[2], 0.0)
    uu, vv = a * a * sums.uu, b * b * sums.vv
    pp = 2 * (uu + vv) - dd
    magnitude = sum(float(np.abs(term).sum()) for term in terms)
    if dd.sum() < magnitude / 100 or pp.sum() < dd.sum():
        return None
    return _Sums(dd, pp, b * b * sums.s + c * (a + b) * sums.uu, uu, vv)


def norm_drift(before: NormTensors, after: NormTensors, eps: float | None = None) -> NormDrift:
    """How far a BatchNorm's learned and measured tensors moved (see :class:`NormDrift`).

    Args:
        before: its tensors, each of shape (channels,).
        after: the same after training.
        eps: added to the variances where known, else 0.
    """
    b = [x.astype(np.float64) for x in _parts(before)]
    a = [x.astype(np.float64) for x in _parts(after)]
    with np.errstate(all="ignore"):
        gamma = math.sqrt(float((b[0] ** 2).sum()))
        variance, later = b[3] + (eps or 0.0), a[3] + (eps or 0.0)
        shift = np.where(a[2] == b[2], 0.0, (a[2] - b[2]) / np.sqrt(variance))
        spread = np.where(later == variance, 0.0, 0.5 * np.log(later / variance))
        return NormDrift(
            weight=_over(a[0] - b[0], gamma),
            bias=_over(a[1] - b[1], gamma),
            running_mean=float(np.sqrt((shift**2).mean())),
            running_var=float(np.sqrt((spread**2).mean())),
        )


def _parts(norm: NormTensors) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


def _over(change: Floats, norm: float) -> float:
    size = math.sqrt(float((change**2).sum()))
    if size == 0:
        return 0.0
    return size / norm if norm else math.nan


# A backbone


def profile(
    before: Mapping[str, AnyArray],
    after: Mapping[str, AnyArray],
    table: LayerTable,
    *,
    prefix: str = "backbone.body.",
    eps: float | None = None,
) -> tuple[LayerDifference, ...]:
    """Difference of every convolution of a backbone, in forward order.

    Args:
        before: tensors by name; at least the backbone's.
        after: the same after training.
        table: the backbone's convolutions.
        prefix: what precedes a layer's name in both.
        eps: of the BatchNorms, for the folded difference; None leaves that out.

    Returns:
        One result for each layer of the table. A layer that one side lacks, or has in another
        shape, is there with NaN and a note.
    """
    return tuple(_layer(before, after, layer, prefix, eps) for layer in table.layers)


def _layer(
    before: Mapping[str, AnyArray],
    after: Mapping[str, AnyArray],
    layer: ConvLayer,
    prefix: str,
    eps: float | None,
) -> LayerDifference:
    name = f"{prefix}{layer.name}.weight"
    u, v = before.get(name), after.get(name)
    if u is None or v is None:
        side = "before" if u is None else "after"
        return _row(layer, layer.shape, not_comparable(f"{name} is not in '{side}'"))
    norms = [norm_tensors(side, f"{prefix}{layer.norm}") for side in (before, after)]
    if layer.norm is None or norms[0] is None or norms[1] is None or not _same(norms, u, v):
        return _row(layer, u.shape, difference(u, v))
    drift = norm_drift(norms[0], norms[1], eps)
    if eps is None:
        return _row(layer, u.shape, difference(u, v), None, drift)
    x, y = u.reshape(len(u), -1), v.reshape(len(v), -1)
    fold = fold_of(norms[0], norms[1], eps)
    weight, folded = folded_difference(lambda: _array_blocks(x, y), len(u), fold, filters=True)
    return _row(layer, u.shape, weight, folded, drift)


def _row(
    layer: ConvLayer,
    shape: tuple[int, ...],
    weight: Difference,
    folded: Difference | None = None,
    norm: NormDrift | None = None,
) -> LayerDifference:
    note = weight.note
    return LayerDifference(
        layer.index, layer.name, layer.stage, layer.role, shape, weight, folded, norm, note
    )


def norm_tensors(tensors: Mapping[str, AnyArray], module: str) -> NormTensors | None:
    """A BatchNorm's tensors by its module name; None where one is missing."""
    parts = [tensors.get(f"{module}.{part}") for part in NormTensors._fields]
    return None if any(part is None for part in parts) else NormTensors(*parts)  # type: ignore[arg-type]


def _same(norms: "list[NormTensors | None]", u: AnyArray, v: AnyArray) -> bool:
    """Whether weight and BatchNorm fit each other on both sides."""
    sizes = {part.shape for norm in norms if norm for part in _parts(norm)}
    return u.shape == v.shape and u.ndim > 1 and sizes == {(len(u),)}
