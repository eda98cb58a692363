"""Text in the encoding that it says, or in the one that its bytes are told by.

UTF-8 is tried first: what is no UTF-8 fails it. Among the other encodings nearly every text is
possible in several, so one is taken only where most of what it gives is common in writing.
"""

import codecs
import re
from collections.abc import Callable
from encodings import normalize_encoding
from encodings.aliases import aliases

from frostline.datasets.findings import shown
from frostline.errors import DatasetError

__all__ = ["decoded", "decoded_xml"]

_BOMS = (  # that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""^\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']"""
)
_KNOWN = re.compile(
    r"utf_8|utf_16(_[bl]e)?|ascii|latin_1|gb.*|big5.*|shift_jis.*|cp\d+|euc_\w+|iso2022_\w+"
    r"|iso8859_\d+|koi8_\w|mac_\w+"
)
_WIDER = {  # what writers mean who name the older, smaller set
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "iso8859_1": "cp1252",
    "latin_1": "cp1252",
    "ascii": "utf_8",
}
_SINGLE = re.compile(r"cp125\d|iso8859_\d+|koi8_\w|mac_\w+|cp437|cp850")
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_LOOKED_AT = 1 << 20  # bytes that an encoding is told by
_MOST = 0.8  # share of characters that must be common
_CYRILLIC_RUN = 3  # letters of a word; in Latin script three in a row do not have accents


def decoded(data: bytes, name: str) -> tuple[str, str | None]:
    """Text of a file without a declaration, less its byte order mark.

    Returns:
        The text, and the encoding that was found where it is neither UTF-8 nor marked.

    Raises:
        DatasetError: If the bytes are text in no encoding that is known here.

    Example:
        >>> decoded("小麦".encode("gbk"), "classes.txt")
        ('小麦', 'gb18030')
    """
    marked = _by_mark(data, name)
    if marked is not None:
        return marked, None
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        found = _found(data)
        if found is not None:
            return found
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{shown(name)}, line {line}: expected UTF-8 text, got byte "
            f"0x{data[error.start]:02x}; save the file as UTF-8"
        ) from error


def decoded_xml(data: bytes, name: str) -> tuple[str, str | None]:
    """Text of an XML file in the encoding that it declares, or that is found where it is wrong.

    Returns:
        The text, and the encoding that was found where the file says another or none.

    Raises:
        DatasetError: As `decoded`.
    """
    declared = _DECLARED.match(data)
    encoding = _known(declared[1].decode("ascii")) if declared else None
    if encoding is None or _by_mark(data, name) is not None:
        return decoded(data, name)
    text = _tried(data, encoding)
    if text is None:
        return decoded(data, name)
    if encoding != "utf_8" and not data.isascii() and not _plausible(data, encoding):
        other = _tried(data, "utf-8")
        if other is not None:
            return other, "utf-8"
    return text, None


def _by_mark(data: bytes, name: str) -> str | None:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = _tried(data[len(mark) :], encoding)
            if text is None:
                raise DatasetError(f"{shown(name)}: expected text in {encoding}, as it is marked")
            return text
    return None


def _known(name: str) -> str | None:
    """Codec of a declared encoding; None for what is no encoding of text that tools write.

    Names are looked up in a table: asking for a codec would import a module of its name.
    """
    plain = normalize_encoding(name).lower().replace(".", "_")
    plain = aliases.get(plain, plain)
    return _WIDER.get(plain, plain) if _KNOWN.fullmatch(plain) else None


def _tried(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):  # the latter: cp12345
        return None


def _found(data: bytes) -> tuple[str, str] | None:
    if _NO_TEXT.search(data):
        return None
    for encoding in _COMMON:
        if _plausible(data, encoding):
            text = _tried(data, encoding)
            if text is not None:
                return text, encoding
    return None


def _plausible(data: bytes, encoding: str) -> bool:
    """Whether most of what is not ASCII would be common characters."""
    if _SINGLE.fullmatch(encoding) and _tried(data[:_LOOKED_AT], "utf-8") is not None:
        return False  # accented letters are no UTF-8 by chance
    is_common = _COMMON.get(encoding)
    if is_common is None:
        return True
    pieces = [m.group() for m in _NOT_ASCII.finditer(data[:_LOOKED_AT])]
    return is_common(pieces, data[:_LOOKED_AT])


def _is_chinese(pieces: list[bytes], data: bytes) -> bool:
    """By the first level of GB 2312: the 3755 characters that nearly all text is made of."""
    text = data.decode("gb18030", "ignore")
    found = [c for c in text if not c.isascii()]
    common = sum(_lead(c, "gb2312", 0xB0, 0xD7) or "\u3000" <= c <= "\u3011" for c in found)
    even = all(len(piece) % 2 == 0 for piece in pieces[:-1])
    return bool(found) and even and common >= _MOST * len(found)


def _is_japanese(pieces: list[bytes], data: bytes) -> bool:
    """By kana, and by the first level of JIS X 0208."""
    found = [c for c in data.decode("cp932", "ignore") if not c.isascii()]
    common = sum("\u3000" <= c <= "\u30ff" or _lead(c, "cp932", 0x88, 0x98) for c in found)
    return bool(found) and common >= _MOST * len(found)


def _is_cyrillic(pieces: list[bytes], data: bytes) -> bool:
    letters = [c for c in data.decode("cp1251", "ignore") if not c.isascii()]
    common = sum("\u0410" <= c <= "\u044f" or c in "Ёё" for c in letters)
    longest = max(map(len, pieces), default=0)
    return longest >= _CYRILLIC_RUN and common >= _MOST * len(letters)


def _is_western(pieces: list[bytes], data: bytes) -> bool:
    """By letters with accents, one or two together."""
    letters = [c for c in data.decode("cp1252", "ignore") if not c.isascii()]
    common = sum(c.isalpha() for c in letters)
    short = sum(len(piece) < _CYRILLIC_RUN for piece in pieces)
    return bool(letters) and common >= _MOST * len(letters) and short >= _MOST * len(pieces)


def _lead(character: str, encoding: str, low: int, high: int) -> bool:
    """Whether a character's first byte of two in an encoding lies between these."""
    code = character.encode(encoding, "ignore")
    return len(code) == 2 and low <= code[0] <= high  # noqa: PLR2004 - bytes of one character


_COMMON: dict[str, Callable[[list[bytes], bytes], bool]] = {
    "gb18030": _is_chinese,
    "cp932": _is_japanese,
    "cp1251": _is_cyrillic,
    "cp1252": _is_western,
}
"""Encodings that are found unasked, and how each is told; the first that fits is taken."""
