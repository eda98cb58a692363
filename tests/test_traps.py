"""A study with every trap at once ends in a report that says all of it."""

import html
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageEnhance, ImageOps

from frostline import cli
from frostline.datasets import copies_of
from frostline.datasets.looks import Looks
from frostline.study import Study
from tests.helpers import write_study, write_yaml


def _words(page: Path) -> str:
    """What a reader sees of a page."""
    text = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def _mirror(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        brighter = ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(1.1)
    brighter.save(target)


def _invert(path: Path) -> None:
    with Image.open(path) as image:
        inverted = ImageOps.invert(image)
    inverted.save(path)


def _typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit code of a command."""
    monkeypatch.setattr("sys.argv", ["frostline", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_a_report_names_every_trap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path, depths=["all"], schedule={"epochs": 1, "batch_size": 3})
    images = tmp_path / "images"
    _mirror(images / "im2.png", images / "im3.png")  # field_0 trains, field_1 validates
    study = Study.from_yaml(path)
    study.run()
    _invert(images / "im4.png")
    record = study.folder / "trials" / "b-k52-s0" / "record.json"
    record.write_bytes(record.read_bytes()[:200])
    monkeypatch.chdir(tmp_path)

    assert _typed(monkeypatch, "run", str(write_yaml(path, seeds=[0, 1]))) == 2
    assert "other bytes in 1 image file (im4.png)" in capsys.readouterr().err
    assert not (study.folder / "trials" / "a-k52-s1").exists()

    assert _typed(monkeypatch, "report", str(study.folder)) == 1
    told = _words(study.folder / "report.html")
    assert "a collapsed in 1 of its 1 trials" in told
    assert "Trial b-k52-s0 has a damaged record" in told
    assert "1 image file (im4.png) changed" in told
    assert "1 validation image is of a photo that training sees, too (im3.png and im2.png)" in told


def test_copies_are_looked_for_among_training_images_alone(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    images = tmp_path / "images"
    for copy in ("im3", "im5"):
        _mirror(images / "im1.png", images / f"{copy}.png")
    raw = yaml.safe_load(path.read_text())
    assert raw["data"]["split"] == {"val_groups": ["field_1"]}, "1, 3 and 5 validate"
    validation, training = (["im1.png", "im3.png", "im5.png"], ["im0.png", "im2.png", "im4.png"])
    looks = Looks()
    seen = {name: looks.of(images, [name])[0] for name in (*validation, *training)}
    own, others = ([seen[n] for n in names] for names in (validation, training))
    assert copies_of(validation, own, training, others) == ()
    (found,) = copies_of(["x.png"], [seen["im5.png"]], ["a.png", "im3.png"], [None, own[1]])
    assert found == ("x.png", "im3.png")
