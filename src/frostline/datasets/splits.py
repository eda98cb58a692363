"""Parts of a data set: a seeded fraction of its images or photos, or whole groups."""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from frostline.datasets.findings import shown
from frostline.datasets.index import DatasetIndex
from frostline.datasets.looks import Looks
from frostline.datasets.photos import LARGEST, photos
from frostline.errors import DatasetError

__all__ = ["split_by_fraction", "split_by_group", "split_by_photo", "train_and_val"]


def train_and_val(
    index: DatasetIndex,
    *,
    fraction: float | None = None,
    seed: int = 0,
    val_groups: Collection[str] | None = None,
    by: Literal["file", "photo"] = "file",
    looks: Looks | None = None,
) -> dict[str, DatasetIndex]:
    """Divide one data set into ``train`` and ``val``, by groups if given, else by fraction.

    Args:
        index: Data set.
        fraction: See `split_by_fraction`.
        seed: See `split_by_fraction`.
        val_groups: Groups that are held out, see `split_by_group`.
        by: What a fraction is drawn of: images, or photos with all their images.
        looks: See `split_by_photo`.

    Raises:
        DatasetError: As the two, or if both or none of ``fraction`` and ``val_groups`` are given.
    """
    if (fraction is None) == (val_groups is None):
        raise DatasetError("expected either a fraction or groups for validation")
    if fraction is not None and by == "photo":
        train, val = split_by_photo(index, fraction, seed, looks)
    elif fraction is not None:
        train, val = split_by_fraction(index, fraction, seed)
    else:
        train, val = split_by_group(index, val_groups or ())
    return {"train": train, "val": val}


def split_by_fraction(
    index: DatasetIndex, fraction: float, seed: int
) -> tuple[DatasetIndex, DatasetIndex]:
    """Draw images at random.

    Images are ordered by SHA-256 of seed and file name, and the first ones are drawn: the result
    depends neither on the order of the index nor on platform or versions, and an image keeps its
    place when others are added.

    Args:
        index: At least two images.
        fraction: Part of the images in the second result, 0 < fraction < 1; at least one image
            and at most all but one.
        seed: Another seed draws other images.

    Returns:
        The rest (for training) and the drawn part (for validation), both in the order of the index.

    Raises:
        DatasetError: If the fraction is out of bounds or there are fewer than two images.
    """
    number = _number(index, fraction)
    ordered = sorted((image.file for image in index), key=lambda file: _rank(file, seed))
    return _divided(index, ordered[number:], ordered[:number])


def split_by_photo(
    index: DatasetIndex, fraction: float, seed: int, looks: Looks | None = None
) -> tuple[DatasetIndex, DatasetIndex]:
    """Draw photos at random, each with all its images: versions, tiles, near-duplicates.

    What a photo is, see `photos`. A photo has the rank of the first of its images, by name, and
    photos are drawn in that order while they bring the number of images nearer to the fraction;
    so a data set without copies is divided as `split_by_fraction` does it.

    Args:
        index: At least two images.
        fraction: See `split_by_fraction`; where photos are large, the part drawn differs from it.
        seed: See `split_by_fraction`.
        looks: How images looked when they were read before; those that are missing are added.

    Returns:
        As `split_by_fraction`. The first part has findings about photos of several images, and
        about those that had to be cut.

    Raises:
        DatasetError: As `split_by_fraction`.
    """
    number = _number(index, fraction)
    files = [image.file for image in index]
    seen = (Looks() if looks is None else looks).of(index.root, files)
    found = photos(files, seen, min(LARGEST, fraction))
    ordered = sorted(found.groups, key=lambda group: _rank(group[0], seed))
    drawn: list[str] = []
    for group in ordered:
        if len(drawn) + len(group) / 2 <= number and len(drawn) + len(group) < len(index):
            drawn += group
    if not drawn:  # all photos are much larger than the part
        smallest: tuple[str, ...] = min(ordered, key=len)
        drawn = list(smallest)
    told = (*index.findings, *found.findings(len(index)))
    return _divided(replace(index, findings=told), set(files).difference(drawn), drawn)


def _number(index: DatasetIndex, fraction: float) -> int:
    """Images of a fraction: at least one, and at most all but one."""
    if not 0 < fraction < 1 or len(index) < 2:  # noqa: PLR2004 - one image for each side
        raise DatasetError(
            f"expected a fraction between 0 and 1 of at least two images, got {fraction} of "
            f"{len(index)}"
        )
    return min(max(round(fraction * len(index)), 1), len(index) - 1)


def _rank(file: str, seed: int) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}\0{file}".encode("utf-8", "surrogatepass")).digest(), file


def split_by_group(
    index: DatasetIndex, groups: Collection[str]
) -> tuple[DatasetIndex, DatasetIndex]:
    """Hold out whole groups, such as the fields that a detector shall be judged on.

    Args:
        index: Data set whose images have groups.
        groups: Names of the groups to hold out.

    Returns:
        The images of all other groups (and of none), and those of the given groups.

    Raises:
        DatasetError: If a group has no image, or one of the two parts is empty.
    """
    held = {str(group) for group in groups}
    there = {image.group for image in index if image.group is not None}
    if not held or held - there:
        came = shown(", ".join(sorted(held - there)) or "none")
        raise DatasetError(f"expected groups out of {shown(', '.join(sorted(there)))}, got {came}")
    drawn = [image.file for image in index if image.group in held]
    rest = [image.file for image in index if image.group not in held]
    if not rest:
        raise DatasetError("expected groups that leave images to train on, got all of them")
    return _divided(index, rest, drawn)


def _divided(
    index: DatasetIndex, rest: Collection[str], drawn: Collection[str]
) -> tuple[DatasetIndex, DatasetIndex]:
    """Two parts that tell each finding once: the first all that names no image of the second."""
    held = set(drawn)
    told = tuple(finding for finding in index.findings if finding.file not in held)
    return replace(index.select(rest), findings=told), index.select(held)
