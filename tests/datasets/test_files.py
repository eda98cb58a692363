import gzip
import os
import zipfile
from pathlib import Path

import pytest

from frostline.datasets.files import (
    FolderTree,
    Tree,
    ZipTree,
    locate,
    open_tree,
    plain_name,
    relative_name,
    stems,
)
from frostline.datasets.findings import shown
from frostline.datasets.text import read_text
from frostline.errors import DatasetError
from tests.datasets.samples import zip_folder

FILES = ("a.png", "sub/b.png", "sub/deep/c.txt")


@pytest.fixture(params=["folder", "zip", "zip with a folder"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    folder = tmp_path / "data"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if request.param == "folder":
        return open_tree(folder)
    top = "top/" if request.param == "zip with a folder" else ""
    return open_tree(zip_folder(folder, tmp_path / "data.zip", top) / top)


def test_lists_and_reads(tree: Tree) -> None:
    assert tree.names() == FILES
    for name in FILES:
        assert tree.state(name) == "file"
        with tree.open(name) as stream:
            assert stream.read().decode() == name


def test_states(tree: Tree) -> None:
    assert tree.state("z.png") == "missing"
    assert tree.state("sub") == "missing"
    for name in ("../a.png", "/a.png", "", "a\0", "sub/../a.png", "C:\\a"):
        assert tree.state(name) == "outside"
        with pytest.raises(DatasetError, match="inside the data root"):
            tree.open(name)
    assert tree.has_folder("sub")
    assert tree.has_folder("sub/deep")
    assert not tree.has_folder("a.png")
    assert not tree.has_folder("../data")


def test_refuses_files_that_are_too_large(tree: Tree) -> None:
    with tree.open("a.png", 5) as stream:
        assert stream.read() == b"a.png"
    with pytest.raises(DatasetError, match=r"a\.png: expected at most 4 bytes"):
        tree.open("a.png", 4)
    with pytest.raises(DatasetError, match="found none"):
        tree.open("z.png")


def test_zip_in_the_middle_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a.csv").write_text("x")
    archive = zip_folder(tmp_path / "data", tmp_path / "data.zip")
    inner = open_tree(archive / "sub")
    assert isinstance(inner, ZipTree)
    assert inner.root == archive / "sub"
    assert inner.names() == ("a.csv",)
    tree, name = locate(archive / "sub" / "a.csv")
    assert read_text(tree, name) == "x"
    with pytest.raises(DatasetError, match="expected an annotation file, found none at"):
        locate(archive / "sub" / "b.csv")


def test_zip_that_changes_is_read_anew(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    for text in ("one", "three"):
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("a.txt", text)
        assert open_tree(archive).open("a.txt").read().decode() == text


def test_hostile_names_in_a_zip_are_not_there(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../up.txt", "x")
        packed.writestr("/etc/abs.txt", "x")
        packed.writestr("good.txt", "x")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    tree = open_tree(archive)
    assert tree.names() == ("good.txt",)
    assert tree.strays() == ("../up.txt", "/etc/abs.txt", "link.txt")
    assert tree.state("link.txt") == "missing"


def test_zip_bomb_is_stopped_while_unpacking(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.csv", b"0" * 10_000_000)
    assert archive.stat().st_size < 20_000
    with pytest.raises(DatasetError, match="expected at most 1000000 bytes"):
        open_tree(archive).open("a.csv", 1_000_000)


def test_gzip_bomb_is_stopped_while_unpacking(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * 10_000_000))
    with pytest.raises(DatasetError, match="expected at most 1000000 bytes"):
        read_text(FolderTree(tmp_path), "a.csv.gz", max_bytes=1_000_000)


def test_broken_zips(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", os.urandom(1000))
    data = bytearray(archive.read_bytes())
    data[100] ^= 0xFF  # inside the compressed bytes
    archive.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be unpacked"):
        open_tree(archive).open("a.txt")


def test_encrypted_entry(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.txt", "x")
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # general purpose flag of the entry, and of the directory
    data[data.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be unpacked: .*password required"):
        open_tree(archive).open("a.txt")


@pytest.mark.timeout(10)
def test_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert open_tree(tmp_path).state("a.png") == "missing"
    with pytest.raises(DatasetError, match="expected a file"):
        open_tree(tmp_path).open("a.png")


def test_linked_folder_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_text("")
    (tmp_path / "root" / "link").symlink_to("../other")
    tree = open_tree(tmp_path / "root")
    assert tree.names() == ()
    assert tree.strays() == ("link",)
    assert tree.state("link/a.png") == "outside"


def test_links_that_stay_inside_are_no_strays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "nowhere.png").symlink_to("c.png")
    assert FolderTree(tmp_path).strays() == ()


def test_file_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to("data/a.csv")
    tree, name = locate(tmp_path / "link.csv")
    assert read_text(tree, name) == "x"


def test_names() -> None:
    assert relative_name(".\\a\\b.png") == "a/b.png"
    assert relative_name("././a.png") == "a.png"
    assert plain_name("a//b/./c.png") == "a/b/c.png"
    assert plain_name("..") is None
    assert stems(["a.png", "a.jpg", "b.c.png", "none"]) == {
        "a": ["a.png", "a.jpg"],
        "b.c": ["b.c.png"],
        "": ["none"],
    }


def test_shown_is_short_and_printable() -> None:
    assert shown("plain") == "plain"
    assert shown("a\nb\x1b[0m\u202e") == "a\\nb\\x1b[0m\\u202e"
    assert len(shown("\x1b" * 5000)) <= 120
    assert len(shown({"a": ["x" * 500] * 500})) <= 120
    assert shown(1 << 20_000) == "a very long int"
