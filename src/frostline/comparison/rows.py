"""A row of a comparison: one tensor and how far it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frostline.checkpoints.streaming import Precision
from frostline.difference import Difference, NormDrift
from frostline.difference.results import json_fields

__all__ = ["LayerFloor", "Lines", "TensorDifference"]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How far one tensor moved.

    Attributes:
        name: in the first file.
        other: in the second file.
        shape: in the first file.
        dtype: storage type; ``float32 -> bfloat16`` where the two differ.
        difference: the measures.
        index: position of its convolution in forward order, from 1; None outside the backbone.
        stage: stage of the backbone; "" outside.
        role: ``main``, ``projection`` or ``squeeze``; "" outside.
        folded: difference of the weight with its BatchNorm folded in; None where not known.
        norm: drift of its BatchNorm; None where not known.
        precision: type of the sums: ``float64``, or ``float32`` within pieces (16-bit storage).
    """

    name: str
    other: str
    shape: tuple[int, ...]
    dtype: str
    difference: Difference
    index: int | None = None
    stage: str = ""
    role: str = ""
    folded: Difference | None = None
    norm: NormDrift | None = None
    precision: Precision = "float64"

    @property
    def cosine(self) -> float:
        """1 - |cos| (Algorithm 1)."""
        return self.difference.cosine

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return {
            "index": self.index,
            "name": self.name,
            "other": self.other,
            "stage": self.stage,
            "role": self.role,
            "shape": list(self.shape),
            "dtype": self.dtype,
            **self.difference.to_dict(),
            "folded": self.folded.to_dict() if self.folded else None,
            "norm": self.norm.to_dict() if self.norm else None,
            "precision": self.precision,
        }


@dataclass(frozen=True, slots=True)
class LayerFloor:
    """Signal and noise of one tensor; angles in degrees.

    Attributes:
        name: in the base file.
        index: position of its convolution in forward order, from 1; None outside the backbone.
        stage: stage of the backbone; "" outside.
        shape: its sizes.
        signal: angle between the base and the mean over seeds.
        floor: what that angle would be without any common change.
        agreement: mean cosine between the updates of two seeds, from -1 to 1; NaN where a seed
            did not move it at all.
        cosine: mean over seeds of 1 - |cos| against the base.
        threshold: t in units of 1 - |cos|: 1 - cos(c x floor); the layer moved when 1 - |cos| of
            the mean exceeds it.
        moved: whether signal > c x floor.
        control: angle between the base and the control run; None without one.
        note: why numbers are NaN; "" otherwise.
    """

    name: str
    index: int | None
    stage: str
    shape: tuple[int, ...]
    signal: float
    floor: float
    agreement: float
    cosine: float
    threshold: float
    moved: bool
    control: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        return json_fields(self) | {"shape": list(self.shape)}


Lines = Sequence[tuple[str, Sequence[TensorDifference]]]  # a label and its rows, for each file
