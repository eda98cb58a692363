import shutil
from pathlib import Path

import pytest

from frostline.datasets import DatasetIndex, read_dataset
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
    (root / "labels/train/a.txt").write_bytes(b"\xff\xff\xff")
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
