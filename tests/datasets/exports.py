"""Random exports of small data sets: a layout, a way to lay out folders, and damage to names.

Each picture is of one grey level that says its number, and its box lies where the number says, so
that a box on another picture, or a picture in another split, shows. All pictures have one size.

By hand: ``python -m tests.datasets.exports COUNT [FIRST]`` prints what is not read in full.
"""

import json
import random
import shutil
import sys
import tempfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from frostline.datasets import DataCheck, check_dataset, find_dataset, load_image
from frostline.datasets.index import ImageRecord
from frostline.errors import DatasetError

SIZE = (64, 48)  # width, height
STEP = 9  # grey levels between two pictures
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2\0\0\0\t\0\0\0\x32\0\0\x0e\xb0"
TOOLS = ("labelme", "createml", "via", "cvat", "csv", "retinanet", "openimages")
LAYOUTS = ("coco", "kaggle", "gwhd2021", "voc", "yolo", *TOOLS)
NO_EMPTY = ("kaggle", "csv", "openimages")  # an image without boxes has no row
ONE_CLASS = ("kaggle", "gwhd2021")
STEMS = (
    "{n:04}",
    "IMG_{n}",
    "my pic {n}",
    "frame.{n}.v2",
    "Ähre {n}",
    "фото{n}",
    "a{n}_png.rf.9f{n}",
)
DAMAGE = (
    *("case", "slashes", "percent", "unicode", "prefix", "doubled", "nested"),
    *("mac", "ending", "empty", "zip_slashes"),
)
PREFIXES = (
    *("/home/me/set/", "C:\\Users\\me\\", "data/upload/3/", "../", "./", "file:///srv/x/"),
    *("http://localhost:8080/data/upload/1/", "/data/local-files/?d="),
)
WORDS = {
    "train": ("train", "training", "Train"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing", "Test"),
}


@dataclass(frozen=True)
class Picture:
    """A picture: its number, split, name as annotations have it, and place on disk."""

    number: int
    split: str
    stem: str
    ending: str
    folder: str  # "" or ending with "/"
    boxes: int

    @property
    def file(self) -> str:
        return f"{self.folder}{self.stem}{self.ending}"

    @property
    def box(self) -> tuple[int, int, int, int]:
        return (self.number, self.number // 2, self.number + 20, self.number // 2 + 12)


@dataclass
class Export:
    """Files to write by their names, and what must be read."""

    layout: str
    damage: tuple[str, ...]
    pictures: list[Picture]
    named: Callable[[Picture, str], str] = lambda picture, name: name
    files: dict[str, bytes] = field(default_factory=dict)
    data: Path = Path()

    def text(self, name: str, text: str) -> None:
        self.files[name] = text.encode()

    def split(self, split: str) -> list[Picture]:
        return [picture for picture in self.pictures if picture.split == split]

    def splits(self) -> list[str]:
        return list(dict.fromkeys(picture.split for picture in self.pictures))


@dataclass(frozen=True)
class Verdict:
    """How an export was read: in full, with losses that are told, or wrongly."""

    full: bool
    told: bool
    wrong: str = ""
    message: str = ""


# --- layouts -------------------------------------------------------------------------------------


def classes_of(export: Export) -> tuple[str, ...]:
    return ("wheat_head",) if export.layout in ONE_CLASS else ("ear", "leaf")


def class_of(export: Export, picture: Picture) -> int:
    return picture.number % len(classes_of(export))


def add_coco(export: Export, places: Mapping[str, str]) -> None:
    """One json a split at ``places``; names are relative to the root, or bare."""
    for split, place in places.items():
        pictures = export.split(split)
        images = [
            {"id": n, "file_name": export.named(p, p.file), "width": SIZE[0], "height": SIZE[1]}
            for n, p in enumerate(pictures)
        ]
        boxes = [
            {
                "id": n + 1,
                "image_id": n,
                "category_id": class_of(export, p) + 1,
                "bbox": [p.box[0], p.box[1], p.box[2] - p.box[0], p.box[3] - p.box[1]],
            }
            for n, p in enumerate(pictures)
            if p.boxes
        ]
        names = [{"id": n, "name": name} for n, name in enumerate(classes_of(export), 1)]
        data = {"images": images, "annotations": boxes, "categories": names}
        export.text(place, json.dumps(data, ensure_ascii=bool(len(pictures) % 2)))


def add_csv(export: Export, places: Mapping[str, str]) -> None:
    for split, place in places.items():
        rows = []
        for p in export.split(split):
            x0, y0, x1, y1 = p.box
            name = export.named(p, p.file)
            if export.layout == "kaggle":
                stem = name.removesuffix(p.ending) if name.endswith(p.ending) else name
                rows.append(f'"{stem}",{SIZE[0]},{SIZE[1]},"[{x0}, {y0}, {x1 - x0}, {y1 - y0}]",s')
            else:
                boxes = f"{x0} {y0} {x1} {y1}" if p.boxes else "no_box"
                rows.append(f'"{name}",{boxes},s')
        kaggle = "image_id,width,height,bbox,source"
        header = kaggle if export.layout == "kaggle" else "image_name,BoxesString,domain"
        export.text(place, "\n".join([header, *rows]) + "\n")


def add_voc(export: Export, folder: Callable[[Picture], str], lists: str | None) -> None:
    for p in export.pictures:
        x0, y0, x1, y1 = p.box
        box = "".join(
            f"<{tag}>{value}</{tag}>"
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True)
        )
        name = classes_of(export)[class_of(export, p)]
        thing = f"<object><name>{name}</name><bndbox>{box}</bndbox></object>" if p.boxes else ""
        said = export.named(p, f"{p.stem}{p.ending}").replace("&", "&amp;")
        export.text(
            f"{folder(p)}{p.stem}.xml",
            f"<annotation><filename>{said}</filename><size><width>{SIZE[0]}</width><height>"
            f"{SIZE[1]}</height></size>{thing}</annotation>",
        )
    for split in export.splits() if lists is not None else ():
        lines = [f"{p.stem}{lists}" for p in export.split(split)]
        export.text(f"ImageSets/Main/{split}.txt", "\n".join(lines) + "\n")


def labelme_text(export: Export, p: Picture, said: str) -> str:
    x0, y0, x1, y1 = p.box
    label = classes_of(export)[class_of(export, p)]
    points = [[x1, y0], [x0, y1]] if p.number % 2 else [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    kind = "rectangle" if p.number % 2 else "polygon"
    shape: dict[str, object] = {
        "label": label,
        "points": points,
        "group_id": None,
        "shape_type": kind,
        "flags": {},
    }
    return json.dumps(
        {
            "version": "5.4.1",
            "flags": {},
            "shapes": [shape] * p.boxes,
            "imagePath": said,
            "imageData": None,
            "imageHeight": SIZE[1],
            "imageWidth": SIZE[0],
        },
        ensure_ascii=bool(p.number % 2),
    )


def createml_text(export: Export, pictures: list[Picture]) -> str:
    data = []
    for p in pictures:
        x0, y0, x1, y1 = p.box
        sides = {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "width": x1 - x0, "height": y1 - y0}
        box = {"label": classes_of(export)[class_of(export, p)], "coordinates": sides}
        data.append({"image": export.named(p, p.file), "annotations": [box] * p.boxes})
    return json.dumps(data)


def via_text(export: Export, pictures: list[Picture]) -> str:
    data = {}
    for p in pictures:
        x0, y0, x1, y1 = p.box
        shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        told = {"class": classes_of(export)[class_of(export, p)]}
        region = {"shape_attributes": shape, "region_attributes": told}
        name = export.named(p, p.file)
        data[f"{name}-1"] = {"filename": name, "size": -1, "regions": [region] * p.boxes}
    return json.dumps(data)


def cvat_text(
    export: Export, pictures: list[Picture], subsets: Mapping[str, str] | None = None
) -> str:
    images = []
    for p in pictures:
        x0, y0, x1, y1 = p.box
        label = classes_of(export)[class_of(export, p)]
        box = f'<box label="{label}" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>' * p.boxes
        subset = f' subset="{subsets[p.split]}"' if subsets else ""
        name = quoteattr(export.named(p, p.file))
        size = f'width="{SIZE[0]}" height="{SIZE[1]}"'
        images.append(f'<image id="{p.number}" name={name}{subset} {size}>{box}</image>')
    labels = "".join(f"<label><name>{name}</name></label>" for name in classes_of(export))
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"


def table_text(export: Export, pictures: list[Picture]) -> str:
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for p in pictures:
        label, corners = classes_of(export)[class_of(export, p)], ",".join(map(str, p.box))
        lines.append(f'"{export.named(p, p.file)}",{SIZE[0]},{SIZE[1]},{label},{corners}')
    return "\r\n".join(lines) + "\r\n"


def retinanet_text(export: Export, pictures: list[Picture]) -> str:
    lines = []
    for p in pictures:
        label, corners = classes_of(export)[class_of(export, p)], ",".join(map(str, p.box))
        row = f"{corners},{label}" if p.boxes else ",,,,"
        lines.append(f"{export.named(p, p.file)},{row}")
    return "\n".join(lines) + "\n"


def open_images_text(export: Export, pictures: list[Picture]) -> str:
    lines = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"]
    for p in pictures:
        name, (x0, y0, x1, y1) = export.named(p, p.file), p.box
        stem = name[: -len(p.ending)] if name.lower().endswith(p.ending.lower()) else name
        sides = (x0 / SIZE[0], x1 / SIZE[0], y0 / SIZE[1], y1 / SIZE[1])
        label = classes_of(export)[class_of(export, p)]
        lines.append(f"{stem},xclick,{label},1,{','.join(map(repr, sides))},0")
    return "\n".join(lines) + "\n"


TEXTS: Mapping[str, Callable[[Export, list[Picture]], str]] = {
    "createml": createml_text,
    "via": via_text,
    "cvat": cvat_text,
    "csv": table_text,
    "retinanet": retinanet_text,
    "openimages": open_images_text,
}


def label_text(export: Export, p: Picture) -> str:
    x0, y0, x1, y1 = p.box
    values = (
        (x0 + x1) / 2 / SIZE[0],
        (y0 + y1) / 2 / SIZE[1],
        (x1 - x0) / SIZE[0],
        (y1 - y0) / SIZE[1],
    )
    row = f"{class_of(export, p)} " + " ".join(f"{v:.6f}" for v in values)
    return row + "\n" if p.boxes else ""


def add_labels(export: Export, folder: Callable[[Picture], str], ending: str) -> None:
    for p in export.pictures:
        export.text(f"{folder(p)}{p.stem}{ending}", label_text(export, p))


# --- an export -----------------------------------------------------------------------------------


def pictures_of(
    rng: random.Random, layout: str, folders: Mapping[str, str], damage: tuple[str, ...]
) -> list[Picture]:
    """Two to four pictures a split, with the same names in each where folders keep them apart."""
    stem = rng.choice(STEMS[4:6] if "unicode" in damage else STEMS)
    apart = len(set(folders.values())) == len(folders) and rng.random() < 0.6
    endings = (".jfif", ".JPG", ".tiff", ".jpeg") if "ending" in damage else (".png", ".jpg")
    pictures: list[Picture] = []
    for split, folder in folders.items():
        for n in range(rng.randint(2, 4)):
            number = len(pictures) + 1
            empty = "empty" in damage and layout not in NO_EMPTY and rng.random() < 0.4 and n > 0
            name = stem.format(n=n if apart else number)
            pictures.append(
                Picture(number, split, name, rng.choice(endings), folder, int(not empty))
            )
    return pictures


def naming(
    rng: random.Random, damage: tuple[str, ...], root: str, *, whole: bool = False
) -> Callable[[Picture, str], str]:
    """What annotations write for the name of a picture, or for a folder (``whole``)."""
    prefix = rng.choice((*PREFIXES, f"{root}/", f"/home/me/{root}/"))
    cut = not whole and rng.random() < 0.3  # names without their folders

    def named(picture: Picture, name: str) -> str:
        if cut:
            name = name.rpartition("/")[2]
        if "unicode" in damage:
            name = unicodedata.normalize("NFD" if picture.number % 2 else "NFC", name)
        if "case" in damage:
            name = name.upper() if picture.number % 2 else name.swapcase()
        if "percent" in damage:
            name = quote(name, safe="/")
        if "doubled" in damage and "/" in name:
            name = f"{name.partition('/')[0]}/{name}"
        if "prefix" in damage:
            name = prefix + name
        return name.replace("/", "\\") if "slashes" in damage and "://" not in name else name

    return named


def make(seed: int, target: Path) -> Export:
    """Write a random export below ``target``."""
    rng = random.Random(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)]
    damage = tuple(rng.sample(DAMAGE, rng.randint(1, 3)))
    splits = list(WORDS)[: rng.choice((2, 2, 3))]
    words = {split: rng.choice(WORDS[split]) for split in splits}
    root = rng.choice(("set", "My Data v1.2", "field.2024"))
    builds = {"coco": coco, "kaggle": csv, "gwhd2021": csv, "voc": voc, "yolo": yolo}
    build = builds.get(layout, tool)
    export = build(rng, layout, damage, words, root)
    for picture in export.pictures:
        export.files[picture.file] = pixels(picture, target)
    if "unicode" in damage:
        form: Literal["NFC", "NFD"] = "NFC" if rng.random() < 0.5 else "NFD"
        for name in [n for n in export.files if not n.isascii()]:
            export.files[unicodedata.normalize(form, name)] = export.files.pop(name)
    if "mac" in damage:
        for name in list(export.files):
            folder, _, file = name.rpartition("/")
            export.files[f"{folder}/._{file}".lstrip("/")] = APPLE
            export.files[f"__MACOSX/{name}"] = APPLE
        export.files[".DS_Store"] = b"\0\0\0\1Bud1"
    if rng.random() < 0.3:
        export.text(rng.choice(("README.txt", "README.dataset.txt", "notes/LICENSE")), "hello\n")
    write(rng, export, target, root)
    return export


def write(rng: random.Random, export: Export, target: Path, root: str) -> None:
    nested = f"{root}/{root}/" if "nested" in export.damage else ""
    if "zip_slashes" in export.damage or rng.random() < 0.4:
        export.data = target / "data.zip"
        with zipfile.ZipFile(export.data, "w") as archive:
            for name, data in export.files.items():
                full = nested + name
                full = full.replace("/", "\\") if "zip_slashes" in export.damage else full
                archive.writestr(full, data)
        if "zip_slashes" in export.damage and rng.random() < 0.4:
            unpacked(export, target / root)
        return
    export.data = target / root
    for name, data in export.files.items():
        path = export.data / nested / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def unpacked(export: Export, folder: Path) -> None:
    """What unpacking a zip file with backslashes leaves: no folders."""
    folder.mkdir()
    with zipfile.ZipFile(export.data) as archive:
        for info in archive.infolist():
            (folder / info.filename).write_bytes(archive.read(info))
    export.data = folder


def pixels(picture: Picture, target: Path) -> bytes:
    file = target / f"pixels{picture.ending}"
    level = np.full((SIZE[1], SIZE[0], 3), STEP * picture.number, np.uint8)
    kind = "PNG" if picture.ending == ".png" else "TIFF" if "tif" in picture.ending else "JPEG"
    Image.fromarray(level).save(file, kind)
    data = file.read_bytes()
    file.unlink()
    return data


def coco(
    rng: random.Random, layout: str, damage: tuple[str, ...], words: dict[str, str], root: str
) -> Export:
    kind = rng.choice(("shared", "beside", "published", "nested"))
    folders = {
        "nested": {split: f"images/{word}/" for split, word in words.items()},
        "shared": dict.fromkeys(words, "images/"),
        "beside": {split: f"{word}/" for split, word in words.items()},
        "published": {split: f"{word}2017/" for split, word in words.items()},
    }[kind]
    places = {
        "shared": {split: f"{word}.json" for split, word in words.items()},
        "beside": {split: f"{word}/_annotations.coco.json" for split, word in words.items()},
        "nested": {split: f"labels/{word}.json" for split, word in words.items()},
        "published": {
            split: f"annotations/instances_{word}2017.json" for split, word in words.items()
        },
    }[kind]
    pictures = pictures_of(rng, layout, folders, damage)
    export = Export(layout, damage, pictures, naming(rng, damage, root))
    add_coco(export, places)
    return export


def csv(
    rng: random.Random, layout: str, damage: tuple[str, ...], words: dict[str, str], root: str
) -> Export:
    pattern = rng.choice(("images/", "{}/", "images/{}/"))
    folders = {split: pattern.format(word) for split, word in words.items()}
    pictures = pictures_of(rng, layout, folders, damage)
    export = Export(layout, damage, pictures, naming(rng, damage, root))
    add_csv(export, {split: f"{word}.csv" for split, word in words.items()})
    return export


def tool(
    rng: random.Random, layout: str, damage: tuple[str, ...], words: dict[str, str], root: str
) -> Export:
    pattern = rng.choice(("images/", "{}/", "images/{}/"))
    folders = {split: pattern.format(word) for split, word in words.items()}
    pictures = pictures_of(rng, layout, folders, damage)
    export = Export(layout, damage, pictures, naming(rng, damage, root))
    if layout == "labelme":
        beside = "{}/" in pattern and rng.random() < 0.5
        for p in pictures:
            folder = p.folder if beside else f"{words[p.split]}_json/"
            up = "../" if not beside and rng.random() < 0.5 else ""
            said = up + export.named(p, p.file.rpartition("/")[2] if beside else p.file)
            export.text(f"{folder}{p.stem}.json", labelme_text(export, p, said))
        return export
    if layout == "cvat" and rng.random() < 0.5:
        subsets = {split: word.title() for split, word in words.items()}
        export.text("annotations.xml", cvat_text(export, pictures, subsets))
        return export
    ending = {"createml": ".json", "via": ".json", "cvat": ".xml"}.get(layout, ".csv")
    for split, word in words.items():
        text = TEXTS[layout](export, export.split(split))
        beside = "{}/" in pattern and rng.random() < 0.5
        folder = pattern.format(word) if beside and pattern == "{}/" else ""
        export.text(f"{folder}{word}{ending}", text)
    return export


def voc(
    rng: random.Random, layout: str, damage: tuple[str, ...], words: dict[str, str], root: str
) -> Export:
    if rng.random() < 0.6:
        pictures = pictures_of(rng, layout, dict.fromkeys(words, "JPEGImages/"), damage)
        export = Export(layout, damage, pictures, naming(rng, damage, root))
        add_voc(export, lambda p: "Annotations/", rng.choice(("", ".jpg", ".xml")))
        return export
    folders = {split: f"{word}/" for split, word in words.items()}
    pictures = pictures_of(rng, layout, folders, damage)
    export = Export(layout, damage, pictures, naming(rng, damage, root))
    add_voc(export, lambda p: p.folder, None)
    return export


def yolo(
    rng: random.Random, layout: str, damage: tuple[str, ...], words: dict[str, str], root: str
) -> Export:
    kind = rng.choice(("yaml", "exported", "folders", "beside", "lists"))
    inside = kind == "exported"
    folders = {s: f"{w}/images/" if inside else f"images/{w}/" for s, w in words.items()}
    if kind == "beside":
        folders = {split: f"{word}/" for split, word in words.items()}
    pictures = pictures_of(rng, layout, folders, damage)
    named = naming(rng, damage, root)
    export = Export(layout, damage, pictures, named)
    renamed = rng.random() < 0.25 and kind in ("yaml", "folders")  # labels/val of images/valid

    def labels(p: Picture) -> str:
        if kind == "beside":
            return p.folder
        if renamed:
            return f"labels/{p.split}/"
        return p.folder.replace("images/", "labels/")

    add_labels(export, labels, ".TXT" if "case" in damage else ".txt")
    names = "names: [ear, leaf]\n"
    if kind in ("yaml", "exported"):
        written = naming(rng, damage, root, whole=True)
        entries = [f"{s}: {json.dumps(written(pictures[0], f))}" for s, f in folders.items()]
        absent = rng.random() < 0.3 and "test" not in words
        export.text(
            "data.yaml", "\n".join(entries) + "\n" + "test: ../test/images\n" * absent + names
        )
    elif kind == "lists":
        for split in words:
            export.text(
                f"{split}.txt", "".join(f"{named(p, p.file)}\n" for p in export.split(split))
            )
        entries = [f"{split}: {split}.txt" for split in words]
        export.text("data.yaml", "\n".join(entries) + "\n" + names)
    else:
        export.text(rng.choice(("classes.txt", "obj.names")), "ear\nleaf\n")
    return export


# --- judging -------------------------------------------------------------------------------------


def judge(export: Export) -> Verdict:
    """Read an export as a user would, and compare."""
    try:
        check = check_dataset(find_dataset(export.data))
    except DatasetError as error:
        return Verdict(False, True, message=str(error))
    wrong = next(wrongs(export, check), "")
    read = Counter(split for split, index in check.splits.items() for _ in index)
    boxes = sum(index.counts().boxes for index in check.splits.values())
    expected = Counter(picture.split for picture in export.pictures)
    full = read == expected and boxes == sum(p.boxes for p in export.pictures)
    findings = [f for part in check.findings.values() for f in part if f.severity != "note"]
    told = [f for f in findings if f.code not in ("image-blank", "class-unused", "class-untrained")]
    used = {classes_of(export)[class_of(export, p)] for p in export.pictures if p.boxes}
    full = full and used <= set(next(iter(check.splits.values())).classes)
    message = "; ".join(f"{f.code}: {f}" for f in told[:2]) or f"read {dict(read)}, boxes {boxes}"
    return Verdict(full and not wrong, bool(told), wrong, message)


def wrongs(export: Export, check: DataCheck) -> Iterator[str]:
    """Boxes that are not on their picture, and pictures that are not in their split."""
    by_number = {picture.number: picture for picture in export.pictures}
    for split, index in check.splits.items():
        for image in index:
            level = float(load_image(index.root, image.file).mean())
            picture = by_number.get(round(level / STEP))
            if picture is None or picture.split != split:
                yield f"{image.file} is in {split}"
            elif not as_drawn(export, picture, image, index.classes):
                yield f"{image.file} has boxes {image.boxes.tolist()}, expected {picture.box}"


def as_drawn(
    export: Export, picture: Picture, image: ImageRecord, classes: tuple[str, ...]
) -> bool:
    """Whether a record has no box, or the one of its picture with its class."""
    if len(image.labels) == 0:
        return True  # a loss, which is counted
    name = classes_of(export)[class_of(export, picture)]
    same = np.allclose(image.boxes, [picture.box], rtol=0, atol=0.01)
    return (
        picture.boxes == 1 and same and classes[image.labels[0] - 1] in (name, "class_0", "class_1")
    )


def run(first: int, count: int) -> list[tuple[int, Export, Verdict]]:
    """Make and judge exports."""
    results = []
    for seed in range(first, first + count):
        folder = Path(tempfile.mkdtemp())
        try:
            export = make(seed, folder)
            results.append((seed, export, judge(export)))
        finally:
            shutil.rmtree(folder)
    return results


if __name__ == "__main__":
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    results = run(first, count)
    for seed, export, verdict in results:
        if not verdict.full:
            state = "WRONG" if verdict.wrong else "told" if verdict.told else "UNTOLD"
            told = verdict.wrong or verdict.message
            what = f"{export.layout} {'+'.join(export.damage)}"
            sys.stdout.write(f"{seed} {state} {what}: {told}\n")
    sys.stdout.write(f"{sum(v.full for _, _, v in results)} of {count} in full\n")
