"""Masks: an image file for each image, whose pixels are classes.

Numbers of classes (PNG, palette PNG), black and white, or colours that the study names. Which file
belongs to which image is told by their names.
"""

import hashlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from frostline.datasets.files import (
    FolderTree,
    Tree,
    is_image,
    open_tree,
    relative_name,
    resolve_inside,
    stems,
)
from frostline.datasets.findings import Place, Problems, several, shown
from frostline.datasets.images import is_grey, load_mask
from frostline.datasets.layouts import DatasetLocation, Folder, Layout
from frostline.datasets.locations import ordered, splits_of
from frostline.datasets.named import NamedFiles, split_words
from frostline.datasets.raw import MaskOptions, RawDataset, RawImage, ReadOptions, Source, no_boxes
from frostline.datasets.targets import IGNORED, Mask, MaskReading
from frostline.datasets.text import read_text
from frostline.errors import DatasetError

__all__ = ["LAYOUT", "VOC_MASKS", "mask_labels", "mask_values", "read_masks"]

VOC_MASKS = "SegmentationClass"
"""Folder that lists of Pascal VOC (``ImageSets/Segmentation/train.txt``) refer to."""

_FOLDERS = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation"),
        *("gt", "groundtruth", "ground_truth", "targets", "segmentationclass", "annotated"),
    }
)
_ENDINGS = re.compile(
    r"[_.-](masks?|seg|segmentation|labels?|labelids|labeltrainids|gt|target|annotation)$", re.I
)
_OTHER = (".txt", ".xml", ".json", ".csv")
_BLACK_AND_WHITE = (0, 255)
_MASKS_BESIDE = 1 / 3  # of a folder's files, from which on it holds images with their masks
_LISTED = 8  # values that a message names


@dataclass(frozen=True)
class _Scan:
    """A mask file, decoded.

    Attributes:
        size: width and height in pixels.
        sha256: of size and pixels.
        counts: pixels of each code.
    """

    size: tuple[int, int]
    sha256: bytes
    counts: dict[int, int]


def read_masks(source: Source, options: ReadOptions) -> RawDataset:
    """Pair masks with images, and look at every mask.

    Classes are those that ``source.masks`` declares, else the values that there are, by number. 0
    and 255 alone are black and white; 255 beside other numbers is not guessed, except in Pascal
    VOC's own folder, where it is left out.

    Raises:
        DatasetError: there is no mask, what 255 means is not known, or at the first problem (see
            `ReadOptions`).
    """
    tree, names = _mask_files(source)
    scans = {name: _scanned(tree, name, source.masks, options.problems) for name in names}
    classes = options.classes or _classes(scans.values(), source)
    reading = _reading(classes, source)
    pairs = _paired(source, tree, names, options)
    images, masks = [], []
    for name, image in pairs:
        mask = _mask(tree, name, scans[name], reading, options.problems)
        if mask is not None:
            images.append(
                RawImage(image, (mask.width, mask.height), None, Place(name), None, True, name)
            )
            masks.append(mask)
    _mention(source, [image.file for image in images], options)
    if not images:
        raise DatasetError(_none_left(tree, names, options.problems))
    return RawDataset(classes, images, no_boxes(), targets=tuple(masks))


def mask_values(source: Source) -> tuple[str, ...]:
    """Classes that the masks of one split have: as declared, else their values."""
    tree, names = _mask_files(source)
    scans = [_scanned(tree, name, source.masks, Problems("drop")) for name in names]
    return _classes(scans, source)


def mask_labels(mask: Mask) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Labels of a mask's pixels, uint8 (H, W), from 0; `IGNORED` where a pixel does not count.

    Raises:
        DatasetError: the file is gone, or has changed since it was read.
    """
    if mask.packed:
        unpacked = np.frombuffer(zlib.decompress(mask.packed), np.uint8)
        return unpacked.reshape(mask.height, mask.width).copy()  # to be written to, as a file's
    pixels = load_mask(mask.root, mask.file, colours=bool(mask.reading.colours))
    if _digest(pixels) != mask.sha256:
        raise DatasetError(f"{shown(mask.file)}: the mask has changed since it was read")
    return mask.reading.labels(pixels)


# --- which files ---------------------------------------------------------------------------------


def _mask_files(source: Source) -> tuple[Tree, tuple[str, ...]]:
    """The mask files: all of a folder, those beside their images in it, or those of a list."""
    if not source.name:
        tree = source.annotations
        found = _beside(tree) or tuple(filter(is_image, tree.names()))
        names = tuple(n for n in found if not tree.is_link(n))
        if not names:
            raise DatasetError(f"expected masks in {shown(tree.root)}, found no image files")
        return tree, names
    path = source.annotations.root / source.name
    for parent in path.parents:
        if open_tree(parent).has_folder(VOC_MASKS):
            tree = open_tree(parent / VOC_MASKS)
            return tree, _of_list(source, tree)
    raise DatasetError(
        f"{shown(source.name)}: expected a folder {VOC_MASKS} beside or above the list, found none"
    )


def _of_list(source: Source, tree: Tree) -> tuple[str, ...]:
    by_stem = {name.rpartition(".")[0]: name for name in tree.names() if is_image(name)}
    lines = read_text(source.annotations, source.name).split()
    missing = [line for line in lines if line not in by_stem]
    if missing:
        raise DatasetError(
            f"{shown(source.name)}: {len(missing)} of {len(lines)} names have no mask in "
            f"{VOC_MASKS}, such as {shown(missing[0])}"
        )
    return tuple(by_stem[line] for line in lines)


def _paired(
    source: Source, tree: Tree, names: Sequence[str], options: ReadOptions
) -> list[tuple[str, str]]:
    """Mask and image of each pair."""
    files = _image_files(source, tree)
    by_stem = stems(files)
    named = NamedFiles(by_stem.keys, by_stem.__contains__, source.naming(options.split))
    pairs = []
    for name in names:
        stem = relative_name(name).rpartition(".")[0]
        fits = named.find(stem).fits or named.find(_ENDINGS.sub("", stem)).fits
        found = [file for fit in fits for file in by_stem[fit]]
        if len(found) == 1:
            pairs.append((name, found[0]))
        elif found:
            message = f"{shown(name)} fits {several(found)}: give them names that differ"
            options.problems.error("image-ambiguous", Place(name), message)
        else:
            message = f"expected an image named like the mask in {shown(source.images.root)}"
            options.problems.error("mask-without-image", Place(name), message)
    return pairs


def _image_files(source: Source, masks: Tree) -> tuple[str, ...]:
    """Images under the root that are no masks."""
    root, own = (Path(os.path.realpath(tree.root)) for tree in (source.images, masks))
    inside = own.relative_to(root).as_posix() + "/" if own.is_relative_to(root) else None
    files = [n for n in source.images.names() if is_image(n)]
    beside = {("" if inside in (None, "./") else str(inside)) + n for n in _beside(masks)}
    if beside:
        return tuple(n for n in files if n not in beside)
    rest = [n for n in files if inside in (None, "./") or not n.startswith(str(inside))]
    plain = [n for n in rest if _FOLDERS.isdisjoint(n.lower().split("/")[:-1])]
    return tuple(plain or rest)


def _beside(tree: Tree) -> tuple[str, ...]:
    """Masks in a folder of images; none in a folder that is called one of masks."""
    if _mask_part("/".join(tree.root.parts[-2:])):
        return ()
    return _named_after(tree.names())


def _named_after(names: Iterable[str]) -> tuple[str, ...]:
    """Masks that lie beside their images and are named after them.

    Example:
        >>> _named_after(["a.jpg", "a_mask.png", "b.jpg", "sea_label.jpg"])
        ('a_mask.png',)
    """
    by_stem = stems(filter(is_image, names))
    pairs = ((stem, _ENDINGS.sub("", stem)) for stem in by_stem)
    masks = [stem for stem, image in pairs if image != stem and image in by_stem]
    return tuple(file for stem in masks for file in by_stem[stem])


def _mention(source: Source, used: Sequence[str], options: ReadOptions) -> None:
    """Images without a mask, where all of them should have one; and those of one channel."""
    problems, tree = options.problems, source.images
    if options.unlisted_empty and not source.name:
        rest = sorted(set(_image_files(source, source.annotations)) - set(used))
        if rest:
            message = f"{len(rest)} images have no mask and are left out, such as {shown(rest[0])}"
            problems.warning("mask-missing", Place(tree.root.name), message)
    grey = [file for file in used if _grey(tree, file)]
    if grey:
        message = (
            f"{len(grey)} of {len(used)} images have one channel, which is repeated for all three "
            "colours"
        )
        problems.note("images-grey", Place(tree.root.name), message)


def _grey(tree: Tree, file: str) -> bool:
    try:
        return is_grey(tree.root, file)
    except DatasetError:  # told where the image is looked at
        return False


# --- what they hold ------------------------------------------------------------------------------


def _scanned(tree: Tree, name: str, how: MaskOptions, problems: Problems) -> _Scan | None:
    try:
        return _scan(tree.root, name, bool(how.colours), _stamp(tree, name))
    except DatasetError as error:
        problems.error("mask-unreadable", Place(name), str(error))
        return None


def _stamp(tree: Tree, name: str) -> tuple[int, ...]:
    """What changes with a file's content; nothing to go by in a zip file but the file itself."""
    path = resolve_inside(tree.root, name) if isinstance(tree, FolderTree) else None
    try:
        state = None if path is None else path.stat()
    except OSError:
        state = None
    return () if state is None else (state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _scan(root: Path, name: str, colours: bool, stamp: tuple[int, ...]) -> _Scan:
    return _remembered(root, name, colours, stamp) if stamp else _look(root, name, colours)


@lru_cache(maxsize=1 << 16)
def _remembered(root: Path, name: str, colours: bool, _stamp: tuple[int, ...]) -> _Scan:
    return _look(root, name, colours)


def _look(root: Path, name: str, colours: bool) -> _Scan:
    pixels = load_mask(root, name, colours=colours)
    codes, counts = np.unique(pixels, return_counts=True)
    height, width = pixels.shape
    return _Scan(
        (width, height),
        _digest(pixels),
        dict(zip(codes.tolist(), counts.tolist(), strict=True)),
    )


def _digest(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]") -> bytes:
    size = f"{pixels.shape[1]}x{pixels.shape[0]} ".encode()
    return hashlib.sha256(size + pixels.astype("<i4").tobytes()).digest()


def _classes(scans: Collection[_Scan | None], source: Source) -> tuple[str, ...]:
    """Names of classes: as declared, else their values in words."""
    how = source.masks
    if how.colours:
        return tuple(name for name, _ in how.colours)
    if how.classes:
        return tuple(name for _, name in how.classes)
    found = [set(scan.counts) for scan in scans if scan is not None]
    values = set().union(*found) - _left_out(source)
    plain = [own for own in found if own <= set(_BLACK_AND_WHITE)]
    if set(_BLACK_AND_WHITE) < values and 2 * len(plain) >= len(found):
        values = set(_BLACK_AND_WHITE)  # the others are told of one by one
    return tuple(map(str, sorted(values)))


def _left_out(source: Source) -> set[int]:
    """Values that are no class."""
    how, voc = source.masks, VOC_MASKS in source.annotations.root.parts or bool(source.name)
    if how.ignore_index is not None:
        return {how.ignore_index}
    return {IGNORED} if voc else set()


def _reading(classes: Sequence[str], source: Source) -> MaskReading:
    how = source.masks
    if len(classes) > IGNORED:
        raise DatasetError(f"expected at most {IGNORED} classes, got {len(classes)}")
    if how.colours:
        colours = dict(how.colours)
        ignored = () if how.ignore_colour is None else (how.ignore_colour,)
        return MaskReading(colours=tuple(colours[c] for c in classes), ignored_colours=ignored)
    if how.classes:
        value_of = {name: value for value, name in how.classes}
        values = tuple(value_of[name] for name in classes)
    else:
        values = tuple(map(int, classes))
        _require_known_255(values)
    left_out = tuple(sorted(_left_out(source) - set(values)))
    return MaskReading(values, ignored=left_out)


def _require_known_255(values: Sequence[int]) -> None:
    """0 and 255 alone are black and white; beside other numbers 255 must be declared."""
    if IGNORED not in values or set(values) <= set(_BLACK_AND_WHITE):
        return
    between = [v for v in values if v not in _BLACK_AND_WHITE]
    raise DatasetError(
        f"masks have the value 255 beside {len(between)} others ({_named(between)}): if they are "
        "black and white, they were saved as JPEG or resized with blending, and must be made anew "
        "as PNG; if these are classes, say what 255 is, with data.masks.ignore_index: 255 or under "
        "data.masks.classes"
    )


def _named(values: Sequence[int]) -> str:
    more = ", ..." if len(values) > _LISTED else ""
    return ", ".join(map(str, values[:_LISTED])) + more


def _mask(
    tree: Tree, name: str, scan: _Scan | None, reading: MaskReading, problems: Problems
) -> Mask | None:
    """A mask whose values are all known; None for one to leave out, which is told."""
    if scan is None:
        return None
    codes, labels = reading.table()
    label_of = dict(zip(codes.tolist(), labels.tolist(), strict=True))
    unknown = sorted(set(scan.counts) - set(label_of))
    if unknown:
        problems.error("mask-values", Place(name), _unknown_values(unknown, scan, reading))
        return None
    pixels: Counter[int] = Counter()
    for code, count in scan.counts.items():
        pixels[label_of[code]] += count
    classes = len(reading.values or reading.colours)
    counts = np.array([pixels[label] for label in range(classes)], np.int64)
    return Mask(tree.root, name, *scan.size, reading, scan.sha256, counts, pixels[IGNORED])


def _unknown_values(unknown: Sequence[int], scan: _Scan, reading: MaskReading) -> str:
    count = sum(scan.counts[code] for code in unknown)
    if reading.colours:
        shown_ones = ", ".join(f"[{c >> 16}, {c >> 8 & 255}, {c & 255}]" for c in unknown[:3])
        return (
            f"expected the colours of {len(reading.colours)} classes, got {shown_ones} among others"
            f" on {count} pixels; name them under data.masks.colours"
        )
    if set(reading.values) == set(_BLACK_AND_WHITE) and unknown[-1] < IGNORED:
        return (
            f"expected 0 and 255 alone, got {_named(unknown)} on {count} pixels: it was saved as "
            "JPEG, or resized with blending; make it anew as PNG"
        )
    expected = _named(sorted((*reading.values, *reading.ignored)))
    return (
        f"expected values {expected}, got {_named(unknown)} on {count} pixels; name them under "
        "data.masks.classes, or with ignore_index"
    )


def _none_left(tree: Tree, names: Sequence[str], problems: Problems) -> str:
    errors = [finding for finding in problems.found if finding.severity == "error"]
    first = f"; first of {len(errors)} problems: {errors[0]}" if errors else ""
    return (
        f"expected a usable mask in {shown(tree.root)}, got none of {len(names)}; images and masks "
        f"are paired by name{first}"
    )


# --- where they are ------------------------------------------------------------------------------


def _recognise(source: Source) -> bool:
    """A folder of images that is called one of masks, or a list of VOC's masks.

    A folder of another name is more often one of photos, whose text files lie in a folder beside.
    """
    root = source.annotations.root
    if source.name:
        return source.name.lower().endswith(".txt") and "Segmentation" in root.parts
    if not _mask_part("/".join(root.parts[-2:])):
        return False
    if os.path.realpath(root) == os.path.realpath(source.images.root):
        return False
    names = source.annotations.names()
    return any(map(is_image, names)) and not any(n.lower().endswith(_OTHER) for n in names)


def _find(folder: Folder) -> Iterator[DatasetLocation]:
    """A folder named like one of masks that holds images, beside others with images.

    Or images with their masks beside them, ``a.jpg`` and ``a_mask.png``, where half have one.
    """
    parents = {n.rpartition("/")[0] for n in folder.names if is_image(n)}
    other = {n.rpartition("/")[0] for n in folder.names if n.lower().endswith(_OTHER)}
    masks = sorted(p for p in parents - other if _mask_part(p))
    images = sorted(p for p in parents if not _mask_part(p))
    if not masks:
        yield from _find_beside(folder, other)
    if not masks or not images:
        return
    roots = list(dict.fromkeys(_mask_part(p) for p in masks))
    voc = [r for r in roots if r.rpartition("/")[2] == VOC_MASKS]
    lists = {n for n in folder.names if n.lower().startswith("imagesets/segmentation/")}
    if voc and lists:
        words = {w: f"ImageSets/Segmentation/{w}.txt" for w in ("train", "val", "test")}
        listed = {w: folder.path / name for w, name in words.items() if name in lists}
        yield DatasetLocation("masks", folder.path / "JPEGImages", ordered(listed))
        return
    split = len(roots) == 1 and len(masks) > 1 and all(split_words(p) for p in masks)
    splits = splits_of(folder, masks if split else roots)
    yield DatasetLocation("masks", _images_root(folder, images), splits)


def _find_beside(folder: Folder, other: Collection[str]) -> Iterator[DatasetLocation]:
    parents: dict[str, list[str]] = {}
    for name in filter(is_image, folder.names):
        parents.setdefault(name.rpartition("/")[0], []).append(name)
    pairs = {p: len(_named_after(own)) / len(own) for p, own in parents.items() if p not in other}
    roots = sorted(parent for parent, share in pairs.items() if share >= _MASKS_BESIDE)
    if roots:
        yield DatasetLocation("masks", _images_root(folder, roots), splits_of(folder, roots))


def _mask_part(parent: str) -> str:
    """The folder of masks that a folder is, or is in; "" for others.

    Example:
        >>> _mask_part("train/masks/a"), _mask_part("images")
        ('train/masks', '')
    """
    parts = parent.split("/")
    places = [n for n, part in enumerate(parts) if part.lower() in _FOLDERS]
    return "/".join(parts[: places[-1] + 1]) if places else ""


def _images_root(folder: Folder, images: Sequence[str]) -> Path:
    """The one folder that holds all images."""
    shared = os.path.commonpath([Path("/", p) for p in images]).lstrip("/")
    return folder.path / shared if shared else folder.path


def _order(name: str) -> int:
    """Classes that are named by their values stand by number."""
    return int(name) if name.isdecimal() else 0


LAYOUT = Layout(
    "masks", "a folder of masks", _recognise, _find, read_masks, mask_values, class_order=_order
)
