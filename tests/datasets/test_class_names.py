"""Classes that are meant to be one; and data that is not lost for a slip in their names."""

import json
from pathlib import Path

import pytest

from frostline.config import DataConfig
from frostline.datasets import check_dataset, clean_copy, find_dataset
from frostline.datasets.class_names import near_class
from frostline.errors import DatasetError
from frostline.loading import load_data
from frostline.starter.data import read_material
from tests.datasets.samples import picture

KNOWN = ("fishing boat", "Buoy", "cherry", "box", "glass", "gas")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("Fishing_Boat", "fishing boat"), ("fishing-boats", "fishing boat"), ("BUOYS", "Buoy")),
        *(("cherries", "cherry"), ("Boxes", "box"), ("glasses", "glass")),
        ("fising boat", "fishing boat"),
        *(("gas ", "gas"), ("crane", None), ("", None), ("bus", None)),
    ],
)  # fmt: skip
def test_near_names(name: str, meant: str | None) -> None:
    assert near_class(name, KNOWN) == meant


def write(folder: Path, val_class: str, *, also: str | None = None) -> DataConfig:
    """Four images with a box each, of class ``ship``; and four of another name."""
    (folder / "images").mkdir(parents=True)
    for split, name in (("train", "ship"), ("val", val_class)):
        categories = [{"id": n, "name": c} for n, c in enumerate((name, also), 1) if c]
        images = [
            {"id": n, "file_name": f"{split}{n}.png", "width": 96, "height": 64}
            for n in range(1, 5)
        ]
        for n, image in enumerate(images):
            picture(n + 10 * (split == "val")).save(folder / "images" / str(image["file_name"]))
        boxes = [
            {"id": n, "image_id": n, "category_id": 2 if also and n == 1 else 1,
             "bbox": [4, 4, 40, 30], "area": 1200, "iscrowd": 0}
            for n in range(1, 5)
        ]  # fmt: skip
        coco = {"images": images, "annotations": boxes, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(coco))
    return DataConfig(layout="coco", images="images", train="train.json", val="val.json")


@pytest.mark.parametrize("name", ["Ship", "ships", "SHIP ", "shipp"])
def test_the_near_name_is_suggested_and_dropping_is_not(tmp_path: Path, name: str) -> None:
    config = write(tmp_path, name)
    with pytest.raises(
        DatasetError, match=r"got '.+'; did you mean ship\?; give a class one name"
    ) as told:
        load_data(config, tmp_path)
    assert "on_problem" not in str(told.value)
    dropping = config.model_copy(update={"on_problem": "drop"})
    with pytest.raises(DatasetError, match=r"none of the 4 boxes has a class .* you mean ship\?"):
        load_data(dropping, tmp_path)


def test_another_class_can_be_dropped(tmp_path: Path) -> None:
    config = write(tmp_path, "ship", also="crane")
    (tmp_path / "train.json").write_text(
        (tmp_path / "train.json").read_text().replace('"name": "crane"', '"name": "dock"')
    )
    with pytest.raises(
        DatasetError, match=r"got 'crane'; correct it, or allow problems to be drop"
    ):
        load_data(config, tmp_path)
    found = load_data(config.model_copy(update={"on_problem": "drop"}), tmp_path)
    assert {name: index.counts().boxes for name, index in found.items()} == {"train": 4, "val": 3}


def test_a_split_without_boxes_is_an_error_everywhere(tmp_path: Path) -> None:
    config = write(tmp_path, "ship")
    coco = json.loads((tmp_path / "val.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps(coco | {"annotations": []}))
    with pytest.raises(DatasetError, match="boxes in the val data, got none on 4 images; `frost"):
        load_data(config, tmp_path)
    with pytest.raises(DatasetError, match="boxes in the val data"):
        read_material(find_dataset(tmp_path))
    result = check_dataset(find_dataset(tmp_path))
    assert result.codes()["split-without-boxes"] == 1
    assert not result.ok
    with pytest.raises(DatasetError, match="boxes in the val data"):
        clean_copy(result, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_groups_of_objects_alone_are_no_boxes(tmp_path: Path) -> None:
    config = write(tmp_path, "ship")
    coco = json.loads((tmp_path / "val.json").read_text())
    for box in coco["annotations"]:
        box["iscrowd"] = 1
    (tmp_path / "val.json").write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match="boxes of single objects in the val data"):
        load_data(config, tmp_path)
