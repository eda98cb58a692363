import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from frostline.datasets import check_dataset, clean_copy, find_dataset, load_image, read_splits
from frostline.datasets.checks import DataCheck
from frostline.errors import DatasetError
from tests.datasets.faults import FAULTS, Fault, PlantedSet
from tests.datasets.samples import zip_folder


def checked(folder: Path) -> DataCheck:
    return check_dataset(find_dataset(folder))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "dropped.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_clean_set_is_copied_whole(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    copy = clean_copy(checked(planted.folder), tmp_path / "out")
    assert sorted(p.name for p in copy.folder.iterdir()) == [
        "dropped.csv", "images", "train.json", "val.json",
    ]  # fmt: skip
    assert rows(copy.folder) == []
    for name, index in read_splits(tmp_path / "out").items():
        assert index.digest() == planted.clean[name].digest() == copy.splits[name].digest()
    for image in planted.clean["val"]:
        assert (tmp_path / "out" / "images" / image.file).read_bytes() == (
            planted.images / image.file
        ).read_bytes()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.layout}: {fault.name}")
def test_errors_are_gone_from_the_copy_and_listed(tmp_path: Path, fault: Fault) -> None:
    planted = PlantedSet(tmp_path / "data", fault.layout)
    fault.plant(planted)
    check = checked(planted.folder)
    copy = clean_copy(check, tmp_path / "out")
    again = checked(tmp_path / "out")
    assert again.ok, again.codes()
    assert not {"box-duplicate", "box-clipped"} & set(again.codes())
    listed = {row["code"] for row in rows(copy.folder)}
    wanted = {f.code for part in check.findings.values() for f in part if f.severity != "note"}
    assert listed == wanted
    assert sum(len(i) for i in copy.splits.values()) >= 6


def test_of_a_shared_image_training_loses_its_copy(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    next(f for f in FAULTS if f.code == "image-copy-across-splits").plant(planted)
    copy = clean_copy(checked(planted.folder), tmp_path / "out")
    assert "t1.png" not in {image.file for image in copy.splits["train"]}
    assert len(copy.splits["val"]) == 4
    assert [row["done"] for row in rows(copy.folder)] == ["left out of the earlier split"]


def test_box_that_is_there_twice_is_kept_once(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    next(f for f in FAULTS if f.name == "box twice").plant(planted)
    copy = clean_copy(checked(planted.folder), tmp_path / "out")
    assert copy.splits["train"].counts().boxes == 18
    assert [row["done"] for row in rows(copy.folder)] == ["kept once"]


def test_cells_do_not_run_as_formulae(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    planted.image(file_name="=cmd|'/c calc'!A0.png")
    planted.edit_json("val", lambda c: c["images"][0].update(file_name="@SUM(1).png"))
    bad = next(iter(planted.images.glob("t1.png")))
    bad.rename(planted.images / "=1+1.png")
    planted.edit_json("train", lambda c: c["images"][1].update(file_name="=1+1.png", width=5))
    folder = clean_copy(checked(planted.folder), tmp_path / "out").folder
    with (folder / "dropped.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_from_a_zip_file(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    copy = clean_copy(checked(archive), tmp_path / "out")
    image = copy.splits["train"].images[0]
    assert np.array_equal(
        load_image(copy.splits["train"].root, image.file), load_image(planted.images, image.file)
    )


def test_from_yolo_with_folders(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data", "yolo")
    copy = clean_copy(checked(planted.folder), tmp_path / "out")
    coco = json.loads((copy.folder / "train.json").read_text())
    assert coco["images"][0]["file_name"] == "images/train/t0.png"
    assert read_splits(copy.folder)["train"].counts().boxes == 18


def test_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    check = checked(planted.folder)
    (tmp_path / "out").mkdir()
    clean_copy(check, tmp_path / "out")  # an empty folder will do
    before = (tmp_path / "out" / "train.json").read_bytes()
    with pytest.raises(DatasetError, match="expected a new or empty folder"):
        clean_copy(check, tmp_path / "out")
    assert (tmp_path / "out" / "train.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="expected a new or empty folder"):
        clean_copy(check, tmp_path / "file")


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = PlantedSet(tmp_path / "data")
    check = checked(planted.folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DatasetError, match=r"cannot write .*No space left on device"):
        clean_copy(check, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_split_that_would_be_empty(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    check = checked(planted.folder)
    for image in planted.clean["val"]:
        file = planted.images / image.file
        file.write_bytes(file.read_bytes()[:200])
    broken = checked(planted.folder)
    with pytest.raises(DatasetError, match="expected images to be left of val"):
        clean_copy(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert check.ok


def test_image_that_vanishes_meanwhile(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    check = checked(planted.folder)
    (planted.images / "v1.png").unlink()
    with pytest.raises(DatasetError, match=r"v1\.png: expected a file"):
        clean_copy(check, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hostile_zip_names_do_not_escape_from_the_copy(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    planted.image(file_name="../../escaped.png")
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("images/../../escaped.png", (planted.images / "t0.png").read_bytes())
    clean_copy(checked(archive), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("escaped.png"))
