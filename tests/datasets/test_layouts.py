"""One data set in every layout, as folders and as zip files, up to what a study trains on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.config import DataConfig
from frostline.datasets import (
    DatasetIndex,
    ImageRecord,
    check_dataset,
    find_dataset,
    read_dataset,
    read_splits,
)
from frostline.trial import load_data
from tests.datasets import convert
from tests.datasets.samples import Splits, random_index, zip_folder
from tests.datasets.tools import NO_EMPTY

LAYOUTS = tuple(convert.WRITERS)
EXPECTED = {"retinanet": ("path-found",)}
IMAGES = {"voc": "JPEGImages", "yolo": ""}


def made(folder: Path, layout: str) -> dict[str, DatasetIndex]:
    classes = ("wheat_head",) if layout in convert.ONE_CLASS else ("WBC", "RBC", "a platelet")
    empty = None if layout in NO_EMPTY else 2
    source = folder / "source"
    return {
        "train": random_index(source, "t", 6, 1, classes, empty=empty),
        "val": random_index(source, "v", 4, 2, classes, empty=empty),
    }


def same_content(read: Splits, true: Splits, atol: float) -> None:
    assert list(read) == list(true)
    for split, index in true.items():
        names = sorted(index.classes)
        assert sorted(read[split].classes) == names
        by_name = {image.file.rpartition("/")[2]: image for image in read[split]}
        assert sorted(by_name) == sorted(image.file for image in index)
        for image in index:
            other = by_name[image.file]
            assert (other.width, other.height) == (image.width, image.height)
            np.testing.assert_allclose(other.boxes, image.boxes, rtol=0, atol=atol)
            assert [read[split].classes[n - 1] for n in other.labels] == [
                index.classes[n - 1] for n in image.labels
            ]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_as_data_of_a_study(tmp_path: Path, layout: str, packed: bool) -> None:
    true = made(tmp_path, layout)
    files = convert.convert(true, layout, tmp_path / "set")
    name = "set"
    if packed:
        name = zip_folder(tmp_path / "set", tmp_path / "set.zip").name
    atol = {"yolo": 1e-4, "openimages": 1e-9}.get(layout, 0.0)

    found = find_dataset(tmp_path / name)
    assert found.layout == layout
    same_content(read_splits(tmp_path / name), true, atol)

    named = {split: f"{name}/{f.relative_to(tmp_path / 'set')}" for split, f in files.items()}
    images = f"{name}/{IMAGES.get(layout, 'images')}"
    for chosen in ("auto", layout):
        config = DataConfig.model_validate({"layout": chosen, "images": images, **named})
        same_content(load_data(config, tmp_path), true, atol)

    result = check_dataset(found)
    assert result.ok
    # RetinaNet's paths are those of the machine that wrote them
    assert set(result.codes()) - {"images-empty"} == set(EXPECTED.get(layout, ()))
    assert {n: c.boxes for n, c in result.counts().items()} == {
        n: i.counts().boxes for n, i in true.items()
    }


@pytest.mark.parametrize("layout", ["kaggle", "gwhd2021", "coco"])
def test_split_by_group_keeps_domains_apart(tmp_path: Path, layout: str) -> None:
    true = {"train": made(tmp_path, "kaggle")["train"]}
    (file,) = convert.convert(true, layout, tmp_path / "set").values()
    config = DataConfig.model_validate(
        {
            "images": "set/images",
            "annotations": f"set/{file.name}",
            "split": {"val_groups": ["north"]},
        }
    )
    data = load_data(config, tmp_path)
    assert {split: set(i.counts().images_per_group) for split, i in data.items()} == {
        "train": {"south"},
        "val": {"north"},
    }


def without(label: int, image: ImageRecord) -> ImageRecord:
    keep = image.labels != label
    return replace(image, target=image.target.take(keep))


def test_voc_class_that_only_validation_has(tmp_path: Path) -> None:
    """VOC has no list of classes: those of all splits count, as in the other layouts."""
    true = made(tmp_path, "voc")
    true["train"] = replace(
        true["train"], images=tuple(without(3, image) for image in true["train"])
    )
    convert.convert(true, "voc", tmp_path / "set")
    same_content(read_splits(tmp_path / "set"), true, 0.0)
    result = check_dataset(find_dataset(tmp_path / "set"))
    assert result.codes() == {"class-untrained": 1, "images-empty": 2}


@pytest.mark.parametrize("name", ["bccd", "wheat29"])
def test_real_sets_agree_between_layouts(real_data: Path, tmp_path: Path, name: str) -> None:
    source = real_data / name
    if name == "wheat29":
        one = read_dataset(source / "images", source / "all.json")
        files = [image.file for image in one]
        true = {"train": one.select(files[:20]), "val": one.select(files[20:])}
    else:
        true = read_splits(source)
    for layout in convert.layouts_for(true):
        convert.convert(true, layout, tmp_path / layout)
        archive = zip_folder(tmp_path / layout, tmp_path / f"{layout}.zip")
        for data in (tmp_path / layout, archive):
            read = read_splits(data)
            same_content(read, true, 2e-3 if layout == "yolo" else 1e-9)
