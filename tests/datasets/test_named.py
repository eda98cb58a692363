"""The one way in which a named file is found, on small lists and on whole data sets."""

import json
import unicodedata
import zipfile
from pathlib import Path

import pytest

from frostline.datasets import DatasetIndex, check_dataset, find_dataset, read_dataset, read_splits
from frostline.datasets.files import ZipTree, is_system_file, open_tree
from frostline.datasets.named import NamedFiles, Naming, folded, split_words
from frostline.datasets.text import read_text
from frostline.errors import DatasetError
from tests.datasets.samples import picture, random_index, write_coco, zip_folder

FILES = (
    "images/a.jpg",
    "images/My Pic.JPG",
    "images/Ähre.png",
    "images/фото.png",
    "train/0001.jpg",
    "val/0001.jpg",
    "val/0002.jpg",
    "one/same.jpg",
    "two/same.jpg",
    "case/b.jpg",
    "case/B.jpg",
)


def fits(name: str, naming: Naming | None = None) -> tuple[str, ...]:
    return NamedFiles(lambda: FILES, FILES.__contains__, naming).find(name).fits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images/a.jpg", "images/a.jpg"),
        ("images\\a.jpg", "images/a.jpg"),
        (".\\images\\a.jpg", "images/a.jpg"),
        ("C:\\Users\\me\\set\\images\\a.jpg", "images/a.jpg"),
        ("/home/me/set/images/a.jpg", "images/a.jpg"),
        ("../images/a.jpg", "images/a.jpg"),
        ("images/images/a.jpg", "images/a.jpg"),
        ("set/set/images/a.jpg", "images/a.jpg"),
        ("a.jpg", "images/a.jpg"),
        ("/data/upload/3/a.jpg", "images/a.jpg"),
        ("/data/local-files/?d=images/a.jpg", "images/a.jpg"),
        ("http://localhost:8080/data/upload/a.jpg", "images/a.jpg"),
        ("https://host/b/images/a.jpg?token=1", "images/a.jpg"),
        ("s3://bucket/images/a.jpg", "images/a.jpg"),
        ("file:///home/me/images/a.jpg", "images/a.jpg"),
        ("images/my%20pic.jpg", "images/My Pic.JPG"),
        ("images/My%2520Pic.JPG", "images/My Pic.JPG"),
        ("IMAGES/MY PIC.jpg", "images/My Pic.JPG"),
        (unicodedata.normalize("NFD", "images/Ähre.png"), "images/Ähre.png"),
        ("images/%D1%84%D0%BE%D1%82%D0%BE.png", "images/фото.png"),
        ("case/B.jpg", "case/B.jpg"),
        ("x\\case\\b.jpg", "case/b.jpg"),
        ("val/0001.jpg", "val/0001.jpg"),
        ("images/val/0001.jpg", "val/0001.jpg"),
        ("valid/0002.jpg", "val/0002.jpg"),
    ],
)
def test_what_is_found(name: str, expected: str) -> None:
    assert fits(name) == (expected,)


@pytest.mark.parametrize(
    "name", ["c.jpg", "images/a.png", "train/0002.jpg", "images/../", "", "?", "%", "test/0001.jpg"]
)
def test_what_is_not_found(name: str) -> None:
    assert fits(name) == ()


def test_two_that_fit_are_told_unless_the_place_decides() -> None:
    assert fits("same.jpg") == ("one/same.jpg", "two/same.jpg")
    assert fits("case/b.JPG") == ("case/b.jpg", "case/B.jpg")
    assert fits("0001.jpg") == ("train/0001.jpg", "val/0001.jpg")
    assert fits("same.jpg", Naming("two/")) == ("two/same.jpg",)
    assert fits("0001.jpg", Naming("", ("val",))) == ("val/0001.jpg",)
    assert fits("0002.jpg", Naming("", ("train",))) == ()  # in another split, and train is there
    assert fits("0002.jpg", Naming("", ("test",))) == ("val/0002.jpg",)  # there is no test folder
    assert fits("0002.jpg", Naming("", ("train", "val"))) == ("val/0002.jpg",)


def test_the_root_in_front_of_a_name() -> None:
    files = ("a.jpg", "old/a.jpg")
    found = NamedFiles(lambda: files, files.__contains__, Naming(root="set"))
    assert found.find("set/a.jpg").fits == ("a.jpg",)
    assert found.find("other/a.jpg").fits == files


def test_split_words() -> None:
    assert split_words("annotations/instances_val2017.json") == ("val",)
    assert split_words("valid/_annotations.coco.json") == ("val",)
    assert split_words("Training/x") == ("train",)
    assert split_words("valley/trainer") == ()


def test_folded_is_one_spelling() -> None:
    assert folded("A\\B%20c.JPG") == "a/b c.jpg"
    assert folded("100%.jpg") == "100%.jpg"
    assert folded("%ff.jpg") == "%ff.jpg"  # no UTF-8


def test_system_files() -> None:
    for name in ("._a.jpg", "x/.DS_Store", "__MACOSX/x/a.jpg", "x/Thumbs.db", "@eaDir/a.jpg"):
        assert is_system_file(name)
    for name in (".a.jpg", "a._b.jpg", "MACOSX/a.jpg"):
        assert not is_system_file(name)


# --- data sets -----------------------------------------------------------------------------------


def coco(root: Path, names: list[str], file: str = "annotations.json") -> None:
    """One box an image, (10, 10) to (40, 30)."""
    root.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": n, "file_name": name, "width": 96, "height": 64} for n, name in enumerate(names)
    ]
    annotations = [
        {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [10, 10, 30, 20]}
        for n in range(len(names))
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (root / file).write_text(json.dumps(content))


def pictures(root: Path, *names: str) -> None:
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(n).save(root / name)


def files(index: DatasetIndex) -> list[str]:
    return [image.file for image in index]


def test_pictures_of_another_split_are_not_taken(tmp_path: Path) -> None:
    pictures(tmp_path, "train/0001.png", "train/0002.png", "val/0001.png")
    coco(tmp_path, ["0001.png", "0002.png"], "train.json")
    coco(tmp_path, ["0001.png", "0002.png"], "val.json")
    with pytest.raises(DatasetError, match=r"images\[1\]: 0002\.png: expected a file"):
        read_splits(tmp_path)
    result = check_dataset(find_dataset(tmp_path))
    assert files(result.splits["val"]) == ["val/0001.png"]
    assert [f.code for f in result.findings["val"]] == ["image-missing"]


def test_same_names_in_two_folders_are_an_error_with_both(tmp_path: Path) -> None:
    pictures(tmp_path, "one/a.png", "two/a.png", "two/b.png")
    coco(tmp_path, ["x/a.png"])
    with pytest.raises(DatasetError, match=r"x/a\.png fits one/a\.png and two/a\.png: name one"):
        read_dataset(tmp_path, tmp_path / "annotations.json")
    coco(tmp_path, ["a.png", "b.png", "one/a.png"])
    index = read_dataset(tmp_path, tmp_path / "annotations.json", on_problem="drop")
    assert files(index) == ["one/a.png"]  # b.png is in folder two alone, but names repeat
    assert [f.code for f in index.findings] == ["image-ambiguous", "image-missing"]


def test_names_that_repeat_are_taken_from_the_folder_of_the_annotations_alone(
    tmp_path: Path,
) -> None:
    """No vote: what is missing beside the annotations is not taken from another folder."""
    pictures(tmp_path, "A/0.png", "A/1.png", "B/0.png", "B/1.png", "B/2.png", "B/3.png")
    coco(tmp_path / "A", ["0.png", "1.png", "2.png", "3.png"])
    index = read_dataset(tmp_path, tmp_path / "A/annotations.json", on_problem="drop")
    assert files(index) == ["A/0.png", "A/1.png"]
    assert [f.code for f in index.findings] == ["image-missing", "image-missing"]


def test_pictures_from_the_folder_of_another_split_are_told(tmp_path: Path) -> None:
    """As when one folder is divided by two files; there is no folder for validation."""
    pictures(tmp_path, "train/0.png", "train/1.png")
    coco(tmp_path, ["0.png"], "train.json")
    coco(tmp_path, ["1.png"], "val.json")
    read = read_splits(tmp_path, {s: tmp_path / f"{s}.json" for s in ("train", "val")})
    assert files(read["val"]) == ["train/1.png"]
    assert [f.code for f in read["val"].findings] == ["path-found"]
    assert read["train"].findings == ()


def test_two_names_for_one_picture_are_an_error(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png")
    coco(tmp_path, ["a.png", "x/A.png"])
    with pytest.raises(DatasetError, match=r"images\[1\]: expected each image once, x/A\.png and"):
        read_dataset(tmp_path, tmp_path / "annotations.json")
    coco(tmp_path, ["cam1/a.png", "cam2/a.png"])
    with pytest.raises(DatasetError, match="expected each image once"):
        read_dataset(tmp_path, tmp_path / "annotations.json")


def test_a_link_is_not_looked_for(tmp_path: Path) -> None:
    pictures(tmp_path, "other/real.png", "set/b.png")
    (tmp_path / "set" / "sub").mkdir()
    (tmp_path / "set" / "sub" / "a.png").symlink_to(tmp_path / "other" / "real.png")
    (tmp_path / "set" / "sub" / "c.png").symlink_to(tmp_path / "set" / "b.png")
    coco(tmp_path / "set", ["x/a.png", "x/c.png", "sub/c.png"])
    index = read_dataset(tmp_path / "set", tmp_path / "set/annotations.json", on_problem="drop")
    assert files(index) == ["sub/c.png"]
    assert [f.code for f in index.findings] == ["image-missing", "image-missing"]


def test_only_a_folder_in_front_is_no_finding(tmp_path: Path) -> None:
    true = {"train": random_index(tmp_path / "set" / "train2017", "t", 3, 1)}
    write_coco(true, tmp_path / "set")
    index = read_dataset(tmp_path / "set", tmp_path / "set" / "train.json")
    assert files(index) == [f"train2017/t{n}.png" for n in range(3)]
    assert index.findings == ()


def test_zip_made_on_windows_stays_inside(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("images\\a.txt", "x")
        packed.writestr("images\\", "")
        packed.writestr("..\\up.txt", "x")
        packed.writestr("C:\\abs.txt", "x")
        packed.writestr("images\\..\\..\\out.txt", "x")
    tree = open_tree(archive)
    assert tree.names() == ("images/a.txt",)
    assert open_tree(archive / "images").names() == ("a.txt",)
    assert len(tree.strays()) == 3
    assert tree.open("images/a.txt").read() == b"x"


def test_backslashes_in_a_folder_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "up.txt").write_text("secret")
    for name in ("images\\a.txt", "..\\up.txt", "images\\..\\..\\up.txt", "deep\\er\\b.txt"):
        (root / name).write_text(name)
    tree = open_tree(root)
    assert tree.names() == ("deep/er/b.txt", "images/a.txt")
    assert tree.has_folder("deep")
    assert tree.has_folder("deep/er")
    assert not tree.has_folder("..")
    assert read_text(tree, "images/a.txt") == "images\\a.txt"
    assert tree.state("../up.txt") == "outside"
    inner = open_tree(root / "images")
    assert (inner.root, inner.names()) == (root / "images", ("a.txt",))
    assert inner.state("a.txt") == "file"
    assert inner.state("../up.txt") == "outside"
    assert open_tree(root / "deep" / "er").names() == ("b.txt",)
    assert open_tree(root / "none").names() == ()


def test_names_that_macos_packs(tmp_path: Path) -> None:
    """UTF-8 without the mark that says so, which Python reads in the code page of DOS."""
    folder = tmp_path / "set"
    pictures(folder, "ä.png")
    archive = zip_folder(folder, tmp_path / "d.zip")
    data = archive.read_bytes()
    for marker, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(marker) + at
        flags = int.from_bytes(data[start : start + 2], "little") & ~0x800
        data = data[:start] + flags.to_bytes(2, "little") + data[start + 2 :]
    archive.write_bytes(data)
    tree = open_tree(archive)
    assert isinstance(tree, ZipTree)
    assert tree.names() == ("ä.png",)


@pytest.mark.parametrize(
    ("name", "encoding", "read"),
    [
        ("小麦.png", "gbk", "小麦.png"),
        ("图像/麦穗 01.png", "gbk", "图像/麦穗 01.png"),
        ("雑草の表.png", "cp932", "雑草の表.png"),  # 表 has a backslash in its bytes
        ("été.png", "cp437", "été.png"),
        ("Straße.png", "cp437", "Straße.png"),
    ],
)
def test_names_that_windows_packs(tmp_path: Path, name: str, encoding: str, read: str) -> None:
    """In the system's own encoding, without a mark."""
    archive = tmp_path / "d.zip"
    raw = name.encode(encoding)
    placeholder = "x" * len(raw)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(placeholder, b"")
    archive.write_bytes(archive.read_bytes().replace(placeholder.encode(), raw))
    assert open_tree(archive).names() == (read,)


def test_images_of_a_split_without_an_entry_are_a_warning(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.png", "train/b.png", "valid/c.png", "valid/d.png", "test/e.png")
    coco(tmp_path / "train", ["a.png"], "_annotations.coco.json")
    coco(tmp_path / "valid", ["c.png", "d.png"], "_annotations.coco.json")
    result = check_dataset(find_dataset(tmp_path))
    told = {split: [str(f) for f in part] for split, part in result.findings.items() if part}
    assert told == {
        "train": ["1 images of its folder have no entry, or were left out, such as train/b.png"],
        "": ["1 images are in a folder of test, which has no entries, such as test/e.png"],
    }
    assert result.by_severity()["warning"] == 2
