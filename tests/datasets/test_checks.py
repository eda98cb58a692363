from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.datasets import (
    DatasetIndex,
    check_dataset,
    check_splits,
    find_dataset,
    image_size,
)
from frostline.datasets.box_sizes import ANCHOR_SIZES, box_sizes, suggest_image_size
from frostline.datasets.looks import alike
from frostline.datasets.pixels import look_at, look_at_all
from frostline.errors import DatasetError
from tests.datasets.faults import FAULTS, Fault, PlantedSet
from tests.datasets.samples import picture, random_index, record

LAYOUTS = ("coco", "kaggle", "gwhd2021", "voc", "yolo")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_found_in_the_clean_set(tmp_path: Path, layout: str) -> None:
    planted = PlantedSet(tmp_path / "data", layout)
    result = check_dataset(find_dataset(planted.folder))
    assert result.codes() == {}
    assert result.ok
    assert {n: c.images for n, c in result.counts().items()} == {"train": 6, "val": 4}


# What a fault entails besides: an image that is left out is also unused, and so on.
ENTAILED = {
    "images-unused", "image-unknown", "images-empty", "class-unused", "class-untrained",
    "boxes-small", "boxes-misfit",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.layout}: {fault.name}")
def test_planted_fault_is_found_and_nothing_else(tmp_path: Path, fault: Fault) -> None:
    planted = PlantedSet(tmp_path / "data", fault.layout)
    fault.plant(planted)
    result = check_dataset(find_dataset(planted.folder))
    found = [f for part in result.findings.values() for f in part if f.code == fault.code]
    assert found, result.codes()
    assert {f.severity for f in found} == {fault.severity}
    assert any(fault.told in str(f) for f in found), [str(f) for f in found]
    assert result.ok == (fault.severity != "error")
    assert all("\n" not in str(f) and str(tmp_path) not in str(f) for f in found)
    assert set(result.codes()) - ENTAILED <= {fault.code}


def test_there_are_enough_kinds() -> None:
    assert len(FAULTS) >= 70
    assert len({fault.code for fault in FAULTS}) >= 40


def test_result_as_plain_values(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    planted.box(bbox=[1, 2, 3])
    data = check_dataset(find_dataset(planted.folder)).to_dict()
    assert data["ok"] is False
    assert data["severities"] == {"error": 1, "warning": 0, "note": 0}
    assert data["counts"]["train"]["boxes"] == 17
    assert data["box_sizes"]["preset"] == "slim"
    assert data["findings"][0] | {"message": ""} == {
        "split": "train",
        "severity": "error",
        "code": "box-entry",
        "file": "train.json",
        "line": None,
        "entry": "annotations[0]",
        "message": "",
    }


def test_html_is_escaped(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    assert "nothing found" in check_dataset(find_dataset(planted.folder))._repr_html_()
    planted.image(file_name="<script>.png")
    html = check_dataset(find_dataset(planted.folder))._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_every_image_is_counted_for_progress(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    seen: list[int] = []
    check_dataset(find_dataset(planted.folder), on_image=lambda: seen.append(1))
    assert len(seen) == 10


def test_no_split_can_be_read(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    for file in planted.files.values():
        file.write_text('"images" "annotations" "categories"')
    with pytest.raises(DatasetError, match="expected JSON"):
        check_dataset(find_dataset(planted.folder))


def test_set_without_boxes(tmp_path: Path) -> None:
    index = random_index(tmp_path, "a", 1, 1, empty=0)
    result = check_splits({"train": index})
    assert result.sizes is None
    assert result.to_dict()["box_sizes"] is None
    assert set(result.codes()) == {"images-empty", "class-unused", "split-without-boxes"}


# --- box sizes


def boxes_of(*sides: float) -> DatasetIndex:
    image = record("a.png", [[0, 0, s, s] for s in sides], size=(640, 480))
    return DatasetIndex(Path("x"), ("ear",), (image,))


def test_box_sizes_by_hand() -> None:
    sizes = box_sizes(boxes_of(*[20.0] * 5, *[64.0] * 5), 320, "slim")
    assert sizes.quantiles == (10.0, 21.0, 32.0)  # 640 -> 320 halves them
    assert sizes.small_share == 0.5
    # 10 x 10 in 16 x 16 at best: 100 / 256 < 0.5; 32 x 32 is an anchor
    assert sizes.misfit_share == 0.5
    assert sizes.suggested_size == 512  # 20 px of 640 have 16 px at 512


def test_anchor_shapes_have_ratios() -> None:
    """A box of 1 : 2 is an anchor; one of 1 : 8 is not."""
    scale = 32 / np.sqrt(2)
    tall = record("a.png", [[0, 0, scale, 2 * scale]], size=(320, 320))
    thin = record("a.png", [[0, 0, 11.3, 90.5]], size=(320, 320))
    assert box_sizes([tall], 320, "slim").misfit_share == 0
    assert box_sizes([thin], 320, "slim").misfit_share == 1


@pytest.mark.parametrize(
    ("side", "expected"), [(200, 256), (20, 512), (10, 640), (2, 640), (25, 416)]
)
def test_suggested_size(side: float, expected: int) -> None:
    assert suggest_image_size(boxes_of(side)) == expected


def test_suggested_size_without_boxes() -> None:
    assert suggest_image_size([record("a.png", [])]) == 320


def test_unknown_preset() -> None:
    with pytest.raises(DatasetError, match="expected preset slim or stock"):
        box_sizes(boxes_of(5), 320, "huge")


def test_anchor_sizes_are_those_of_the_models() -> None:
    from frostline.architectures.faster_rcnn_network import anchor_sizes
    from frostline.config import ModelConfig

    for preset, sizes in ANCHOR_SIZES.items():
        model = ModelConfig.model_validate({"backbone": "resnet50", "preset": preset})
        assert tuple(side for level in anchor_sizes(model) for side in level) == sizes


# --- pictures


def variants(tmp_path: Path) -> DatasetIndex:
    """One picture, six ways to have it again, and five others."""
    image = picture(1, (320, 240))
    made = {
        "0-first": image,
        "1-jpeg": image,
        "2-half": image.resize((160, 120)),
        "3-bright": image.point(lambda v: min(255, int(v * 1.05) + 4)),
        "4-shifted": image.crop((4, 3, 320, 240)),
        "5-grey": image.convert("L").convert("RGB"),
        "6-noise": Image.fromarray(
            np.clip(
                np.asarray(image) + np.random.default_rng(0).normal(0, 6, (240, 320, 3)), 0, 255
            ).astype(np.uint8)
        ),
    } | {f"9-other{n}": picture(50 + n, (320, 240)) for n in range(5)}
    for name, variant in made.items():
        ending = "jpg" if name == "1-jpeg" else "png"
        variant.save(tmp_path / f"{name}.{ending}")
    files = sorted(file.name for file in tmp_path.iterdir())
    records = [record(file, [], size=image_size(tmp_path, file)) for file in files]
    return DatasetIndex(tmp_path, ("ear",), tuple(records))


def test_near_duplicates_are_the_variants_and_no_others(tmp_path: Path) -> None:
    facts = look_at_all(variants(tmp_path))
    assert alike([fact.look for fact in facts]).tolist() == [0] * 7 + [7, 8, 9, 10, 11]


def test_blank_and_broken_pictures_are_not_compared(tmp_path: Path) -> None:
    for n in range(2):
        Image.new("RGB", (96, 64)).save(tmp_path / f"{n}.png")
    (tmp_path / "2.png").write_text("x")
    facts = [look_at(tmp_path, record(f"{n}.png", [])) for n in range(3)]
    assert [fact.blank for fact in facts] == [True, True, False]
    assert facts[2].error is not None
    assert [fact.look for fact in facts] == [None] * 3
