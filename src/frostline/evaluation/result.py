"""Everything that is measured about one set of detections, in one result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.datasets import DatasetIndex
from frostline.evaluation.coco_ap import CocoScores, CocoTables, coco_tables
from frostline.evaluation.detections import Detections
from frostline.evaluation.wheat import WheatScore, WheatTables, wheat_tables
from frostline.notebook import table_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """COCO AP and the wheat metric of one set of detections.

    Attributes:
        coco: COCO's twelve numbers, overall, per class and per group.
        wheat: The wheat metric, overall, per class and per group; None where it was not measured.
        images: Images evaluated.
        boxes: Boxes to find, crowd regions not counted.
        detections: Detections given, before any threshold or limit.
    """

    coco: CocoTables
    wheat: WheatTables | None
    images: int
    boxes: int
    detections: int

    @property
    def ap(self) -> float:
        """COCO AP@[.50:.95] over all images and classes; NaN without boxes."""
        return self.coco.overall.ap

    @property
    def ap50(self) -> float:
        """COCO AP at IoU 0.50."""
        return self.coco.overall.ap50

    @property
    def ap75(self) -> float:
        """COCO AP at IoU 0.75."""
        return self.coco.overall.ap75

    @property
    def wheat_score(self) -> float:
        """The wheat metric over all images, at its threshold; NaN where it was not measured."""
        return math.nan if self.wheat is None else self.wheat.overall.score

    @property
    def max_dets(self) -> int:
        """Detections per image and class that COCO AP counts (the wheat metric counts all)."""
        return self.coco.max_dets

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: NaN becomes None."""
        coco, wheat = self.coco, self.wheat
        return {
            "images": self.images,
            "boxes": self.boxes,
            "detections": self.detections,
            "coco": {
                "max_dets": coco.max_dets,
                "beyond_max_dets": coco.beyond_max_dets,
                **_parts_to_dict(coco),
            },
            "wheat": None if wheat is None else _parts_to_dict(wheat),
        }

    def plot(self, ax: "Axes") -> None:
        """Draw COCO AP of each class, and of each group if there are any, on ``ax``."""
        parts = [*self.coco.per_class.items(), *self.coco.per_group.items()]
        places = range(len(parts))
        ax.barh(places, [part.ap for _, part in parts])
        ax.set_yticks(places, [name for name, _ in parts], parse_math=False)
        ax.invert_yaxis()
        ax.axvline(self.ap, color="0.4", linewidth=1)
        ax.set_xlim(0, 1)
        ax.set_xlabel("AP@[.50:.95]; the line is that of all")

    def _repr_html_(self) -> str:
        caption = f"{self.images} images, {self.boxes} boxes, {self.detections} detections"
        head = ("", "AP", "AP50", "AP75", *(() if self.wheat is None else ("wheat",)))
        wheat = _scores_of(self.wheat)
        rows = (
            (
                kind[-1],
                *map(_shown, (coco.ap, coco.ap50, coco.ap75)),
                *((_shown(wheat[kind].score),) if wheat else ()),
            )
            for kind, coco in _scores_of(self.coco).items()
        )
        return table_html(caption, head, rows)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Evaluation":
        """The inverse of ``to_dict``."""
        coco, wheat = data["coco"], data["wheat"]
        return cls(
            coco=CocoTables(
                **_parts_from_dict(coco, CocoScores),
                max_dets=coco["max_dets"],
                beyond_max_dets=coco["beyond_max_dets"],
            ),
            wheat=None if wheat is None else WheatTables(**_parts_from_dict(wheat, WheatScore)),
            images=data["images"],
            boxes=data["boxes"],
            detections=data["detections"],
        )


def evaluate(
    index: DatasetIndex,
    detections: Sequence[Detections],
    *,
    wheat_threshold: float | None = None,
    wheat: bool = True,
) -> Evaluation:
    """Measure detections against ground truth.

    Args:
        index: Ground truth.
        detections: One entry per image of ``index``, in its order, not thresholded (a score
            threshold of about 0.05 in the detector is usual and harmless for AP).
        wheat_threshold: Score threshold of the wheat metric in [0, 1], chosen on validation data
            (``best_threshold``). None: the best on these images, and the result says so.
        wheat: Whether to measure the wheat metric too.

    Raises:
        DatasetError: The index has no images, entries and images differ in number, a label has no
            class, or the threshold is not in [0, 1].
    """
    return Evaluation(
        coco=coco_tables(index, detections),
        wheat=wheat_tables(index, detections, wheat_threshold) if wheat else None,
        images=len(index.images),
        boxes=sum(int((~record.crowd).sum()) for record in index.images),
        detections=sum(len(found) for found in detections),
    )


def _scores_of(tables: CocoTables | WheatTables | None) -> dict[tuple[str, ...], Any]:
    """Scores by part: all, then each class, then each group."""
    if tables is None:
        return {}
    return {
        ("all",): tables.overall,
        **{("class", name): part for name, part in tables.per_class.items()},
        **{("group", name): part for name, part in tables.per_group.items()},
    }


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _parts_to_dict(tables: CocoTables | WheatTables) -> dict[str, Any]:
    return {
        "overall": tables.overall.to_dict(),
        "per_class": {name: part.to_dict() for name, part in tables.per_class.items()},
        "per_group": {name: part.to_dict() for name, part in tables.per_group.items()},
    }


def _parts_from_dict(
    data: Mapping[str, Any], score: type[CocoScores] | type[WheatScore]
) -> dict[str, Any]:
    return {
        "overall": score.from_dict(data["overall"]),
        "per_class": {name: score.from_dict(part) for name, part in data["per_class"].items()},
        "per_group": {name: score.from_dict(part) for name, part in data["per_group"].items()},
    }
