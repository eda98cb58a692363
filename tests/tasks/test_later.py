"""Functions that are imported when they are first called."""

import subprocess
import sys

import pytest

from frostline.members import TASKS, member
from frostline.tasks.later import later


def test_it_is_the_function_with_its_arguments() -> None:
    assert later("math:hypot")(3.0, 4.0) == 5.0
    assert later("fractions:Fraction")("1/4", None) == 0.25
    assert later("builtins:sorted")([1, 3, 2], reverse=True) == [3, 2, 1]
    assert later("math:hypot").__name__ == "hypot"


def test_what_is_not_there_is_said_when_it_is_called() -> None:
    call = later("math:no_such_function")
    with pytest.raises(AttributeError, match="no_such_function"):
        call()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_named_without_torch_and_its_functions_are_there(name: str) -> None:
    program = (
        "import sys\nfrom frostline.members import TASKS, member\n"
        f"member(TASKS, {name!r}, 'task')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.split() == [b"False"]
    task = member(TASKS, name, "task")
    for part in ("build", "place", "augment", "loss", "predict"):
        with pytest.raises(TypeError, match="missing"):  # of the function itself: it was found
            getattr(task, part)()
