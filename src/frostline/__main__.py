"""The command line, as ``frostline`` and as ``python -m frostline``."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Entry point: ``diff`` by its own parser where that understands it, all else by Typer."""
    if sys.argv[1:2] == ["diff"]:
        from frostline.cli_diff.quick import run_quickly

        code = run_quickly(sys.argv[2:])
        if code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # all is written; taking numpy down in order would be 20 ms more
    from frostline.cli import main as typer_main

    typer_main()


if __name__ == "__main__":
    main()
