"""Data sets that real tools wrote and that failed once, where `FROSTLINE_CASES` has their maker."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from frostline.datasets import DatasetIndex, check_dataset, find_dataset, read_splits
from frostline.errors import DatasetError
from frostline.starter.data import read_material

NAMES = (
    *("roboflow_without_test", "coco_back_slashes", "coco_crowd_as_text", "yolo_pose"),
    *("yolo_labels_beside", "labelimg_classes", "darknet_last_empty", "file_names", "url_names"),
    *("mac_files", "zip_back_slashes", "voc_lists", "coco_one_name_two_ids"),
    *(
        *("grey_12_bit", "class_in_another_case"),
        "coco_zero_sizes",
        "coco_polygons_only",
        "tutorial_csv",
        "voc_gbk",
        "coco_exif_turned",
    ),
)
SHIP = [10.0, 10.0, 40.0, 30.0]
MIDDLE = [48.0, 36.0, 72.0, 54.0]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs, written by the script in the folder that `FROSTLINE_CASES` names."""
    folder = os.environ.get("FROSTLINE_CASES")
    if not folder:
        pytest.skip("FROSTLINE_CASES is not set: the maker of these inputs is not on this machine")
    target = tmp_path_factory.mktemp("cases")
    script = Path(folder) / "make_cases.py"
    command = [sys.executable, str(script), str(target), *NAMES]
    subprocess.run(command, check=True, capture_output=True)
    return target


def read(folder: Path, **expected: tuple[int, int]) -> dict[str, DatasetIndex]:
    """The splits, with images and boxes by split as expected, and a check without errors."""
    splits = read_splits(folder)
    found = {name: (len(index), index.counts().boxes) for name, index in splits.items()}
    assert found == expected
    assert check_dataset(find_dataset(folder)).ok
    return splits


def boxes(splits: dict[str, DatasetIndex]) -> set[tuple[float, ...]]:
    return {
        tuple(round(v, 6) for v in box)
        for index in splits.values()
        for image in index
        for box in image.boxes.tolist()
    }


def codes(splits: dict[str, DatasetIndex]) -> Counter[str]:
    return Counter(finding.code for index in splits.values() for finding in index.findings)


def test_named_split_that_is_not_there(cases: Path) -> None:
    splits = read(cases / "roboflow_without_test", train=(8, 8), val=(8, 8))
    assert codes(splits) == {"split-missing": 1}


@pytest.mark.parametrize(
    ("case", "count"), [("coco_back_slashes", 8), ("url_names", 4), ("file_names/case", 4)]
)
def test_names_of_images(cases: Path, case: str, count: int) -> None:
    splits = read(cases / case, all=(count, count))
    assert codes(splits) == {"path-found": 1}
    assert f"{count} of {count} images" in splits["all"].findings[0].message
    assert boxes(splits) == {tuple(SHIP)}


@pytest.mark.parametrize(("case", "notes"), [("unicode", 1), ("txt", 1), ("jfif", 0)])
def test_names_of_labels(cases: Path, case: str, notes: int) -> None:
    splits = read(cases / "file_names" / case, all=(2, 2))
    assert codes(splits)["path-found"] == notes
    assert boxes(splits) == {tuple(MIDDLE)}


@pytest.mark.parametrize("case", ["yolo", "coco.zip"])
def test_files_of_macos(cases: Path, case: str) -> None:
    assert read(cases / "mac_files" / case, all=(4, 4))["all"].classes == ("ship",)


@pytest.mark.parametrize("case", ["data.zip", "unpacked"])
def test_backslashes_in_a_zip_file(cases: Path, case: str) -> None:
    splits = read(cases / "zip_back_slashes" / case, all=(4, 4))
    assert splits["all"].classes == ("ship",)
    assert {image.file for image in splits["all"]} == {f"images/a{n}.jpg" for n in range(4)}


def test_lists_of_voc(cases: Path) -> None:
    assert not codes(read(cases / "voc_lists", train=(6, 6), val=(2, 2)))


def test_crowd_as_text(cases: Path) -> None:
    splits = read(cases / "coco_crowd_as_text", all=(8, 8))
    assert splits["all"].counts().crowd_boxes == 0


@pytest.mark.parametrize("case", ["points_17_3", "points_4_2"])
def test_poses(cases: Path, case: str) -> None:
    splits = read(cases / "yolo_pose" / case, train=(4, 4), val=(4, 4))
    assert boxes(splits) == {tuple(MIDDLE)}
    assert codes(splits) == {"points-unread": 2}


def test_labels_beside(cases: Path) -> None:
    read(cases / "yolo_labels_beside" / "mixed", train=(8, 8), val=(4, 4))
    alone = read(cases / "yolo_labels_beside" / "alone", all=(4, 4))
    assert alone["all"].classes == ("ship",)


def test_classes_of_labelimg(cases: Path) -> None:
    splits = read(cases / "labelimg_classes", all=(4, 4))
    assert splits["all"].counts().boxes_per_class == {"ship": 2, "buoy": 2}
    assert not codes(splits)


def test_last_label_file_empty(cases: Path) -> None:
    read(cases / "darknet_last_empty", all=(4, 3))


def test_one_name_under_two_ids(cases: Path) -> None:
    splits = read(cases / "coco_one_name_two_ids", all=(8, 8))
    assert splits["all"].counts().boxes_per_class == {"ship": 8, "buoy": 0}
    assert codes(splits) == {"class-merged": 1}


def test_sizes_of_zero(cases: Path) -> None:
    splits = read(cases / "coco_zero_sizes", all=(8, 8))
    assert codes(splits) == {"size-unknown": 1}
    assert splits["all"].findings[0].message.startswith("8 of 8 images")
    assert {image.size for image in splits["all"]} == {(120, 90)}


def test_polygons_without_boxes(cases: Path) -> None:
    splits = read(cases / "coco_polygons_only", all=(8, 8))
    assert boxes(splits) == {(10.0, 10.0, 40.0, 30.0)}
    assert codes(splits) == {"outline-boxed": 1}


def test_csv_of_a_tutorial(cases: Path) -> None:
    splits = read(cases / "tutorial_csv", all=(8, 8))
    assert splits["all"].classes == ("ship",)
    assert boxes(splits) == {(10.0, 10.0, 40.0, 40.0)}


def test_chinese_class_in_gbk(cases: Path) -> None:
    splits = read(cases / "voc_gbk", all=(4, 4))
    assert splits["all"].classes == ("小麦",)


def test_sizes_of_the_turned_image(cases: Path) -> None:
    splits = read(cases / "coco_exif_turned", all=(8, 8))
    assert boxes(splits) == {(10.0, 80.0, 30.0, 110.0)}
    for image in splits["all"]:
        assert image.size == (90, 120)
        pixels = splits["all"].load(image)
        assert pixels.shape == (120, 90, 3)
        assert pixels[85:105, 15:25].min() > 200  # JPEG
        assert pixels[:75].max() < 100


def test_twelve_bits_of_sixteen(cases: Path) -> None:
    found = check_dataset(find_dataset(cases / "grey_12_bit"))
    (told,) = (f for f in found.findings[""] if f.code == "grey-levels")
    assert told.severity == "warning"
    assert "up to 4095 of 65535 (12 bits)" in told.message
    assert "read as 0 to 15 of 255" in told.message
    material = read_material(find_dataset(cases / "grey_12_bit"))
    assert material.grey is not None
    assert material.grey.levels == 4096


@pytest.mark.parametrize("on_problem", ["raise", "drop"])
def test_class_in_another_case(cases: Path, on_problem: Literal["raise", "drop"]) -> None:
    with pytest.raises(DatasetError, match=r"got 'Ship'; did you mean ship\?"):
        read_splits(cases / "class_in_another_case", on_problem=on_problem)
    assert not check_dataset(find_dataset(cases / "class_in_another_case")).ok
