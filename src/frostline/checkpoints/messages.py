"""Names out of files that may be hostile, made fit for a message."""

__all__ = ["quoted"]

_LONGEST = 80


def quoted(name: object) -> str:
    """A name on one line of plain ASCII, quoted and of bounded length.

    What comes from a file may hold terminal escapes or be a megabyte long.

    Example:
        >>> quoted("a" * 200)[-5:]
        "aa..'"
    """
    text = str(name) if not isinstance(name, bytes) else name.decode("latin-1")
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 2] + ".."
    return ascii(text)
