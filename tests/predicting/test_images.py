"""Which images are meant, and in which frame they are seen."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.config import ModelConfig
from frostline.errors import DatasetError
from frostline.predicting import count_as_stored, find_images
from frostline.weights_header import WeightsHeader
from tests.datasets.samples import picture

HEADER = WeightsHeader(task="detection", model=ModelConfig(), classes=("ear",))
TURNED = HEADER.model_copy(update={"turned": True, "grey_levels": 4096})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "in/c.png", "._a.JPG"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(1, (40, 30)).save(path, "PNG")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    return tmp_path / "photos"


def names(*paths: Path) -> list[list[str]]:
    return [[image.file for image in index] for index in find_images(paths, HEADER)]


def test_files_folders_and_zip_files(folder: Path, tmp_path: Path) -> None:
    assert names(folder) == [["a.JPG", "b.png", "in/c.png"]]
    assert names(folder / "in" / "c.png", folder / "b.png", folder / "a.JPG") == [
        ["c.png"],
        ["b.png", "a.JPG"],
    ]
    assert names(folder / "b.png", folder / "b.png") == [["b.png"]]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(folder / "b.png", "x/b.png")
        archive.write(folder / "notes.txt", "notes.txt")
    (index,) = find_images([tmp_path / "all.zip"], HEADER)
    assert [image.file for image in index] == ["x/b.png"]
    assert index.load(index.images[0]).shape == (30, 40, 3)
    (tmp_path / "link.png").symlink_to(folder / "b.png")
    assert names(tmp_path / "link.png") == [["b.png"]]


def test_what_is_no_image(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "absent", "expected an image, a folder or a zip file, found none at .*absent"),
        (tmp_path / "empty", "expected images in .*empty, found none"),
        (folder / "notes.txt", r"notes\.txt: expected a readable image"),
    ):
        with pytest.raises(DatasetError, match=message):
            find_images([folder, path], HEADER)
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:20])
    with pytest.raises(DatasetError, match=r"broken\.png: expected a readable image"):
        find_images([folder], HEADER)
    shutil.rmtree(folder)


def test_the_frame_is_that_of_training(tmp_path: Path) -> None:
    """Stored 40 x 30; orientation 6 shows it 30 x 40, with the upper left at the upper right."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:10, :10] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (stored,) = find_images([tmp_path], HEADER)
    assert stored.images[0].size == (40, 30)
    assert stored.load(stored.images[0])[5, 5, 0] == 250
    assert count_as_stored([stored]) == 1
    (shown,) = find_images([tmp_path], TURNED)
    assert shown.images[0].size == (30, 40)
    seen = shown.load(shown.images[0])
    assert (seen.shape, seen[5, 25, 0], seen[5, 5, 0]) == ((40, 30, 3), 250, 0)
    assert count_as_stored([shown]) == 0
    assert shown.grey_levels == 4096
