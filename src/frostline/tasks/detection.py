"""Detection: boxes of objects, scored by COCO's AP and, where it is asked for, the wheat metric."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.config import AugmentConfig, ModelConfig
from frostline.datasets import DatasetIndex
from frostline.detection_scores import DETECTION_SCORES, scores_and_details
from frostline.evaluation import Detections, evaluate, to_coco_results
from frostline.records import SplitDetails
from frostline.tasks.canvas import Canvas
from frostline.tasks.task import Measured, Placed, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from frostline.tasks.boxes import PlacedImages, Sample

__all__ = ["TASK"]


def _build(config: ModelConfig, num_classes: int, seed: int) -> "nn.Module":
    from frostline.architectures.building import build_model

    return build_model(config, num_classes, seed=seed)


def _place(index: DatasetIndex, canvas: Canvas) -> "PlacedImages":
    from frostline.tasks.boxes import PlacedImages

    return PlacedImages(index, canvas)


def _remarks(images: Placed) -> dict[str, int]:
    tiny = images.tiny_boxes()  # type: ignore[attr-defined]  # they are this task's own
    return {"box-under-2-px-on-canvas": tiny} if tiny else {}


def _augment(sample: "Sample", switches: AugmentConfig) -> "Sample":
    from frostline.tasks.boxes import augment

    return augment(sample, switches)


def _loss(
    model: "nn.Module", samples: "Sequence[Sample]", device: "torch.device"
) -> "dict[str, Tensor]":
    from frostline.tasks.boxes import loss

    return loss(model, samples, device)


def _predict(
    model: "nn.Module", images: Any, device: "torch.device", batch_size: int
) -> list[Detections]:
    from frostline.tasks.boxes import predict

    return predict(model, images, device, batch_size)


def _evaluate(
    index: DatasetIndex,
    found: Sequence[Detections],
    thresholds: Mapping[str, float] | None,
    asked: Collection[str],
) -> Measured:
    threshold = (thresholds or {}).get("wheat")
    result = evaluate(index, found, wheat_threshold=threshold, wheat="wheat" in asked)
    scores, details = scores_and_details(result.to_dict())
    return Measured(scores, SplitDetails.model_validate(details))


TASK = Task(
    declares=DETECTION_SCORES,
    build=_build,
    place=_place,
    remarks=_remarks,
    augment=_augment,
    loss=_loss,
    predict=_predict,
    evaluate=_evaluate,
    write=to_coco_results,
)
