"""The one form that every data layout is read into."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import Finding, shown
from frostline.datasets.images import load_image
from frostline.datasets.targets import Mask, Target
from frostline.errors import DatasetError
from frostline.notebook import facts_html

__all__ = ["DatasetCounts", "DatasetIndex", "ImageRecord"]


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image and what it is annotated with.

    Attributes:
        file: POSIX path relative to the root of the data set.
        width: Width in pixels, >= 1: as stored; or, where the annotations have the size that
            viewers show (EXIF), that one. ``load_image`` turns the pixels likewise.
        height: Height in pixels, >= 1.
        target: Its annotation, such as `Boxes`.
        group: Origin of the image, such as a field or a camera, by which sets can be split.
        number: Its id in the annotation file; None where images have none there.
    """

    file: str
    width: int
    height: int
    target: Target
    group: str | None = None
    number: int | str | None = None

    def __post_init__(self) -> None:
        if not self.file or self.width < 1 or self.height < 1:
            raise ValueError(
                f"expected a file name and a size >= 1, "
                f"got {self.file!r} {self.width}x{self.height}"
            )
        self.target.check(self.file, (self.width, self.height))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def boxes(self) -> npt.NDArray[np.float64]:
        """Boxes of the image, see `Boxes`."""
        return self.target.xyxy

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Labels of the boxes, see `Boxes`."""
        return self.target.labels

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """Which boxes stand for groups of objects, see `Boxes`."""
        return self.target.crowd


@dataclass(frozen=True)
class DatasetCounts:
    """How much is in a data set.

    Attributes:
        images: All images.
        empty_images: Images without boxes.
        boxes: All boxes, crowds included.
        crowd_boxes: Boxes that stand for a group of objects.
        boxes_per_class: Class name to number of boxes, in the order of the classes.
        images_per_group: Group to number of images, sorted; images without a group are left out.
        pixels_per_class: Of masks, class name to number of pixels, in the order of the classes;
            empty without masks.
        ignored_pixels: Of masks, pixels that are neither learned nor scored.
    """

    images: int
    empty_images: int
    boxes: int
    crowd_boxes: int
    boxes_per_class: dict[str, int]
    images_per_group: dict[str, int]
    pixels_per_class: dict[str, int] = field(default_factory=dict)
    ignored_pixels: int = 0

    @property
    def masks(self) -> bool:
        """Whether the images have masks, not boxes."""
        return bool(self.pixels_per_class)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of boxes or masks alone."""
        mask, box = ("pixels_per_class", "ignored_pixels"), ("empty_images", "boxes_per_class")
        other = (*box, "boxes", "crowd_boxes") if self.masks else mask
        return {name: value for name, value in vars(self).items() if name not in other}


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """A data set: images, boxes and classes, with what was noticed while reading.

    Attributes:
        root: Folder (or zip file, or folder inside a zip file) that the image files are in.
        classes: Class names; label 1 is the first.
        images: Records in the order of the annotation file.
        findings: Problems dropped, boxes clipped, and so on.
        grey_levels: See `load_image`; None: all that 16 bits can hold.
        categories: Name of the class of each category id of the annotation file; empty where
            classes have no ids there.

    Example:
        >>> index = DatasetIndex(Path("."), ("ear",), (), ())
        >>> index.counts().images
        0
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[ImageRecord, ...]
    findings: tuple[Finding, ...] = ()
    grey_levels: int | None = None
    categories: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"expected class names to differ, got {self.classes}")
        files = Counter(image.file for image in self.images)
        if len(files) != len(self.images):
            raise ValueError(
                f"expected file names to differ, {files.most_common(1)[0][0]!r} does not"
            )
        for image in self.images:
            if len(image.labels) and image.labels.max() > len(self.classes):
                raise ValueError(
                    f"{image.file}: label {image.labels.max()} of {len(self.classes)} classes"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.images)

    def load(self, image: ImageRecord) -> npt.NDArray[np.uint8]:
        """Pixels of one of the images, uint8 (H, W, 3), see `load_image`."""
        return load_image(self.root, image.file, size=image.size, grey_levels=self.grey_levels)

    def share(self, share: float) -> "DatasetIndex":
        """A share of the images, at least one: the first in the order of their hashed names.

        A larger share holds a smaller one; which images they are does not depend on the order of
        the annotation file, in which they stay.
        """
        count = max(1, round(share * len(self)))
        files = [image.file for image in self.images]
        kept = set(sorted(files, key=lambda f: hashlib.sha256(f.encode()).hexdigest())[:count])
        images = tuple(image for image in self.images if image.file in kept)
        return replace(self, images=images)

    def digest(self) -> str:
        """SHA-256 over classes and images in their order; neither root nor findings count.

        Of an image: name, size, group, boxes. Its pixels are not read, so others under the same
        name and size are not noticed.

        Returns:
            64 hexadecimal digits. Equal for the same content on every platform.
        """
        sha = hashlib.sha256()
        sha.update(_framed(["frostline-dataset-1", *self.classes]))
        for image in self.images:
            sha.update(_framed([image.file, str(image.width), str(image.height)]))
            sha.update(_framed([image.group] if image.group is not None else []))
            for part in image.target.digest_parts():
                sha.update(part)
        return sha.hexdigest()

    def counts(self) -> DatasetCounts:
        """How many images, boxes, and boxes (or pixels of masks) per class there are."""
        labels = np.concatenate([np.zeros(0, np.int64), *(i.labels for i in self.images)])
        per_class = np.bincount(labels, minlength=len(self.classes) + 1)[1:].tolist()
        groups = Counter(i.group for i in self.images if i.group is not None)
        masks = [image.target for image in self.images if isinstance(image.target, Mask)]
        pixels = sum((mask.pixels for mask in masks), np.zeros(len(self.classes), np.int64))
        boxed = [image for image in self.images if not isinstance(image.target, Mask)]
        return DatasetCounts(
            images=len(self.images),
            empty_images=sum(len(i.labels) == 0 for i in boxed),
            boxes=len(labels),
            crowd_boxes=sum(int(i.crowd.sum()) for i in boxed),
            boxes_per_class={} if masks else dict(zip(self.classes, per_class, strict=True)),
            images_per_group=dict(sorted(groups.items())),
            pixels_per_class=dict(zip(self.classes, pixels.tolist(), strict=True)) if masks else {},
            ignored_pixels=sum(mask.ignored for mask in masks),
        )

    def to_coco(self) -> dict[str, Any]:
        """The data set as a COCO dictionary; masks have no place in it.

        Image and annotation ids count from 1 (an annotation id of 0 reads as "no match" in COCO
        evaluation); category ids are the labels. ``area`` is that of the box, in square pixels.
        A group goes into the image entry as ``group``.
        """
        annotations: list[dict[str, Any]] = []
        for image_id, image in enumerate(self.images, 1):
            annotations.extend(_coco_boxes(image, image_id, first_id=len(annotations) + 1))
        return {
            "images": [_coco_image(image, n) for n, image in enumerate(self.images, 1)],
            "annotations": annotations,
            "categories": [{"id": n, "name": name} for n, name in enumerate(self.classes, 1)],
        }

    def to_dict(self) -> dict[str, Any]:
        """Classes, counts, digest and findings as plain values; no boxes, see `to_coco`."""
        return {
            "classes": list(self.classes),
            **self.counts().to_dict(),
            "digest": self.digest(),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def _repr_html_(self) -> str:
        """A small table for notebooks."""
        counts = self.counts()
        rows = [
            ("images", counts.images),
            *([] if counts.masks else [("without boxes", counts.empty_images)]),
            *counts.boxes_per_class.items(),
            *((f"{name}, pixels", number) for name, number in counts.pixels_per_class.items()),
            ("findings", len(self.findings)),
        ]
        return facts_html(f"data set {self.root.name}", rows)

    def select(self, files: Iterable[str]) -> "DatasetIndex":
        """The images with these file names, in the order of this index, with their own findings.

        Raises:
            DatasetError: If a name is not in the index.
        """
        wanted = set(files)
        missing = wanted.difference(image.file for image in self.images)
        if missing:
            raise DatasetError(
                f"expected names of images of the data set, got {shown(min(missing))!r}"
                f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} that are not in it"
            )
        kept = tuple(image for image in self.images if image.file in wanted)
        found = tuple(finding for finding in self.findings if finding.file in wanted)
        return replace(self, images=kept, findings=found)


def _framed(texts: list[str]) -> bytes:
    """Texts with their lengths, so that no two lists give the same bytes."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(len(part).to_bytes(8, "little") + part for part in [b"%d" % len(parts), *parts])


def _coco_image(image: ImageRecord, image_id: int) -> dict[str, Any]:
    entry = {"id": image_id, "file_name": image.file, "width": image.width, "height": image.height}
    return entry if image.group is None else {**entry, "group": image.group}


def _coco_boxes(image: ImageRecord, image_id: int, first_id: int) -> list[dict[str, Any]]:
    size = image.boxes[:, 2:] - image.boxes[:, :2]
    xywh = np.concatenate([image.boxes[:, :2], size], axis=1).tolist()  # (N, 4)
    return [
        {
            "id": first_id + n,
            "image_id": image_id,
            "category_id": int(image.labels[n]),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(image.crowd[n]),
        }
        for n, box in enumerate(xywh)
    ]
