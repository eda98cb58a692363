"""A task of another kind, as somebody else would add it: how many objects are in an image.

It counts boxes above one score with whatever detector it is given; what it shares with detection
is how images are placed and how the detector is trained.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from frostline.datasets import DatasetIndex
from frostline.members import TASKS, member
from frostline.records import PartRecord, SplitDetails
from frostline.scores import Declaration, Score
from frostline.tasks import Measured, Placed, Task

_ABOVE = 0.5


def _predict(model: Any, images: Placed, device: Any, batch_size: int) -> list[int]:
    found = member(TASKS, "detection", "task").predict(model, images, device, batch_size)
    return [int((boxes.scores >= _ABOVE).sum()) for boxes in found]


def _evaluate(
    index: DatasetIndex,
    found: Sequence[int],
    thresholds: Mapping[str, float] | None,
    asked: Collection[str],
) -> Measured:
    right = [count == len(image.boxes) for count, image in zip(found, index.images, strict=True)]
    near = [abs(n - len(image.boxes)) <= 1 for n, image in zip(found, index.images, strict=True)]
    scores = {"exact": _share(right), "near": _share(near)}
    groups = dict.fromkeys(image.group for image in index.images if image.group)
    parts = {
        group: PartRecord(
            scores={"exact": _share([r for r, x in zip(right, index.images, strict=True)
                                     if x.group == group])}
        )
        for group in groups
    }  # fmt: skip
    floor = max(_share([len(x.boxes) == n for x in index.images]) for n in range(20))
    return Measured(scores, SplitDetails(floor=floor, counts={"images": len(index)},
                                         by_group=parts))  # fmt: skip


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def _write(index: DatasetIndex, found: Sequence[int]) -> list[int]:
    return list(found)


def _task() -> Task:
    detection: Task = member(TASKS, "detection", "task")
    return Task(
        declares=Declaration(
            task="count",
            least_gain=-1.0,  # of a toy nothing is asked
            scores=(
                Score(
                    key="exact",
                    label="share counted right",
                    axis="share of images counted right",
                    meaning="In how many images the number of objects is right.",
                    ranks=True,
                    headline=True,
                    by_trial=True,
                    by_part=True,
                ),
                Score(key="near", label="off by one", axis="off by one at most", by_trial=True),
            ),
        ),
        build=detection.build,
        place=detection.place,
        remarks=lambda images: {},
        augment=detection.augment,
        loss=detection.loss,
        predict=_predict,
        evaluate=_evaluate,
        write=_write,
    )


TASK = _task()
