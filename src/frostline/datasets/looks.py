"""How images look: a hash that stays nearly the same in copies, also mirrored or turned ones.

The hash is that of the discrete cosine transform (DCT): of a grey thumbnail of 32 x 32, the signs
of the 16 x 16 lowest frequencies but the mean, 255 bits. Brightness, contrast, size and compression
leave signs as they are. A mirror image has the signs of all odd frequencies of one axis turned
round, and a quarter turn exchanges the axes besides, so that all eight positions of an image are
found from one hash.

Frequencies that are hardly there have no sign, and count as negative. Two images are alike when, in
one of the eight positions, at most 31 of the 255 bits differ, of the signs that both have at most
the same share are opposite, and the coefficients correlate by .85 or more.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.datasets.file_hashes import remembered
from frostline.datasets.files import Tree, open_tree
from frostline.datasets.images import grey_thumbnail
from frostline.errors import DatasetError

__all__ = [
    "LOOKS_FILE",
    "THUMB_SIDE",
    "Look",
    "Looks",
    "alike",
    "joined",
    "look_of",
    "nearest_look",
]

Look = npt.NDArray[np.float16]
"""Coefficients of one image, float16 (16, 16), of length 1, the mean left out."""

LOOKS_FILE = "looks.json"
"""Where a study keeps looks, so that images are decoded once for its split."""

THUMB_SIDE = 32
"""Side of the thumbnail that a look is made of, px."""

_SIDE = 16
_MOST_OPPOSITE = 31 / 255  # of the signs that both images have
_MOST_BITS_APART = 48  # of 255; all pairs to 31 are found: one of 16 words differs in at most a bit
_LEAST_CORRELATION = 0.85
_NOISE = 1.5  # grey levels: smaller coefficients are what rounding and compression leave
_SMALL = 0.003  # of the length, which brightness does not change
_BUCKET = 64  # images of one bucket that each is compared with; more than these are one scene
_ALL_PAIRS = 400  # images up to which all pairs are compared, which is faster
_WORKERS = 4
_PACKED = 684  # characters: 512 bytes in base64

_Words = npt.NDArray[np.uint16]
_Ints = npt.NDArray[np.int64]

_K = np.arange(THUMB_SIDE)
_DCT = np.cos(np.pi * (2 * _K[None] + 1) * _K[:_SIDE, None] / (2 * THUMB_SIDE))  # (16, 32)
_DCT *= np.where(_K[:_SIDE, None] == 0, 1, np.sqrt(2)) / np.sqrt(THUMB_SIDE)
_ODD = np.where(np.arange(_SIDE) % 2, -1.0, 1.0)
_COUNT = np.array([n.bit_count() for n in range(1 << 16)], np.uint8)
_PROBES = (0, *(1 << n for n in range(16)))


def look_of(grey: npt.NDArray[np.float32]) -> Look | None:
    """The look of a thumbnail.

    Args:
        grey: float32 (32, 32), each value the mean of its part of the image, 0 to 255.

    Returns:
        Its coefficients; None for an image without contrast.
    """
    wide = _DCT @ grey.astype(np.float64) @ _DCT.T  # (16, 16)
    wide[0, 0] = 0.0
    wide[np.abs(wide) < max(_NOISE, _SMALL * float(np.linalg.norm(wide)))] = 0.0
    length = float(np.linalg.norm(wide))
    return None if length == 0 else (wide / length).astype(np.float16)


def alike(looks: Sequence[Look | None]) -> _Ints:
    """Which images belong together because they look alike, directly or through others.

    Every word of 16 bits has a table of the images that have it (multi-index hashing, Norouzi et
    al. 2012): two hashes that differ in at most 31 bits share one of their 16 words but for one
    bit, and are found there. Words that more than 64 images have are those of one scene: there an
    image is compared with the next 64.

    Args:
        looks: of N images; None is like no other.

    Returns:
        int64 (N,), for each image the position of the first one it belongs together with.
    """
    label: _Ints = np.arange(len(looks))
    rows: _Ints = np.array([n for n, look in enumerate(looks) if look is not None], np.int64)
    if len(rows) < 2:  # noqa: PLR2004 - two to compare
        return label
    first = np.stack([look for look in looks if look is not None]).astype(np.float32)
    words, root = _words(first), np.arange(len(rows))
    tables = _tables(words) if len(rows) > _ALL_PAIRS else ()
    for turned in _positions(first):
        asked = _words(turned)
        for i, j in _candidates(asked, tables):
            new = root[i] != root[j]
            root = joined(root, *_near(i[new], j[new], (turned, asked), (first, words)))
    label[rows] = rows[root]
    return label


def nearest_look(look: Look, others: Sequence[Look]) -> tuple[int, bool] | None:
    """The image that is nearest among those alike.

    Args:
        look: of an image.
        others: of at least one other.

    Returns:
        Its position, and whether one of the two is mirrored or turned; None if none is alike.
    """
    values = np.stack(others).astype(np.float32)
    words = _words(values)
    found: list[tuple[int, bool, int]] = []
    for n, turned in enumerate(_positions(look[None].astype(np.float32))):
        apart = _COUNT[_words(turned) ^ words].sum(axis=1, dtype=np.int64)
        close = np.flatnonzero(apart <= _MOST_BITS_APART)
        fits = _alike(values[close], turned)
        found += [(int(apart[at]), n > 0, int(at)) for at in close[fits]]
    _, mirrored, at = min(found, default=(0, False, -1))
    return None if at < 0 else (at, mirrored)


def _positions(looks: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """Coefficients float32 (N, 16, 16) of the eight positions of each image, as it is first."""
    for axes in (looks, looks.swapaxes(1, 2)):
        for rows in (np.ones(_SIDE), _ODD):
            for columns in (np.ones(_SIDE), _ODD):
                yield (axes * np.outer(rows, columns)).astype(np.float32)


def _words(looks: npt.NDArray[np.float32]) -> _Words:
    """Signs as uint16 (N, 16); each word has low and high frequencies of both axes."""
    signs = np.stack([np.roll(looks[:, n] > 0, 5 * n, axis=1) for n in range(_SIDE)], axis=1)
    powers = (1 << np.arange(_SIDE)).astype(np.uint32)
    words: _Words = (signs * powers[None, :, None]).sum(axis=1).astype(np.uint16)
    return words


def _tables(words: _Words) -> list[tuple[_Ints, _Ints]]:
    """For each word the images by its value, and where each value begins among them."""
    return [
        (
            np.argsort(words[:, band], kind="stable"),
            np.concatenate([[0], np.bincount(words[:, band], minlength=1 << 16).cumsum()]),
        )
        for band in range(_SIDE)
    ]


def _candidates(
    asked: _Words, tables: Sequence[tuple[_Ints, _Ints]]
) -> Iterator[tuple[_Ints, _Ints]]:
    """Pairs i < j for which a word of i's is one of j's, but for one bit; all without tables."""
    if not tables:
        yield np.triu_indices(len(asked), 1)
    for band, (order, ends) in enumerate(tables):
        for probe in _PROBES:
            key = asked[:, band] ^ np.uint16(probe)
            yield _members(key, order, ends)


def _members(key: _Words, order: _Ints, ends: _Ints) -> tuple[_Ints, _Ints]:
    """Pairs i < j where j is in the bucket of i's key, the next 64 at most."""
    start, end = ends[key], ends[key.astype(np.int64) + 1]
    full = end - start > _BUCKET
    for n in np.flatnonzero(full):  # large buckets: go on from where n itself would stand
        start[n] += np.searchsorted(order[start[n] : end[n]], n, side="right")
        end[n] = min(end[n], start[n] + _BUCKET)
    number = end - start
    i: _Ints = np.repeat(np.arange(len(key)), number)
    within = np.arange(len(i)) - np.repeat(number.cumsum() - number, number)
    j = order[np.repeat(start, number) + within]
    return i[i < j], j[i < j]


def _near(
    i: _Ints,
    j: _Ints,
    asked: tuple[npt.NDArray[np.float32], _Words],
    there: tuple[npt.NDArray[np.float32], _Words],
) -> tuple[_Ints, _Ints]:
    """Of candidate pairs those that are alike."""
    apart = _COUNT[asked[1][i] ^ there[1][j]].sum(axis=1, dtype=np.int64)
    close = apart <= _MOST_BITS_APART
    i, j = i[close], j[close]
    fits = _alike(asked[0][i], there[0][j])
    return i[fits], j[fits]


def _alike(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Whether pairs of coefficients (M, 16, 16) have enough signs in common, and correlate."""
    product = first * second
    against, there = (product < 0).sum(axis=(1, 2)), (product != 0).sum(axis=(1, 2))
    near = against <= _MOST_OPPOSITE * there
    return np.asarray(near & (product.sum(axis=(1, 2)) >= _LEAST_CORRELATION))


def joined(root: _Ints, i: _Ints, j: _Ints) -> _Ints:
    """Labels in which the groups of each pair are one, under its smallest number.

    Args:
        root: int64 (N,), label of each image: the position of an image of its group.
        i: int64 (M,), positions of images.
        j: int64 (M,), positions of the images that they belong together with.
    """
    while len(i):
        a, b = root[i], root[j]
        low, high = np.minimum(a, b), np.maximum(a, b)
        if (low == high).all():
            break
        parent = np.arange(len(root))
        np.minimum.at(parent, high, low)
        while (parent != parent[parent]).any():
            parent = parent[parent]
        root = parent[root]
    return root


class Looks:
    """Looks of files by name; a file that seems unchanged is not decoded again.

    Args:
        known: what ``to_dict`` gave before; what is not of that form is passed over.
    """

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        self._known: dict[str, list[Any]] = {k: list(v) for k, v in (known or {}).items()}
        self.changed = False

    @classmethod
    def beside(cls, hashes: Path | None) -> "Looks":
        """Those that a study keeps beside the hashes of its images; None for none."""
        return cls() if hashes is None else cls.read(hashes.with_name(LOOKS_FILE))

    @classmethod
    def read(cls, path: Path) -> "Looks":
        """Those that a file holds; none where it is absent or damaged: they are made anew."""
        return cls(remembered(path))

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain values: file name -> size, modified, changed, inode, look in base64 or None."""
        return dict(self._known)

    def of(self, root: Path, files: Sequence[str]) -> list[Look | None]:
        """Looks of images, in the order of their names; None for what cannot be decoded.

        Args:
            root: Folder of the data set.
            files: Relative POSIX paths.
        """
        tree = open_tree(root)
        with ThreadPoolExecutor(_WORKERS) as pool:
            return list(pool.map(lambda file: self._of(tree, root, file), files))

    def _of(self, tree: Tree, root: Path, file: str) -> Look | None:
        try:
            stamp = list(tree.stamp(file))
            known = self._known.get(file)
            if known and known[:-1] == stamp and _is_packed(known[-1]):
                return _unpacked(known[-1])
            look = look_of(grey_thumbnail(root, file, THUMB_SIDE))
        except DatasetError:  # told where it is read for training
            return None
        packed = None if look is None else base64.b64encode(look.astype("<f2").tobytes()).decode()
        self._known[file] = [*stamp, packed]
        self.changed = True
        return look


def _is_packed(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) == _PACKED)


def _unpacked(packed: str | None) -> Look | None:
    if packed is None:
        return None
    raw = base64.b64decode(packed)
    return np.frombuffer(raw, "<f2").astype(np.float16).reshape(_SIDE, _SIDE)
