"""What the tests of a module do not notice: small changes of its code, tried on its own tests.

``python scripts/mutants.py`` draws mutants of every room with a seed, writes each into a copy of
the package in a temporary folder, never into the tree, and runs the room's tests on it until the
first one fails. A mutant under which all pass has survived: it is equivalent, or a test is missing.
Each runs in a fork of a process that has imported what the tests import, which saves most of the
time; one that takes far more processor time than the tests do is stopped and counts as killed.

With ``--rows`` results are appended to a file as they come, and the same command goes on there;
take another file when code or tests have changed.
"""

import argparse
import ast
import collections
import contextlib
import copy
import dataclasses
import functools
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

__all__ = ["ROOMS", "Mutant", "Room", "draw", "main", "mutants"]

ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = ROOT / "src" / "frostline"
_BROKEN = 70  # exit code of a process whose tests did not run
_WALL = 8  # times the processor time that a mutant may take: other processes may be running

_OPPOSITES: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """Modules, and the tests that are theirs.

    Attributes:
        modules: paths inside the package.
        tests: arguments of pytest, the quickest tests first.
        seconds: processor time, well above what the tests take.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    seconds: int


ROOMS = {
    "freezing": Room(("freezing.py",), ("tests/test_freezing.py",), 60),
    "plans": Room(
        ("plans.py",), ("tests/test_plans.py", "tests/contracts/test_frozen_names.py"), 30
    ),
    "observing": Room(
        ("observing.py", "tracing.py", "passage.py", "attention.py"),
        (
            *("tests/test_observing.py", "tests/test_passage.py", "tests/test_attention.py"),
            *("tests/test_tracing.py", "tests/contracts/test_frozen_names.py"),
        ),
        30,
    ),
    "difference": Room(
        tuple(
            f"difference/{name}.py"
            for name in (
                *("cosine", "filters", "folded", "layers", "norms", "results", "scatter", "sums"),
                "tensors",
            )
        ),
        ("tests/difference",),
        30,
    ),
    "records": Room(
        ("records.py",),
        (
            *("tests/test_records.py", "tests/contracts/test_record_schema.py"),
            "tests/contracts/test_first_records.py",
        ),
        30,
    ),
    "answer": Room(("reporting/answer.py",), ("tests/reporting/test_answer.py",), 40),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: path inside the package.
        line: where, in lines from 1.
        column: and in columns from 0.
        change: what stood there, and what stands there now.
        source: the whole module with the change.
    """

    module: str
    line: int
    column: int
    change: str
    source: str

    @property
    def name(self) -> str:
        """``plans.py:88:27: version > 1 -> version >= 1``."""
        return f"{self.module}:{self.line}:{self.column}: {self.change}"


def mutants(source: str, module: str) -> list[Mutant]:
    """Every mutant of a module's code: comparisons, and/or, arithmetic, constants, statements.

    Annotations, docstrings, decorators, constants of type text and ``__all__`` stay as they are.

    Args:
        source: the code.
        module: its path inside the package.
    """
    return [_mutant(module, *site) for site in _sites(source)]


def draw(room: Room, number: int, seed: int) -> list[Mutant]:
    """Some mutants of a room, spread over its modules by how many each has."""
    every = [(name, *site) for name in room.modules for site in _sites(_read(name))]
    some = random.Random(seed).sample(every, min(number, len(every)))  # noqa: S311
    return [_mutant(*site) for site in some]


def _sites(source: str) -> list[tuple[ast.Module, ast.AST, ast.AST]]:
    """The whole code, a part of it, and what may stand there instead."""
    tree = ast.parse(source)
    left_out = set(_left_out(tree))
    nodes = [node for node in ast.walk(tree) if id(node) not in left_out]
    return [(tree, node, new) for node in nodes for new in _changes(node)]


def _mutant(module: str, tree: ast.Module, node: ast.AST, new: ast.AST) -> Mutant:
    text = ast.unparse(ast.fix_missing_locations(_Replace(node, new).visit(tree)))
    _Replace(new, node).visit(tree)
    change = f"{_short(node)} -> {_short(new)}"
    return Mutant(module, node.lineno, node.col_offset, change, text)  # type: ignore[attr-defined]


class _Replace(ast.NodeTransformer):
    """One node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=operators):
            for place, operator in enumerate(operators):
                flipped = [*operators]
                flipped[place] = _OPPOSITES[type(operator)]()
                yield _with(node, ops=flipped)
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            if type(operator) in _OPPOSITES:
                yield _with(node, op=_OPPOSITES[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool() | int() | float() as value):
            yield _with(node, value=not value if isinstance(value, bool) else value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield _with(node, value=ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.copy_location(ast.Pass(), node)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _left_out(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts.append(node.annotation)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            parts += node.decorator_list
            parts.append(getattr(node, "returns", None))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(node)  # a docstring
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            parts.append(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            parts.append(node)
        if isinstance(node, ast.FormattedValue):
            parts.append(node.format_spec)
        for part in parts:
            if part is not None:
                yield from (id(inner) for inner in ast.walk(part))


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return textwrap.shorten(ast.unparse(node), 70, placeholder="...")


def _read(module: str) -> str:
    return (_PACKAGE / module).read_text(encoding="utf-8")


class _Bench:
    """A copy of the package, and forked processes that run tests on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(_PACKAGE, folder / "frostline", ignore=shutil.ignore_patterns("*.pyc"))
        self.durations: dict[str, float] = {}
        self._written = int(time.time())
        os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
        sys.path[:0] = [str(folder), str(ROOT)]

    def warm(self, room: Room) -> None:
        """Run the room's tests on the code as it is, and import here what they imported."""
        noted = self.folder / "imported.json"
        self._require_passing(room, noted)
        names, self.durations = json.loads(noted.read_text())
        for name in names:
            with contextlib.suppress(Exception):  # names that only pytest's loader knows
                importlib.import_module(name)
        self._require_passing(room, noted)  # so that none is killed by what was imported

    def _require_passing(self, room: Room, noted: Path) -> None:
        verdict, seconds = self._fork(room, noted)
        sys.stderr.write(f"{' '.join(room.tests)}: {verdict} in {seconds:.0f} s\n")
        if verdict != "survived":
            raise SystemExit("expected the tests to pass without any mutant")

    def judge(self, mutant: Mutant, room: Room) -> tuple[str, float]:
        """``killed``, ``timed out`` or ``survived``, and the seconds that it took."""
        self._write(mutant.module, mutant.source)
        try:
            return self._fork(room, None)
        finally:
            self._write(mutant.module, _read(mutant.module))

    def _write(self, module: str, source: str) -> None:
        """With a time of its own, by which Python knows that compiled code is of another text."""
        place = self.folder / "frostline" / module
        place.write_text(source, encoding="utf-8")
        self._written += 1
        os.utime(place, (self._written, self._written))

    def _fork(self, room: Room, noted: Path | None) -> tuple[str, float]:
        start, child = time.monotonic(), os.fork()
        if child == 0:
            _test(self.folder, room, noted, _Order(self.durations))
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - start
            if pid:
                break
            if seconds > _WALL * room.seconds:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.02)
        return _verdict(os.waitstatus_to_exitcode(status)), seconds


def _verdict(code: int) -> str:
    """Of pytest's exit codes, 2 is an error while it collects; below 0 are signals."""
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return "timed out"
    if code not in (0, 1, 2) and code >= 0:
        raise SystemExit(f"expected tests that pass or fail, pytest ended with {code}")
    return "killed" if code else "survived"


class _Order:
    """A plugin of pytest: the quickest tests first, as the first one to fail ends a mutant."""

    def __init__(self, durations: dict[str, float]) -> None:
        self.durations = collections.defaultdict(float, durations)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.durations[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.durations[report.nodeid] += report.duration


def _test(folder: Path, room: Room, noted: Path | None, order: _Order) -> None:
    """In the forked process: the tests, and an end without a way back."""
    code = _BROKEN
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (room.seconds, room.seconds))
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)
        os.chdir(ROOT)
        options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
        imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins, in the parent
        code = int(pytest.main([*options, *imported, *room.tests], plugins=[order]))
        home = str(getattr(sys.modules.get("frostline"), "__file__", folder))
        if not home.startswith(str(folder)):
            code = _BROKEN
        if noted is not None:
            own = ("frostline", "tests", "conftest", "_pytest", "__")
            names = [name for name in [*sys.modules] if not name.startswith(own)]
            noted.write_text(json.dumps((names, order.durations)))
    finally:
        os._exit(code)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Try mutants and print a table of what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--room", choices=ROOMS, action="append", help="default: all")
    parser.add_argument("--number", type=int, default=50, help="mutants a room (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="file to append to, and to go on from")
    parser.add_argument("--again", type=Path, help="take the survivors in a file of rows instead")
    chosen = parser.parse_args(arguments)
    if chosen.again:
        drawn = _survivors(chosen.again)
    else:
        rooms = chosen.room or [*ROOMS]
        drawn = {room: draw(ROOMS[room], chosen.number, chosen.seed) for room in rooms}
    done = _done(chosen.rows) if chosen.rows else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder))
        for room, some in drawn.items():
            left = [m for m in some if (room, m.name) not in done]
            if left:
                bench.warm(ROOMS[room])
            for mutant in left:
                verdict, seconds = bench.judge(mutant, ROOMS[room])
                done[room, mutant.name] = verdict
                row = {"room": room, "mutant": mutant.name, "verdict": verdict}
                if chosen.rows:
                    with chosen.rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row | {"seconds": round(seconds, 1)}) + "\n")
    _show(drawn, done)


@functools.cache
def _every(module: str) -> list[Mutant]:
    return mutants(_read(module), module)


def _survivors(rows: Path) -> dict[str, list[Mutant]]:
    """The survivors in a file, by room, in today's code: the same change nearest to its place."""
    found: dict[str, list[Mutant]] = {}
    for (room, name), verdict in _done(rows).items():
        if verdict == "survived":
            module, line, _, change = name.split(":", 3)
            same = [m for m in _every(module) if m.change == change.strip()]
            nearest = sorted(same, key=lambda mutant: abs(mutant.line - int(line)))
            found.setdefault(room, []).extend(nearest[:1])
    return found


def _done(rows: Path) -> dict[tuple[str, str], str]:
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    return {(row["room"], row["mutant"]): row["verdict"] for row in map(json.loads, lines)}


def _show(drawn: dict[str, list[Mutant]], done: dict[tuple[str, str], str]) -> None:
    _say("| room | mutants | killed | timed out | survived |\n|---|---|---|---|---|")
    for room, some in drawn.items():
        counts = collections.Counter(done[room, mutant.name] for mutant in some)
        shown = (counts[verdict] for verdict in ("killed", "timed out", "survived"))
        _say(f"| {room} | {len(some)} | {' | '.join(map(str, shown))} |")
    for room, some in drawn.items():
        for mutant in some:
            if done[room, mutant.name] == "survived":
                _say(f"- {room}: `{mutant.name}`")


if __name__ == "__main__":
    main()
