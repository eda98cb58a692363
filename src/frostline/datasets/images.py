"""Opening images that annotations name: inside the root only, and never larger than allowed."""

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from frostline.datasets.files import open_tree
from frostline.datasets.findings import shown
from frostline.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "MAX_IMAGE_BYTES",
    "MAX_PIXELS",
    "exif_orientation",
    "grey_thumbnail",
    "image_size",
    "is_grey",
    "is_turned",
    "largest_level",
    "load_image",
    "load_mask",
    "thumbnail_of",
]

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: 256 MiB of RGB, as Pillow's own warning limit."""

MAX_IMAGE_BYTES = 1 << 28
"""Largest image file that is opened, in bytes."""

_MAX_16_BIT = 0xFFFF
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = (5, 6, 7, 8)  # EXIF orientations of images that viewers turn by a quarter
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")
_COLOURS = 8  # of a mask that are named in a message
_LOCK = threading.Lock()

# Only these decoders run. Pillow knows more, some of which start other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF")


def image_size(root: Path, file: str) -> tuple[int, int]:
    """Width and height in pixels as stored, from the header alone (EXIF rotation is ignored).

    Raises:
        DatasetError: If the file is absent, unreadable, or outside the root.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        return image.width, image.height


def exif_orientation(root: Path, file: str) -> int:
    """EXIF orientation, 1 (as stored) to 8; 1 where there is none or it cannot be read.

    5 to 8 mean that viewers show the image turned by a quarter.

    Raises:
        DatasetError: As `image_size`.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        try:
            value = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # a broken EXIF block is no reason to refuse the pixels
            return 1
    return value if value in range(1, 9) else 1


def is_turned(root: Path, file: str, size: tuple[int, int], stored: tuple[int, int]) -> bool:
    """Whether a size (width, height) is that of the image as viewers turn it by a quarter (EXIF).

    Args:
        root: Folder of the data set.
        file: Relative POSIX path.
        size: As annotated.
        stored: As `image_size` has it. Where both are one, the image counts as not turned.

    Raises:
        DatasetError: As `image_size`.
    """
    return size == stored[::-1] != stored and exif_orientation(root, file) in _TURNED


def load_image(
    root: Path,
    file: str,
    *,
    max_pixels: int = MAX_PIXELS,
    size: tuple[int, int] | None = None,
    grey_levels: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode one image.

    The EXIF orientation is applied only where ``size`` says so: boxes of COCO and of most other
    layouts refer to the pixels as stored. Grey and palette images become RGB; transparency is
    dropped, not blended (as OpenCV and torchvision do); of 16-bit images the upper eight bits are
    kept, unless ``grey_levels`` says that not all levels are used.

    Args:
        root: Folder of the data set, see `resolve_inside`.
        file: Relative POSIX path.
        max_pixels: Refuse images with more pixels than this, before decoding; at most `MAX_PIXELS`.
        size: Width and height that boxes refer to; where they are those of the image as viewers
            turn it, see `is_turned`, the pixels are turned likewise. None: as stored.
        grey_levels: How many levels 16-bit grey images use, 256 to 65536, the same for all images
            of a set: level v becomes ``v * 256 // grey_levels``. None: 65536, all of them.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DatasetError: If the file is absent, truncated, unreadable, too large or outside the root;
            or a level is above those there are.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        if image.width * image.height > max_pixels:
            raise _too_many(file, image, max_pixels)
        stored = (image.width, image.height)
        try:
            pixels = _to_rgb(image, grey_levels or _MAX_16_BIT + 1)
        except Exception as error:  # decoders raise anything from SyntaxError to struct.error
            raise _unreadable(file, error) from error
    if size is None or not is_turned(root, file, size, stored):
        return pixels
    return _turned(pixels, exif_orientation(root, file))


def _turned(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, 3) as viewers show them, (W, H, 3), for an orientation from 5 to 8."""
    turned = pixels.swapaxes(0, 1)  # 5
    if orientation in (6, 7):
        turned = turned[:, ::-1]
    if orientation in (7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def is_grey(root: Path, file: str) -> bool:
    """Whether an image has one channel, which is repeated for networks that want three.

    Raises:
        DatasetError: As `image_size`.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        return _header(stream, file).mode in _GREY


def largest_level(root: Path, file: str) -> int | None:
    """Largest level of a 16-bit grey image, 0 to 65535; None for all other images.

    Raises:
        DatasetError: As `load_image`.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        if not image.mode.startswith("I"):
            return None
        if image.width * image.height > MAX_PIXELS:
            raise _too_many(file, image, MAX_PIXELS)
        try:
            return int(_sixteen_bits(image).max())
        except Exception as error:
            raise _unreadable(file, error) from error


def grey_thumbnail(root: Path, file: str, side: int) -> npt.NDArray[np.float32]:
    """A small grey copy of an image, each value the mean of its part of the image.

    JPEG files are decoded at a part of their size, which is several times faster; values differ
    from those of the whole image by less than compression changes.

    Args:
        root: Folder of the data set.
        file: Relative POSIX path.
        side: Height and width of the result, px.

    Returns:
        float32 (side, side), 0 to 255; of 16-bit images with 255 for the largest level.

    Raises:
        DatasetError: As `load_image`.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        if image.width * image.height > MAX_PIXELS:
            raise _too_many(file, image, MAX_PIXELS)
        try:
            image.draft("L", (2 * side, 2 * side))
            return thumbnail_of(image, side)
        except Exception as error:
            raise _unreadable(file, error) from error


def thumbnail_of(image: Any, side: int) -> npt.NDArray[np.float32]:
    """A Pillow image as float32 (side, side), see `grey_thumbnail`."""
    from PIL import Image

    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float32)
        grey = Image.fromarray(levels * (255 / max(float(levels.max()), 1)))
    elif image.mode in ("P", "PA"):
        grey = image.convert("RGBA").convert("RGB").convert("L")
    else:
        grey = image if image.mode == "L" else image.convert("RGB").convert("L")
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.float32)


def load_mask(root: Path, file: str, *, colours: bool = False) -> npt.NDArray[np.int32]:
    """Decode a mask: numbers of classes, never blended, or colours.

    A palette's numbers are taken, not its colours; so is the one number of a grey pixel, and that
    of a colour picture all of whose pixels are grey.

    Args:
        root: Folder of the masks.
        file: Relative POSIX path.
        colours: Whether classes are told by colour.

    Returns:
        int32 (H, W): values, or ``r << 16 | g << 8 | b`` where ``colours`` are asked for.

    Raises:
        DatasetError: As `load_image`; or it is a colour picture and numbers are expected.
    """
    with open_tree(root).open(file, MAX_IMAGE_BYTES) as stream:
        image = _header(stream, file)
        if image.width * image.height > MAX_PIXELS:
            raise DatasetError(
                f"{shown(file)}: expected at most {MAX_PIXELS} pixels, got "
                f"{image.width}x{image.height}"
            )
        try:
            if colours:
                return _packed(np.array(image.convert("RGBA").convert("RGB"), dtype=np.uint8))
            if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
                return np.asarray(image).astype(np.int32)
            if image.mode in ("LA", "PA", "La"):
                return np.asarray(image)[..., 0].astype(np.int32)
            rgb = np.array(image.convert("RGB"), dtype=np.uint8)
        except Exception as error:
            raise _unreadable(file, error) from error
    if (rgb == rgb[..., :1]).all():
        return rgb[..., 0].astype(np.int32)
    found = np.unique(_packed(rgb))
    named = ", ".join(f"[{c >> 16}, {c >> 8 & 255}, {c & 255}]" for c in found[:_COLOURS])
    raise DatasetError(
        f"{shown(file)}: expected one number a pixel, got {len(found)} colours ({named}"
        f"{', ...' if len(found) > _COLOURS else ''}); name them under data.masks.colours"
    )


def _packed(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Colours uint8 (H, W, 3) as one number each, int32 (H, W)."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _header(stream: BinaryIO, file: str) -> "Image":
    from PIL import Image

    try:
        # The filters of warnings are the process's own, and images are opened in threads.
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(stream, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(
            f"{shown(file)}: expected at most {MAX_PIXELS} pixels, the image has more; make it "
            f"smaller or cut it into tiles"
        ) from error
    except Exception as error:
        raise _unreadable(file, error) from error


def _too_many(file: str, image: "Image", max_pixels: int) -> DatasetError:
    return DatasetError(
        f"{shown(file)}: expected at most {max_pixels} pixels, got {image.width}x{image.height}; "
        f"make the image smaller or cut it into tiles"
    )


def _unreadable(file: str, error: Exception) -> DatasetError:
    # Pillow's own text for this error has the absolute path of the file in it.
    unknown = type(error).__name__ == "UnidentifiedImageError"
    came = "something else" if unknown else f"{type(error).__name__}: {shown(error)}"
    formats = ", ".join(_FORMATS)
    return DatasetError(f"{shown(file)}: expected a readable image ({formats}), got {came}")


def _to_rgb(image: Any, grey_levels: int) -> npt.NDArray[np.uint8]:
    """Decoded pixels as uint8 (H, W, 3)."""
    if image.mode.startswith("I"):
        grey = _sixteen_bits(image)
        if grey.max() >= grey_levels:
            raise ValueError(f"grey level {grey.max()} of {grey_levels}: correct data.grey_levels")
        return np.repeat((grey * 256 // grey_levels).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it as 8 or 16 bit")
    if image.mode in ("P", "PA"):  # through RGBA, or Pillow guesses about transparent entries
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _sixteen_bits(image: Any) -> npt.NDArray[np.int64]:
    """Levels (H, W) of 16-bit grey: I;16, I;16B, or I with 16-bit values."""
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > _MAX_16_BIT:
        raise ValueError(f"32-bit values from {grey.min()} to {grey.max()}")
    return grey
