"""What labelling tools and tutorials write besides plain boxes, by hand."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from frostline.datasets import DatasetIndex, check_dataset, find_dataset, read_dataset, read_splits
from frostline.errors import DatasetError
from tests.datasets.samples import picture

# Pictures are 96 x 64.


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n, name in enumerate(("a.png", "b.png")):
        picture(n).save(tmp_path / "images" / name)
    return tmp_path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def boxes(index: DatasetIndex, file: str = "a.png") -> list[tuple[str, list[float]]]:
    (image,) = (image for image in index if image.file.endswith(file))
    pairs = zip(image.labels.tolist(), image.boxes.round(6).tolist(), strict=True)
    return [(index.classes[label - 1], box) for label, box in pairs]


def codes(index: DatasetIndex) -> list[str]:
    return [finding.code for finding in index.findings]


# --- csv -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.png,96,64,ear,1,2,30,40"),
        ("xmin,ymin,xmax,ymax,label,image_id", "1,2,30,40,ear,a.png"),
        ("Image_Path;Label;X1;Y1;X2;Y2", "images\\a.png;ear;1.0;2;30;40"),
        ('"filename","class","x_min","y_min","x_max","y_max"', '"a.png","ear","1","2","30","40"'),
        ("\ufefffile\tname\tleft\ttop\tright\tbottom\tweight", "a.png\tear\t1\t2\t30\t40\t9"),
    ],
)
def test_columns_are_known_by_their_names(root: Path, header: str, row: str) -> None:
    write(root / "labels.csv", f"{header}\r\n{row}\r\n")
    assert find_dataset(root).layout == "csv"
    index = read_dataset(root)
    assert boxes(index) == [("ear", [1.0, 2.0, 30.0, 40.0])]
    assert set(codes(index)) <= {"path-found"}


def test_row_without_corners_is_an_image_without_boxes(root: Path) -> None:
    write(root / "a.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,ear,1,2,30,40\nb.png,,,,,\n")
    index = read_dataset(root)
    assert (len(index), boxes(index, "b.png")) == (2, [])


def test_corners_from_0_to_1_are_parts_of_the_image(root: Path) -> None:
    write(root / "a.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,ear,0.25,0.5,0.5,1\n")
    index = read_dataset(root)
    assert boxes(index) == [("ear", [24.0, 32.0, 48.0, 64.0])]
    assert codes(index) == ["boxes-relative"]


def test_without_a_column_of_classes_there_is_one(root: Path) -> None:
    write(root / "a.csv", "image,xmin,ymin,xmax,ymax\na.png,1,2,30,40\n")
    index = read_dataset(root)
    assert boxes(index) == [("object", [1.0, 2.0, 30.0, 40.0])]
    assert codes(index) == ["class-unnamed"]


@pytest.mark.parametrize("name", ["a", "images/a", "a.png", "/srv/set/images/A"])
def test_names_without_an_ending(root: Path, name: str) -> None:
    write(root / "a.csv", f"image_id,label,xmin,ymin,xmax,ymax\n{name},ear,1,2,30,40\n")
    index = read_dataset(root)
    assert [image.file for image in index] == ["a.png"]
    assert set(codes(index)) <= {"path-found"}
    picture(5).save(root / "images" / "a.jpg")
    if name != "a.png":
        with pytest.raises(DatasetError, match=r"fits a\.jpg and a\.png: name one of them"):
            read_dataset(root)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("a.png,96,64,ear,1,2,x,40", "box-entry"),
        ("a.png,96,64,,1,2,30,40", "box-entry"),
        ("a.png,96,64,ear,1,2,,40", "box-entry"),
        (",96,64,ear,1,2,30,40", "row-values"),
        ("a.png,wide,64,ear,1,2,30,40", "row-values"),
        ("a.png,95,64,ear,1,2,30,40", "row-conflict"),
        ("a.png,96,64,ear,30,2,1,40", "box-inverted"),
        ("a.png,96,64,ear,1,2,30,nan", "box-not-finite"),
        ("a.png,96,64,ear,1,2,30", "row-columns"),
    ],
)
def test_bad_row_of_a_csv(root: Path, row: str, code: str) -> None:
    good = "a.png,96,64,ear,5,5,20,20"
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    file = write(root / "a.csv", f"{header}\n{good}\n{row}\n")
    with pytest.raises(DatasetError, match=r"^a\.csv, line 3: "):
        read_dataset(root / "images", file)
    index = read_dataset(root / "images", file, on_problem="drop")
    assert boxes(index)[0] == ("ear", [5.0, 5.0, 20.0, 20.0])
    assert codes(index) == [code]


def test_sizes_of_zero_are_not_known(root: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    rows = ["a.png,0,0,ear,1,2,30,40", "b.png,96,64,ear,1,2,30,40"]
    write(root / "a.csv", "\n".join([header, *rows]))
    index = read_dataset(root)
    assert [image.size for image in index] == [(96, 64), (96, 64)]
    assert codes(index) == ["size-unknown"]


# --- RetinaNet -----------------------------------------------------------------------------------


def test_retinanet_without_a_file_of_classes(root: Path) -> None:
    write(root / "annotations.csv", "images/b.png,1,2,30,40,leaf\nimages/a.png,,,,,\n")
    index = read_dataset(root)
    assert boxes(index, "b.png") == [("leaf", [1.0, 2.0, 30.0, 40.0])]
    assert boxes(index, "a.png") == []


@pytest.mark.parametrize("first", [0, 1])
def test_order_of_the_classes_is_that_of_their_ids(root: Path, first: int) -> None:
    write(root / "train.csv", "a.png,1,2,30,40,leaf\n")
    write(root / "class_mapping.csv", f"leaf,{first + 1}\near,{first}\n")
    assert read_splits(root)["train"].classes == ("ear", "leaf")


def test_class_that_the_file_of_classes_lacks(root: Path) -> None:
    write(root / "train.csv", "a.png,1,2,30,40,leaf\na.png,5,5,9,9,Leaf\n")
    write(root / "classes.csv", "leaf,0\n")
    with pytest.raises(DatasetError, match=r"train\.csv, line 2: expected one of the classes leaf"):
        read_splits(root)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("a.png,1,2,30,40", "row-columns"),
        (",1,2,30,40,ear", "row-values"),
        ("a.png,1,2,x,40,ear", "box-entry"),
        ("a.png,1,2,30,40,", "box-entry"),
    ],
)
def test_bad_row_of_retinanet(root: Path, row: str, code: str) -> None:
    rows = ["a.png,5,5,20,20,ear"] * 3
    file = write(root / "a.csv", "\n".join([*rows, row]) + "\n")
    with pytest.raises(DatasetError, match=r"^a\.csv, line 4: "):
        read_dataset(root / "images", file)
    assert codes(read_dataset(root / "images", file, on_problem="drop")) == [code]


# --- Open Images ---------------------------------------------------------------------------------

OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"


def test_rows_of_images_that_nobody_downloaded(root: Path) -> None:
    rows = ["a,xclick,/m/01,1,0.25,0.5,0.5,1,0", "zz,xclick,/m/01,1,0,1,0,1,0"]
    write(root / "boxes.csv", "\n".join([OPEN_IMAGES, *rows]))
    index = read_dataset(root)
    assert boxes(index) == [("/m/01", [24.0, 32.0, 48.0, 64.0])]
    assert codes(index) == ["images-absent"]
    assert index.findings[0].severity == "warning"
    assert index.findings[0].message.startswith("1 of 2 images are not in the folder")


def test_names_and_groups_of_open_images(root: Path) -> None:
    rows = ["a,x,/m/01,1,0,0.5,0,0.5,1", "a,x,/m/02,1,0.5,1,0.5,1,0"]
    write(root / "labels" / "detections.csv", "\n".join([OPEN_IMAGES, *rows]))
    write(root / "labels" / "classes.csv", "/m/01,Wheat\n/m/02,Oats\n/m/03,Rye\n")
    index = read_dataset(root / "images", root / "labels" / "detections.csv")
    assert sorted(boxes(index)) == [
        ("Oats", [48.0, 32.0, 96.0, 64.0]),
        ("Wheat", [0.0, 0.0, 48.0, 32.0]),
    ]
    assert index.images[0].crowd.tolist() == [True, False]


def test_folders_of_fiftyone(tmp_path: Path) -> None:
    for n, split in enumerate(("train", "validation")):
        (tmp_path / split / "data").mkdir(parents=True)
        picture(n).save(tmp_path / split / "data" / f"{split}1.jpg")
        rows = [f"{split}1,x,/m/01,1,0,0.5,0,0.5,0", "other,x,/m/01,1,0,0.5,0,0.5,0"]
        write(tmp_path / split / "labels" / "detections.csv", "\n".join([OPEN_IMAGES, *rows]))
        write(tmp_path / split / "metadata" / "classes.csv", "/m/01,Wheat\n")
    splits = read_splits(tmp_path)
    assert {name: len(index) for name, index in splits.items()} == {"train": 1, "val": 1}
    assert splits["val"].classes == ("Wheat",)
    assert boxes(splits["val"], ".jpg") == [("Wheat", [0.0, 0.0, 48.0, 32.0])]


def test_bad_row_of_open_images(root: Path) -> None:
    file = write(root / "boxes.csv", f"{OPEN_IMAGES}\na,x,/m/01,1,0,x,0,1,0\n")
    with pytest.raises(DatasetError, match=r"^boxes\.csv, line 2: expected LabelName, XMin"):
        read_dataset(root / "images", file)


# --- LabelMe -------------------------------------------------------------------------------------


def labelme(*shapes: dict[str, Any], **values: Any) -> dict[str, Any]:
    head = {"version": "5.2.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.png"}
    return {**head, "imageData": None, "imageHeight": 64, "imageWidth": 96, **values}


def shape(kind: str | None, *points: list[Any], **values: Any) -> dict[str, Any]:
    told = {} if kind is None else {"shape_type": kind}
    return {"label": "ear", "points": list(points), "group_id": None, "flags": {}, **told, **values}


@pytest.mark.parametrize(
    ("one", "box", "told"),
    [
        (shape("rectangle", [30, 40], [1, 2]), [1, 2, 30, 40], []),
        (shape("rectangle", [1, 2], [30, 2], [30, 40], [1, 40]), [1, 2, 30, 40], []),
        (shape("polygon", [1, 9], [30, 2], [20, 40]), [1, 2, 30, 40], ["outline-boxed"]),
        (shape(None, [1, 9], [30, 2], [20, 40]), [1, 2, 30, 40], ["outline-boxed"]),
        (shape("rotation", [10, 2], [20, 8], [16, 40], [6, 9]), [6, 2, 20, 40], ["outline-boxed"]),
        (shape("circle", [40, 30], [43, 34]), [35, 25, 45, 35], ["outline-boxed"]),  # radius 5
        (shape("mask", [1, 2], [30, 40], mask="iVBORw0KGgo="), [1, 2, 30, 40], []),
    ],
)
def test_shapes_of_labelme(root: Path, one: dict[str, Any], box: list[float], told: Any) -> None:
    write(root / "images" / "a.json", labelme(one))
    index = read_dataset(root)
    assert boxes(index) == [("ear", box)]
    assert codes(index) == told


def test_shapes_without_an_area_are_counted(root: Path) -> None:
    lines = [shape("line", [1, 1], [9, 9]), shape("point", [4, 4]), shape("point", [5, 5])]
    write(root / "images" / "a.json", labelme(shape("rectangle", [1, 2], [30, 40]), *lines))
    index = read_dataset(root)
    assert boxes(index) == [("ear", [1, 2, 30, 40])]
    assert codes(index) == ["shapes-unread"]
    assert index.findings[0].message.endswith("2 point and 1 line")


def test_shapes_of_one_group_are_one_object(root: Path) -> None:
    parts = [
        shape("polygon", [1, 2], [9, 2], [9, 9], group_id=1),
        shape("polygon", [20, 30], [30, 30], [30, 40], group_id=1),
        shape("polygon", [50, 5], [60, 5], [60, 9], group_id=1, label="leaf"),
        shape("rectangle", [2, 2], [4, 4]),
    ]
    write(root / "images" / "a.json", labelme(*parts))
    assert sorted(boxes(read_dataset(root))) == [
        ("ear", [1.0, 2.0, 30.0, 40.0]),
        ("ear", [2.0, 2.0, 4.0, 4.0]),
        ("leaf", [50.0, 5.0, 60.0, 9.0]),
    ]


@pytest.mark.parametrize("said", ["DSC_0001.jpg", "", None, "C:\\pictures\\old.png"])
def test_image_of_the_same_name_where_the_path_is_stale(root: Path, said: str | None) -> None:
    write(root / "images" / "a.json", labelme(shape("rectangle", [1, 2], [30, 40]), imagePath=said))
    index = read_dataset(root)
    assert [image.file for image in index] == ["a.png"]
    assert codes(index) == ["path-found"]


def test_files_in_a_folder_beside_that_of_the_images(root: Path) -> None:
    square = shape("rectangle", [1, 2], [30, 40])
    write(root / "labels" / "x.json", labelme(square, imagePath="..\\images\\b.png"))
    index = read_dataset(root)
    assert [image.file for image in index] == ["b.png"]
    assert not codes(index)


@pytest.mark.parametrize("outside", ["../../secret.png", "/etc/passwd", "..\\..\\..\\x.png"])
def test_path_that_leads_out_is_not_followed(root: Path, outside: str) -> None:
    picture(3).save(root.parent / "secret.png")
    write(root / "images" / "c.json", labelme(imagePath=outside))
    with pytest.raises(DatasetError, match=r"c\.json"):
        read_dataset(root)


def test_size_may_be_missing_and_bad_files_are_dropped(root: Path) -> None:
    square = shape("rectangle", [1, 2], [30, 40])
    write(root / "images" / "a.json", labelme(square, imageHeight=None, imageWidth=None))
    write(root / "images" / "b.json", '{"shapes": [')
    (found,) = find_dataset(root).splits.values()
    with pytest.raises(DatasetError, match=r"^b\.json: b\.json, line 1: expected JSON"):
        read_dataset(root / "images", found)
    index = read_dataset(root / "images", found, on_problem="drop")
    assert boxes(index) == [("ear", [1.0, 2.0, 30.0, 40.0])]
    assert codes(index) == ["annotation-unreadable"]


@pytest.mark.parametrize(
    "bad", [None, {}, shape("rectangle"), shape("rectangle", [1, "x"], [3, 4]), {"label": "ear"}]
)
def test_bad_shape(root: Path, bad: Any) -> None:
    write(root / "images" / "a.json", labelme(bad, shape("rectangle", [1, 2], [30, 40])))
    with pytest.raises(DatasetError, match=r"^a\.json, shapes\[0\]: expected a shape"):
        read_dataset(root)


# --- CVAT ----------------------------------------------------------------------------------------


def cvat(shapes: str, meta: str = "", image: str = "") -> str:
    labels = "".join(f"<label><name>{n}</name></label>" for n in ("leaf", "ear"))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        f"<meta>{meta or f'<task><labels>{labels}</labels></task>'}</meta>"
        f'<image id="0" name="a.png" width="96" height="64">{shapes}</image>{image}</annotations>'
    )


@pytest.mark.parametrize(
    ("one", "box", "told"),
    [
        ('<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/>', [1, 2, 30, 40], []),
        # 20 x 10 about (20, 20), turned by 90 degrees: 10 x 20
        (
            '<box label="ear" xtl="10" ytl="15" xbr="30" ybr="25" rotation="90"/>',
            [15, 10, 25, 30],
            ["outline-boxed"],
        ),
        (
            '<polygon label="ear" points="1.0,9.0;30.0,2.0;20.0,40.0"/>',
            [1, 2, 30, 40],
            ["outline-boxed"],
        ),
        (
            '<ellipse label="ear" cx="20" cy="30" rx="6" ry="4"/>',
            [14, 26, 26, 34],
            ["outline-boxed"],
        ),
        (
            '<ellipse label="ear" cx="20" cy="30" rx="6" ry="4" rotation="90"/>',
            [16, 24, 24, 36],
            ["outline-boxed"],
        ),
        (
            '<mask label="ear" rle="1, 2, 3" left="1" top="2" width="29" height="38"/>',
            [1, 2, 30, 40],
            ["outline-boxed"],
        ),
    ],
)
def test_shapes_of_cvat(root: Path, one: str, box: list[float], told: list[str]) -> None:
    write(root / "annotations.xml", cvat(one))
    assert find_dataset(root).layout == "cvat"
    index = read_dataset(root)
    assert index.classes == ("leaf", "ear")
    assert boxes(index) == [("ear", box)]
    assert codes(index) == told


def test_turned_box_by_half_a_right_angle(root: Path) -> None:
    one = '<box label="ear" xtl="10" ytl="10" xbr="30" ybr="30" rotation="45"/>'
    write(root / "annotations.xml", cvat(one))
    half = 10 * math.sqrt(2)  # a square stands on its corner
    ((_, box),) = boxes(read_dataset(root))
    assert box == pytest.approx([20 - half, 20 - half, 20 + half, 20 + half])


def test_what_cvat_has_besides(root: Path) -> None:
    others = (
        '<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/><tag label="blurred"/>'
        '<points label="ear" points="1,2"/><polyline label="ear" points="1,2;3,4"/>'
        '<skeleton label="ear"><points label="tip" points="1,2"/></skeleton>'
    )
    meta = (
        "<job><labels><label><name>ear</name><type>any</type></label><label><name>blurred</name>"
        "<type>tag</type></label><label><name>tip</name><parent>ear</parent></label></labels></job>"
    )
    write(root / "annotations.xml", cvat(others, meta))
    index = read_dataset(root)
    assert index.classes == ("ear",)
    assert boxes(index) == [("ear", [1.0, 2.0, 30.0, 40.0])]
    assert codes(index) == ["shapes-unread"]


def test_subsets_are_splits(root: Path) -> None:
    box = '<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    text = cvat(box, image=f'<image id="1" name="b.png" subset="valid">{box}</image>')
    write(root / "annotations.xml", text.replace('name="a.png"', 'name="a.png" subset="Train"'))
    splits = read_splits(root)
    assert {name: [i.file for i in index] for name, index in splits.items()} == {
        "train": ["a.png"],
        "val": ["b.png"],
    }
    assert check_dataset(find_dataset(root)).ok
    file = root / "annotations.xml"
    assert len(read_dataset(root / "images", file)) == 2
    with pytest.raises(DatasetError, match="expected one of its subsets train, val, got test"):
        read_dataset(root / "images", file, split="test")


def test_labels_that_the_file_does_not_list(root: Path) -> None:
    box = '<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    write(root / "annotations.xml", cvat(box, "<task/>"))
    assert read_dataset(root).classes == ("ear",)
    write(root / "annotations.xml", cvat(box.replace("ear", "oat")))
    with pytest.raises(DatasetError, match="expected one of the classes leaf, ear, got 'oat'"):
        read_dataset(root)


def test_tracks_of_a_video_are_refused(root: Path) -> None:
    file = write(root / "annotations.xml", '<annotations><track id="0" label="ear"/></annotations>')
    with pytest.raises(DatasetError, match="expected images, got tracks of a video"):
        read_dataset(root / "images", file)


def test_entities_are_refused(root: Path) -> None:
    text = cvat("").replace("<annotations>", '<!DOCTYPE x [<!ENTITY a "b">]><annotations>')
    file = write(root / "annotations.xml", text)
    with pytest.raises(DatasetError, match="DOCTYPE"):
        read_dataset(root / "images", file, layout="cvat")


@pytest.mark.parametrize(
    "bad",
    [
        '<box label="ear" xtl="1" ytl="2" xbr="30"/>',
        '<box xtl="1" ytl="2" xbr="30" ybr="40"/>',
        '<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40" rotation="x"/>',
        '<polygon label="ear" points="1,2;3"/>',
        '<polygon label="ear"/>',
        '<ellipse label="ear" cx="1"/>',
    ],
)
def test_bad_shape_of_cvat(root: Path, bad: str) -> None:
    write(root / "annotations.xml", cvat(bad))
    with pytest.raises(DatasetError, match=r"^annotations\.xml, line 2: expected a "):
        read_dataset(root)


# --- Create ML -----------------------------------------------------------------------------------


def createml(*sides: float, label: str = "ear") -> dict[str, Any]:
    keys = ("x", "y", "width", "height")
    return {"label": label, "coordinates": dict(zip(keys, sides, strict=False))}


def test_boxes_of_create_ml_by_their_middle(root: Path) -> None:
    data = [
        {"image": "a.png", "annotations": [createml(20, 30, 10, 20)]},
        {"imagefilename": "b.png", "annotation": []},
    ]
    write(root / "_annotations.createml.json", data)
    assert find_dataset(root).layout == "createml"
    index = read_dataset(root)
    assert boxes(index) == [("ear", [15.0, 20.0, 25.0, 40.0])]
    assert boxes(index, "b.png") == []
    assert not codes(index)


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ({"annotations": [createml(1, 2, 3, 4)]}, "[1]"),
        ({"image": "b.png", "annotations": {}}, "[1]"),
        ("b.png", "[1]"),
        ({"image": "b.png", "annotations": [createml(1, 2, 3)]}, "[1].annotations[0]"),
        ({"image": "b.png", "annotations": [createml(1, 2, 3, 4, label="")]}, "[1].annotations[0]"),
    ],
)
def test_bad_entry_of_create_ml(root: Path, bad: Any, place: str) -> None:
    good = {"image": "a.png", "annotations": [createml(20, 30, 10, 20)]}
    file = write(root / "a.json", [good, bad])
    with pytest.raises(DatasetError) as error:
        read_dataset(root / "images", file)
    assert str(error.value).startswith(f"a.json, {place}: expected ")


# --- VIA -----------------------------------------------------------------------------------------


def region(kind: str, attributes: dict[str, Any] | None = None, **numbers: Any) -> dict[str, Any]:
    told = {"class": "ear"} if attributes is None else attributes
    return {"shape_attributes": {"name": kind, **numbers}, "region_attributes": told}


def via(*regions: dict[str, Any], numbered: bool = False) -> dict[str, Any]:
    found: Any = {str(n): one for n, one in enumerate(regions)} if numbered else list(regions)
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": found, "file_attributes": {}}}


RECT: dict[str, Any] = {"x": 1, "y": 2, "width": 29, "height": 38}
QUARTER = math.pi / 2


@pytest.mark.parametrize(
    ("one", "box", "told"),
    [
        (region("rect", **RECT), [1, 2, 30, 40], []),
        (region("circle", cx=20, cy=30, r=5.5), [14.5, 24.5, 25.5, 35.5], ["outline-boxed"]),
        (region("ellipse", cx=20, cy=30, rx=6, ry=4), [14, 26, 26, 34], ["outline-boxed"]),
        (
            region("ellipse", cx=20, cy=30, rx=6, ry=4, theta=QUARTER),
            [16, 24, 24, 36],
            ["outline-boxed"],
        ),
        (
            region("polygon", all_points_x=[1, 30, 20], all_points_y=[9, 2, 40]),
            [1, 2, 30, 40],
            ["outline-boxed"],
        ),
    ],
)
def test_shapes_of_via(root: Path, one: Any, box: list[float], told: list[str]) -> None:
    write(root / "via_region_data.json", via(one))
    assert find_dataset(root).layout == "via"
    index = read_dataset(root)
    assert boxes(index) == [("ear", box)]
    assert codes(index) == told


def test_version_1_numbers_its_regions(root: Path) -> None:
    write(root / "via.json", via(region("rect", **RECT), numbered=True))
    assert boxes(read_dataset(root)) == [("ear", [1.0, 2.0, 30.0, 40.0])]


def test_regions_without_attributes_are_of_one_class(root: Path) -> None:
    square = region("polygon", {}, all_points_x=[1, 30, 20], all_points_y=[9, 2, 40])
    write(root / "via.json", via(square))
    index = read_dataset(root)
    assert boxes(index) == [("object", [1.0, 2.0, 30.0, 40.0])]
    assert codes(index) == ["class-unnamed", "outline-boxed"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"what": "ear", "note": ""},
        {"Class": "ear", "age": "3"},
        {"type": {"ear": True, "x": False}},
    ],
)
def test_attribute_that_is_the_class(root: Path, attributes: dict[str, Any]) -> None:
    write(root / "via.json", via(region("rect", attributes, **RECT)))
    assert boxes(read_dataset(root)) == [("ear", [1.0, 2.0, 30.0, 40.0])]


def test_attributes_that_may_all_be_the_class(root: Path) -> None:
    write(root / "via.json", via(region("rect", {"crop": "wheat", "stage": "ear"}, **RECT)))
    with pytest.raises(DatasetError, match=r"expected one region attribute.* got crop, stage"):
        read_dataset(root)


def test_csv_of_via(root: Path) -> None:
    columns = (
        *("#filename", "file_size", "file_attributes", "region_count", "region_id"),
        *("region_shape_attributes", "region_attributes"),
    )
    shape_text = json.dumps({"name": "rect", **RECT})
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(columns)
    rows.writerow(["a.png", 12, "{}", 1, 0, shape_text, '{"class":"ear"}'])
    rows.writerow(["b.png", 12, "{}", 0, 0, "{}", "{}"])
    write(root / "via_export.csv", text.getvalue())
    assert find_dataset(root).layout == "via"
    index = read_dataset(root)
    assert boxes(index) == [("ear", [1.0, 2.0, 30.0, 40.0])]
    assert boxes(index, "b.png") == []


@pytest.mark.parametrize(
    "bad",
    [
        region("rect", x=1, y=2, width=3),
        region("rect", {"class": ""}, **RECT),
        region("polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2]),
        {"shape_attributes": [], "region_attributes": {}},
        "rect",
    ],
)
def test_bad_region(root: Path, bad: Any) -> None:
    write(root / "via.json", via(region("rect", **RECT), bad))
    with pytest.raises(DatasetError, match=r"^via\.json, a\.png123 regions\[1\]: expected "):
        read_dataset(root)


def test_points_of_via_are_counted(root: Path) -> None:
    write(root / "via.json", via(region("rect", **RECT), region("point", cx=3, cy=4)))
    index = read_dataset(root)
    assert len(boxes(index)) == 1
    assert codes(index) == ["shapes-unread"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("{}.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,ear,1,2,30,40\n", "filename,x\n"),
        ("{}.xml", cvat('<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/>'), "<annotations><"),
    ],
)
def test_split_that_cannot_be_read_is_named_by_the_check(
    root: Path, name: str, good: str, bad: str
) -> None:
    files = {s: write(root / name.format(s), good) for s in ("train", "val")}
    location = find_dataset(root)
    write(files["val"], bad)
    found = check_dataset(location)
    assert [f.code for f in found.findings["val"]] == ["split-unreadable"]
    assert found.counts()["train"].boxes == 1


# --- among each other ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "layout"),
    [
        ("a.json", via(region("rect", **RECT)), "via"),
        ("a.json", [{"image": "a.png", "annotations": [createml(20, 30, 10, 20)]}], "createml"),
        ("a.json", labelme(shape("rectangle", [1, 2], [30, 40])), "labelme"),
        ("a.xml", cvat('<box label="ear" xtl="1" ytl="2" xbr="30" ybr="40"/>'), "cvat"),
        ("a.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,ear,1,2,30,40\n", "csv"),
        ("a.csv", "a.png,1,2,30,40,ear\n", "retinanet"),
        ("a.csv", f"{OPEN_IMAGES}\na,x,/m/01,1,0,0.5,0,0.5,1\n", "openimages"),
    ],
)
def test_a_file_alone_is_recognised(root: Path, name: str, content: Any, layout: str) -> None:
    file = write(root / name, content)
    assert find_dataset(root).layout == layout
    auto, named = (read_dataset(root / "images", file, layout=x) for x in ("auto", layout))
    assert boxes(auto) == boxes(named)
