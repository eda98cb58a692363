"""Light tables of what can be chosen by name: reading one imports nothing of what it lists."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from frostline.errors import ConfigError

__all__ = ["known_member", "member"]


def known_member(table: Mapping[str, str], name: str, what: str) -> str:
    """The name itself, if the table has it.

    Args:
        table: name -> ``module:attribute``.
        name: what was asked for.
        what: what the table lists, in one word.

    Raises:
        ConfigError: it is not there; names what is, and the nearest.
    """
    if name in table:
        return name
    near = difflib.get_close_matches(name, table, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(f"unknown {what} '{name}': expected {', '.join(table)}{hint}")


def member(table: Mapping[str, str], name: str, what: str) -> Any:
    """What a table has under a name; its module is imported now.

    Raises:
        ConfigError: as ``known_member``.
    """
    module, _, attribute = table[known_member(table, name, what)].partition(":")
    return getattr(importlib.import_module(module), attribute)
