"""Plants one fault at a time into a clean set."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frostline.datasets import DatasetIndex
from tests.datasets import samples
from tests.datasets.samples import SIZE, picture, random_index
from tests.datasets.tools import TOOLS

NAN = float("nan")


class PlantedSet:
    """A clean set of 6 training and 4 validation images, in one layout, to be spoilt."""

    def __init__(self, folder: Path, layout: str = "coco") -> None:
        self.folder, self.layout = folder, layout
        self.outside = folder.parent / "outside"
        self.outside.mkdir(parents=True)
        self.images = folder / "images"
        classes = ("wheat_head",) if layout in ("kaggle", "gwhd2021") else ("ear", "leaf")
        source = folder.parent / "source" / "images" if layout == "yolo" else self.images
        self.clean: dict[str, DatasetIndex] = {
            "train": random_index(source, "t", 6, 1, classes, empty=None),
            "val": random_index(source, "v", 4, 2, classes, empty=None),
        }
        folder.mkdir(exist_ok=True)
        writer = {
            "coco": samples.write_coco,
            "kaggle": samples.write_kaggle,
            "gwhd2021": samples.write_gwhd,
            "voc": samples.write_voc,
            "yolo": samples.write_yolo,
            **TOOLS,
        }[layout]
        self.files = writer(self.clean, folder)

    def edit_json(self, split: str, change: Callable[[dict[str, Any]], Any]) -> None:
        coco = json.loads(self.files[split].read_text())
        change(coco)
        self.files[split].write_text(json.dumps(coco))

    def image(self, **values: Any) -> None:
        """Change the first training image's entry."""
        self.edit_json("train", lambda coco: coco["images"][0].update(values))

    def box(self, **values: Any) -> None:
        """Change the first training box's entry."""
        self.edit_json("train", lambda coco: coco["annotations"][0].update(values))

    def save(self, name: str, image: Image.Image, **options: Any) -> None:
        image.save(self.images / name, **options)

    def append(self, split: str, row: str) -> None:
        with self.files[split].open("a") as file:
            file.write(row + "\n")

    def replace(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))


Plant = Callable[[PlantedSet], Any]


@dataclass(frozen=True)
class Fault:
    """A fault, the code under which it must be found, and the name that must be told with it."""

    name: str
    code: str
    severity: str
    plant: Plant
    told: str = ""
    layout: str = "coco"


def _truncate(planted: PlantedSet) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    planted.save("t0.png", Image.fromarray(noise))
    file = planted.images / "t0.png"
    file.write_bytes(file.read_bytes()[:9000])


def _turned(planted: PlantedSet) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    planted.save("t0.png", picture(1000), exif=exif)


def _link_outside(planted: PlantedSet) -> None:
    (planted.images / "t0.png").rename(planted.outside / "t0.png")
    (planted.images / "t0.png").symlink_to(planted.outside / "t0.png")


def _linked_folder(planted: PlantedSet) -> None:
    (planted.images / "t0.png").rename(planted.outside / "t0.png")
    (planted.images / "sub").symlink_to(planted.outside)
    planted.image(file_name="sub/t0.png")


def _bomb(side: int) -> Plant:
    """A PNG of a hundred bytes whose header promises millions of pixels."""

    def plant(planted: PlantedSet) -> None:
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        parts = [b"\x89PNG\r\n\x1a\n"]
        for tag, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")):
            crc = struct.pack(">I", zlib.crc32(tag + data))
            parts.append(struct.pack(">I", len(data)) + tag + data + crc)
        (planted.images / "t0.png").write_bytes(b"".join(parts))
        planted.image(width=side, height=side)

    return plant


def _reencode(planted: PlantedSet) -> None:
    """A training image again in validation: smaller, as JPEG, a little brighter."""
    image = Image.open(planted.images / "t1.png").convert("RGB")
    image = image.resize((72, 48)).point(lambda v: min(255, v + 6))
    planted.save("v0.png", image.resize(SIZE))
    planted.save("v0.jpg", Image.open(planted.images / "v0.png"), quality=60)
    (planted.images / "v0.png").unlink()
    planted.edit_json("val", lambda coco: coco["images"][0].update(file_name="v0.jpg"))


def _same_pixels(target: str) -> Plant:
    def plant(planted: PlantedSet) -> None:
        file = planted.images / "t1.png"
        Image.open(file).save(planted.images / target, compress_level=1)

    return plant


def _truncated_jpeg(planted: PlantedSet) -> None:
    planted.save("t0.jpg", picture(1000), quality=95)
    file = planted.images / "t0.jpg"
    file.write_bytes(file.read_bytes()[:-600])
    (planted.images / "t0.png").unlink()
    planted.image(file_name="t0.jpg")


def _unused_link(planted: PlantedSet) -> None:
    picture(5).save(planted.outside / "secret.png")
    (planted.images / "z.png").symlink_to(planted.outside / "secret.png")


def _unused_linked_folder(planted: PlantedSet) -> None:
    (planted.images / "sub").symlink_to(planted.outside)


def _in_both(planted: PlantedSet) -> None:
    entry = {"id": 99, "file_name": "t0.png", "width": SIZE[0], "height": SIZE[1]}
    planted.edit_json("val", lambda coco: coco["images"].append(entry))


def _double(box: list[float], category: int = 1) -> Plant:
    """The first box again, with this added to its x, y, width and height."""
    entry = {"id": 999, "image_id": 1, "category_id": category, "area": 1, "iscrowd": 0}

    def plant(planted: PlantedSet) -> None:
        x0, y0, x1, y1 = planted.clean["train"].images[0].boxes[0].tolist()
        first = [x0 + box[0], y0 + box[1], x1 - x0 + box[2], y1 - y0 + box[3]]
        planted.edit_json("train", lambda c: c["annotations"].append(entry | {"bbox": first}))

    return plant


def _no_boxes_of(split: str, category: int) -> Plant:
    def change(coco: dict[str, Any]) -> None:
        kept = [a for a in coco["annotations"] if a["category_id"] != category]
        coco["annotations"] = kept

    return lambda planted: planted.edit_json(split, change)


def _small_boxes(planted: PlantedSet) -> None:
    def change(coco: dict[str, Any]) -> None:
        for entry in coco["annotations"][::2]:
            entry["bbox"][2:] = [4, 4]

    planted.edit_json("train", change)


def _thin_boxes(planted: PlantedSet) -> None:
    def change(coco: dict[str, Any]) -> None:
        for n, entry in enumerate(coco["annotations"][::2]):
            entry["bbox"] = [0, 2 * n, 90, 6]

    planted.edit_json("train", change)


def _extra_class(name: str) -> Plant:
    def change(coco: dict[str, Any]) -> None:
        coco["categories"].append({"id": 3, "name": name})
        coco["annotations"][0]["category_id"] = 3

    return lambda planted: planted.edit_json("train", change)


def _blank(planted: PlantedSet) -> None:
    planted.save("t0.png", Image.new("RGB", SIZE, (7, 7, 7)))


def _unused_class(planted: PlantedSet) -> None:
    extra = {"id": 3, "name": "stem"}
    planted.edit_json("train", lambda coco: coco["categories"].append(extra))


def _row(row: str) -> Plant:
    return lambda planted: planted.append("train", row)


def _gwhd_box(box: str) -> Plant:
    """A box more in the row of the first training image."""
    return lambda p: p.replace(p.files["train"], "t0.png,", f"t0.png,{box};")


def _voc(old: str, new: str) -> Plant:
    return lambda p: p.replace(p.folder / "Annotations" / "t0.xml", old, new)


def _no_xmin(planted: PlantedSet) -> None:
    for old, new in (("<xmin>", "<x>"), ("</xmin>", "</x>")):
        _voc(old, new)(planted)


def _yolo_row(row: str) -> Plant:
    def plant(planted: PlantedSet) -> None:
        with (planted.folder / "labels" / "train" / "t0.txt").open("a") as file:
            file.write(row + "\n")

    return plant


def _yolo_orphan(planted: PlantedSet) -> None:
    (planted.folder / "labels" / "train" / "z.txt").write_text("0 .5 .5 .5 .5")


E, W, N = "error", "warning", "note"
_ENTRY = "annotations[0]"

FAULTS = [
    # files and paths
    Fault("no such image", "image-missing", E, lambda p: p.image(file_name="z.png"), "z.png"),
    Fault("not an image", "image-unreadable", E,
          lambda p: (p.images / "t0.png").write_text("hello"), "t0.png"),
    Fault("empty file", "image-unreadable", E,
          lambda p: (p.images / "t0.png").write_bytes(b""), "t0.png"),
    Fault("truncated image", "image-undecodable", E, _truncate, "t0.png"),
    Fault("image bomb", "image-unreadable", E, _bomb(10_000), "at most 89478485 pixels"),
    Fault("larger image bomb", "image-unreadable", E, _bomb(60_000), "at most 89478485 pixels"),
    Fault("dots in the path", "path-outside", E,
          lambda p: p.image(file_name="../outside/a.png"), "../outside/a.png"),
    Fault("absolute path", "path-outside", E,
          lambda p: p.image(file_name="/etc/passwd"), "/etc/passwd"),
    Fault("link that leads out", "path-outside", E, _link_outside, "t0.png"),
    Fault("linked folder", "path-outside", E, _linked_folder, "sub/t0.png"),
    Fault("truncated JPEG", "image-undecodable", E, _truncated_jpeg, "t0.jpg"),
    Fault("link that nothing names", "path-ignored", W, _unused_link, "z.png: leads out"),
    Fault("unnamed linked folder", "path-ignored", W, _unused_linked_folder, "sub: leads out"),
    Fault("name from Windows that leads out", "path-outside", E,
          lambda p: p.image(file_name="..\\outside\\a.png"), "../outside/a.png"),
    Fault("drive letter", "path-outside", E,
          lambda p: p.image(file_name="C:\\a.png"), "C:/a.png"),
    Fault("file that is in no split", "images-unused", N,
          lambda p: p.save("extra.png", picture(77)), "extra.png"),
    # sizes
    Fault("wrong size", "size-mismatch", E, lambda p: p.image(width=SIZE[0] + 1), "97x64"),
    Fault("turned size", "size-mismatch", E,
          lambda p: p.image(width=SIZE[1], height=SIZE[0]), "turned by a quarter"),
    Fault("size of nothing", "image-size", E, lambda p: p.image(height=-1), "images[0]"),
    Fault("size unknown", "size-unknown", N, lambda p: p.image(height=0), "1 of 6 images"),
    Fault("EXIF rotation", "image-exif-rotation", W, _turned, "t0.png"),
    # entries
    Fault("image without a name", "image-entry", E, lambda p: p.image(file_name=None), "images[0]"),
    Fault("image id twice", "image-duplicate", E,
          lambda p: p.edit_json("train", lambda c: c["images"][1].update(id=1)), "images[1]"),
    Fault("file name twice", "image-duplicate", E,
          lambda p: p.edit_json("train", lambda c: c["images"][1].update(file_name="t0.png")),
          "images[1]"),
    Fault("annotation id twice", "annotation-duplicate", E,
          lambda p: p.edit_json("train", lambda c: c["annotations"][1].update(id=1)),
          "annotations[1]"),
    Fault("annotation that is no object", "annotation-entry", E,
          lambda p: p.edit_json("train", lambda c: c["annotations"].append(3)), "annotations[18]"),
    Fault("unknown image", "image-unknown", E, lambda p: p.box(image_id=4711), _ENTRY),
    Fault("unknown category", "category-unknown", E, lambda p: p.box(category_id=0), _ENTRY),
    Fault("split that is no JSON", "split-unreadable", E,
          lambda p: p.files["val"].write_text('{"images": ["annotations", "categories"'),
          "val.json, line 1"),
    # boxes
    Fault("three numbers", "box-entry", E, lambda p: p.box(bbox=[1, 2, 3]), _ENTRY),
    Fault("NaN", "box-not-finite", E, lambda p: p.box(bbox=[1, 2, NAN, 4]), _ENTRY),
    Fault("inverted", "box-inverted", E, lambda p: p.box(bbox=[30, 30, -9, 20]), _ENTRY),
    Fault("empty box", "box-empty", E, lambda p: p.box(bbox=[30, 30, 20, 0]), _ENTRY),
    Fault("outside", "box-outside", E, lambda p: p.box(bbox=[96, 30, 20, 20]), _ENTRY),
    Fault("mostly outside", "box-outside", E, lambda p: p.box(bbox=[85, 20, 30, 30]), _ENTRY),
    Fault("sticks out", "box-clipped", W, lambda p: p.box(bbox=[72, 30, 25, 25]), _ENTRY),
    Fault("box twice", "box-duplicate", W, _double([0, 0, 0, 0]), "t0.png"),
    Fault("box nearly twice", "box-duplicate", W, _double([0.1, 0, 0, 0.1]), "t0.png"),
    Fault("box twice, a pixel apart", "box-duplicate", W, _double([0.5, 0.5, 0, 0]), "IoU 0.9"),
    Fault("two classes", "box-two-classes", W, _double([0, 0, 0, 0], 2), "both ear and leaf"),
    Fault("infinity", "box-not-finite", E, lambda p: p.box(bbox=[1, 2, float("inf"), 4]), _ENTRY),
    Fault("crowd", "boxes-crowd", N, lambda p: p.box(iscrowd=1), "1 boxes"),
    Fault("small boxes", "boxes-small", W, _small_boxes, "smaller than 16 pixels"),
    Fault("thin boxes", "boxes-misfit", W, _thin_boxes, "fit no anchor"),
    # classes
    Fault("class without boxes", "class-unused", W, _unused_class, "stem"),
    Fault("class that is not trained", "class-untrained", W, _no_boxes_of("train", 2), "leaf"),
    Fault("class written in two ways", "class-alike", W, _extra_class("Ear "), "Ear"),
    Fault("class that only val has", "class-unknown", E,
          lambda p: p.edit_json("val", lambda c: c["categories"][0].update(name="beard")), "beard"),
    # pictures
    Fault("image without boxes", "images-empty", N,
          lambda p: p.edit_json("train", lambda c: c.update(annotations=[
              a for a in c["annotations"] if a["image_id"] != 2])), "t1.png"),
    Fault("one colour", "image-blank", W, _blank, "t0.png"),
    Fault("copy in a split", "image-copy", W, _same_pixels("t2.png"), "t1.png"),
    Fault("copy across splits", "image-copy-across-splits", E, _same_pixels("v2.png"), "t1.png"),
    Fault("near-duplicate across splits", "image-near-duplicate", W, _reencode, "t1.png"),
    Fault("image in two splits", "image-in-two-splits", E, _in_both, "t0.png"),
    # other layouts
    Fault("columns", "row-columns", E, _row("t0,96,64"), "train.csv, line 20", "kaggle"),
    Fault("values", "row-values", E, _row('t0,,64,"[1, 2, 3, 4]",x'),
          "train.csv, line 20", "kaggle"),
    Fault("sizes that differ", "row-conflict", E, _row('t0,99,64,"[1, 2, 30, 40]",south'),
          "line 2", "kaggle"),
    Fault("NaN in a csv", "box-not-finite", E, _row('t0,96,64,"[1, 2, nan, 4]",south'),
          "train.csv, line 20", "kaggle"),
    Fault("outside in a csv", "box-outside", E, _row('t0,96,64,"[200, 2, 30, 40]",south'),
          "train.csv, line 20", "kaggle"),
    Fault("missing in a csv", "image-missing", E, _row('t9,96,64,"[1, 2, 30, 40]",south'),
          "train.csv, line 20", "kaggle"),
    Fault("two rows", "image-two-rows", W, _row("t0.png,60 40 90 60,south,x"),
          "train.csv, line 8", "gwhd2021"),
    Fault("box of three numbers", "box-entry", E, _gwhd_box("60 40 90"),
          "train.csv, line 2", "gwhd2021"),
    Fault("inverted corners", "box-inverted", E, _gwhd_box("90 40 60 60"),
          "train.csv, line 2", "gwhd2021"),
    Fault("path in a csv", "path-outside", E, _row("../outside/a.png,60 40 90 60,south,x"),
          "train.csv, line 8", "gwhd2021"),
    Fault("entity", "annotation-unreadable", E,
          _voc("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>'), "DOCTYPE", "voc"),
    Fault("object without a box", "box-entry", E, _no_xmin, "t0.xml", "voc"),
    Fault("wrong size in VOC", "size-mismatch", E, _voc("<width>96", "<width>90"), "90x64", "voc"),
    Fault("no XML", "annotation-unreadable", E, _voc("</annotation>", ""), "t0.xml, line", "voc"),
    Fault("class number", "category-unknown", E, _yolo_row("2 .5 .5 .2 .2"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("NaN in a label", "box-not-finite", E, _yolo_row("0 .5 .5 nan .2"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("no width", "box-empty", E, _yolo_row("0 .5 .5 0 .2"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("words", "row-values", E, _yolo_row("ear .5 .5 .2 .2"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("three numbers in a label", "row-columns", E, _yolo_row("0 .5 .5 .2"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("pixels", "box-not-relative", E, _yolo_row("0 48 32 20 20"),
          "labels/train/t0.txt, line 4", "yolo"),
    Fault("label without an image", "label-without-image", W, _yolo_orphan, "z.txt", "yolo"),
]  # fmt: skip
