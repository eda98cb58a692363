"""Images with masks on the canvas, and what a network for segmentation does with them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from frostline.config import AugmentConfig
from frostline.datasets import Mask, mask_labels
from frostline.datasets.targets import IGNORED
from frostline.tasks.boxes import FILL, PlacedImages, float_image

__all__ = ["MaskSample", "PlacedMasks", "augment", "cross_entropy", "dice_loss", "loss", "predict"]

_EPS = 1e-7  # of the Dice loss, as segmentation-models-pytorch has it


@dataclasses.dataclass(frozen=True, slots=True)
class MaskSample:
    """One training image on the canvas.

    Attributes:
        image: uint8 (3, H, W) RGB.
        labels: uint8 (H, W), class of each pixel from 0, or ``IGNORED``.
        name: the image's file name, for error messages.
    """

    image: Tensor
    labels: Tensor
    name: str


class PlacedMasks(PlacedImages):
    """The images of an index on the canvas, with their masks.

    Masks are resized to the nearest pixel, never blended; what lies beside an image is ignored.
    """

    def __getitem__(self, i: int) -> MaskSample:  # type: ignore[override]
        return MaskSample(self.image(i), self._labels(i), self.dataset.images[i].file)

    def _labels(self, i: int) -> Tensor:
        record = self.dataset.images[i]
        assert isinstance(record.target, Mask), "read as masks"
        labels = torch.from_numpy(mask_labels(record.target))
        size = list(self.canvas.placed_size(record))
        nearest = InterpolationMode.NEAREST_EXACT
        small = v2.functional.resize(tv_tensors.Mask(labels[None]), size, interpolation=nearest)
        below, right = self.canvas.height - size[0], self.canvas.width - size[1]
        return F.pad(small.as_subclass(Tensor), [0, right, 0, below], value=IGNORED)[0]


def augment(sample: MaskSample, switches: AugmentConfig) -> MaskSample:
    """Flip, colour and scale jitter, in that order; the mask follows the image."""
    if not (switches.flip or switches.colour or switches.scale_jitter):
        return sample
    size = sample.image.shape[-2], sample.image.shape[-1]
    transform = v2.Compose(list(_transforms(switches, size)))
    image, labels = transform(tv_tensors.Image(sample.image), tv_tensors.Mask(sample.labels[None]))
    return MaskSample(image.as_subclass(Tensor), labels.as_subclass(Tensor)[0], sample.name)


def _transforms(switches: AugmentConfig, size: tuple[int, int]) -> Iterator[nn.Module]:
    if switches.flip:
        yield v2.RandomHorizontalFlip(0.5)
    if switches.colour:
        yield v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    if switches.scale_jitter:
        fill = {tv_tensors.Image: list(FILL), tv_tensors.Mask: IGNORED}
        yield v2.ScaleJitter(size, scale_range=(0.8, 1.25), antialias=True)
        yield v2.RandomCrop(size, pad_if_needed=True, fill=fill)


def loss(
    model: nn.Module, samples: Sequence[MaskSample], device: torch.device
) -> dict[str, Tensor]:
    """Cross-entropy over pixels and the Dice loss, each times its weight, in float32."""
    images = torch.stack([float_image(sample.image, device) for sample in samples])
    labels = torch.stack([sample.labels for sample in samples]).to(device).long()  # (N, H, W)
    logits = model(images).float()  # (N, C, H, W)
    weights: Mapping[str, float] = model.loss_weights  # type: ignore[assignment]
    losses = {"cross_entropy": cross_entropy, "dice": dice_loss}
    return {
        name: weights[name] * losses[name](logits, labels)
        for name in sorted(weights)
        if weights[name] > 0
    }


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over pixels that count; 0 where none does.

    Args:
        logits: float (N, C, H, W).
        labels: int64 (N, H, W), ``IGNORED`` where a pixel does not count.
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - Dice of the probabilities over the batch, and the mean over classes.

    A class that no pixel of the batch has adds nothing (Milletari et al. 2016; as
    segmentation-models-pytorch computes it).

    Args:
        logits: float (N, C, H, W).
        labels: int64 (N, H, W), ``IGNORED`` where a pixel does not count.
    """
    counted = labels != IGNORED
    found = logits.softmax(dim=1) * counted[:, None]
    truth = F.one_hot(labels * counted, logits.shape[1]).permute(0, 3, 1, 2) * counted[:, None]
    both = (found * truth).sum(dim=(0, 2, 3))  # (C,)
    sides = (found + truth).sum(dim=(0, 2, 3))
    there = truth.sum(dim=(0, 2, 3)) > 0
    return ((1 - 2 * both / sides.clamp(min=_EPS)) * there).mean()


@torch.no_grad()
def predict(
    model: nn.Module, images: PlacedMasks, device: torch.device, batch_size: int
) -> list[npt.NDArray[np.uint8]]:
    """Labels of every pixel at the size of the original images, uint8 (H, W), from 0.

    Logits are resized back (bilinear), in float32 whatever training used, and the largest wins.
    """
    model.eval()
    results: list[npt.NDArray[np.uint8]] = []
    for start in range(0, len(images), batch_size):
        numbers = range(start, min(start + batch_size, len(images)))
        logits = model(torch.stack([float_image(images.image(i), device) for i in numbers]))
        results += [_on_original(own, images, i) for i, own in zip(numbers, logits, strict=True)]
    return results


def _on_original(logits: Tensor, images: PlacedMasks, i: int) -> npt.NDArray[np.uint8]:
    """Undo the placement of logits (C, H, W): off the padding, and back to the image's size."""
    record = images.dataset.images[i]
    height, width = images.canvas.placed_size(record)
    own = logits[None, :, :height, :width].float()
    large = F.interpolate(own, (record.height, record.width), mode="bilinear", align_corners=False)
    found: npt.NDArray[np.uint8] = large[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    return found
