"""From what a layout says to a checked index: the same rules for every layout."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frostline.datasets.class_names import near_class
from frostline.datasets.files import Tree, is_image, plain_name, relative_name, stems
from frostline.datasets.findings import PATH_FOUND, Place, Problems, several, shown
from frostline.datasets.images import image_size, is_turned
from frostline.datasets.index import DatasetIndex, ImageRecord
from frostline.datasets.named import NamedFiles, Naming, Spelling, split_words
from frostline.datasets.targets import Boxes, Target
from frostline.errors import DatasetError

__all__ = [
    "AS_FOUND",
    "MaskOptions",
    "RawBoxes",
    "RawDataset",
    "RawImage",
    "ReadOptions",
    "Source",
    "build_index",
    "mention_sizes",
    "no_boxes",
]

_ONE_NAME = "give a class one name in all files"

_ROUNDING = 0.01
"""Pixels that a box may stick out without mention: layouts with relative numbers round."""

_MAX_SIDE = 1_000_000
"""Largest width or height of an image in pixels that is believed."""

_MIN_INSIDE = 0.5
"""Smallest part of a box's area inside the image for which the box is clipped, not refused."""


@dataclass(frozen=True)
class ReadOptions:
    """How a data set is read; see `frostline.datasets.read_dataset`."""

    problems: Problems
    classes: tuple[str, ...] | None = None
    check_files: bool = True
    unlisted_empty: bool = True
    split: str | None = None


@dataclass(frozen=True)
class MaskOptions:
    """What a study says of its masks; see ``MasksConfig``.

    Attributes:
        classes: Value and name of each class, in the order of labels; empty: the values there are.
        colours: Name and colour of each class, in the order of labels; empty: masks of numbers.
        ignore_index: Value of pixels to leave out.
        ignore_colour: Colour of pixels to leave out.
        outlines: Whether masks are wanted where annotations are outlines of objects.
    """

    classes: tuple[tuple[int, str], ...] = ()
    colours: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    ignore_index: int | None = None
    ignore_colour: tuple[int, int, int] | None = None
    outlines: bool = False

    @property
    def said(self) -> bool:
        """Whether anything is said of the pixels of masks."""
        return replace(self, outlines=False) != MaskOptions()


AS_FOUND = MaskOptions()
"""Nothing is said: masks are read by what is in them."""


@dataclass(frozen=True)
class Source:
    """Where a layout's reader reads from.

    Attributes:
        images: Files under the data root.
        annotations: Files beside the annotation file, or below the annotation folder.
        name: Annotation file in ``annotations``; empty for a layout whose annotations are a folder.
        masks: What is said of masks.
    """

    images: Tree
    annotations: Tree
    name: str
    masks: MaskOptions = MaskOptions()

    def naming(self, split: str | None = None) -> Naming:
        """From where the annotations name files, see `Naming`.

        Args:
            split: What the part is called that is read, where the annotation file has several.
        """
        root, folder = (Path(os.path.realpath(t.root)) for t in (self.images, self.annotations))
        beside = None
        if folder.is_relative_to(root):
            below = folder.relative_to(root).as_posix()
            beside = "" if below == "." else f"{below}/"
        shared = Path(os.path.commonpath([root, folder]))
        path = (folder / self.name).relative_to(shared)
        told = split_words(split or "/".join(path.parts[-2:]))
        return Naming(beside, told, root.name)


@dataclass(frozen=True)
class RawImage:
    """An image as the annotations have it.

    Attributes:
        file: Its name as it stands there, or that of the file where the reader has found it.
        size: Width and height in pixels; None where they do not say it.
        group: See `ImageRecord`.
        place: Where it stands.
        named: What the reader found the file for, where that is not its name.
        resolved: Whether the reader has found the file, which is not looked for again.
        mask: Name of the mask whose size is that of the image; empty for all others.
        number: Its id in the annotation file; None where images have none.
    """

    file: str
    size: tuple[int, int] | None
    group: str | None
    place: Place
    named: str | None = None
    resolved: bool = False
    mask: str = ""
    number: int | str | None = None


@dataclass(frozen=True)
class RawBoxes:
    """All boxes of a data set, unchecked.

    Attributes:
        image: int64 (M,), position in the list of images.
        xyxy: float64 (M, 4) in pixels; may hold NaN, infinity, or anything else.
        labels: int64 (M,), 1-based into the classes of the data set.
        crowd: bool (M,).
        place: From the position of a box to where it stands.
    """

    image: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    place: Callable[[int], Place]

    def take(self, keep: npt.NDArray[np.bool_]) -> "RawBoxes":
        """The boxes where ``keep`` bool (M,) is True."""
        original = np.flatnonzero(keep)
        place = self.place
        return RawBoxes(
            self.image[keep],
            self.xyxy[keep],
            self.labels[keep],
            self.crowd[keep],
            lambda n: place(int(original[n])),
        )


@dataclass(frozen=True)
class RawDataset:
    """What a layout's reader found.

    Attributes:
        classes: Class names; label 1 is the first.
        images: In the order of the annotations.
        boxes: Unchecked.
        relative: Whether coordinates are parts of width and height (0 to 1) instead of pixels.
        targets: What each image is annotated with, where that is no boxes; None for boxes.
        paint: From the position of an image and its width and height in pixels to what it is
            annotated with, where that takes the size; None for all others.
        categories: Name of the class of each id of a category; empty where classes have none.
    """

    classes: tuple[str, ...]
    images: Sequence[RawImage]
    boxes: RawBoxes
    relative: bool = False
    targets: Sequence[Target] | None = None
    paint: Callable[[int, tuple[int, int]], Target] | None = None
    categories: Mapping[int, str] = field(default_factory=dict)


def no_boxes() -> RawBoxes:
    """Of a data set whose images are annotated with something else."""
    none = np.zeros(0, np.int64)
    return RawBoxes(none, np.zeros((0, 4)), none, np.zeros(0, np.bool_), lambda n: Place(""))


def mention_sizes(images: Sequence[RawImage], name: str, problems: Problems) -> None:
    """Say of how many images an annotation file that has sizes does not say it."""
    unknown = sum(image.size is None for image in images)
    if unknown:
        message = (
            f"{unknown} of {len(images)} images have no width and height, or 0: taken from the "
            f"pictures"
        )
        problems.note("size-unknown", Place(name), message)


def build_index(source: Source, raw: RawDataset, options: ReadOptions) -> DatasetIndex:
    """Find the images, check files and boxes, and make the index.

    Args:
        source: ``images`` are the files under the data root.
        raw: Result of a layout's reader.
        options: ``problems`` collects what is dropped; ``check_files`` opens the header of every
            image; ``classes`` gives other class names or another order.

    Raises:
        DatasetError: At the first problem, unless problems are dropped; or if nothing is left.
    """
    found = _located(source, raw.images, options)
    stored = [
        None if image is None else _image_size(source.images, image, options) for image in found
    ]
    images = [image or named for image, named in zip(found, raw.images, strict=True)]
    _mention_turned(images, stored, source, options.problems)
    sizes = [known and (i.size or known) for i, known in zip(images, stored, strict=True)]
    name = source.name or source.annotations.root.name
    boxes = _checked_boxes(raw, sizes, options, name)
    records = _records(images, sizes, boxes, raw)
    if not records:
        raise DatasetError(_none_usable(source.images, options.problems))
    classes = options.classes or raw.classes
    _require_text([*classes, *(image.group for image in images if image.group)])
    return DatasetIndex(
        source.images.root, classes, tuple(records), options.problems.found,
        categories=dict(raw.categories),
    )  # fmt: skip


def _checked_boxes(
    raw: RawDataset, sizes: Sequence[tuple[int, int] | None], options: ReadOptions, name: str
) -> RawBoxes:
    """Boxes that can be used, in pixels, with the labels of the data set; ``name`` is its file."""
    known = np.array([size is not None for size in sizes], dtype=bool)  # (I,)
    extent = np.array([s or (1, 1) for s in sizes], np.float64).reshape(-1, 2)  # (I, 2)
    boxes = _relabelled(raw, options, name)
    boxes = boxes.take(known[boxes.image])  # those of images left out went with them
    boxes = _in_pixels(boxes, extent) if raw.relative else boxes
    boxes = _finite_and_upright(boxes, options.problems)
    return _inside(boxes, extent, options.problems)


def _located(
    source: Source, images: Sequence[RawImage], options: ReadOptions
) -> list[RawImage | None]:
    """The images with the names of their files; None for one that several files fit."""
    tree, problems = source.images, options.problems
    files = NamedFiles(
        lambda: (name for name in tree.names() if not tree.is_link(name)),
        lambda name: "\\" not in name and _is_there(tree, name),
        source.naming(options.split),
    )
    named = iter(files.find_all(image.file for image in images if not image.resolved))
    spellings = [Spelling((image.file,)) if image.resolved else next(named) for image in images]
    _add_endings(images, spellings, source, options)
    found = [
        _renamed(image, spelling, problems)
        for image, spelling in zip(images, spellings, strict=True)
    ]
    if not _in_one_folder(images, spellings):
        _mention_found(found, source, problems)
    return _once_each(found, problems)


def _add_endings(
    images: Sequence[RawImage], spellings: list[Spelling], source: Source, options: ReadOptions
) -> None:
    """Put in the files of names without an ending, which some tools write, if no file has them."""
    bare = [
        n
        for n, (image, spelling) in enumerate(zip(images, spellings, strict=True))
        if not spelling.fits and not is_image(image.file)
    ]
    if not bare:
        return
    tree = source.images
    by_stem = stems(name for name in tree.names() if is_image(name) and not tree.is_link(name))
    files = NamedFiles(by_stem.keys, by_stem.__contains__, source.naming(options.split))
    named = files.find_all(images[n].file for n in bare)
    for n, spelling in zip(bare, named, strict=True):
        fits = tuple(file for stem in spelling.fits for file in by_stem[stem])
        spellings[n] = Spelling(fits)


def _in_one_folder(images: Sequence[RawImage], spellings: Sequence[Spelling]) -> bool:
    """Whether names lack nothing but one folder in front, the same for all."""
    folders = {
        file.removesuffix(relative_name(image.file)) if spelling.only_prefix else "*"
        for image, spelling in zip(images, spellings, strict=True)
        for file in spelling.fits
    }
    return len(folders) == 1 and "*" not in folders


def _renamed(image: RawImage, spelling: Spelling, problems: Problems) -> RawImage | None:
    """The image with the name of its file; None where several fit."""
    if len(spelling.fits) > 1:
        message = f"{shown(image.file)} fits {several(spelling.fits)}: name one of them in full"
        problems.error("image-ambiguous", image.place, message)
        return None
    if not spelling.fits:
        return replace(image, file=relative_name(image.file))
    (file,) = spelling.fits
    return replace(image, file=file, named=image.named if file == image.file else image.file)


def _is_there(tree: Tree, name: str) -> bool:
    """Whether there is a file of this name, or a link, which may lead out of the root."""
    state = tree.state(name)
    return state == "file" or (state == "outside" and plain_name(name) is not None)


def _once_each(images: Sequence[RawImage | None], problems: Problems) -> list[RawImage | None]:
    """Each file once: of two names for one file, the one that was not written so goes."""
    owners = Counter(image.file for image in images if image is not None)
    seen: set[str] = set()
    kept: list[RawImage | None] = []
    for image in images:
        twice = image is not None and owners[image.file] > 1
        if image is not None and twice and (image.named is not None or image.file in seen):
            name = image.file if image.named is None else image.named
            message = f"expected each image once, {shown(name)} and another fit {shown(image.file)}"
            problems.error("image-duplicate", image.place, message)
            kept.append(None)
            continue
        seen.update([] if image is None else [image.file])
        kept.append(image)
    return kept


def _mention_found(images: Sequence[RawImage | None], source: Source, problems: Problems) -> None:
    found = [image for image in images if image is not None and image.named is not None]
    if found:
        message = (
            f"{len(found)} of {len(images)} images were found by the ending of their path, or in "
            f"another spelling, such as {shown(found[0].file)} for {shown(found[0].named)}"
        )
        problems.note(PATH_FOUND, Place(source.name or source.annotations.root.name), message)


def _require_text(names: Iterable[str]) -> None:
    """Refuse names of classes and groups that no record can hold: escapes can halve a pair."""
    for name in dict.fromkeys(names):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"expected names of classes and groups in Unicode, got {shown(name)}; rename it"
            ) from None


def _none_usable(images: Tree, problems: Problems) -> str:
    errors = [finding for finding in problems.found if finding.severity == "error"]
    parts = [f"expected at least one usable image in {shown(images.root)}, found none"]
    if errors:
        parts.append(f"first of {len(errors)} problems: {errors[0]}")
    strays = [name for name in images.strays() if not is_image(name)]
    if strays:
        parts.append(
            f"{shown(strays[0])} leads out of it and is not followed, name the folder it leads to"
        )
    elif any(error.code == "image-missing" for error in errors):
        parts.append("name the folder that the images are in")
    return "; ".join(parts)


def _image_size(images: Tree, image: RawImage, options: ReadOptions) -> tuple[int, int] | None:
    """Stored width and height of an image that can be used, or None for one to leave out."""
    problems, size = options.problems, image.size
    state = images.state(image.file)
    if state == "outside":
        message = f"expected a file inside the data root, {shown(image.file)!r} leads out of it"
        problems.error("path-outside", image.place, message)
        return None
    if size is not None and not 1 <= min(size) <= max(size) <= _MAX_SIDE:
        message = f"expected an image size from 1 to {_MAX_SIDE} pixels, got {shown(size)}"
        problems.error("image-size", image.place, message)
        return None
    if not options.check_files and size is not None:
        return size
    try:
        stored = image_size(images.root, image.file)
    except DatasetError as error:
        code = "image-missing" if state == "missing" else "image-unreadable"
        problems.error(code, image.place, str(error))
        return None
    if size is not None and stored != size and not is_turned(images.root, image.file, size, stored):
        problems.error("size-mismatch", image.place, _size_message(image, size, stored))
        return None
    return stored


def _mention_turned(
    images: Sequence[RawImage],
    sizes: Sequence[tuple[int, int] | None],
    source: Source,
    problems: Problems,
) -> None:
    """Say how many images are annotated as viewers turn them; ``sizes`` are the stored ones."""
    turned = [
        image.file
        for image, stored in zip(images, sizes, strict=True)
        if stored is not None and image.size not in (None, stored)
    ]
    if turned:
        message = (
            f"{len(turned)} of {len(images)} images have the size that viewers show (EXIF), such "
            f"as {shown(turned[0])}: their pixels are turned as viewers do"
        )
        place = Place(source.name or source.annotations.root.name)
        problems.note("image-turned", place, message)


def _size_message(image: RawImage, size: tuple[int, int], stored: tuple[int, int]) -> str:
    if image.mask:
        return (
            f"expected a mask of {stored[0]}x{stored[1]} pixels, as image {shown(image.file)}, got "
            f"{size[0]}x{size[1]}"
        )
    message = (
        f"{shown(image.file)}: expected {size[0]}x{size[1]} as annotated, the file has "
        f"{stored[0]}x{stored[1]} pixels"
    )
    return (
        f"{message} (turned by a quarter? see its EXIF orientation)"
        if size == stored[::-1]
        else message
    )


def _relabelled(raw: RawDataset, options: ReadOptions, name: str) -> RawBoxes:
    """Boxes with labels into ``options.classes``; those of other classes are problems.

    Raises:
        DatasetError: If none is left: nothing could be scored.
    """
    if options.classes is None or options.classes == raw.classes:
        return raw.boxes
    new = {name: n for n, name in enumerate(options.classes, 1)}
    table = np.array([0, *(new.get(name, 0) for name in raw.classes)], dtype=np.int64)
    labels = table[raw.boxes.labels]
    for n in np.flatnonzero(labels == 0):
        other = raw.classes[raw.boxes.labels[n] - 1]
        message = _other_class(other, options.classes)
        advice = _ONE_NAME if near_class(other, options.classes) else ""
        options.problems.error("class-unknown", raw.boxes.place(int(n)), message, advice)
    if len(labels) and not labels.any():
        others = [raw.classes[n - 1] for n in np.unique(raw.boxes.labels)]
        raise DatasetError(
            f"{shown(name)}: none of the {len(labels)} boxes has a class of the training data: "
            f"{_other_class(others[0], options.classes)}; {_ONE_NAME}"
        )
    return replace(raw.boxes, labels=labels).take(labels > 0)


def _other_class(name: str, classes: Sequence[str]) -> str:
    """That a class is none of these, with the one that is probably meant."""
    near = near_class(name, classes)
    hint = f"; did you mean {shown(near)}?" if near else ""
    return f"expected one of the classes {shown(', '.join(classes))}, got {shown(name)!r}{hint}"


def _in_pixels(boxes: RawBoxes, sizes: npt.NDArray[np.float64]) -> RawBoxes:
    """Boxes in pixels, from parts of the image sizes float64 (I, 2)."""
    return replace(boxes, xyxy=boxes.xyxy * np.tile(sizes[boxes.image], 2))


def _finite_and_upright(boxes: RawBoxes, problems: Problems) -> RawBoxes:
    """Boxes without NaN, infinity, and with a positive width and height."""
    finite = np.asarray(np.isfinite(boxes.xyxy).all(axis=1))
    with np.errstate(invalid="ignore"):
        extent = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]  # (M, 2) width, height
        upright = np.asarray((extent > 0).all(axis=1))
    for n in np.flatnonzero(~(finite & upright)):
        place, box = boxes.place(int(n)), _box_text(boxes.xyxy[n])
        if not finite[n]:
            problems.error("box-not-finite", place, f"expected four finite numbers, got box {box}")
        elif (extent[n] < 0).any():
            problems.error("box-inverted", place, f"expected x0 < x1 and y0 < y1, got box {box}")
        else:
            problems.error("box-empty", place, f"expected a box with an area, got {box}")
    return boxes.take(finite & upright)


def _inside(boxes: RawBoxes, sizes: npt.NDArray[np.float64], problems: Problems) -> RawBoxes:
    """Boxes clipped to their images (``sizes`` float64 (I, 2)); mostly outside is a problem."""
    limit = np.tile(sizes[boxes.image], 2)  # (M, 4)
    clipped = np.clip(boxes.xyxy, 0.0, limit)
    out = np.abs(boxes.xyxy - clipped).max(axis=1, initial=0.0)  # (M,) pixels
    part = _area(clipped) / _area(boxes.xyxy)
    whole = ((clipped[:, 2:] - clipped[:, :2]) > 0).all(axis=1)
    keep = whole & (part >= _MIN_INSIDE)
    for n in np.flatnonzero((out > _ROUNDING) | ~keep):
        width, height = limit[n, :2]
        text = f"box {_box_text(boxes.xyxy[n])} of an image of {width:g}x{height:g} pixels"
        if keep[n]:
            problems.warning("box-clipped", boxes.place(int(n)), f"clipped by {out[n]:.4g}: {text}")
        else:
            problems.error(
                "box-outside",
                boxes.place(int(n)),
                f"expected a box at least half inside the image, got {text}",
            )
    return replace(boxes, xyxy=clipped).take(keep)


def _area(xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))


def _box_text(xyxy: npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in xyxy) + ")"


def _records(
    images: Sequence[RawImage],
    sizes: Sequence[tuple[int, int] | None],
    boxes: RawBoxes,
    raw: RawDataset,
) -> list[ImageRecord]:
    order = np.argsort(boxes.image, kind="stable")
    ends = np.searchsorted(boxes.image[order], np.arange(len(images) + 1))
    records = []
    for n, (image, size) in enumerate(zip(images, sizes, strict=True)):
        if size is not None:
            rows = order[ends[n] : ends[n + 1]]
            own = None if raw.targets is None else raw.targets[n]
            own = own if raw.paint is None else raw.paint(n, size)
            target = own or Boxes(boxes.xyxy[rows], boxes.labels[rows], boxes.crowd[rows])
            records.append(ImageRecord(image.file, *size, target, image.group, image.number))
    return records
