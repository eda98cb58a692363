"""What a study names and has a file of its own: one table each, name to module.

They are read where no deep-learning framework is wanted: checking a file, completing a word.
A new member is its file, its line here and its test.
"""

import difflib
from collections.abc import Iterable

__all__ = ["ARCHITECTURES", "nearest"]

#: Modules with an ``ARCHITECTURE``; importing one imports no torch.
ARCHITECTURES: dict[str, str] = {
    "faster_rcnn": "frostline.architectures.faster_rcnn",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """Which of the known names may be meant, for the end of a message; empty if none is near.

    Example:
        >>> nearest("fasterrcnn", ARCHITECTURES)
        '; did you mean faster_rcnn?'
    """
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
