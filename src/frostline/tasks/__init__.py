"""Tasks: what a model learns and what is measured of it, one file each; see ``members.TASKS``.

The module that holds a task imports no torch, so that its declaration can be read anywhere.
"""

from frostline.config import StudyConfig
from frostline.errors import ConfigError
from frostline.members import ARCHITECTURES, TASKS, member
from frostline.tasks.canvas import Canvas, common_canvas
from frostline.tasks.task import Measured, Placed, Task

__all__ = [
    "Canvas",
    "Measured",
    "Placed",
    "Task",
    "common_canvas",
    "require_task",
    "task_named",
]


def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        ConfigError: there is none; names what there is.
    """
    found: Task = member(TASKS, name, "task")
    return found


def require_task(study: StudyConfig) -> None:
    """Refuse a study whose architecture or metrics are those of another task.

    Raises:
        ConfigError: says what was expected.
    """
    declares = task_named(study.task).declares
    declares.asked(study.data.metrics, study.data.layout)
    built = member(ARCHITECTURES, study.model.architecture, "architecture").task
    if built != study.task:
        raise ConfigError(
            f"model.architecture: expected one for {study.task}, got {study.model.architecture}, "
            f"which is built for {built}"
        )
