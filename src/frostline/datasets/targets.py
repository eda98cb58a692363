"""What an image is annotated with. Boxes are the first kind; another joins `Target`.

A kind is a frozen class of arrays or names that checks itself against its image (``check``), takes
part in the digest (``digest_parts``) and counts its objects by class (``labels``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Boxes", "Target"]


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


Target = Boxes
"""Kinds of annotation of an image; the digest of a further kind begins with its name."""
