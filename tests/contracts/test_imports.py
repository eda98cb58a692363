"""Modules import strictly downwards by the table below, never sideways within a level."""

import ast
from pathlib import Path

import frostline

SOURCE = Path(frostline.__file__).parent

LEVELS = (
    ("errors",),
    ("config", "depth", "extras"),
    ("plans", "checkpoints", "datasets", "records", "observing", "hubs"),
    ("difference", "inits", "evaluation", "timm_backbones"),
    ("models", "freezing"),
    ("tasks",),
    ("training",),
    ("trial",),
    ("engines", "estimate"),
    ("study",),
    ("figures",),
    ("reporting", "comparison"),
    ("demo",),
    ("cli_data", "cli_diff", "cli_progress"),
    ("cli",),
    ("__main__",),
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}

# What needs no deep-learning framework: no import of these, not even inside a function.
LIGHT = (
    *("errors", "config", "depth", "plans", "checkpoints", "datasets", "records", "difference"),
    "evaluation",
)
HEAVY = ("torch", "torchvision", "timm", "huggingface_hub", "lightning_fabric", "matplotlib")


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            found.add(node.module or "")
            if node.module == "frostline":
                found |= {f"frostline.{alias.name}" for alias in node.names}
    return found


def _files() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def test_every_module_has_a_level() -> None:
    assert {_room(path) for path in _files()} == set(LEVEL)


def test_imports_point_down() -> None:
    wrong = []
    for path in _files():
        for name in _imports(path):
            if not name.startswith("frostline."):
                continue
            room, other = _room(path), name.split(".")[1]
            if room != other and LEVEL[room] <= LEVEL[other]:
                wrong.append(f"{room} imports {other}")
    assert wrong == []


def test_light_modules_stay_light() -> None:
    wrong = [
        f"{_room(path)} imports {name}"
        for path in _files()
        if _room(path) in LIGHT
        for name in _imports(path)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []
