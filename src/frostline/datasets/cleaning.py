"""A cleaned copy of a data set, with a list of what was dropped and why."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.csv_text import rows_to_csv
from frostline.datasets.checks import DataCheck
from frostline.datasets.files import open_tree
from frostline.datasets.findings import Finding, shown
from frostline.datasets.index import DatasetIndex, ImageRecord
from frostline.datasets.reading import require_boxes
from frostline.datasets.same_boxes import same_boxes
from frostline.errors import DatasetError

__all__ = ["CleanCopy", "clean_copy"]

_IMAGES, _DROPPED = "images", "dropped.csv"
_COLUMNS = ("split", "severity", "code", "file", "line", "entry", "message", "done")
_UNUSABLE = "image-undecodable"
_SHARED = ("image-in-two-splits", "image-copy-across-splits")


@dataclass(frozen=True)
class CleanCopy:
    """What was written.

    Attributes:
        folder: Holds ``images/``, a COCO json per split, and ``dropped.csv``.
        splits: The cleaned data, with ``folder/images`` as root.
        dropped: Rows of ``dropped.csv``: split, finding, and what was done about it.
    """

    folder: Path
    splits: dict[str, DatasetIndex]
    dropped: tuple[tuple[str, Finding, str], ...]


def clean_copy(check: DataCheck, folder: Path) -> CleanCopy:
    """Write a copy without what the check calls errors, and without repeated boxes.

    Boxes and images that could not be read are left out, as are images that cannot be decoded.
    Of an image that two splits share, the earlier split (training) loses it, so that validation
    and test stay what they were. Warnings other than repeated boxes are listed and kept. Image
    files are copied as they are. The folder appears at once and whole.

    Args:
        check: Result of `check_dataset`.
        folder: Folder to write; must not exist, or be empty.

    Raises:
        DatasetError: If the folder is in use, a split would be empty, or writing fails.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"expected a new or empty folder to write to, {shown(folder)} is in use")
    if any(counts.masks for counts in check.counts().values()):
        raise DatasetError(
            "expected boxes: a clean copy is written as COCO, which has no place for mask files; "
            "correct the masks that are listed, or train with on_problem: drop"
        )
    splits = {name: _cleaned(index, _lost(check, name)) for name, index in check.splits.items()}
    for name, index in splits.items():
        if not len(index):
            raise DatasetError(f"expected images to be left of {shown(name)}, all have problems")
    require_boxes(
        {name: replace(i, findings=check.findings.get(name, ())) for name, i in splits.items()}
    )
    dropped = tuple(_dropped(check))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".frostline-", dir=folder.parent) as partial:
            whole = Path(partial, "whole")
            _write(splits, dropped, whole)
            whole.replace(folder)
    except OSError as error:
        raise DatasetError(f"cannot write {shown(folder)}: {shown(error)}") from error
    root = folder / _IMAGES
    return CleanCopy(folder, {n: replace(i, root=root) for n, i in splits.items()}, dropped)


def _lost(check: DataCheck, split: str) -> set[str]:
    """Images that a split loses."""
    found = check.findings.get(split, ())
    unusable = {finding.file for finding in found if finding.code == _UNUSABLE}
    same = [leak for leak in check.leaks if leak.kind in ("file", "pixels")]
    return unusable | {leak.file for leak in same if leak.split == split}


def _cleaned(index: DatasetIndex, lost: set[str]) -> DatasetIndex:
    kept = tuple(_unrepeated(image) for image in index if image.file not in lost)
    return replace(index, images=kept, findings=())


def _unrepeated(image: ImageRecord) -> ImageRecord:
    """The record with each box once."""
    keep = np.ones(len(image.labels), dtype=bool)
    keep[[pair.second for pair in same_boxes(image) if pair.one_class]] = False
    return replace(image, target=image.target.take(keep))


def _dropped(check: DataCheck) -> Iterator[tuple[str, Finding, str]]:
    actions = {
        "box-duplicate": "kept once",
        "box-clipped": "clipped",
        "path-ignored": "not copied",
        "label-without-image": "not copied",
    }
    for split, findings in check.findings.items():
        for finding in findings:
            if finding.code in _SHARED:
                yield split, finding, "left out of the earlier split"
            elif finding.severity == "error":
                yield split, finding, "left out"
            elif finding.severity == "warning":
                yield split, finding, actions.get(finding.code, "kept as it was")


def _write(
    splits: Mapping[str, DatasetIndex], dropped: Iterable[tuple[str, Finding, str]], folder: Path
) -> None:
    for name, index in splits.items():
        tree = open_tree(index.root)
        for image in index:
            target = folder / _IMAGES / image.file
            target.parent.mkdir(parents=True, exist_ok=True)
            with tree.open(image.file) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        text = json.dumps(index.to_coco(), indent=1)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    rows = [{"split": split, **finding.to_dict(), "done": done} for split, finding, done in dropped]
    text = rows_to_csv(rows, _COLUMNS)
    (folder / _DROPPED).write_bytes(text.encode("utf-8", "backslashreplace"))
