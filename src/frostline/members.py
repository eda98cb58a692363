"""What can be chosen by name and has a file of its own: light tables, name to ``module:attribute``.

They are read where no deep-learning framework is wanted: checking a file, completing a word.
A new member is its file, its line here and its test. (Layouts stand in ``layouts``, with the order
in which they are tried.)
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from frostline.errors import ConfigError

__all__ = [
    "ARCHITECTURES",
    "ENGINES",
    "TASKS",
    "TRAINERS",
    "can_pause",
    "known_member",
    "member",
    "nearest",
]

#: An ``Architecture``; importing one imports no torch.
ARCHITECTURES: dict[str, str] = {
    "faster_rcnn": "frostline.architectures.faster_rcnn:ARCHITECTURE",
    "unet": "frostline.architectures.unet:ARCHITECTURE",
}

#: A ``Task``; importing one imports no torch.
TASKS: dict[str, str] = {
    "detection": "frostline.tasks.detection:TASK",
    "segmentation": "frostline.tasks.segmentation:TASK",
}

#: A ``Trainer``: start, folder -> what was trained.
TRAINERS: dict[str, str] = {
    "frostline": "frostline.trainers.loop:fine_tune",
}

#: Trainers that stop between epochs when they are asked to, and score each epoch.
_PAUSE = frozenset({"frostline"})

#: An ``Engine``, made with a number of workers.
ENGINES: dict[str, str] = {
    "local": "frostline.engines.local:LocalEngine",
}


def can_pause(trainer: str) -> bool:
    """Whether a trainer stops between epochs and says a score after each; if not, it runs short."""
    return trainer in _PAUSE


def nearest(name: str, known: Iterable[str]) -> str:
    """Which of the known names may be meant, for the end of a message; empty if none is near.

    Example:
        >>> nearest("fasterrcnn", ARCHITECTURES)
        '; did you mean faster_rcnn?'
    """
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def known_member(table: Mapping[str, str], name: str, what: str) -> str:
    """The name itself, if the table has it.

    Args:
        table: one of the tables here.
        name: what was asked for.
        what: what the table lists, in one word.

    Raises:
        ConfigError: it is not there; names what is, and the nearest.
    """
    if name not in table:
        known = ", ".join(table)
        raise ConfigError(f"unknown {what} '{name}': expected {known}{nearest(name, table)}")
    return name


def member(table: Mapping[str, str], name: str, what: str) -> Any:
    """What a table has under a name; its module is imported now.

    Raises:
        ConfigError: as ``known_member``.
    """
    module, _, attribute = table[known_member(table, name, what)].partition(":")
    return getattr(importlib.import_module(module), attribute)
