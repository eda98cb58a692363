"""The file that is written: it is what it says, and it runs."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from frostline.config import load_study
from frostline.datasets import DatasetIndex, find_dataset
from frostline.depth import BACKBONES, layer_table
from frostline.errors import ConfigError, RecordError
from frostline.loading import load_data
from frostline.starter import Starter, write_starter
from frostline.starter.text import _scalar, stage_depths
from tests.datasets import samples
from tests.datasets.samples import Splits, random_index, record, zip_folder
from tests.datasets.tools import NO_EMPTY, TOOLS
from tests.starter.builders import machine, write_backbone

WRITERS = {
    "coco": samples.write_coco,
    "kaggle": samples.write_kaggle,
    "gwhd2021": samples.write_gwhd,
    "voc": samples.write_voc,
    "yolo": samples.write_yolo,
    **TOOLS,
}


def _splits(folder: Path, layout: str) -> Splits:
    one = layout in ("kaggle", "gwhd2021")
    classes = ("wheat_head",) if one else ("ear", "leaf")
    make = {"train": (5, 1), "val": (3, 2)}
    empty = None if layout in NO_EMPTY else 1
    return {
        name: random_index(folder / "images", name, n, seed, classes, empty=empty)
        for name, (n, seed) in make.items()
    }


def _start(data: Path, out: Path, tmp_path: Path, **options: object) -> Starter:
    return write_starter(
        find_dataset(data),
        out,
        machine=machine(tmp_path / "cache"),
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_a_study_with_its_data(
    tmp_path: Path, layout: str, packed: bool
) -> None:
    source = tmp_path / "data"
    true = _splits(source, layout)
    folder = source if layout != "yolo" else tmp_path / "yolo"
    folder.mkdir(exist_ok=True)
    WRITERS[layout](true, folder)
    data = zip_folder(folder, tmp_path / "data.zip", "top/") if packed else folder
    out = tmp_path / "somewhere" / "else" / "first.yaml"
    _start(data, out, tmp_path)
    study = load_study(out)
    assert study.data.layout == layout
    assert study.data.on_problem == "raise"
    read = load_data(study.data, out.parent)
    for name, index in true.items():
        assert read[name].counts().boxes_per_class == index.counts().boxes_per_class
        assert len(read[name]) == len(index)


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A kaggle set of three sources, with names that YAML would misread."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    records = []
    for group, n in (("yes", 1), ("12", 1), ("the north: field", 8)):
        for i in range(n):
            name = f"{n}-{group[:2]}{i}.png"
            Image.new("RGB", (96, 64)).save(folder / "images" / name)
            records.append(record(name, [[1, 1, 30, 30], [40, 40, 60, 60]], group=group))
    index = DatasetIndex(folder / "images", ("wheat_head",), tuple(records))
    samples.write_kaggle({"train": index}, folder)
    return folder


def test_groups_are_written_as_text(groups: Path, tmp_path: Path) -> None:
    starter = _start(groups, tmp_path / "study.yaml", tmp_path)
    study = load_study(starter.path)
    assert study.data.split is not None
    assert study.data.split.val_groups == ("12", "yes")
    assert "3 groups: whole ones validate" in starter.path.read_text()
    val = load_data(study.data, tmp_path)["val"]
    assert {image.group for image in val} == {"12", "yes"}


def test_entries_that_cannot_be_used_are_dropped_and_said(groups: Path, tmp_path: Path) -> None:
    with (groups / "train.csv").open("a") as file:
        file.write('1-ye0,96,64,"[nan, 1, 2, 3]",yes\n')
    starter = _start(groups, tmp_path / "study.yaml", tmp_path)
    assert "on_problem: drop                  # 1 entry cannot be used" in starter.path.read_text()
    study = load_study(starter.path)
    assert len(load_data(study.data, tmp_path)["val"]) == 2


def test_comments_hold_the_measured_numbers(groups: Path, tmp_path: Path) -> None:
    text = _start(groups, tmp_path / "study.yaml", tmp_path).path.read_text()
    assert "# 1 class, with boxes: wheat_head 20" in text
    assert "8 images train, 2 validate" in text
    assert "images have up to 96 px; at size 256, 5 % of the boxes are below 53 px" in text
    assert "the fullest image has 2 boxes" in text
    assert "epochs: 100" in text
    assert "800 images seen by each trial" in text
    assert "precision: fp32" in text
    assert max(map(len, text.splitlines())) < 160


def test_weight_files_stand_relative_to_the_study(groups: Path, tmp_path: Path) -> None:
    weights = write_backbone(tmp_path / "my start.safetensors")
    starter = _start(groups, tmp_path / "sub" / "study.yaml", tmp_path, weights=[weights])
    study = load_study(starter.path)
    assert {name: init.source for name, init in study.inits.items()} == {
        "my-start": "../my start.safetensors"
    }
    assert (study.model.backbone, study.model.width_mult) == ("mobilenet_v2", 0.1)
    assert starter.trials == 1 * 6 * 2


def test_weights_of_the_cache_are_used_and_others_offered(groups: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "resnet50-0676ba61.pth").touch()
    text = _start(groups, tmp_path / "study.yaml", tmp_path).path.read_text()
    study = load_study(tmp_path / "study.yaml")
    assert list(study.inits) == ["imagenet"]
    assert study.model.backbone == "resnet50"
    assert "# in torch's cache" in text
    assert "  # coco: {source:" in text


def test_without_any_weights_imagenet_and_coco_are_downloaded(groups: Path, tmp_path: Path) -> None:
    text = _start(groups, tmp_path / "study.yaml", tmp_path).path.read_text()
    assert list(load_study(tmp_path / "study.yaml").inits) == ["imagenet", "coco"]
    assert "the first run downloads them" in text
    assert "# downloads 74 MB at first use" in text


def test_a_gpu_changes_the_schedule(groups: Path, tmp_path: Path) -> None:
    gpu = machine(tmp_path, gpu="NVIDIA H100", bf16=True)
    write_starter(find_dataset(groups), tmp_path / "study.yaml", machine=gpu)
    study = load_study(tmp_path / "study.yaml")
    assert (study.model.preset, study.model.backbone) == ("stock", "resnet50")
    assert (study.schedule.precision, study.schedule.batch_size) == ("bf16", 8)
    assert study.seeds == (0, 1, 2)


def test_a_file_that_is_there_is_kept(groups: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already; use --force"):
        _start(groups, path, tmp_path)
    assert path.read_text() == "mine"
    _start(groups, path, tmp_path, force=True)
    load_study(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordError, match="cannot write"):
        _start(groups, path, tmp_path, force=True)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_depths_are_ends_of_stages(backbone: str) -> None:
    depths = stage_depths(backbone)
    assert depths[0] == 0
    assert depths[-1] == "all"
    assert 4 <= len(depths) <= 6
    assert set(depths[1:-1]) <= set(layer_table(backbone).stage_ends().values())


@pytest.mark.parametrize(
    "text",
    [
        "plain/name-1.json",
        "no",
        "1e3",
        "~",
        "a: b",
        "# x",
        "- x",
        "",
        " x ",
        "tab\t",
        "ä ö",
        "'\"\\",
    ],
)
def test_every_text_is_read_back(text: str) -> None:
    assert yaml.safe_load(f"key: {_scalar(text)}") == {"key": text}
    assert yaml.safe_load(f"[{_scalar(text)}, b]") == [text, "b"]
