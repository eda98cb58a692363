"""Masks out of the outlines of objects: painted one over the other, in the order of the file.

That is how COCO's own tools for stuff make a segmentation map, and how annotating programs draw.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from frostline.datasets.findings import Place, Problems
from frostline.datasets.outlines import mask_of
from frostline.datasets.targets import IGNORED, Mask, MaskReading
from frostline.errors import DatasetError

__all__ = ["BACKGROUND", "Outlined", "painted_mask", "with_background"]

BACKGROUND = "background"
"""Class 0 of painted masks: what no object covers."""


@dataclass(frozen=True)
class Outlined:
    """An object to paint.

    Attributes:
        label: of its pixels, from 0.
        crowd: whether it stands for a group: its pixels are left out where no object lies on them.
        segmentation: polygons or runs, as `outlines.mask_of` takes them.
        entry: where it stands in the annotation file, for messages.
    """

    label: int
    crowd: bool
    segmentation: Any
    entry: str


@dataclass(frozen=True)
class _Picture:
    """Everything that the mask of one image depends on; two are equal by their digests."""

    digest: bytes
    size: tuple[int, int] = field(compare=False)
    objects: tuple[Outlined, ...] = field(compare=False)


@dataclass(frozen=True)
class _Painted:
    """What came of it.

    Attributes:
        packed: labels uint8 (H, W), packed by zlib.
        sha256: of size and labels.
        counts: pixels by label, 256 of them.
        covered: pixels of objects on which one of another class was painted.
        problems: number and message of objects that cannot be painted.
    """

    packed: bytes
    sha256: bytes
    counts: tuple[int, ...]
    covered: int
    problems: tuple[tuple[int, str], ...]


def painted_mask(
    source: tuple[Path, str],
    size: tuple[int, int],
    objects: Sequence[Outlined],
    classes: int,
    problems: Problems,
) -> Mask:
    """The mask of one image: groups of objects first, then objects, the later over the earlier.

    Args:
        source: folder and name of the annotation file.
        size: width and height of the image in pixels.
        objects: in the order of the file.
        classes: how many, background included.
        problems: gets an object that cannot be painted, and a note about pixels of two classes.

    Raises:
        DatasetError: at the first problem (see `Problems`).
    """
    root, name = source
    told = [[o.label, o.crowd, o.segmentation] for o in objects]
    text = json.dumps([size, told], default=str)
    found = _paint(_Picture(hashlib.sha256(text.encode()).digest(), size, tuple(objects)))
    for number, message in found.problems:
        problems.error("outline-entry", Place(name, entry=objects[number].entry), message)
    if found.covered:
        message = f"{found.covered} pixels are in objects of two classes: the later one is taken"
        problems.note("outline-overlap", Place(name, entry=objects[0].entry), message)
    counts = np.array(found.counts[:classes], np.int64)
    reading = MaskReading(tuple(range(classes)))
    left_out = found.counts[IGNORED]
    return Mask(root, name, *size, reading, found.sha256, counts, left_out, found.packed)


def with_background(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes of painted masks: the background first, also where a category is called so.

    Example:
        >>> with_background(["cat", "Background"]), with_background(["cat"])
        (('Background', 'cat'), ('background', 'cat'))
    """
    own = next((name for name in classes if name.lower() == BACKGROUND), BACKGROUND)
    return (own, *(name for name in classes if name != own))


@lru_cache(maxsize=1 << 14)
def _paint(picture: _Picture) -> _Painted:
    width, height = picture.size
    labels = np.zeros((height, width), np.uint8)
    problems, covered = [], 0
    order = sorted(enumerate(picture.objects), key=lambda pair: not pair[1].crowd)
    for number, one in order:
        try:
            own = mask_of(one.segmentation, height, width)
        except DatasetError as error:
            problems.append((number, str(error)))
            continue
        below = labels[own]
        covered += int(((below != 0) & (below != IGNORED) & (below != one.label)).sum())
        labels[own] = IGNORED if one.crowd else one.label
    sha = hashlib.sha256(f"{width}x{height} ".encode() + labels.tobytes())
    counts = np.bincount(labels.ravel(), minlength=IGNORED + 1)
    packed = zlib.compress(labels.tobytes(), 6)
    return _Painted(packed, sha.digest(), tuple(counts.tolist()), covered, tuple(sorted(problems)))
