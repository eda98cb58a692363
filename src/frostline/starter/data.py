"""What a data set's first study trains and validates on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from frostline.datasets import (
    DatasetCounts,
    DatasetIndex,
    DatasetLocation,
    read_dataset,
    read_splits,
    split_by_group,
    split_by_photo,
    suggest_image_size,
)
from frostline.datasets.box_sizes import BoxSizes, box_sizes
from frostline.datasets.findings import PATH_FOUND, UNLISTED, shown
from frostline.datasets.grey_levels import GreyLevels, find_grey_levels
from frostline.datasets.raw import MaskOptions
from frostline.datasets.reading import require_boxes, unused_images
from frostline.errors import DatasetError

__all__ = ["FRACTION", "Material", "choose_mask_size", "choose_size", "read_material"]

FRACTION = 0.25
"""Part of the images that validates, where the data set does not say which."""

_STEP, _LARGEST = 32, 1024  # px: sizes that are tried
_MISFITS = 0.1  # of the boxes, up to which a size is good enough


@dataclass(frozen=True)
class Material:
    """A data set, read, and how it is divided.

    Attributes:
        layout: its layout.
        images: folder of the images.
        files: annotation file by split; with ``fraction`` or ``val_groups`` only one, of both.
        splits: images and boxes by split, ``train`` and ``val`` first.
        fraction: part of the images drawn for validation, by photo, or None.
        val_groups: groups that are the validation data, or None.
        unused: splits of the data set that the study leaves aside.
        problems: entries that cannot be used and are dropped.
        notes: what was taken for granted in reading and should be seen.
        grey: levels of 16-bit grey images, where they are few; else None.
    """

    layout: str
    images: Path
    files: Mapping[str, Path]
    splits: Mapping[str, DatasetIndex]
    fraction: float | None = None
    val_groups: tuple[str, ...] | None = None
    unused: tuple[str, ...] = ()
    problems: int = 0
    notes: tuple[str, ...] = ()
    grey: GreyLevels | None = None

    def counts(self) -> dict[str, DatasetCounts]:
        """How much each split holds."""
        return {name: index.counts() for name, index in self.splits.items()}

    def total(self) -> DatasetCounts:
        """How much all splits hold together."""
        images = [image for index in self.splits.values() for image in index]
        classes = next(iter(self.splits.values())).classes
        return DatasetIndex(self.images, classes, tuple(images)).counts()

    @property
    def masks(self) -> bool:
        """Whether the images have masks, not boxes."""
        return self.total().masks

    def left_out(self) -> str:
        """What is dropped, in words; empty if nothing is."""
        noun = "entry" if self.problems == 1 else "entries"
        return f"{self.problems} {noun} cannot be used and will be left out" * bool(self.problems)

    def most_boxes(self) -> int:
        """Boxes of the image that has most."""
        return max(len(image.labels) for index in self.splits.values() for image in index)


def read_material(location: DatasetLocation, *, outlines: bool = False) -> Material:
    """Read a data set and decide how it is divided.

    Its own ``train`` and ``val`` are kept. Where there is but one part, whole groups (fields,
    cameras) validate if images have groups, else a seeded fraction of the photos, each with all its
    versions.

    Args:
        location: the data set.
        outlines: whether outlines of objects are read as masks.

    Raises:
        DatasetError: it cannot be read, has no boxes, or has several parts none of which is
            recognised as the training data.
    """
    files = location.splits
    if {"train", "val"} <= set(files):
        kept = {name: file for name, file in files.items() if name in ("train", "val", "test")}
        unused = tuple(name for name in files if name not in kept)
        masks = MaskOptions(outlines=outlines)
        splits = read_splits(
            location.images, kept, layout=location.layout, on_problem="drop", masks=masks
        )
        material = Material(location.layout, location.images, kept, splits, unused=unused)
    else:
        material = _divided(location, MaskOptions(outlines=outlines))
    _require_boxes(material)
    return _with_findings(material)


def _divided(location: DatasetLocation, masks: MaskOptions) -> Material:
    """One annotation file, divided into training and validation data."""
    name = _only_part(location.splits)
    file = location.splits[name]
    index = read_dataset(
        location.images, file, layout=location.layout, on_problem="drop", masks=masks
    )
    if len(index) < 2:  # noqa: PLR2004 - one to train on, one to validate on
        raise _too_few(location, index)
    groups = _held_out(index)
    if groups is None:
        rest, drawn = split_by_photo(index, FRACTION, seed=0)
    else:
        rest, drawn = split_by_group(index, groups)
    return Material(
        location.layout,
        location.images,
        files={"annotations": file},
        splits={"train": rest, "val": drawn},
        fraction=FRACTION if groups is None else None,
        val_groups=groups,
        unused=tuple(other for other in location.splits if other != name),
    )


def _only_part(splits: Mapping[str, Path]) -> str:
    """The part that is divided: the only one, or the training data beside test data."""
    several_in_one = len(splits) > 1 and len(set(splits.values())) == 1  # a data.yaml
    if len(splits) == 1 or ("train" in splits and not several_in_one):
        return next(iter(splits))
    if several_in_one:
        file = next(iter(splits.values())).name
        raise DatasetError(
            f"{shown(file)}: expected train and val, found {shown(', '.join(splits))}; add a line "
            f"'val:' with the images to validate on"
        )
    raise DatasetError(
        f"expected annotation files for train and val, or one for both, found "
        f"{shown(', '.join(splits))}; name one file, with --images for its folder of images"
    )


def _too_few(location: DatasetLocation, index: DatasetIndex) -> DatasetError:
    lost = [finding for finding in index.findings if finding.severity == "error"]
    if not lost:
        return DatasetError(
            f"expected at least two images in {shown(location.images)}, got {len(index)}; "
            f"one trains, one validates"
        )
    return DatasetError(
        f"{len(lost)} entries cannot be used and {len(index)} images are left; the first: "
        f"{lost[0]}; see that {shown(location.images)} is the folder of the images (--images)"
    )


def _held_out(index: DatasetIndex) -> tuple[str, ...] | None:
    """The smallest groups, up to a quarter of the images; None without groups to choose from."""
    sizes = index.counts().images_per_group
    if len(sizes) < 2:  # noqa: PLR2004
        return None
    masks = index.counts().masks
    with_boxes = {image.group for image in index if masks or len(image.labels)}
    chosen: list[str] = []
    images = 0
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        if chosen and images + sizes[name] > FRACTION * len(index):
            break
        if name in with_boxes:
            chosen, images = [*chosen, name], images + sizes[name]
    return tuple(sorted(chosen)) if images <= len(index) / 2 else None


def _require_boxes(material: Material) -> None:
    for name in ("train", "val"):
        counts = material.splits[name].counts()
        if counts.masks and len(counts.pixels_per_class) < 2:  # noqa: PLR2004 - to tell apart
            raise DatasetError(
                f"expected masks with at least two values, got {', '.join(counts.pixels_per_class)}"
            )
    require_boxes({name: material.splits[name] for name in ("train", "val")})


_PER_FILE = "label-without-image"
_TOLD = (
    *(
        UNLISTED,
        PATH_FOUND,
        "split-missing",
        "labels-unused",
        "label-shared",
        "class-merged",
        "class-above",
    ),
    *("photo-copies", "photo-cut"),
    *("class-unnamed", "outline-boxed", "points-unread", "mask-missing", "images-grey"),
    *("text-encoding", "boxes-relative", "shapes-unread", "images-absent", "size-unknown"),
    "image-turned",
)
"""Codes of findings that say at once what was taken for granted."""


def _with_findings(material: Material) -> Material:
    """With the number of entries that are left out, and the notes, each told once."""
    found = [f for index in material.splits.values() for f in index.findings]
    problems = {str(finding) for finding in found if finding.severity == "error"}
    notes = list(dict.fromkeys(f.message for f in found if f.code in _TOLD))
    orphans = {finding.file for finding in found if finding.code == _PER_FILE}
    if orphans:
        notes.append(f"{len(orphans)} label files have no image, such as {shown(min(orphans))}")
    unlisted = any(f.code == UNLISTED for f in found)
    notes += [] if unlisted or problems else _unused(material)
    total = material.total()
    if unlisted and total.empty_images > total.images / 2:
        notes.append("more than half of the images have no row: do the images belong to this file?")
    grey = find_grey_levels(material.splits.values())
    grey = grey if grey is not None and grey.few else None
    return replace(material, problems=len(problems), notes=tuple(notes), grey=grey)


def _unused(material: Material) -> list[str]:
    """What is said of images that would make a split larger."""
    divided = material.fraction is not None or material.val_groups is not None
    whole = tuple(image for index in material.splits.values() for image in index)
    first = next(iter(material.splits.values()))
    splits = {"all": replace(first, images=whole)} if divided else material.splits
    return [
        f"{split}: {finding.message}" if split else finding.message
        for split, findings in unused_images(splits).items()
        for finding in findings
        if finding.severity == "warning"
    ]


def choose_mask_size(material: Material, *, gpu: bool) -> int:
    """The image size for masks, px: as stored, in multiples of 32, up to 256 on a CPU."""
    images = [image for index in material.splits.values() for image in index]
    stored = max(max(image.width, image.height) for image in images)
    most = _LARGEST // (2 if gpu else 4)
    return min(max(2 * _STEP, stored // _STEP * _STEP), most)


def choose_size(material: Material, preset: str) -> BoxSizes:
    """The image size for the boxes, with their sizes there against the anchors of a preset.

    The smallest multiple of 32 px from 256 to 1024 (and no more than the images have) at which
    nine boxes in ten have 16 px or more, and nine in ten fit an anchor. Where no size is good for
    the anchors, the first condition alone decides.
    """
    images = [image for index in material.splits.values() for image in index if len(image.labels)]
    smallest = suggest_image_size(images)
    stored = max(max(image.width, image.height) for image in images)
    for size in range(smallest, min(stored, _LARGEST) + 1, _STEP):
        sizes = box_sizes(images, size, preset)
        if sizes.misfit_share <= _MISFITS:
            return sizes
    return box_sizes(images, smallest, preset)
