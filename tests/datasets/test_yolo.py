import shutil
from pathlib import Path

import numpy as np
import pytest

from frostline.datasets import DatasetIndex, find_dataset, read_dataset, read_splits
from frostline.errors import DatasetError
from tests.datasets.samples import picture

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: {0: ear, 1: leaf}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training images, one without boxes, and one for validation."""
    for n, name in enumerate(("train/a.png", "train/b.png", "val/c.png")):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(n).save(file)
    labels(tmp_path, "train/a", "0 0.5 0.5 0.25 0.5\n1 0.125 0.25 0.25 0.5\n")
    labels(tmp_path, "val/c", "1 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text(YAML)
    return tmp_path


def labels(root: Path, name: str, text: str) -> None:
    file = root / "labels" / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def read(root: Path, annotations: str = "data.yaml", **options: object) -> DatasetIndex:
    return read_dataset(root, root / annotations, **options)  # type: ignore[arg-type]


def test_reads_a_split_of_data_yaml(root: Path) -> None:
    index = read(root, split="train")
    assert index.classes == ("ear", "leaf")
    assert [(i.file, len(i.labels)) for i in index] == [
        ("images/train/a.png", 2),
        ("images/train/b.png", 0),
    ]
    assert index.images[0].boxes.tolist() == [[36, 16, 60, 48], [0, 0, 24, 32]]
    assert index.images[0].labels.tolist() == [1, 2]
    assert index.findings == ()


@pytest.mark.parametrize("text", ["names: [ear, leaf]\n", "train:\nval: ''\nnames: [ear, leaf]\n"])
def test_yaml_with_names_alone_gives_the_names(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text)
    splits = read_splits(root)
    assert {name: [i.file for i in index] for name, index in splits.items()} == {
        "train": ["images/train/a.png", "images/train/b.png"],
        "val": ["images/val/c.png"],
    }
    assert splits["val"].classes == ("ear", "leaf")


def test_no_split_at_all_is_an_error(root: Path) -> None:
    with pytest.raises(DatasetError, match="expected the annotation file of at least one split"):
        read_splits(root, {})


def test_without_a_split_all_are_read(root: Path) -> None:
    assert len(read(root)) == 3


def test_split_that_is_not_there(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.yaml: expected a split test, got train, val"):
        read(root, split="test")


@pytest.mark.parametrize(
    ("images", "annotations", "files"),
    [
        (".", "images/val", ["images/val/c.png"]),
        ("images", "images/val", ["val/c.png"]),
        ("images/val", "images/val", ["c.png"]),
        ("images/val", "labels/val", ["c.png"]),
        ("images", "labels/val", ["val/c.png"]),
        (".", "labels/val", ["images/val/c.png"]),
    ],
)
def test_folders_of_images_or_labels(
    root: Path, images: str, annotations: str, files: list[str]
) -> None:
    index = read_dataset(root / images, root / annotations)
    assert [image.file for image in index] == files
    assert index.classes == ("ear", "leaf")  # from the data.yaml above
    assert index.counts().boxes == 1


def test_relative_paths(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for annotations in ("images/val", "labels/val", "data.yaml"):
        assert read_dataset("images", annotations).counts().boxes in (1, 3)


@pytest.mark.parametrize(
    "lines",
    ["./images/val/c.png\n", "images/val/c.png\n\n", "{root}/images/val/c.png\n"],
)
def test_list_of_images(root: Path, lines: str) -> None:
    (root / "val.txt").write_text(lines.format(root=root))
    assert [image.file for image in read(root, "val.txt")] == ["images/val/c.png"]
    (root / "data.yaml").write_text(YAML.replace("images/val", "val.txt"))
    assert [image.file for image in read(root, split="val")] == ["images/val/c.png"]


def test_list_in_a_folder_of_its_own(root: Path) -> None:
    (root / "lists").mkdir()
    (root / "lists" / "val.txt").write_text("images/val/c.png\n")
    assert read(root, "lists/val.txt").counts().boxes == 1


@pytest.mark.parametrize("lead", ["/home/me/set/", "data/", "C:\\sets\\", "../"])
def test_list_made_elsewhere(root: Path, lead: str) -> None:
    (root / "all.txt").write_text(f"{lead}images/train/b.png\n{lead}images/val/c.png\n")
    index = read(root, "all.txt")
    assert [image.file for image in index] == ["images/train/b.png", "images/val/c.png"]
    assert index.counts().boxes == 1


def test_list_of_images_that_are_nowhere(root: Path) -> None:
    (root / "all.txt").write_text("/home/me/z.png\nimages/val/c.png\n")
    index = read(root, "all.txt", on_problem="drop")
    assert [(f.code, f.line) for f in index.findings] == [("path-outside", 1)]


def test_list_with_faults(root: Path) -> None:
    (root / "val.txt").write_text("images/val/c.png\nimages/val/c.png\nimages/z.png\n../x.png\n")
    with pytest.raises(DatasetError, match=r"^val\.txt, line 2: expected each image once"):
        read(root, "val.txt")
    index = read(root, "val.txt", on_problem="drop")
    assert [(f.code, f.line) for f in index.findings] == [
        ("image-duplicate", 2),
        ("image-missing", 3),
        ("path-outside", 4),
    ]
    (root / "val.txt").write_text("\n")
    with pytest.raises(DatasetError, match="got an empty file"):
        read(root, "val.txt")


@pytest.mark.parametrize("path", ["../data", "/somewhere/else", "C:\\data", "."])
def test_paths_from_elsewhere_are_looked_for_in_the_folder(root: Path, path: str) -> None:
    text = f"path: {path}\ntrain: ../images/train\nval: [images/val]\nnames: [ear, leaf]\nnc: 2\n"
    (root / "data.yaml").write_text(text)
    assert len(read(root)) == 3


def test_absolute_folders_inside_the_root(root: Path) -> None:
    text = f"train: {root}/images/train\nnames: [ear, leaf]\n"
    (root / "data.yaml").write_text(text)
    assert len(read(root, split="train")) == 2


def test_images_and_labels_in_one_folder(root: Path) -> None:
    flat = root / "flat"
    flat.mkdir()
    picture(1).save(flat / "x.png")
    (flat / "x.txt").write_text("0 .5 .5 .5 .5")
    (flat / "readme.txt").write_text("hello")
    (flat / "classes.txt").write_text("kernel\n")
    index = read_dataset(flat, flat)
    assert index.classes == ("kernel",)
    assert index.counts().boxes == 1
    assert index.findings == ()


def test_without_names_classes_are_numbered_with_a_warning(root: Path) -> None:
    (root / "data.yaml").unlink()
    index = read_dataset(root / "images/train", root / "labels/train")
    assert index.classes == ("class_0", "class_1")
    assert [f.code for f in index.findings] == ["class-unnamed"]
    named = read_dataset(root / "images/train", root / "labels/train", classes=["x", "y", "z"])
    assert named.classes == ("x", "y", "z")
    assert named.findings == ()


def test_outlines_become_boxes(root: Path) -> None:
    labels(root, "train/a", "0 0.25 0.5 0.5 0.25 0.75 0.75\n")
    index = read(root, split="train")
    assert index.images[0].boxes.tolist() == [[24, 16, 72, 48]]
    assert [(f.severity, f.code) for f in index.findings] == [("note", "outline-boxed")]


def test_label_file_without_an_image(root: Path) -> None:
    labels(root, "train/z", "0 .5 .5 .5 .5")
    for annotations in ("images/train", "labels/train"):
        index = read_dataset(root, root / annotations)
        assert [(f.severity, f.code) for f in index.findings] == [
            ("warning", "label-without-image")
        ]


def test_flat_images_with_labels_of_two_splits(root: Path) -> None:
    flat = root / "flat"
    flat.mkdir()
    for n in range(3):
        picture(n).save(flat / f"{n}.png")
    for n, split in enumerate(("train", "val")):
        (root / "l" / split).mkdir(parents=True)
        (root / "l" / split / f"{n}.txt").write_text("0 .5 .5 .5 .5")
    kept = read_dataset(flat, root / "l" / "train")
    assert [(i.file, len(i.labels)) for i in kept] == [("0.png", 1), ("1.png", 0), ("2.png", 0)]
    ignored = read_dataset(flat, root / "l" / "train", unlisted="ignore")
    assert [image.file for image in ignored] == ["0.png"]


def test_no_labels_at_all(root: Path) -> None:
    shutil.rmtree(root / "labels")
    with pytest.raises(DatasetError, match="expected YOLO label files for the images of data"):
        read(root)


FAULTS = [
    ("row-values", "0 a b c d"),
    ("row-columns", "0 .5 .5 .5"),
    ("row-columns", "0 .5 .5 .5 .5 .9"),
    ("row-columns", "0 .5 .5 .5 .5 .9 .5 .5"),
    ("category-unknown", "2 .5 .5 .5 .5"),
    ("category-unknown", "-1 .5 .5 .5 .5"),
    ("category-unknown", "0.5 .5 .5 .5 .5"),
    ("category-unknown", "nan .5 .5 .5 .5"),
    ("box-not-relative", "0 48 32 10 10"),
    ("box-not-finite", "0 .5 .5 nan .5"),
    ("box-empty", "0 .5 .5 0 .5"),
    ("box-inverted", "0 .5 .5 -.5 .5"),
    ("box-outside", "0 1.3 .5 .4 .5"),
]


@pytest.mark.parametrize(("code", "row"), FAULTS)
def test_bad_row(root: Path, code: str, row: str) -> None:
    labels(root, "train/a", f"0 0.5 0.5 0.25 0.5\n\n{row}\n")
    with pytest.raises(DatasetError, match=r"^labels/train/a\.txt, line 3: "):
        read(root, split="train")
    index = read(root, split="train", on_problem="drop")
    assert [f.code for f in index.findings] == [code]
    assert index.counts().boxes == 1


def test_label_file_that_is_not_text(root: Path) -> None:
    (root / "labels/train/a.txt").write_bytes(b"\x81\xff\x00")
    with pytest.raises(DatasetError, match="expected UTF-8 text"):
        read(root, split="train")
    index = read(root, split="train", on_problem="drop")
    assert [f.code for f in index.findings] == ["annotation-unreadable"]


def test_missing_image_of_a_split(root: Path) -> None:
    (root / "images/train/a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"images/train/a\.png: .*expected a readable image"):
        read(root, split="train", check_files=False)  # sizes are nowhere else


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b", r"data\.yaml, line \d: expected plain YAML"),
        ("names: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("names: !!python/name:os.system x", "could not determine a constructor"),
        ("- a\n- b", "expected a YOLO data.yaml with names"),
        ("train: x", "expected a YOLO data.yaml with names"),
        ("names: []", "expected names as a list"),
        ("names: {0: a, x: b}", "by their numbers from 0"),
        ("names: {-1: a}", "by their numbers from 0"),
        ("names: [[a], b]", "expected names as a list"),
        ("names: [a]\nnc: 2", "expected 2 names, got 1"),
        ("names: [no, yes]", "in quotes"),
        ("names: [0x" + "f" * 9000 + "]", "expected names as a list"),
        ("names: [a]", "expected a split train, got none"),
        ("names: [a]\ntrain: ../../etc", "expected train to name a folder or a list inside"),
        ("names: [a]\ntrain: /etc", "inside the folder of this file"),
        ("names: [a]\ntrain: 7", "inside the folder of this file"),
        ("names: [a]\ntrain: nowhere", "inside the folder of this file"),
    ],
)
def test_bad_data_yaml(root: Path, text: str, message: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_yaml_aliases_do_not_multiply(root: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (root / "data.yaml").write_text("\n".join([*lines, "names: *a11"]))
    with pytest.raises(DatasetError, match="expected names as a list"):
        read(root)


# --- which label belongs to which image ----------------------------------------------------------

ROW = "0 .5 .5 .5 .5\n"


def boxes_of(index: DatasetIndex) -> dict[str, int]:
    return {image.file: len(image.labels) for image in index}


def write(root: Path, **files: str) -> None:
    """Text files, or pictures where there is no text; ``__`` stands for ``/``."""
    for n, (name, text) in enumerate(files.items()):
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = root / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text)
        else:
            picture(n).save(path)


def test_label_in_another_spelling_is_found_and_told(tmp_path: Path) -> None:
    write(tmp_path, images__A_png="", images__b_png="", labels__a_TXT=ROW, labels__b_txt=ROW)
    index = read_dataset(tmp_path, tmp_path / "images")
    assert boxes_of(index) == {"images/A.png": 1, "images/b.png": 1}
    assert sorted(f.code for f in index.findings) == ["class-unnamed", "path-found"]


def test_exact_label_wins_and_is_not_shared_by_another_spelling(tmp_path: Path) -> None:
    write(tmp_path, images__a_png="", images__A_png="", labels__a_txt=ROW)
    assert boxes_of(read_dataset(tmp_path, tmp_path / "images")) == {
        "images/A.png": 0,
        "images/a.png": 1,
    }


def test_two_labels_that_fit_are_an_error_with_both(tmp_path: Path) -> None:
    write(tmp_path, images__ab_png="", labels__AB_txt=ROW, labels__Ab_txt=ROW)
    with pytest.raises(DatasetError, match=r"ab\.png fits labels/AB\.txt and labels/Ab\.txt"):
        read_dataset(tmp_path, tmp_path / "images")


def test_folder_of_labels_with_another_name(tmp_path: Path) -> None:
    """Labels in ``labels/val`` of pictures in ``images/valid``; never those of another split."""
    write(tmp_path, images__train__a_png="", images__valid__a_png="", images__valid__b_png="")
    write(tmp_path, labels__train__a_txt=ROW, labels__val__a_txt="1 .5 .5 .1 .1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/valid\nnames: [x, y]\n")
    val = read(tmp_path, split="val")
    assert boxes_of(val) == {"images/valid/a.png": 1, "images/valid/b.png": 0}
    assert val.images[0].labels.tolist() == [2]
    assert [f.code for f in val.findings] == ["path-found"]


def test_labels_that_nothing_uses_are_a_warning(tmp_path: Path) -> None:
    write(tmp_path, images__train__a_png="", images__valid__b_png="", images__valid__c_png="")
    write(tmp_path, labels__train__a_txt=ROW, labels__val1__x_txt=ROW, labels__val2__y_txt=ROW)
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/valid\nnames: [x]\n")
    with pytest.raises(DatasetError, match=r"2 images of images/valid have no label file, and 2"):
        read(tmp_path, split="val")
    assert read(tmp_path, split="train").findings == ()


def test_captions_beside_images_are_no_labels(tmp_path: Path) -> None:
    write(tmp_path, images__a_png="", images__b_png="", labels__a_txt=ROW, images__b_txt="an ear")
    assert boxes_of(read_dataset(tmp_path, tmp_path / "images")) == {
        "images/a.png": 1,
        "images/b.png": 0,
    }


@pytest.mark.parametrize("empty", [("a",), ("c",), ("a", "b"), ("b", "c")])
def test_empty_labels_beside_images_wherever_they_stand(
    tmp_path: Path, empty: tuple[str, ...]
) -> None:
    for n, name in enumerate("abc"):
        picture(n).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("" if name in empty else ROW)
    assert boxes_of(read_dataset(tmp_path)) == {f"{n}.png": int(n not in empty) for n in "abc"}


def test_folders_that_differ_after_a_dot(tmp_path: Path) -> None:
    write(tmp_path, **{"images__v1.0__a_png": "", "labels__v1.0__a_txt": ROW})
    write(tmp_path, **{"images__v1.1__a_png": "", "labels__v1.1__a_txt": ROW})
    write(tmp_path, **{"images__v1.1__b.1_png": "", "labels__v1.1__b.2_txt": ROW})
    found = find_dataset(tmp_path)
    assert sorted(path.name for path in found.splits.values()) == ["v1.0", "v1.1"]
    second = read_dataset(tmp_path, tmp_path / "images" / "v1.1")
    assert boxes_of(second) == {"images/v1.1/a.png": 1, "images/v1.1/b.1.png": 0}
    assert "label-without-image" in [f.code for f in second.findings]


@pytest.mark.parametrize("split", ["train", "val"])
def test_split_that_is_named_and_not_there(root: Path, split: str) -> None:
    text = YAML + "test: ../test/images\n"
    (root / "data.yaml").write_text(text)
    index = read(root, split="train")
    assert [(f.severity, f.code) for f in index.findings] == [("note", "split-missing")]
    assert read(root, split="val").findings == ()
    with pytest.raises(DatasetError, match="expected a split test, got train, val"):
        read(root, split="test")
    (root / "data.yaml").write_text(text.replace(f"images/{split}", "images/nowhere"))
    with pytest.raises(DatasetError, match=f"expected {split} to name a folder"):
        read(root, split="train")


@pytest.mark.parametrize(
    "entry",
    [
        "images\\train",
        "/content/drive/set/images/train",
        "Images/Train",
        "images%2Ftrain",
        "set/images/train",
        "C:\\set\\images\\train\\",
    ],
)
def test_folders_of_data_yaml_in_any_spelling(root: Path, entry: str) -> None:
    (root / "data.yaml").write_text(YAML.replace("images/train", entry))
    index = read(root, split="train")
    assert sorted(boxes_of(index)) == ["images/train/a.png", "images/train/b.png"]


def test_folder_of_another_split_is_not_taken(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("val: images/val", "val: set/validation/images"))
    with pytest.raises(DatasetError, match="expected val to name a folder"):
        read(root)


# --- numbers and classes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        ('{"0": ear, "1": leaf}', ("ear", "leaf"), [1, 2]),
        ("[ear, ear]", ("ear",), [1, 1]),
        ("{0: ear, 1: leaf, 2: ear}", ("ear", "leaf"), [1, 2]),
        ("{1: leaf, 0: ear, 7: stem}", ("ear", "leaf", "stem"), [1, 2]),
        ("[0, 1]", ("0", "1"), [1, 2]),
    ],
)
def test_names_by_number(
    root: Path, names: str, classes: tuple[str, ...], labels: list[int]
) -> None:
    (root / "data.yaml").write_text(YAML.replace("{0: ear, 1: leaf}", names))
    index = read(root, split="train")
    assert index.classes == classes
    assert index.images[0].labels.tolist() == labels


def test_number_that_no_name_has(root: Path) -> None:
    (root / "data.yaml").write_text(YAML.replace("{0: ear, 1: leaf}", "{0: ear, 2: leaf}"))
    with pytest.raises(DatasetError, match="expected a class number out of 0, 2, got 1"):
        read(root, split="train")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels/classes.txt", "kernel\nhusk\n"),
        ("images/classes.txt", "kernel\nhusk\n"),
        ("obj.names", "kernel\nhusk\n"),
        ("my.names", "kernel\nhusk\n"),
        ("_darknet.labels", "kernel\nhusk\n"),
        ("notes.json", '{"categories": [{"id": 1, "name": "husk"}, {"id": 0, "name": "kernel"}]}'),
    ],
)
def test_files_of_class_names(root: Path, file: str, text: str) -> None:
    (root / "data.yaml").unlink()
    (root / file).write_text(text)
    index = read_dataset(root, root / "images" / "train")
    assert index.classes == ("kernel", "husk")
    assert index.findings == ()


def test_pose_rows_need_to_be_told(root: Path) -> None:
    pose = "0 0.5 0.5 0.2 0.2 " + " ".join(f"0.{45 + k} 0.5" for k in range(5)) + "\n"
    labels(root, "train/a", pose)
    with pytest.raises(DatasetError, match=r"kpt_shape: \[5, 2\]"):
        read(root, split="train")
    (root / "data.yaml").write_text(YAML + "kpt_shape: [5, 2]\n")
    index = read(root, split="train")
    np.testing.assert_allclose(index.images[0].boxes, [[38.4, 25.6, 57.6, 38.4]])
    assert [(f.severity, f.code) for f in index.findings] == [("note", "points-unread")]
    (root / "data.yaml").write_text(YAML + "task: segment\n")
    assert read(root, split="train").findings[0].code == "outline-boxed"
    (root / "data.yaml").write_text(YAML + "kpt_shape: [4, 2]\n")
    with pytest.raises(DatasetError, match="height and 8 numbers of points, got 15 values"):
        read(root, split="train")
    (root / "data.yaml").write_text(YAML + "kpt_shape: 5\n")
    with pytest.raises(DatasetError, match="expected kpt_shape"):
        read(root, split="train")


def test_corners_of_turned_boxes_are_boxed(root: Path) -> None:
    labels(root, "train/a", "0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n")
    index = read(root, split="train")
    assert index.images[0].boxes.tolist() == [[24, 16, 72, 48]]
    assert [f.code for f in index.findings] == ["outline-boxed"]


def test_images_that_share_a_label_are_told(tmp_path: Path) -> None:
    write(tmp_path, images__a_png="", images__a_bmp="", labels__a_txt=ROW, classes_txt="x")
    index = read_dataset(tmp_path, tmp_path / "images")
    assert boxes_of(index) == {"images/a.bmp": 1, "images/a.png": 1}
    assert [(f.severity, f.code) for f in index.findings] == [("warning", "label-shared")]


def test_the_data_yaml_that_is_named_is_the_one(root: Path) -> None:
    (root / "a.yaml").write_text("train: images/val\nnames: [x, y]\n")
    assert list(find_dataset(root / "data.yaml").splits.values()) == [root / "data.yaml"] * 2
    assert list(find_dataset(root / "a.yaml").splits.values()) == [root / "a.yaml"]
