"""Which images a YOLO data set has, and which text file belongs to which."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frostline.datasets.files import Tree, is_image, open_tree, relative_name, stems
from frostline.datasets.findings import PATH_FOUND, Place, Problems, several, shown
from frostline.datasets.named import NamedFiles, Naming, folded, split_words
from frostline.datasets.raw import RawImage, ReadOptions, Source
from frostline.datasets.text import read_text
from frostline.datasets.yolo_config import YAML, YoloConfig, is_class_file, read_yolo_config
from frostline.errors import DatasetError

__all__ = ["Pair", "is_label", "labelled_folders", "yolo_pairs"]

_LEVELS_UP = 3  # how far above a list the folder of its images is looked for
_BOX_FIELDS = 5
_MAX_HEAD_BYTES = 1 << 26


@dataclass(frozen=True)
class Pair:
    """An image, relative to the data root, and its label file (None: no boxes)."""

    image: RawImage
    labels: Tree
    label: str | None


def yolo_pairs(source: Source, options: ReadOptions) -> list[Pair]:
    """Images with their label files, of a ``data.yaml``, a list, or a folder of either.

    Raises:
        DatasetError: If what is named is not there, or at the first problem.
    """
    tree, name = source.annotations, source.name
    if name.lower().endswith(YAML):
        return _pairs_of_config(source, options)
    if name:
        return _pairs_of_list(source, tree, name, options)
    names = tree.names()
    if any(is_image(n) for n in names):
        top, prefix = _above_images(tree.root)
        return _pairs_of_folders(source, top, [prefix], options)
    return _pairs_of_labels(source, names, options)


def _pairs_of_config(source: Source, options: ReadOptions) -> list[Pair]:
    tree, name = source.annotations, source.name
    config = read_yolo_config(tree, name)
    if not config.splits or options.split not in (None, *config.splits):
        raise DatasetError(
            f"{shown(name)}: expected a split {shown(options.split or 'train')}, "
            f"got {shown(', '.join(config.splits) or 'none')}"
        )
    if options.split in (None, next(iter(config.splits))):
        _mention_config(config, name, options.problems)
    pairs: list[Pair] = []
    for split, places in config.splits.items():
        if options.split not in (None, split):
            continue
        folders = [place for place in places if place == "" or place.endswith("/")]
        part = replace(options, split=split)
        pairs += _pairs_of_folders(source, tree, folders, part) if folders else []
        for place in places:
            if place not in folders:
                pairs += _pairs_of_list(source, tree, place, part)
    return pairs


def _mention_config(config: YoloConfig, name: str, problems: Problems) -> None:
    for split, place in config.absent.items():
        message = f"{split} names {place}, which is not there: no {split} split"
        problems.note("split-missing", Place(name), message)
    if config.found:
        message = (
            f"{len(config.found)} folders or lists were found by the ending of their path, or in "
            f"another spelling, such as {shown(config.found[0])}"
        )
        problems.note(PATH_FOUND, Place(name), message)
    if config.classes.merged:
        message = f"{config.classes.merged} numbers have the name of another: one class for both"
        problems.note("class-merged", Place(name), message)


def _above_images(folder: Path) -> tuple[Tree, str]:
    """The folder that ``images`` is in, and the rest; or the folder itself and nothing."""
    parts = folder.parts
    near = [n for n in range(max(1, len(parts) - 4), len(parts)) if parts[n].lower() == "images"]
    if not near:
        return open_tree(folder), ""
    return open_tree(Path(*parts[: near[-1]])), "/".join(parts[near[-1] :]) + "/"


# --- folders of images ---------------------------------------------------------------------------


def _pairs_of_folders(
    source: Source, top: Tree, prefixes: Sequence[str], options: ReadOptions
) -> list[Pair]:
    names = top.names()
    pictures = [name for name in names if is_image(name)]
    images = list(dict.fromkeys(n for p in prefixes for n in pictures if n.startswith(p)))
    labels = _Labels(top, names, pictures)
    pairs = []
    for image in images:
        label = labels.of(image, Place(image), options.problems)
        pairs.append(Pair(_in_root(source, top, image, Place(image)), top, label))
    labels.mention_found(_name(source), options.problems)
    _mention_shared(pairs, _name(source), options.problems)
    _mention_unused(labels, images, prefixes, _name(source), options.problems)
    return pairs


def _name(source: Source) -> str:
    return source.name or source.annotations.root.name


class _Labels:
    """Text files of a folder, by the images that they belong to.

    Of an image ``images/train/a.jpg`` that is ``labels/train/a.txt``, or else ``a.txt`` beside
    it, in any spelling. Where a whole folder of images has none there, and one folder of text
    files belongs to no images, the two belong together, unless they are of different splits.

    Args:
        tree: The folder.
        names: All files in it.
        pictures: Those that are images.
    """

    def __init__(self, tree: Tree, names: Iterable[str], pictures: Sequence[str]) -> None:
        self.tree = tree
        texts = [n for n in names if n.lower().endswith(".txt") and not is_class_file(n)]
        self._texts = set(texts)
        self._exact = {image: self._as_named(image) for image in pictures}
        self._without_captions()
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for text in sorted(self._texts):
            self._by_stem[folded(text[: -len(".txt")])].append(text)
        self._owners = {label: image for image, label in self._exact.items() if label}
        self._others: dict[str, tuple[str, ...]] = {}
        claims: defaultdict[str, list[str]] = defaultdict(list)
        for image in (image for image, label in self._exact.items() if label is None):
            fits = self._in_other_spelling(image)
            self._others[image] = fits
            for label in fits:
                claims[label].append(image)
        self._claimed = {label for label, images in claims.items() if len(images) > 1}
        self.used = set(self._owners) | set(claims)
        self.moved = self._moved_folders(pictures)
        self.found: list[tuple[str, str]] = []
        self.given: set[str] = set()

    def _as_named(self, image: str) -> str | None:
        named = (f"{stem}.txt" for stem in (_label_stem(image), image.rpartition(".")[0]))
        return next((label for label in named if label in self._texts), None)

    def _without_captions(self) -> None:
        """Pass over text beside images that is no label, where others have labels elsewhere."""
        beside = {
            image: label
            for image, label in self._exact.items()
            if label and _folder(label) == _folder(image)
        }
        apart = {_folder(i) for i, label in self._exact.items() if label and i not in beside}
        for image, label in beside.items():
            if _folder(image) in apart and not is_label(self.tree, label, empty=True):
                self._exact[image] = None
                self._texts.discard(label)

    def _in_other_spelling(self, image: str) -> tuple[str, ...]:
        stem = image.rpartition(".")[0]
        for key in (folded(_label_stem(image)), _label_stem(folded(image)), folded(stem)):
            fits = [text for text in self._by_stem.get(key, ()) if text not in self._owners]
            if fits:
                return tuple(fits)
        return ()

    def _moved_folders(self, pictures: Sequence[str]) -> dict[str, str]:
        """Folders of images without labels to folders of labels without images."""
        full = {_folder(image) for image in pictures if self._exact[image] or self._others[image]}
        bare = {_folder(image) for image in pictures} - full
        taken = {_folder(text) for text in self.used}
        stems_in: defaultdict[str, set[str]] = defaultdict(set)
        for name in (*pictures, *self._texts):
            stems_in[_folder(name)].add(folded(name.rpartition("/")[2].rpartition(".")[0]))
        free = {_folder(text) for text in self._texts - self.used} - taken
        fits = {
            image: [t for t in free if _agree(image, t) and stems_in[image] & stems_in[t]]
            for image in bare
        }
        moved = {image: texts[0] for image, texts in fits.items() if len(texts) == 1}
        once = [text for text in moved.values() if list(moved.values()).count(text) == 1]
        return {image: text for image, text in moved.items() if text in once}

    def of(self, image: str, place: Place, problems: Problems) -> str | None:
        """The label file of an image, or None."""
        exact = self._exact.get(image)
        if exact:
            self.given.add(image)
            return exact
        fits = self._others.get(image, ()) or self._moved(image)
        if len(fits) > 1 or (fits and fits[0] in self._claimed):
            what = several(fits) if len(fits) > 1 else f"{shown(fits[0])}, as another image does"
            message = f"{shown(image)} fits {what}: name files in one spelling"
            problems.error("label-ambiguous", place, message)
            return None
        if not fits:
            return None
        self.found.append((fits[0], image))
        self.used.add(fits[0])
        self.given.add(image)
        return fits[0]

    def _moved(self, image: str) -> tuple[str, ...]:
        folder = self.moved.get(_folder(image))
        if folder is None:
            return ()
        base = image.rpartition(".")[0].rpartition("/")[2]
        return tuple(self._by_stem.get(folded(f"{folder}/{base}".removeprefix("/")), ()))

    def unused(self) -> set[str]:
        """Text files that belong to no image."""
        return self._texts - self.used

    def mention_found(self, name: str, problems: Problems) -> None:
        """Say how many were found in another place or spelling."""
        if self.found:
            label, image = self.found[0]
            message = (
                f"{len(self.found)} label files were found in another spelling or folder, such as "
                f"{shown(label)} for {shown(image)}"
            )
            problems.note(PATH_FOUND, Place(name), message)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _agree(images: str, labels: str) -> bool:
    """Whether two folders are not of different splits."""
    a, b = split_words(images), split_words(labels)
    return not a or not b or not set(a).isdisjoint(b)


def _label_stem(image: str) -> str:
    """Label file of an image without its ending: ``labels`` for the last ``images`` in the path.

    Example:
        >>> _label_stem("images/train/a.jpg")
        'labels/train/a'
    """
    stem = image.rpartition(".")[0]
    head, images, tail = f"/{stem}".rpartition("/images/")
    return f"{head}/labels/{tail}".removeprefix("/") if images else stem


def _mention_shared(pairs: Sequence[Pair], name: str, problems: Problems) -> None:
    """Say where two images, such as a picture and its mask, have one label file."""
    owners = Counter(pair.label for pair in pairs if pair.label is not None)
    shared = [label for label, number in owners.items() if number > 1]
    if shared:
        images = [pair.image.file for pair in pairs if pair.label == shared[0]]
        message = (
            f"{len(shared)} label files are of several images that differ in their ending alone, "
            f"such as {several(images)}: each has the boxes"
        )
        problems.warning("label-shared", Place(name), message)


def _mention_unused(
    labels: _Labels,
    images: Sequence[str],
    prefixes: Sequence[str],
    name: str,
    problems: Problems,
) -> None:
    """What belongs to the folders of these images, or to no others, and was not used."""
    unused = labels.unused()
    own = tuple(_label_stem(f"{p}x.").removesuffix("x") for p in prefixes)
    beside = {text for text in unused if _folder(text) in {_folder(image) for image in images}}
    orphans = {text for text in unused - beside if text.startswith(tuple(filter(None, own)))}
    # labels beside the images may have other text files among them
    orphans |= {text for text in beside if is_label(labels.tree, text)}
    _mention_orphans(orphans, problems)
    labelled = {_folder(image) for image in images if image in labels.given}
    bare = [image for image in images if _folder(image) not in labelled]
    others = sorted(text for text in unused - orphans if "labels" in folded(text).split("/")[:-1])
    if bare and others:
        message = (
            f"{len(bare)} images of {several(sorted({_folder(i) or '.' for i in bare}))} have no "
            f"label file, and {len(others)} label files belong to no image, such as "
            f"{shown(others[0])}: see that folders and names agree"
        )
        problems.warning("labels-unused", Place(name), message)


def _mention_orphans(names: Iterable[str], problems: Problems) -> None:
    for name in sorted(names):
        problems.warning("label-without-image", Place(name), "expected an image of this name")


# --- lists of images -----------------------------------------------------------------------------


def _pairs_of_list(source: Source, tree: Tree, name: str, options: ReadOptions) -> list[Pair]:
    problems = options.problems
    lines = read_text(tree, name, problems=problems).splitlines()
    entries = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise DatasetError(f"{shown(name)}: expected a list of images, got an empty file")
    top = _folder_of_list(source, tree, name, [entry for _, entry in entries])
    names = top.names()
    pictures = [n for n in names if is_image(n)]
    labels = _Labels(top, names, pictures)
    splits = split_words(options.split or name)
    naming = Naming("", splits, top.root.name)
    files = NamedFiles(lambda: pictures, set(pictures).__contains__, naming)
    pairs, seen, found = [], set(), []
    lead = f"{top.root.as_posix()}/"
    plains = [relative_name(relative_name(entry).removeprefix(lead)) for _, entry in entries]
    spellings = files.find_all(plains)
    for (number, entry), plain, spelling in zip(entries, plains, spellings, strict=True):
        place, fits = Place(name, number), spelling.fits
        if len(fits) > 1:
            message = f"{shown(entry)} fits {several(fits)}: name one of them in full"
            problems.error("image-ambiguous", place, message)
            continue
        image = fits[0] if fits else plain
        found += [entry] if fits and image != plain else []
        if image in seen:
            message = f"expected each image once, got {shown(image)} again"
            problems.error("image-duplicate", place, message)
            continue
        seen.add(image)
        label = labels.of(image, place, problems) if fits else None
        pairs.append(Pair(_in_root(source, top, image, place), top, label))
    _mention_list(found, len(entries), name, problems)
    labels.mention_found(name, problems)
    return pairs


def _mention_list(found: Sequence[str], entries: int, name: str, problems: Problems) -> None:
    if found:
        message = (
            f"{len(found)} of {entries} images of the list were found by the ending of their path, "
            f"or in another spelling, such as {shown(found[0])}"
        )
        problems.note(PATH_FOUND, Place(name), message)


def _folder_of_list(source: Source, tree: Tree, name: str, entries: Sequence[str]) -> Tree:
    """The folder that the names of a list are relative to.

    It is that of the list, or one above it, in which the first names are; or else that of the
    images.
    """
    tops = [open_tree(parent) for parent in list((tree.root / name).parents)[: _LEVELS_UP + 1]]
    for entry in entries[:20]:
        for top in tops:
            lead = f"{top.root.as_posix()}/"
            if top.state(relative_name(relative_name(entry).removeprefix(lead))) == "file":
                return top
    area, _ = _above_images(Path(os.path.realpath(source.images.root)))
    folder = Path(os.path.realpath((tree.root / name).parent))
    below = folder.is_relative_to(area.root) or not area.root.is_relative_to(folder)
    return area if below else open_tree(folder)


# --- folders of labels ---------------------------------------------------------------------------


def _pairs_of_labels(source: Source, names: Sequence[str], options: ReadOptions) -> list[Pair]:
    tree, problems = source.annotations, options.problems
    labels = {
        n[: -len(".txt")]: n for n in names if n.lower().endswith(".txt") and not is_class_file(n)
    }
    by_stem = stems(name for name in source.images.names() if is_image(name))
    finder = NamedFiles(by_stem.keys, by_stem.__contains__, source.naming(options.split))
    label_of: dict[str, str] = {}
    folders: set[str] = set()
    orphans, found = [], []
    for (stem, label), fit in zip(labels.items(), finder.find_all(labels), strict=True):
        if len(fit.fits) > 1:
            message = f"{shown(label)} fits {several(fit.fits)}: name one of them in full"
            problems.error("image-ambiguous", Place(label), message)
        elif not fit.fits or fit.fits[0] in label_of:
            orphans.append(label)
        else:
            as_named = fit.fits[0] == stem or fit.only_prefix
            label_of[fit.fits[0]] = label
            folders.add(fit.fits[0].removesuffix(stem) if as_named else _folder(fit.fits[0]) + "/")
            found += [] if as_named else [label]
    _mention_orphans(orphans, problems)
    if found:
        message = f"{len(found)} label files were found in another spelling, such as {found[0]}"
        problems.note(PATH_FOUND, Place(tree.root.name), shown(message))
    return _labelled(source, by_stem, label_of, folders, options)


def _labelled(
    source: Source,
    by_stem: dict[str, list[str]],
    label_of: dict[str, str],
    folders: Collection[str],
    options: ReadOptions,
) -> list[Pair]:
    """Images that have labels, and those beside them without.

    In a folder of their own, images without labels belong to the split; else it is asked.
    """
    own = tuple(folder for folder in folders if folder not in ("", "/"))
    pairs = []
    for stem, files in by_stem.items():
        label = label_of.get(stem)
        if label or stem.startswith(own) or (own != tuple(folders) and options.unlisted_empty):
            image = RawImage(files[0], None, None, Place(files[0]), resolved=True)
            pairs.append(Pair(image, source.annotations, label))
    return pairs


def _in_root(source: Source, top: Tree, image: str, place: Place) -> RawImage:
    """An image of ``top`` by its name under the data root, which may be above or below it."""
    root, above = (Path(os.path.realpath(tree.root)) for tree in (source.images, top))
    if root.is_relative_to(above):
        below = "" if root == above else root.relative_to(above).as_posix() + "/"
        name = image.removeprefix(below) if image.startswith(below) else f"../{image}"
    elif above.is_relative_to(root):
        name = f"{above.relative_to(root).as_posix()}/{image}"
    else:
        raise DatasetError(
            f"expected annotations and images under one folder, got {shown(above)} and "
            f"{shown(root)}"
        )
    return RawImage(name, None, None, place, resolved=True)


# --- what a folder without a data.yaml holds -----------------------------------------------------


def labelled_folders(tree: Tree, names: Sequence[str]) -> list[str]:
    """Folders of images that have label files, each split's folders as one.

    Text files count in folders called ``labels``; elsewhere if one of a folder starts with five
    numbers. An empty one is an image without boxes.
    """
    pictures = [name for name in names if is_image(name)]
    labels, quiet = _Labels(tree, names, pictures), Problems("drop")
    paired: defaultdict[str, list[str]] = defaultdict(list)
    for image in pictures:
        label = labels.of(image, Place(image), quiet)
        if label is not None:
            paired[_folder(image)].append(label)
    folders = [folder for folder, files in paired.items() if _looks_like_labels(tree, files)]
    whole = [_split_folder(folder) for folder in folders]
    return sorted(dict.fromkeys(whole))


def _split_folder(folder: str) -> str:
    """The folder of the split that a folder is in, or the folder itself."""
    parts = folder.split("/")
    last = [n for n, part in enumerate(parts, 1) if split_words(part)]
    under = folded(folder).split("/")
    if not last or "images" in under[last[-1] :]:
        return folder
    return "/".join(parts[: last[-1]])


def _looks_like_labels(tree: Tree, files: Sequence[str]) -> bool:
    """Whether text files are YOLO labels: in a folder ``labels``, or one with a row of numbers."""
    inside = any("labels" in folded(file).split("/")[:-1] for file in files)
    return inside or any(is_label(tree, file) for file in files)


def is_label(tree: Tree, name: str, *, empty: bool = False) -> bool:
    """Whether the first row of a text file is five numbers or more; ``empty``: or it has none."""
    try:
        text = read_text(tree, name, max_bytes=_MAX_HEAD_BYTES)
        fields = next((line.split() for line in text.splitlines() if line.strip()), None)
        if fields is None:
            return empty
        return len([float(field) for field in fields]) >= _BOX_FIELDS
    except (DatasetError, ValueError):
        return False
