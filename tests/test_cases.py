"""Small inputs that failed once, where ``FROSTLINE_CASES`` names the folder that makes them.

Those of data sets and of weight files stand with their rooms.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.datasets import Looks, check_splits, read_dataset, split_by_fraction, split_by_photo
from frostline.datasets.photos import marked_name

PROGRAMS = (
    *("freeze_deform", "freeze_spectral", "freeze_sync_batchnorm", "freeze_lightning"),
    *("freeze_ddp", "freeze_unbuilt", "coco_results"),
)


def _made(case: str, folder: Path) -> Path:
    source = os.environ.get("FROSTLINE_CASES")
    if not source:
        pytest.skip("FROSTLINE_CASES is not set: the maker of these inputs is not on this machine")
    make = [sys.executable, str(Path(source) / "make_cases.py"), str(folder), case]
    subprocess.run(make, check=True, capture_output=True)
    return folder / case


@pytest.mark.slow
@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_ends_well(case: str, tmp_path: Path) -> None:
    program = _made(case, tmp_path) / "try.py"
    result = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


def test_versions_of_a_photo_stay_together(tmp_path: Path) -> None:
    case = _made("augmented_copies", tmp_path)
    index = read_dataset(case / "images", case / "annotations.json")
    sides = [
        {marked_name(image.file)[0] for image in part}
        for part in split_by_photo(index, 0.25, 0, Looks())
    ]
    assert [len(side) for side in sides] == [15, 5], "20 photos of three versions"
    assert not sides[0] & sides[1]


def test_versions_of_a_photo_on_both_sides_are_named(tmp_path: Path) -> None:
    case = _made("augmented_copies", tmp_path)
    index = read_dataset(case / "images", case / "annotations.json")
    train, val = split_by_fraction(index, 0.25, 0)
    photos = {marked_name(image.file)[0] for image in train}
    torn = {image.file for image in val if marked_name(image.file)[0] in photos}
    found = check_splits({"train": train, "val": val}, image_size=160).findings
    told = {one.file for part in found.values() for one in part if one.severity == "warning"}
    assert len(torn) > 10
    assert torn <= told
