import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.datasets import DatasetIndex, read_dataset
from frostline.datasets.checks import check_splits
from frostline.errors import DatasetError
from tests.datasets.samples import picture


class World:
    """Two images, three boxes; ``coco`` may be spoilt before it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.images = folder, folder / "images"
        self.images.mkdir()
        for n, name in enumerate(("a.png", "b.png")):
            picture(n).save(self.images / name)
        self.coco: dict[str, Any] = {
            "images": [
                {"id": 7, "file_name": "a.png", "width": 96, "height": 64, "source": "field"},
                {"id": 3, "file_name": "b.png", "width": 96, "height": 64},
            ],
            "annotations": [
                {"id": 0, "image_id": 3, "category_id": 9, "bbox": [1, 2, 10, 20], "iscrowd": 1},
                {"id": 1, "image_id": 7, "category_id": 4, "bbox": [0.5, 0, 10.25, 64]},
                {"id": 2, "image_id": 3, "category_id": 4, "bbox": [90, 60, 6, 4]},
            ],
            "categories": [{"id": 9, "name": "leaf"}, {"id": 4, "name": "ear"}],
        }

    def read(self, **options: Any) -> DatasetIndex:
        (self.folder / "a.json").write_text(json.dumps(self.coco))
        return read_dataset(self.images, self.folder / "a.json", **options)

    def refused(self) -> str:
        """The message that stops the reading; one line that names file and entry."""
        with pytest.raises(DatasetError) as caught:
            self.read()
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("a.json, ")
        return message

    def dropped(self) -> tuple[DatasetIndex, str]:
        """What is left when problems are dropped, and the code of the one finding."""
        index = self.read(on_problem="drop")
        assert len(index.findings) == 1, index.findings
        assert index.findings[0].severity == "error"
        return index, index.findings[0].code


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_reads(world: World) -> None:
    index = world.read()
    assert index.classes == ("ear", "leaf")  # by id: 4, 9
    assert [image.file for image in index] == ["a.png", "b.png"]
    assert [image.group for image in index] == ["field", None]
    a, b = index.images
    assert a.boxes.tolist() == [[0.5, 0, 10.75, 64]]
    assert b.boxes.tolist() == [[1, 2, 11, 22], [90, 60, 96, 64]]
    assert b.labels.tolist() == [2, 1]
    assert b.crowd.tolist() == [True, False]
    assert index.findings == ()


@pytest.mark.parametrize(("part", "key"), [("categories", "name"), ("images", "group")])
def test_names_of_classes_and_groups_are_text(world: World, part: str, key: str) -> None:
    """A record could not hold them, which only the end of a training would tell."""
    world.coco[part][0][key] = "half \ud800"
    with pytest.raises(DatasetError, match=r"in Unicode, got half \\ud800; rename it"):
        world.read()


def test_images_without_boxes_are_kept(world: World) -> None:
    world.coco["annotations"] = []
    assert [len(image.labels) for image in world.read()] == [0, 0]


def test_file_names_may_have_folders_and_backslashes(world: World) -> None:
    (world.images / "sub").mkdir()
    (world.images / "a.png").rename(world.images / "sub" / "a.png")
    world.coco["images"][0]["file_name"] = ".\\sub\\a.png"
    assert world.read().images[0].file == "sub/a.png"


def test_images_in_one_folder_below_the_root_are_found(world: World) -> None:
    (world.images / "train").mkdir()
    for name in ("a.png", "b.png"):
        (world.images / name).rename(world.images / "train" / name)
    index = world.read()
    assert [image.file for image in index] == ["train/a.png", "train/b.png"]
    assert index.findings == ()
    (world.images / "other").mkdir()
    picture(3).save(world.images / "other" / "b.png")
    assert "b.png fits other/b.png and train/b.png" in world.refused()


@pytest.mark.parametrize("unknown", [None, 0, "0", ""])
def test_size_may_be_left_out_or_zero(world: World, unknown: Any) -> None:
    for key in ("width", "height"):
        world.coco["images"][0][key] = unknown
    index = world.read()
    assert [image.size for image in index] == [(96, 64), (96, 64)]
    assert [f.code for f in index.findings] == ["size-unknown"]
    assert index.findings[0].message.startswith("1 of 2 images")


RUNS = {"size": [64, 96], "counts": [64 * 10 + 8, 20, 44, 20, 64 * 84 + 36]}  # columns 10 and 11


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 8, 30, 9, 20.5, 28]], [10, 8, 30, 28]),
        ([[10, 8, 30, 9, 20, 28], [40, 30, 50, 30, 50, 50]], [10, 8, 50, 50]),
        (RUNS, [10, 8, 12, 28]),
    ],
)
@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0]])
def test_box_around_an_outline_where_there_is_no_other(
    world: World, segmentation: Any, box: list[float], bbox: Any
) -> None:
    world.coco["annotations"][1] |= {"bbox": bbox, "segmentation": segmentation}
    index = world.read()
    assert index.images[0].boxes.tolist() == [box]
    assert [f.code for f in index.findings] == ["outline-boxed"]
    assert index.findings[0].message.startswith("1 objects have an outline")


def test_box_is_preferred_to_the_outline(world: World) -> None:
    world.coco["annotations"][1]["segmentation"] = [[1, 1, 2, 1, 2, 2]]
    index = world.read()
    assert index.images[0].boxes.tolist() == [[0.5, 0.0, 10.75, 64.0]]
    assert not index.findings


@pytest.mark.parametrize("bad", ["x", [[1, 2, 3]], {"size": [64, 96], "counts": [1]}, [[]]])
def test_outline_that_is_none(world: World, bad: Any) -> None:
    world.coco["annotations"][1] |= {"bbox": None, "segmentation": bad}
    assert "annotations[1]: expected " in world.refused()
    assert world.dropped()[1] == "outline-entry"


def test_sizes_may_be_whole_floats_and_ids_text(world: World) -> None:
    world.coco["images"][0] |= {"width": 96.0, "id": "x"}
    world.coco["annotations"][1]["image_id"] = "x"
    assert world.read().counts().boxes == 3


def test_classes_given_set_the_labels(world: World) -> None:
    index = world.read(classes=["leaf", "ear"])
    assert index.classes == ("leaf", "ear")
    assert index.images[1].labels.tolist() == [1, 2]


def test_box_of_a_class_that_is_not_given_is_a_problem(world: World) -> None:
    with pytest.raises(DatasetError, match=r"annotations\[0\]: expected one of the classes ear"):
        world.read(classes=["ear"])
    index = world.read(classes=["ear"], on_problem="drop")
    assert index.counts().boxes == 2
    assert [f.code for f in index.findings] == ["class-unknown"]


@pytest.mark.parametrize(("given", "meant"), [("EAR", "EAR"), ("eat", "eat"), ("Ear", "Ear")])
def test_class_that_is_nearly_one_is_suggested(world: World, given: str, meant: str) -> None:
    with pytest.raises(DatasetError, match=rf"got 'ear'; did you mean {meant}\?"):
        world.read(classes=["leaf", given])


def test_no_box_of_a_known_class_is_an_error_though_problems_are_dropped(world: World) -> None:
    with pytest.raises(DatasetError, match=r"^a\.json: none of the 3 boxes has a class of the tr"):
        world.read(classes=["wheat"], on_problem="drop")
    world.coco["annotations"] = []
    assert world.read(classes=["wheat"], on_problem="drop").counts().boxes == 0


BOX_FAULTS: list[tuple[str, Any, str]] = [
    ("box-entry", None, "expected bbox"),
    ("box-entry", [1, 2, 3], "expected bbox"),
    ("box-entry", [1, 2, 3, "four"], "expected bbox"),
    ("box-entry", [1, 2, 3, True], "expected bbox"),
    ("box-entry", "1 2 3 4", "expected bbox"),
    ("box-not-finite", [1, 2, float("nan"), 4], "four finite numbers"),
    ("box-not-finite", [1, 2, 3, float("inf")], "four finite numbers"),
    ("box-not-finite", [1, 2, 3, 10**400], "four finite numbers"),
    ("box-inverted", [10, 2, -3, 4], "x0 < x1"),
    ("box-empty", [10, 2, 3, 0], "an area"),
    ("box-outside", [97, 2, 3, 4], "at least half inside"),
    ("box-outside", [-8, 2, 10, 4], "at least half inside"),
    ("box-outside", [0, 0, 1e6, 1e6], "at least half inside"),
]


@pytest.mark.parametrize(("code", "box", "message"), BOX_FAULTS)
def test_bad_box(world: World, code: str, box: Any, message: str) -> None:
    world.coco["annotations"][1]["bbox"] = box
    assert message in world.refused()
    assert "annotations[1]" in world.refused()
    index, found = world.dropped()
    assert found == code
    assert index.counts().boxes == 2
    assert len(index) == 2


def test_box_that_sticks_out_is_clipped_and_counted(world: World) -> None:
    world.coco["annotations"][2]["bbox"] = [88, 60, 10, 4.5]
    index = world.read()
    assert index.images[1].boxes[1].tolist() == [88, 60, 96, 64]
    assert [(f.severity, f.code, f.entry) for f in index.findings] == [
        ("warning", "box-clipped", "annotations[2]")
    ]


def test_rounding_is_clipped_without_a_word(world: World) -> None:
    world.coco["annotations"][2]["bbox"] = [90, 60, 6.004, 4]
    index = world.read()
    assert index.images[1].boxes[1].tolist() == [90, 60, 96, 64]
    assert index.findings == ()


def spoil_annotation(key: str, value: Any) -> Any:
    return lambda coco: coco["annotations"][1].__setitem__(key, value)


ENTRY_FAULTS: list[tuple[str, Any]] = [
    ("category-unknown", spoil_annotation("category_id", 5)),
    ("category-unknown", spoil_annotation("category_id", None)),
    ("category-unknown", spoil_annotation("category_id", [4])),
    ("category-unknown", spoil_annotation("category_id", float("nan"))),
    ("image-unknown", spoil_annotation("image_id", 5)),
    ("image-unknown", spoil_annotation("image_id", {})),
    ("annotation-duplicate", spoil_annotation("id", 0)),
    ("annotation-entry", lambda coco: coco["annotations"].__setitem__(1, 17)),
]


@pytest.mark.parametrize(("code", "spoil"), ENTRY_FAULTS)
def test_bad_annotation_entry(world: World, code: str, spoil: Any) -> None:
    spoil(world.coco)
    assert "annotations[1]" in world.refused()
    index, found = world.dropped()
    assert found == code
    assert index.counts().boxes == 2


def spoil_image(**values: Any) -> Any:
    return lambda coco: coco["images"][0].update(values)


IMAGE_FAULTS: list[tuple[str, Any]] = [
    ("image-entry", spoil_image(file_name=None)),
    ("image-entry", spoil_image(file_name="")),
    ("image-entry", spoil_image(width="wide")),
    ("image-entry", spoil_image(width=float("nan"))),
    ("image-size", spoil_image(height=-64)),
    ("image-size", spoil_image(height=10**30)),
    ("size-mismatch", spoil_image(width=95)),
    ("image-missing", spoil_image(file_name="c.png")),
    ("path-outside", spoil_image(file_name="../images/z.png")),
    ("path-outside", spoil_image(file_name="/etc/passwd")),
    ("path-outside", spoil_image(file_name="..\\secret.png")),
    ("path-outside", spoil_image(file_name="C:\\z.png")),
    ("path-outside", spoil_image(file_name="a\0.png")),
]


@pytest.mark.parametrize(("code", "spoil"), IMAGE_FAULTS)
def test_bad_image_entry(world: World, code: str, spoil: Any) -> None:
    spoil(world.coco)
    assert "images[0]" in world.refused()
    index, found = world.dropped()
    assert found == code
    assert [image.file for image in index] == ["b.png"]
    assert index.counts().boxes == 2  # the box of the image went with it


@pytest.mark.parametrize("changes", [{"id": 7}, {"file_name": "a.png"}])
def test_image_that_is_listed_twice(world: World, changes: dict[str, Any]) -> None:
    world.coco["images"][1] |= changes
    assert "images[1]: expected each image once" in world.refused()
    index = world.read(on_problem="drop")
    assert [image.file for image in index] == ["a.png"]
    assert index.findings[0].code == "image-duplicate"


def test_image_without_an_id(world: World) -> None:
    del world.coco["images"][0]["id"]
    assert "images[0]: expected an image id" in world.refused()
    index = world.read(on_problem="drop")
    assert {f.code for f in index.findings} == {"image-entry", "image-unknown"}


def test_turned_image_is_told_from_a_wrong_size(world: World) -> None:
    spoil_image(width=64, height=96)(world.coco)
    assert "turned by a quarter" in world.refused()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_size_and_boxes_of_the_image_as_viewers_turn_it(world: World, orientation: int) -> None:
    seen = np.zeros((96, 64), np.uint8)  # as viewers show it
    seen[80:92, 10:30] = 255
    back = {5: (seen.T), 6: np.rot90(seen), 7: np.rot90(seen, 2).T, 8: np.rot90(seen, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(back[orientation]).save(world.images / "a.png", exif=exif)
    world.coco["images"][0] |= {"width": 64, "height": 96}
    world.coco["annotations"][1]["bbox"] = [10, 80, 20, 12]
    index = world.read()
    image = index.images[0]
    assert (image.size, image.boxes.tolist()) == ((64, 96), [[10.0, 80.0, 30.0, 92.0]])
    pixels = index.load(image)
    assert pixels[80:92, 10:30].min() == 255
    assert pixels.sum() == 255 * 3 * 12 * 20
    assert [f.code for f in index.findings] == ["image-turned"]
    assert "1 of 2 images" in index.findings[0].message
    result = check_splits({"train": index})
    assert "image-exif-rotation" not in result.codes()


def test_size_and_boxes_of_the_stored_pixels_stay(world: World) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0).save(world.images / "a.png", exif=exif)
    index = world.read()
    assert not index.findings
    assert np.array_equal(index.load(index.images[0]), np.asarray(picture(0)))
    assert check_splits({"train": index}).codes()["image-exif-rotation"] == 1


def test_unreadable_image(world: World) -> None:
    (world.images / "a.png").write_bytes(b"nothing")
    assert "images[0]: a.png: expected a readable image" in world.refused()
    assert world.dropped()[1] == "image-unreadable"


def test_link_that_leads_out_of_the_root(world: World) -> None:
    (world.images / "a.png").rename(world.folder / "secret.png")
    (world.images / "a.png").symlink_to(world.folder / "secret.png")
    assert "leads out of it" in world.refused()
    assert world.dropped()[1] == "path-outside"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.json, line 1: expected JSON"),
        ('{"images": [\n{"id": 1}', r"a\.json, line 2: expected JSON.*is the file complete"),
        ("[]", "found no list 'images'"),
        ('{"images": [], "annotations": {}, "categories": []}', "found no list 'annotations'"),
        ("[" * 100_000, "expected"),
        ('{"images": [' + "9" * 5000 + "]}", "expected COCO JSON"),
        ("\xff\xfe", "expected"),
    ],
)
def test_files_that_are_not_coco(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path, tmp_path / "a.json", on_problem="drop")


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{\n"a": "\x81\xe9"}')
    with pytest.raises(DatasetError, match=r"a\.json, line 2: expected UTF-8 text, got byte 0x81"):
        read_dataset(tmp_path, tmp_path / "a.json")


@pytest.mark.parametrize(
    "categories", [[{"id": 1}], [7], [{"id": 1, "name": "a"}] * 2, [{"id": "x", "name": "a"}]]
)
def test_bad_categories_stop_the_reading(world: World, categories: list[Any]) -> None:
    world.coco["categories"] = categories
    with pytest.raises(DatasetError, match=r"a\.json, categories\[\d\]: expected"):
        world.read(on_problem="drop")


def test_nothing_left_says_the_first_reason(world: World) -> None:
    for image in world.coco["images"]:
        image["width"] = 5
    with pytest.raises(
        DatasetError, match=r"found none; first of 2 problems: a\.json, images\[0\]"
    ):
        world.read(on_problem="drop")


def test_without_images(world: World) -> None:
    world.coco["images"] = world.coco["annotations"] = []
    with pytest.raises(DatasetError, match="expected at least one usable image"):
        world.read()


def test_one_bad_row_in_ten_thousand_is_named(world: World) -> None:
    rows = [
        {"id": n, "image_id": 7, "category_id": 4, "bbox": [n % 80, n % 50, 5, 5]}
        for n in range(10_000)
    ]
    rows[6543]["bbox"] = [3, 3, float("nan"), 5]
    world.coco["annotations"] = rows
    assert "a.json, annotations[6543]: expected four finite numbers" in world.refused()
    index, _ = world.dropped()
    assert index.counts().boxes == 9_999


def test_line_of_one_bad_row_in_ten_thousand_lines(world: World) -> None:
    row = '{"id": %d, "image_id": 7, "category_id": 4, "bbox": [%d, %d, 5, 5]}'
    rows = [row % (n, n % 80, n % 50) for n in range(10_000)]
    rows[6543] = rows[6543].replace("5]", '"five"]')
    head = json.dumps({k: world.coco[k] for k in ("images", "categories")}).removesuffix("}")
    file = world.folder / "a.json"
    file.write_text(head + ',\n"annotations": [\n' + ",\n".join(rows) + "\n]}\n")
    place = r"^a\.json, line 6546, annotations\[6543\]: expected bbox"
    with pytest.raises(DatasetError, match=place):
        read_dataset(world.images, file)
    (finding,) = read_dataset(world.images, file, on_problem="drop").findings
    assert (finding.line, finding.entry) == (6546, "annotations[6543]")


def test_names_cannot_draw_on_the_terminal(world: World) -> None:
    world.coco["images"][0]["file_name"] = "\x1b[2Jevil\nerror: all is well" + "x" * 500
    message = world.refused()
    assert "\x1b" not in message
    assert "\\x1b[2Jevil\\nerror" in message
    assert len(message) < 600


def test_boxes_do_not_wander_between_images(world: World) -> None:
    """Annotations in any order end up at their images, in their order within the image."""
    world.coco["annotations"] = [
        {"id": n, "image_id": (7, 3)[n % 2], "category_id": 4, "bbox": [n, 0, 1, 1]}
        for n in range(20)
    ]
    a, b = world.read().images
    assert np.array_equal(a.boxes[:, 0], np.arange(0, 20, 2))
    assert np.array_equal(b.boxes[:, 0], np.arange(1, 20, 2))


def test_names_that_no_file_can_have_are_missing_files(world: World) -> None:
    for name in ("x" * 5000 + ".png", "\ud800.png"):
        world.coco["images"][0]["file_name"] = name
        assert "images[0]" in world.refused()
