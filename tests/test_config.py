import re
from pathlib import Path

import pytest
import yaml

from frostline.config import ModelConfig, load_study, parse_study, save_study
from frostline.depth import BACKBONES
from frostline.errors import ConfigError

MINIMAL = {
    "data": {"images": "images", "train": "train.json", "val": "val.json"},
    "inits": {"imagenet": {"source": "w.safetensors"}},
}


def _load(folder: Path, text: str) -> None:
    path = folder / "study.yaml"
    path.write_text(text)
    load_study(path)


def test_round_trip(tmp_path: Path) -> None:
    config = parse_study({**MINIMAL, "depths": [0, "all"], "schedule": {"lr": 1e-3}})
    path = tmp_path / "study.yaml"
    path.write_text(save_study(config))
    assert load_study(path) == config


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(MINIMAL) + "schedule: {lr: 1e-3}\n")
    assert load_study(path).schedule.lr == 1e-3


def test_overrides_per_init() -> None:
    init = {"source": "w", "schedule": {"lr": 0.01}}
    config = parse_study({**MINIMAL, "inits": {"x": init}, "schedule": {"epochs": 3}})
    assert (config.schedule_of("x").lr, config.schedule_of("x").epochs) == (0.01, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": [0]}, "unknown key 'depth'; did you mean 'depths'"),
        ({"model": {"batchnorm": "live"}}, "did you mean 'batch_norm'"),
        (
            {"inits": {"a": {"source": "random", "allow_frozen_random": True}}},
            r"unknown key 'inits\.a\.allow_frozen_random'; expected it at the top of the file",
        ),
        (
            {"epochs": 3},
            r"unknown key 'epochs'; expected it under 'schedule'",
        ),
        ({"depths": [-1]}, "depths"),
        ({"depths": [0, 0]}, "'depths' repeats"),
        ({"seeds": []}, "seeds"),
        ({"inits": {}}, "inits"),
        ({"inits": {"a/b": {"source": "w"}}}, "use letters"),
        ({"inits": {"A": {"source": "w"}, "a": {"source": "w"}}}, "differ only in case"),
        (
            {"inits": {"a": {"source": "w", "schedule": {"lr": -1}}}},
            r": inits\.a\.schedule\.lr: Input should be greater than 0; got -1",
        ),
        (
            {"inits": {"a": {"source": "w", "schedule": {"augment": {"flips": True}}}}},
            r"unknown key 'inits\.a\.schedule\.augment\.flips'; did you mean 'flip'",
        ),
        ({"data": {"images": "i"}}, "give 'train', 'val'"),
        ({"data": {"images": "i", "annotations": "a", "split": {}}}, "exactly one"),
        ({"model": {"backbone": "resnet18", "width_mult": 0.5}}, "mobilenet_v2 only"),
        ({"model": {"backbone": "vgg"}}, r"expected resnet18, .* or timm:<model>; got 'vgg'"),
        ({"model": {"backbone": "resnet5"}}, r"\(did you mean resnet50\?\); got 'resnet5'"),
        ({"model": {"backbone": "timm:"}}, "timm:<model>"),
        ({"model": {"backbone": "timm:hf-hub:me/net"}}, "timm:<model>"),
        ({"model": {"backbone": 5}}, "model.backbone"),
        ({"inits": {"a": {"source": "w", "normalisation": {"mean": [0, 0, 0]}}}}, "std"),
        (
            {
                "inits": {
                    "a": {"source": "w", "normalisation": {"mean": [0, 0, 0], "std": [1, 0, 1]}}
                }
            },
            "normalisation.std.1",
        ),
        ({"schedule": {"lr": float("nan")}}, "lr"),
        ({"version": 2}, "version"),
    ],
)
def test_bad_values_are_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_study({**MINIMAL, **change}, "study.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inits: {a: {source: x}, a: {source: y}}", "line 1: 'a' is given twice"),
        ("b: 1\na: &x 1\nb: *x", "line 2: expected plain values, got a tag, an anchor or an al"),
        ("a: *x", "line 1: expected plain values"),
        ("a: 1\nb: !!int '3'", "line 2: expected plain values"),
        ("data: !!python/object/apply:os.system ['true']", "line 1: expected plain values"),
        ("[1, 2", "not valid YAML"),
        ("- 1", "expected a mapping"),
        ("", "got nothing"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, text)


def test_timms_backbones_need_no_timm_to_be_written_down() -> None:
    config = parse_study({**MINIMAL, "model": {"backbone": "timm:resnet50.a1_in1k"}})
    assert config.model.backbone == "timm:resnet50.a1_in1k"


def test_the_schema_names_the_backbones() -> None:
    """Editors complete from it."""
    schema = ModelConfig.model_json_schema()["properties"]["backbone"]
    names, pattern = schema["anyOf"]
    assert names["enum"] == list(BACKBONES)
    assert re.fullmatch(pattern["pattern"], "timm:tf_efficientnet_lite0")


def test_missing_or_binary_or_huge_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_study(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load_study(tmp_path / "b.yaml")
    (tmp_path / "h.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="is it a study file"):
        load_study(tmp_path / "h.yaml")


def test_an_unknown_architecture_is_one_line_with_the_nearest() -> None:
    assert parse_study(MINIMAL).model.architecture == "faster_rcnn"
    with pytest.raises(ConfigError) as caught:
        parse_study({**MINIMAL, "model": {"architecture": "fasterrcnn"}})
    assert str(caught.value) == (
        "study: model.architecture: expected one of faster_rcnn, unet; did you mean faster_rcnn?; "
        "got 'fasterrcnn'"
    )


def test_an_override_of_one_switch_keeps_the_others() -> None:
    init = {"source": "w", "schedule": {"augment": {"flip": False}}}
    shared = {"augment": {"colour": False, "scale_jitter": False}}
    augment = parse_study({**MINIMAL, "inits": {"x": init}, "schedule": shared}).schedule_of("x")
    assert augment.augment.model_dump() == {"flip": False, "colour": False, "scale_jitter": False}


@pytest.mark.parametrize("text", ["a: {{x}}", "? [1, 2]\n: 3", "seeds: 2020-13-45"])
def test_odd_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert "\n" not in str(caught.value)
