"""The JSON Schema of a study: complete, described, and true to what is accepted."""

from typing import Any

import pytest
from pydantic import BaseModel

from frostline import config
from frostline.config import StudyConfig, parse_study
from frostline.errors import ConfigError
from frostline.schema import described_attributes, study_schema


def _models() -> dict[str, type[BaseModel]]:
    found = {name: getattr(config, name) for name in study_schema()["$defs"]}
    return {"StudyConfig": StudyConfig, **found}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return study_schema()


def _part(schema: dict[str, Any], name: str) -> dict[str, Any]:
    part: dict[str, Any] = schema if name == "StudyConfig" else schema["$defs"][name]
    return part


@pytest.mark.parametrize("name", _models())
def test_every_key_is_described(schema: dict[str, Any], name: str) -> None:
    part = _part(schema, name)
    assert set(part["properties"]) == set(_models()[name].model_fields)
    assert set(described_attributes(_models()[name])) == set(_models()[name].model_fields)
    for key, value in part["properties"].items():
        assert len(value["description"]) > 5, key
        assert "\n" not in value["description"]
    assert part["additionalProperties"] is False


def test_continued_lines_are_joined() -> None:
    texts = described_attributes(config.ModelConfig)
    assert texts["batch_norm"].endswith("(fixed exactly where the convolution is), ``live``.")
    assert described_attributes(ConfigError) == {}


def test_closed_choices_and_bounds_are_there(schema: dict[str, Any]) -> None:
    model = schema["$defs"]["ModelConfig"]["properties"]
    assert model["preset"]["enum"] == ["stock", "slim"]
    assert (model["image_size"]["minimum"], model["image_size"]["maximum"]) == (64, 4096)
    for value, good in ((64, True), (63, False), (4096, True), (4097, False)):
        raw = {
            "data": {"images": "i", "train": "t", "val": "v"},
            "inits": {"a": {"source": "random"}},
            "model": {"image_size": value},
        }
        if good:
            parse_study(raw)
        else:
            with pytest.raises(ConfigError):
                parse_study(raw)


def test_an_inits_schedule_is_a_schedule(schema: dict[str, Any]) -> None:
    own = schema["$defs"]["InitConfig"]["properties"]["schedule"]
    assert own["$ref"] == "#/$defs/StudySchedule"
    assert "required" not in schema["$defs"]["StudySchedule"]
    assert schema["$schema"].startswith("https://json-schema.org/")
