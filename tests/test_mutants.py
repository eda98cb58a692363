"""The mutation tester: which changes it makes of a piece of code, and which it does not."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutants.py"
SOURCE = '''
def first(x: "int | None" = 3, *, strict: bool = True) -> bool:
    """A docstring: 1 < 2 and not 3."""
    if x < 2 and not strict:
        raise ValueError("one text")
    return x + 1
'''


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_every_change_of_a_piece_of_code() -> None:
    found = {m.name: m.source for m in _script().mutants(SOURCE, "a.py")}
    assert sorted(found) == [
        "a.py:2:28: 3 -> 4",
        "a.py:2:49: True -> False",
        "a.py:4:11: 2 -> 3",
        "a.py:4:17: not strict -> strict",
        "a.py:4:4: if x < 2 and (not strict) -> if not (x < 2 and (not strict))",
        "a.py:4:7: x < 2 -> x <= 2",
        "a.py:4:7: x < 2 and (not strict) -> x < 2 or not strict",
        "a.py:5:8: raise ValueError('one text') -> pass",
        "a.py:6:11: x + 1 -> x - 1",
        "a.py:6:15: 1 -> 2",
        "a.py:6:4: return x + 1 -> return None",
    ]
    assert len(set(found.values())) == len(found)
    for name, source in found.items():
        spaces: dict[str, object] = {}
        exec(compile(source, name, "exec"), spaces)
        assert "docstring: 1 < 2 and not 3" in source


def test_a_seed_draws_the_same_mutants_of_every_room() -> None:
    script = _script()
    assert list(script.ROOMS) == [
        "freezing",
        "plans",
        "observing",
        "difference",
        "records",
        "answer",
    ]
    for room in script.ROOMS.values():
        one, again, other = (script.draw(room, 5, seed) for seed in (0, 0, 1))
        assert one == again != other
        assert len({mutant.name for mutant in one}) == 5
        for test in room.tests:
            assert (SCRIPT.parents[1] / test).exists()
