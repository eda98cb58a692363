"""The Pythons that we name: what is pinned for each, and that nothing pretends to be another."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from scripts import make_constraints, pythons

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def applying(name: str, python: str) -> list[Requirement]:
    """The lines of the constraints file that hold for a package on a Python."""
    where = {"python_version": python}
    return [
        pin for pin in PINS
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate(where))
    ]  # fmt: skip


def needed() -> list[Requirement]:
    """What pyproject.toml asks for, in every group."""
    groups = PYPROJECT["dependency-groups"].values()
    lines = [line for group in groups for line in group if isinstance(line, str)]
    return [Requirement(line) for line in PYPROJECT["project"]["dependencies"] + lines]


def test_the_oldest_named_python_is_the_oldest_allowed() -> None:
    assert PYPROJECT["project"]["requires-python"] == f">={pythons.named()[0]}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{pythons.named()[0].replace('.', '')}"


def test_the_readme_names_them() -> None:
    *others, newest = pythons.named()
    said = f"Python {', '.join(others)} or {newest}."
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")


def test_mypy_reads_the_python_it_runs_on() -> None:
    """Told another, it drops what that one lacks: numpy 2.5 needs 3.12, and lost its overloads."""
    assert "python_version" not in PYPROJECT["tool"]["mypy"]


@pytest.mark.parametrize("python", pythons.named())
def test_what_we_ask_for_is_pinned_once_and_as_we_ask(python: str) -> None:
    for requirement in needed():
        pins = applying(requirement.name, python)
        assert len(pins) == 1, (requirement.name, python, "run `make constraints`")
        (version,) = pins[0].specifier
        assert version.operator == "=="
        assert requirement.specifier.contains(version.version), (requirement, pins[0])


@pytest.mark.parametrize("python", pythons.named())
def test_nothing_is_pinned_twice(python: str) -> None:
    for name in {pin.name for pin in PINS}:
        assert len(applying(name, python)) <= 1, name


def test_the_file_names_the_pythons_it_was_made_on() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    made = re.search(r"^# Made by .* with Python ([\d., ]+);", text, re.MULTILINE)
    assert made is not None
    assert made[1].split(", ") == pythons.named(), "run `make constraints`"


def test_lines_of_pythons_that_differ() -> None:
    pins = {
        "3.11": {"a": "1", "b": "1", "c": "1", "backport": "1"},
        "3.12": {"a": "1", "b": "2", "c": "2"},
        "3.13": {"a": "1", "b": "2", "c": "3", "news": "5"},
    }
    assert make_constraints.merged(pins) == [
        "a==1",
        'b==1 ; python_version < "3.12"',
        'b==2 ; python_version >= "3.12"',
        "backport==1",
        'c==1 ; python_version < "3.12"',
        'c==2 ; python_version >= "3.12" and python_version < "3.13"',
        'c==3 ; python_version >= "3.13"',
        "news==5",
    ]


def test_torch_stays_as_it_is_pinned() -> None:
    text = "# torch==9\ntorch==2.14.1\ntorchmetrics==1.9.0\ntorchvision==0.29.1\n"
    assert make_constraints.held(text) == "torch==2.14.1\ntorchvision==0.29.1\n"


def test_the_running_python_is_found() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert pythons.find(version) == Path(getattr(sys, "_base_executable", sys.executable))
    assert pythons.find("2.99") is None


def test_the_others_are_all_but_the_running_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "named", lambda: ["3.1", "3.2", "3.10"])
    monkeypatch.setattr(sys, "version_info", (3, 1, 4, "final", 0))
    assert pythons.others() == ["3.2", "3.10"]


def test_a_shim_that_does_not_run_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv puts one on the PATH for every version, active or not."""
    shim = tmp_path / "python2.99"
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.find("2.99") is None


def test_pyenv_s_newest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for patch in ("9", "10"):
        python = tmp_path / "versions" / f"2.99.{patch}" / "bin" / "python2.99"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\necho 2.99\n", encoding="utf-8")
        python.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    found = pythons.find("2.99")
    assert found is not None
    assert found.parts[-3] == "2.99.10"
