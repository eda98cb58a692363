"""A small XML reader that knows line numbers and refuses everything but elements and text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from frostline.datasets.decoding import decoded_xml
from frostline.datasets.files import Tree
from frostline.datasets.findings import shown
from frostline.errors import DatasetError

__all__ = ["Element", "is_cvat", "parse_xml"]

_MAX_DEPTH = 64
_HEAD = 1 << 12
_FIRST_TAG = re.compile(rb"<([A-Za-z]\w*)")


@dataclass
class Element:
    """An XML element: tag, the line it starts on, text, children, and attributes.

    Of a document, ``encoding`` is what was found where it says no encoding, or a wrong one.
    """

    tag: str
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    encoding: str | None = None

    def all(self, tag: str) -> Iterator["Element"]:
        """Children with this tag."""
        return (child for child in self.children if child.tag == tag)

    def find(self, path: str) -> "Element | None":
        """First descendant at a path such as ``size/width``, or None."""
        found: Element | None = self
        for tag in path.split("/"):
            found = next(found.all(tag), None) if found is not None else None
        return found

    def value(self, path: str) -> str | None:
        """Text at a path, without white space around it; None if there is no such element."""
        found = self.find(path)
        return None if found is None else found.text.strip()


class _Refused(Exception):  # noqa: N818 - internal signal, becomes a DatasetError
    pass


class _Builder:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.root = Element("", 0)
        self._open = [self.root]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _MAX_DEPTH:
            raise _Refused(f"elements nested deeper than {_MAX_DEPTH}")
        element = Element(tag, self.parser.CurrentLineNumber, attributes=attributes)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, tag: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text += text

    def _doctype(self, *_: object) -> None:
        # Entities, which can expand to gigabytes or name other files, exist only with a DOCTYPE.
        raise _Refused("a DOCTYPE, which annotations do not need")


def parse_xml(data: bytes, name: str) -> Element:
    """Parse an XML document without DOCTYPE.

    Args:
        data: Content of the file; its encoding is the one it declares, or that is found.
        name: File name for messages.

    Returns:
        The document element.

    Raises:
        DatasetError: If it is not well-formed, has a DOCTYPE (and so could have entities), or is
            nested more than 64 deep.
    """
    text, encoding = decoded_xml(data, name)
    builder = _Builder()
    try:
        builder.parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise DatasetError(
            f"{shown(name)}, line {error.lineno}: expected XML, got {message}"
        ) from error
    except _Refused as error:
        line = builder.parser.CurrentLineNumber
        raise DatasetError(f"{shown(name)}, line {line}: expected plain XML, got {error}") from None
    root = builder.root.children[0]
    root.encoding = encoding
    return root


def is_cvat(tree: Tree, name: str) -> bool:
    """Whether a file is CVAT's XML of many images, by its ending and its first element.

    Raises:
        DatasetError: If it is absent or unreadable.
    """
    if not name.lower().endswith(".xml"):
        return False
    with tree.open(name) as stream:
        first = _FIRST_TAG.search(stream.read(_HEAD))
    return first is not None and first[1] == b"annotations"
