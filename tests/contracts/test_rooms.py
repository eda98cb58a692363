"""The picture in docs/explanation/structure.md shows every room once, and imports go down in it."""

import importlib
import sys
from pathlib import Path
from typing import Any

from tests.contracts.test_imports import LEVEL, LEVELS

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
rooms: Any = importlib.import_module("rooms")


def test_every_room_stands_once() -> None:
    drawn = [room for _, names in rooms.FLOORS for room in names]
    assert sorted(drawn) == sorted(LEVEL)
    assert all(f">{room}</text>" in rooms.draw() for room in drawn)


def test_a_floor_holds_neighbouring_levels() -> None:
    """No room stands a floor above one that it is far below: the picture would mislead."""
    middle = {
        title: sorted(LEVEL[room] for room in names)[len(names) // 2]
        for title, names in rooms.FLOORS
    }
    assert list(middle.values()) == sorted(middle.values(), reverse=True)
    assert len(LEVELS) > len(rooms.FLOORS)
