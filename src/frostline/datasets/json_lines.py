"""On which line an entry of a JSON file stands: Python's parser does not keep that."""

import json
import re
from functools import cached_property

from frostline.datasets.files import Tree
from frostline.datasets.text import read_text

__all__ = ["EntryLines", "element_lines"]

_SPACE = re.compile(r"[ \t\n\r]*")
_ENTRY = re.compile(r"(\w+)\[(\d+)\]")


class EntryLines:
    """Lines of entries such as ``annotations[12]`` of a file; it is read when first asked."""

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree, self._name = tree, name

    def __call__(self, entry: str) -> int | None:
        """1-based line on which an entry starts; None in a file of one line."""
        named = _ENTRY.fullmatch(entry)
        lines = self._lines.get(named[1], []) if named else []
        number = int(named[2]) if named else 0
        return lines[number] if number < len(lines) else None

    @cached_property
    def _lines(self) -> dict[str, list[int]]:
        text = read_text(self._tree, self._name)
        return element_lines(text) if "\n" in text.strip() else {}


def element_lines(text: str) -> dict[str, list[int]]:
    r"""Lines on which the elements of the lists of a JSON object start.

    Args:
        text: JSON that is known to be valid, with an object at the top.

    Returns:
        Key to 1-based lines; keys whose value is no list are left out.

    Example:
        >>> element_lines('{"a": [1,\n 2], "b": 3}')
        {'a': [1, 2]}
    """
    found: dict[str, list[int]] = {}
    position = _after_space(text, _after_space(text, 0) + 1)
    line, counted = 1, 0
    while text[position] == '"':
        key, position = _decoder.raw_decode(text, position)
        position = _after_space(text, _after_space(text, position) + 1)  # behind the colon
        starts, position = _element_starts(text, position)
        if starts is not None:
            found[key] = []
            for start in starts:
                line, counted = line + text.count("\n", counted, start), start
                found[key].append(line)
        position = _after_space(text, position)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return found


def _element_starts(text: str, position: int) -> tuple[list[int] | None, int]:
    """Where the elements of the list at a position start (None if it is no list), and its end."""
    if text[position] != "[":
        return None, _decoder.raw_decode(text, position)[1]
    starts = []
    position = _after_space(text, position + 1)
    while text[position] != "]":
        starts.append(position)
        position = _after_space(text, _decoder.raw_decode(text, position)[1])
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return starts, position + 1


_decoder = json.JSONDecoder()


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()
