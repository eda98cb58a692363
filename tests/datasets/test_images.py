import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from frostline.datasets import image_size, load_image, resolve_inside
from frostline.datasets.images import exif_orientation
from frostline.errors import DatasetError
from tests.datasets.samples import picture


def save(folder: Path, name: str, image: Image.Image, **options: object) -> str:
    image.save(folder / name, **options)  # type: ignore[arg-type]
    return name


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, ending: str) -> None:
    image = picture(1)
    save(tmp_path, f"a.{ending}", image)
    pixels = load_image(tmp_path, f"a.{ending}")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (64, 96, 3)
    assert np.array_equal(pixels, np.asarray(image))
    assert image_size(tmp_path, f"a.{ending}") == (96, 64)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, ending: str) -> None:
    image = picture(1)
    save(tmp_path, f"a.{ending}", image, quality=95)
    error = np.abs(load_image(tmp_path, f"a.{ending}").astype(int) - np.asarray(image))
    assert error.mean() < 3


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = picture(2).convert("L")
    pixels = load_image(tmp_path, save(tmp_path, "a.png", grey))
    assert np.array_equal(pixels, np.repeat(np.asarray(grey)[:, :, None], 3, axis=2))


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    pixels = load_image(tmp_path, save(tmp_path, "a.png", picture(2).convert("1")))
    assert set(np.unique(pixels)) == {0, 255}


def test_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = picture(3).quantize(8)
    expected = np.asarray(image.convert("RGB"))
    save(tmp_path, "a.png", image, transparency=bytes([0, 255, 0, 255, 0, 255, 0, 255]))
    assert np.array_equal(load_image(tmp_path, "a.png"), expected)


def test_transparency_is_dropped_and_not_blended(tmp_path: Path) -> None:
    image = picture(4).convert("RGBA")
    image.putalpha(0)
    assert np.array_equal(
        load_image(tmp_path, save(tmp_path, "a.png", image)), np.asarray(picture(4))
    )


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path, ending: str) -> None:
    values = np.linspace(0, 65535, 64 * 96).astype(np.uint16).reshape(64, 96)
    pixels = load_image(tmp_path, save(tmp_path, f"a.{ending}", Image.fromarray(values)))
    assert np.array_equal(pixels[:, :, 1], (values >> 8).astype(np.uint8))


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    pixels = load_image(tmp_path, save(tmp_path, "a.jpg", picture(5).convert("CMYK"), quality=95))
    assert np.abs(pixels.astype(int) - np.asarray(picture(5))).mean() < 6


@pytest.mark.parametrize(
    "values", [np.zeros((4, 4), np.float32), np.full((4, 4), 70000, np.int32)], ids=["float", "int"]
)
def test_pixels_without_an_agreed_range_are_refused(
    tmp_path: Path, values: np.ndarray[tuple[int, int], np.dtype[np.float32]]
) -> None:
    save(tmp_path, "a.tif", Image.fromarray(values))
    with pytest.raises(DatasetError, match=r"a\.tif: expected a readable image"):
        load_image(tmp_path, "a.tif")


def test_exif_orientation_is_told_and_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path, "a.png", picture(6), exif=exif)
    assert np.array_equal(load_image(tmp_path, "a.png"), np.asarray(picture(6)))
    assert image_size(tmp_path, "a.png") == (96, 64)
    assert exif_orientation(tmp_path, "a.png") == 6
    assert exif_orientation(tmp_path, save(tmp_path, "b.png", picture(6))) == 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_pixels_are_turned_where_the_annotated_size_is_that_of_viewers(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path, "a.png", picture(6), exif=exif)
    with Image.open(tmp_path / file) as stored:
        seen = np.asarray(ImageOps.exif_transpose(stored))
    got = load_image(tmp_path, file, size=(64, 96))
    assert np.array_equal(got, seen)
    assert got.flags["C_CONTIGUOUS"]
    assert np.array_equal(load_image(tmp_path, file, size=(96, 64)), np.asarray(picture(6)))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 99])
def test_pixels_of_other_orientations_stay_as_stored(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path, "a.png", picture(6), exif=exif)
    assert np.array_equal(load_image(tmp_path, file, size=(64, 96)), np.asarray(picture(6)))


def test_truncated_image_is_refused_by_name_though_its_header_is_good(tmp_path: Path) -> None:
    picture(7).resize((400, 300)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    assert image_size(tmp_path, "a.jpg") == (400, 300)
    with pytest.raises(DatasetError, match=r"a\.jpg: expected a readable image"):
        load_image(tmp_path, "a.jpg")


def test_pixel_limit_holds_before_decoding(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture(8))
    with pytest.raises(DatasetError, match="expected at most 6143 pixels, got 96x64"):
        load_image(tmp_path, "a.png", max_pixels=6143)
    assert load_image(tmp_path, "a.png", max_pixels=6144).shape == (64, 96, 3)


@pytest.mark.parametrize("data", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match="expected a readable image"):
        load_image(tmp_path, "a.png")


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.png: expected a file in the data root, found none"):
        load_image(tmp_path, "a.png")


def test_image_inside_a_zip_file(tmp_path: Path) -> None:
    save(tmp_path, "a.png", picture(9))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as packed:
        packed.write(tmp_path / "a.png", "images/a.png")
    root = tmp_path / "d.zip" / "images"
    assert np.array_equal(load_image(root, "a.png"), np.asarray(picture(9)))
    with pytest.raises(DatasetError, match="expected a file in the zip file, found none"):
        load_image(root, "b.png")


@pytest.mark.parametrize("name", ["a/b.jpg", "a.jpg", "..a.jpg", "a..b/c.jpg"])
def test_resolve_inside_allows(tmp_path: Path, name: str) -> None:
    assert resolve_inside(tmp_path, name) == (tmp_path / name).resolve()


@pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b", "a/../b", "/etc/passwd", "", ".", "a\0b", "C:/a.jpg", "C:a"]
)
def test_resolve_inside_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="inside the data root"):
        resolve_inside(tmp_path, name)


def test_resolve_inside_follows_links_before_it_judges(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "root-other"
    root.mkdir()
    other.mkdir()
    (other / "a.png").write_bytes(b"")
    (root / "real.png").write_bytes(b"")
    (root / "inside.png").symlink_to("real.png")
    (root / "out.png").symlink_to(other / "a.png")
    (root / "folder").symlink_to(other)
    (root / "circle").symlink_to("circle")
    assert resolve_inside(root, "inside.png") == root.resolve() / "real.png"
    for name in ("out.png", "folder/a.png"):
        with pytest.raises(DatasetError, match="a link leads out of it"):
            resolve_inside(root, name)
    with pytest.raises(DatasetError):
        load_image(root, "circle")


def test_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save(tmp_path / "real", "a.png", picture(1))
    assert image_size(tmp_path / "link", "a.png") == (96, 64)
