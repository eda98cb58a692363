"""A file of weights gives the detections that its trial was scored with, wherever it lies."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision.models.detection import FasterRCNN
from torchvision.transforms.v2.functional import pil_to_tensor

import frostline
from frostline.errors import CheckpointError, DatasetError
from frostline.evaluation import to_coco_results
from frostline.predicting import LoadedModel, find_images, predict_images
from frostline.weights_header import read_weights_header, write_weights_header


def images_of(trial: Path) -> tuple[dict[str, Any], list[Path]]:
    """What the trial found on validation, and the images in their order."""
    kept = json.loads((trial / "detections.json").read_text())
    return kept, [trial.parents[3] / "images" / name for name in kept["images"]["val"]]


@pytest.fixture
def moved(trial: Path, tmp_path: Path) -> Path:
    """The weights alone, in another folder under another name."""
    return Path(shutil.copy(trial / "weights.safetensors", tmp_path / "winner.safetensors"))


def test_the_same_detections_as_when_it_was_scored(trial: Path, moved: Path) -> None:
    kept, files = images_of(trial)
    model = frostline.load(moved)
    (index,) = find_images(files, model.header)
    found = to_coco_results(index, predict_images(model, index))
    assert found == kept["val"]
    assert len(found) > 8


def test_tensors_as_torchvision_takes_them(trial: Path, moved: Path) -> None:
    kept, files = images_of(trial)
    model = frostline.load(str(moved)).eval()
    assert model.classes == ("ear", "leaf")
    assert isinstance(model.network, FasterRCNN)
    images = [pil_to_tensor(Image.open(file)) for file in files]
    for given in (images, [image / 255 for image in images]):
        results = model(given)
        for n, (image, result) in enumerate(zip(images, results, strict=True), 1):
            own = [row for row in kept["val"] if row["image_id"] == n]
            xywh = np.array([row["bbox"] for row in own]).reshape(-1, 4)
            boxes = result["boxes"].numpy()
            np.testing.assert_allclose(boxes[:, :2], xywh[:, :2], atol=1e-4)
            np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], xywh[:, 2:], atol=1e-4)
            assert result["labels"].tolist() == [row["category_id"] for row in own]
            np.testing.assert_array_equal(
                result["scores"].numpy(), np.array([row["score"] for row in own], np.float32)
            )
            assert (boxes[:, 2] <= image.shape[2]).all()
    assert model([]) == []


def test_one_image_or_many_in_another_order(trial: Path) -> None:
    """To rounding: a batch of another size may round otherwise."""
    kept, files = images_of(trial)
    model = frostline.load(trial)
    (index,) = find_images(files[::-1], model.header)
    for n, found in zip(range(len(files), 0, -1), predict_images(model, index), strict=True):
        scores = [row["score"] for row in kept["val"] if row["image_id"] == n]
        np.testing.assert_allclose(found.scores, scores, atol=1e-4)


def test_an_image_that_is_higher_than_the_canvas(trial: Path) -> None:
    """The canvas of the study is as wide as high; with a lower one the image gets its own."""
    model = frostline.load(trial)
    assert model.header.canvas == (64, 64)
    low = LoadedModel(model.network, model.header.model_copy(update={"canvas": (32, 64)})).eval()
    image = torch.rand(3, 120, 40, generator=torch.Generator().manual_seed(0))
    lying = torch.rand(3, 30, 64, generator=torch.Generator().manual_seed(1))
    both = low([image, lying])
    alone = low([image])[0]
    torch.testing.assert_close(both[0]["scores"], alone["scores"], atol=1e-4, rtol=0)
    assert (both[0]["boxes"][:, 3] <= 120).all()
    assert len(both) == 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            torch.zeros(1, 8, 8),
            r"images\[0\]: expected a tensor \(3, H, W\) in RGB, got \(1, 8, 8\)",
        ),
        (torch.full((3, 8, 8), 255.0), r"floats from 0 to 1, got torch.float32 .* divide by 255"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "expected uint8, or floats"),
        (torch.full((3, 8, 8), torch.nan), "floats from 0 to 1"),
        (np.zeros((3, 8, 8)), "got a ndarray"),
    ],
)
def test_what_is_no_image(trial: Path, image: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        frostline.load(trial)([image])


def test_train_mode_is_refused(trial: Path) -> None:
    with pytest.raises(DatasetError, match=r"model\.eval\(\); to train, take model\.network"):
        frostline.load(trial).train()([torch.zeros(3, 8, 8)])


def png(text: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_masks_are_those_that_were_scored(mask_trial: Path, tmp_path: Path) -> None:
    kept, files = images_of(mask_trial)
    moved = shutil.copy(mask_trial / "weights.safetensors", tmp_path)
    model = frostline.load(moved)
    assert (model.threshold, model.classes) == (None, ("0", "1"))
    results = model([pil_to_tensor(Image.open(file)) for file in files])
    for text, result in zip(kept["val"], results, strict=True):
        np.testing.assert_array_equal(result["labels"].numpy(), png(text))


def test_weights_from_before_there_was_a_header(trial: Path, tmp_path: Path) -> None:
    """They are read where their record lies beside them; the canvas is made of the images."""
    old = shutil.copytree(trial, tmp_path / "old")
    _without_header(old / "weights.safetensors")
    kept, files = images_of(trial)
    model = frostline.load(old)
    assert (model.classes, model.header.canvas) == (("ear", "leaf"), None)
    assert model.threshold == 0.5
    (index,) = find_images(files, model.header)
    assert to_coco_results(index, predict_images(model, index)) == kept["val"]
    (old / "weights.safetensors").rename(old / "best.safetensors")
    with pytest.raises(CheckpointError, match="does not say what model it is of"):
        frostline.load(old / "best.safetensors")


def _without_header(path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"format": "pt"})


def test_tensors_that_are_not_those_of_the_header(trial: Path, tmp_path: Path) -> None:
    import safetensors.torch

    header = read_weights_header(trial / "weights.safetensors")
    tensors = safetensors.torch.load_file(trial / "weights.safetensors")
    tensors.pop("rpn.head.cls_logits.bias")
    path = tmp_path / "less.safetensors"
    safetensors.torch.save_file(tensors, path)
    write_weights_header(path, header)
    with pytest.raises(CheckpointError, match=r"1 differ, such as rpn\.head\.cls_logits\.bias"):
        frostline.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot read less\.safetensors"):
        frostline.load(path)
