"""What every table of a figure reads from records, and how it is written out."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frostline.records import TrialRecord

__all__ = ["inits_of", "is_collapsed", "mean_of", "number_of", "plain_values"]


def is_collapsed(record: "TrialRecord") -> bool:
    """Whether a trial is flagged as collapsed: nothing was learned that scores."""
    return any(flag.startswith("collapsed") for flag in record.flags)


def inits_of(records: Iterable["TrialRecord"]) -> tuple[str, ...]:
    """Inits in the order of their first record, references last."""
    seen = {record.key.init: record.ranked for record in records}
    return tuple(sorted(seen, key=lambda init: not seen[init]))


def number_of(value: float | None) -> float:
    """A number of a record; NaN where it is absent."""
    return math.nan if value is None else float(value)


def mean_of(values: Iterable[float | None]) -> float:
    """Mean of what is there; NaN if nothing is."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def plain_values(value: Any) -> Any:
    """Nested plain values for JSON; tuples become lists, what is not finite None."""
    if isinstance(value, dict):
        return {key: plain_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
