"""Exports of labelling tools, in their real shapes: what they write besides, and their oddities.

Every writer takes splits whose images lie in ``folder/images``, and returns the annotation file (or
folder) of each.
"""

import base64
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from frostline.datasets import DatasetIndex, ImageRecord
from tests.datasets.samples import Splits


def boxes_of(index: DatasetIndex, image: ImageRecord) -> list[tuple[str, list[float]]]:
    return [
        (index.classes[label - 1], box)
        for box, label in zip(image.boxes.tolist(), image.labels.tolist(), strict=True)
    ]


def write_table(splits: Splits, folder: Path) -> dict[str, Path]:
    """The csv of TensorFlow's tutorials (``xml_to_csv.py``): no row without a box."""
    for name, index in splits.items():
        lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for image in index:
            for label, box in boxes_of(index, image):
                corners = ",".join(f"{v:g}" if v == int(v) else repr(v) for v in box)
                lines.append(f"{image.file},{image.width},{image.height},{label},{corners}")
        (folder / f"{name}_labels.csv").write_text("\r\n".join(lines) + "\r\n")
    return {name: folder / f"{name}_labels.csv" for name in splits}


def write_retinanet(splits: Splits, folder: Path) -> dict[str, Path]:
    """Absolute paths of the machine it was made on, and the file of classes."""
    for name, index in splits.items():
        lines = []
        for image in index:
            path = f"/home/me/wheat/images/{image.file}"
            rows = [
                ",".join([path, *map(repr, box), label]) for label, box in boxes_of(index, image)
            ]
            lines += rows or [f"{path},,,,,"]
        (folder / f"{name}_annotations.csv").write_text("\n".join(lines) + "\n")
    classes = next(iter(splits.values())).classes
    (folder / "classes.csv").write_text("".join(f"{c},{n}\n" for n, c in enumerate(classes)))
    return {name: folder / f"{name}_annotations.csv" for name in splits}


def write_open_images(splits: Splits, folder: Path) -> dict[str, Path]:
    """The columns of version 6, ids for the classes, and rows of an image that nobody keeps."""
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
        "IsDepiction,IsInside,XClick1X,XClick2X"
    )
    for name, index in splits.items():
        ids = {label: f"/m/0{n}x" for n, label in enumerate(index.classes)}
        lines = [header]
        for image in index:
            stem = image.file.rpartition(".")[0]
            for label, (x0, y0, x1, y1) in boxes_of(index, image):
                sides = (x0 / image.width, x1 / image.width, y0 / image.height, y1 / image.height)
                place = ",".join(map(repr, sides))
                lines.append(f"{stem},xclick,{ids[label]},1,{place},0,0,0,0,0,0.1,0.2")
        (folder / f"{name}-annotations-bbox.csv").write_text("\n".join(lines) + "\n")
        names = "".join(f"{key},{label}\n" for label, key in ids.items())
        (folder / "class-descriptions-boxable.csv").write_text(names)
    return {name: folder / f"{name}-annotations-bbox.csv" for name in splits}


def write_labelme(splits: Splits, folder: Path) -> dict[str, Path]:
    """A file an image, which holds the image; corners in any order; paths of Windows."""
    for name, index in splits.items():
        (folder / name).mkdir()
        for n, image in enumerate(index):
            shapes: list[dict[str, Any]] = [
                {
                    "label": label,
                    "points": [box[:2], box[2:]] if k % 2 else [[box[2], box[1]], [box[0], box[3]]],
                    "group_id": None,
                    "description": "",
                    "shape_type": "rectangle",
                    "flags": {},
                    "mask": None,
                }
                for k, (label, box) in enumerate(boxes_of(index, image))
            ]
            pixels = (index.root / image.file).read_bytes() if n % 2 else None
            data: dict[str, Any] = {
                "version": "5.5.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": f"..\\images\\{image.file}",
                "imageData": None if pixels is None else base64.b64encode(pixels).decode(),
                "imageHeight": image.height,
                "imageWidth": image.width,
            }
            file = folder / name / f"{image.file.rpartition('.')[0]}.json"
            file.write_text(json.dumps(data, indent=2), encoding="utf-8")
    return {name: folder / name for name in splits}


def write_cvat(splits: Splits, folder: Path) -> dict[str, Path]:
    """A project with a subset a split, in one file."""
    classes = next(iter(splits.values())).classes
    labels = "".join(
        f"<label><name>{label}</name><color>#fa3253</color><type>any</type><attributes>"
        f"</attributes></label>"
        for label in classes
    )
    images, number = [], 0
    for name, index in splits.items():
        for image in index:
            shapes = "".join(
                f'    <box label={quoteattr(label)} source="manual" occluded="0" xtl="{x0!r}" '
                f'ytl="{y0!r}" xbr="{x1!r}" ybr="{y1!r}" z_order="0">\n'
                f'      <attribute name="ripe">true</attribute>\n    </box>\n'
                for label, (x0, y0, x1, y1) in boxes_of(index, image)
            )
            subset = {"train": "Train", "val": "Validation", "test": "Test"}[name]
            images.append(
                f'  <image id="{number}" name={quoteattr(image.file)} subset="{subset}" '
                f'task_id="7" width="{image.width}" height="{image.height}">\n{shapes}  </image>\n'
            )
            number += 1
    (folder / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta><project><id>3</id><labels>{labels}</labels></project>"
        f"<dumped>2024-05-01 10:00:00+00:00</dumped></meta>\n{''.join(images)}</annotations>\n",
        encoding="utf-8",
    )
    return dict.fromkeys(splits, folder / "annotations.xml")


def write_createml(splits: Splits, folder: Path) -> dict[str, Path]:
    """As Roboflow writes it, on one line."""
    for name, index in splits.items():
        data: list[dict[str, Any]] = [
            {
                "image": image.file,
                "annotations": [
                    {
                        "label": label,
                        "coordinates": {
                            "x": (x0 + x1) / 2,
                            "y": (y0 + y1) / 2,
                            "width": x1 - x0,
                            "height": y1 - y0,
                        },
                    }
                    for label, (x0, y0, x1, y1) in boxes_of(index, image)
                ],
            }
            for image in index
        ]
        (folder / f"{name}_annotations.createml.json").write_text(json.dumps(data))
    return {name: folder / f"{name}_annotations.createml.json" for name in splits}


def write_via(splits: Splits, folder: Path) -> dict[str, Path]:
    """A project of version 2 a split, with the bytes of a file in its key."""
    for name, index in splits.items():
        metadata = {}
        for image in index:
            size = (index.root / image.file).stat().st_size
            regions = [
                {
                    "shape_attributes": {
                        "name": "rect",
                        "x": x0,
                        "y": y0,
                        "width": x1 - x0,
                        "height": y1 - y0,
                    },
                    "region_attributes": {"type": label, "note": ""},
                }
                for label, (x0, y0, x1, y1) in boxes_of(index, image)
            ]
            metadata[f"{image.file}{size}"] = {
                "filename": image.file,
                "size": size,
                "regions": regions,
                "file_attributes": {"caption": "", "public_domain": "no", "image_url": ""},
            }
        project = {
            "_via_settings": {"ui": {}, "core": {"default_filepath": ""}, "project": {"name": "p"}},
            "_via_img_metadata": metadata,
            "_via_attributes": {"region": {"type": {"type": "text"}}, "file": {}},
            "_via_data_format_version": "2.0.10",
            "_via_image_id_list": list(metadata),
        }
        (folder / f"via_project_{name}.json").write_text(json.dumps(project))
    return {name: folder / f"via_project_{name}.json" for name in splits}


TOOLS = {
    "labelme": write_labelme,
    "createml": write_createml,
    "via": write_via,
    "openimages": write_open_images,
    "csv": write_table,
    "retinanet": write_retinanet,
    "cvat": write_cvat,
}
NO_EMPTY = ("kaggle", "csv", "openimages")
"""Layouts in which an image without boxes has no row."""
