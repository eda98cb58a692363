"""COCO's outlines as masks: by hand, and against pycocotools painting in the order of the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frostline.config import parse_study
from frostline.datasets import (
    DatasetIndex,
    Mask,
    check_dataset,
    find_dataset,
    mask_labels,
    read_dataset,
    read_splits,
)
from frostline.datasets.painting import with_background
from frostline.datasets.raw import MaskOptions
from frostline.errors import DatasetError
from frostline.loading import load_data
from frostline.members import TASKS, member
from frostline.tasks import Task, common_canvas
from tests.provocations import run_here

# pycocotools 2.0.11 under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WIDTH, HEIGHT = 12, 8
PAINTED = MaskOptions(outlines=True)
CATEGORIES = ({"id": 3, "name": "cat"}, {"id": 7, "name": "dog"})


def _box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _runs(pixels: npt.NDArray[np.bool_], *, packed: bool) -> dict[str, Any]:
    flat = pixels.T.ravel()  # down the columns
    if packed:
        runs = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
        return {"size": list(pixels.shape), "counts": runs["counts"].decode()}
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    ends = np.concatenate([[0], edges, [flat.size]])
    return {"size": list(pixels.shape), "counts": np.diff(ends).tolist()}


def _picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def _write(
    folder: Path,
    objects: list[dict[str, Any]],
    *,
    images: int = 1,
    name: str = "train.json",
    categories: tuple[dict[str, Any], ...] = CATEGORIES,
    size: bool = True,
) -> Path:
    """Images of noise, and a file that annotates them; ``image_id`` is 1 where none is said."""
    (folder / "images").mkdir(exist_ok=True)
    entries = []
    for n in range(1, images + 1):
        file = f"{name[0]}{n}.png"
        _picture(folder / "images" / file, n)
        own = {"width": WIDTH, "height": HEIGHT} if size else {}
        entries.append({"id": n, "file_name": file, **own})
    annotations = [
        {"id": n, "image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [0, 0, 1, 1], **one}
        for n, one in enumerate(objects, start=1)
    ]
    content = {"images": entries, "annotations": annotations, "categories": list(categories)}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def _read(path: Path, **options: Any) -> DatasetIndex:
    return read_dataset(path.parent / "images", path, layout="coco", masks=PAINTED, **options)


def _mask(index: DatasetIndex, n: int = 0) -> Mask:
    target = index.images[n].target
    assert isinstance(target, Mask)
    return target


def test_the_later_object_lies_on_top_and_the_rest_is_background(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        [
            {"segmentation": _box(0, 0, 6, 4)},
            {"segmentation": _box(4, 2, 6, 4), "category_id": 7},
            {"segmentation": _box(5, 3, 1, 1)},
        ],
        images=2,
    )
    index = _read(path)
    assert index.classes == ("background", "cat", "dog")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[0:4, 0:6] = 1
    expected[2:6, 4:10] = 2
    expected[3, 5] = 1
    assert mask_labels(_mask(index)).tolist() == expected.tolist()
    assert _mask(index).pixels.tolist() == [int((expected == n).sum()) for n in range(3)]
    (note,) = [f for f in index.findings if f.code == "outline-overlap"]
    assert "5 pixels are in objects of two classes: the later one is taken" in str(note)
    assert (mask_labels(_mask(index, 1)) == 0).all()  # an image without objects
    assert index.counts().pixels_per_class["background"] == int((expected == 0).sum()) + 96


def test_a_crowd_is_left_out_where_no_object_lies_on_it(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        [
            {"segmentation": _box(2, 2, 2, 2)},
            {"segmentation": _box(0, 0, 8, 8), "iscrowd": 1},
        ],
    )
    labels = mask_labels(_mask(_read(path)))
    assert (labels[2:4, 2:4] == 1).all()
    assert (labels[:, :8] == 255).sum() == 60
    assert (labels[:, 8:] == 0).all()
    assert _mask(_read(path)).ignored == 60
    assert not [f for f in _read(path).findings if f.code == "outline-overlap"]


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_pycocotools_in_the_order_of_the_file(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    objects: list[dict[str, Any]] = []
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    for n in range(7):
        category = int(random.choice([3, 7]))
        if n % 3:
            pixels = random.random((HEIGHT, WIDTH)) < 0.2
            segmentation: Any = _runs(pixels, packed=bool(n % 2))
        else:
            points = random.uniform(-2, [WIDTH + 2, HEIGHT + 2], (5, 2))
            segmentation = [points.ravel().round(2).tolist()]
            runs = coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH)
            pixels = coco_mask.decode(coco_mask.merge(runs)).astype(bool)
        objects.append({"segmentation": segmentation, "category_id": category})
        expected[pixels] = {3: 1, 7: 2}[category]
    labels = mask_labels(_mask(_read(_write(tmp_path, objects))))
    assert labels.tolist() == expected.tolist()


def test_the_digest_is_that_of_the_pixels(tmp_path: Path) -> None:
    plain = _read(_write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}]))
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[:4, :6] = True
    as_runs = _read(_write(tmp_path, [{"segmentation": _runs(pixels, packed=True)}]))
    assert as_runs.digest() == plain.digest()
    other = _read(_write(tmp_path, [{"segmentation": _box(0, 0, 6, 4), "category_id": 7}]))
    assert other.digest() != plain.digest()


def test_its_labels_can_be_trained_on(tmp_path: Path) -> None:
    """As those of a file: the task lays them on its canvas, and writes to what it is given."""
    index = _read(_write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}]))
    task: Task = member(TASKS, "segmentation", "task")
    sample = task.place(index, common_canvas([index], 64))[0]
    assert sample.labels.shape == (64, 64)
    assert int(sample.labels[0, 0]) == 1
    assert mask_labels(_mask(index)).flags.writeable


def test_boxes_of_the_same_file_are_as_they_were(tmp_path: Path) -> None:
    path = _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4), "bbox": [0, 0, 6, 4]}])
    index = read_dataset(tmp_path / "images", path, layout="coco")
    assert (index.classes, index.images[0].boxes.tolist()) == (("cat", "dog"), [[0, 0, 6, 4]])


def test_a_size_that_the_file_does_not_say_is_that_of_the_picture(tmp_path: Path) -> None:
    path = _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}], size=False)
    assert mask_labels(_mask(_read(path))).shape == (HEIGHT, WIDTH)


def test_the_background_may_be_a_category(tmp_path: Path) -> None:
    assert with_background(("cat", "Background", "dog")) == ("Background", "cat", "dog")
    categories = (CATEGORIES[0], {"id": 7, "name": "Background"})
    objects: list[dict[str, Any]] = [
        {"segmentation": _box(0, 0, 6, 4)},
        {"segmentation": _box(0, 0, 2, 2), "category_id": 7},
    ]
    index = _read(_write(tmp_path, objects, categories=categories))
    assert index.classes == ("Background", "cat")
    labels = mask_labels(_mask(index))
    assert (int(labels[0, 0]), int(labels[3, 3]), int(labels[7, 7])) == (0, 1, 0)


def test_classes_of_the_first_split_are_those_of_all(tmp_path: Path) -> None:
    train = _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}])
    val = _write(
        tmp_path,
        [{"segmentation": _box(0, 0, 6, 4), "category_id": 1}],
        name="val.json",
        categories=({"id": 1, "name": "dog"},),
    )
    splits = read_splits(tmp_path / "images", {"train": train, "val": val}, layout="coco",
                         masks=PAINTED)  # fmt: skip
    assert splits["val"].classes == ("background", "cat", "dog")
    assert set(np.unique(mask_labels(_mask(splits["val"])))) == {0, 2}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "expected a segmentation, got a box alone"),
        ({"segmentation": []}, "expected a segmentation, got a box alone"),
        ({"segmentation": {"size": [3, 3], "counts": [9]}}, "expected runs of an image of 12x8"),
        ({"segmentation": "cat"}, "expected polygons or runs"),
        ({"segmentation": [[0, 0, "x", 1]]}, "expected a polygon"),
        ({"segmentation": _box(0, 0, 2, 2), "category_id": 9}, "expected the id of a category"),
    ],
)
def test_what_cannot_be_painted_is_one_line_or_counted(
    tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    path = _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}, bad])
    for _ in range(2):  # also where the picture was painted before
        with pytest.raises(DatasetError, match=message) as caught:
            _read(path)
        assert "train.json, annotations[1]: " in str(caught.value)
        index = _read(path, on_problem="drop")
        assert [f.severity for f in index.findings] == ["error"]
        assert _mask(index).pixels.tolist() == [72, 24, 0]


def test_what_the_study_says_of_pixels_is_for_files_of_masks(tmp_path: Path) -> None:
    path = _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}])
    said = MaskOptions(classes=((0, "a"), (1, "b")), outlines=True)
    with pytest.raises(DatasetError, match=r"data\.masks is of layout masks"):
        read_dataset(tmp_path / "images", path, layout="coco", masks=said)


STUDY = """
version: 1
task: segmentation
data: {layout: LAYOUT, images: images, train: train.json, val: val.json}
model: {architecture: unet, backbone: resnet18, image_size: 64}
inits: {noise: {source: random}}
"""


@pytest.mark.parametrize("layout", ["coco", "auto"])
def test_through_a_study_and_data_check(tmp_path: Path, layout: str) -> None:
    _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4)}])
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"][0]["file_name"] = "v.png"
    _picture(tmp_path / "images" / "v.png", 99)
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "study.yaml").write_text(STUDY.replace("LAYOUT", layout))
    check = run_here(tmp_path, "data", "check", "study.yaml", "--format", "json")
    assert check.code == 0, check.err
    assert {f["code"] for f in json.loads(check.out)["findings"]} == {"mask-shares", "class-unused"}
    raw = {"images": "images", "train": "train.json", "val": "val.json", "layout": layout}
    config = parse_study({"data": raw, "inits": {"a": {"source": "random"}}}).data
    assert load_data(config, tmp_path, masks=True)["val"].counts().masks
    assert not load_data(config, tmp_path)["val"].counts().masks


def test_checks_of_a_folder_know_them_as_boxes(tmp_path: Path) -> None:
    _write(tmp_path, [{"segmentation": _box(0, 0, 6, 4), "bbox": [0, 0, 6, 4]}])
    found = find_dataset(tmp_path)
    assert found.layout == "coco"
    assert check_dataset(found).ok
