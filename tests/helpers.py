"""Small worlds for tests: a data set of coloured squares, and starting weights for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import yaml
from PIL import Image, ImageDraw

from frostline import attempt
from frostline.architectures.building import build_model
from frostline.config import ModelConfig
from frostline.records import TrialRecord
from frostline.trial import TrialSpec

SIZE = 64
TINY_MODEL = {
    "backbone": "mobilenet_v2",
    "preset": "slim",
    "width_mult": 0.1,
    "image_size": SIZE,
}
SCHEDULE = {"epochs": 2, "batch_size": 2, "optimizer": "adamw", "lr": 1e-3}


def build_detector(config: ModelConfig, num_classes: int, *, seed: int = 0) -> Any:
    """The model, its submodules as attributes of no type, as torchvision has none."""
    return build_model(config, num_classes, seed=seed)


def write_squares(folder: Path, images: int = 6, seed: int = 0) -> None:
    """Kaggle Global Wheat layout: ``images/*.png`` and ``train.csv``, two sources in turn."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = ["image_id,width,height,bbox,source"]
    for i in range(images):
        picture = Image.new("RGB", (SIZE, SIZE), (90, 120, 60))
        draw = ImageDraw.Draw(picture)
        for _ in range(2):
            x, y, side = (int(v) for v in random.integers((0, 0, 16), (40, 40, 24)))
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=(230, 200, 80))
            rows.append(f'im{i},{SIZE},{SIZE},"[{x}, {y}, {side}, {side}]",field_{i % 2}')
        picture.save(folder / "images" / f"im{i}.png")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")


def write_masks(
    folder: Path, sizes: Sequence[tuple[int, int]], *, values: tuple[int, int] = (0, 1)
) -> tuple[Path, Path]:
    """``images/N.png`` and ``masks/N.png`` of these sizes (width, height), the left half marked.

    Returns:
        The two folders.
    """
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for n, (width, height) in enumerate(sizes):
        mask = np.full((height, width), values[0], np.uint8)
        mask[:, : width // 2] = values[1]
        pixels = random.integers(0, 60, (height, width, 3)) + 120 * (mask == values[1])[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"{n}.png")
        Image.fromarray(mask).save(masks / f"{n}.png")
    return images, masks


def write_start(path: Path, seed: int = 1) -> None:
    """A backbone of the tiny model as a starting point."""
    model = build_model(ModelConfig.model_validate(TINY_MODEL), 1, seed=seed)
    tensors = {
        name.removeprefix("backbone.body."): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("backbone.body.")
    }
    safetensors.torch.save_file({f"features.{n}": t for n, t in tensors.items()}, path)


def write_study(folder: Path, **changes: object) -> Path:
    """A complete tiny study in ``folder``; ``changes`` replace top-level keys of its file."""
    write_squares(folder)
    write_start(folder / "a.safetensors", seed=1)
    write_start(folder / "b.safetensors", seed=2)
    study: dict[str, object] = {
        "version": 1,
        "data": {
            "layout": "kaggle",
            "images": "images",
            "annotations": "train.csv",
            "split": {"val_groups": ["field_1"]},
        },
        "model": TINY_MODEL,
        "inits": {"a": {"source": "a.safetensors"}, "b": {"source": "b.safetensors"}},
        "depths": [0, 9, "all"],
        "seeds": [0],
        "schedule": SCHEDULE,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


def write_yaml(path: Path, **changes: object) -> Path:
    """Replace top-level keys of a study file; data and weights stay as they are."""
    study = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


def run_trial(spec: TrialSpec, folder: Path, **options: Any) -> TrialRecord:
    """One trial to its end."""
    record = attempt.run_trial(spec, folder, **options)
    assert record is not None, "it was not paused"
    return record
