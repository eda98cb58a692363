from pathlib import Path

import pytest

from frostline.datasets import DatasetIndex, read_dataset
from frostline.datasets.xml_elements import parse_xml
from frostline.errors import DatasetError
from tests.datasets.samples import picture, record, voc_xml

CLASSES = ("leaf", "ear")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """JPEGImages and Annotations of two images."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for n, name in enumerate(("a.png", "b.png")):
        picture(n).save(tmp_path / "JPEGImages" / name)
    first = record("a.png", [[1, 2, 11, 22], [50, 10, 96, 64]], [1, 2])
    write(tmp_path, "a", voc_xml(first, CLASSES))
    write(tmp_path, "b", voc_xml(record("b.png", []), CLASSES))
    return tmp_path


def write(root: Path, stem: str, text: str) -> None:
    (root / "Annotations" / f"{stem}.xml").write_text(text)


def edit(root: Path, old: str, new: str) -> None:
    file = root / "Annotations" / "a.xml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def read(root: Path, annotations: str = "Annotations", **options: object) -> DatasetIndex:
    return read_dataset(root / "JPEGImages", root / annotations, **options)  # type: ignore[arg-type]


def test_reads(root: Path) -> None:
    index = read(root)
    assert index.classes == ("ear", "leaf")  # in alphabetical order
    assert [image.file for image in index] == ["a.png", "b.png"]
    assert index.images[0].boxes.tolist() == [[1, 2, 11, 22], [50, 10, 96, 64]]
    assert index.images[0].labels.tolist() == [2, 1]
    assert len(index.images[1].labels) == 0
    assert index.findings == ()


def test_one_file(root: Path) -> None:
    assert len(read(root, "Annotations/a.xml")) == 1


def test_list_of_names(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_text("b\n\n")
    index = read(root, "ImageSets/Main/val.txt", classes=CLASSES)
    assert [image.file for image in index] == ["b.png"]


def test_list_that_was_made_for_one_class(root: Path) -> None:
    (root / "ImageSets/Main/ear_train.txt").write_text("a  1\nb -1\n")
    assert len(read(root, "ImageSets/Main/ear_train.txt")) == 2


def test_list_that_names_a_file_which_is_not_there(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_text("b\nz\n")
    with pytest.raises(DatasetError, match=r"z\.xml: .*expected a file in the data root"):
        read(root, "ImageSets/Main/val.txt")
    (root / "ImageSets/Main/val.txt").write_text("b\n../Annotations/z\n")
    with pytest.raises(DatasetError, match="inside the data root"):
        read(root, "ImageSets/Main/val.txt")


def test_list_without_annotations_above(root: Path) -> None:
    (root / "Annotations").rename(root / "other")
    (root / "ImageSets/Main/val.txt").write_text("b\n")
    with pytest.raises(DatasetError, match="expected a folder Annotations beside or above"):
        read(root, "ImageSets/Main/val.txt")


def test_coordinates_of_the_challenge_itself_count_from_one(root: Path) -> None:
    edit(root, "<size>", "<source><annotation>PASCAL VOC2007</annotation></source><size>")
    assert read(root).images[0].boxes.tolist() == [[0, 1, 11, 22], [49, 9, 96, 64]]


def test_image_named_like_the_file_is_taken_where_the_name_inside_is_wrong(root: Path) -> None:
    edit(root, "a.png</filename>", "IMG_001</filename>")
    assert read(root).images[0].file == "a.png"
    edit(root, "<filename>IMG_001</filename>", "")
    assert read(root).images[0].file == "a.png"


def test_files_beside_the_images_one_folder_a_split(tmp_path: Path) -> None:
    for n, split in enumerate(("train", "valid")):
        (tmp_path / split).mkdir()
        picture(n).save(tmp_path / split / "x.png")
        text = voc_xml(record("x.png", [[1, 2, 11, 22]]), CLASSES)
        (tmp_path / split / "x.xml").write_text(text)
    index = read_dataset(tmp_path, tmp_path / "valid")
    assert [image.file for image in index] == ["valid/x.png"]
    assert [image.file for image in read_dataset(tmp_path / "train", tmp_path / "train")] == [
        "x.png"
    ]


@pytest.mark.parametrize("size", ["<width>0</width>", "<width>x</width>", "<width>nan</width>"])
def test_size_that_the_writer_did_not_know_comes_from_the_image(root: Path, size: str) -> None:
    edit(root, "<width>96</width>", size)
    index = read(root)
    assert index.images[0].width == 96
    assert "size-unknown" in {f.code for f in index.findings}


def test_difficult_boxes_are_kept_and_told(root: Path) -> None:
    edit(root, "<difficult>0", "<difficult>1")
    index = read(root)
    assert index.counts().boxes == 2
    assert [(f.severity, f.code) for f in index.findings] == [("note", "box-difficult")]


FAULTS = [
    ("annotation-unreadable", "</annotation>", "", r"a\.xml, line \d: expected XML"),
    ("annotation-unreadable", "<annotation>", "<notes>", r"a\.xml"),
    ("box-entry", "<xmin>1.0</xmin>", "", "xmin, ymin, xmax, ymax"),
    ("box-entry", "<xmin>1.0</xmin>", "<xmin>one</xmin>", "xmin, ymin, xmax, ymax"),
    ("box-entry", "<name>leaf</name>", "<name> </name>", "name"),
    ("box-not-finite", "<xmin>1.0</xmin>", "<xmin>nan</xmin>", "four finite"),
    ("box-inverted", "<xmin>1.0</xmin>", "<xmin>12</xmin>", "x0 < x1"),
    ("box-empty", "<xmin>1.0</xmin>", "<xmin>11</xmin>", "an area"),
    ("box-outside", "<ymax>22.0</ymax>", "<ymax>2200</ymax>", "half inside"),
    ("size-mismatch", "<width>96</width>", "<width>97</width>", "as annotated"),
    ("image-size", "<width>96</width>", "<width>-3</width>", "image size"),
    ("path-outside", "a.png</filename>", "../../z.png</filename>", "leads out"),
    ("path-outside", "a.png</filename>", "/etc/passwd</filename>", "leads out"),
    ("image-missing", "a.png</filename>", "z.png</filename>", "found none"),
]


@pytest.mark.parametrize(("code", "old", "new", "message"), FAULTS)
def test_bad_file(root: Path, code: str, old: str, new: str, message: str) -> None:
    if code == "image-missing":
        (root / "JPEGImages" / "a.png").unlink()
    edit(root, old, new)
    with pytest.raises(DatasetError, match=message) as caught:
        read(root, classes=CLASSES)
    assert str(caught.value).startswith("a.xml")
    assert "\n" not in str(caught.value)
    index = read(root, classes=CLASSES, on_problem="drop")
    assert [f.code for f in index.findings] == [code]


def test_box_is_named_by_the_line_of_its_object(root: Path) -> None:
    edit(root, "<xmin>50.0</xmin>", "<xmin>97</xmin>")
    with pytest.raises(DatasetError, match=r"^a\.xml, line 5: expected x0 < x1"):
        read(root)


def test_two_files_for_one_image(root: Path) -> None:
    write(root, "c", voc_xml(record("a.png", []), CLASSES))
    with pytest.raises(DatasetError, match=r"^c\.xml, line 1: expected each image once"):
        read(root)


def test_folder_without_xml(root: Path) -> None:
    with pytest.raises(DatasetError, match="expected VOC XML files"):
        read(root, "ImageSets", layout="voc")


BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""
OUTSIDE = """<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<annotation><filename>&x;</filename></annotation>"""
REMOTE = """<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd"><annotation/>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, REMOTE])
def test_entities_are_refused_with_their_doctype(root: Path, text: str) -> None:
    write(root, "a", text)
    with pytest.raises(DatasetError, match=r"a\.xml, line \d: expected plain XML, got a DOCTYPE"):
        read(root)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected XML, got no element found"),
        (b"<a>" * 1000, "nested deeper than 64"),
        (b"<a>&undefined;</a>", "undefined entity"),
        (b"\x00\x01\x02", "expected XML"),
    ],
)
def test_parse_xml_refuses(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_xml(data, "a.xml")


def test_parse_xml_reads_the_declared_encoding() -> None:
    data = '<?xml version="1.0" encoding="iso-8859-1"?>\n<a>\n<b> Ähre </b></a>'.encode("latin-1")
    root = parse_xml(data, "a.xml")
    found = root.find("b")
    assert found is not None
    assert (root.value("b"), found.line) == ("Ähre", 3)
    assert root.value("b/c") is None
