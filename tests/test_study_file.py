"""``study.json``: what it cannot be read from is one line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from frostline.errors import RecordError
from frostline.loading import load_data
from frostline.plans import PLAN_VERSION
from frostline.study import Study, open_study
from frostline.study_file import StudyFile
from tests.helpers import write_study

Json = dict[str, Any]


def _written(folder: Path, out: Path) -> Path:
    study = Study.from_yaml(write_study(folder, depths=[0, 9], plans={"to-4": {"stage": "4"}}), out)
    StudyFile(study.config, study.base, study.layers(), study.plan_version).write(out)
    return out


def _without(key: str) -> Callable[[Json], object]:
    return lambda raw: {name: value for name, value in raw.items() if name != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("layers"), r"cannot read .*study\.json: it lacks 'layers'"),
        (_without("base"), "it lacks 'base'"),
        (_without("config"), "it lacks 'config'"),
        (lambda raw: raw | {"config": raw["config"] | {"depth": [1]}}, "unknown key 'depth'; did"),
        (lambda raw: raw | {"config": 1}, "expected a mapping"),
        (lambda raw: raw | {"layers": {"layers": []}}, "cannot read"),
        (lambda raw: raw | {"schema_version": 3}, r"later frostline \(study version 3"),
        (lambda raw: raw | {"plan_version": PLAN_VERSION + 1}, "freeze plans of version 3"),
        (lambda raw: [raw], "cannot read"),
        (lambda raw: None, "cannot read"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, change: Callable[[Json], object], said: str) -> None:
    folder = _written(tmp_path, tmp_path / "out")
    path = folder / "study.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(RecordError, match=said) as caught:
        open_study(folder)
    assert "\n" not in str(caught.value)


def test_it_says_where_the_study_lies(tmp_path: Path) -> None:
    """Beside the study or far from it, and when both are moved together."""
    folder = _written(tmp_path / "a", tmp_path / "a" / "deep" / "er" / "out")
    study = open_study(folder)
    assert study.base == (tmp_path / "a").resolve()
    assert set(load_data(study.config.data, study.base)) == {"train", "val"}
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = open_study(tmp_path / "b" / "deep" / "er" / "out")
    assert moved.base == (tmp_path / "b").resolve()
    assert moved.cells() == study.cells()
    assert [key.plan for key in moved.cells()][:3] == ["k00", "k09", "to-4"]


_WITHOUT_TIMM = """
import sys
sys.modules["timm"] = None
from frostline.cli import main
for words in (["status", {folder!r}], ["report", {folder!r}]):
    sys.argv = ["frostline", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, words
assert "torch" not in sys.modules
"""


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is optional")
def test_a_study_of_timm_is_read_where_timm_is_not(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_resnet", pretrained=False).state_dict()
    path = write_study(
        tmp_path,
        model={"backbone": "timm:test_resnet", "preset": "slim", "image_size": 64},
        inits={"mine": {"source": "mine.safetensors"}},
        depths=[0, "all"],
        plans={"to-1": {"stage": "layer1"}},
        schedule={"epochs": 1},
    )
    safetensors.torch.save_file(network, tmp_path / "mine.safetensors")
    study = Study.from_yaml(path)
    assert all(outcome.ok for outcome in study.run())
    program = _WITHOUT_TIMM.format(folder=str(study.folder))
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[-1] for line in lines if line[:1] == ["mine"]] == ["done"] * 3
