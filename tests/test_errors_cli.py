"""Every error class, provoked by a real command: one line, its exit code, nothing half-written."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from frostline import cli, errors
from frostline.errors import BusyError, FrostlineError, one_line
from tests.helpers import write_study
from tests.provocations import PROVOCATIONS, Provocation, Ran, provoke, run_here

ROOT = Path(__file__).parents[1]
CLASSES = {name: getattr(errors, name) for name in errors.__all__ if name[0].isupper()}


@pytest.fixture(scope="module")
def provoked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Provocation, Ran]]:
    """All of them, run once."""
    return {
        p.error.__name__: (p, provoke(p, tmp_path_factory.mktemp(p.error.__name__)))
        for p in PROVOCATIONS
    }


def test_every_class_is_provoked_and_says_what_to_do() -> None:
    names = [p.error.__name__ for p in PROVOCATIONS]
    assert sorted(names) == sorted(set(CLASSES) - {"FrostlineError"})
    for name in names:
        # cleandoc: Python 3.13 takes the indentation off by itself
        assert "\n\nWhat to do:\n" in inspect.cleandoc(CLASSES[name].__doc__ or ""), name


@pytest.mark.parametrize("name", [p.error.__name__ for p in PROVOCATIONS])
def test_one_line_and_its_exit_code(
    name: str, provoked: dict[str, tuple[Provocation, Ran]]
) -> None:
    provocation, ran = provoked[name]
    assert ran.code == provocation.error.exit_code, ran.err
    assert "Traceback" not in ran.err
    assert not [file for file in ran.new_files if file.endswith((".tmp", "record.json"))]
    if provocation.of_trial:
        word = "elsewhere" if provocation.error is BusyError else "failed"
        assert ran.message.startswith(f"{word}: a-k52-s0: "), ran.err
        return
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: ")
    assert ran.out == ""
    assert ran.new_files == frozenset()


@pytest.mark.parametrize("name", ["TrainingError", "AuditError"])
def test_a_failed_trial_keeps_its_reason(
    name: str, provoked: dict[str, tuple[Provocation, Ran]]
) -> None:
    _, ran = provoked[name]
    assert "runs/study/trials/a-k52-s0/failure.json" in ran.new_files


def test_versions_that_do_not_fit_are_named(
    provoked: dict[str, tuple[Provocation, Ran]],
) -> None:
    _, ran = provoked["DependencyError"]
    assert "torchvision 0.24.0 needs torch==2.9.0, found 2.8.0" in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="one message has the system's error number")
def test_the_page_is_current(provoked: dict[str, tuple[Provocation, Ran]]) -> None:
    page = _make_docs().errors_page(provoked.values())
    committed = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == committed, "run `python scripts/make_docs.py`"


def _make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_system_refuses_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/study")

    monkeypatch.setattr(cli, "app", refuse)
    ran = run_here(tmp_path, "run", "study.yaml")
    assert ran.code == 2
    assert ran.err.startswith("error: [Errno 13] Permission denied: '/data/study'; check the path")
    with pytest.raises(PermissionError):
        run_here(tmp_path, "--debug", "run", "study.yaml")


def test_a_message_cannot_draw_on_the_terminal(tmp_path: Path) -> None:
    assert one_line(FrostlineError("a\n b\x1b[31m \udcff")) == r"a b\x1b[31m \udcff"
    write_study(tmp_path, inits={"a": {"source": "\x1b[31mred.pth"}})
    ran = run_here(tmp_path, "run", "study.yaml")
    assert ran.code == 2
    assert "\x1b" not in ran.err


def test_an_unknown_option_is_exit_code_two(tmp_path: Path) -> None:
    ran = run_here(tmp_path, "run", "--nonsense")
    assert ran.code == 2
    assert "Traceback" not in ran.err
