"""Layout ``masks``: pairs, values, what 255 means, and what is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.config import parse_study
from frostline.datasets import (
    DatasetIndex,
    Mask,
    check_dataset,
    clean_copy,
    find_dataset,
    mask_labels,
    read_dataset,
    read_splits,
)
from frostline.datasets.raw import MaskOptions
from frostline.errors import ConfigError, DatasetError
from frostline.loading import load_data
from tests.helpers import write_masks

SIZES = [(20, 10), (16, 12), (12, 12)]


def _read(folders: tuple[Path, Path], **options: object) -> DatasetIndex:
    return read_dataset(*folders, layout="masks", **options)  # type: ignore[arg-type]


def _mask(index: DatasetIndex, n: int = 0) -> Mask:
    target = index.images[n].target
    assert isinstance(target, Mask)
    return target


def _save(folder: Path, name: str, pixels: object, mode: str | None = None) -> None:
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image if mode is None else image.convert(mode)).save(folder / name)


def test_numbers_are_classes(tmp_path: Path) -> None:
    index = _read(write_masks(tmp_path, SIZES, values=(0, 3)))
    assert index.classes == ("0", "3")
    assert [image.file for image in index] == ["0.png", "1.png", "2.png"]
    mask = _mask(index)
    assert mask.pixels.tolist() == [100, 100]
    labels = mask_labels(mask)
    assert (labels[:, :10] == 1).all()
    assert (labels[:, 10:] == 0).all()
    counts = index.counts()
    assert counts.pixels_per_class == {"0": 100 + 96 + 72, "3": 100 + 96 + 72}
    assert (counts.boxes, counts.empty_images, counts.boxes_per_class) == (0, 0, {})


def test_black_and_white_is_a_binary_mask(tmp_path: Path) -> None:
    index = _read(write_masks(tmp_path, SIZES, values=(0, 255)))
    assert index.classes == ("0", "255")
    assert set(np.unique(mask_labels(_mask(index)))) == {0, 1}


def test_classes_are_ordered_by_number(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES, values=(2, 10))
    splits = read_splits(images, {"train": masks}, layout="masks")
    assert splits["train"].classes == ("2", "10")


def test_255_beside_other_numbers_must_be_declared(tmp_path: Path) -> None:
    folders = write_masks(tmp_path, SIZES, values=(0, 1))
    for n in range(3):
        _save(folders[1], f"{n}.png", [[0, 1, 255] * 4] * 12)
        _save(folders[0], f"{n}.png", np.zeros((12, 12, 3)))
    with pytest.raises(DatasetError, match="ignore_index: 255"):
        _read(folders)
    left_out = _read(folders, masks=MaskOptions(ignore_index=255))
    assert left_out.classes == ("0", "1")
    assert (_mask(left_out).ignored, _mask(left_out).pixels.tolist()) == (48, [48, 48])
    assert (mask_labels(_mask(left_out))[:, 2] == 255).all()
    named = _read(folders, masks=MaskOptions(classes=((0, "a"), (1, "b"), (255, "c"))))
    assert named.classes == ("a", "b", "c")
    assert _mask(named).pixels.tolist() == [48, 48, 48]


def test_values_between_black_and_white_say_jpeg(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES, values=(0, 255))
    blended = Image.open(masks / "1.png").resize((15, 11), Image.Resampling.BILINEAR)
    blended.resize((16, 12), Image.Resampling.BILINEAR).save(masks / "1.png")
    with pytest.raises(DatasetError, match=r"1\.png.*expected 0 and 255 alone, got .*JPEG"):
        _read((images, masks))
    index = _read((images, masks), on_problem="drop")
    assert [image.file for image in index] == ["0.png", "2.png"]
    assert [f.code for f in index.findings if f.severity == "error"] == ["mask-values"]


def test_a_set_of_jpeg_masks_is_refused_whole(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, [(64, 64)] * 2, values=(0, 255))
    random = np.random.default_rng(0)
    for n in range(2):
        spots = Image.fromarray((random.random((8, 8)) > 0.5).astype(np.uint8) * 255)
        spots = spots.resize((64, 64), Image.Resampling.BILINEAR)
        (masks / f"{n}.png").unlink()
        spots.save(masks / f"{n}.jpg", quality=60)
    with pytest.raises(DatasetError, match="saved as JPEG"):
        _read((images, masks))


def test_a_palette_gives_its_numbers_and_not_its_colours(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    plain = _read((images, masks))
    for n in range(3):
        mask = Image.open(masks / f"{n}.png").convert("L")
        palette = Image.frombytes("P", mask.size, mask.tobytes())
        palette.putpalette([10, 20, 30, 200, 0, 0])
        palette.save(masks / f"{n}.png")
    with Image.open(masks / "0.png") as saved:
        assert saved.mode == "P"
    index = _read((images, masks))
    assert index.classes == plain.classes
    assert index.digest() == plain.digest()


def test_colours_that_the_study_names(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    for n in range(3):
        mask = np.asarray(Image.open(masks / f"{n}.png"))
        colours = np.array([[0, 0, 0], [200, 10, 0]], np.uint8)[mask]
        colours[0, 0] = (224, 224, 192)
        Image.fromarray(colours).save(masks / f"{n}.png")
    with pytest.raises(DatasetError, match=r"got 3 colours \(\[0, 0, 0\], \[200, 10, 0\].*colours"):
        _read((images, masks))
    colours_of = (("ground", (0, 0, 0)), ("crop", (200, 10, 0)))
    with pytest.raises(DatasetError, match=r"got \[224, 224, 192\]"):
        _read((images, masks), masks=MaskOptions(colours=colours_of))
    how = MaskOptions(colours=colours_of, ignore_colour=(224, 224, 192))
    index = _read((images, masks), masks=how)
    assert index.classes == ("ground", "crop")
    assert _mask(index).pixels.tolist() == [100, 99]
    assert mask_labels(_mask(index))[0, 0] == 255


def test_pascal_voc_leaves_255_out(tmp_path: Path) -> None:
    write_masks(tmp_path, SIZES)
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    _save(tmp_path / "SegmentationClass", "0.png", [[0, 1, 255, 255] * 5] * 10)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n2\n")
    (lists / "val.txt").write_text("1\n")
    found = find_dataset(tmp_path)
    assert (found.layout, list(found.splits)) == ("masks", ["train", "val"])
    splits = read_splits(found.images, found.splits, layout=found.layout)
    assert splits["train"].classes == splits["val"].classes == ("0", "1")
    assert [image.file for image in splits["train"]] == ["0.png", "2.png"]
    assert _mask(splits["train"]).ignored == 100
    (lists / "val.txt").write_text("7\n")
    with pytest.raises(DatasetError, match=r"1 of 1 names have no mask in SegmentationClass"):
        read_splits(found.images, found.splits, layout=found.layout)


@pytest.mark.parametrize(
    "form", ["{0}_mask.png", "{0}.png", "{0}-seg.bmp", "deep/{0}_labelIds.png"]
)
def test_names_that_belong_together(tmp_path: Path, form: str) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    for n in range(3):
        mask = Image.open(masks / f"{n}.png")
        (masks / f"{n}.png").unlink()
        target = masks / form.format(n)
        target.parent.mkdir(exist_ok=True)
        mask.save(target)
    index = _read((images, masks))
    assert [(i.file, int(_mask(index, n).pixels.sum())) for n, i in enumerate(index)] == [
        (f"{n}.png", w * h) for n, (w, h) in enumerate(SIZES)
    ]


def test_folders_of_splits(tmp_path: Path) -> None:
    for split, sizes in (("train", SIZES[:2]), ("val", SIZES[2:])):
        images, masks = write_masks(tmp_path / "part", sizes)
        for kind, folder in (("images", images), ("masks", masks)):
            target = tmp_path / "set" / kind / split
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
    found = find_dataset(tmp_path / "set")
    assert (found.layout, list(found.splits)) == ("masks", ["train", "val"])
    splits = read_splits(found.images, found.splits, layout="masks")
    assert [i.file for i in splits["train"]] == ["train/0.png", "train/1.png"]
    assert [i.file for i in splits["val"]] == ["val/0.png"]
    # each split in a folder of its own
    other = tmp_path / "other"
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (other / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / kind / split).rename(other / split / kind)
    found = find_dataset(other)
    splits = read_splits(found.images, found.splits, layout=found.layout)
    assert [i.file for i in splits["train"]] == ["train/images/0.png", "train/images/1.png"]
    assert [i.file for i in splits["val"]] == ["val/images/0.png"]


def test_out_of_a_zip_file(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path / "set", SIZES)
    plain = _read((images, masks))
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            packed.write(path, path.relative_to(tmp_path / "set").as_posix())
    found = find_dataset(archive)
    index = read_dataset(found.images, next(iter(found.splits.values())), layout=found.layout)
    assert index.digest() == plain.digest()
    assert mask_labels(_mask(index)).shape == (10, 20)


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    _save(masks, "1.png", np.zeros((12, 15)))
    with pytest.raises(
        DatasetError, match=r"1\.png: expected a mask of 16x12 pixels, as image 1\.png, got 15x12"
    ):
        _read((images, masks))
    index = _read((images, masks), on_problem="drop")
    assert len(index) == 2
    assert "size-mismatch" in {finding.code for finding in index.findings}


def test_a_mask_without_an_image_and_an_image_without_a_mask(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    (masks / "2.png").rename(masks / "other.png")
    with pytest.raises(DatasetError, match="expected an image named like the mask"):
        _read((images, masks))
    index = _read((images, masks), on_problem="drop")
    codes = {finding.code: finding.message for finding in index.findings}
    assert "mask-without-image" in codes
    assert codes["mask-missing"] == "1 images have no mask and are left out, such as 2.png"


def test_values_outside_the_classes(tmp_path: Path) -> None:
    folders = write_masks(tmp_path, SIZES, values=(0, 4))
    with pytest.raises(DatasetError, match=r"expected values 0, 1, got 4 on 100 pixels"):
        _read(folders, masks=MaskOptions(classes=((0, "a"), (1, "b"))))


def test_grey_images_are_told(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    Image.open(images / "0.png").convert("L").save(images / "0.png")
    (finding,) = [f for f in _read((images, masks)).findings if f.code == "images-grey"]
    assert finding.message.startswith("1 of 3 images have one channel")


def test_the_digest_sees_a_pixel_and_what_it_means(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    plain = _read((images, masks))
    swapped = _read((images, masks), masks=MaskOptions(classes=((0, "0"), (1, "1"))))
    assert swapped.digest() == plain.digest()  # the same classes, said
    pixels = np.asarray(Image.open(masks / "1.png")).copy()
    pixels[0, 0] = 0
    _save(masks, "1.png", pixels)
    assert _read((images, masks)).digest() != plain.digest()


def test_findings_of_data_check(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    for n in (3, 4):
        _save(images, f"{n}.png", np.random.default_rng(n).integers(0, 255, (12, 12, 3)))
    for n in (3, 4):
        _save(masks, f"{n}.png", np.asarray(Image.open(masks / "2.png")))
    options = MaskOptions(classes=((0, "a"), (1, "b"), (9, "never")))
    result = check_dataset(find_dataset(tmp_path), masks=options)
    assert result.ok
    codes = result.codes()
    assert (codes["mask-copy"], codes["class-unused"], codes["mask-shares"]) == (2, 1, 1)
    text = "\n".join(str(f) for part in result.findings.values() for f in part)
    assert "4.png: its mask 4.png is that of 2.png, pixel by pixel" in text
    assert "class never has no pixels" in text
    assert "pixels by class: a 50.0%, b 50.0%, never 0.0%" in text
    with pytest.raises(DatasetError, match="a clean copy is written as COCO"):
        clean_copy(result, tmp_path / "clean")


def test_through_a_study(tmp_path: Path) -> None:
    write_masks(tmp_path, SIZES, values=(0, 255))
    raw = {
        "task": "segmentation",
        "data": {
            "layout": "masks",
            "images": "images",
            "annotations": "masks",
            "split": {"fraction": 0.4},
            "masks": {"classes": {255: "cell", 0: "membrane"}},
        },
        "inits": {"a": {"source": "random"}},
    }
    splits = load_data(parse_study(raw).data, tmp_path)
    assert splits["train"].classes == ("membrane", "cell")
    assert {len(index) for index in splits.values()} == {1, 2}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"classes": {0: "a"}, "colours": {"a": [0, 0, 0]}}, "not both"),
        ({"classes": {0: "a", 1: "a"}}, "gives two values one name"),
        ({"colours": {"a": [1, 2, 3], "b": [1, 2, 3]}}, "gives two classes one colour"),
        ({"classes": {255: "a"}, "ignore_index": 255}, "is the value of a class"),
        ({"colours": {"a": [1, 2, 300]}}, "less than or equal to 255"),
    ],
)
def test_what_a_study_cannot_say(masks: dict[str, object], message: str) -> None:
    data = {"images": ".", "train": "a", "val": "b", "masks": masks}
    with pytest.raises(ConfigError, match=message):
        parse_study({"data": data, "inits": {"a": {"source": "random"}}})


def test_a_slip_in_a_mask_is_no_class_unasked(tmp_path: Path) -> None:
    _, masks = write_masks(tmp_path, [(120, 100)] * 2)
    pixels = np.asarray(Image.open(masks / "1.png")).copy()
    pixels[0, 0] = 9
    _save(masks, "1.png", pixels)
    findings = check_dataset(find_dataset(tmp_path)).findings
    told = [str(f) for part in findings.values() for f in part if f.code == "mask-rare"]
    assert told == ["class 9 has 1 of 24000 pixels: is it a class?"]


def test_masks_without_a_pixel_that_counts(tmp_path: Path) -> None:
    folders = write_masks(tmp_path, SIZES, values=(255, 255))
    index = _read(folders, masks=MaskOptions(classes=((0, "a"), (1, "b")), ignore_index=255))
    assert index.counts().ignored_pixels == 200 + 192 + 144
    options = MaskOptions(classes=((0, "a"), (1, "b")), ignore_index=255)
    result = check_dataset(find_dataset(tmp_path), masks=options)
    assert "100.0% ignored" in " ".join(str(f) for x in result.findings.values() for f in x)


# --- hostile files -------------------------------------------------------------------------------


def test_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path / "set", SIZES)
    outside = tmp_path / "outside.png"
    (masks / "1.png").rename(outside)
    (masks / "1.png").symlink_to(outside)
    index = _read((images, masks), on_problem="drop")
    assert [image.file for image in index] == ["0.png", "2.png"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"%!PS-Adobe"])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    (masks / "1.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"1\.png.*expected a readable image"):
        _read((images, masks))
    assert len(_read((images, masks), on_problem="drop")) == 2


def test_a_truncated_mask_and_one_that_is_too_large(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    whole = (masks / "1.png").read_bytes()
    (masks / "1.png").write_bytes(whole[: len(whole) // 2])
    index = _read((images, masks), on_problem="drop")
    assert [f.code for f in index.findings if f.severity == "error"] == ["mask-unreadable"]
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    (masks / "1.png").write_bytes(bomb.getvalue())
    with pytest.raises(DatasetError, match="expected at most 89478485 pixels"):
        _read((images, masks))


def test_names_that_would_draw_on_the_terminal(tmp_path: Path) -> None:
    images, masks = write_masks(tmp_path, SIZES)
    (masks / "1.png").rename(masks / "\x1b[31m.png")
    with pytest.raises(DatasetError) as caught:
        _read((images, masks))
    assert "\x1b" not in str(caught.value)
