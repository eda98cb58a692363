"""frostline: which pretrained weights to start from, and how many layers to freeze.

Public names are loaded when they are first used, so that importing the package, printing help and
comparing two weight files cost no deep-learning framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.api import advise, layers, run
    from frostline.checkpoints import open_checkpoint
    from frostline.comparison import diff
    from frostline.config import StudyConfig
    from frostline.datasets import read_dataset
    from frostline.errors import FrostlineError
    from frostline.evaluation import evaluate
    from frostline.freezing import freeze
    from frostline.plans import FreezePlan
    from frostline.predicting import load
    from frostline.reporting import report
    from frostline.study import Study

__all__ = [
    "FreezePlan",
    "FrostlineError",
    "Study",
    "StudyConfig",
    "advise",
    "diff",
    "evaluate",
    "freeze",
    "layers",
    "load",
    "open_checkpoint",
    "read_dataset",
    "report",
    "run",
]

# public name -> module and name there (PEP 562)
_PLACES = {
    "FreezePlan": ("plans", "FreezePlan"),
    "FrostlineError": ("errors", "FrostlineError"),
    "Study": ("study", "Study"),
    "StudyConfig": ("config", "StudyConfig"),
    "advise": ("api", "advise"),
    "diff": ("comparison", "diff"),
    "evaluate": ("evaluation", "evaluate"),
    "freeze": ("freezing", "freeze"),
    "layers": ("api", "layers"),
    "load": ("predicting", "load"),
    "open_checkpoint": ("checkpoints", "open_checkpoint"),
    "read_dataset": ("datasets", "read_dataset"),
    "report": ("reporting", "report"),
    "run": ("api", "run"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'frostline' has no attribute '{name}'")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"frostline.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
