"""What each kind of finding means, and what to do about it."""

from difflib import get_close_matches

from frostline.datasets.findings import shown
from frostline.errors import DatasetError

__all__ = ["CODES", "explain"]

CODES: dict[str, tuple[str, str]] = {
    "annotation-duplicate": ("two annotations have one id", "remove one, or number them anew"),
    "annotation-entry": ("an annotation is not of the expected form", "correct the entry"),
    "annotation-unreadable": (
        "the annotation file of one image cannot be read: the image is left out, or has no boxes",
        "correct or remove the file",
    ),
    "box-clipped": ("a box sticks out of its image and is clipped", "see that it is little"),
    "box-difficult": ("boxes are marked difficult: kept as ordinary ones", "nothing"),
    "box-duplicate": (
        "two boxes of one class have an IoU of 0.9 or more: one object twice",
        "remove one; --fix-to does so",
    ),
    "box-empty": ("a box has no area", "correct or remove it"),
    "box-entry": ("a box is not four numbers", "correct the entry"),
    "box-inverted": ("corners of a box are in the wrong order", "correct the entry"),
    "box-not-finite": ("a box has NaN or infinity in it", "correct the entry"),
    "box-not-relative": (
        "pixels stand where parts of the image size (0 to 1) are expected",
        "divide by width and height",
    ),
    "box-outside": ("a box is less than half inside its image", "see that it is of this image"),
    "box-two-classes": ("one box has two classes", "keep one"),
    "boxes-crowd": ("boxes stand for groups of objects: not trained on", "nothing"),
    "boxes-misfit": (
        "a tenth of the boxes or more fit no anchor of the model preset at this image size",
        "try the suggested image size, or the other preset",
    ),
    "boxes-relative": (
        "all boxes of a csv lie between 0 and 1: they are read as parts of the image size",
        "nothing",
    ),
    "boxes-small": (
        "a tenth of the boxes or more are under 16 pixels at this image size",
        "take the suggested image size, or cut the images into tiles",
    ),
    "category-unknown": ("a box has a class number that no class has", "correct the number"),
    "class-above": (
        "a category without boxes is named by others as the one above them: it is no class",
        "nothing",
    ),
    "class-alike": ("two classes differ only in spelling", "give them one name"),
    "class-merged": ("several numbers have one class name: they are one class", "nothing"),
    "class-unknown": (
        "a box has a class that the training data has not",
        "give it one name in all annotation files, or add it to the classes of the training data",
    ),
    "class-unnamed": ("there are no class names", "add a classes.txt, or names to data.yaml"),
    "class-untrained": ("a class has boxes, but none to train on", "move some to training"),
    "class-unused": ("a class has no boxes", "remove it from the list, if there are none"),
    "grey-levels": (
        "16-bit grey images use so few levels that all of them are nearly black",
        "declare how many there are: grey_levels under data in the study, as `init` does",
    ),
    "image-ambiguous": (
        "two files fit the name of one image",
        "write the name with its folders, or rename a file",
    ),
    "image-blank": ("all pixels of an image have one colour", "look at the file"),
    "image-copy": ("two images of a split have the same pixels", "remove one"),
    "image-copy-across-splits": (
        "images of two splits have the same pixels: results are too good",
        "remove one; --fix-to removes the one in training",
    ),
    "image-duplicate": ("one image has two entries", "make one of them"),
    "image-entry": ("the entry of an image is not of the expected form", "correct the entry"),
    "image-exif-rotation": (
        "viewers show the image turned; training takes the pixels as stored",
        "see that the boxes fit the stored pixels",
    ),
    "image-in-two-splits": ("one file is in two splits", "remove it from one"),
    "image-missing": (
        "no file fits the name of an image",
        "copy it there, or name the folder of the images",
    ),
    "image-near-duplicate": (
        "images of two splits look nearly the same, or so when mirrored or turned: results may be "
        "too good",
        "look at both; keep such images in one split, as split.by: photo does",
    ),
    "image-size": ("the size of an image is no number of pixels", "correct width and height"),
    "image-turned": (
        "the annotated size is that of the image as viewers turn it: its pixels are turned, too",
        "nothing",
    ),
    "image-two-rows": ("one image has two rows: the boxes of both are kept", "make one of them"),
    "image-undecodable": ("an image is damaged, such as cut short", "copy it anew"),
    "image-unknown": ("a box is of an image that is not listed", "list it, or remove the box"),
    "image-unlisted": ("images of the folder have no row", "see that they have no objects"),
    "image-unreadable": ("a file is no image, empty, or too large", "copy or convert it"),
    "images-absent": (
        "rows are of images that the folder has not: they are left out",
        "see that all images were downloaded that should be",
    ),
    "images-empty": ("images have no boxes", "see that they have no objects"),
    "images-grey": ("images have one channel, repeated for all three colours", "nothing"),
    "images-unused": (
        "images are in no split; a warning where they lie in the folder of one",
        "add their annotations, or see why those were not found",
    ),
    "label-ambiguous": (
        "two label files fit one image, or two images one label file",
        "write names in one spelling",
    ),
    "label-shared": (
        "images that differ in their ending alone have one label file, and all its boxes",
        "see that each is a picture, and no mask",
    ),
    "label-without-image": ("a label file has no image", "copy the image, or remove the file"),
    "labels-unused": (
        "a folder of images has no labels, and there are label files that belong to no image",
        "see that folders and names of both agree",
    ),
    "mask-copy": (
        "two images have the same mask",
        "see that neither mask was copied for the wrong image",
    ),
    "mask-missing": ("images have no mask and are left out", "add their masks, if they have any"),
    "mask-rare": (
        "a class has hardly a pixel",
        "see whether its value is a slip in a mask; name the classes in the study's data.masks",
    ),
    "mask-shares": ("the share of the pixels that each class has", "nothing"),
    "mask-unreadable": ("a mask is no image, or damaged", "copy or convert it"),
    "mask-values": (
        "a mask has values or colours that are no class",
        "name them in the study's data.masks, or make the mask anew as PNG",
    ),
    "mask-without-image": ("a mask has no image of its name", "copy the image, or remove the mask"),
    "outline-boxed": (
        "objects are outlines or turned boxes: the box around each is used",
        "nothing",
    ),
    "outline-entry": ("an outline is no polygon and no runs of pixels", "correct the entry"),
    "outline-missing": (
        "an object has no outline to paint, only a box",
        "add its segmentation, or remove the object",
    ),
    "outline-overlap": (
        "objects of two classes overlap: what stands later in the file is painted over the earlier",
        "see that the order is right",
    ),
    "path-found": (
        "files were found by the ending of their path, or in another spelling",
        "see that the example is right",
    ),
    "path-ignored": ("a link or a name in a zip file leads out: not read", "copy the file"),
    "path-outside": (
        "a name or a link leads out of the folder, and no file in it fits",
        "copy the file into the folder",
    ),
    "photo-across-splits": (
        "names say that images of two splits are of one photo (.rf., _aug, _tile, _frame): results "
        "may be too good",
        "keep such images in one split, as split.by: photo does",
    ),
    "photo-copies": ("photos have several images, which stay on one side of the split", "nothing"),
    "photo-cut": (
        "more than a fifth of the images belong together, such as frames of one camera: they are "
        "cut into runs, some of which validate",
        "name groups of images (val_groups) or files of your own, if there is a better way",
    ),
    "points-unread": ("rows have points (poses): their boxes are used", "nothing"),
    "row-columns": ("a row has too few or too many columns", "correct the row"),
    "row-conflict": ("rows of one image disagree on its size or source", "correct one"),
    "row-values": ("a row has words where numbers are expected", "correct the row"),
    "shapes-unread": (
        "points, lines and the like have no area, or shapes are of an unknown kind: not read",
        "see that no object is drawn so",
    ),
    "size-assumed": ("image sizes are not in the file and are assumed", "have the images there"),
    "size-mismatch": (
        "the annotation has another size than the file",
        "see that it is the same image, not resized or turned",
    ),
    "size-unknown": ("image sizes are missing or 0: taken from the pictures", "nothing"),
    "split-missing": ("a test split is named but not there", "copy it there, if it is needed"),
    "split-unreadable": ("a whole split cannot be read", "correct what the message names"),
    "split-without-boxes": (
        "a split has images and no box, so that nothing can be learned or scored on it",
        "see what was left out of it, or annotate it",
    ),
    "text-encoding": (
        "text is in another encoding than it says, or than UTF-8 where it says none",
        "see that names are right, or save the file as UTF-8",
    ),
}
"""Code of a finding to what it means, and what to do."""


def explain(code: str) -> str:
    """What a code means, in one line.

    Raises:
        DatasetError: If there is no such code.

    Example:
        >>> explain("box-empty")
        'box-empty: a box has no area; correct or remove it'
    """
    if code not in CODES:
        near = get_close_matches(code, CODES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DatasetError(f"expected the code of a finding, got {shown(code)!r}{hint}")
    means, advice = CODES[code]
    return f"{code}: {means}" + ("" if advice == "nothing" else f"; {advice}")
