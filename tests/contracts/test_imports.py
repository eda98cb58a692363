"""Modules import strictly downwards by the table below, never sideways within a level."""

import ast
from pathlib import Path

import frostline

SOURCE = Path(frostline.__file__).parent

LEVELS = (
    ("errors", "notebook", "csv_text", "seeds", "boxes"),
    ("scores",),
    ("detection_scores", "segmentation_scores"),
    ("passage", "attention"),
    ("depth", "extras", "layouts", "members", "tracing", "variants"),
    ("config",),
    ("identity",),
    ("record_versions",),
    ("plans", "checkpoints", "datasets", "records", "observing", "schema", "hubs"),
    ("cells", "difference", "evaluation", "loading", "starter", "weights_header"),
    ("events", "prices", "rates", "rules", "study_file"),
    ("policy",),
    ("trial_folder",),
    ("freezing", "doctor"),
    ("backbones",),
    ("architectures",),
    ("inits", "tasks", "lightning"),
    ("training",),
    ("trial",),
    ("judging", "measuring", "trainers"),
    ("attempt",),
    ("engines", "estimate", "figures"),
    ("predicting", "study", "pages"),
    ("advice", "signals", "study_notes"),
    ("advising", "reporting", "comparison"),
    ("demo",),
    ("cli_table",),
    ("cli_data", "cli_diff", "cli_progress"),
    ("watching", "cli_init", "cli_plan"),
    ("api",),
    ("cli_advise", "cli_predict"),
    ("cli",),
    ("__main__",),
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}

# What needs no deep-learning framework: no import of these, not even inside a function (for types
# alone they may be named).
LIGHT = (
    *("errors", "config", "depth", "plans", "checkpoints", "datasets", "records", "difference"),
    *("evaluation", "loading", "schema", "starter", "study", "identity", "members", "events"),
    *("record_versions", "study_file", "policy", "cli_progress", "passage", "advice"),
    *("prices", "rates", "variants"),
)
HEAVY = ("torch", "torchvision", "timm", "huggingface_hub", "lightning_fabric", "matplotlib")


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


class _AtRunTime(ast.NodeTransformer):
    """Leaves out what stands under ``if TYPE_CHECKING``."""

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.If(node.test, [ast.Pass()], node.orelse)
        return node


def _imports(path: Path, *, for_types: bool = True) -> set[str]:
    """Absolute names of all modules that a file imports, also inside functions."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree if for_types else _AtRunTime().visit(tree)):
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
        for name in _imports(path, for_types=False)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []
