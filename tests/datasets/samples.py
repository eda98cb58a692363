"""Small synthetic data sets, and writers of every layout."""

import gzip
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from frostline.datasets import Boxes, DatasetIndex, ImageRecord

SIZE = (96, 64)  # width, height


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth random picture, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def record(
    file: str,
    boxes: list[list[float]],
    labels: list[int] | None = None,
    *,
    group: str | None = None,
    size: tuple[int, int] = SIZE,
) -> ImageRecord:
    labels = [1] * len(boxes) if labels is None else labels
    return ImageRecord(
        file,
        *size,
        target=Boxes(
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(labels, dtype=np.int64),
            np.zeros(len(boxes), dtype=bool),
        ),
        group=group,
    )


def random_index(
    root: Path,
    prefix: str,
    images: int,
    seed: int,
    classes: tuple[str, ...] = ("ear", "leaf"),
    *,
    empty: int | None = 2,
) -> DatasetIndex:
    """Images on disk with boxes of whole pixels that are not alike; one of them has none."""
    rng = np.random.default_rng(seed)
    records = []
    root.mkdir(parents=True, exist_ok=True)
    for n in range(images):
        file = f"{prefix}{n}.png"
        picture(1000 * seed + n).save(root / file)
        boxes: list[list[float]] = []
        labels = []
        for k in range(0 if n == empty else 3):
            x, y = 32 * k + int(rng.integers(0, 8)), int(rng.integers(0, 30))
            boxes.append([x, y, x + int(rng.integers(16, 24)), y + int(rng.integers(16, 30))])
            labels.append(1 + k % len(classes))
        records.append(record(file, boxes, labels, group="north" if n % 2 else "south"))
    return DatasetIndex(root, classes, tuple(records))


Splits = Mapping[str, DatasetIndex]


def write_coco(splits: Splits, folder: Path) -> dict[str, Path]:
    for name, index in splits.items():
        (folder / f"{name}.json").write_text(json.dumps(index.to_coco()), encoding="utf-8")
    return {name: folder / f"{name}.json" for name in splits}


def write_kaggle(splits: Splits, folder: Path, *, packed: bool = False) -> dict[str, Path]:
    files = {}
    for name, index in splits.items():
        lines = ["image_id,width,height,bbox,source"]
        for image in index:
            stem = image.file.rpartition(".")[0]
            for x0, y0, x1, y1 in image.boxes.tolist():
                box = f'"[{x0}, {y0}, {x1 - x0}, {y1 - y0}]"'
                lines.append(f"{stem},{image.width},{image.height},{box},{image.group or ''}")
        files[name] = _write_csv(lines, folder / f"{name}.csv", packed)
    return files


def write_gwhd(splits: Splits, folder: Path, *, packed: bool = False) -> dict[str, Path]:
    files = {}
    for name, index in splits.items():
        lines = ["image_name,BoxesString,domain,extra"]
        for image in index:
            boxes = ";".join(" ".join(map(str, box)) for box in image.boxes.tolist())
            lines.append(f"{image.file},{boxes or 'no_box'},{image.group or ''},x")
        files[name] = _write_csv(lines, folder / f"{name}.csv", packed)
    return files


def _write_csv(lines: list[str], path: Path, packed: bool) -> Path:
    data = ("\n".join(lines) + "\n").encode()
    if packed:
        path = path.with_name(path.name + ".gz")
        data = gzip.compress(data)
    path.write_bytes(data)
    return path


def write_voc(splits: Splits, folder: Path) -> dict[str, Path]:
    """Annotations and ImageSets; the images are where they are."""
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for name, index in splits.items():
        for image in index:
            stem = image.file.rpartition(".")[0]
            (folder / "Annotations" / f"{stem}.xml").write_text(voc_xml(image, index.classes))
        stems = [image.file.rpartition(".")[0] for image in index]
        (lists / f"{name}.txt").write_text("\n".join(stems) + "\n")
    return {name: lists / f"{name}.txt" for name in splits}


def voc_xml(image: ImageRecord, classes: tuple[str, ...]) -> str:
    objects = "\n".join(
        f"<object><name>{escape(classes[label - 1])}</name><difficult>0</difficult><bndbox>"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for (x0, y0, x1, y1), label in zip(image.boxes.tolist(), image.labels, strict=True)
    )
    return (
        f"<annotation>\n<filename>{escape(image.file)}</filename>\n<size><width>{image.width}"
        f"</width><height>{image.height}</height><depth>3</depth></size>\n{objects}\n</annotation>"
    )


def write_yolo(splits: Splits, folder: Path) -> dict[str, Path]:
    """``data.yaml``, and images and labels in a folder a split (the images are copied)."""
    for name, index in splits.items():
        images, labels = folder / "images" / name, folder / "labels" / name
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for image in index:
            (images / image.file).write_bytes((index.root / image.file).read_bytes())
            if len(image.labels):
                text = yolo_text(image)
                (labels / f"{image.file.rpartition('.')[0]}.txt").write_text(text)
    classes = next(iter(splits.values())).classes
    lines = [f"{name}: images/{name}" for name in splits]
    lines += [f"nc: {len(classes)}", f"names: {json.dumps(classes)}", ""]
    (folder / "data.yaml").write_text("\n".join(lines))
    return dict.fromkeys(splits, folder / "data.yaml")


def yolo_text(image: ImageRecord) -> str:
    lines = []
    for (x0, y0, x1, y1), label in zip(image.boxes.tolist(), image.labels, strict=True):
        x, y = (x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height
        w, h = (x1 - x0) / image.width, (y1 - y0) / image.height
        lines.append(f"{label - 1} {x:.6f} {y:.6f} {w:.6f} {h:.6f}")
    return "\n".join(lines) + "\n"


def zip_folder(folder: Path, archive: Path, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, top + file.relative_to(folder).as_posix())
    return archive
