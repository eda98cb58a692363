"""Write constraints.txt, the versions that `make test` installs: ``make constraints``.

pip resolves the development packages on each Python that pyproject.toml names; where the answers
differ, the lines carry markers. torch and torchvision stay as they are in the file, since recorded
results were made with them: to raise them, edit their lines and run this again.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.pythons import find, named  # noqa: E402

__all__ = ["held", "main", "merged", "resolve"]

FILE = ROOT / "constraints.txt"
HELD = ("torch", "torchvision")
_HEAD = """\
# What the tests run with: `make test` and `make docs` install these versions.
# Made by `make constraints` on Linux with Python {pythons}; edit only the lines of {held}.
"""


def resolve(python: Path, constraints: str) -> dict[str, str]:
    """The versions that pip would install on this Python: name (normalised) to version.

    Args:
        python: an interpreter; its own packages are neither used nor changed.
        constraints: lines of a constraints file that hold here too.
    """
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "held.txt").write_text(constraints, encoding="utf-8")
        _run(python, "-m", "venv", folder / "venv")
        pip = folder / "venv" / "bin" / "pip"
        _run(pip, "install", "--quiet", "--upgrade", "pip>=25.1")  # the first to read groups
        options = ["--dry-run", "--ignore-installed", "--quiet", "--group", "dev"]
        files: list[str | Path] = [
            "--constraint",
            folder / "held.txt",
            "--report",
            folder / "report.json",
        ]
        _run(pip, "install", ".", *options, *files)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    found = {one["metadata"]["name"]: one["metadata"]["version"] for one in report["install"]}
    return {_normal(name): version for name, version in found.items() if name != "frostline"}


def _run(*command: str | os.PathLike[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603  (our own words)


def _normal(name: str) -> str:
    """PEP 503: one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def merged(pins: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each package, or one for each run of Pythons that get the same version.

    Args:
        pins: Python version to its packages, oldest Python first. A package that a Python lacks
            takes the line of its neighbour there.

    Example:
        >>> merged({"3.11": {"numpy": "2.4.6"}, "3.12": {"numpy": "2.5.5"}})
        ['numpy==2.4.6 ; python_version < "3.12"', 'numpy==2.5.5 ; python_version >= "3.12"']
    """
    names = sorted(set().union(*pins.values()))
    return [line for name in names for line in _lines(name, pins)]


def _lines(name: str, pins: Mapping[str, Mapping[str, str]]) -> list[str]:
    found = [(python, packages[name]) for python, packages in pins.items() if name in packages]
    runs = [list(run) for _, run in itertools.groupby(found, key=lambda one: one[1])]
    starts = [run[0][0] for run in runs]
    lines = []
    for index, run in enumerate(runs):
        limits = [f'python_version >= "{starts[index]}"'] if index else []
        limits += [f'python_version < "{start}"' for start in starts[index + 1 : index + 2]]
        marker = f" ; {' and '.join(limits)}" if limits else ""
        lines.append(f"{name}=={run[0][1]}{marker}")
    return lines


def held(text: str) -> str:
    """The lines of a constraints file that this script keeps."""
    kept = [line for line in text.splitlines() if line.partition("==")[0] in HELD]
    return "".join(f"{line}\n" for line in kept)


def main() -> None:
    """Resolve and write; nothing is written unless every Python is there."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    pythons = {version: find(version) for version in named()}
    missing = [version for version, path in pythons.items() if path is None]
    if missing:
        sys.exit(
            f"expected Python {', '.join(pythons)} on the PATH or in pyenv, "
            f"found no {', '.join(missing)}; install it, or constraints.txt would lack its versions"
        )
    kept = held(FILE.read_text(encoding="utf-8")) if FILE.exists() else ""
    pins = {version: resolve(path, kept) for version, path in pythons.items() if path}
    head = _HEAD.format(pythons=", ".join(pins), held=" and ".join(HELD))
    FILE.write_text(head + "".join(f"{line}\n" for line in merged(pins)), encoding="utf-8")


if __name__ == "__main__":
    main()
