"""Masks as COCO's run lengths, which pycocotools reads."""

import numpy as np
import numpy.typing as npt

__all__ = ["encoded"]

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48


def encoded(mask: npt.NDArray[np.bool_]) -> dict[str, object]:
    """A mask bool (H, W) as ``size`` and ``counts``, as ``pycocotools.mask.encode`` gives it.

    Pixels are read column by column; runs of background and of the object take turns, background
    first. From the third on, a run is the difference to the one before the last; numbers are
    written in pieces of five bits (maskApi.c, rleToString).

    Example:
        >>> encoded(np.array([[0, 1], [1, 1]], bool))
        {'size': [2, 2], 'counts': '13'}
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    starts = (
        np.concatenate([[0], ends])
        if not len(flat) or not flat[0]
        else np.concatenate([[0, 0], ends])
    )
    runs = np.diff(np.append(starts, len(flat))).tolist()
    text = "".join(_packed(run - (runs[n - 2] if n > 2 else 0)) for n, run in enumerate(runs))  # noqa: PLR2004
    return {"size": list(mask.shape), "counts": text}


def _packed(number: int) -> str:
    text = ""
    while True:
        piece = number & (_MORE - 1)
        number >>= _BITS
        over = number != (-1 if piece & _SIGN else 0)
        text += chr((piece | _MORE if over else piece) + _FIRST)
        if not over:
            return text
