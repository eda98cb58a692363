"""Fields of a study that hold a name: what is known stands in light tables."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from frostline.depth import BACKBONES, TIMM_PREFIX
from frostline.layouts import LAYOUTS
from frostline.members import ARCHITECTURES, TASKS, TRAINERS, nearest

__all__ = [
    "ArchitectureName",
    "BackboneName",
    "Depth",
    "LayoutName",
    "OptimizerName",
    "Part",
    "TaskName",
    "TrainerName",
]

Part = Literal["backbone", "neck", "rpn", "head", "encoder", "decoder", "all"]
OptimizerName = Literal["sgd", "adamw"]
Depth = Annotated[int, Field(ge=0)] | Literal["all"]

_TIMM_BACKBONE = rf"{TIMM_PREFIX}[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?"


def _known_backbone(name: str) -> str:
    """Accept a name of ours, or one that timm may know: its list is not read for a YAML file."""
    if name in BACKBONES or re.fullmatch(_TIMM_BACKBONE, name):
        return name
    near = difflib.get_close_matches(name, BACKBONES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"expected {', '.join(BACKBONES)} or timm:<model>{hint}")


def _known_layout(name: str) -> str:
    """Accept ``auto`` and what stands in the table of layouts now."""
    if name == "auto" or name in LAYOUTS:
        return name
    near = difflib.get_close_matches(name, LAYOUTS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"expected auto, {', '.join(LAYOUTS)}{hint}")


LayoutName = Annotated[
    str,
    AfterValidator(_known_layout),
    WithJsonSchema({"type": "string", "enum": ["auto", *LAYOUTS]}),
]


def _known(table: Mapping[str, str]) -> tuple[Any, ...]:
    """What a field is that names a member of a table, which may grow after this was imported."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"expected one of {', '.join(table)}{nearest(name, table)}")
        return name

    return AfterValidator(check), WithJsonSchema({"enum": list(table)})


TaskName = Annotated[str, *_known(TASKS)]
TrainerName = Annotated[str, *_known(TRAINERS)]
ArchitectureName = Annotated[str, *_known(ARCHITECTURES)]

# Editors complete the names that are ours; timm has more than a thousand of its own.
BackboneName = Annotated[
    str,
    AfterValidator(_known_backbone),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(BACKBONES)},
                {"type": "string", "pattern": f"^{_TIMM_BACKBONE}$"},
            ]
        }
    ),
]
