"""What is in a data set and what is wrong with it: everything ``frostline data check`` tells."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import Finding, shown
from frostline.datasets.index import DatasetCounts, DatasetIndex, ImageRecord
from frostline.datasets.kaggle import UNLISTED
from frostline.datasets.locations import DatasetLocation
from frostline.datasets.pixels import PixelFacts, look_at_all, near_duplicates
from frostline.datasets.reading import read_dataset, unused_images
from frostline.errors import DatasetError

__all__ = [
    "ANCHOR_SIZES",
    "BoxSizes",
    "DataCheck",
    "Leak",
    "box_sizes",
    "check_dataset",
    "check_splits",
    "same_boxes",
    "suggest_image_size",
]

ANCHOR_SIZES: Mapping[str, tuple[int, ...]] = {
    "slim": (16, 23, 32, 45, 64, 91, 128, 181),
    "stock": (32, 64, 128, 256, 512),
}
"""Side lengths of the anchors of each model preset, in pixels of the canvas."""

_ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width, as torchvision's detectors have them
_SMALL = 16.0  # px of the canvas; smaller objects are hard for strides of 8 and more
_SHARE = 0.1  # of the boxes, from which sizes are worth a warning
_FIT = 0.5  # IoU with the best anchor shape, below which a box is a poor fit
_SAME_BOX = 0.98  # IoU


@dataclass(frozen=True)
class BoxSizes:
    """Sizes of boxes on the canvas of a model; a size is the square root of the area.

    Attributes:
        image_size: Longest side of an image after resizing, in pixels.
        preset: Key of `ANCHOR_SIZES`.
        quantiles: Sizes in pixels below which 5, 50 and 95 % of the boxes are.
        small_share: Part of the boxes below 16 pixels.
        misfit_share: Part of the boxes whose IoU with the best anchor *shape* is below 0.5.
        suggested_size: Image size at which 90 % of the boxes have 16 pixels or more, see
            `suggest_image_size`.
    """

    image_size: int
    preset: str
    quantiles: tuple[float, float, float]
    small_share: float
    misfit_share: float
    suggested_size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "quantiles": list(self.quantiles)}


LeakKind = Literal["file", "pixels", "look"]


@dataclass(frozen=True)
class Leak:
    """An image of one split that another split has too.

    Attributes:
        split: The earlier split, in the order given (training first).
        file: Its image.
        other_split: The later split.
        other_file: Its image.
        kind: The same ``file``, the same ``pixels``, or nearly the same ``look``.
    """

    split: str
    file: str
    other_split: str
    other_file: str
    kind: LeakKind


@dataclass(frozen=True)
class DataCheck:
    """Result of a check.

    Attributes:
        splits: The data that could be read, by split.
        findings: What was noticed, by split; what concerns several splits, or all, is under ``""``.
        sizes: Box sizes against the anchors; None without boxes.
        leaks: Images that two splits share.
    """

    splits: dict[str, DatasetIndex]
    findings: dict[str, tuple[Finding, ...]]
    sizes: BoxSizes | None
    leaks: tuple[Leak, ...] = ()

    def counts(self) -> dict[str, DatasetCounts]:
        """How much each split holds."""
        return {name: index.counts() for name, index in self.splits.items()}

    def by_severity(self) -> dict[str, int]:
        """Number of errors, warnings and notes."""
        found = Counter(f.severity for part in self.findings.values() for f in part)
        return {severity: found[severity] for severity in ("error", "warning", "note")}

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return self.by_severity()["error"] == 0

    def codes(self) -> dict[str, int]:
        """Number of findings of each kind, sorted by name."""
        return dict(sorted(Counter(f.code for p in self.findings.values() for f in p).items()))

    def _repr_html_(self) -> str:
        """A list of the findings, for notebooks."""
        rows = "".join(
            f"<tr><td>{f.severity}</td><td>{f.code}</td><td>{escape(split)}</td>"
            f"<td>{escape(str(f))}</td></tr>"
            for split, found in self.findings.items()
            for f in found
        )
        return f"<table>{rows or '<tr><td>nothing found</td></tr>'}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ok": self.ok,
            "severities": self.by_severity(),
            "codes": self.codes(),
            "counts": {name: counts.to_dict() for name, counts in self.counts().items()},
            "box_sizes": None if self.sizes is None else self.sizes.to_dict(),
            "findings": [
                {"split": split or None, **finding.to_dict()}
                for split, found in self.findings.items()
                for finding in found
            ],
        }


def check_dataset(
    location: DatasetLocation,
    *,
    image_size: int = 320,
    preset: str = "slim",
    on_image: Callable[[], None] | None = None,
) -> DataCheck:
    """Read every split, dropping what cannot be used, and look at all of it.

    Args:
        location: Where images and annotations are, see `find_dataset`.
        image_size: See `BoxSizes`.
        preset: See `BoxSizes`.
        on_image: Called after each decoded image.

    Raises:
        DatasetError: If no split can be read at all.
    """
    splits: dict[str, DatasetIndex] = {}
    failed: dict[str, Finding] = {}
    last: DatasetError | None = None
    for name, file in location.splits.items():
        try:
            splits[name] = _read_split(location, name, file, splits)
        except DatasetError as error:
            last, failed[name] = error, Finding("error", "split-unreadable", file.name, str(error))
    if not splits:
        raise last or DatasetError("expected at least one split, got none")
    result = check_splits(splits, image_size=image_size, preset=preset, on_image=on_image)
    findings = {**result.findings, **{name: (finding,) for name, finding in failed.items()}}
    if len(splits) > 1:  # of several files over one folder each lacks the images of the others
        findings = {n: tuple(f for f in p if f.code != UNLISTED) for n, p in findings.items()}
    if not any(f.code == UNLISTED for part in findings.values() for f in part):
        findings[""] = (*findings[""], *unused_images(splits))
    return replace(result, findings=findings)


def _read_split(
    location: DatasetLocation, name: str, file: Path, before: Mapping[str, DatasetIndex]
) -> DatasetIndex:
    """One split, with the classes of the first."""
    return read_dataset(
        location.images,
        file,
        layout=location.layout,
        on_problem="drop",
        classes=next((index.classes for index in before.values()), None),
        unlisted="ignore" if len(location.splits) > 1 else "empty",
        split=name if file.name.endswith((".yaml", ".yml")) else None,
    )


def check_splits(
    splits: Mapping[str, DatasetIndex],
    *,
    image_size: int = 320,
    preset: str = "slim",
    on_image: Callable[[], None] | None = None,
) -> DataCheck:
    """Look at boxes, classes and pixels of data that was read.

    Args:
        splits: Data by split; findings of the reading are taken over.
        image_size: See `BoxSizes`.
        preset: See `BoxSizes`.
        on_image: Called after each decoded image.
    """
    facts = {name: _facts(index, on_image) for name, index in splits.items()}
    findings = {
        name: (
            *index.findings,
            *_pixel_findings(index, facts[name]),
            *_box_findings(index),
            *_copies_within(facts[name]),
        )
        for name, index in splits.items()
    }
    leaks = (*_shared_files(splits), *_copies_across(facts))
    images = [image for index in splits.values() for image in index]
    sizes = box_sizes(images, image_size, preset) if any(len(i.labels) for i in images) else None
    findings[""] = (
        *_class_findings(splits),
        *_size_findings(sizes),
        *map(_leak_finding, leaks),
    )
    return DataCheck(dict(splits), findings, sizes, leaks)


def _facts(index: DatasetIndex, on_image: Callable[[], None] | None) -> list[PixelFacts]:
    return look_at_all(index, workers=os.cpu_count() or 1, on_image=on_image)


# --- one split -----------------------------------------------------------------------------------


def _pixel_findings(index: DatasetIndex, facts: Sequence[PixelFacts]) -> Iterator[Finding]:
    for image, fact in zip(index.images, facts, strict=True):
        if fact.error is not None:
            yield Finding("error", "image-undecodable", image.file, fact.error)
        elif fact.blank:
            message = "expected a picture, all pixels have one colour"
            yield Finding("warning", "image-blank", image.file, message)
        if fact.orientation != 1:
            message = (
                f"EXIF orientation {fact.orientation}: viewers show the image turned, boxes and "
                f"training refer to the pixels as stored; see that the boxes fit them"
            )
            yield Finding("warning", "image-exif-rotation", image.file, message)


def _box_findings(index: DatasetIndex) -> Iterator[Finding]:
    for image in index:
        for first, second in same_boxes(image):
            box = ", ".join(f"{v:.6g}" for v in image.boxes[second])
            name = shown(index.classes[image.labels[second] - 1])
            message = f"box ({box}) of class {name} is there twice"
            entry = f"boxes {first} and {second}"
            yield Finding("warning", "box-duplicate", image.file, message, entry=entry)
    empty = [image.file for image in index if len(image.labels) == 0]
    if empty:
        message = f"{len(empty)} of {len(index)} images have no boxes, such as {shown(empty[0])}"
        yield Finding("note", "images-empty", "", message)
    crowds = sum(int(image.crowd.sum()) for image in index)
    if crowds:
        message = f"{crowds} boxes stand for groups of objects (crowd): not trained on"
        yield Finding("note", "boxes-crowd", "", message)


def same_boxes(image: ImageRecord) -> Iterator[tuple[int, int]]:
    """Positions of boxes of one class that agree to an IoU of 0.98."""
    n = len(image.labels)
    if n > 1:
        same = np.triu(_iou(image.boxes) >= _SAME_BOX, 1)
        same &= (image.labels[:, None] == image.labels) & (image.crowd[:, None] == image.crowd)
        yield from ((int(i), int(j)) for i, j in np.argwhere(same))


def _iou(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU of each box with each, (N, N) for xyxy (N, 4)."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(shared / (area[:, None] + area - shared))


def _copies_within(facts: Sequence[PixelFacts]) -> Iterator[Finding]:
    first: dict[bytes, str] = {}
    for fact in facts:
        if fact.digest and not fact.blank:
            other = first.setdefault(fact.digest, fact.file)
            if other != fact.file:
                message = f"the same pixels as {shown(other)}"
                yield Finding("warning", "image-copy", fact.file, message)


# --- all splits ----------------------------------------------------------------------------------


def _class_findings(splits: Mapping[str, DatasetIndex]) -> Iterator[Finding]:
    classes = next(iter(splits.values())).classes
    boxes: Counter[str] = Counter()
    for index in splits.values():
        boxes.update(index.counts().boxes_per_class)
    for name in classes:
        if not boxes[name]:
            message = f"class {shown(name)} has no boxes"
            yield Finding("warning", "class-unused", "", message, entry=f"class {shown(name)}")
    for a, b in combinations(classes, 2):
        if _folded(a) == _folded(b):
            message = f"classes {shown(a)} and {shown(b)} differ only in how they are written"
            yield Finding("warning", "class-alike", "", message, entry=f"class {shown(b)}")
    train = splits.get("train")
    if train is not None and len(splits) > 1:
        yield from _untrained_classes(train, boxes)


def _folded(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _untrained_classes(train: DatasetIndex, boxes: Mapping[str, int]) -> Iterator[Finding]:
    for name, number in train.counts().boxes_per_class.items():
        if not number and boxes[name]:
            message = f"class {shown(name)} has boxes, but none to train on"
            yield Finding("warning", "class-untrained", "", message, entry=f"class {shown(name)}")


def _shared_files(splits: Mapping[str, DatasetIndex]) -> Iterator[Leak]:
    owner: dict[str, str] = {}
    for name, index in splits.items():
        for image in index:
            other = owner.setdefault(image.file, name)
            if other != name:
                yield Leak(other, image.file, name, image.file, "file")


def _copies_across(facts: Mapping[str, Sequence[PixelFacts]]) -> Iterator[Leak]:
    flat = [(name, fact) for name, part in facts.items() for fact in part]
    for i, j in near_duplicates([fact for _, fact in flat]):
        (split, first), (other, second) = flat[i], flat[j]
        if split != other and first.file != second.file:
            kind: LeakKind = "pixels" if first.digest == second.digest else "look"
            yield Leak(split, first.file, other, second.file, kind)


def _leak_finding(leak: Leak) -> Finding:
    other, pair = leak.other_split, f"{shown(leak.file)} of {leak.split}"
    if leak.kind == "file":
        message = f"the image is in {leak.split} and in {other}: results on {other} are too good"
        return Finding("error", "image-in-two-splits", leak.other_file, message)
    if leak.kind == "pixels":
        message = f"the same pixels as {pair}: results on {other} are too good"
        return Finding("error", "image-copy-across-splits", leak.other_file, message)
    message = f"nearly the same picture as {pair}: results on {other} may be too good"
    return Finding("warning", "image-near-duplicate", leak.other_file, message)


# --- box sizes -----------------------------------------------------------------------------------


def box_sizes(images: Iterable[ImageRecord], image_size: int, preset: str) -> BoxSizes:
    """Compare boxes with the anchors of a model.

    Args:
        images: Records, at least one with boxes.
        image_size: Longest side of an image after resizing, in pixels.
        preset: Key of `ANCHOR_SIZES`.

    Raises:
        DatasetError: If the preset is unknown.
    """
    if preset not in ANCHOR_SIZES:
        raise DatasetError(f"expected preset {' or '.join(ANCHOR_SIZES)}, got {shown(preset)!r}")
    records = [image for image in images if len(image.labels)]
    relative = _relative_sizes(records)  # (N, 2)
    size = np.sqrt(relative.prod(axis=1))
    low, middle, high = (float(q) for q in np.quantile(size * image_size, [0.05, 0.5, 0.95]))
    return BoxSizes(
        image_size=image_size,
        preset=preset,
        quantiles=(low, middle, high),
        small_share=float((size * image_size < _SMALL).mean()),
        misfit_share=float((_anchor_fit(relative * image_size, preset) < _FIT).mean()),
        suggested_size=suggest_image_size(records),
    )


def suggest_image_size(images: Iterable[ImageRecord]) -> int:
    """Smallest image size at which 90 % of the boxes have a size of 16 pixels or more.

    Returns:
        A multiple of 32 from 256 to 1024, and no more than the images have (but 256).
    """
    records = [image for image in images if len(image.labels)]
    if not records:
        return 320
    size = float(np.quantile(np.sqrt(_relative_sizes(records).prod(axis=1)), _SHARE))
    stored = max(max(image.width, image.height) for image in records)
    wanted = min(_SMALL / size, stored, 1024)
    return max(256, int(np.ceil(wanted / 32)) * 32)


def _relative_sizes(images: Sequence[ImageRecord]) -> npt.NDArray[np.float64]:
    """Width and height of all boxes, (N, 2), as parts of the longest side of their image."""
    return np.concatenate(
        [(i.boxes[:, 2:] - i.boxes[:, :2]) / max(i.width, i.height) for i in images]
    )


def _anchor_fit(extent: npt.NDArray[np.float64], preset: str) -> npt.NDArray[np.float64]:
    """IoU (N,) of boxes with extents (N, 2) and the anchor of the best shape at their centre."""
    sides = np.array(ANCHOR_SIZES[preset], dtype=np.float64)
    ratio = np.sqrt(np.array(_ASPECT_RATIOS))
    anchors = np.stack([np.outer(sides, 1 / ratio).ravel(), np.outer(sides, ratio).ravel()], axis=1)
    shared = np.minimum(extent[:, None], anchors).prod(axis=2)  # (N, anchors)
    union = extent.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared
    return np.asarray((shared / union).max(axis=1))


def _size_findings(sizes: BoxSizes | None) -> Iterator[Finding]:
    if sizes is not None and sizes.small_share > _SHARE:
        message = (
            f"{sizes.small_share:.0%} of the boxes are smaller than {_SMALL:g} pixels at image "
            f"size {sizes.image_size}: try {sizes.suggested_size}, or cut the images into tiles"
        )
        yield Finding("warning", "boxes-small", "", message)
    if sizes is not None and sizes.misfit_share > _SHARE:
        message = (
            f"{sizes.misfit_share:.0%} of the boxes fit no anchor of preset {sizes.preset} at "
            f"image size {sizes.image_size} (best IoU below {_FIT:g}): very long, small or large"
        )
        yield Finding("warning", "boxes-misfit", "", message)
