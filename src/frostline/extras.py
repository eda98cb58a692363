"""Optional packages: loaded where they are used, with the name of the extra that installs them."""

import importlib
from typing import Any

from frostline.errors import DependencyError

__all__ = ["install_command", "load_extra"]


def load_extra(module: str, extra: str) -> Any:
    """Import an optional package.

    Args:
        module: name of the module to import.
        extra: frostline's extra that installs it.

    Raises:
        DependencyError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise DependencyError(
            f"expected the package {module} for this, but it cannot be imported ({reason}); "
            f"install it with: {install_command(extra)}"
        ) from None


def install_command(extra: str) -> str:
    """What to type; pip then keeps the frostline that is installed, also one from a clone."""
    return f"pip install 'frostline[{extra}]'"
