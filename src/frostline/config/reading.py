"""A study's file: read, checked, explained and written."""

import difflib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from frostline.config.data import DataConfig, MasksConfig, Normalisation, SplitConfig
from frostline.config.model import ModelConfig
from frostline.config.schedule import TAGS, AugmentConfig, StudySchedule
from frostline.config.study import InitConfig, PlanConfig, StudyConfig
from frostline.errors import ConfigError

__all__ = ["load_study", "parse_plan", "parse_study", "save_study"]

_MAX_BYTES = 1_000_000
_SHOWN_CHARACTERS = 60


class _StrictLoader(yaml.SafeLoader):
    """YAML without tags, anchors, aliases or repeated keys, each refused with its line."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor or getattr(event, "tag", None):  # an alias has its anchor's name
            raise ConfigError(
                f"line {event.start_mark.line + 1}: expected plain values, got a tag, an anchor or "
                "an alias; write it out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: expected a name before ':'")
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"line {line}: '{key.value}' is given twice; names must differ")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_study(path: Path) -> StudyConfig:
    """Read and check a ``study.yaml``.

    Raises:
        ConfigError: missing, too large, not YAML, an unknown key (with the nearest known one), or
            a value out of its range; names file and line or key.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path.name}: over {_MAX_BYTES} bytes; is it a study file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; is it a study.yaml?") from None
    try:
        raw = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader, made stricter)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: not valid YAML: {_one_line(error)}") from None
    return parse_study(raw, path.name)


def parse_study(raw: object, name: str = "study") -> StudyConfig:
    """Check a study given as plain Python data; ``name`` stands in error messages.

    Raises:
        ConfigError: as ``load_study``.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name}: expected a mapping with 'data', 'inits', …, got {_kind(raw)}")
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_explain(error)}") from None


def parse_plan(raw: object) -> PlanConfig:
    """Check a plan given as plain Python data.

    Raises:
        ConfigError: as ``load_study``.
    """
    try:
        return PlanConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"plan: {_explain(error)}") from None


def save_study(config: StudyConfig) -> str:
    """The study as YAML text that ``load_study`` reads back to an equal value."""
    data = config.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump({"version": config.version, **data}, sort_keys=False)


_PLACES: dict[str, type[BaseModel]] = {
    "at the top of the file": StudyConfig,
    "under 'data'": DataConfig,
    "under 'data.split'": SplitConfig,
    "under 'data.masks'": MasksConfig,
    "under 'model'": ModelConfig,
    "in a start of 'inits'": InitConfig,
    "under 'schedule'": StudySchedule,
    "under 'schedule.augment'": AugmentConfig,
    "under 'normalisation' of a start": Normalisation,
}
_FORMS = ("function-after", *TAGS)  # parts of a place that no file has


def _explain(error: ValidationError) -> str:
    """The first problem in one line: where, what was expected, what came, the nearest key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in _FORMS) or "study"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'{_hint(str(first['loc'][-1]))}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}; got {_shown(first['input'])}{more}"


def _hint(key: str) -> str:
    """Where a key belongs that stands in the wrong place, or the nearest key there is."""
    homes = [place for place, model in _PLACES.items() if key in model.model_fields]
    if homes:
        return f"; expected it {' or '.join(homes)}"
    every = [name for model in _PLACES.values() for name in model.model_fields]
    near = difflib.get_close_matches(key, every, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else _kind(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
