"""A study that an advice takes seconds on, with prices that are written already."""

from pathlib import Path
from typing import Any

from frostline.measuring import price_key
from frostline.prices import Price, Prices
from frostline.study import Study
from tests.helpers import write_study

EPOCHS = 4
STEP = {"k00": 1.0, "k09": 0.8, "k52": 0.52}


def write_toy(folder: Path, **changes: Any) -> Study:
    """Two starts at depths 0, 9 and all, 4 epochs; 1x is 4 x 2 = 8 s, evaluation next to none."""
    schedule = {"epochs": EPOCHS, "batch_size": 2, "lr": 1e-3} | changes.pop("schedule", {})
    study = Study.from_yaml(write_study(folder, schedule=schedule, **changes))
    write_prices(study)
    return study


def write_prices(study: Study) -> None:
    """Prices of every kind of cell."""
    keys = {price_key(study.spec(key)) for key in study.candidates()}
    rows = (Price(key, STEP[key.plan], 1e-9, 500 + 100 * STEP[key.plan], 10.0) for key in keys)
    Prices(tuple(sorted(rows, key=lambda row: row.key)), "cpu", 1).write(study.folder)
