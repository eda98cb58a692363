"""How a data set is divided, and the image size that suits its boxes."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.config import SplitConfig, load_study
from frostline.datasets import DatasetIndex, DatasetLocation, find_dataset
from frostline.errors import DatasetError
from frostline.loading import load_data
from frostline.starter import write_starter
from frostline.starter.data import Material, choose_size, read_material
from tests.datasets import samples
from tests.datasets.samples import random_index, record
from tests.starter.builders import machine


def _coco(folder: Path, **splits: int) -> DatasetLocation:
    for n, (name, images) in enumerate(splits.items()):
        index = random_index(folder / "images", name, images, seed=n, empty=None)
        samples.write_coco({name: index}, folder)
    return find_dataset(folder)


def test_train_and_val_are_kept(tmp_path: Path) -> None:
    material = read_material(_coco(tmp_path, train=4, val=2, test=3))
    assert {name: len(index) for name, index in material.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert (material.fraction, material.val_groups, material.problems) == (None, None, 0)
    assert material.total().images == 9
    assert material.most_boxes() == 3


def _grouped(folder: Path, sizes: dict[str, int]) -> DatasetLocation:
    """A kaggle csv with so many images of each source."""
    (folder / "images").mkdir()
    records = []
    for group, images in sizes.items():
        for n in range(images):
            name = f"{group or 'none'}{n}.png"
            Image.new("RGB", (96, 64)).save(folder / "images" / name)
            records.append(record(name, [[1, 1, 30, 30]], group=group or None))
    index = DatasetIndex(folder / "images", ("wheat_head",), tuple(records))
    samples.write_kaggle({"train": index}, folder)
    return find_dataset(folder)


@pytest.mark.parametrize(
    ("sizes", "held_out"),
    [
        ({"a": 6, "b": 1, "c": 1, "d": 4}, ("b", "c")),  # 2 of 12; with d it would be half
        ({"a": 4, "b": 4}, ("a",)),  # never more than half
        ({"a": 8}, None),  # one group is none
        ({"": 6}, None),
        ({"": 4, "a": 2, "b": 6}, ("a",)),  # images without a group train
    ],
)
def test_whole_groups_validate(
    tmp_path: Path, sizes: dict[str, int], held_out: tuple[str, ...] | None
) -> None:
    material = read_material(_grouped(tmp_path, sizes))
    assert material.val_groups == held_out
    assert material.fraction == (0.25 if held_out is None else None)
    groups = {image.group for image in material.splits["val"]}
    if held_out is not None:
        assert groups == set(held_out)
    assert len(material.splits["train"]) + len(material.splits["val"]) == sum(sizes.values())


def test_versions_of_a_photo_are_kept_together(tmp_path: Path) -> None:
    """Eight pictures, each with a mirror image under a name that tells nothing."""
    folder = tmp_path / "images"
    folder.mkdir()
    records = []
    for n in range(8):
        image = samples.picture(n)
        for m, version in enumerate((image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
            version.save(folder / f"{n + 8 * m:02}.png")
            records.append(record(f"{n + 8 * m:02}.png", [[1, 1, 30, 30]]))
    index = DatasetIndex(folder, ("ear",), tuple(records))
    samples.write_coco({"all": index}, tmp_path)
    material = read_material(find_dataset(tmp_path))
    sides = [{int(i.file[:2]) % 8 for i in part} for part in material.splits.values()]
    assert [len(side) for side in sides] == [6, 2]
    assert not sides[0] & sides[1]
    assert material.notes[0].startswith("8 photos have several images (16 of 16), such as 00.png")
    starter = write_starter(
        find_dataset(tmp_path), tmp_path / "study.yaml", machine=machine(tmp_path)
    )
    study = load_study(starter.path)
    assert study.data.split == SplitConfig(fraction=0.25, seed=0, by="photo")
    again = load_data(study.data, tmp_path)
    assert [i.file for i in again["val"]] == [i.file for i in material.splits["val"]]


def test_train_without_val_is_divided_and_test_is_left(tmp_path: Path) -> None:
    material = read_material(_coco(tmp_path, train=8, test=3))
    assert material.files == {"annotations": tmp_path / "train.json"}
    assert len(material.splits["train"]) + len(material.splits["val"]) == 8
    assert material.unused == ("test",)


def test_images_without_a_row_are_told(tmp_path: Path) -> None:
    location = _grouped(tmp_path, {"a": 4, "b": 4})
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "other.png")
    assert "1 images of the folder have no row" in read_material(location).notes[0]
    assert len(read_material(location).notes) == 1
    for n in range(9):
        Image.new("RGB", (9, 9)).save(tmp_path / "images" / f"other{n}.png")
    assert "do the images belong to this file?" in read_material(location).notes[1]


def test_bad_entries_are_counted(tmp_path: Path) -> None:
    location = _grouped(tmp_path, {"a": 4, "b": 4})
    with (tmp_path / "train.csv").open("a") as file:
        file.write('a0,96,64,"[nan, 1, 2, 3]",a\na1,96,64,"[9, 9, -5, 2]",a\n')
    assert read_material(location).problems == 2


def test_parts_without_train_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected annotation files for train and val"):
        read_material(_coco(tmp_path, north=2, south=2))


def test_data_yaml_needs_val(tmp_path: Path) -> None:
    index = random_index(tmp_path / "s", "a", 4, seed=1, empty=None)
    other = random_index(tmp_path / "s", "b", 4, seed=2, empty=None)
    (tmp_path / "yolo").mkdir()
    samples.write_yolo({"train": index, "test": other}, tmp_path / "yolo")
    with pytest.raises(DatasetError, match=r"data\.yaml: expected train and val, found train, te"):
        read_material(find_dataset(tmp_path / "yolo"))


def test_too_little_data(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected at least two images"):
        read_material(_coco(tmp_path, train=1))


def test_no_boxes(tmp_path: Path) -> None:
    records = []
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (96, 64)).save(tmp_path / "images" / name)
        records.append(record(name, []))
    index = DatasetIndex(tmp_path / "images", ("ear",), tuple(records))
    samples.write_coco({"train": index}, tmp_path)
    with pytest.raises(DatasetError, match="expected boxes in the train data, got none on 1"):
        read_material(find_dataset(tmp_path))


def _material(boxes: list[list[float]], side: int) -> Material:
    image = record("a.png", boxes, size=(side, side))
    index = DatasetIndex(Path(), ("ear",), (image,))
    return Material("coco", Path(), {}, {"train": index})


def _square(side: float) -> list[float]:
    return [0, 0, side, side]


@pytest.mark.parametrize(
    ("side", "preset", "size"),
    [
        (100, "slim", 256),  # 25 px at 256: large enough, and an anchor of 23 is near
        (32, "slim", 512),  # 16 px needs half of 1024
        (10, "slim", 1024),  # never 16 px: the largest
        # stock's smallest anchor is 32 px: IoU 0.5 of squares from 32 / sqrt(2)
        (32, "stock", math.ceil(32 / math.sqrt(2) * 1024 / 32 / 32) * 32),
    ],
)
def test_image_size_follows_the_boxes(side: float, preset: str, size: int) -> None:
    sizes = choose_size(_material([_square(side)] * 20, 1024), preset)
    assert sizes.image_size == size


def test_size_where_no_anchor_fits(tmp_path: Path) -> None:
    thin = [[0, 0, 1000.0, 20.0]] * 20
    sizes = choose_size(_material(thin, 1024), "slim")
    assert sizes.misfit_share == 1
    assert sizes.image_size == 256
    assert np.isfinite(sizes.quantiles).all()
