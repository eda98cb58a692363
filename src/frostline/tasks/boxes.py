"""Images with boxes on the canvas, and what a detector does with them."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from frostline.config import AugmentConfig
from frostline.datasets import DatasetIndex
from frostline.evaluation import Detections
from frostline.tasks.canvas import Canvas

__all__ = ["FILL", "PlacedImages", "Sample", "augment", "float_image", "loss", "predict"]

FILL = (124, 116, 104)  # ImageNet's mean colour: near zero after normalisation
_CACHE_BYTES = 2**30
_SMALLEST_BOX = 2.0  # px on the canvas; what a crop leaves of a box below this is dropped


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One training image on the canvas.

    Attributes:
        image: uint8 (3, H, W) RGB.
        boxes: float32 (N, 4), ``xyxy`` in px of the canvas.
        labels: int64 (N,), 1-based.
        name: the image's file name, for error messages.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    name: str


class PlacedImages:
    """The images of an index, decoded, resized and placed top left on the canvas.

    Decoded images are kept in memory as uint8 up to 1 GiB a split; more are decoded each time.
    Crowd boxes are regions to ignore, not objects to learn, and are left out.
    """

    def __init__(self, index: DatasetIndex, canvas: Canvas) -> None:
        self.dataset = index
        self.canvas = canvas
        self._cache: dict[int, Tensor] = {}
        self._capacity = _CACHE_BYTES // (3 * canvas.height * canvas.width)

    def __len__(self) -> int:
        return len(self.dataset.images)

    def __getitem__(self, i: int) -> Sample:
        record = self.dataset.images[i]
        keep = ~record.crowd
        boxes = torch.from_numpy(record.boxes[keep] * np.tile(self.scale(i), 2))
        labels = torch.from_numpy(record.labels[keep].copy())
        return Sample(self.image(i), boxes.float().reshape(-1, 4), labels, record.file)

    def tiny_boxes(self) -> int:
        """How many boxes are narrower or lower than 2 px on the canvas: too small to be learned."""
        sides = [
            (record.boxes[:, 2:] - record.boxes[:, :2]) * self.scale(i)
            for i, record in enumerate(self.dataset.images)
        ]
        return int(sum((side < _SMALLEST_BOX).any(axis=1).sum() for side in sides))

    def scale(self, i: int) -> tuple[float, float]:
        """Factors from original to canvas pixels, along x and along y."""
        record = self.dataset.images[i]
        height, width = self.canvas.placed_size(record)
        return width / record.width, height / record.height

    def image(self, i: int) -> Tensor:
        """The i-th image on the canvas, uint8 (3, H, W)."""
        if i in self._cache:
            return self._cache[i]
        record = self.dataset.images[i]
        pixels = torch.from_numpy(self.dataset.load(record).copy()).permute(2, 0, 1)
        height, width = self.canvas.placed_size(record)
        small = v2.functional.resize(pixels, [height, width], antialias=True)
        padding = [0, 0, self.canvas.width - width, self.canvas.height - height]
        placed: Tensor = v2.functional.pad(small, padding, fill=list(FILL)).contiguous()
        if len(self._cache) < self._capacity:
            self._cache[i] = placed
        return placed


def augment(sample: Sample, switches: AugmentConfig) -> Sample:
    """Flip, colour and scale jitter, in that order; boxes follow the image."""
    if not (switches.flip or switches.colour or switches.scale_jitter):
        return sample
    size = sample.image.shape[-2], sample.image.shape[-1]
    target = {
        "boxes": tv_tensors.BoundingBoxes(sample.boxes, format="XYXY", canvas_size=size),
        "labels": sample.labels,
    }
    transform = v2.Compose(list(_transforms(switches, size)))
    image, target = transform(tv_tensors.Image(sample.image), target)
    boxes = target["boxes"].as_subclass(Tensor)
    return Sample(image.as_subclass(Tensor), boxes, target["labels"], sample.name)


def _transforms(switches: AugmentConfig, size: tuple[int, int]) -> Iterator[nn.Module]:
    if switches.flip:
        yield v2.RandomHorizontalFlip(0.5)
    if switches.colour:
        yield v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    if switches.scale_jitter:
        yield v2.ScaleJitter(size, scale_range=(0.8, 1.25), antialias=True)
        yield v2.RandomCrop(size, pad_if_needed=True, fill=list(FILL))
        yield v2.ClampBoundingBoxes()
        yield v2.SanitizeBoundingBoxes(min_size=_SMALLEST_BOX)


def loss(model: nn.Module, samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
    """The model's own losses by name, in training mode."""
    images = [float_image(sample.image, device) for sample in samples]
    targets = [
        {"boxes": sample.boxes.to(device), "labels": sample.labels.to(device)} for sample in samples
    ]
    losses: dict[str, Tensor] = model(images, targets)
    return losses


@torch.no_grad()
def predict(
    model: nn.Module, images: PlacedImages, device: torch.device, batch_size: int
) -> list[Detections]:
    """Detections in pixels of the original images, in float32 whatever training used."""
    model.eval()
    results: list[Detections] = []
    for start in range(0, len(images), batch_size):
        numbers = range(start, min(start + batch_size, len(images)))
        outputs = model([float_image(images[i].image, device) for i in numbers])
        results += [
            _on_original(output, images, i) for i, output in zip(numbers, outputs, strict=True)
        ]
    return results


def _on_original(output: dict[str, Tensor], images: PlacedImages, i: int) -> Detections:
    """Undo the placement: clip to the image's own area, drop what lay on the padding."""
    record = images.dataset.images[i]
    boxes = output["boxes"].cpu().double().numpy() / np.tile(images.scale(i), 2)
    boxes = boxes.clip(0, np.tile([record.width, record.height], 2))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    scores = output["scores"].cpu().double().numpy()
    labels = output["labels"].cpu().numpy()
    return Detections(boxes[kept], scores[kept], labels[kept])


def float_image(image: Tensor, device: torch.device) -> Tensor:
    """A uint8 image on the device, float32 in [0, 1]."""
    return image.to(device, non_blocking=True).float().div_(255)
