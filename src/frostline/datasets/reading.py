"""`read_dataset`: recognise the layout, read it, check it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from frostline.datasets.coco import read_coco
from frostline.datasets.findings import OnProblem, Problems, shown
from frostline.datasets.index import DatasetIndex
from frostline.datasets.kaggle import read_kaggle
from frostline.datasets.raw import RawDataset, ReadOptions, build_index
from frostline.errors import DatasetError

__all__ = ["LAYOUTS", "read_dataset", "read_splits"]

LAYOUTS = ("coco", "kaggle")
"""Names of the layouts, for ``layout``."""


def read_dataset(
    images: Path,
    annotations: Path | None = None,
    *,
    layout: str = "auto",
    on_problem: OnProblem = "raise",
    classes: Sequence[str] | None = None,
    check_files: bool = True,
    unlisted: str = "empty",
) -> DatasetIndex:
    """Read images and boxes of any layout.

    Args:
        images: Folder of the images; the root of the result.
        annotations: Annotation file.
        layout: One of `LAYOUTS`, or ``auto`` to recognise it.
        on_problem: ``raise`` stops at the first problem; ``drop`` leaves the box or image out and
            keeps a finding.
        classes: Class names in the order of their labels, such as those of the training set.
            Boxes of other classes are problems. Without it: as in the annotations.
        check_files: Whether the images must be there, readable, and of the annotated size.
        unlisted: For layouts in which an image without boxes has no entry (kaggle), what the other
            images of the folder are: ``empty`` images, or to ``ignore``, as when two annotation
            files share one folder.

    Raises:
        DatasetError: With file and line or entry, expected, came.
    """
    images = Path(images)
    if check_files and not images.is_dir():
        raise DatasetError(f"expected a folder of images, found none at {images}")
    if annotations is None:
        raise DatasetError("expected an annotation file")
    if unlisted not in ("empty", "ignore"):
        raise DatasetError(f"expected unlisted 'empty' or 'ignore', got {unlisted!r}")
    options = ReadOptions(
        problems=Problems(on_problem),
        classes=tuple(classes) if classes else None,
        check_files=check_files,
        unlisted_empty=unlisted == "empty",
    )
    annotations = Path(annotations)
    chosen = _recognise(annotations) if layout == "auto" else layout
    return build_index(images, _read(chosen, images, annotations, options), options)


def read_splits(
    images: Path,
    annotations: Mapping[str, Path],
    *,
    layout: str = "auto",
    on_problem: OnProblem = "raise",
    classes: Sequence[str] | None = None,
    check_files: bool = True,
) -> dict[str, DatasetIndex]:
    """Read several annotation files over one folder, all with the classes of the first.

    With more than one file, images without an entry belong to none of them.

    Args:
        images: See `read_dataset`.
        annotations: Name of a split (``train``, ``val``) to its annotation file, training first.
        layout: See `read_dataset`.
        on_problem: See `read_dataset`.
        classes: See `read_dataset`; without it, those of the first split are used for all.
        check_files: See `read_dataset`.

    Returns:
        One index per name.

    Raises:
        DatasetError: As `read_dataset`; or if an image is in two of the splits.
    """
    found: dict[str, DatasetIndex] = {}
    owner: dict[str, str] = {}
    for name, file in annotations.items():
        index = read_dataset(
            images,
            file,
            layout=layout,
            on_problem=on_problem,
            classes=classes,
            check_files=check_files,
            unlisted="ignore" if len(annotations) > 1 else "empty",
        )
        for image in index:
            if owner.setdefault(image.file, name) != name:
                raise DatasetError(
                    f"expected an image in one split, {shown(image.file)} is in "
                    f"{owner[image.file]} and in {name}"
                )
        classes, found[name] = index.classes, index
    return found


def _recognise(annotations: Path) -> str:
    name = annotations.name.lower()
    if name.endswith(".json"):
        return "coco"
    if name.endswith((".csv", ".csv.gz")):
        return "kaggle"
    raise DatasetError(
        f"expected annotations in one of the layouts {', '.join(LAYOUTS)}, cannot recognise "
        f"{shown(annotations)}; name the layout"
    )


def _read(layout: str, images: Path, annotations: Path, options: ReadOptions) -> RawDataset:
    if layout == "coco":
        return read_coco(annotations, options)
    if layout == "kaggle":
        return read_kaggle(images, annotations, options)
    raise DatasetError(f"expected layout auto, {', '.join(LAYOUTS)}, got {shown(layout)!r}")
