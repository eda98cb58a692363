"""``rates.json``: at which of several rates the frozen cells of a start run, chosen once."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from frostline.errors import RecordError
from frostline.records import write_json

__all__ = ["RATES_FILE", "choose_rates", "chosen_rates"]

RATES_FILE = "rates.json"
_VERSION = 1


def chosen_rates(folder: Path) -> dict[str, str]:
    """Start -> variant of its best rate, of the starts for which it is known.

    Raises:
        RecordError: the file cannot be read.
    """
    path = folder / RATES_FILE
    if not path.exists():
        return {}
    try:
        raw = json.loads(path.read_bytes())
        return {str(init): str(variant) for init, variant in raw["best"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"cannot read {path}: {error}; delete it to choose anew") from None


def choose_rates(folder: Path, ends: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Write down the rate with the highest mean, of the starts that have none yet.

    Args:
        folder: of the study.
        ends: start -> variant -> scores of its seeds with nothing frozen; empty where all failed.
    """
    before = chosen_rates(folder)
    best = dict(before)
    for init, rates in ends.items():
        means = {rate: statistics.fmean(found) for rate, found in rates.items() if found}
        means = {rate: mean for rate, mean in means.items() if not math.isnan(mean)}
        if means and best.get(init) not in rates:
            best[init] = max(means, key=lambda rate: means[rate])
    if best != before:
        write_json(folder / RATES_FILE, {"version": _VERSION, "best": best})
