"""Which images are of one photo, and how a data set is divided by photo."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from frostline.config import DataConfig, SplitConfig
from frostline.datasets import (
    DatasetIndex,
    check_dataset,
    check_splits,
    find_dataset,
    image_size,
    split_by_fraction,
    split_by_photo,
    train_and_val,
)
from frostline.datasets.codes import CODES
from frostline.datasets.images import thumbnail_of
from frostline.datasets.looks import Look, Looks, look_of
from frostline.datasets.photos import marked_name, photo_labels, photos
from frostline.loading import load_data
from tests.datasets.samples import picture, record
from tests.helpers import write_masks

HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("file", "photo"),
    [
        (f"IMG_7_jpg.rf.{HEX}.jpg", "img_7"),
        (f"train/images/IMG_7_jpeg.rf.{HEX}.png", "img_7"),
        ("a.b.rf.AbCdEfGhIjKlMnOpQrSt.jpg", "a.b"),
        ("cows_aug3.png", "cows"),
        ("cows-augmented-12.png", "cows"),
        ("north/cows_aug_3.png", "north/cows"),
        ("field_tile_0_3.tif", "field"),
        ("field_tile_r1_c12.tif", "field"),
        ("field tile 7.tif", "field"),
        ("shelf_hflip.png", "shelf"),
        ("shelf_rot90.png", "shelf"),
        ("shelf_tile_2_aug4.png", "shelf"),
        ("shelf - Copy (2).png", "shelf"),
        ("street_frame_0012.jpg", "street"),
        (f"clip_mp4-12_jpg.rf.{HEX}.jpg", "clip"),
    ],
)
def test_names_that_say_it(file: str, photo: str) -> None:
    assert marked_name(file) == (photo, True)


@pytest.mark.parametrize(
    "file",
    [
        *(
            "BloodImage_00001.jpg",
            "IMG_2634.jpg",
            "2019YELL2gecrop2_13.jpg",
            "0a3ff84a7.jp_512_0.jpg",
        ),
        *("frame_0001.jpg", "tile_3.png", "wall_tile.png", "DSC_1371_12kv2r21k_2.jpg", "a (1).jpg"),
        *("20190104_165104.jpg", "august_12.jpg", "carrot3.jpg", "mirror.jpg", "cow_dark_12.jpg"),
    ],
)
def test_names_that_do_not(file: str) -> None:
    assert marked_name(file)[1] is False


def labels_of(*files: str) -> list[int]:
    return photo_labels(files, [None] * len(files))


def test_images_of_one_name_are_one_photo() -> None:
    assert labels_of("a_aug1.png", "b.png", "a.png", "b_aug2.png", "a_aug2.png") == [0, 1, 0, 1, 0]
    assert labels_of("train/a_aug1.png", "valid/a_aug2.png", "east/a_aug3.png") == [0, 0, 2]
    assert labels_of("IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg") == [0, 1, 2]
    assert labels_of("day1/a.png", "day2/a.png") == [0, 1], "one name, but no mark"


def test_a_large_group_is_cut_in_the_order_of_the_names() -> None:
    frames = [f"yard_frame_{n}.jpg" for n in (10, 9, 1, 2, 3, 4, 5, 6, 7, 8)]
    others = [f"p{n}.jpg" for n in range(10)]
    found = photos([*frames, *others], [None] * 20)
    assert [g for g in found.groups if len(g) > 1] == [
        tuple(f"yard_frame_{n}.jpg" for n in run) for run in ((1, 2, 3), (4, 5, 6, 7), (8, 9, 10))
    ]
    (cut,) = found.cut
    assert len(cut) == 10
    (told,) = found.findings(20)
    assert (told.severity, told.code) == ("warning", "photo-cut")
    assert "10 of 20 images belong together" in told.message
    assert "yard_frame_1.jpg and yard_frame_2.jpg" in told.message


def test_versions_of_one_frame_stay_together_where_a_scene_is_cut() -> None:
    """Thirty frames of one camera, all alike, each twice by its name."""
    files = [f"cam{n}.rf.{k * 7:08x}.jpg" for n in range(30) for k in (1, 2)]
    one = DatasetIndex(Path("x"), ("a",), tuple(record(file, []) for file in files))
    look = _look()
    found = photos([image.file for image in one], [look] * 60)
    assert len(found.cut) == 1
    assert 5 <= len(found.groups) <= 7
    for n in range(30):
        pair = {f"cam{n}.rf.{k * 7:08x}.jpg" for k in (1, 2)}
        assert any(pair <= set(group) for group in found.groups), n


def _look() -> Look | None:
    return look_of(thumbnail_of(picture(4, (64, 64)), 32))


def test_few_images_are_not_cut() -> None:
    """Four photos of three versions: each is a quarter of the images, and whole all the same."""
    files = [f"s{n}_aug{k}.png" for n in range(4) for k in range(3)]
    found = photos(files, [None] * 12)
    assert sorted(map(len, found.groups)) == [3, 3, 3, 3]
    assert found.cut == ()


def test_one_photo_alone_is_cut() -> None:
    found = photos([f"map_tile_{n}.png" for n in range(4)], [None] * 4)
    assert len(found.groups) == 4


# --- splits


def write(folder: Path, images: dict[str, Image.Image]) -> DatasetIndex:
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    records = [record(name, [], size=image_size(folder, name)) for name in images]
    return DatasetIndex(folder, ("ear",), tuple(records))


def files(part: DatasetIndex) -> list[str]:
    return [image.file for image in part]


def versions(count: int, seed: int = 200) -> dict[str, Image.Image]:
    """Scenes in four versions under names that tell nothing: 00.png, 01.png, ..."""
    made: list[Image.Image] = []
    for n in range(count):
        image = picture(seed + n, (160, 120))
        made += [
            image,
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            image.rotate(90, expand=True),
            ImageEnhance.Brightness(image).enhance(1.2),
        ]
    return {f"{n:03}.png": image for n, image in enumerate(made)}


@pytest.mark.parametrize("seed", range(4))
def test_versions_of_a_scene_are_on_one_side(tmp_path: Path, seed: int) -> None:
    index = write(tmp_path, versions(12))
    train, val = split_by_photo(index, 0.25, seed)
    assert (len(train), len(val)) == (36, 12)
    scenes = [{int(file[:3]) // 4 for file in files(part)} for part in (train, val)]
    assert not scenes[0] & scenes[1]
    by_file = split_by_fraction(index, 0.25, seed)
    apart = [{int(file[:3]) // 4 for file in files(part)} for part in by_file]
    assert apart[0] & apart[1], "by file they are torn apart"
    (told,) = [f for f in train.findings if f.code == "photo-copies"]
    assert told.message.startswith("12 photos have several images (48 of 48), such as 000.png")


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.25, 0.5, 0.9, 0.99])
def test_without_copies_it_is_the_split_by_file(tmp_path: Path, fraction: float) -> None:
    images = {f"Image_{n:05}.png": picture(n, (60, 40)) for n in range(30)}
    index = write(tmp_path, images)
    for seed in range(5):
        drawn = files(split_by_photo(index, fraction, seed)[1])
        assert drawn == files(split_by_fraction(index, fraction, seed)[1])


def test_order_and_platform_do_not_count(tmp_path: Path) -> None:
    index = write(tmp_path, versions(6))
    turned = DatasetIndex(index.root, index.classes, index.images[::-1])
    drawn = set(files(split_by_photo(index, 0.3, 1)[1]))
    assert set(files(split_by_photo(turned, 0.3, 1)[1])) == drawn


def test_photos_that_are_larger_than_the_part_leave_both_sides_something(tmp_path: Path) -> None:
    index = write(tmp_path, versions(6))
    train, val = split_by_photo(index, 0.01, 0)
    assert (len(train), len(val)) == (20, 4)
    train, val = split_by_photo(index, 0.99, 0)
    assert (len(train), len(val)) == (4, 20)


def test_damaged_images_are_images_of_their_own(tmp_path: Path) -> None:
    index = write(tmp_path, versions(3))
    (tmp_path / "000.png").write_bytes(b"no image")
    train, val = split_by_photo(index, 0.3, 0)
    assert len(train) + len(val) == 12


def textured(seed: int) -> Image.Image:
    """A picture with detail, as photos have it."""
    grain = np.random.default_rng(seed).integers(-60, 60, (24, 32, 1)).repeat(5, 0).repeat(5, 1)
    pixels = np.asarray(picture(seed, (160, 120))).astype(int) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def frames(count: int) -> dict[str, Image.Image]:
    """One camera over one scene, a small thing moving through it; and as many other pictures."""
    scene = textured(31)
    made = {}
    for n in range(count):
        frame = scene.copy()
        frame.paste((250, 240, 30), (4 * n, 50, 4 * n + 8, 58))
        made[f"cam-{n}.png"] = frame
    return made | {f"other-{n}.png": picture(400 + n, (160, 120)) for n in range(count)}


def test_frames_of_a_camera_are_cut_into_runs(tmp_path: Path) -> None:
    """30 of 60 images: three runs of ten (a sixth each), each whole on its side."""
    index = write(tmp_path, frames(30))
    train, val = split_by_photo(index, 0.25, 0)
    sides = ["v" if f"cam-{n}.png" in files(val) else "t" for n in range(30)]
    runs = [sides[n : n + 10] for n in range(0, 30, 10)]
    assert all(len(set(run)) == 1 for run in runs)
    assert 10 <= len(val) <= 20
    (told,) = [f for f in train.findings if f.code == "photo-cut"]
    assert "cam-0.png and cam-1.png" in told.message
    assert "cut into 3 runs" in told.message


def test_versions_in_a_zip_file(tmp_path: Path) -> None:
    """As Roboflow packs them: the versions of a photo have its name and a hash."""
    names = [f"train/pear{n}_jpg.rf.{k:032x}.jpg" for n in range(8) for k in range(3)]
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for number, name in enumerate(names):  # pixels that tell nothing
            picture(number, (48, 48)).save(tmp_path / "one.jpg")
            archive.write(tmp_path / "one.jpg", name)
    records = tuple(record(name, [], size=(48, 48)) for name in names)
    index = DatasetIndex(tmp_path / "export.zip", ("pear",), records)
    parts = train_and_val(index, fraction=0.25, by="photo")
    assert len(parts["val"]) == 6
    pears = [{f.partition("_")[0] for f in files(part)} for part in parts.values()]
    assert not pears[0] & pears[1]


# --- data that is split already


def leaks(splits: dict[str, DatasetIndex]) -> list[tuple[str, str, str]]:
    return [(k.file, k.other_file, k.kind) for k in check_splits(splits).leaks]


def part(index: DatasetIndex, names: Sequence[str]) -> DatasetIndex:
    return index.select(names)


def test_copies_on_both_sides_are_named(tmp_path: Path) -> None:
    image = picture(1, (160, 120))
    index = write(
        tmp_path,
        {
            "t-plain.png": image,
            "t-other.png": picture(2, (160, 120)),
            "t-tile_1_1.png": picture(5, (160, 120)),
            "v-mirror.png": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "v-light.png": ImageEnhance.Brightness(image).enhance(1.15),
            "v-same.png": image,
            "t-tile_1_2.png": picture(6, (160, 120)),
            "v-own.png": picture(3, (160, 120)),
        },
    )
    train = part(index, ["t-plain.png", "t-other.png", "t-tile_1_1.png"])
    val = part(index, [n for n in files(index) if n not in files(train)])
    assert sorted(leaks({"train": train, "val": val})) == [
        ("t-plain.png", "v-light.png", "look"),
        ("t-plain.png", "v-mirror.png", "turned"),
        ("t-plain.png", "v-same.png", "pixels"),
        ("t-tile_1_1.png", "t-tile_1_2.png", "name"),
    ]
    result = check_splits({"train": train, "val": val})
    told = {f.file: (f.severity, f.code, f.message) for f in result.findings[""] if f.file}
    assert told["v-mirror.png"] == (
        "warning",
        "image-near-duplicate",
        "nearly the same picture, mirrored or turned, as t-plain.png of train: results on val may "
        "be too good",
    )
    assert told["t-tile_1_2.png"] == (
        "warning",
        "photo-across-splits",
        "of the same photo as t-tile_1_1.png of train, by its name: results on val may be too good",
    )
    assert {"photo-across-splits", "photo-copies", "photo-cut"} <= set(CODES)


def test_names_tell_without_the_images(tmp_path: Path) -> None:
    index = write(tmp_path, {f"a.rf.{n:08x}.png": picture(n, (40, 40)) for n in range(4)})
    train, val = part(index, files(index)[:2]), part(index, files(index)[2:])
    found = check_splits({"train": train, "val": val}, decode=False)
    assert [k.kind for k in found.leaks] == ["name", "name"]


def test_a_check_divides_as_the_study_does(tmp_path: Path) -> None:
    write(tmp_path / "images", versions(8))
    rows = "".join(f'{n:03},160,120,"[1, 1, 30, 30]",x\n' for n in range(32))
    (tmp_path / "train.csv").write_text("image_id,width,height,bbox,source\n" + rows)
    place = find_dataset(tmp_path)
    for by, found in (("photo", 0), ("file", 1)):
        result = check_dataset(
            place,
            divide=lambda index, by=by: train_and_val(index, fraction=0.25, by=by),  # type: ignore[misc]
        )
        assert bool(result.codes().get("image-near-duplicate")) == bool(found), by


def test_masks_are_split_by_photo_too(tmp_path: Path) -> None:
    write_masks(tmp_path, [(64, 48)] * 8)
    for n in range(4):  # 4 to 7 are 0 to 3, turned upside down with their masks
        for kind in ("images", "masks"):
            turned = Image.open(tmp_path / kind / f"{n}.png").rotate(180)
            turned.save(tmp_path / kind / f"{n + 4}.png")
    config = DataConfig(
        layout="masks",
        images="images",
        annotations="masks",
        split=SplitConfig(fraction=0.5, by="photo"),
    )
    parts = load_data(config, tmp_path)
    sides = [{int(file[0]) % 4 for file in files(part)} for part in parts.values()]
    assert [len(part) for part in parts.values()] == [4, 4]
    assert not sides[0] & sides[1]


def test_by_photo_goes_with_a_fraction() -> None:
    with pytest.raises(ValueError, match="'by: photo' goes with 'fraction'"):
        SplitConfig(val_groups=("a",), by="photo")
    assert SplitConfig(fraction=0.2).by == "file"


# --- real data


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("pear640", []),
        # looked at: one field of cells in and out of focus; cards shot twice
        ("bccd", ["BloodImage_00037 BloodImage_00038"]),
        (
            "playing_cards",
            [
                *("IMG_2464 IMG_2465", "IMG_2466 IMG_2467", "IMG_2468 IMG_2469"),
                *("IMG_2471 IMG_2472", "IMG_2473 IMG_2474", "cam_image1 cam_image54"),
            ],
        ),
    ],
)
def test_real_sets_keep_their_split_but_for_what_was_shot_twice(
    real_data: Path, name: str, alike: list[str]
) -> None:
    """Only a second shot that was on the other side changes places, with one image for it."""
    names = sorted(path.name for path in (real_data / name / "images").iterdir())
    records = tuple(record(file, []) for file in names)
    index, looks = DatasetIndex(real_data / name / "images", ("a",), records), Looks()
    found = photos(names, looks.of(index.root, names))
    pairs = [" ".join(Path(f).stem for f in group) for group in found.groups if len(group) > 1]
    assert pairs == alike
    for seed in range(10):
        by_file = set(files(split_by_fraction(index, 0.25, seed)[1]))
        by_photo = set(files(split_by_photo(index, 0.25, seed, looks)[1]))
        torn = [pair for pair in alike if len({f"{f}.jpg" in by_file for f in pair.split()}) > 1]
        assert len(by_file ^ by_photo) <= 2 * len(torn)
        assert not [p for p in alike if len({f"{f}.jpg" in by_photo for f in p.split()}) > 1]
