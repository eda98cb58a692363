"""Make the two starting points of the demo: small backbones trained on procedural pictures.

    python scripts/make_starting_points.py [--out src/frostline/assets] [--work DIR]

One backbone learns to tell 16 textures apart. The other goes on from there, as COCO's detectors go
on from ImageNet, and learns to detect five kinds of shapes on cluttered ground with frostline's own
detector. Neither has seen the demo's field, its ears or its colours.
Everything is seeded. The files are equal bit for bit where torch, its CPU kernels and the number of
threads are the same; elsewhere they differ in the last digits, and so do their hashes.
"""

import argparse
import dataclasses
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import MobileNetV2, mobilenet_v2

from frostline.architectures.building import build_model, load_tensors
from frostline.backbones import known_backbone
from frostline.config import AugmentConfig, ModelConfig, ScheduleConfig
from frostline.datasets import DatasetIndex, read_dataset
from frostline.evaluation import evaluate
from frostline.freezing import Frozen
from frostline.plans import BACKBONE_PREFIX, FreezePlan
from frostline.records import file_digest
from frostline.tasks import DETECTION, PlacedImages, common_canvas
from frostline.training import Progress, make_fabric, train

_log = logging.getLogger("make_starting_points")

WIDTH_MULT = 0.35
SEED = 20240501

Plane = npt.NDArray[np.floating[Any]]
Texture = Callable[[Plane, Plane, np.random.Generator], Plane]


# --- textures: (x, y in units of one period, generator) -> brightness in [0, 1] -------------------


def _wave(phase: Plane) -> Plane:
    return np.asarray(0.5 + 0.5 * np.cos(2 * math.pi * phase), dtype=np.float32)


def _hard(value: Plane, sharpness: float = 6.0) -> Plane:
    return np.asarray(np.clip(0.5 + sharpness * (value - 0.5), 0, 1), dtype=np.float32)


def _cell(value: Plane) -> Plane:
    """Position within a unit cell, -0.5 to 0.5."""
    return np.asarray(value - np.floor(value) - 0.5, dtype=np.float32)


def _noise(x: Plane, y: Plane, rng: np.random.Generator, octaves: int = 3) -> Plane:
    """Sums of plane waves in random directions, about [0, 1]."""
    total = np.zeros_like(x)
    for octave in range(octaves):
        for _ in range(5):
            angle, phase = rng.random(2) * 2 * math.pi
            frequency = 0.35 * 2**octave * (0.7 + 0.6 * rng.random())
            wave = np.cos(
                2 * math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle)) + phase
            )
            total += wave / (5 * 1.6**octave)
    return np.asarray(np.clip(0.5 + 0.5 * total, 0, 1), dtype=np.float32)


def stripes(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Straight bands."""
    return _hard(_wave(x))


def waves(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Bands that meander."""
    return _hard(_wave(x + 0.35 * np.sin(2 * math.pi * 0.6 * y)))


def chevrons(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Bands that zigzag."""
    return _hard(_wave(x + 1.2 * np.abs(_cell(0.5 * y))))


def checks(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """A chess board."""
    return _hard(0.5 + np.sin(math.pi * x) * np.sin(math.pi * y), 4)


def dots(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Discs on a grid, every second row shifted."""
    shifted = x + 0.5 * (np.floor(y) % 2)
    return _hard(0.85 - np.hypot(_cell(shifted), _cell(y)), 8)


def rings(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Circles around one point."""
    return _hard(_wave(np.hypot(x - rng.random(), y - rng.random())))


def spiral(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Arms that wind around one point."""
    turn = np.arctan2(y, x) / (2 * math.pi)
    return _hard(_wave(np.hypot(x, y) + int(rng.integers(1, 4)) * turn))


def rays(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Sectors around one point."""
    turn = np.arctan2(y - rng.random(), x - rng.random()) / (2 * math.pi)
    return _hard(_wave(int(rng.integers(7, 14)) * turn))


def hatching(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Two sets of thin lines."""
    lines = np.minimum(np.abs(_cell(x)), np.abs(_cell(y + 0.4 * x)))
    return _hard(0.62 - lines, 8)


def bricks(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Bricks with joints."""
    shifted = 0.5 * x + 0.5 * (np.floor(y) % 2)
    joint = np.minimum(0.5 - np.abs(_cell(y)), 2 * (0.5 - np.abs(_cell(shifted))))
    return _hard(0.4 + joint, 8)


def scales(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Overlapping half discs, each shaded."""
    row = np.floor(y)
    d = np.hypot(_cell(x + 0.5 * (row % 2)), 0.8 * (_cell(y) - 0.5) + 0.45)
    return np.asarray(np.clip(1.3 - 1.6 * d, 0, 1), dtype=np.float32)


def weave(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Threads that pass over and under each other."""
    over = (np.floor(x) + np.floor(y)) % 2
    thread = np.where(over > 0, np.abs(_cell(x)), np.abs(_cell(y)))
    return np.asarray(np.clip(1.1 - 1.8 * thread, 0, 1), dtype=np.float32)


def blotches(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Islands with sharp shores."""
    return _hard(_noise(x, y, rng, 2), 12)


def clouds(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Smooth noise."""
    return np.asarray(np.clip(1.6 * _noise(x, y, rng) - 0.3, 0, 1))


def marble(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Thin veins."""
    return np.asarray(1 - np.abs(np.sin(2 * math.pi * (0.4 * x + 2.2 * _noise(x, y, rng)))) ** 0.5)


def cells(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Borders between regions nearest to random points."""
    span = float(np.abs(x).max()) + 1
    seeds = (rng.random((int(np.clip(span * span, 12, 60)), 2)) * 2 - 1) * span
    d = np.sort([np.hypot(x - a, y - b) for a, b in seeds], axis=0)[:2]
    return _hard(0.3 + d[1] - d[0], 5)


TEXTURES: tuple[Texture, ...] = (
    *(stripes, waves, chevrons, checks, dots, rings, spiral, rays),
    *(hatching, bricks, scales, weave, blotches, clouds, marble, cells),
)


def textured(texture: Texture, side: int, period: float, rng: np.random.Generator) -> Plane:
    """A texture in two random colours, turned, warped and unevenly lit: (side, side, 3) in [0, 1].

    Args:
        texture: one of ``TEXTURES``.
        side: px.
        period: length of one unit of the texture, px.
        rng: source of everything random.
    """
    axis = (np.arange(side, dtype=np.float32) - side / 2 + 0.5) / np.float32(period)
    px, py = np.meshgrid(axis, axis)
    angle, stretch = rng.random() * 2 * math.pi, np.exp(0.5 * (rng.random() - 0.5))
    warp = 0.12 * rng.random()
    x = (px * math.cos(angle) - py * math.sin(angle)) * stretch + warp * np.sin(1.7 * py)
    y = (px * math.sin(angle) + py * math.cos(angle)) / stretch + warp * np.sin(1.3 * px)
    shift = 2 * rng.random(2) - 1
    value = texture((x + shift[0]).astype(np.float32), (y + shift[1]).astype(np.float32), rng)
    dark, bright = _two_colours(rng)
    colour = dark + np.asarray(value)[..., None] * (bright - dark)
    slope = 1 + 0.35 * (rng.random() - 0.5) * (px + py)[..., None] / (side / period)
    grain = 0.08 * rng.random() * (rng.random((side, side, 1)) - 0.5)
    return np.asarray(np.clip(colour * slope + grain, 0, 1), dtype=np.float32)


def _two_colours(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Two colours whose luminance differs by more than 0.3: colour varies, structure stays."""
    luminance = np.array((0.3, 0.6, 0.1), dtype=np.float32)
    while True:
        a, b = rng.random((2, 3)).astype(np.float32)
        if abs(float((a - b) @ luminance)) > 0.3:  # noqa: PLR2004
            return a, b


# --- the first start: telling textures apart ------------------------------------------------------

_SIDE = 72
_CROP = 64


def texture_set(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 (N, 3, 72, 72), and their classes, int64 (N,), balanced."""
    rng = np.random.Generator(np.random.PCG64(seed))
    pictures = np.empty((count, 3, _SIDE, _SIDE), dtype=np.uint8)
    for i in range(count):
        texture = TEXTURES[i % len(TEXTURES)]
        picture = textured(texture, _SIDE, 7 + 17 * rng.random(), rng)
        pictures[i] = (picture * 255).round().astype(np.uint8).transpose(2, 0, 1)
    return torch.from_numpy(pictures), torch.arange(count) % len(TEXTURES)


def classification(work: Path, out: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train the classifier from random weights; returns its backbone's tensors and the figures."""
    torch.manual_seed(SEED)
    pictures, labels = texture_set(8000, SEED)
    held_out = texture_set(1600, SEED + 1)
    model = mobilenet_v2(width_mult=WIDTH_MULT, num_classes=len(TEXTURES), dropout=0.0)
    model.to(memory_format=torch.channels_last)
    epochs, batch, peak = 15, 25, 6e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.02)
    steps = epochs * len(pictures) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps, pct_start=0.15)
    means = []
    for epoch in range(epochs):
        losses = []
        for chosen in torch.split(torch.randperm(len(pictures)), batch):
            model.train()
            loss = nn.functional.cross_entropy(model(_jittered(pictures[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        means.append(float(np.mean(losses)))
        _log.info("classification: epoch %d of %d, loss %.3f", epoch + 1, epochs, means[-1])
    figures = {
        "first_epoch_loss": means[0],
        "last_epoch_loss": means[-1],
        "held_out_accuracy": _accuracy(model, *held_out),
    }
    tensors = model.features.state_dict()
    return {BACKBONE_PREFIX + name: tensor for name, tensor in tensors.items()}, figures


def _normalised(pictures: Tensor) -> Tensor:
    """As the detector normalises its input: ImageNet's mean and standard deviation."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    scaled = (pictures.float() / 255 - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


def _jittered(pictures: Tensor) -> Tensor:
    """A random crop of 64 px for the whole batch, flips, and brightness."""
    top, left = torch.randint(0, _SIDE - _CROP + 1, (2,)).tolist()
    cropped = pictures[..., top : top + _CROP, left : left + _CROP]
    flips = [dim for dim in (2, 3) if torch.rand(()) < 0.5]  # noqa: PLR2004
    normalised = _normalised(cropped.flip(flips) if flips else cropped)
    return normalised * (0.8 + 0.4 * torch.rand(len(pictures), 1, 1, 1))


@torch.no_grad()
def _accuracy(model: MobileNetV2, pictures: Tensor, labels: Tensor) -> float:
    model.eval()
    found = torch.cat([model(_normalised(part)).argmax(1) for part in torch.split(pictures, 100)])
    return float((found == labels).float().mean())


# --- the second start: detecting shapes -----------------------------------------------------------

SHAPES = ("disc", "bar", "star", "cross", "ring")
_SCENE = 160


def _shape_mask(shape: str, x: Plane, y: Plane, points: int) -> Plane:
    """Signed distance-like value, positive inside; ``x``, ``y`` in units of the shape's radius."""
    radius, turn = np.hypot(x, y), np.arctan2(y, x)
    if shape == "disc":
        return np.asarray(1 - np.hypot(x, y * 1.25))
    if shape == "bar":
        return np.asarray(np.minimum(1 - np.abs(x), 0.28 - np.abs(y)))
    if shape == "star":
        return np.asarray(0.72 + 0.28 * np.cos(points * turn) - radius)
    if shape == "cross":
        arms = np.minimum(np.abs(x), np.abs(y))
        return np.asarray(np.minimum(0.24 - arms, 1 - np.maximum(np.abs(x), np.abs(y))))
    return np.asarray(0.22 - np.abs(radius - 0.78))


def scene(rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], list[tuple[int, list[int]]]]:
    """A picture uint8 (160, 160, 3), and (class from 1, ``xywh`` box in px) of its shapes."""
    canvas = textured(_any_texture(rng), _SCENE, 6 + 40 * rng.random(), rng)
    canvas = 0.5 * canvas + 0.5 * textured(clouds, _SCENE, 20 + 40 * rng.random(), rng)
    for _ in range(int(rng.integers(4, 30))):
        _scratch(canvas, rng)
    owner = np.zeros((_SCENE, _SCENE), dtype=np.int64)
    kinds, areas = [], []
    for number in range(1, int(rng.integers(3, 13)) + 1):
        kind = int(rng.integers(len(SHAPES)))
        mask = _paint_shape(canvas, SHAPES[kind], rng)
        owner[mask] = number
        kinds.append(kind + 1)
        areas.append(int(mask.sum()))
    boxes = []
    for number, (kind, area) in enumerate(zip(kinds, areas, strict=True), start=1):
        visible = owner == number
        if visible.sum() > max(60, 0.35 * area):
            boxes.append((kind, _box(visible)))
    return (canvas * 255).round().astype(np.uint8), boxes


def _any_texture(rng: np.random.Generator) -> Texture:
    return TEXTURES[int(rng.integers(len(TEXTURES)))]


def _scratch(canvas: Plane, rng: np.random.Generator) -> None:
    """A thin straight line of random colour: clutter."""
    angle, offset = rng.random() * math.pi, (rng.random() - 0.5) * _SCENE
    axis = np.arange(_SCENE, dtype=np.float32) - _SCENE / 2
    across = axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle) - offset
    alpha = np.clip(0.5 + 2 * rng.random() - np.abs(across), 0, 1)[..., None]
    canvas += alpha * (rng.random(3).astype(np.float32) - canvas)


def _paint_shape(canvas: Plane, shape: str, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Fill a turned shape with a texture; returns where it is, bool (160, 160)."""
    radius = 10 + 26 * rng.random() ** 1.5
    angle, points = rng.random() * 2 * math.pi, int(rng.integers(4, 8))
    cx, cy = rng.random(2) * _SCENE
    axis = np.arange(_SCENE, dtype=np.float32)
    dx, dy = (axis[None, :] - cx) / radius, (axis[:, None] - cy) / radius
    x, y = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    distance = _shape_mask(shape, x.astype(np.float32), y.astype(np.float32), points)
    alpha = np.clip(distance * radius + 0.5, 0, 1)
    side = math.ceil(2 * radius) + 2
    filling = textured(_any_texture(rng), side, 4 + 10 * rng.random(), rng)
    left, top = round(cx - side / 2), round(cy - side / 2)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(_SCENE, left + side), min(_SCENE, top + side)
    shade = np.clip(0.75 + 0.5 * distance, 0, 1.1)[y0:y1, x0:x1, None]
    part = canvas[y0:y1, x0:x1]
    colour = np.clip(filling[y0 - top : y1 - top, x0 - left : x1 - left] * shade, 0, 1)
    part += alpha[y0:y1, x0:x1, None] * (colour - part)
    return np.asarray(alpha > 0.5, dtype=np.bool_)  # noqa: PLR2004


def _box(mask: npt.NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def scene_set(folder: Path, count: int, seed: int) -> DatasetIndex:
    """Write scenes and a COCO file, and read them back as any data set."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        pixels, boxes = scene(rng)
        name = f"{number:05d}.png"
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        images.append({"id": number, "file_name": name, "width": _SCENE, "height": _SCENE})
        for kind, box in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": kind,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(SHAPES, start=1)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(table), encoding="utf-8")
    return read_dataset(folder, folder / "boxes.json", layout="coco")


def detection(work: Path, out: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train the detector from the first start; returns its backbone's tensors and the figures."""
    seen = scene_set(work / "seen", 900, SEED + 2)
    held_out = scene_set(work / "held_out", 100, SEED + 3)
    config = ModelConfig(
        backbone="mobilenet_v2",
        preset="slim",
        batch_norm="live",
        image_size=_SCENE,
        width_mult=WIDTH_MULT,
    )
    schedule = ScheduleConfig(
        epochs=13,
        batch_size=8,
        lr=2e-3,
        weight_decay=1e-3,
        warmup_epochs=1,
        augment=AugmentConfig(flip=True, colour=False, scale_jitter=False),
    )
    canvas = common_canvas((seen, held_out), config.image_size)
    model = build_model(config, len(SHAPES), seed=SEED)
    load_tensors(model, load_file(out / "start_classification.safetensors"))
    plan = FreezePlan.at_depth(known_backbone(config).table, 0, batch_norm="live")
    fabric = make_fabric("cpu")
    result = train(
        model,
        PlacedImages(seen, canvas),
        task=DETECTION,
        frozen=Frozen(model, plan),
        schedule=schedule,
        seed=SEED,
        fabric=fabric,
        checkpoint=work / "checkpoint.pt",
        identity="detection start",
        score=lambda model: {},
        on_step=_tell,
    )
    found = DETECTION.predict(model, PlacedImages(held_out, canvas), fabric.device, 8)
    scores = evaluate(held_out, found)
    losses = [sum(epoch.losses.values()) for epoch in result.history]
    figures = {
        "first_epoch_loss": losses[0],
        "last_epoch_loss": losses[-1],
        "held_out_ap": scores.ap,
        "held_out_ap50": scores.ap50,
    }
    tensors = model.state_dict()
    return {n: t for n, t in tensors.items() if n.startswith(BACKBONE_PREFIX)}, figures


def _tell(progress: Progress) -> None:
    if progress.step % 20 == 0:
        _log.info(
            "detection: epoch %d, step %d of %d, loss %.3f, %.0f s left",
            *(progress.epoch, progress.step, progress.steps, progress.loss, progress.seconds_left),
        )


# --- writing --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """One written file: its hash, its size in bytes, its figures, and how long it took."""

    file: str
    sha256: str
    size: int
    figures: dict[str, float]
    seconds: float
    cpu_seconds: float


Trained = tuple[dict[str, Tensor], dict[str, float]]


def make(name: str, train_it: Callable[[Path, Path], Trained], work: Path, out: Path) -> Made:
    """Train one starting point and write ``start_<name>.safetensors``."""
    wall, cpu = time.monotonic(), time.process_time()
    tensors, figures = train_it(work / name, out)
    kept = {
        key: tensor.detach().contiguous().clone()
        for key, tensor in sorted(tensors.items())
        if not key.endswith("num_batches_tracked")  # a frozen BatchNorm counts no batches
    }
    path = out / f"start_{name}.safetensors"
    save_file(kept, path)
    return Made(
        path.name,
        file_digest(path),
        path.stat().st_size,
        figures,
        time.monotonic() - wall,
        time.process_time() - cpu,
    )


def main() -> None:
    """Make both files and print what they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    assets = Path(__file__).parents[1] / "src" / "frostline" / "assets"
    parser.add_argument("--out", type=Path, default=assets)
    parser.add_argument("--only", choices=("classification", "detection"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for name, train_it in (("classification", classification), ("detection", detection)):
            if arguments.only in (None, name):
                made = make(name, train_it, Path(work), arguments.out)
                _log.info("%s", json.dumps(dataclasses.asdict(made), indent=1))


if __name__ == "__main__":
    main()
