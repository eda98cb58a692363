"""What happens to trials while they run: small values that travel between processes."""

import dataclasses

from frostline.records import TrialKey

__all__ = ["Ended", "Event", "Outcome", "Paused", "Progress", "Started", "Stepped"]


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after a step.

    Attributes:
        epoch: the one that is under way, from 1.
        step: optimiser steps done.
        steps: optimiser steps in all.
        loss: of this step.
        images_per_second: mean over this epoch.
        seconds_left: until the last step, at that rate.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt at one trial ended.

    Attributes:
        key: the trial.
        ok: whether a record was written.
        message: headline of the result, or the error in one line.
        paused_at: epochs done, where it was paused: it goes on from its checkpoint.
        elsewhere: another process is at it, which is no failure.
    """

    key: TrialKey
    ok: bool
    message: str
    paused_at: int | None = None
    elsewhere: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended without a record, and neither waits nor goes on in another process."""
        return not self.ok and self.paused_at is None and not self.elsewhere


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A trial has begun, or goes on from its checkpoint."""

    key: TrialKey


@dataclasses.dataclass(frozen=True, slots=True)
class Stepped:
    """A trial has made a step."""

    key: TrialKey
    progress: Progress


@dataclasses.dataclass(frozen=True, slots=True)
class Paused:
    """A trial waits at the end of an epoch."""

    key: TrialKey
    outcome: Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A trial has its record, has failed, or was cancelled."""

    key: TrialKey
    outcome: Outcome


Event = Started | Stepped | Paused | Ended
