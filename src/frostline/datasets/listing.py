"""Images and boxes as a file lists them, with classes by their names: for layouts that do so."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from frostline.datasets.findings import Place, Problems, several, shown
from frostline.datasets.raw import (
    RawBoxes,
    RawDataset,
    RawImage,
    ReadOptions,
    Source,
    mention_sizes,
)
from frostline.errors import DatasetError

__all__ = ["ONE_CLASS", "Box", "Listing", "around", "classes_by", "turned_box"]

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1; NaN and infinity are judged later."""

ONE_CLASS = "object"
"""Name of the class where a file names none."""


@dataclass
class Listing:
    """What was read so far.

    Attributes:
        name: Annotation file, for what concerns all of it.
        problems: Collects what is dropped.
        images: In the order in which they came.
        outlines: How many boxes were put around something else.
        unread: How many shapes of each kind were passed over.
    """

    name: str
    problems: Problems
    images: list[RawImage] = field(default_factory=list)
    outlines: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    _positions: dict[str, int] = field(default_factory=dict)
    _rows: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _crowd: list[bool] = field(default_factory=list)
    _places: list[Place] = field(default_factory=list)

    def image(
        self,
        file: str,
        size: tuple[int, int] | None,
        place: Place,
        *,
        named: str | None = None,
    ) -> int:
        """Position of an image: a new one, or that of the same name before.

        Of two sizes the first counts; that they differ is an error.

        Args:
            file: Its name as it stands, or that of the file that was found for ``named``.
            size: Width and height in pixels, if they are known.
            place: Where it stands.
            named: See `RawImage`.
        """
        position = self._positions.setdefault(file, len(self.images))
        if position == len(self.images):
            found = named is not None
            self.images.append(RawImage(file, size, None, place, named, resolved=found))
        elif size not in (None, self.images[position].size):
            known = self.images[position]
            message = f"expected the size {known.size} as at {known.place}, got {size}"
            self.problems.error("row-conflict", place, message)
        return position

    def box(self, image: int, box: Box, name: str, place: Place, *, crowd: bool = False) -> None:
        """Add a box of the image at a position."""
        self._rows.append((image, *box))
        self._names.append(name)
        self._crowd.append(crowd)
        self._places.append(place)

    def dataset(self, classes: Sequence[str] = (), *, relative: bool | None = False) -> RawDataset:
        """All of it, and what is to be said of it.

        Args:
            classes: All there are, in their order; boxes of others are problems. Without them:
                the names that boxes have, sorted.
            relative: Whether boxes are parts of the image size; None: exactly if all of them lie
                between 0 and 1, where no box in pixels has an area worth its name.
        """
        table = np.array(self._rows, dtype=np.float64).reshape(-1, 5)
        self._mention()
        if relative is None:
            relative = _are_parts(table[:, 1:])
            if relative:
                message = "all boxes lie between 0 and 1: they are parts of the image size"
                self.problems.note("boxes-relative", Place(self.name), message)
        known = tuple(classes) or tuple(sorted(set(self._names)))
        label = {name: n for n, name in enumerate(known, 1)}
        labels = np.array([label.get(name, 0) for name in self._names], dtype=np.int64)
        for n in np.flatnonzero(labels == 0):
            listed, came = shown(", ".join(known)), shown(self._names[n])
            message = f"expected one of the classes {listed}, got {came!r}"
            self.problems.error("class-unknown", self._places[n], message)
        boxes = RawBoxes(
            image=table[:, 0].astype(np.int64),
            xyxy=table[:, 1:],
            labels=labels,
            crowd=np.array(self._crowd, dtype=np.bool_),
            place=self._places.__getitem__,
        )
        return RawDataset(known, self.images, boxes.take(labels > 0), relative)

    def _mention(self) -> None:
        place = Place(self.name)
        if self.outlines:
            message = f"{self.outlines} outlines or turned boxes: the box around each is used"
            self.problems.note("outline-boxed", place, message)
        if self.unread:
            kinds = several([f"{count} {kind}" for kind, count in self.unread.most_common()])
            message = f"shapes without an area, or of unknown kinds, are not read: {kinds}"
            self.problems.warning("shapes-unread", place, message)
        if any(image.size is not None for image in self.images):
            mention_sizes(self.images, self.name, self.problems)


def _are_parts(xyxy: npt.NDArray[np.float64]) -> bool:
    finite = xyxy[np.isfinite(xyxy).all(axis=1)]
    return bool(len(finite) and finite.min() >= 0 and finite.max() <= 1)


def classes_by(
    read: Callable[[Source, ReadOptions], RawDataset],
    listed: Callable[[Source], bool] = lambda _: False,
) -> Callable[[Source], tuple[str, ...]]:
    """For `Layout.classes`: the names that boxes of one file have.

    Args:
        read: Reads the file; what is wrong with it is told when it is read for good.
        listed: Whether the names of all splits stand in a list, which counts instead.
    """

    def classes(source: Source) -> tuple[str, ...]:
        try:
            return () if listed(source) else read(source, ReadOptions(Problems("drop"))).classes
        except DatasetError:
            return ()

    return classes


def around(points: Sequence[Sequence[float]]) -> Box:
    """The box around points x, y; NaN stays NaN.

    Example:
        >>> around([(3, 1), (2, 5), (4, 4)])
        (2.0, 1.0, 4.0, 5.0)
    """
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    (x0, y0), (x1, y1) = table.min(axis=0), table.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def turned_box(box: Box, degrees: float) -> Box:
    """The box around a box that is turned about its middle.

    Example:
        >>> [round(v, 6) for v in turned_box((0, 0, 4, 2), 90)]
        [1.0, -1.0, 3.0, 3.0]
    """
    x0, y0, x1, y1 = box
    if not math.isfinite(degrees):
        return math.nan, math.nan, math.nan, math.nan
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, high = (x1 - x0) / 2, (y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    across, down = wide * cos + high * sin, wide * sin + high * cos
    return x - across, y - down, x + across, y + down
