"""Layouts are rows: what is written elsewhere agrees with them, and one line adds another."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner, Result

from frostline.cli import app
from frostline.config import DataConfig, load_study
from frostline.datasets import LAYOUTS, find_dataset, read_dataset, read_splits
from frostline.datasets.layouts import layout_named, layouts
from frostline.errors import DatasetError
from frostline.loading import load_data
from frostline.schema import study_schema
from tests.datasets.convert import WRITERS
from tests.datasets.samples import picture


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The layout registered by its one line, and a data set of it."""
    monkeypatch.setitem(LAYOUTS, "toy", "tests.datasets.toy_layout")
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for split, count in (("train", 4), ("val", 2)):
        lines = []
        for n in range(count):
            picture(10 * count + n).save(folder / "images" / f"{split}{n}.png")
            lines.append(f"{split}{n}.png ship {10 + n} 10 60 50")
        (folder / f"{split}.toy").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_rows_are_named_as_the_table_names_them() -> None:
    assert [row.name for row in layouts()] == list(LAYOUTS)
    assert set(LAYOUTS) == {*WRITERS, "masks"}


def test_names_elsewhere_are_those_of_the_table() -> None:
    schema = study_schema()["$defs"]["DataConfig"]["properties"]["layout"]
    assert schema["enum"] == ["auto", *LAYOUTS]
    assert schema["default"] == "auto"
    for name in schema["enum"]:
        assert DataConfig(images=".", train="a", val="b", layout=name).layout == name
    (option,) = (p for p in typer.main.get_group(app).commands["init"].params if p.name == "layout")
    assert option.metavar == f"[{'|'.join(('auto', *LAYOUTS))}]"


def test_names_need_no_framework() -> None:
    code = (
        "import sys, frostline.layouts, frostline.config\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'frostline.datasets'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_unknown_layout_is_told_with_the_nearest() -> None:
    with pytest.raises(DatasetError, match=r"expected layout auto, coco, .*did you mean coco\?"):
        layout_named("cocco")
    with pytest.raises(ValueError, match=r"expected auto, coco, .*did you mean voc\?"):
        DataConfig(images=".", train="a", val="b", layout="vocc")


def test_toy_layout_is_read(toy: Path) -> None:
    found = find_dataset(toy)
    assert (found.layout, list(found.splits)) == ("toy", ["train", "val"])
    splits = read_splits(toy)
    assert [len(index) for index in splits.values()] == [4, 2]
    assert splits["train"].classes == ("ship",)
    (image,) = (image for image in splits["val"] if image.file == "val1.png")
    assert image.boxes.tolist() == [[11.0, 10.0, 60.0, 50.0]]
    assert len(read_dataset(toy / "images", toy / "val.toy")) == 2
    assert len(read_dataset(toy / "images", toy / "val.toy", layout="toy")) == 2


def test_toy_layout_is_checked(toy: Path) -> None:
    result = run("data", "check", toy)
    assert result.exit_code == 0, result.output
    assert f"{toy}: layout toy" in result.output
    assert run("data", "check", toy, "--layout", "toy").exit_code == 0
    refused = run("data", "check", toy, "--layout", "tay")
    assert refused.exit_code != 0
    assert "did you mean toy?" in str(refused.exception)


def test_toy_layout_starts_a_study(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "study.yaml"
    result = run("init", toy, "--out", out, "--backbone", "mobilenet_v2")
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(out.read_text())["data"]["layout"] == "toy"
    study = load_study(out)
    data = load_data(study.data, tmp_path)
    assert {name: len(index) for name, index in data.items()} == {"train": 4, "val": 2}
    assert run("data", "check", out).exit_code == 0
