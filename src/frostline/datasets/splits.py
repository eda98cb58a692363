"""Parts of a data set: a seeded fraction, or whole groups."""

import hashlib
from collections.abc import Collection
from dataclasses import replace

from frostline.datasets.findings import shown
from frostline.datasets.index import DatasetIndex
from frostline.errors import DatasetError

__all__ = ["split_by_fraction", "split_by_group", "train_and_val"]


def train_and_val(
    index: DatasetIndex,
    *,
    fraction: float | None = None,
    seed: int = 0,
    val_groups: Collection[str] | None = None,
) -> dict[str, DatasetIndex]:
    """Divide one data set into ``train`` and ``val``, by groups if given, else by fraction.

    Args:
        index: Data set.
        fraction: See `split_by_fraction`.
        seed: See `split_by_fraction`.
        val_groups: Groups that are held out, see `split_by_group`.

    Raises:
        DatasetError: As the two, or if both or none of ``fraction`` and ``val_groups`` are given.
    """
    if (fraction is None) == (val_groups is None):
        raise DatasetError("expected either a fraction or groups for validation")
    if fraction is not None:
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
    if not 0 < fraction < 1 or len(index) < 2:  # noqa: PLR2004 - one image for each side
        raise DatasetError(
            f"expected a fraction between 0 and 1 of at least two images, got {fraction} of "
            f"{len(index)}"
        )
    number = min(max(round(fraction * len(index)), 1), len(index) - 1)
    ordered = sorted((image.file for image in index), key=lambda file: _rank(file, seed))
    return _divided(index, ordered[number:], ordered[:number])


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
