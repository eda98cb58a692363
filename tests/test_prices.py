"""Prices: what a file keeps, and what an epoch costs."""

import dataclasses
from pathlib import Path

import pytest

from frostline.errors import RecordError
from frostline.measuring import Timed, measure_apart, measure_cells, price_key
from frostline.prices import PRICES_FILE, Price, PriceKey, Prices
from frostline.study import Study
from tests.helpers import write_study

KEY = PriceKey("faster_rcnn resnet18 slim 320 px", "k09", "frozen", 4, "fp32")
PRICE = Price(KEY, 0.5, 0.1, 900.0, 40.0)


def test_an_epoch_by_hand() -> None:
    """Ten images are three steps of four: 1.5 s; five validation images: .5 s."""
    assert PRICE.epoch(10, 5) == pytest.approx(2.0)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    assert Prices.read(tmp_path) == Prices()
    other = dataclasses.replace(PRICE, key=KEY._replace(plan="k00"), memory_mb=None)
    prices = Prices((PRICE, other), "cpu", 2)
    prices.write(tmp_path)
    assert Prices.read(tmp_path) == prices
    deeper = KEY._replace(plan="k52")
    assert prices.missing([KEY, deeper, deeper]) == (deeper,)
    assert prices.of(deeper) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ('{"version": 2}', "version 2, expected 1"),
        ('{"version": 1}', "prices"),
        ('{"version": 1, "prices": [1]}', "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / PRICES_FILE).write_text(text)
    with pytest.raises(RecordError, match=rf"{said}.*delete it to measure again"):
        Prices.read(tmp_path)


@pytest.mark.slow
def test_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Starts share their prices; what freezes less is never cheaper, nor smaller in memory."""
    study = Study.from_yaml(write_study(tmp_path, depths=[0, "all"]))
    specs = [study.spec(key) for key in study.cells()]
    prices = {price.key.plan: price for price in measure_apart(specs)}
    assert sorted(prices) == ["k00", "k52"]
    assert prices["k00"].step >= prices["k52"].step > 0
    assert (prices["k00"].memory_mb or 0) >= (prices["k52"].memory_mb or 0)
    assert prices["k00"].image == prices["k52"].image > 0
    assert prices["k00"].key == price_key(specs[0])


def test_a_disturbed_step_does_not_make_freezing_dear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 1 s, 3 s for nine and 2 s for none: none is below a deeper one.

    The usual step is twice the least.
    """
    study = Study.from_yaml(write_study(tmp_path, inits={"a": {"source": "a.safetensors"}}))
    steps = {"k52": 1.0, "k09": 3.0, "k00": 2.0}
    monkeypatch.setattr(
        "frostline.measuring.measure_step",
        lambda spec, start: Timed(2 * steps[spec.key.plan], steps[spec.key.plan]),
    )
    found = measure_cells([study.spec(key) for key in study.cells()])
    assert {p.key.plan: p.step for p in found} == {"k52": 2.0, "k09": 6.0, "k00": 6.0}


def test_an_estimate_reads_what_was_measured(tmp_path: Path) -> None:
    """Two epochs of 2 steps at 60 s, and 3 images at 20 s in the end: 5 minutes a trial."""
    study = Study.from_yaml(write_study(tmp_path, depths=[0]))
    key = price_key(study.spec(study.cells()[0]))
    Prices((Price(key, 60.0, 20.0, None, 10.0),), "cpu", 1).write(study.folder)
    found = study.estimate()
    assert found.minutes == pytest.approx(2 * 5 + 5 / 60, abs=0.06)
    assert found.disk_mb == 20.0
