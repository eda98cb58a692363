"""What a task tells about itself."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from frostline.config import AugmentConfig, ModelConfig
from frostline.datasets import DatasetIndex
from frostline.records import SplitDetails
from frostline.scores import Declaration
from frostline.tasks.canvas import Canvas

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Measured", "Placed", "Task"]


class Placed(Protocol):
    """The images of one split on the study's canvas, with their targets.

    ``placed[i]`` is the i-th sample: the task's own class, with ``image`` uint8 (3, H, W) and the
    ``name`` of its file.
    """

    dataset: DatasetIndex
    canvas: Canvas

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Any: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The scores of one split.

    Attributes:
        scores: by key; None for a quantity that is absent, as of a class without objects.
        details: the task's own part.
    """

    scores: Mapping[str, float | None]
    details: SplitDetails


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, as functions and facts. The module that holds one imports no torch.

    What was found in the images of a split is a sequence of the task's own class, one for each
    image; ``predict`` makes it, ``evaluate`` and ``write`` take it.

    Attributes:
        declares: its name, its scores, and what is told of them.
        build: model configuration, number of classes, seed -> model.
        place: index, canvas -> the images on the canvas, with targets.
        remarks: placed images -> what placing them found, by kind.
        augment: sample, switches -> sample, drawing from torch's global generator.
        loss: model in train mode, samples, device -> named losses.
        predict: model, images, device, batch size -> what was found in each image.
        evaluate: index, what was found, thresholds that were chosen on other images (None chooses
            them on these), names of ``data.metrics`` to measure -> scores.
        write: index, what was found -> plain values for ``detections.json``.
        show_from: index, what was found -> the score from which to show it; None has no scores.
    """

    declares: Declaration
    build: "Callable[[ModelConfig, int, int], nn.Module]"
    place: Callable[[DatasetIndex, Canvas], Placed]
    remarks: Callable[[Placed], dict[str, int]]
    augment: Callable[[Any, AugmentConfig], Any]
    loss: "Callable[[nn.Module, Sequence[Any], torch.device], dict[str, Tensor]]"
    predict: "Callable[[nn.Module, Placed, torch.device, int], Sequence[Any]]"
    evaluate: Callable[
        [DatasetIndex, Sequence[Any], Mapping[str, float] | None, Collection[str]], Measured
    ]
    write: Callable[[DatasetIndex, Sequence[Any]], Any]
    show_from: Callable[[DatasetIndex, Sequence[Any]], float | None] | None = None

    @property
    def name(self) -> str:
        """As in ``study.yaml``."""
        return self.declares.task
