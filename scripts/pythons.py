"""Which Pythons frostline names, and where this machine has them.

``python scripts/pythons.py 3.13`` prints the path of a Python 3.13, or that there is none and ends
with 1; ``python scripts/pythons.py others`` prints the named versions that it does not run on.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

__all__ = ["ROOT", "find", "main", "named", "others"]

ROOT = Path(__file__).resolve().parents[1]
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d+\.\d+)")


def named(root: Path = ROOT) -> list[str]:
    """The versions in ``pyproject.toml``'s classifiers, oldest first, such as ``"3.11"``."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [match[1] for match in map(_CLASSIFIER.fullmatch, project["classifiers"]) if match]
    return sorted(found, key=_numbers)


def find(version: str) -> Path | None:
    """A Python of this version: the one running, on the ``PATH``, or pyenv's newest; or None."""
    here = Path(getattr(sys, "_base_executable", sys.executable))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    installed = sorted(pyenv.glob(f"{version}.*"), key=lambda path: _numbers(path.name))
    places = [
        here,
        shutil.which(f"python{version}"),
        *(path / "bin" / f"python{version}" for path in reversed(installed)),
    ]
    return next((Path(place) for place in places if place and _is(place, version)), None)


def _is(python: str | Path, version: str) -> bool:
    """Whether it runs (a shim of pyenv may not) and is of this version."""
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return False
    return ran.returncode == 0 and ran.stdout.strip() == version


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def others() -> list[str]:
    """The named versions but the one that runs this."""
    return [version for version in named() if version != "{}.{}".format(*sys.version_info)]


def main() -> None:
    """Print the versions, or where one is; without one, say so and end with 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", metavar="VERSION|others", help="such as 3.13")
    what = parser.parse_args().what
    found = " ".join(others()) if what == "others" else find(what)
    if found is None:
        sys.exit(f"no Python {what} on the PATH or in pyenv")
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
