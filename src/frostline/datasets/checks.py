"""What is in a data set and what is wrong with it: everything ``frostline data check`` tells."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Any, Literal

import numpy as np

from frostline.datasets.box_sizes import BoxSizes, box_sizes, size_findings
from frostline.datasets.class_names import folded_class
from frostline.datasets.files import open_tree
from frostline.datasets.findings import UNLISTED, Finding, shown
from frostline.datasets.grey_levels import grey_finding, most_levels
from frostline.datasets.index import DatasetCounts, DatasetIndex, ImageRecord
from frostline.datasets.layouts import DatasetLocation
from frostline.datasets.locations import part_of_file
from frostline.datasets.looks import Look, nearest_look
from frostline.datasets.photos import marked_name, photo_labels
from frostline.datasets.pixels import PixelFacts, look_at_all
from frostline.datasets.raw import AS_FOUND, MaskOptions
from frostline.datasets.reading import (
    common_classes,
    missing_boxes,
    read_dataset,
    unused_images,
)
from frostline.datasets.same_boxes import SameBoxes, same_boxes
from frostline.datasets.targets import Mask
from frostline.errors import DatasetError
from frostline.notebook import table_html

__all__ = [
    "DataCheck",
    "Leak",
    "check_dataset",
    "check_splits",
]

_RARE = 1e-4  # share of the pixels, below which a class is more likely a slip
_MOST_WORKERS = 8  # each may hold an image of the largest size allowed, 0.25 GiB and its copies

Divide = Callable[[DatasetIndex], Mapping[str, DatasetIndex]]

LeakKind = Literal["file", "pixels", "look", "turned", "name"]


@dataclass(frozen=True)
class Leak:
    """An image of one split that another split has too.

    Attributes:
        split: The earlier split, in the order given (training first).
        file: Its image.
        other_split: The later split.
        other_file: Its image.
        kind: The same ``file``, the same ``pixels``, nearly the same ``look``, also ``turned`` (or
            mirrored), or the same photo by its ``name``.
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
        rows = [
            (f.severity, f.code, split, str(f))
            for split, found in self.findings.items()
            for f in found
        ]
        caption = f"data check: {len(rows) or 'nothing'} found"
        return table_html(caption, ("severity", "finding", "split", "where and what"), rows)

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
    divide: Divide | None = None,
    annotations_only: bool = False,
    on_image: Callable[[], None] | None = None,
    masks: MaskOptions = AS_FOUND,
    grey_levels: int | None = None,
) -> DataCheck:
    """Read every split, dropping what cannot be used, and look at all of it.

    Args:
        location: Where images and annotations are, see `find_dataset`.
        image_size: See `BoxSizes`.
        preset: See `BoxSizes`.
        divide: Makes splits of a data set that has only one, see `train_and_val`.
        annotations_only: Whether the images are not looked at; they need not be there, unless the
            layout does not tell their sizes.
        on_image: Called after each decoded image.
        masks: What is said of masks.
        grey_levels: See `load_image`; where nothing is said, few levels are a warning.

    Raises:
        DatasetError: If no split can be read at all.
    """
    splits, failed = _read_all(location, masks, check_files=not annotations_only)
    splits = {name: replace(index, grey_levels=grey_levels) for name, index in splits.items()}
    read, of_reading = splits, tuple[Finding, ...]()
    if divide is not None and len(splits) == 1:
        (index,) = splits.values()
        of_reading = index.findings
        splits = dict(divide(replace(index, findings=())))
    result = check_splits(
        splits, image_size=image_size, preset=preset, decode=not annotations_only, on_image=on_image
    )
    findings = {**result.findings, **failed}
    if len(location.splits) > 1:  # of several files over a folder each lacks the others' images
        findings = {n: tuple(f for f in p if f.code != UNLISTED) for n, p in findings.items()}
    findings[""] = (*of_reading, *findings[""])
    if not annotations_only:
        for name, more in _beside(read, findings).items():
            part = name if name in splits else ""
            findings[part] = (*findings[part], *more)
    return replace(result, findings=findings)


def _read_all(
    location: DatasetLocation, masks: MaskOptions, *, check_files: bool
) -> tuple[dict[str, DatasetIndex], dict[str, tuple[Finding, ...]]]:
    """The splits that can be read, with the same classes, and why the others cannot."""
    splits: dict[str, DatasetIndex] = {}
    failed: dict[str, tuple[Finding, ...]] = {}
    first: DatasetError | None = None
    classes = common_classes(location.images, location.splits.values(), location.layout, masks)
    for name, file in location.splits.items():
        try:
            splits[name] = read_dataset(
                location.images,
                file,
                layout=location.layout,
                on_problem="drop",
                classes=classes,
                check_files=check_files,
                unlisted="ignore" if len(location.splits) > 1 else "empty",
                split=part_of_file(name, file),
                masks=masks,
            )
        except DatasetError as error:
            first = first or error
            failed[name] = (Finding("error", "split-unreadable", file.name, str(error)),)
        else:
            classes = splits[name].classes
    if not splits:
        raise first or DatasetError("expected at least one split, got none")
    return splits, failed


def _beside(
    splits: Mapping[str, DatasetIndex], findings: Mapping[str, Sequence[Finding]]
) -> dict[str, tuple[Finding, ...]]:
    """What is in the folder besides the images of the splits, by split."""
    told = [finding for part in findings.values() for finding in part]
    known = {finding.file for finding in told}
    strays = tuple(
        Finding("warning", "path-ignored", name, "leads out of the data root: not read")
        for name in open_tree(next(iter(splits.values())).root).strays()
        if name not in known and not any(shown(name) in f.message for f in told)
    )
    unused = {} if any(f.code == UNLISTED for f in told) else unused_images(splits)
    return {**unused, "": (*strays, *unused.get("", ()))}


def check_splits(
    splits: Mapping[str, DatasetIndex],
    *,
    image_size: int = 320,
    preset: str = "slim",
    decode: bool = True,
    on_image: Callable[[], None] | None = None,
) -> DataCheck:
    """Look at boxes, classes and pixels of data that was read.

    Args:
        splits: Data by split; findings of the reading are taken over.
        image_size: See `BoxSizes`.
        preset: See `BoxSizes`.
        decode: Whether to look at the pixels; without, copies of images are not found.
        on_image: Called after each decoded image.
    """
    facts = {name: _facts(index, on_image) if decode else [] for name, index in splits.items()}
    findings = {
        name: (
            *index.findings,
            *_pixel_findings(facts[name]),
            *(_mask_findings(index) if index.counts().masks else _box_findings(index)),
            *_copies_within(facts[name]),
        )
        for name, index in splits.items()
    }
    leaks = (*_shared_files(splits), *_copies_across(splits, facts))
    images = [image for index in splits.values() for image in index]
    sizes = box_sizes(images, image_size, preset) if any(len(i.labels) for i in images) else None
    findings[""] = (
        *_class_findings(splits),
        *_without_boxes(splits),
        *size_findings(sizes),
        *_grey_findings(splits, facts),
        *map(_leak_finding, leaks),
    )
    return DataCheck(dict(splits), findings, sizes, leaks)


def _facts(index: DatasetIndex, on_image: Callable[[], None] | None) -> list[PixelFacts]:
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    return look_at_all(index, workers=workers, on_image=on_image)


# --- one split -----------------------------------------------------------------------------------


def _pixel_findings(facts: Sequence[PixelFacts]) -> Iterator[Finding]:
    for fact in facts:
        if fact.error is not None:
            message = fact.error.removeprefix(f"{shown(fact.file)}: ")
            yield Finding("error", "image-undecodable", fact.file, message)
        elif fact.blank:
            message = "expected a picture, all pixels have one colour"
            yield Finding("warning", "image-blank", fact.file, message)
        if fact.orientation != 1:
            message = (
                f"EXIF orientation {fact.orientation}: viewers show the image turned, boxes and "
                f"training refer to the pixels as stored; see that the boxes fit them"
            )
            yield Finding("warning", "image-exif-rotation", fact.file, message)


def _box_findings(index: DatasetIndex) -> Iterator[Finding]:
    for image in index:
        for pair in same_boxes(image):
            yield _same_box_finding(index, image, pair)
    empty = [image.file for image in index if len(image.labels) == 0]
    if empty:
        message = f"{len(empty)} of {len(index)} images have no boxes, such as {shown(empty[0])}"
        yield Finding("note", "images-empty", "", message)
    crowds = sum(int(image.crowd.sum()) for image in index)
    if crowds:
        message = f"{crowds} boxes stand for groups of objects (crowd): not trained on"
        yield Finding("note", "boxes-crowd", "", message)


def _mask_findings(index: DatasetIndex) -> Iterator[Finding]:
    """Shares of the classes, those with hardly a pixel, and masks that two images have alike."""
    counts = index.counts()
    total, left_out = sum(counts.pixels_per_class.values()), counts.ignored_pixels
    shares = ", ".join(
        f"{shown(n)} {p / max(1, total):.1%}" for n, p in counts.pixels_per_class.items()
    )
    ignored = left_out / max(1, total + left_out)
    message = f"pixels by class: {shares}" + (f"; {ignored:.1%} ignored" if ignored else "")
    yield Finding("note", "mask-shares", "", message)
    for name, pixels in counts.pixels_per_class.items():
        if 0 < pixels < _RARE * total:
            message = f"class {shown(name)} has {pixels} of {total} pixels: is it a class?"
            yield Finding("warning", "mask-rare", "", message)
    first: dict[bytes, str] = {}
    for image in index:
        mask = image.target
        if isinstance(mask, Mask) and np.count_nonzero(mask.pixels) > 1:
            other = first.setdefault(mask.sha256, image.file)
            if other != image.file:
                own = "its mask" if mask.packed else f"its mask {shown(mask.file)}"
                message = f"{own} is that of {shown(other)}, pixel by pixel"
                yield Finding("warning", "mask-copy", image.file, message)


def _same_box_finding(index: DatasetIndex, image: ImageRecord, pair: SameBoxes) -> Finding:
    box = ", ".join(f"{v:.6g}" for v in image.boxes[pair.second])
    first, second = (shown(index.classes[image.labels[n] - 1]) for n in (pair.first, pair.second))
    entry = f"boxes {pair.first} and {pair.second}"
    if pair.one_class:
        message = f"one {second} has two boxes, at ({box}), IoU {pair.iou:.2f}"
        return Finding("warning", "box-duplicate", image.file, message, entry=entry)
    message = f"the box at ({box}) is both {first} and {second}"
    return Finding("warning", "box-two-classes", image.file, message, entry=entry)


def _copies_within(facts: Sequence[PixelFacts]) -> Iterator[Finding]:
    first: dict[bytes, str] = {}
    for fact in facts:
        if fact.digest and not fact.blank:
            other = first.setdefault(fact.digest, fact.file)
            if other != fact.file:
                message = f"the same pixels as {shown(other)}"
                yield Finding("warning", "image-copy", fact.file, message)


def _grey_findings(
    splits: Mapping[str, DatasetIndex], facts: Mapping[str, Sequence[PixelFacts]]
) -> Iterator[Finding]:
    """That 16-bit images use few levels, where nobody has said how many."""
    silent = [name for name, index in splits.items() if index.grey_levels is None]
    found = most_levels((fact.level, fact.file) for name in silent for fact in facts[name])
    if found is not None and found.few:
        yield grey_finding(found)


# --- all splits ----------------------------------------------------------------------------------


def _class_findings(splits: Mapping[str, DatasetIndex]) -> Iterator[Finding]:
    classes = next(iter(splits.values())).classes
    found: Counter[str] = Counter()
    what = "boxes"
    for index in splits.values():
        what = "pixels" if index.counts().masks else what
        found.update(_per_class(index))
    for name in classes:
        if not found[name]:
            message = f"class {shown(name)} has no {what}"
            yield Finding("warning", "class-unused", "", message, entry=f"class {shown(name)}")
    for a, b in combinations(classes, 2):
        if folded_class(a) == folded_class(b):
            message = f"classes {shown(a)} and {shown(b)} differ only in how they are written"
            yield Finding("warning", "class-alike", "", message, entry=f"class {shown(b)}")
    train = splits.get("train")
    if train is not None and len(splits) > 1:
        yield from _untrained_classes(train, found, what)


def _without_boxes(splits: Mapping[str, DatasetIndex]) -> Iterator[Finding]:
    for name, index in splits.items():
        message = missing_boxes(name, index)
        if message is not None:
            yield Finding("error", "split-without-boxes", "", message)


def _per_class(index: DatasetIndex) -> Mapping[str, int]:
    """Boxes of each class, or pixels."""
    counts = index.counts()
    return counts.pixels_per_class if counts.masks else counts.boxes_per_class


def _untrained_classes(
    train: DatasetIndex, found: Mapping[str, int], what: str
) -> Iterator[Finding]:
    for name, number in _per_class(train).items():
        if not number and found[name]:
            message = f"class {shown(name)} has {what}, but none to train on"
            yield Finding("warning", "class-untrained", "", message, entry=f"class {shown(name)}")


def _shared_files(splits: Mapping[str, DatasetIndex]) -> Iterator[Leak]:
    owner: dict[str, str] = {}
    for name, index in splits.items():
        for image in index:
            other = owner.setdefault(image.file, name)
            if other != name:
                yield Leak(other, image.file, name, image.file, "file")


@dataclass(frozen=True)
class _Member:
    """An image of a split, as it is compared with those of other splits."""

    split: str
    file: str
    fact: PixelFacts | None

    @property
    def look(self) -> Look | None:
        return None if self.fact is None or self.fact.blank else self.fact.look

    @property
    def digest(self) -> bytes:
        return b"" if self.fact is None or self.fact.blank else self.fact.digest


def _copies_across(
    splits: Mapping[str, DatasetIndex], facts: Mapping[str, Sequence[PixelFacts]]
) -> Iterator[Leak]:
    """For each image the nearest one of its photo in an earlier split."""
    seen = {name: {fact.file: fact for fact in part} for name, part in facts.items()}
    members = [
        _Member(name, image.file, seen[name].get(image.file))
        for name, index in splits.items()
        for image in index
    ]
    labels = photo_labels([one.file for one in members], [one.look for one in members])
    together: defaultdict[int | bytes, list[_Member]] = defaultdict(list)
    for member, label in zip(members, labels, strict=True):
        together[label if member.look is not None else member.digest or label].append(member)
    for group in together.values():
        earlier: list[_Member] = []
        for _, part in groupby(group, lambda member: member.split):
            own = list(part)
            yield from (leak for one in own for leak in _leak(one, earlier) if earlier)
            earlier += own


def _leak(member: _Member, earlier: Sequence[_Member]) -> Iterator[Leak]:
    """What an image of a later split has in common with the nearest of the earlier ones."""
    kind: LeakKind = "pixels"
    others = [one for one in earlier if member.digest and one.digest == member.digest]
    if not others and member.look is not None:
        able = [(one, one.look) for one in earlier if one.look is not None]
        found = nearest_look(member.look, [look for _, look in able]) if able else None
        if found is not None:
            kind, others = "turned" if found[1] else "look", [able[found[0]][0]]
    if not others:
        name, kind = marked_name(member.file)[0], "name"
        others = [one for one in earlier if marked_name(one.file)[0] == name]
    if all(one.file != member.file for one in others):
        for one in others if kind == "pixels" else others[:1]:
            yield Leak(one.split, one.file, member.split, member.file, kind)


def _leak_finding(leak: Leak) -> Finding:
    other, pair = leak.other_split, f"{shown(leak.file)} of {leak.split}"
    if leak.kind == "file":
        message = f"the image is in {leak.split} and in {other}: results on {other} are too good"
        return Finding("error", "image-in-two-splits", leak.other_file, message)
    if leak.kind == "pixels":
        message = f"the same pixels as {pair}: results on {other} are too good"
        return Finding("error", "image-copy-across-splits", leak.other_file, message)
    if leak.kind == "name":
        message = f"of the same photo as {pair}, by its name: results on {other} may be too good"
        return Finding("warning", "photo-across-splits", leak.other_file, message)
    as_ = ", mirrored or turned, as" if leak.kind == "turned" else " as"
    message = f"nearly the same picture{as_} {pair}: results on {other} may be too good"
    return Finding("warning", "image-near-duplicate", leak.other_file, message)
