"""Text in the encodings that people's tools write."""

from pathlib import Path

import pytest

from frostline.datasets import read_dataset, read_splits
from frostline.datasets.decoding import decoded, decoded_xml
from frostline.datasets.xml_elements import parse_xml
from frostline.errors import DatasetError
from tests.datasets.samples import picture, record, voc_xml, yolo_text

CHINESE = ("小麦", "杂草", "人", "苹果\n香蕉\n", "车辆,行人")
JAPANESE = ("小麦", "りんご", "トマト", "ネコ 犬", "雑草の列")
WESTERN = ("Größe", "Ähre", "blé", "épi de blé\nmaïs\n", "señal", "Straße", "œuf")
CYRILLIC = ("пшеница", "колос", "Ёлка\nсорняк")  # noqa: RUF001 - it is Cyrillic


def pairs() -> list[tuple[str, str]]:
    return [
        *((text, "gbk") for text in CHINESE),
        *((text, "shift_jis") for text in JAPANESE),
        *((text, "cp1252") for text in WESTERN),
        *((text, "cp1251") for text in CYRILLIC),
    ]


@pytest.mark.parametrize(("text", "encoding"), pairs())
def test_encoding_is_told_by_common_characters(text: str, encoding: str) -> None:
    got, found = decoded(text.encode(encoding), "classes.txt")
    assert got == text
    assert found is not None


@pytest.mark.parametrize("text", [*CHINESE, *JAPANESE, *WESTERN, *CYRILLIC, "plain", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_utf8_and_marked_text_is_no_guess(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding), "classes.txt") == (text, None)


@pytest.mark.parametrize("data", [b"\x81\xff\x00", b"\xff\xfe\x00", b"\x00\xd8\xff"])
def test_what_is_no_text(data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"^a\.txt.*: expected "):
        decoded(data, "a.txt")


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        *((name, "gbk", text) for name in ("GBK", "gb2312", "GB18030") for text in CHINESE[:3]),
        *((name, "cp932", text) for name in ("Shift_JIS", "shift-jis") for text in JAPANESE),
        *((name, "cp1252", text) for name in ("ISO-8859-1", "latin1") for text in WESTERN[:6]),
        ("windows-1251", "cp1251", "колос"),
        ("KOI8-R", "koi8-r", "колос"),
        ("Big5", "big5", "小麥"),
        ("euc-kr", "euc-kr", "밀"),
        ("euc-jp", "euc-jp", "小麦"),
        ("ISO-2022-JP", "iso2022_jp", "小麦"),
        ("utf-8", "utf-8", "小麦"),
        ("gbk", "gb18030", "镕"),  # a rare character, which nobody would guess
    ],
)
def test_xml_is_read_in_the_encoding_it_declares(declared: str, encoding: str, text: str) -> None:
    data = f'<?xml version="1.0" encoding="{declared}"?>\r\n<a><b>{text}</b></a>'.encode(encoding)
    root = parse_xml(data, "a.xml")
    assert (root.value("b"), root.encoding) == (text.strip(), None)


@pytest.mark.parametrize(
    ("head", "encoding", "text"),
    [
        ("", "gbk", "小麦"),
        ("", "cp1252", "Ähre"),
        ('<?xml version="1.0" encoding="utf-8"?>', "gbk", "小麦"),
        ('<?xml version="1.0" encoding="utf-8"?>', "shift_jis", "りんご"),
        ('<?xml version="1.0"?>', "cp1252", "blé"),
        ('<?xml version="1.0" encoding="latin-1"?>', "utf-8", "Ähre"),
        ('<?xml version="1.0" encoding="GBK"?>', "utf-8", "小麦"),
        ('<?xml version="1.0" encoding="no-such-code"?>', "gbk", "小麦"),
        ('<?xml version="1.0" encoding="unicode_escape"?>', "gbk", "小麦"),
    ],
)
def test_xml_that_declares_another_encoding_or_none(head: str, encoding: str, text: str) -> None:
    root = parse_xml(f"{head}<a><b>{text}</b></a>".encode(encoding), "a.xml")
    assert root.value("b") == text
    assert root.encoding is not None


def test_xml_with_a_mark() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><a><b>小麦</b></a>'
    root = parse_xml(text.encode("utf-16"), "a.xml")
    assert (root.value("b"), root.encoding) == ("小麦", None)
    assert parse_xml(text.replace("16", "8").encode("utf-8-sig"), "a.xml").value("b") == "小麦"


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "utf-16", "utf-8"])
def test_entities_stay_forbidden_in_every_encoding(encoding: str) -> None:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;小麦</a>'
    )
    with pytest.raises(DatasetError, match="DOCTYPE"):
        parse_xml(text.encode(encoding), "a.xml")


def test_declared_name_is_no_codec_that_does_anything_else() -> None:
    for name in ("zlib", "hex", "rot13", "idna", "punycode", "utf-7", "unicode_escape", "mbcs"):
        data = f'<?xml version="1.0" encoding="{name}"?><a>x</a>'.encode()
        assert decoded_xml(data, "a.xml") == (data.decode(), None)


# --- in data sets --------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    picture(1).save(tmp_path / "images" / "a.png")
    return tmp_path


NAMES = [("gbk", "小麦"), ("cp932", "りんご"), ("cp1252", "blé")]
BOX = record("a.png", [[1, 2, 30, 40]])


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "小麦"), ("cp932", "りんご"), ("cp1252", "blé")]
)
def test_classes_txt(root: Path, encoding: str, name: str) -> None:
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text(yolo_text(BOX))
    (root / "classes.txt").write_bytes(f"{name}\r\n".encode(encoding))
    index = read_dataset(root)
    assert index.classes == (name,)
    assert [f.code for f in index.findings] == ["text-encoding"]


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "小麦"), ("cp932", "りんご"), ("cp1252", "blé")]
)
def test_csv(root: Path, encoding: str, name: str) -> None:
    text = f"filename,class,xmin,ymin,xmax,ymax\r\na.png,{name},1,2,30,40\r\n"
    (root / "a.csv").write_bytes(text.encode(encoding))
    index = read_dataset(root)
    assert index.classes == (name,)
    assert index.images[0].boxes.tolist() == [[1.0, 2.0, 30.0, 40.0]]
    assert [f.code for f in index.findings] == ["text-encoding"]


def test_names_of_images_in_a_list(root: Path) -> None:
    (root / "labels").mkdir()
    picture(2).save(root / "images" / "小麦.png")
    (root / "labels" / "小麦.txt").write_text(yolo_text(BOX))
    (root / "train.txt").write_bytes("images/小麦.png\r\n".encode("gbk"))
    (root / "data.yaml").write_text("train: train.txt\nval: train.txt\nnames: [ear]\n")
    index = read_dataset(root, root / "data.yaml", split="train")
    assert [image.file for image in index] == ["images/小麦.png"]
    assert "text-encoding" in {f.code for f in index.findings}


def test_voc_files_that_declare_nothing_are_counted(root: Path) -> None:
    picture(2).save(root / "images" / "b.png")
    (root / "Annotations").mkdir()
    for file in ("a", "b"):
        text = voc_xml(record(f"{file}.png", [[1, 2, 30, 40]]), ("小麦",))
        (root / "Annotations" / f"{file}.xml").write_bytes(text.encode("gbk"))
    splits = read_splits(root)
    assert splits["all"].classes == ("小麦",)
    told = [f.message for f in splits["all"].findings if f.code == "text-encoding"]
    assert told == ["2 files are not in the encoding that they say: read as gb18030"]
