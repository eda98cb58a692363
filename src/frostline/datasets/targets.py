"""What an image is annotated with: boxes, or a mask; another kind joins `Target`.

A kind is a frozen class of arrays or names that checks itself against its image (``check``), takes
part in the digest (``digest_parts``) and has boxes, if only none (``xyxy``, ``labels``, ``crowd``).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["IGNORED", "Boxes", "Mask", "MaskReading", "Target", "coded"]

IGNORED = 255
"""Label of a pixel that is neither learned nor scored; so there are at most 255 classes."""

_Colour = tuple[int, int, int]


def _checked(array: object, dtype: type[np.generic], shape: tuple[int, ...], name: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise ValueError(f"expected {name} {dtype.__name__} {shape}, got {came}")
    array.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one image. The arrays are made read-only.

    Attributes:
        xyxy: float64 (N, 4), ``x0 y0 x1 y1`` in pixels, 0 <= x0 < x1 <= width, likewise y.
        labels: int64 (N,), 1-based index into the classes of the data set; 0 is background.
        crowd: bool (N,), True where a box stands for a group of objects (COCO ``iscrowd``).
    """

    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.labels)
        _checked(self.xyxy, np.float64, (n, 4), "boxes")
        _checked(self.labels, np.int64, (n,), "labels")
        _checked(self.crowd, np.bool_, (n,), "crowd")

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, file: str, size: tuple[int, int]) -> None:
        """Refuse boxes that are none of this image.

        Args:
            file: Name of the image, for the message.
            size: Width and height of the image in pixels.

        Raises:
            ValueError: If a box is empty, inverted, NaN or outside, or a label is below 1.
        """
        if not len(self):
            return
        low, high = self.xyxy[:, :2], self.xyxy[:, 2:]
        inside = (low >= 0).all() and (high <= size).all()
        if not (inside and (high > low).all()):  # NaN compares false, so it fails here too
            raise ValueError(f"{file}: a box is empty, inverted, NaN or outside the image")
        if self.labels.min() < 1:
            raise ValueError(f"{file}: expected labels >= 1, got {self.labels.min()}")

    def digest_parts(self) -> tuple[bytes, ...]:
        """Content as bytes, equal on every platform; each array is led by its length."""
        arrays = (self.xyxy.astype("<f8") + 0.0, self.labels.astype("<i8"), self.crowd)
        return tuple(len(array).to_bytes(8, "little") + array.tobytes() for array in arrays)

    def take(self, keep: npt.NDArray[np.bool_]) -> "Boxes":
        """The boxes where ``keep`` bool (N,) is True."""
        return Boxes(self.xyxy[keep], self.labels[keep], self.crowd[keep])


@dataclass(frozen=True)
class MaskReading:
    """What the pixels of a set's mask files mean. Classes count from 0 here, as labels do.

    Attributes:
        values: of the classes in their order; empty for masks that are told by colour.
        colours: red, green, blue of the classes in their order; empty for masks of values.
        ignored: values of pixels to leave out.
        ignored_colours: colours of pixels to leave out.
    """

    values: tuple[int, ...] = ()
    colours: tuple[_Colour, ...] = ()
    ignored: tuple[int, ...] = ()
    ignored_colours: tuple[_Colour, ...] = ()

    def labels(self, pixels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """Labels of pixels, by `coded` values.

        Args:
            pixels: int32 (H, W), values or ``r << 16 | g << 8 | b``.

        Returns:
            uint8 (H, W): position of the class, or `IGNORED`.

        Raises:
            ValueError: a value is of no class.
        """
        known, labels = self.table()
        places = np.searchsorted(known, pixels).clip(0, len(known) - 1)
        if not (known[places] == pixels).all():
            raise ValueError("a pixel's value is of no class")
        return np.asarray(labels[places])

    def table(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Every known code, ascending, int32 (K,), with its label, uint8 (K,)."""
        own = self.values or tuple(map(coded, self.colours))
        left_out = self.ignored if self.values else tuple(map(coded, self.ignored_colours))
        codes = np.array([*own, *left_out], np.int32)
        labels = np.array([*range(len(own)), *(IGNORED for _ in left_out)], np.uint8)
        order = np.argsort(codes)
        return codes[order], labels[order]


def coded(colour: _Colour) -> int:
    """One number for a colour."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


@dataclass(frozen=True, eq=False)
class Mask:
    """The class of every pixel of one image; the pixels stay in their file.

    Attributes:
        root: folder (or zip file, or folder inside one) of the mask files.
        file: the mask, a POSIX path under ``root``.
        width: in pixels.
        height: in pixels.
        reading: what its pixels mean.
        sha256: of size and decoded pixels.
        pixels: int64 (C,), pixels of each class.
        ignored: pixels that are left out.
        packed: labels of all pixels, uint8 (H, W) packed by zlib, where no file has them.
    """

    root: Path
    file: str
    width: int
    height: int
    reading: MaskReading
    sha256: bytes
    pixels: npt.NDArray[np.int64]
    ignored: int = 0
    packed: bytes = b""

    def __post_init__(self) -> None:
        _checked(self.pixels, np.int64, (len(self.pixels),), "pixels")

    @property
    def xyxy(self) -> npt.NDArray[np.float64]:
        """No boxes."""
        return np.zeros((0, 4))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Of no boxes."""
        return np.zeros(0, np.int64)

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """Of no boxes."""
        return np.zeros(0, np.bool_)

    def check(self, file: str, size: tuple[int, int]) -> None:
        """Refuse a mask of another size than its image (width, height in pixels).

        Raises:
            ValueError: it has.
        """
        if (self.width, self.height) != size:
            raise ValueError(
                f"{file}: expected a mask of {size[0]}x{size[1]} pixels, got {self.width}x"
                f"{self.height}"
            )

    def digest_parts(self) -> tuple[bytes, ...]:
        """Content as bytes, equal on every platform."""
        parts = (*self.reading.table(), self.reading.values, self.reading.colours)
        meaning = repr([list(map(str, part)) for part in parts]).encode()
        return (b"mask", self.sha256, len(meaning).to_bytes(8, "little"), meaning)

    def take(self, keep: npt.NDArray[np.bool_]) -> "Mask":
        """Itself: there are no boxes to choose from."""
        return self


Target = Boxes | Mask
"""Kinds of annotation of an image; the digest of a further kind begins with its name."""
