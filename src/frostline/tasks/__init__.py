"""Tasks: what a model learns and what is measured of it, one file each; see ``members.TASKS``.

The module that holds a task imports no torch, so that its declaration can be read anywhere.
"""

from frostline.architectures import architecture_of
from frostline.config import ModelConfig, StudyConfig
from frostline.errors import ConfigError
from frostline.members import TASKS, member
from frostline.tasks.canvas import Canvas, common_canvas
from frostline.tasks.task import Measured, Placed, Task

__all__ = [
    "Canvas",
    "Measured",
    "Placed",
    "Task",
    "common_canvas",
    "require_model",
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
    task_named(study.task).declares.asked(study.data.metrics, study.data.layout)
    require_model(study.task, study.model)


def require_model(task: str, model: ModelConfig) -> None:
    """Refuse a model that is built for another task.

    Raises:
        ConfigError: says for which.
    """
    built = architecture_of(model).task
    if built != task:
        raise ConfigError(
            f"model.architecture: expected one for {task}, got {model.architecture}, which is "
            f"built for {built}"
        )
