"""Files that are no weights say what they are."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from frostline.checkpoints import open_checkpoint
from frostline.errors import CheckpointError


def tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("model/weights.pth")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"PK\3\4"))
    return buffer.getvalue()


def packed(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n"
CASES = {
    "lfs": (LFS, "a Git LFS pointer (64 bytes); run git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s5--ab.pth\n", "git annex get"),
    "dvc": (b"outs:\n- md5: 12\n  path: w.pth\n", "run dvc pull"),
    "html": (b"\n <HTML><body>Sign in</body></HTML>", "an HTML page"),
    "html with a mark": (b"\xef\xbb\xbf<!doctype html><p>404", "an HTML page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "answered with"),
    "json": (b'{"message": "Not Found"}', "a JSON document"),
    "text": (b"weights go here\n", "a text of 16 bytes ('weights go here')"),
    "empty": (b"", "an empty file; fetch the file again"),
    "zeros": (bytes(2000), "2000 bytes that begin with zeros"),
    "tar": (tar("w"), "a tar archive; unpack it first"),
    "tar.gz": (tar("w:gz"), "a gzip archive (.gz, .tar.gz); unpack it first"),
    "gz": (gzip.compress(b"x"), "gzip archive"),
    "bz2": (bz2.compress(b"x"), "bzip2 archive"),
    "xz": (lzma.compress(b"x"), "an xz archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5 file"),
    "gguf": (b"GGUF\3\0\0\0", "a GGUF file"),
    "npy": (b"\x93NUMPY\1\0", "one array of numpy"),
    "zip of weights": (packed("run/best.pth", "run/args.yaml"), "1 of weights among 2 files"),
    "zip of a folder": (packed("run/log.txt"), "a zip archive of a folder (1 files"),
    "zip of an unpacked file": (packed("a/b/data.pkl", "a/b/data/0"), "a zip archive of a folder"),
    "keras": (packed("config.json", "model.weights.h5"), "a Keras model"),
    "exported": (packed("m/archive_format", "m/data/weights/w"), "an exported program"),
    "old script": (packed("m/model.json", "m/tensors/0"), "before torch 1.4"),
    "noise": (bytes(range(1, 128)) + b"\xff\xfe", "129 bytes of something else"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_it_is(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "w.pth")
    message = str(caught.value)
    assert expected in message
    assert message.startswith("w.pth: expected ")
    assert "\n" not in message
    assert message.isprintable()


def test_an_index_that_was_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_bytes(LFS)
    with pytest.raises(CheckpointError, match="git lfs pull"):
        open_checkpoint(tmp_path)


def test_an_unpacked_file_of_torch(tmp_path: Path) -> None:
    (tmp_path / "data.pkl").write_bytes(b"\x80\x02}.")
    (tmp_path / "data").mkdir()
    with pytest.raises(CheckpointError, match="leave it packed"):
        open_checkpoint(tmp_path)
