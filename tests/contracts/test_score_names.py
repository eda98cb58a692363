"""Rooms above the tasks know scores by their declaration only, never by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from frostline.members import TASKS
from frostline.tasks import task_named
from tests.contracts.test_imports import LEVEL, SOURCE

ALLOWED = {"demo"}  # it is written for its own data
TEMPLATES = SOURCE / "templates"


def _names() -> set[str]:
    declared = [score for task in TASKS for score in task_named(task).declares.scores]
    return {score.key for score in declared} | {score.label for score in declared}


def _rooms_above() -> Iterator[Path]:
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if LEVEL.get(room, -1) > LEVEL["tasks"] and room not in ALLOWED:
            yield path


def _words(tree: ast.Module) -> Iterator[str]:
    """Identifiers and their parts, and the words of strings; texts for readers of code are none."""
    texts = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from (value, *value.split("_"))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in texts:
            yield from (node.value, *re.findall(r"\w+", node.value))


def test_the_names_are_those_of_detection_and_more() -> None:
    assert {"ap", "AP", "ap50", "wheat", "wheat metric"} <= _names()


def test_no_room_above_the_tasks_names_a_score() -> None:
    names = _names() | {"wheat"}
    wrong = [
        f"{path.relative_to(SOURCE)}: {word}"
        for path in _rooms_above()
        for word in dict.fromkeys(_words(ast.parse(path.read_text(encoding="utf-8"))))
        if word in names
    ]
    assert wrong == []


def test_no_template_names_a_score() -> None:
    names = _names() | {"wheat"}
    wrong = [
        f"{path.name}: {word}"
        for path in sorted(p for p in TEMPLATES.rglob("*.*") if p.is_file())
        for word in dict.fromkeys(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        if word in names
    ]
    assert wrong == []
