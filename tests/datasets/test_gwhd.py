from pathlib import Path

import pytest

from frostline.datasets import DatasetIndex, read_dataset
from frostline.errors import DatasetError
from tests.datasets.samples import picture

HEADER = "image_name,BoxesString,domain"
ROWS = ["a.png,1 2 11 22;50 10 96 64,7", "b.png,no_box,9", "c.png,0 0 5 5,7"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for n, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
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
        ("a.png", "7", 2),
        ("b.png", "9", 0),
        ("c.png", "7", 1),
    ]
    assert index.images[0].boxes.tolist() == [[1, 2, 11, 22], [50, 10, 96, 64]]
    assert index.findings == ()  # an image that is not listed is no part of this layout


def test_more_columns_and_no_domain(images: Path) -> None:
    index = read(images, ["x,1 2 3 4,a.png"], header="official_split,BoxesString,image_name")
    assert index.images[0].group is None
    assert index.counts().boxes == 1


def test_image_with_two_rows_keeps_all_its_boxes(images: Path) -> None:
    index = read(images, [*ROWS, "a.png,20 20 30 30,8"])
    assert len(index.images[0].labels) == 3
    assert index.images[0].group == "7"
    (finding,) = index.findings
    assert (finding.severity, finding.code, finding.line) == ("warning", "image-two-rows", 5)
    assert "line 2 too" in finding.message


def test_without_the_images_the_published_size_is_assumed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    index = read(folder, ["a.png,1 2 1030.5 22,7", "b.png,no_box,1"], check_files=False)
    assert [(i.width, i.height) for i in index] == [(1031, 1024), (1024, 1024)]
    assert [(f.severity, f.code) for f in index.findings] == [("note", "size-assumed")]


FAULTS = [
    ("row-columns", "d.png,1 2 3 4"),
    ("row-values", ",1 2 3 4,7"),
    ("box-entry", "d.png,1 2 3,7"),
    ("box-entry", "d.png,1 2 3 x,7"),
    ("box-entry", "d.png,no box,7"),
    ("box-not-finite", "d.png,1 2 nan 4,7"),
    ("box-inverted", "d.png,10 2 5 4,7"),
    ("box-empty", "d.png,10 2 10 4,7"),
    ("box-outside", "d.png,1000 2 1010 40,7"),
    ("image-missing", "z.png,no_box,7"),
    ("path-outside", "../z.png,no_box,7"),
]


@pytest.mark.parametrize(("code", "row"), FAULTS)
def test_bad_row_is_named_by_its_line(images: Path, code: str, row: str) -> None:
    with pytest.raises(DatasetError, match=r"^train\.csv, line 5: "):
        read(images, [*ROWS, row])
    index = read(images, [*ROWS, row], on_problem="drop")
    assert [f.code for f in index.findings] == [code]
    assert index.counts().boxes == 3


def test_other_boxes_of_a_bad_row_are_kept(images: Path) -> None:
    index = read(images, ["d.png,1 2 3;4 5 6 7;9 9 8 8,7"], on_problem="drop")
    assert index.images[0].boxes.tolist() == [[4, 5, 6, 7]]
    assert [f.code for f in index.findings] == ["box-entry", "box-inverted"]
