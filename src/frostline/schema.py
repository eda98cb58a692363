"""The JSON Schema of ``study.yaml``, with the descriptions that the classes' docstrings give."""

import inspect
import re
from typing import Any

from pydantic import BaseModel

from frostline import config
from frostline.config import StudyConfig

__all__ = ["described_attributes", "study_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ENTRY = re.compile(r"(\w+): (.*)")


def study_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a study file.

    Every key has a description, every closed choice an enum, every bounded number its bounds. An
    init's ``schedule`` is that of the study, any part of it.
    """
    schema = StudyConfig.model_json_schema()
    for name, part in [("StudyConfig", schema), *schema["$defs"].items()]:
        _describe(part, getattr(config, name))
    own = schema["$defs"]["InitConfig"]["properties"]["schedule"]
    schema["$defs"]["InitConfig"]["properties"]["schedule"] = {
        "$ref": "#/$defs/StudySchedule",
        "description": own["description"],
    }
    return {"$schema": _DIALECT, **schema, "title": "frostline study"}


def _describe(part: dict[str, Any], model: type[BaseModel]) -> None:
    """Put the texts of a class's docstring where editors look for them."""
    texts = described_attributes(model)
    part["description"] = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
    for name, value in part["properties"].items():
        value.pop("title", None)
        value["description"] = texts[name]


def described_attributes(model: type) -> dict[str, str]:
    """The ``Attributes`` section of a Google-style docstring: name to text in one line.

    Those of the classes that it derives from come first.

    Example:
        >>> described_attributes(config.SplitConfig)["seed"]
        'seed of that choice.'
    """
    found: dict[str, str] = {}
    ours = [base for base in model.__mro__ if base.__module__.startswith("frostline.")]
    for base in reversed(ours):
        found |= _own_attributes(base)
    return found


def _own_attributes(model: type) -> dict[str, str]:
    lines = inspect.cleandoc(model.__dict__.get("__doc__") or "").splitlines()
    if "Attributes:" not in lines:
        return {}
    found: dict[str, str] = {}
    for line in lines[lines.index("Attributes:") + 1 :]:
        if line and not line.startswith(" "):
            break
        entry = _ENTRY.fullmatch(line[4:]) if line[4:5].strip() else None
        if entry:
            found[entry[1]] = entry[2]
        elif line.strip():
            name = next(reversed(found))
            found[name] += f" {line.strip()}"
    return found
