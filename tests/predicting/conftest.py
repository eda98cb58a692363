"""Two trials trained once: of boxes in images of several sizes, and of masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from frostline.study import Study
from tests.helpers import TINY_MODEL, write_masks, write_start

SIZES = [(64, 64), (96, 60), (60, 96), (130, 70), (64, 48), (80, 80), (72, 51), (90, 64)]


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trial of boxes; ``study.yaml`` and ``images`` lie three folders above."""
    root = tmp_path_factory.mktemp("boxes")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, sizes in (("train", SIZES), ("val", SIZES[::-1])):
        images, boxes = [], []
        for n, size in enumerate(sizes, 1):
            picture = Image.new("RGB", size, (90, 120, 60))
            x, y = (int(v) for v in rng.integers(2, 20, 2))
            ImageDraw.Draw(picture).rectangle((x, y, x + 24, y + 20), fill=(230, 200, 80))
            picture.save(root / "images" / f"{split}{n}.png")
            images.append(
                {"id": n, "file_name": f"{split}{n}.png", "width": size[0], "height": size[1]}
            )
            boxes.append({"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [x, y, 25, 21]})
        coco = {"images": images, "annotations": boxes,
                "categories": [{"id": 1, "name": "ear"}, {"id": 2, "name": "leaf"}]}  # fmt: skip
        (root / f"{split}.json").write_text(json.dumps(coco))
    write_start(root / "a.safetensors")
    study = {
        "data": {"layout": "coco", "images": "images", "train": "train.json", "val": "val.json"},
        "model": {**TINY_MODEL, "max_detections": 20},
        "inits": {"a": {"source": "a.safetensors"}},
        "schedule": {"epochs": 6, "batch_size": 3, "lr": 3e-3},
    }
    return _run(root, study)


@pytest.fixture(scope="session")
def mask_trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trial of masks."""
    root = tmp_path_factory.mktemp("masks")
    write_masks(root, [(64, 64), (80, 64), (64, 90), (64, 64)])
    study = {
        "task": "segmentation",
        "data": {"layout": "masks", "images": "images", "annotations": "masks",
                 "split": {"fraction": 0.5}},
        "model": {"architecture": "unet", "backbone": "resnet18", "image_size": 64,
                  "batch_norm": "live"},
        "inits": {"none": {"source": "random"}},
        "schedule": {"epochs": 1, "batch_size": 2},
    }  # fmt: skip
    return _run(root, study)


def _run(root: Path, study: object) -> Path:
    (root / "study.yaml").write_text(yaml.safe_dump(study))
    made = Study.from_yaml(root / "study.yaml")
    (outcome,) = made.run()
    assert outcome.ok, outcome.message
    return made.trial_folder(made.cells()[0])
