"""Example masks: which images are shown, and what every pixel of an overlay means."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from frostline.datasets import DatasetIndex, Mask, mask_labels, read_dataset
from frostline.datasets.raw import MaskOptions
from frostline.errors import DatasetError
from frostline.figures.theme import LIGHT
from frostline.reporting.examples import Panel
from frostline.reporting.mask_examples import (
    class_colours,
    found_masks,
    mask_examples,
    pick_masks,
)
from tests.factories import make_record
from tests.helpers import write_masks

SIDE = 40  # px of the images; an overlay is drawn eight times as large
TITLE = "imagenet, k=0, seed 0"


@pytest.fixture
def index(tmp_path: Path) -> DatasetIndex:
    """Six square images: class 1 in the upper 5, 10, ... 30 rows; the last 5 are left out."""
    images, masks = write_masks(tmp_path, [(SIDE, SIDE)] * 6)
    for n in range(6):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[: 5 * (n + 1)] = 1
        mask[-5:] = 255
        Image.fromarray(mask).save(masks / f"{n}.png")
    return read_dataset(images, masks, layout="masks", masks=MaskOptions(ignore_index=255))


def _truth(index: DatasetIndex, i: int) -> npt.NDArray[np.uint8]:
    target = index.images[i].target
    assert isinstance(target, Mask)
    return mask_labels(target)


def _write(folder: Path, index: DatasetIndex, wrong: dict[int, int]) -> Path:
    """What was found: the truth, but for some columns at the left of some images."""
    texts = []
    for i in range(len(index)):
        labels = _truth(index, i) % 255  # what is left out is found to be class 0
        columns = wrong.get(i, 0)
        labels[:, :columns] = 1 - labels[:, :columns]
        buffer = io.BytesIO()
        Image.fromarray(labels).save(buffer, "PNG")
        texts.append(base64.b64encode(buffer.getvalue()).decode())
    path = folder / "detections.json"
    path.write_text(json.dumps({"val": texts}))
    return path


def _pixels(panel: Panel) -> npt.NDArray[np.uint8]:
    raw = base64.b64decode(panel.overlay.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGBA"))


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_the_lowest_and_the_highest_stand_last_and_say_so(
    index: DatasetIndex, tmp_path: Path
) -> None:
    file = _write(tmp_path, index, {0: 4, 1: 4, 2: 30, 3: 4, 5: 4})
    shown = mask_examples(index, [(TITLE, make_record(), file)], count=4)
    assert [(example.file, example.note) for example in shown] == [
        ("3.png", ""),
        ("0.png", ""),
        ("2.png", f"lowest mean IoU of {TITLE}"),
        ("4.png", f"highest mean IoU of {TITLE}"),
    ]
    assert shown[3].panels[1].text == "mean IoU 1.00, 0 % wrong"
    assert len(mask_examples(index, [(TITLE, make_record(), file)], count=99)) == 6
    few = mask_examples(index, [(TITLE, make_record(), file)], count=2)
    assert [example.note for example in few] == ["", ""]


def test_the_others_are_spread_evenly_and_blind(index: DatasetIndex) -> None:
    """By the share of class 0, smallest first: the last file has least of it."""
    assert pick_masks(index, 2) == [4, 1]
    assert pick_masks(index, 2, without={4, 1}) == [3, 0]
    assert pick_masks(index, 9) == [5, 4, 3, 2, 1, 0]


def test_every_pixel_means_something(index: DatasetIndex, tmp_path: Path) -> None:
    file = _write(tmp_path, index, {2: 10})
    (example,) = mask_examples(index.select(["2.png"]), [], count=1)
    (truth,) = example.panels
    pixels = _pixels(truth)
    assert pixels.shape == (320, 320, 4)
    assert pixels[60, 160].tolist() == [*_rgb(LIGHT.lines[0]), 130]  # class 1, inside
    assert pixels[119, 160].tolist() == [*_rgb(LIGHT.lines[0]), 235]  # its edge
    assert pixels[200, 160, 3] == 0  # class 0 is clear
    assert tuple(pixels[310, 160, :3]) == _rgb(LIGHT.muted)  # left out
    assert truth.text == "0 50 %, 1 38 %, left out (grey) 12 %"

    shown = mask_examples(index, [(TITLE, make_record(), file)], count=6)
    panel = next(example for example in shown if example.file == "2.png").panels[1]
    pixels = _pixels(panel)
    alert = (pixels[..., :3] == _rgb(LIGHT.alert)).all(axis=-1)
    assert alert[:280, :80].mean() == pytest.approx(0.5, abs=0.02)  # stripes, and between them
    assert not alert[:, 80:].any()
    assert not alert[280:].any()  # left out is never wrong
    assert {tuple(p) for p in pixels[8:100, 8:72][~alert[8:100, 8:72]].tolist()} == {(0, 0, 0, 0)}
    assert tuple(pixels[200, 40, :3]) in (_rgb(LIGHT.alert), _rgb(LIGHT.lines[0]))
    assert panel.text.endswith("22 % wrong")  # 10 of 40 columns, 35 of 40 rows


def test_colours_are_the_palettes_and_of_many_classes_differ() -> None:
    names = [f"c{n}" for n in range(20)]
    colours = dict(class_colours(names))
    assert colours["c0"] == ""
    assert tuple(colours[f"c{n}"] for n in range(1, 7)) == LIGHT.lines
    assert len({colours[name] for name in names[1:19]}) == 18
    assert colours["c19"] == colours["c1"]


@pytest.mark.parametrize("content", ["{", '{"val": []}', '{"val": ["?"]}', '{"test": []}'])
def test_a_file_that_does_not_fit_is_one_line(
    index: DatasetIndex, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "detections.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"expected masks of 6 images in detections\.json"):
        found_masks(path, index)
