"""Names of the annotation layouts, and where each is told: readable without reading anything else.

A layout is a module with a row ``LAYOUT`` (see `frostline.datasets.layouts.Layout`). To add one,
write its module and name it here.
"""

__all__ = ["LAYOUTS"]

LAYOUTS = {
    "coco": "frostline.datasets.coco",
    "kaggle": "frostline.datasets.kaggle",
    "gwhd2021": "frostline.datasets.gwhd",
    "masks": "frostline.datasets.masks",
    "labelme": "frostline.datasets.labelme",
    "createml": "frostline.datasets.createml",
    "via": "frostline.datasets.via",
    "cvat": "frostline.datasets.cvat",
    "csv": "frostline.datasets.tables",
    "retinanet": "frostline.datasets.retinanet",
    "openimages": "frostline.datasets.open_images",
    "voc": "frostline.datasets.voc",
    "yolo": "frostline.datasets.yolo",  # last: it takes any folder with images or text files
}
"""Name of a layout to its module; where several recognise a file, the first counts."""
