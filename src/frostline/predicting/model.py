"""Using trained weights: a file of them as a model, and what it finds in images.

Images go the way that they go when a trial is scored: resized, placed on the study's canvas, and
back, so the same images give the same detections.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from frostline.architectures import architecture_of
from frostline.datasets import DatasetIndex, ImageRecord
from frostline.datasets.findings import shown
from frostline.errors import CheckpointError, DatasetError
from frostline.evaluation import Detections
from frostline.predicting.images import NO_BOXES
from frostline.records import FILES
from frostline.tasks import common_canvas, task_named
from frostline.tasks.boxes import PlacedImages
from frostline.tasks.canvas import Canvas
from frostline.tasks.task import Placed
from frostline.weights_header import WeightsHeader, read_weights_header

__all__ = ["LoadedModel", "load", "predict_images"]

_CHANNELS = 3


class LoadedModel(nn.Module):
    """A trained model with all that it needs to be used.

    Attributes:
        network: torchvision's detector, or segmentation-models-pytorch's network, as it was
            trained: it takes images on the study's canvas, and is what to train on.
        header: what the file says: task, classes, sizes, threshold.
    """

    def __init__(self, network: nn.Module, header: WeightsHeader) -> None:
        super().__init__()
        self.network = network
        self.header = header

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; label n of a box is the nth, from 1; that of a pixel counts from 0."""
        return self.header.classes

    @property
    def threshold(self) -> float | None:
        """The score from which boxes are shown, see ``WeightsHeader``; None for masks."""
        return None if self.header.task != "detection" else self.header.shown_from

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """What is in images of any size, as torchvision's detectors tell it.

        Args:
            images: float (3, H, W) RGB in [0, 1], or uint8 (3, H, W).

        Returns:
            For each image, on the device of the model, of boxes all that were kept when the trial
            was scored: ``boxes`` float32 (N, 4), ``xyxy`` in px of the image, ``labels`` int64 (N,)
            from 1, ``scores`` float32 (N,), the best first. For masks ``labels``, uint8 (H, W), the
            class of each pixel from 0.

        Raises:
            DatasetError: the model is in train mode, or an image is none of the above.
        """
        if self.training:
            raise DatasetError(
                "expected the model in eval mode: model.eval(); to train, take model.network"
            )
        device = next(self.network.parameters()).device
        pixels = {f"images[{n}]": _pixels(image, n) for n, image in enumerate(images)}
        records = [ImageRecord(n, p.shape[1], p.shape[0], NO_BOXES) for n, p in pixels.items()]
        if not records:
            return []
        index = _InMemory(Path(), self.classes, tuple(records), pixels=pixels)
        return [_tensors(one, device) for one in predict_images(self, index)]


@dataclasses.dataclass(frozen=True, eq=False)
class _InMemory(DatasetIndex):
    """Images that are there already."""

    pixels: Mapping[str, npt.NDArray[np.uint8]] = dataclasses.field(default_factory=dict)

    def load(self, image: ImageRecord) -> npt.NDArray[np.uint8]:
        return self.pixels[image.file]


def _pixels(image: Tensor, n: int) -> npt.NDArray[np.uint8]:
    """An image as uint8 (H, W, 3); what was uint8 / 255 comes back exactly."""
    whole = isinstance(image, Tensor) and image.ndim == _CHANNELS and image.shape[0] == _CHANNELS
    if not whole or not image.numel():
        came = f"{tuple(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
        raise DatasetError(f"images[{n}]: expected a tensor (3, H, W) in RGB, got {came}")
    if image.dtype != torch.uint8:
        if not image.is_floating_point() or not 0 <= float(image.min()) <= float(image.max()) <= 1:
            raise DatasetError(
                f"images[{n}]: expected uint8, or floats from 0 to 1, got {image.dtype} from "
                f"{image.min():.4g} to {image.max():.4g}; divide by 255"
            )
        image = (image * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).contiguous().cpu().numpy()


def _tensors(found: Any, device: torch.device) -> dict[str, Tensor]:
    if not isinstance(found, Detections):
        return {"labels": torch.from_numpy(found).to(device)}
    return {
        "boxes": torch.from_numpy(found.boxes.copy()).float().to(device),
        "labels": torch.from_numpy(found.labels.copy()).to(device),
        "scores": torch.from_numpy(found.scores.copy()).float().to(device),
    }


def load(path: Path | str, *, device: torch.device | str = "cpu") -> LoadedModel:
    """Trained weights as a model, in eval mode; nothing of the study is needed.

    Args:
        path: ``weights.safetensors`` of a trial, wherever it lies now, or the trial's folder.
            Nothing in it is executed.
        device: where the model goes.

    Raises:
        CheckpointError: no such file, or no weights that our loop wrote.
        DependencyError: the package that has the architecture is not installed.
    """
    path = Path(path)
    path = path / FILES.weights if path.is_dir() else path
    header = read_weights_header(path)
    network = task_named(header.task).build(header.model, len(header.classes), 0)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path.name}: {shown(error)}; copy it again") from None
    _fill(network, tensors, path.name)
    architecture_of(header.model).set_pixels(network, header.pixels)
    network = network.to(device).to(memory_format=torch.channels_last)  # as it was scored
    return LoadedModel(network, header).eval()


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    state = network.state_dict()
    wrong = sorted(state.keys() ^ tensors.keys())
    wrong = wrong or [n for n, tensor in state.items() if tensor.shape != tensors[n].shape]
    if wrong:
        raise CheckpointError(
            f"{name}: expected the tensors of the model that its header names, {len(wrong)} "
            f"differ, such as {wrong[0]}; it was changed after training, or is of another version"
        )
    network.load_state_dict(tensors)


def predict_images(
    model: LoadedModel, index: DatasetIndex, on_batch: Callable[[int], None] = lambda images: None
) -> list[Any]:
    """What a model finds in the images of an index, in their order.

    Images are placed on the canvas of the model's study; those that are larger on it, as upright
    ones where all were lying, on one that holds them.

    Args:
        model: in eval mode.
        index: images; what they are annotated with is not looked at.
        on_batch: called with the number of images after some were seen.

    Returns:
        As the task's ``predict``: `Detections` with boxes in px of the image, or labels.

    Raises:
        DatasetError: an image cannot be decoded.
    """
    task, header = task_named(model.header.task), model.header
    device = next(model.network.parameters()).device
    found: dict[str, Any] = {}
    for placed in _placed(index, header):
        for start in range(0, len(placed), header.batch_size):
            batch = placed.dataset.images[start : start + header.batch_size]
            part: Placed = PlacedImages(
                dataclasses.replace(placed.dataset, images=batch), placed.canvas
            )
            results = task.predict(model.network, part, device, header.batch_size)
            found |= zip((image.file for image in batch), results, strict=True)
            on_batch(len(batch))
    return [found[image.file] for image in index]


def _placed(index: DatasetIndex, header: WeightsHeader) -> list[PlacedImages]:
    size = header.model.image_size
    if header.canvas is None:
        return [PlacedImages(index, common_canvas([index], size))]
    canvas = Canvas(*header.canvas, size)
    fits = {
        image.file: all(
            a <= b for a, b in zip(canvas.placed_size(image), header.canvas, strict=True)
        )
        for image in index
    }
    parts = []
    for fit in (True, False):
        images = tuple(image for image in index if fits[image.file] == fit)
        if images:
            part = dataclasses.replace(index, images=images, findings=())
            parts.append(PlacedImages(part, canvas if fit else common_canvas([part], size)))
    return parts
