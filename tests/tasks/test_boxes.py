from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.config import AugmentConfig
from frostline.datasets import Boxes, DatasetIndex, ImageRecord
from frostline.tasks import Canvas, common_canvas
from frostline.tasks.boxes import PlacedImages, augment, predict

OFF = AugmentConfig(flip=False, colour=False, scale_jitter=False)


def _record(file: str, width: int, height: int, box: tuple[float, ...]) -> ImageRecord:
    return ImageRecord(
        file,
        width,
        height,
        Boxes(np.array([box], dtype=np.float64), np.array([1], dtype=np.int64), np.array([False])),
    )


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    for name, size in (("wide.png", (200, 100)), ("tall.png", (50, 100))):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / name)
    images = (
        _record("wide.png", 200, 100, (20, 10, 120, 60)),
        _record("tall.png", 50, 100, (0, 0, 50, 100)),
    )
    return DatasetIndex(tmp_path, ("thing",), images, ())


def test_canvas_holds_every_resized_image_in_multiples_of_32(index: DatasetIndex) -> None:
    assert common_canvas([index], 100) == Canvas(128, 128, 100)
    wide = DatasetIndex(index.root, index.classes, index.images[:1], ())
    assert common_canvas([wide], 128) == Canvas(64, 128, 128)


def test_boxes_follow_the_resize_and_padding_is_bottom_right(index: DatasetIndex) -> None:
    placed = PlacedImages(index, Canvas(128, 128, 100))
    sample = placed[0]
    assert sample.image.shape == (3, 128, 128)
    assert sample.boxes.tolist() == [[10.0, 5.0, 60.0, 30.0]]
    assert sample.image[:, 0, 0].tolist() == [10, 20, 30]
    assert sample.image[:, 127, 127].tolist() == [124, 116, 104]
    assert placed[0].image is sample.image  # decoded once


def test_switched_off_augmentation_changes_nothing(index: DatasetIndex) -> None:
    sample = PlacedImages(index, Canvas(128, 128, 100))[0]
    same = augment(sample, OFF)
    assert torch.equal(same.image, sample.image)
    assert torch.equal(same.boxes, sample.boxes)


def test_flip_by_hand(index: DatasetIndex) -> None:
    sample = PlacedImages(index, Canvas(128, 128, 100))[0]
    switches = AugmentConfig(flip=True, colour=False, scale_jitter=False)
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        seen.add(tuple(augment(sample, switches).boxes[0].tolist()))
    assert seen == {(10.0, 5.0, 60.0, 30.0), (68.0, 5.0, 118.0, 30.0)}


def test_augmented_images_keep_the_canvas_and_valid_boxes(index: DatasetIndex) -> None:
    placed = PlacedImages(index, Canvas(128, 128, 100))
    for seed in range(20):
        torch.manual_seed(seed)
        sample = augment(placed[seed % 2], AugmentConfig())
        assert sample.image.shape == (3, 128, 128)
        assert sample.image.dtype == torch.uint8
        assert len(sample.boxes) == len(sample.labels)
        assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) >= 2).all()
        assert sample.boxes.min() >= 0
        assert sample.boxes.max() <= 128


def test_crowds_are_not_learned(index: DatasetIndex) -> None:
    first = index.images[0]
    crowd = ImageRecord(
        first.file, first.width, first.height, Boxes(first.boxes, first.labels, np.array([True]))
    )
    placed = PlacedImages(DatasetIndex(index.root, index.classes, (crowd,), ()), Canvas(64, 64, 64))
    assert placed[0].boxes.shape == (0, 4)


class _Fixed(torch.nn.Module):
    """Says the same box for every image: the placed area's right half, and one on the padding."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        boxes = torch.tensor([[50.0, 0.0, 110.0, 50.0], [0.0, 101.0, 40.0, 127.0]])
        one = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([1, 1])}
        return [one for _ in images]


def test_detections_return_to_original_pixels(index: DatasetIndex) -> None:
    placed = PlacedImages(index, Canvas(128, 128, 100))
    wide, tall = predict(_Fixed(), placed, torch.device("cpu"), 2)
    assert wide.boxes.tolist() == [[100.0, 0.0, 200.0, 100.0]]
    assert len(tall.boxes) == 0  # x beyond 50 px is padding for the tall image
