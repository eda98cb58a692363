"""What keeps the code readable: no import circles, no long functions, one name for one thing."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import frostline

SOURCE = Path(frostline.__file__).parent

#: Lines that a function's body may have, without its docstring.
MOST_LINES = 60
IN_ONE_SITTING = 45
SITTINGS = (
    *("comparison.pairs.diff", "cli_diff.running.run", "training.train", "attempt.run_trial"),
    *("trial.begin", "trial.prepare", "judging.judge"),
)

# Two things may share a name where no reader sees both: a command and the function behind it.
COMMANDS = (
    *("cli", "cli_advise", "cli_data", "cli_diff.command", "cli_init", "cli_plan", "cli_predict"),
    "__main__",
)


def _module(path: Path) -> str:
    """``frostline.comparison.pairs`` of a file."""
    parts = ("frostline", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(path): path for path in sorted(SOURCE.rglob("*.py"))}


def _for_types(tree: ast.Module) -> set[ast.AST]:
    """Everything under ``if TYPE_CHECKING``: it imports nothing when the program runs."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules of ours that a file imports, also inside functions."""
    left_out = _for_types(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in FILES else node.module or ""


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other, smallest first."""
    reached = {name: _reach(name, imports) for name in imports}
    found = {
        tuple(sorted(other for other in reach if name in reached[other]))
        for name, reach in reached.items()
        if name in reach
    }
    return sorted((list(group) for group in found), key=len)


def _reach(name: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(imports[name])
    while left:
        other = left.pop()
        if other not in seen:
            seen.add(other)
            left += imports.get(other, ())
    return seen


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["d"], ["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions count; those for types alone do not."""
    imports = {
        module: {name for name in _imported(ast.parse(path.read_text())) if name in FILES}
        for module, path in FILES.items()
    }
    assert sum(map(len, imports.values())) > len(FILES)  # they are found at all
    assert circles(imports) == []


def _bodies() -> Iterator[tuple[str, int]]:
    """Every function and the lines of its body, without its docstring."""
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
                yield f"{module.removeprefix('frostline.')}.{node.name}", lines


def test_functions_are_short() -> None:
    long = {name: lines for name, lines in _bodies() if lines > MOST_LINES}
    assert long == {}


def test_what_is_read_in_one_sitting() -> None:
    lines = dict(_bodies())
    assert {name: lines[name] for name in SITTINGS if lines[name] > IN_ONE_SITTING} == {}


def test_one_name_means_one_thing() -> None:
    """Public classes and functions of two rooms; the members of one room share their names."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    for module, path in FILES.items():
        room = module.removeprefix("frostline.")
        if room in COMMANDS:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                places[node.name].add(room.partition(".")[0])
    twice = {
        name: rooms
        for name, rooms in places.items()
        if len(rooms) > 1 and not name.startswith("_") and name not in SHARED
    }
    assert twice == {}


#: Names that mean two things today; none is added here.
SHARED: set[str] = {"Source", "look_at", "open_source", "render", "run"}
