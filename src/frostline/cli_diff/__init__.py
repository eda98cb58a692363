"""``frostline diff``: what changed between weight files, layer by layer.

Start-up is most of the time that this command takes, so what it imports is counted: numpy and our
own modules for JSON and CSV, rich for a table, matplotlib for a figure, and Typer, which costs
more than the comparison of two ResNet-50, only where ``quick`` cannot read the arguments.
"""

from typing import Any

__all__ = ["diff"]


def __getattr__(name: str) -> Any:
    if name != "diff":
        raise AttributeError(f"module 'frostline.cli_diff' has no attribute '{name}'")
    from frostline.cli_diff.command import diff

    return diff
