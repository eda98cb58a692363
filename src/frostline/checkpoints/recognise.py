"""What a file is that holds no weights we read, and what to do about it: one line for a message."""

from typing import Final

from frostline.checkpoints.blobs import OpenFile
from frostline.checkpoints.messages import quoted
from frostline.checkpoints.zips import ZipEntry

__all__ = ["what_it_is", "what_the_zip_is"]

_HEAD: Final = 600  # bytes looked at
_UNPACK: Final = "unpack it first"
_FETCH: Final = "fetch the file again"
_SAVE: Final = "save the weights with torch.save or as .safetensors"

# First bytes -> (what it is, what to do).
_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive (.gz, .tar.gz)", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF\r\n", "an HDF5 file (Keras, h5py)", _SAVE),
    (b"GGUF", "a GGUF file (llama.cpp)", _SAVE),
    (b"PAR1", "a Parquet table", "give a weight file"),
    (b"SQLite format 3", "an SQLite database", "give a weight file"),
    (b"%PDF", "a PDF document", "give a weight file"),
    (b"\x89PNG", "a PNG image", "give a weight file"),
    (b"\xff\xd8\xff", "a JPEG image", "give a weight file"),
    (b"\x7fELF", "a program", "give a weight file"),
    (b"\x93NUMPY", "one array of numpy (.npy)", "save named arrays (numpy.savez)"),
    (b"7767517\n", "a network of ncnn", _SAVE),
)  # fmt: skip
# The beginning of a text, without case -> (what it is, what to do).
_TEXT: Final = (
    ("version https://git-lfs.github.com/spec", "a Git LFS pointer", "run git lfs pull"),
    ("version https://hawser", "a Git LFS pointer", "run git lfs pull"),
    ("/annex/objects/", "a pointer of git-annex", "run git annex get"),
    ("../.git/annex/", "a pointer of git-annex", "run git annex get"),
    (".git/annex/", "a pointer of git-annex", "run git annex get"),
    ("outs:\n", "a pointer of DVC", "run dvc pull"),
    ("<!doctype html", "an HTML page", "the download gave a page: log in, or take the direct link"),
    ("<html", "an HTML page", "the download gave a page: log in, or take the direct link"),
    ("<head", "an HTML page", "the download gave a page: log in, or take the direct link"),
    ("<?xml", "an XML document", "the server answered with an error: fetch the file again"),
    ("<error", "an XML document", "the server answered with an error: fetch the file again"),
    ("{", "a JSON document", "the weights lie beside it, or a server answered with an error"),
    ("[", "a JSON document", "the weights lie beside it, or a server answered with an error"),
)
_WEIGHTS: Final = (
    ".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz", ".pkl", ".pth.tar", ".distcp",
)  # fmt: skip


def what_it_is(file: OpenFile) -> str:
    """``a Git LFS pointer (132 bytes); run git lfs pull``, for a file that is no zip archive."""
    if file.size == 0:
        return f"an empty file; {_FETCH}"
    head = file.read(0, min(_HEAD, file.size))
    for start, name, advice in _MAGIC:
        if head.startswith(start):
            return f"{name}; {advice}"
    if head[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}"
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model; {_SAVE}"
    if not head.strip(b"\0"):
        return f"{file.size} bytes that begin with zeros; {_FETCH}"
    return _text(head, file.size) or (
        f"{file.size} bytes of something else; check the path, or fetch the file again"
    )


def _text(head: bytes, size: int) -> str:
    """What a text is; "" where the bytes are none."""
    try:
        text = head.decode("utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else a character was cut
            return ""
        text = head[: error.start].decode()
    if any(not c.isprintable() and c not in "\t\r\n" for c in text):
        return ""
    begin = text.lstrip().lower()
    for start, name, advice in _TEXT:
        if begin.startswith(start):
            return f"{name} ({size} bytes); {advice}"
    first = text.strip().partition("\n")[0][:40]
    return f"a text of {size} bytes ({quoted(first)}); check the path, or fetch the file again"


def what_the_zip_is(entries: dict[str, ZipEntry]) -> str:
    """The same for a zip archive without torch's or numpy's entries."""
    names = [name for name in entries if not name.endswith("/")]
    if any(name.endswith("model.weights.h5") for name in names):
        return f"a Keras model; {_SAVE}"
    exported = ("archive_format", "serialized_exported_program.json", "models/model.json")
    if any(name.endswith(exported) for name in names):
        return "an exported program (torch.export); save the state dict of the model it came from"
    if any(name.endswith("model.json") for name in names):
        return "a TorchScript archive of before torch 1.4; load it there and save the state dict"
    inside = [name for name in names if name.lower().endswith(_WEIGHTS)]
    if any(name.endswith("data.pkl") for name in names) or not inside:
        return (
            f"a zip archive of a folder ({len(names)} files, the first: "
            f"{quoted(names[0]) if names else 'none'}); {_UNPACK}"
        )
    return (
        f"a zip archive with {len(inside)} of weights among {len(names)} files, the first: "
        f"{quoted(inside[0])}; {_UNPACK}"
    )
