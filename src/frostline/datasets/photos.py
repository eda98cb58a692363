"""Which images are of one photo: by what exporters put in names, or because they look alike.

A photo is never divided between training and validation, or its copies there would flatter the
scores. Numbers alone in names say nothing (``BloodImage_00001``); a mark says that a file is a
version, a tile or a frame of something (``boat_png.rf.<hash>``, ``boat_aug3``, ``boat_tile_0_1``).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np

from frostline.datasets.findings import Finding, shown
from frostline.datasets.looks import Look, alike, joined
from frostline.datasets.named import folded, split_words

__all__ = ["LARGEST", "Photos", "copies_of", "marked_name", "photo_labels", "photos"]

LARGEST = 0.2
"""Part of the images above which a group is cut: frames of one camera, tiles of one picture."""

_FEW = 4  # images that are never too many for one group, however small the data set
_GAP = r"[\s._-]+"
_MARK = re.compile(
    r"(?:\.rf\.[0-9a-z]{6,}"  # Roboflow: one for each version
    rf"|{_GAP}aug(?:mented|mentation)?(?:[\s._-]*\d+)*"
    rf"|{_GAP}tiles?(?:[\s._-]*(?:row|col|[rcxyz])?[\s._-]*\d+)+"
    rf"|{_GAP}(?:[hv]?flip(?:ped)?|mirror(?:ed)?)(?:[\s._-]*(?:[hv]|lr|ud|horizontal|vertical))?"
    rf"|{_GAP}rot(?:ate|ated|ation)?[\s._-]*\d+"
    rf"|{_GAP}copy(?:[\s._-]*\(?\d+\)?)?"
    rf"|{_GAP}frame[\s._-]*\d+"
    r"|[._](?:mp4|avi|mov|mkv|webm)-\d+)$",  # frames of a video
    re.IGNORECASE,
)
_FORMER = re.compile(r"[._](?:jpe?g|png|bmp|webp|tiff?|gif)$", re.IGNORECASE)


@dataclass(frozen=True)
class Photos:
    """Images of one data set, put together by photo.

    Attributes:
        groups: file names, each group of one photo; most groups have one image. In each the names
            are in order, numbers in them as numbers.
        cut: groups that were too large, as they were before they were cut into runs.
    """

    groups: tuple[tuple[str, ...], ...]
    cut: tuple[tuple[str, ...], ...] = ()

    def findings(self, images: int) -> Iterator[Finding]:
        """What should be known of the groups, for a data set of so many images."""
        several = [group for group in self.groups if len(group) > 1]
        whole = [group for group in several if not any(group[0] in large for large in self.cut)]
        if whole:
            number, such = sum(map(len, whole)), " and ".join(map(shown, whole[0][:2]))
            message = (
                f"{len(whole)} {'photo has' if len(whole) == 1 else 'photos have'} several images "
                f"({number} of {images}), such as {such}: each stays on one side of the split"
            )
            yield Finding("note", "photo-copies", "", message)
        for large in self.cut:
            runs = sum(group[0] in large for group in self.groups)
            message = (
                f"{len(large)} of {images} images belong together, such as {shown(large[0])} and "
                f"{shown(large[1])} (frames of one camera, tiles of one picture?): cut into {runs} "
                f"runs in the order of their names; those next to a cut may be on both sides"
            )
            yield Finding("warning", "photo-cut", "", message)


def photos(files: Sequence[str], looks: Sequence[Look | None], most: float = LARGEST) -> Photos:
    """Put images together by photo; a group above 20 % of them is cut into runs.

    Args:
        files: names of the images.
        looks: how they look, in the same order; None where that is not known.
        most: largest part of the images that one run holds.
    """
    by_label: defaultdict[int, list[int]] = defaultdict(list)
    for n, label in enumerate(photo_labels(files, looks)):
        by_label[label].append(n)
    groups: list[tuple[str, ...]] = []
    cut: list[tuple[str, ...]] = []
    for rows in by_label.values():
        named = tuple(sorted((files[n] for n in rows), key=_natural))
        if len(named) <= max(LARGEST * len(files), 1 if len(by_label) == 1 else _FEW):
            groups.append(named)
        else:
            groups += _runs(named, max(1, int(most * len(files))))
            cut.append(named)
    return Photos(tuple(groups), tuple(cut))


def photo_labels(files: Sequence[str], looks: Sequence[Look | None]) -> list[int]:
    """For each image the position of the first one of its photo."""
    named = [(row, rows[0]) for rows in _by_name(files).values() for row in rows[1:]]
    pairs = np.array(named, np.int64).reshape(-1, 2)
    labels: list[int] = joined(alike(looks), pairs[:, 0], pairs[:, 1]).tolist()
    return labels


def copies_of(
    files: Sequence[str],
    looks: Sequence[Look | None],
    others: Sequence[str],
    other_looks: Sequence[Look | None],
) -> tuple[tuple[str, str], ...]:
    """Which of some images are of a photo that one of the others is of, too.

    Args:
        files: names of the images, of validation say.
        looks: how they look, in the same order; None where that is not known.
        others: names of the images that they may be copies of, of training say.
        other_looks: how these look.

    Returns:
        For each such image its name, and that of the first of the others.
    """
    labels = photo_labels([*others, *files], [*other_looks, *looks])
    first: dict[int, str] = {}
    for label, name in zip(labels, others, strict=False):
        first.setdefault(label, name)
    own = zip(files, labels[len(others) :], strict=True)
    return tuple((name, first[label]) for name, label in own if label in first)


def marked_name(file: str) -> tuple[str, bool]:
    """Folder and name of the photo that a file is a version of, and whether its name says so.

    Folders of splits and ``images`` do not count, nor does case.

    Example:
        >>> marked_name("train/images/boat0_png.rf.0123456789abcdef.jpg"), marked_name("boat0.png")
        (('boat0', True), ('boat0', False))
    """
    path = PurePosixPath(folded(file))
    name, marked = path.name, False
    if path.suffix and not _MARK.search(path.name):  # .rf.<hash> without an ending is no ending
        name = path.stem
    while mark := _MARK.search(name):
        if not mark.start():
            break
        name, marked = name[: mark.start()], True
        name = _FORMER.sub("", name) if mark[0].startswith(".rf.") else name
    folders = [part for part in path.parts[:-1] if part != "images" and not split_words(part)]
    return "/".join([*folders, name]), marked


def _by_name(files: Sequence[str]) -> dict[str, list[int]]:
    """Positions of the images whose names say that they are of one photo, by its name."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    marks: set[str] = set()
    for n, file in enumerate(files):
        name, marked = marked_name(file)
        found[name].append(n)
        marks |= {name} if marked else set()
    return {name: rows for name, rows in found.items() if name in marks and len(rows) > 1}


def _runs(files: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Runs of about equal length, at most ``most`` where no photo is divided, in their order."""
    atoms = [tuple(part) for _, part in groupby(files, lambda file: marked_name(file)[0])]
    if max(map(len, atoms)) > most:
        atoms = [(file,) for file in files]
    number = -(-len(files) // most)
    runs: defaultdict[int, list[str]] = defaultdict(list)
    done = 0
    for atom in atoms:
        middle = done + len(atom) / 2
        runs[int(middle * number / len(files))] += atom
        done += len(atom)
    return [tuple(run) for run in runs.values()]


def _natural(file: str) -> tuple[list[tuple[int, str]], str]:
    """A name with its numbers as numbers: frame_2 comes before frame_10."""
    parts = re.findall(r"\d+|\D+", file)
    return [(int(p), "") if p.isdecimal() and p.isascii() else (-1, p) for p in parts], file
