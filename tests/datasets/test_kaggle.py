import gzip
from pathlib import Path

import pytest

from frostline.datasets import DatasetIndex, read_dataset
from frostline.datasets.kaggle import four_numbers
from frostline.errors import DatasetError
from tests.datasets.samples import picture

HEADER = "image_id,width,height,bbox,source"
ROWS = [
    'a,96,64,"[0.0, 10.5, 37.0, 11.0]",field_1',
    'a,96,64,"[50, 5, 20, 20]",field_1',
    'b,96,64,"[1.0, 2.0, 3.0, 4.0]",field_2',
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for n, name in enumerate(("a.jpg", "b.png", "c.jpg")):
        picture(n).save(folder / name)
    return folder


def read(images: Path, rows: list[str], *, header: str = HEADER, **options: object) -> DatasetIndex:
    file = images.parent / "train.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return read_dataset(images, file, **options)  # type: ignore[arg-type]


def test_reads(images: Path) -> None:
    index = read(images, ROWS)
    assert index.classes == ("wheat_head",)
    assert [(i.file, i.group, len(i.labels)) for i in index] == [
        ("a.jpg", "field_1", 2),
        ("b.png", "field_2", 1),
        ("c.jpg", None, 0),
    ]
    assert index.images[0].boxes.tolist() == [[0, 10.5, 37, 21.5], [50, 5, 70, 25]]
    assert [(f.severity, f.code) for f in index.findings] == [("note", "image-unlisted")]
    assert "1 images of the folder have no row, such as c.jpg" in index.findings[0].message


def test_images_without_rows_can_be_ignored(images: Path) -> None:
    index = read(images, ROWS, unlisted="ignore")
    assert [image.file for image in index] == ["a.jpg", "b.png"]
    assert "left out" in index.findings[0].message


def test_rows_without_a_box_are_empty_images(images: Path) -> None:
    index = read(images, [*ROWS, "c,96,64,,field_3"])
    assert index.images[2].group == "field_3"
    assert index.counts().empty_images == 1
    assert index.findings == ()


def test_gzip_and_byte_order_mark(images: Path) -> None:
    text = "\ufeff" + "\r\n".join([HEADER, *ROWS])
    file = images.parent / "train.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    assert read_dataset(images, file).counts().boxes == 3


def test_columns_in_another_order_and_without_source(images: Path) -> None:
    rows = ['"[1, 2, 3, 4]",64,96,a']
    index = read(images, rows, header="bbox,height,width,image_id")
    assert index.images[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert index.images[0].group is None


def test_class_name_may_be_given_but_only_one(images: Path) -> None:
    assert read(images, ROWS, classes=["ear"]).classes == ("ear",)
    with pytest.raises(DatasetError, match="expected one class for this layout, got ear, leaf"):
        read(images, ROWS, classes=["ear", "leaf"])


def test_images_in_a_folder_below(images: Path) -> None:
    (images / "train").mkdir()
    (images / "test").mkdir()
    for file in list(images.glob("*.*g")):
        file.rename(images / "train" / file.name)
    picture(9).save(images / "test" / "d.jpg")
    index = read(images, ROWS)
    assert [image.file for image in index] == ["train/a.jpg", "train/b.png", "train/c.jpg"]


def test_image_id_with_an_ending(images: Path) -> None:
    index = read(images, ['b.png,96,64,"[1.0, 2.0, 3.0, 4.0]",x'], unlisted="ignore")
    assert index.images[0].file == "b.png"


def test_two_images_of_one_name(images: Path) -> None:
    picture(5).save(images / "a.png")
    index = read(images, ROWS, unlisted="ignore")
    assert index.images[0].file == "a.jpg"
    assert [f.code for f in index.findings] == ["image-ambiguous", "image-unlisted"]


FAULTS = [
    ("row-columns", "a,96,64"),
    ("row-columns", "a,96,64,[1, 2, 3, 4],field_1"),  # quotes lost
    ("row-values", ',96,64,"[1, 2, 3, 4]",field_1'),
    ("row-values", 'a,96.5,64,"[1, 2, 3, 4]",field_1'),
    ("row-values", 'a,,64,"[1, 2, 3, 4]",field_1'),
    ("row-values", f'a,96,{"9" * 5000},"[1, 2, 3, 4]",field_1'),
    ("row-conflict", 'a,95,64,"[1, 2, 3, 4]",field_1'),
    ("row-conflict", 'a,96,64,"[1, 2, 3, 4]",field_2'),
    ("box-entry", 'a,96,64,"[1, 2, 3]",field_1'),
    ("box-entry", 'a,96,64,"one two three four",field_1'),
    ("box-entry", "a,96,64,\"__import__('os').system('true')\",field_1"),
    ("box-not-finite", 'a,96,64,"[1, 2, nan, 4]",field_1'),
    ("box-not-finite", 'a,96,64,"[1, 2, 1e999, 4]",field_1'),
    ("box-inverted", 'a,96,64,"[10, 2, -3, 4]",field_1'),
    ("box-empty", 'a,96,64,"[10, 2, 3, 0]",field_1'),
    ("box-outside", 'a,96,64,"[100, 2, 3, 4]",field_1'),
    ("image-missing", 'z,96,64,"[1, 2, 3, 4]",field_1'),
    ("path-outside", '../z,96,64,"[1, 2, 3, 4]",field_1'),
    ("path-outside", '/etc/z,96,64,"[1, 2, 3, 4]",field_1'),
]


@pytest.mark.parametrize(("code", "row"), FAULTS)
def test_bad_row_is_named_by_its_line(images: Path, code: str, row: str) -> None:
    rows = [*ROWS, row]
    with pytest.raises(DatasetError, match=r"^train\.csv, line 5: ") as caught:
        read(images, rows)
    assert "\n" not in str(caught.value)
    index = read(images, rows, on_problem="drop")
    assert [f.code for f in index.findings if f.severity == "error"] == [code]
    assert index.counts().boxes == 3
    assert len(index) == 3


def test_line_numbers_count_lines_and_not_rows(images: Path) -> None:
    with pytest.raises(DatasetError, match=r"^train\.csv, line 7: "):
        read(images, [*ROWS, "", 'a,96,64,"[1, 2,', "bad"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,PredictionString\na,b\n", "cannot recognise train.csv"),
        ("", "cannot recognise train.csv"),
        ("\0\0\0", "cannot recognise train.csv"),
    ],
)
def test_other_tables_are_not_recognised(images: Path, text: str, message: str) -> None:
    file = images.parent / "train.csv"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_dataset(images, file)
    with pytest.raises(DatasetError, match=r"train\.csv, line 1: expected columns image_id,width"):
        read_dataset(images, file, layout="kaggle")


def test_huge_cell_is_refused(images: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.csv, line 2: field larger than"):
        read(images, [f'a,96,64,"{"1" * 200_000}",x'])


def test_broken_gzip(images: Path) -> None:
    file = images.parent / "train.csv.gz"
    file.write_bytes(gzip.compress("\n".join([HEADER, *ROWS]).encode())[:-20])
    with pytest.raises(DatasetError, match=r"train\.csv\.gz: cannot be read"):
        read_dataset(images, file)


@pytest.mark.parametrize("text", ["[1, 2, 3]", "", "[]", "[1; 2; 3; 4]", "[a, b, c, d]"])
def test_four_numbers_refuses(text: str) -> None:
    assert four_numbers(text) is None
