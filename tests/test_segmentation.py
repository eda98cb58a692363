"""Segmentation as a new user meets it: a folder of images and one of masks, up to the report."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from frostline.config import load_study
from tests.helpers import write_squares, write_yaml
from tests.provocations import run_here
from tests.shapes import pack, write_shapes
from tests.starter.builders import write_backbone


def _write_encoder(path: Path) -> None:
    """Weights of a whole MobileNetV2 as torchvision starts it."""
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(weights=None)
    safetensors.torch.save_file(network.state_dict(), path)


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def _write(folder: Path, form: str) -> Path:
    """A data set of eight images in one of the forms in which people keep masks."""
    if form in ("numbers", "binary", "palette"):
        write_shapes(folder, 8, kind=form, ending="_mask" if form == "binary" else "")
    elif form == "grey":
        write_shapes(folder, 8, kind="binary", grey=True)
    elif form == "beside":
        write_shapes(folder, 8, kind="binary", images=".", masks=".", ending="_mask")
    elif form == "split above":
        for n, split in enumerate(("train", "val")):
            write_shapes(folder / split, 6 - 4 * n, seed=n)
    elif form == "split below":
        for n, split in enumerate(("train", "val")):
            images, masks = f"images/{split}", f"labels/{split}"
            write_shapes(folder, 6 - 4 * n, images=images, masks=masks, seed=n)
    else:
        for n, split in enumerate(("train", "val")):
            write_shapes(folder / split, 6 - 4 * n, images=".", masks=".", ending="_seg", seed=n)
    return folder


FORMS = {
    "numbers": ("0", "1", "2"),
    "palette": ("0", "1", "2"),
    "binary": ("0", "255"),
    "grey": ("0", "255"),
    "beside": ("0", "255"),
    "split above": ("0", "1", "2"),
    "split below": ("0", "1", "2"),
    "split beside": ("0", "1", "2"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_init_writes_what_data_check_accepts(tmp_path: Path, form: str, zipped: bool) -> None:
    data = _write(tmp_path / "data", form)
    data = pack(data) if zipped else data
    ran = run_here(tmp_path, "init", data.name, "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "layout masks, 8 images (train 6, val 2), a mask each" in ran.out
    study = load_study(tmp_path / "study.yaml")
    assert (study.task, study.model.architecture) == ("segmentation", "unet")
    assert study.data.masks is not None
    assert tuple(map(str, study.data.masks.classes)) == FORMS[form]
    check = run_here(tmp_path, "data", "check", "study.yaml", "--format", "json")
    assert check.code == 0, check.err
    found = json.loads(check.out)
    assert found["ok"] is True
    codes = {finding["code"] for finding in found["findings"]}
    assert codes == {"mask-shares", *(["images-grey"] if form == "grey" else [])}


def _write_coco(folder: Path) -> None:
    """Six images with one square each, whose outline is told; ``all.json``."""
    write_shapes(folder, 6)
    outline = [[10, 10, 30, 10, 30, 30, 10, 30]]
    content = {
        "images": [{"id": n, "file_name": f"{n:02}.png", "width": 64, "height": 56, "group": n % 3}
                   for n in range(6)],
        "annotations": [{"id": n + 1, "image_id": n, "category_id": 1, "iscrowd": 0,
                         "bbox": [10, 10, 20, 20], "segmentation": outline} for n in range(6)],
        "categories": [{"id": 1, "name": "square"}],
    }  # fmt: skip
    shutil.rmtree(folder / "masks")
    (folder / "all.json").write_text(json.dumps(content))


def test_outlines_of_coco_are_masks_where_that_is_asked(tmp_path: Path) -> None:
    _write_coco(tmp_path / "data")
    assert run_here(tmp_path, "init", "data").code == 0
    assert load_study(tmp_path / "study.yaml").task == "detection"
    ran = run_here(tmp_path, "init", "data", "--task", "segmentation", "--force")
    assert ran.code == 0, ran.err
    assert "a mask each, 2 classes" in ran.out
    study = load_study(tmp_path / "study.yaml")
    assert (study.task, study.data.layout) == ("segmentation", "coco")
    assert study.data.split is not None
    assert study.data.split.val_groups is not None  # whole groups, as with boxes
    check = run_here(tmp_path, "data", "check", "study.yaml", "--format", "json")
    (shares,) = {f["message"].partition(", square")[0] for f in json.loads(check.out)["findings"]
                 if f["code"] == "mask-shares"}  # fmt: skip
    assert shares == "pixels by class: background 88.8%"  # 400 of 3584 pixels are the square


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("detection", "expected boxes, got masks; leave out --task"),
        ("segment", "unknown task 'segment': expected detection, segmentation; did you mean"),
    ],
)
def test_a_task_that_the_data_are_not_for(tmp_path: Path, task: str, message: str) -> None:
    _write(tmp_path / "data", "binary")
    ran = run_here(tmp_path, "init", "data", "--task", task)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert message in line
    assert not (tmp_path / "study.yaml").exists()


def test_boxes_are_no_masks(tmp_path: Path) -> None:
    write_squares(tmp_path / "data")
    ran = run_here(tmp_path, "init", "data", "--task", "segmentation")
    assert ran.code == 2
    assert "expected masks, or outlines of layout coco, got boxes of layout kaggle" in ran.err


def test_a_dry_run_of_what_init_wrote(tmp_path: Path) -> None:
    _write(tmp_path / "data", "binary")
    _write_encoder(tmp_path / "mine.safetensors")
    assert run_here(tmp_path, "init", "data", "--device", "cpu").code == 0
    dry = run_here(tmp_path, "run", "study.yaml", "--dry-run", "--threads", "1")
    assert dry.code == 0, dry.err
    assert dry.out.splitlines()[0] == "inits: mine"


def test_weights_of_another_width_are_left_out_or_refused(tmp_path: Path) -> None:
    _write(tmp_path / "data", "binary")
    write_backbone(tmp_path / "narrow.safetensors")
    ran = run_here(tmp_path, "init", "data")
    assert ran.code == 0, ran.err
    line = "narrow.safetensors: holds mobilenet_v2 of width 0.1; an encoder of unet has its full"
    assert f"not used: {line} width" in ran.out
    ran = run_here(tmp_path, "init", "data", "--weights", "narrow.safetensors", "--force")
    assert ran.code == 2
    assert ran.err.splitlines() == [f"error: {line} width: name other weights"]


def test_without_the_extra_that_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "data", "numbers")
    _write_encoder(tmp_path / "mine.safetensors")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    assert run_here(tmp_path, "init", "data").code == 0
    assert run_here(tmp_path, "data", "check", "study.yaml").code == 0
    for more in ((), ("--dry-run",)):
        ran = run_here(tmp_path, "run", "study.yaml", *more)
        assert ran.code == 2
        (line,) = ran.err.splitlines()
        assert line.startswith("error: expected the package segmentation_models_pytorch")
        assert line.endswith("install it with: pip install 'frostline[unet]'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_from_init_to_the_report(tmp_path: Path) -> None:
    _write(tmp_path / "data", "split above")
    _write_encoder(tmp_path / "mine.safetensors")
    assert run_here(tmp_path, "init", "data", "--device", "cpu").code == 0
    schedule = {"epochs": 1, "batch_size": 3, "lr": 1e-3, "eval_every": 1}
    write_yaml(tmp_path / "study.yaml", depths=[0, "all"], seeds=[0], schedule=schedule)
    ran = run_here(tmp_path, "run", "study.yaml", "--threads", "1")
    assert ran.code == 0, ran.err
    assert "mean IoU" in ran.out
    report = run_here(tmp_path, "report", "runs/study")
    assert report.code == 0, report.err
    page = (tmp_path / report.out.strip()).read_text(encoding="utf-8")
    rows = json.loads((tmp_path / "runs/study/tables/differences.json").read_text())
    assert {row["name"].partition(".")[0] for row in rows} >= {"features"}
    for said in ("pixels by class", "decoder", "mean IoU", "class_2"):
        assert said in page, said
    assert "mean mean" not in page
    plan = run_here(tmp_path, "plan", "runs/study", "--cell", "mine-k52")
    assert plan.code == 0, plan.err
    assert all(name.startswith("encoder.") for name in json.loads(plan.out)["tensors"])
