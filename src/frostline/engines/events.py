"""What an engine reports while it runs: small values that travel between processes."""

import dataclasses
from typing import Literal

from frostline.records import TrialKey
from frostline.training import Progress

__all__ = ["Event", "Outcome"]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended.

    Attributes:
        key: the trial.
        ok: whether a record was written.
        message: headline of the result, or the error in one line.
    """

    key: TrialKey
    ok: bool
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one trial: it ``started``, made a ``step``, or ``ended``."""

    kind: Literal["started", "step", "ended"]
    key: TrialKey
    progress: Progress | None = None
    outcome: Outcome | None = None
