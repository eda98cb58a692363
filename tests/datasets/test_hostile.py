"""Damaged and hostile annotation files: refused with one line or read, never anything else."""

import gzip
import json
import random
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from frostline.datasets import (
    DatasetIndex,
    check_dataset,
    find_dataset,
    load_image,
    read_dataset,
)
from frostline.datasets.files import FolderTree
from frostline.datasets.text import read_text
from frostline.errors import DatasetError
from tests.datasets.faults import PlantedSet
from tests.datasets.samples import picture, zip_folder
from tests.datasets.tools import TOOLS

ROUNDS = 120
TOKENS = [
    b"nan", b"-1", b"1e999", b"null", b"{}", b"[]", b'""', b"\0", b"\xff", b"9" * 400, b"../",
    b"/etc/passwd", b"true", b"\n", b",", b'"', b"<", b">", b"&a;", b"0x10", b"!!python/none",
    b"\xf0\x9f\x8c\xbe", b"inf", b"-0.0", b"=1+1", b"\\ud800", b"1e-320", b"'", b" ", b":",
]  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to three places overwritten, cut out, doubled, or replaced by something nasty."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 1, 2, 5, 20]))
        middle = rng.choice([b"", rng.choice(TOKENS), data[start:end] * 2, rng.randbytes(3)])
        data = data[:start] + middle + data[end:]
    return data


def one_line(message: str) -> None:
    assert message.isprintable()


def read_or_refuse(data: Path) -> DatasetIndex | None:
    try:
        found = find_dataset(data)
        split = next(iter(found.splits))
        return read_dataset(data, layout=found.layout, split=split, on_problem="drop")
    except DatasetError as error:
        one_line(str(error))
        return None


@pytest.mark.parametrize("layout", ["coco", "kaggle", "gwhd2021", "voc", "yolo", *TOOLS])
def test_damaged_annotations(tmp_path: Path, layout: str) -> None:
    planted = PlantedSet(tmp_path / "data", layout)
    target = planted.files["train"]
    if layout == "voc":
        target = planted.folder / "Annotations" / "t0.xml"
    if layout == "labelme":
        target = target / "t0.json"
    original = target.read_bytes()
    labels = planted.folder / "labels" / "train" / "t0.txt"
    rng, read = random.Random(layout), 0
    for n in range(ROUNDS):
        if layout == "yolo" and n % 2:
            target, original = labels, labels.read_bytes()
        target.write_bytes(damaged(original, rng))
        index = read_or_refuse(planted.folder)
        if index is not None:
            read += 1
            index.digest()
            assert all(str(f).isprintable() for f in index.findings)
        target.write_bytes(original)
    assert read > 0


def test_damaged_zip_files(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    original = archive.read_bytes()
    rng = random.Random(0)
    for n in range(ROUNDS):
        other = tmp_path / f"{n}.zip"
        other.write_bytes(damaged(original, rng))
        read_or_refuse(other)
        other.unlink()


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "ppm", "gif"])
def test_damaged_images(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    picture(1).save(file)
    original = file.read_bytes()
    rng = random.Random(ending)
    for _ in range(ROUNDS):
        file.write_bytes(damaged(original, rng))
        try:
            assert load_image(tmp_path, file.name).ndim == 3
        except DatasetError as error:
            one_line(str(error).replace(str(tmp_path), "\n"))


def test_ten_thousand_rows_with_one_bad_one(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data", "kaggle")
    rows = [f't0,96,64,"[{n % 80}, {n % 50}, 5, 5]",south\n' for n in range(10_000)]
    rows[7_000] = 't0,96,64,"[1, 2, x, 5]",south\n'
    with planted.files["train"].open("a") as file:
        file.writelines(rows)
    with pytest.raises(DatasetError, match=r"^train\.csv, line 7020: expected bbox"):
        read_dataset(planted.images, planted.files["train"])


def test_names_in_a_zip_that_lead_out_are_reported(tmp_path: Path) -> None:
    planted = PlantedSet(tmp_path / "data")
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    link = zipfile.ZipInfo("images/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("images/../../slip.png", (planted.images / "t0.png").read_bytes())
        packed.writestr(link, "/etc/passwd")
    result = check_dataset(find_dataset(archive))
    assert result.codes() == {"path-ignored": 2}
    assert [f.file for f in result.findings[""]] == ["images/../../slip.png", "images/link.png"]
    assert not list(tmp_path.rglob("slip.png"))


def test_zip_bomb_in_place_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that unpacks to more than an image may have is given up, by name."""
    monkeypatch.setattr("frostline.datasets.images.MAX_IMAGE_BYTES", 10_000_000)
    planted = PlantedSet(tmp_path / "data")
    (planted.images / "t0.png").unlink()
    archive = zip_folder(planted.folder, tmp_path / "data.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("images/t0.png", bytes(10_000_001))
    assert archive.stat().st_size < 100_000
    found = check_dataset(find_dataset(archive)).findings["train"]
    assert [f.code for f in found] == ["image-unreadable"]
    assert "t0.png: expected at most 10000000 bytes" in found[0].message


def test_formulae_in_names_are_only_names(tmp_path: Path) -> None:
    """In the data set they are kept; `dropped.csv` defuses them, see `test_cleaning`."""
    planted = PlantedSet(tmp_path / "data")
    planted.edit_json("train", lambda c: c["categories"][0].update(name="=1+1"))
    planted.edit_json("val", lambda c: c["categories"][0].update(name="=1+1"))
    result = check_dataset(find_dataset(planted.folder))
    assert result.ok
    assert result.splits["train"].classes == ("=1+1", "leaf")


@pytest.mark.parametrize("name", ["train.json", "train.json.gz"])
def test_reading_takes_the_memory_of_the_file(tmp_path: Path, name: str) -> None:
    """And not that of the largest file that would be read: a single read makes room for it."""
    planted = PlantedSet(tmp_path / "data")
    data = planted.files["train"].read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    tracemalloc.start()
    try:
        text = read_text(FolderTree(tmp_path), name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.encode() == data
    assert peak < 16 << 20


def test_zip_that_claims_to_hold_millions_of_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as packed:
        for n in range(3000):
            packed.writestr(f"{'d/' * 50}{n}.txt", b"")
    with pytest.raises(DatasetError, match="expected one data set in"):
        find_dataset(tmp_path / "d.zip")


ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_campaign_in_small(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/fuzz_data.py", "--mutants", "150", "--out", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    result = json.loads(out.read_text())
    assert (result["mutants"], result["crashes"]) == (150, 0)
    assert (result["executed"], result["opened_outside"]) == ({}, {})
    assert result["outcomes"]["read"] > 10
    assert result["outcomes"]["refused"] > 10
    assert set(result["by_layout"]) >= {"coco", "kaggle", "gwhd2021", "voc", "yolo", *TOOLS}


def test_the_guard_of_the_campaign_sees_what_it_is_for(tmp_path: Path) -> None:
    """In a process of its own: an audit hook cannot be taken away again."""
    (tmp_path / "set").mkdir()
    for name in ("secret", "set/inside"):
        (tmp_path / name).write_text("x")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "secret")
    code = (
        "import os, sys; sys.path.insert(0, 'benchmarks'); from fuzz_data import Watch\n"
        "watch, top = Watch(), sys.argv[1]\n"
        "watch.root = f'{top}/set'\n"
        "open(f'{top}/set/inside').close()\n"
        "assert not watch.outside and not watch.ran, (watch.outside, watch.ran)\n"
        "open(f'{top}/secret').close(); open(f'{top}/set/link').close()\n"
        "exec('1'); os.system('true')\n"
        "watch.root = ''\n"
        "print(sum(watch.outside.values()), sorted({name.split()[0] for name in watch.ran}))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path.resolve())]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "2 ['compile', 'exec', 'os.system']", ran.stderr[-2000:]
