"""A backbone: the difference of every convolution, in forward order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frostline.depth import ConvLayer, LayerTable
from frostline.difference.folded import fold_of, folded_difference
from frostline.difference.norms import NormDrift, NormTensors, norm_drift, norm_tensors
from frostline.difference.results import Difference, not_comparable
from frostline.difference.sums import AnyArray, array_blocks
from frostline.difference.tensors import difference

__all__ = ["LayerDifference", "profile"]


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
    weight, folded = folded_difference(lambda: array_blocks(x, y), len(u), fold, filters=True)
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


def _same(norms: "list[NormTensors | None]", u: AnyArray, v: AnyArray) -> bool:
    """Whether weight and BatchNorm fit each other on both sides."""
    sizes = {part.shape for norm in norms if norm for part in norm}
    return u.shape == v.shape and u.ndim > 1 and sizes == {(len(u),)}
