"""`read_dataset`: recognise the layout, read it, check it."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from frostline.datasets.files import is_image, open_tree
from frostline.datasets.findings import UNLISTED, Finding, OnProblem, Problems, shown
from frostline.datasets.index import DatasetIndex, ImageRecord
from frostline.datasets.layouts import layout_named
from frostline.datasets.locations import (
    find_dataset,
    is_folder,
    open_source,
    part_of_file,
    recognise,
)
from frostline.datasets.named import split_words
from frostline.datasets.raw import AS_FOUND, MaskOptions, ReadOptions, build_index
from frostline.datasets.targets import Mask
from frostline.errors import DatasetError

__all__ = [
    "Unlisted",
    "common_classes",
    "missing_boxes",
    "read_dataset",
    "read_splits",
    "require_boxes",
    "unused_images",
]

Unlisted = Literal["empty", "ignore"]


def read_dataset(
    images: Path | str,
    annotations: Path | str | None = None,
    *,
    layout: str = "auto",
    on_problem: OnProblem = "raise",
    classes: Sequence[str] | None = None,
    check_files: bool = True,
    unlisted: Unlisted | None = None,
    split: str | None = None,
    masks: MaskOptions = AS_FOUND,
) -> DatasetIndex:
    """Read images and boxes of any layout, from folders or out of a zip file.

    Args:
        images: Folder of the images, the root of the result. It may be a zip file or a folder
            inside one, as ``data.zip/images``. Without ``annotations``: the folder or zip file of
            a whole data set, in which both are found.
        annotations: Annotation file (json or csv, plain or gzip; ``data.yaml``; a list of images)
            or folder (VOC xml, YOLO labels).
        layout: One of `LAYOUTS`, or ``auto`` to recognise it.
        on_problem: ``raise`` stops at the first problem; ``drop`` leaves the box or image out and
            keeps a finding.
        classes: Class names in the order of their labels, such as those of the training set.
            Boxes of other classes are problems. Without it: as in the annotations.
        check_files: Whether the images must be there, readable, and of the annotated size. Where
            the annotations do not say the size (YOLO), they must be there in any case.
        unlisted: For layouts in which an image without boxes has no entry (kaggle), what the other
            images of the folder are: ``empty`` images, or to ``ignore``, as when two annotation
            files share one folder. Without it: ``empty``, unless the data set found has several
            splits.
        split: Which part to read where ``data.yaml``, or the data set found, has several.
        masks: What is said of masks.

    Raises:
        DatasetError: With file and line or entry, expected, came.

    Example:
        >>> from pathlib import Path
        >>> read_dataset(Path("no such folder"))
        Traceback (most recent call last):
        ...
        frostline.errors.DatasetError: expected a folder or zip file of images, found none at no \
such folder
    """
    root = Path(images)
    if (check_files or annotations is None) and not is_folder(root):
        raise DatasetError(f"expected a folder or zip file of images, found none at {shown(root)}")
    if unlisted not in (None, "empty", "ignore"):
        raise DatasetError(f"expected unlisted 'empty' or 'ignore', got {shown(unlisted)!r}")
    options = ReadOptions(
        problems=Problems(on_problem),
        classes=tuple(classes) if classes else None,
        check_files=check_files,
        unlisted_empty=unlisted != "ignore",
        split=split,
    )
    if annotations is None:
        return _read_found(root, layout, options, unlisted, masks)
    return _read(root, Path(annotations), layout, options, masks)


def read_splits(
    images: Path | str,
    annotations: Mapping[str, Path] | None = None,
    *,
    layout: str = "auto",
    on_problem: OnProblem = "raise",
    classes: Sequence[str] | None = None,
    check_files: bool = True,
    masks: MaskOptions = AS_FOUND,
) -> dict[str, DatasetIndex]:
    """Read several annotation files over one folder, all with the same classes.

    With more than one file, images without an entry belong to none of them. Of a ``data.yaml``
    the part named like the split is read.

    Args:
        images: See `read_dataset`.
        annotations: Name of a split (``train``, ``val``) to its annotation file, training first.
            Without it: the splits found in the folder or zip file.
        layout: See `read_dataset`.
        on_problem: See `read_dataset`.
        classes: See `read_dataset`; without it, those of the first split are used for all, or
            for VOC, whose files name the classes of their own boxes only, those of all splits.
        check_files: See `read_dataset`.
        masks: See `read_dataset`.

    Returns:
        One index per name.

    Raises:
        DatasetError: As `read_dataset`; or if an image is in two of the splits.
    """
    if annotations is None:
        found = find_dataset(Path(images), layout)
        images, layout, annotations = found.images, found.layout, found.splits
    if not annotations:
        raise DatasetError("expected the annotation file of at least one split, got none")
    classes = classes or common_classes(Path(images), annotations.values(), layout, masks)
    splits: dict[str, DatasetIndex] = {}
    for name, file in annotations.items():
        splits[name] = read_dataset(
            images,
            file,
            layout=layout,
            on_problem=on_problem,
            classes=classes,
            check_files=check_files,
            unlisted="ignore" if len(annotations) > 1 else "empty",
            split=part_of_file(name, Path(file)),
            masks=masks,
        )
        classes = splits[name].classes
    _require_disjoint(splits)
    return _with_unused_images(splits) if len(splits) > 1 else splits


def common_classes(
    images: Path, files: Iterable[Path], layout: str, masks: MaskOptions = AS_FOUND
) -> tuple[str, ...] | None:
    """Classes of several splits together, for a layout that has no list of them (VOC, masks)."""
    found: dict[str, None] = {}
    order: Callable[[str], str | int] = str
    for file in dict.fromkeys(map(Path, files)):
        source = open_source(images, file, masks)
        row = layout_named(recognise(source) if layout == "auto" else layout)
        if row.classes is None:
            return None
        found |= dict.fromkeys(row.classes(source))
        order = row.class_order
    return tuple(sorted(found, key=order)) or None


def _require_disjoint(splits: Mapping[str, DatasetIndex]) -> None:
    owner: dict[str, str] = {}
    for name, index in splits.items():
        for image in index:
            other = owner.setdefault(image.file, name)
            if other != name:
                file = shown(image.file)
                raise DatasetError(
                    f"expected an image in one split, {file} is in {other} and {name}"
                )


def _with_unused_images(splits: dict[str, DatasetIndex]) -> dict[str, DatasetIndex]:
    """Splits in which images without an entry are told once, with the first, and truly."""
    if all(f.code != UNLISTED for index in splits.values() for f in index.findings):
        return splits
    unused = unused_images(splits)
    all_unused = [finding for part in unused.values() for finding in part]
    told = {
        name: replace(index, findings=tuple(f for f in index.findings if f.code != UNLISTED))
        for name, index in splits.items()
    }
    first = next(iter(told))
    told[first] = replace(told[first], findings=(*told[first].findings, *all_unused))
    return told


def missing_boxes(name: str, index: DatasetIndex) -> str | None:
    """What is wrong with a split that has no box, and no masks; None where nothing is."""
    counts = index.counts()
    if counts.boxes - counts.crowd_boxes or counts.masks:
        return None
    lost = [finding for finding in index.findings if finding.severity == "error"]
    what = "boxes of single objects" if counts.boxes else "boxes"
    message = f"expected {what} in the {shown(name)} data, got none on {counts.images} images"
    return f"{message}; the first of {len(lost)} that were left out: {lost[0]}" if lost else message


def require_boxes(splits: Mapping[str, DatasetIndex]) -> None:
    """Refuse a split without boxes: nothing can be learned or scored on it.

    Raises:
        DatasetError: A split has neither boxes nor masks; says what was left out of it.
    """
    for name, index in splits.items():
        message = missing_boxes(name, index)
        if message is not None:
            raise DatasetError(f"{message}; `frostline data check` lists what was left out")


def unused_images(splits: Mapping[str, DatasetIndex]) -> dict[str, tuple[Finding, ...]]:
    """What is said of images under the root of the first split that are in no split.

    Returns:
        Findings by split: a warning where the images lie in the folder of one split, which lacks
        them; under ``""`` a warning about folders of splits that there are not, and a note about
        the others.
    """
    images = [image for index in splits.values() for image in index]
    root = next(iter(splits.values())).root
    used = {image.file for image in images} | set(_mask_files(images, root))
    tree = open_tree(root)
    folders: dict[str, set[str]] = {}
    for name, index in splits.items():
        for image in index:
            folders.setdefault(image.file.rpartition("/")[0], set()).add(name)
    groups: dict[tuple[str, str], list[str]] = {}
    for file in (name for name in tree.names() if is_image(name) and name not in used):
        groups.setdefault(_owner(file.rpartition("/")[0], splits, folders), []).append(file)
    found: dict[str, tuple[Finding, ...]] = {}
    for (split, missing), files in groups.items():
        found[split] = (*found.get(split, ()), _unused(split, missing, files))
    return found


def _mask_files(images: Iterable[ImageRecord], root: Path) -> Iterator[str]:
    """Masks that lie under the root of the images."""
    top = Path(os.path.realpath(root))
    for image in images:
        if not isinstance(image.target, Mask):
            continue
        own = Path(os.path.realpath(image.target.root))
        if own.is_relative_to(top):
            yield (own.relative_to(top) / image.target.file).as_posix()


def _owner(
    folder: str, splits: Mapping[str, DatasetIndex], folders: Mapping[str, Collection[str]]
) -> tuple[str, str]:
    """The split that a folder of unused images is of, or a split that is not there; or neither."""
    users = folders.get(folder, ())
    if len(users) == 1:
        return next(iter(users)), ""
    words = () if users else split_words(folder)
    mine = [word for word in words if word in splits]
    return (mine[0], "") if mine else ("", next(iter(words), ""))


def _unused(split: str, missing: str, files: Sequence[str]) -> Finding:
    such = f"such as {shown(files[0])}"
    if split:
        message = f"{len(files)} images of its folder have no entry, or were left out, {such}"
    elif missing:
        message = f"{len(files)} images are in a folder of {missing}, which has no entries, {such}"
    else:
        message = f"{len(files)} images are in no split, or were left out, {such}"
    return Finding("warning" if split or missing else "note", "images-unused", "", message)


def _read_found(
    data: Path,
    layout: str,
    options: ReadOptions,
    unlisted: Unlisted | None,
    masks: MaskOptions,
) -> DatasetIndex:
    found = find_dataset(data, layout)
    split = options.split or (next(iter(found.splits)) if len(found.splits) == 1 else None)
    if split not in found.splits:
        raise DatasetError(
            f"expected one of the splits {', '.join(found.splits)} of {shown(data)}, "
            f"got {shown(split)}"
        )
    file = found.splits[split]
    chosen = part_of_file(split, file)
    empty = options.unlisted_empty and (unlisted is not None or len(found.splits) == 1)
    options = replace(options, split=chosen, unlisted_empty=empty)
    return _read(found.images, file, found.layout, options, masks)


def _read(
    images: Path, annotations: Path, layout: str, options: ReadOptions, masks: MaskOptions
) -> DatasetIndex:
    source = open_source(images, annotations, masks)
    row = layout_named(recognise(source) if layout == "auto" else layout)
    return build_index(source, row.read(source, options), options)
