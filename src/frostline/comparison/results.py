"""What a comparison of weight files found: two files, several steps, or several seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from frostline.comparison.rows import LayerFloor, TensorDifference
from frostline.comparison.selection import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from frostline.comparison.drawing import Drawing

__all__ = ["Comparison", "NoiseFloor", "Result", "Trajectory"]

_ABSENT = "no counterpart"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two weight files, tensor by tensor.

    Attributes:
        before: name of the first file; its path as given where both have the same name.
        after: that of the second.
        rows: one for each compared pair, in ``order``.
        kind: which tensors were compared.
        architecture: the recognised backbone, or None.
        order: ``forward`` (as a forward pass meets them) or ``file`` (as the first file has them).
        eps: added to variances for the folded difference; None where nothing was folded.
        only_before: tensors of the first file without counterpart, of any kind.
        only_after: tensors of the second file without counterpart, of any kind.
        matched: how each pair was found: ``same``, ``wrapper``, ``framework``, ``suffix``, ``map``,
            ``order`` -> number of pairs.
        confidence: of the pairs by order and shape, from 0 to 1; below 0.8 there are none. None
            where names were enough.
        missing: those of ``only_before`` that would have been compared, being of the kind and
            fitting the patterns.
        sections: for each file the part that was compared, and the other parts with tensors; of
            ``model`` and ``ema`` in one file the first is taken unless ``section`` says otherwise.
        left_out: for each file the tensors whose values cannot be read (sparse, quantized, without
            values, of another library's class) -> why.
        looks_different: the two seem to be different networks: what matches is less than half of
            the smaller file, and no whole known backbone.
    """

    before: str
    after: str
    rows: tuple[TensorDifference, ...]
    kind: Kind
    architecture: str | None
    order: Literal["forward", "file"]
    eps: float | None
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    matched: Mapping[str, int] = field(default_factory=dict)
    confidence: float | None = None
    missing: tuple[str, ...] = ()
    sections: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    left_out: tuple[Mapping[str, str], Mapping[str, str]] = field(default_factory=lambda: ({}, {}))
    looks_different: bool = False

    @property
    def heading(self) -> str:
        """One line that says what was compared."""
        return f"{self.before} against {self.after}"

    @property
    def largest(self) -> float:
        """Largest 1 - |cos| of all rows that have one; NaN if none has."""
        known = [row.cosine for row in self.rows if not math.isnan(row.cosine)]
        return max(known, default=math.nan)

    @property
    def incomparable(self) -> tuple[TensorDifference, ...]:
        """Rows without a number."""
        return tuple(row for row in self.rows if math.isnan(row.cosine))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "kind": self.kind,
            "architecture": self.architecture,
            "order": self.order,
            "eps": self.eps,
            "matched": dict(self.matched),
            "confidence": self.confidence,
            "sections": [list(parts) for parts in self.sections],
            "left_out": [dict(names) for names in self.left_out],
            "looks_different": self.looks_different,
            "missing": list(self.missing),
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "rows": [row.to_dict() for row in self.rows],
        }

    def plot(self, ax: "Axes") -> None:
        """Draw 1 - |cos| against the layer on ``ax`` (logarithmic; 0 at the lower edge)."""
        self.drawing().draw(ax)

    def drawing(self) -> "Drawing":
        """What its figure shows."""
        from frostline.comparison.drawing import lines_drawing

        return lines_drawing([(self.after, self.rows)])

    def _repr_html_(self) -> str:
        from frostline.comparison.tables import comparison_table

        return comparison_table(self.heading, self.rows)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One file, and each of several later ones compared with it.

    Attributes:
        base: name of the first file.
        steps: the comparisons of the base with each later file, in the order given.
    """

    base: str
    steps: tuple[Comparison, ...]

    @property
    def heading(self) -> str:
        """One line that says what was compared."""
        return f"{self.base}: {len(self.steps)} steps away"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: a row for each tensor with its 1 - |cos| at every step.

        ``only_before`` and ``only_after`` have a list for each step, and so has what a row lists.
        """
        values = [{row.name: row.to_dict() for row in step.rows} for step in self.steps]
        names = list(dict.fromkeys(row.name for step in self.steps for row in step.rows))
        first = {name: next(v[name] for v in values if name in v) for name in names}
        return {
            "base": self.base,
            "steps": [step.after for step in self.steps],
            "kind": self.steps[0].kind,
            "architecture": self.steps[0].architecture,
            "order": self.steps[0].order,
            "looks_different": [step.looks_different for step in self.steps],
            "only_before": [list(step.only_before) for step in self.steps],
            "only_after": [list(step.only_after) for step in self.steps],
            "rows": [
                {
                    **{
                        key: first[name][key] for key in ("index", "name", "stage", "role", "shape")
                    },
                    **{
                        key: [v[name][key] if name in v else None for v in values]
                        for key in ("cosine", "angle", "relative_l2", "norm_ratio", "precision")
                    },
                    "note": [v[name]["note"] if name in v else _ABSENT for v in values],
                }
                for name in names
            ],
        }

    def plot(self, ax: "Axes") -> None:
        """Draw 1 - |cos| against the layer on ``ax``, one line for each step."""
        self.drawing().draw(ax)

    def drawing(self) -> "Drawing":
        """What its figure shows."""
        from frostline.comparison.drawing import lines_drawing

        return lines_drawing([(step.after, step.rows) for step in self.steps])

    def _repr_html_(self) -> str:
        from frostline.comparison.tables import trajectory_table

        lines = [(step.after, step.rows) for step in self.steps]
        return trajectory_table(f"{self.base}, 1 - |cos|", lines)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Which layers several seeds of one training moved together.

    Attributes:
        base: name of the file they all began from.
        seeds: names of the files they ended with.
        control: name of the control run's file, or None.
        factor: c.
        rows: one for each compared tensor.
        architecture: the recognised backbone, or None.
        order: ``forward`` or ``file``.
        looks_different: some file seems to hold another network than the base.
    """

    base: str
    seeds: tuple[str, ...]
    control: str | None
    factor: float
    rows: tuple[LayerFloor, ...]
    architecture: str | None
    order: str
    looks_different: bool = False

    @property
    def heading(self) -> str:
        """One line that says what was compared."""
        return f"{self.base}: what {len(self.seeds)} seeds moved"

    @property
    def moved(self) -> tuple[LayerFloor, ...]:
        """The rows whose common change stands out of the noise."""
        return tuple(row for row in self.rows if row.moved)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "base": self.base,
            "seeds": list(self.seeds),
            "control": self.control,
            "factor": self.factor,
            "architecture": self.architecture,
            "order": self.order,
            "looks_different": self.looks_different,
            "rows": [row.to_dict() for row in self.rows],
        }

    def plot(self, ax: "Axes") -> None:
        """Draw signal, c x floor and the control's angle against the layer on ``ax``."""
        self.drawing().draw(ax)

    def drawing(self) -> "Drawing":
        """What its figure shows."""
        from frostline.comparison.drawing import floor_drawing

        return floor_drawing(self.rows, self.factor)

    def _repr_html_(self) -> str:
        from frostline.comparison.tables import floor_table

        return floor_table(self.heading, self.rows)


Result = Comparison | Trajectory | NoiseFloor
