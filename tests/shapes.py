"""Discs and bars on noise with their masks: a data set for segmentation that can be learned."""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

__all__ = ["pack", "write_shapes"]

_COLOURS = np.array([[70, 90, 60], [210, 190, 90], [90, 70, 190]])  # of ground, discs, bars


def write_shapes(
    folder: Path,
    count: int,
    *,
    kind: str = "numbers",
    images: str = "images",
    masks: str = "masks",
    ending: str = "",
    grey: bool = False,
    side: int = 64,
    seed: int = 0,
) -> None:
    """Images ``NN.png`` of ``side`` x ``side - 8`` px, and a mask ``NN<ending>.png`` for each.

    Args:
        folder: where.
        count: how many.
        kind: ``numbers`` (0, 1, 2), ``binary`` (0, 255), or ``palette``.
        images: folder of the images.
        masks: folder of the masks.
        ending: of their names.
        grey: whether the images have one channel.
        side: width in px.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    for part in (images, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        labels = _draw(random, side)
        pixels = _COLOURS[labels] + random.normal(0, 20, (*labels.shape, 3))
        photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        (photo.convert("L") if grey else photo).save(folder / images / f"{n:02}.png")
        _mask(labels, kind).save(folder / masks / f"{n:02}{ending}.png")


def pack(folder: Path) -> Path:
    """The folder as a zip file beside it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*.png")):
            packed.write(path, path.relative_to(folder.parent).as_posix())
    return archive


def _draw(random: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    canvas = Image.new("L", (side, side - 8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(3):
        x, y, radius = (int(v) for v in random.integers((8, 8, 5), (side - 8, side - 16, 12)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    x, y = (int(v) for v in random.integers(0, side // 2, 2))
    draw.rectangle((x, y, x + side // 3, y + side // 8), fill=2)
    return np.asarray(canvas)


def _mask(labels: npt.NDArray[np.uint8], kind: str) -> Image.Image:
    if kind == "binary":
        return Image.fromarray(((labels > 0) * 255).astype(np.uint8))
    mask = Image.fromarray(labels)
    if kind == "palette":
        mask.putpalette([0, 0, 0, 250, 200, 0, 0, 40, 240])
    return mask
