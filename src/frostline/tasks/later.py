"""Functions whose module imports torch, named before it is."""

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["later"]


def later(name: str) -> Callable[..., Any]:
    """A function that imports itself when it is first called.

    Args:
        name: ``module:attribute``.

    Example:
        >>> later("math:sqrt")(9.0)
        3.0
    """
    module, _, attribute = name.partition(":")

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), attribute)(*args, **kwargs)

    call.__name__ = call.__qualname__ = attribute
    return call
