"""The constants that come with the package, fitted on the recorded grid by ``make replay``."""

import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from frostline.advice.model import Constants

__all__ = ["FILE", "from_dict", "shipped", "to_dict", "widened"]

FILE = "constants.json"


def shipped() -> Constants:
    """Constants of all recorded families."""
    raw = json.loads(resources.files("frostline.advice").joinpath(FILE).read_text("utf-8"))
    return from_dict(raw["constants"])


def from_dict(raw: Mapping[str, Any]) -> Constants:
    """Constants from plain values, as ``to_dict`` gives them."""
    pairs, rows = raw["shape"], raw["gaps"]
    whole = {**raw, "shape": tuple(map(tuple, pairs)), "gaps": tuple(map(tuple, rows))}
    return Constants(**whole)


def to_dict(constants: Constants, digits: int = 4) -> dict[str, Any]:
    """Plain values, rounded: more digits than are known would differ between machines."""

    def short(value: Any) -> Any:
        if isinstance(value, tuple):
            return [short(part) for part in value]
        return float(f"{value:.{digits}g}")

    return {name: short(value) for name, value in dataclasses.asdict(constants).items()}


def widened(constants: Constants, factor: float) -> Constants:
    """The same with all standard deviations times a factor: for what the grid knows little of."""
    names = ("start", "rate", "slope_task", "slope_start", "rest", "seed", "noise", "offset_task")
    wider = {name: factor * getattr(constants, name) for name in (*names, "offset_cell")}
    gaps = tuple(
        (share, mean, factor * task, factor * start, factor * trial, factor * drift)
        for share, mean, task, start, trial, drift in constants.gaps
    )
    return dataclasses.replace(constants, **wider, gaps=gaps)
