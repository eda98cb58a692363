"""One scale for the 16-bit grey images of a set: found by `init`, declared, never guessed."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from frostline.cli import app
from frostline.config import DataConfig
from frostline.datasets import DatasetIndex, check_dataset, find_dataset, load_image, read_dataset
from frostline.datasets.grey_levels import GreyLevels, find_grey_levels
from frostline.errors import DatasetError
from frostline.loading import load_data
from tests.datasets.samples import picture, record, write_coco, zip_folder


def made(root: Path, most: int, count: int = 6, ending: str = "png") -> Path:
    """A set of ramps from 0 to ``most``; all images but the first reach half of it."""
    (root / "images").mkdir(parents=True)
    records = []
    for n in range(count):
        top = most if n == 0 else most // 2
        grey = np.linspace(0, top, 64 * 96).round().astype(np.uint16).reshape(64, 96)
        grey = np.roll(grey, 500 * n)
        Image.fromarray(grey).save(root / "images" / f"g{n}.{ending}")
        records.append(record(f"g{n}.{ending}", [[1, 2, 30, 40]]))
    write_coco({"all": DatasetIndex(root / "images", ("ear",), tuple(records))}, root)
    return root


@pytest.mark.parametrize(
    ("levels", "value", "shown"),
    [
        (4096, 4095, 255),
        (4096, 2048, 128),
        (4096, 15, 0),
        (4096, 16, 1),
        (16384, 16383, 255),
        (1024, 512, 128),
        (256, 200, 200),
        (3001, 3000, 255),
        (65536, 4095, 15),
        (None, 4095, 15),
        (None, 65535, 255),
    ],
)
def test_levels_become_bytes(tmp_path: Path, levels: int | None, value: int, shown: int) -> None:
    Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / "a.png")
    pixels = load_image(tmp_path, "a.png", grey_levels=levels)
    assert np.unique(pixels).tolist() == [shown]


def test_all_levels_are_as_without_a_word(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "a.tif")
    expected = (values // 256).astype(np.uint8)
    for levels in (None, 65536):
        assert np.array_equal(load_image(tmp_path, "a.tif", grey_levels=levels)[..., 0], expected)


def test_level_above_those_declared_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 5000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(
        DatasetError, match=r"a\.png: .*grey level 5000 of 4096: correct data\.grey"
    ):
        load_image(tmp_path, "a.png", grey_levels=4096)


def test_images_of_eight_bits_are_not_scaled(tmp_path: Path) -> None:
    picture(1).convert("L").save(tmp_path / "a.png")
    assert np.array_equal(
        load_image(tmp_path, "a.png", grey_levels=4096), load_image(tmp_path, "a.png")
    )


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("packed", [False, True])
def test_check_warns_with_the_largest_value(tmp_path: Path, ending: str, packed: bool) -> None:
    root = made(tmp_path / "set", 4095, ending=ending)
    data = zip_folder(root, tmp_path / "set.zip") if packed else root
    found = check_dataset(find_dataset(data))
    (told,) = (f for f in found.findings[""] if f.code == "grey-levels")
    assert (told.severity, told.message) == (
        "warning",
        f"6 images of 16-bit grey have levels up to 4095 of 65535 (12 bits), such as g0.{ending}: "
        "read as 0 to 15 of 255; write grey_levels: 4096 under data in the study",
    )
    declared = check_dataset(find_dataset(data), grey_levels=4096)
    assert "grey-levels" not in declared.codes()
    wrong = check_dataset(find_dataset(data), grey_levels=1024)
    assert wrong.codes()["image-undecodable"] == 6


@pytest.mark.parametrize("most", [65535, 40000, 16384])
def test_sets_that_fill_their_bits_are_left_alone(tmp_path: Path, most: int) -> None:
    root = made(tmp_path / "set", most)
    assert "grey-levels" not in check_dataset(find_dataset(root)).codes()
    result = CliRunner().invoke(app, ["init", str(root), "--out", str(tmp_path / "study.yaml")])
    assert result.exit_code == 0, result.output
    assert "grey_levels" not in (tmp_path / "study.yaml").read_text()


@pytest.mark.parametrize(("most", "levels"), [(4095, 4096), (2976, 4096), (1023, 1024), (200, 256)])
def test_init_finds_one_scale_and_the_study_keeps_it(
    tmp_path: Path, most: int, levels: int
) -> None:
    root = made(tmp_path / "set", most)
    out = tmp_path / "study.yaml"
    result = CliRunner().invoke(app, ["init", str(root), "--out", str(out)])
    assert result.exit_code == 0, result.output
    data = yaml.safe_load(out.read_text())["data"]
    assert data["grey_levels"] == levels
    splits = load_data(DataConfig.model_validate(data), tmp_path)
    assert {index.grey_levels for index in splits.values()} == {levels}
    tops = {image.file: index.load(image).max() for index in splits.values() for image in index}
    assert tops["g0.png"] == most * 256 // levels  # and no scale of their own for the others
    assert {top for file, top in tops.items() if file != "g0.png"} == {most // 2 * 256 // levels}
    checked = CliRunner().invoke(app, ["data", "check", str(out)])
    assert "grey-levels" not in checked.output


def test_a_run_guesses_nothing(tmp_path: Path) -> None:
    root = made(tmp_path / "set", 4095)
    config = DataConfig.model_validate(
        {"images": "set/images", "annotations": "set/all.json", "split": {"fraction": 0.5}}
    )
    splits = load_data(config, tmp_path)
    assert {index.load(image).max() for index in splits.values() for image in index} == {15, 7}
    digest = read_dataset(root / "images", root / "all.json").digest()
    assert digest == read_dataset(root).digest()


@pytest.mark.parametrize("levels", [255, 65537, 0, -4096])
def test_levels_out_of_range(levels: int) -> None:
    with pytest.raises(ValueError, match="grey_levels"):
        DataConfig(images=".", train="a", val="b", grey_levels=levels)


def test_images_without_levels_are_passed_over(tmp_path: Path) -> None:
    root = made(tmp_path / "set", 900, count=2)
    picture(1).save(root / "images" / "g1.png")
    index = read_dataset(root)
    assert find_grey_levels([index]) == GreyLevels(900, "g0.png", 1)
    picture(1).save(root / "images" / "g0.png")
    assert find_grey_levels([index]) is None
