"""Zip archives and numpy's npz in them, against zipfile and numpy."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.checkpoints import open_checkpoint
from frostline.checkpoints.blobs import OpenFile
from frostline.checkpoints.zips import read_directory
from frostline.errors import CheckpointError, UnsafeCheckpointError

ARRAYS = {
    "f8": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
    "big": np.arange(5, dtype=">i4"),
    "half": np.arange(5, dtype=np.float16),
    "flag": np.array([True, False]),
    "scalar": np.float64(3.5),
    "empty": np.zeros((0, 4)),
    "complex": np.array([1 + 2j]),
    "large": np.random.default_rng(0).standard_normal(300_000),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_equals_numpy(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "w.npz", **ARRAYS, note=np.array("some text"))
    checkpoint = open_checkpoint(tmp_path / "w.npz")
    assert checkpoint.format == "npz"
    assert list(checkpoint) == list(ARRAYS)  # text is no weight
    with np.load(tmp_path / "w.npz") as reference:
        for name in checkpoint:
            np.testing.assert_array_equal(checkpoint[name].read(), reference[name])
            assert checkpoint[name].shape == reference[name].shape


def test_npz_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(UnsafeCheckpointError, match="pickled objects"):
        open_checkpoint(tmp_path / "w.npz")


def npz(path: Any, data: Any, method: Any = zipfile.ZIP_STORED) -> Any:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", data)
    return path


def npy(header: Any, data: Any = b"", version: Any = b"\x01\x00") -> Any:
    text = header.encode("latin-1") + b"\n"
    width = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(text)) + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


def test_newer_header_versions(tmp_path: Path) -> None:
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        path = npz(tmp_path / "w.npz", npy(GOOD, np.ones(2, np.float32).tobytes(), version))
        assert open_checkpoint(path)["a"].read().sum() == 2


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMP", npy(GOOD), npy(GOOD, bytes(7)), npy(GOOD, bytes(9)),
        npy(GOOD.replace("<f4", "<f3"), bytes(8)), npy(GOOD.replace("(2,)", "(-2,)"), bytes(8)),
        npy(GOOD.replace("(2,)", "(" + "1," * 100 + ")"), bytes(4)),
        npy(GOOD.replace("(2,)", "(99999999999999999999,)"), bytes(8)),
        npy("__import__('os')", bytes(8)), npy(GOOD.replace("'<f4'", "[('a', '<f4')]"), bytes(8)),
        npy("{" * 5000, bytes(8)), npy(GOOD.replace("<f4", "|V4"), bytes(8)),
    ],
)  # fmt: skip
def test_damaged_arrays_are_refused(tmp_path: Path, data: Any) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with pytest.raises(CheckpointError, match=r"w\.npz"):
            open_checkpoint(npz(tmp_path / "w.npz", data, method))


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB."""
    header = GOOD.replace("(2,)", "(50000000,)")
    path = npz(tmp_path / "w.npz", npy(header, bytes(200_000_000)), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="bomb"):
        open_checkpoint(path)


def patched(path: Any, find: Any, replace: Any, *, last: Any = False) -> Any:
    data = path.read_bytes()
    at = data.rfind(find) if last else data.find(find)
    path.write_bytes(data[:at] + replace + data[at + len(find) :])
    return path


def test_a_deflated_entry_that_lies_about_its_size(tmp_path: Path) -> None:
    """It claims fewer bytes than it inflates to; what is beyond is never inflated."""
    path = npz(tmp_path / "w.npz", npy(GOOD, bytes(100_000)), zipfile.ZIP_DEFLATED)
    size = len(npy(GOOD, bytes(100_000)))
    patched(path, struct.pack("<I", size), struct.pack("<I", len(npy(GOOD)) + 8), last=True)
    assert open_checkpoint(path)["a"].read().sum() == 0


def test_a_deflated_entry_with_broken_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(50_000).tobytes()
    header = GOOD.replace("(2,)", "(100000,)")
    path = npz(tmp_path / "w.npz", npy(header, noise), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[200_000:200_400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum differs"):
        open_checkpoint(path)["a"].read()


def entries(path: Any) -> Any:
    return read_directory(OpenFile(path))


def test_directory_equals_zipfile(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"a comment of the archive" * 100
        for n in range(300):
            archive.writestr(f"dir/{n}", bytes([n % 256]) * n)
        with archive.open("big", "w", force_zip64=True) as big:
            big.write(b"x" * 1000)
    found = entries(path)
    with zipfile.ZipFile(path) as archive:
        assert list(found) == archive.namelist()
        for name, entry in found.items():
            assert entry.stream().read() == archive.read(name)


def local_header(data: Any) -> Any:
    return data.find(b"PK\x01\x02")


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(100))
        archive.writestr("b", bytes(100))
    data = bytearray(path.read_bytes())
    second = data.find(b"PK\x01\x02", local_header(data) + 4)
    data[second + 42 : second + 46] = bytes(4)  # b's local header is said to be that of a
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="overlaps"):
        entries(path)


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (8, b"\x01\x00", "encrypted"),
        (10, b"\x0c\x00", "compression"),
        (20, b"\xff\xff\xff\x7f", "two different sizes"),
        (42, b"\xff\xff\xff\x7f", "ends at"),
        (42, b"\x01\x00\x00\x00", "not where"),
        (28, b"\xff\xff", "damaged"),
        (0, b"XX", "damaged"),
    ],
)
def test_a_damaged_directory_is_refused(tmp_path: Path, offset: Any, value: Any, why: Any) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(100))
    data = bytearray(path.read_bytes())
    at = local_header(data) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=why):
        entries(path)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(CheckpointError, match="twice"):
        entries(path)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(5)]
)
def test_no_directory_at_all(tmp_path: Path, data: Any) -> None:
    (tmp_path / "w.zip").write_bytes(data)
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "w.zip")


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="expected a weight file"):
        open_checkpoint(tmp_path / "w.zip")


def test_zip64_records_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(100))
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    broken = bytes(data[: end + 16]) + b"\xff" * 4 + bytes(data[end + 20 :])
    path.write_bytes(broken)
    with pytest.raises(CheckpointError, match="zip64"):
        entries(path)
    at = local_header(data)
    data[at + 20 : at + 24] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="zip64"):
        entries(path)


def test_zip64_equals_zipfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As archives above 4 GB are written, with the limit moved to 100 bytes."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in (5, 200, 150):
            archive.writestr(f"e{n}", bytes([n]) * n)
    found = entries(path)
    with zipfile.ZipFile(path) as archive:
        assert list(found) == archive.namelist()
        for name, entry in found.items():
            assert entry.stream().read() == archive.read(name)


def test_a_large_stored_entry_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.checkpoints.zips._IN_MEMORY", 10)
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(range(100)))
    stream = entries(path)["a"].stream()
    assert stream.read(5) == bytes(range(5))
    assert stream.seek(0, 2) == 100
    assert stream.seek(90) == 90
    assert stream.read() == bytes(range(90, 100))
    assert entries(path)["a"].stream(limit=3).read() == bytes(range(3))


def test_a_compressed_entry_that_ends_early(tmp_path: Path) -> None:
    path = npz(tmp_path / "w.npz", npy(GOOD, bytes(8)), zipfile.ZIP_DEFLATED)
    size = len(npy(GOOD, bytes(8)))
    patched(path, struct.pack("<I", size), struct.pack("<I", size + 40), last=True)
    with pytest.raises(CheckpointError, match=r"end too early|bytes for shape"):
        open_checkpoint(path)["a"].read()
