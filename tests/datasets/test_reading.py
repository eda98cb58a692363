from pathlib import Path

import numpy as np
import pytest

from frostline.datasets import DatasetIndex, find_dataset, read_dataset, read_splits
from frostline.errors import DatasetError
from tests.datasets import samples
from tests.datasets.samples import random_index, zip_folder

WRITERS = {
    "coco": samples.write_coco,
    "kaggle": samples.write_kaggle,
    "gwhd2021": samples.write_gwhd,
    "voc": samples.write_voc,
    "yolo": samples.write_yolo,
}


def two_splits(folder: Path, classes: tuple[str, ...]) -> dict[str, DatasetIndex]:
    images = folder / "images"
    return {
        "train": random_index(images, "t", 5, seed=1, classes=classes),
        "val": random_index(images, "v", 4, seed=2, classes=classes),
    }


def same(read: DatasetIndex, true: DatasetIndex, atol: float) -> None:
    """The same boxes in the same order, whatever folder the images are in."""
    assert read.classes == true.classes
    assert [i.file.rpartition("/")[2] for i in read] == [i.file for i in true]
    for a, b in zip(read, true, strict=True):
        assert (a.width, a.height) == (b.width, b.height)
        assert np.array_equal(a.labels, b.labels)
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=atol)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_is_found_and_gives_the_same_data(
    tmp_path: Path, layout: str, packed: bool
) -> None:
    classes = ("wheat_head",) if layout in ("kaggle", "gwhd2021") else ("ear", "leaf")
    source = tmp_path / "source"
    true = two_splits(source, classes)
    folder = source if layout != "yolo" else tmp_path / "yolo"
    folder.mkdir(exist_ok=True)
    WRITERS[layout](true, folder)
    data = zip_folder(folder, tmp_path / "data.zip", "top/") if packed else folder
    found = find_dataset(data)
    assert found.layout == layout
    assert list(found.splits) == ["train", "val"]
    read = read_splits(data)
    if layout == "kaggle":  # with two files over one folder, nobody knows whose image is empty
        true = {n: i.select([k.file for k in i if len(k.labels)]) for n, i in true.items()}
    atol = 1e-4 if layout == "yolo" else 0.0
    for name, index in read.items():
        same(index, true[name], atol)
        assert read_dataset(data, split=name).counts() == index.counts()
        if layout in ("coco", "kaggle", "gwhd2021"):
            assert [i.group for i in index] == [i.group for i in true[name]]


def test_val_has_the_labels_of_train(tmp_path: Path) -> None:
    """VOC numbers classes by name: a class less in one file must not shift the others."""
    true = two_splits(tmp_path, ("b", "c"))
    only_c = [
        samples.record(i.file, i.boxes[i.labels == 2].tolist(), [2] * int((i.labels == 2).sum()))
        for i in true["val"]
    ]
    true["val"] = DatasetIndex(true["val"].root, ("b", "c"), tuple(only_c))
    files = samples.write_voc(true, tmp_path)
    assert read_dataset(tmp_path / "images", files["val"]).classes == ("c",)
    same(read_splits(tmp_path / "images", files)["val"], true["val"], 0.0)


def test_image_in_two_splits_is_an_error(tmp_path: Path) -> None:
    true = two_splits(tmp_path, ("ear", "leaf"))
    files = samples.write_coco({"train": true["train"], "val": true["train"]}, tmp_path)
    with pytest.raises(DatasetError, match=r"t0\.png is in train and val"):
        read_splits(tmp_path / "images", files)


def test_split_must_be_told_where_there_are_several(tmp_path: Path) -> None:
    samples.write_coco(two_splits(tmp_path, ("ear", "leaf")), tmp_path)
    with pytest.raises(DatasetError, match="expected one of the splits train, val of"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="got test"):
        read_dataset(tmp_path, split="test")


def test_single_annotation_file_needs_no_name(tmp_path: Path) -> None:
    index = random_index(tmp_path / "images", "a", 3, seed=1)
    samples.write_coco({"labels": index}, tmp_path)
    assert find_dataset(tmp_path).splits == {"all": tmp_path / "labels.json"}
    assert len(read_dataset(tmp_path)) == 3


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml"])
def test_data_yaml_may_be_named_itself(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "yolo"
    folder.mkdir()
    samples.write_yolo(two_splits(tmp_path / "s", ("ear", "leaf")), folder)
    (folder / "data.yaml").rename(folder / name)
    assert list(find_dataset(folder / name).splits) == ["train", "val"]


def test_yolo_without_data_yaml(tmp_path: Path) -> None:
    folder = tmp_path / "yolo"
    folder.mkdir()
    samples.write_yolo(two_splits(tmp_path / "s", ("ear", "leaf")), folder)
    (folder / "data.yaml").unlink()
    found = find_dataset(folder)
    assert found.splits == {"train": folder / "images/train", "val": folder / "images/val"}
    assert read_splits(folder)["val"].classes == ("class_0", "class_1")


def test_labels_beside_the_images(tmp_path: Path) -> None:
    """As labelImg and darknet keep them; text files that are no labels do not count."""
    true = random_index(tmp_path / "obj_train_data", "a", 4, 1, empty=None)
    for image in true:
        label = tmp_path / "obj_train_data" / image.file.replace(".png", ".txt")
        label.write_text(samples.yolo_text(image))
    (tmp_path / "obj.names").write_text("ear\nleaf\n")
    found = find_dataset(tmp_path)
    assert (found.layout, list(found.splits)) == ("yolo", ["train"])
    index = read_dataset(tmp_path)
    assert index.classes == ("ear", "leaf")
    assert index.counts().boxes == 12
    for label in (tmp_path / "obj_train_data").glob("*.txt"):
        label.write_text("an ear in a field\n")
    with pytest.raises(DatasetError, match="found 4 images and no annotations"):
        find_dataset(tmp_path)


def test_exported_folders_a_split_each(tmp_path: Path) -> None:
    """One folder a split, annotations beside the images, as labelling services export."""
    true = two_splits(tmp_path / "s", ("ear", "leaf"))
    for name, folder in (("train", "train"), ("val", "valid")):
        (tmp_path / "x" / folder).mkdir(parents=True)
        for image in true[name]:
            file = tmp_path / "x" / folder / image.file
            file.write_bytes((true[name].root / image.file).read_bytes())
        written = samples.write_coco({name: true[name]}, tmp_path / "x" / folder)
        written[name].rename(tmp_path / "x" / folder / "_annotations.coco.json")
    found = find_dataset(tmp_path / "x")
    assert list(found.splits) == ["train", "val"]
    for name, index in read_splits(tmp_path / "x").items():
        same(index, true[name], 0.0)


def test_coco_folders_of_the_published_set(tmp_path: Path) -> None:
    true = two_splits(tmp_path / "s", ("ear", "leaf"))
    (tmp_path / "x" / "annotations").mkdir(parents=True)
    for name, index in true.items():
        (tmp_path / "x" / f"{name}2017").mkdir()
        for image in index:
            file = tmp_path / "x" / f"{name}2017" / image.file
            file.write_bytes((index.root / image.file).read_bytes())
        written = samples.write_coco({name: index}, tmp_path / "x" / "annotations")
        written[name].rename(tmp_path / "x" / "annotations" / f"instances_{name}2017.json")
    (tmp_path / "x" / "annotations" / "info.json").write_text("{}")
    for name, index in read_splits(tmp_path / "x").items():
        same(index, true[name], 0.0)
        assert index.images[0].file.startswith(f"{name}2017/")


def test_two_layouts_are_not_chosen_between(tmp_path: Path) -> None:
    true = {"train": random_index(tmp_path / "images", "a", 3, 1, classes=("wheat_head",))}
    samples.write_coco(true, tmp_path)
    samples.write_kaggle(true, tmp_path)
    with pytest.raises(DatasetError, match="found coco and kaggle; choose a layout, or name"):
        find_dataset(tmp_path)
    assert find_dataset(tmp_path, "kaggle").splits == {"train": tmp_path / "train.csv"}


@pytest.mark.parametrize("layout", ["tsv", "COCO", ""])
def test_unknown_layout(tmp_path: Path, layout: str) -> None:
    samples.write_coco({"a": random_index(tmp_path / "images", "a", 3, 1)}, tmp_path)
    for call in (
        lambda: read_dataset(tmp_path / "images", tmp_path / "a.json", layout=layout),
        lambda: find_dataset(tmp_path, layout),
    ):
        with pytest.raises(DatasetError, match="expected layout auto, coco, kaggle, gwhd2021"):
            call()


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DatasetError, match=r"expected one data set in .*, found 0 images and no ann"
    ):
        find_dataset(tmp_path / "empty")
    with pytest.raises(DatasetError, match="expected a folder or zip file"):
        find_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="expected a folder or zip file of images, found none"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="expected an annotation file, found none at"):
        read_dataset(tmp_path / "empty", tmp_path / "a.json")
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(DatasetError, match=r"cannot recognise a\.toml; name the layout"):
        read_dataset(tmp_path / "empty", tmp_path / "a.toml")
    with pytest.raises(DatasetError, match="cannot recognise"):
        read_dataset(tmp_path / "empty", tmp_path / "empty")


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected on_problem"):
        read_dataset(tmp_path, tmp_path / "a", on_problem="ignore")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="expected unlisted"):
        read_dataset(tmp_path, tmp_path / "a", unlisted="x")  # type: ignore[arg-type]
