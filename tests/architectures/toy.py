"""A detector of two convolutions, as somebody else would add an architecture: this file alone.

The body marks each eighth pixel; the head says for every mark how far the sides of a box are away,
and how likely each class is there.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frostline.architectures import Architecture
from frostline.architectures.draws import he_normal, small_normal
from frostline.backbones import KnownBackbone, Tap
from frostline.config import IMAGENET, ModelConfig, Normalisation
from frostline.depth import ConvLayer, LayerTable

STRIDE, CHANNELS, KEPT = 8, 6, 5


class Body(nn.Module):
    """Names of tensors: ``far.*`` and ``norm.*``."""

    def __init__(self) -> None:
        super().__init__()
        self.far = nn.Conv2d(3, CHANNELS, STRIDE, STRIDE, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.far(images)))


class Detector(nn.Module):
    """Takes and gives what torchvision's detectors do."""

    def __init__(self, body: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.body, self.pixels = body, IMAGENET
        self.head = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 4 + num_classes, 1))

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (self.pixels.mean, self.pixels.std))
        found = self.head(self.body((torch.stack(list(images)) - mean) / std))
        rows = found.flatten(2).transpose(1, 2)  # (images, marks, 4 + classes)
        if targets is None:
            return [self._boxes(image, found.shape[-1]) for image in rows]
        centre = torch.stack([row["boxes"].mean(dim=0) / STRIDE for row in targets])
        return {
            "loss_box": (rows[..., :4].mean(dim=1) - centre).abs().mean(),
            "loss_class": nn.functional.softplus(-rows[..., 4:]).mean(),
        }

    def _boxes(self, rows: Tensor, columns: int) -> dict[str, Tensor]:
        scores, labels = rows[:, 4:].sigmoid().max(dim=1)
        best = scores.topk(min(KEPT, len(scores))).indices
        x, y = (best % columns * STRIDE).float(), (best // columns * STRIDE).float()
        corner = torch.stack([x, y], dim=1)
        sides = 1 + rows[best, 2:4].abs()
        boxes = torch.cat([corner, corner + STRIDE * sides], dim=1)
        return {"boxes": boxes, "scores": scores[best], "labels": labels[best] + 1}


def _backbone(config: ModelConfig) -> KnownBackbone:
    layer = ConvLayer(1, "far", "norm", "far", "main", (CHANNELS, 3, STRIDE, STRIDE))
    return KnownBackbone(
        table=LayerTable("toy", (layer,)),
        eps=config.norm_eps or 1e-5,
        pixels=Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        taps=(Tap(STRIDE, "far", CHANNELS),),
        build=lambda taps, seed: Body(),
        drawn=False,
        rewritten=False,
    )


def _build(config: ModelConfig, backbone: KnownBackbone, num_classes: int, seed: int) -> nn.Module:
    return Detector(backbone.build(backbone.taps, seed), num_classes)


def _set_pixels(model: nn.Module, values: Normalisation) -> None:
    model.pixels = values  # type: ignore[assignment]


ARCHITECTURE = Architecture(
    name="toy",
    task="detection",
    presets=("stock",),
    parts={"backbone": "body.", "head": "head."},
    counted="backbone",
    rest="the head",
    draws={"backbone": he_normal, "head": small_normal},
    replaced=("head.1.",),
    backbone=_backbone,
    build=_build,
    set_pixels=_set_pixels,
)

FOR_MASKS = dataclasses.replace(ARCHITECTURE, task="masks")  # to be refused
