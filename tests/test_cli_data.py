import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from frostline.cli_data import data_app
from frostline.config import DataConfig
from frostline.datasets import read_splits
from frostline.datasets.codes import CODES
from frostline.errors import DatasetError
from tests.datasets.faults import FAULTS, PlantedSet
from tests.datasets.samples import picture, zip_folder


def check(*arguments: object) -> Result:
    result = CliRunner().invoke(data_app, ["check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def planted(tmp_path: Path) -> PlantedSet:
    return PlantedSet(tmp_path / "data")


def test_clean_set(planted: PlantedSet) -> None:
    result = check(planted.folder)
    assert result.exit_code == 0
    assert "layout coco" in result.stdout
    assert "train" in result.stdout
    assert "0 errors, 0 warnings, 0 notes" in result.stdout
    assert "box sizes at image size 320" in result.stdout
    assert "boxes by class: ear 20, leaf 10" in result.stdout
    assert "images by group: north 5, south 5" in result.stdout


def test_errors_exit_with_one_and_say_file_and_entry(planted: PlantedSet) -> None:
    planted.box(bbox=[1, 2, float("nan"), 4])
    result = check(planted.folder)
    assert result.exit_code == 1
    assert "error: box-not-finite: train: train.json, annotations[0]: expected" in result.stdout
    assert "1 error, 0 warnings, 0 notes" in result.stdout


def test_json(planted: PlantedSet) -> None:
    planted.box(category_id=5)
    result = check(planted.folder, "--format", "json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["layout"] == "coco"
    assert [f["code"] for f in data["findings"]] == ["category-unknown"]


def test_many_findings_of_a_kind_are_counted(planted: PlantedSet) -> None:
    def spoil(coco: dict[str, list[dict[str, object]]]) -> None:
        for entry in coco["annotations"]:
            entry["category_id"] = 9

    planted.edit_json("train", spoil)
    result = check(planted.folder, "--examples", "2")
    assert (
        "error: category-unknown: 18 times\n  train: train.json, annotations[0]: " in result.stdout
    )
    assert result.stdout.count("  train: train.json, annotations") == 2
    assert "  and 16 more (--examples 18, or --format json)" in result.stdout


def test_fix_to(planted: PlantedSet, tmp_path: Path) -> None:
    planted.box(bbox=[1, 2, 3])
    result = check(planted.folder, "--fix-to", tmp_path / "fixed")
    assert result.exit_code == 1  # the data that was checked still has its error
    assert "wrote train.json, val.json, images and dropped.csv (1 lines)" in result.stderr
    assert check(tmp_path / "fixed").exit_code == 0
    assert read_splits(tmp_path / "fixed")["train"].counts().boxes == 17


def test_zip_annotation_file_and_options(planted: PlantedSet, tmp_path: Path) -> None:
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    assert check(archive).exit_code == 0
    result = check(planted.folder / "train.json", "--image-size", 640, "--preset", "stock")
    assert result.exit_code == 0
    assert "image size 640" in result.stdout
    assert "preset stock" in result.stdout
    moved = tmp_path / "annotations.json"
    (planted.folder / "train.json").rename(moved)
    assert check(moved, "--images", planted.images, "--layout", "coco").exit_code == 0


def test_data_yaml(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data", "yolo")
    result = check(planted.folder / "data.yaml")
    assert result.exit_code == 0
    assert "layout yolo" in result.stdout


STUDY = """version: 1
data: {images: data/images, train: data/train.json, val: data/val.json}
model: {backbone: mobilenet_v2, preset: stock, image_size: 640}
inits: {imagenet: {source: a.pth}}
depths: [0]
seeds: [0]
schedule: {epochs: 1, batch_size: 2, optimizer: adamw, lr: 3.0e-4}
"""


def test_study_yaml_gives_data_and_model(planted: PlantedSet, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    result = check(tmp_path / "study.yaml")
    assert result.exit_code == 0, result.output
    assert "image size 640" in result.stdout
    assert "preset stock" in result.stdout


def test_study_that_divides_one_file_is_checked_as_it_divides(
    planted: PlantedSet, tmp_path: Path
) -> None:
    """Copies of an image count as a leak only where they end in different splits."""
    shutil.copy(planted.images / "t1.png", planted.images / "t2.png")
    lines = {
        "copy across": "data: {images: data/images, annotations: data/train.json, "
        "split: {val_groups: [north]}}",
        "copy": "data: {images: data/images, annotations: data/train.json, "
        "split: {fraction: 0.2, seed: 1}}",
    }
    for line in lines.values():
        (tmp_path / "study.yaml").write_text(STUDY.replace(STUDY.splitlines()[1], line))
        stdout = check(tmp_path / "study.yaml").stdout
        assert "train" in stdout
        assert "val" in stdout
    (tmp_path / "study.yaml").write_text(STUDY.replace(STUDY.splitlines()[1], lines["copy across"]))
    result = check(tmp_path / "study.yaml")
    assert result.exit_code == 1
    assert "error: image-copy-across-splits: t1.png: the same pixels as t2.png" in result.stdout
    assert "correct the errors, or write a copy without them: --fix-to DIR" in result.stdout


def test_annotations_only(planted: PlantedSet, tmp_path: Path) -> None:
    shutil.rmtree(planted.images)
    with pytest.raises(DatasetError, match="expected at least one usable image"):
        check(planted.folder)
    result = check(planted.folder, "--annotations-only")
    assert result.exit_code == 0
    assert "0 errors, 0 warnings, 0 notes" in result.stdout
    planted.box(bbox=[1, 2, 3])
    assert check(planted.folder, "--annotations-only").exit_code == 1
    both = check(planted.folder, "--annotations-only", "--fix-to", tmp_path / "out")
    assert both.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_the_worst_and_most_frequent_come_first(planted: PlantedSet) -> None:
    planted.box(iscrowd=1)
    planted.save("extra.png", picture(77))
    planted.edit_json("train", lambda c: c["annotations"][1].update(bbox=[72, 30, 25, 25]))
    planted.edit_json("val", lambda c: c["annotations"][1].update(bbox=[1, 2]))
    planted.edit_json("train", lambda c: c["annotations"][3].update(category_id=7))
    planted.edit_json("train", lambda c: c["annotations"][4].update(category_id=7))
    lines = check(planted.folder).stdout.splitlines()
    heads = [line.split(": ")[:2] for line in lines if line.startswith(("error", "warn", "note"))]
    assert heads == [
        ["error", "category-unknown"],
        ["error", "box-entry"],
        ["warning", "box-clipped"],
        ["note", "boxes-crowd"],
        ["note", "images-unused"],
    ]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a folder or zip file with a data set"):
        check(tmp_path / "nowhere")


def test_names_cannot_draw_on_the_terminal(planted: PlantedSet) -> None:
    planted.image(file_name="\x1b[2J[red]x[/red]\n.png")
    result = check(planted.folder)
    assert "\x1b" not in result.stdout
    assert "\\x1b[2J[red]x[/red]\\n.png" in result.stdout


HOWTO = (Path(__file__).parents[1] / "docs" / "howto" / "data.md").read_text(encoding="utf-8")


def test_data_lines_of_the_howto_are_valid() -> None:
    lines = re.findall(r"^ *(data: \{.*\})$", HOWTO, re.MULTILINE)
    layouts = [DataConfig.model_validate(yaml.safe_load(line)["data"]).layout for line in lines]
    assert set(layouts) == {"auto", "coco", "cvat", "kaggle", "gwhd2021", "voc", "yolo"}


def test_every_finding_is_explained() -> None:
    """By ``--explain``, and on the page, whose table is made of the same texts."""
    assert {fault.code for fault in FAULTS} <= set(CODES)
    assert "<!-- generated: findings -->" in HOWTO


def test_options_of_the_howto_exist() -> None:
    options = set(re.findall(r"(--[a-z][a-z-]+)", HOWTO))
    help_text = CliRunner().invoke(data_app, ["check", "--help"], terminal_width=200).output
    assert {option for option in options if option not in help_text} == set()
