"""Masks on the canvas, losses and predictions of segmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.config import AugmentConfig
from frostline.datasets import DatasetIndex, read_dataset
from frostline.errors import DatasetError
from frostline.members import TASKS, member
from frostline.study import Study
from frostline.tasks import Task
from frostline.tasks.canvas import common_canvas
from frostline.tasks.masks import MaskSample, augment, cross_entropy, dice_loss, loss
from tests.helpers import write_masks, write_study

CPU = torch.device("cpu")


def _task() -> Task:
    found: Task = member(TASKS, "segmentation", "task")
    return found


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    """Two images, 40 x 24 and 30 x 60 px (width x height); the left half is class 1."""
    return read_dataset(*write_masks(tmp_path, [(40, 24), (30, 60)]), layout="masks")


def test_a_mask_lies_on_the_canvas_like_its_image(index: DatasetIndex) -> None:
    canvas = common_canvas([index], 64)
    placed = _task().place(index, canvas)
    assert (canvas.height, canvas.width) == (64, 64)
    first = placed[0]
    assert first.image.shape == (3, 64, 64)
    assert first.labels.shape == (64, 64)
    assert first.labels.dtype == torch.uint8
    assert sorted(set(first.labels[:38].flatten().tolist())) == [0, 1]  # 40 x 24 becomes 64 x 38
    assert (first.labels[:38, :32] == 1).all()
    assert (first.labels[:38, 32:] == 0).all()
    assert (first.labels[38:] == 255).all()  # beside the image nothing counts
    second = placed[1]
    assert (second.labels[:, :16] == 1).all()
    assert (second.labels[:, 32:] == 255).all()


def test_a_flip_turns_both_and_nothing_is_blended(index: DatasetIndex) -> None:
    sample = _task().place(index, common_canvas([index], 64))[0]
    torch.manual_seed(0)
    flips = [augment(sample, AugmentConfig(colour=False, scale_jitter=False)) for _ in range(8)]
    sides = {bool((one.labels[:38, :32] == 1).all()) for one in flips}
    assert sides == {True, False}
    for one in flips:
        left = (one.labels[:38, 0] == 1).all()
        assert torch.equal(one.image, sample.image if left else sample.image.flip(-1))
    for _ in range(8):
        jittered = augment(sample, AugmentConfig())
        assert set(jittered.labels.flatten().tolist()) <= {0, 1, 255}
        assert jittered.labels.shape == jittered.image.shape[1:] == (64, 64)


def _some(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    labels = torch.randint(0, 2, (2, 9, 11))  # of three classes one is not there
    labels[0, :3] = 255
    return torch.randn(2, 3, 9, 11), labels


def test_losses_equal_those_of_torch_and_of_the_package() -> None:
    logits, labels = _some()
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=255)(logits, labels)
    torch.testing.assert_close(dice_loss(logits, labels), theirs)
    nothing = torch.full_like(labels, 255)
    assert cross_entropy(logits, nothing) == dice_loss(logits, nothing) == 0


def test_dice_by_hand() -> None:
    logits = torch.zeros(1, 2, 1, 4)  # probabilities of one half everywhere
    labels = torch.tensor([[[0, 0, 0, 1]]])
    # class 0: 2 * 1.5 / (2 + 3), class 1: 2 * 0.5 / (2 + 1)
    assert dice_loss(logits, labels).item() == pytest.approx(1 - (3 / 5 + 1 / 3) / 2)


class _Fixed(nn.Module):
    """Says the same of every pixel; ``loss_weights`` as a U-Net has them."""

    def __init__(self, scores: Sequence[float], weights: dict[str, float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))
        self.loss_weights = weights

    def forward(self, images: Tensor) -> Tensor:
        shape = (len(images), len(self.scores), *images.shape[2:])
        return self.scores.view(1, -1, 1, 1).expand(shape)


def test_weights_of_the_losses() -> None:
    image, labels = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)
    samples = [MaskSample(image, labels, "a")]
    found = loss(_Fixed([0.0, 0.0], {"cross_entropy": 2.0, "dice": 0.0}), samples, CPU)
    assert list(found) == ["cross_entropy"]
    assert found["cross_entropy"].item() == pytest.approx(2 * np.log(2))


def test_predictions_are_scored_at_the_size_of_the_masks(index: DatasetIndex) -> None:
    task = _task()
    placed = task.place(index, common_canvas([index], 64))
    found = task.predict(_Fixed([0.0, 1.0], {}), placed, CPU, 2)
    assert [x.shape for x in found] == [(24, 40), (60, 30)]
    assert all((x == 1).all() for x in found)
    measured = task.evaluate(index, found, None, ())
    assert measured.scores["miou"] == pytest.approx(0.25)  # half of the pixels, and nothing
    assert measured.scores["dice"] == pytest.approx(1 / 3)
    assert measured.scores["pixel_accuracy"] == 0.5
    assert measured.scores["image_spread"] == pytest.approx(0, abs=1e-12)
    assert measured.details.floor == pytest.approx(0.25)
    assert measured.details.by_class["1"].scores == {"miou": 0.5, "dice": pytest.approx(2 / 3)}
    assert measured.details.counts == {"images": 2, "pixels": 24 * 40 + 60 * 30}


def test_counts_are_summed_before_they_are_divided(tmp_path: Path) -> None:
    """Two images: all right in the large one, all wrong in the small one."""
    folder = write_masks(tmp_path, [(40, 20), (20, 10)])
    index = read_dataset(*folder, layout="masks")
    truth = [np.zeros((20, 40), np.uint8), np.zeros((10, 20), np.uint8)]
    truth[0][:, :20], truth[1][:, :10] = 1, 1
    measured = _task().evaluate(index, [truth[0], 1 - truth[1]], None, ())
    # each class: 400 right, 100 missed, 100 wrong
    assert measured.scores["miou"] == pytest.approx(400 / 600)
    assert measured.scores["image_miou"] == pytest.approx(0.5)
    assert measured.scores["image_spread"] == pytest.approx(np.sqrt(0.5))


def test_a_mask_that_changes_under_way_is_noticed(index: DatasetIndex) -> None:
    placed = _task().place(index, common_canvas([index], 64))
    target = index.images[0].target
    path = target.root / target.file  # type: ignore[union-attr]
    Image.fromarray(np.zeros((24, 40), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="has changed since it was read"):
        placed[0]


def test_boxes_are_no_masks(tmp_path: Path) -> None:
    path = write_study(tmp_path, task="segmentation", model={"architecture": "unet",
                       "backbone": "resnet18", "image_size": 64})  # fmt: skip
    with pytest.raises(DatasetError, match="expected a mask, its annotation is boxes"):
        Study.from_yaml(path).check()
