"""Who trains: from a start to a file of weights and a history. Ours is the first."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from frostline.events import Progress
from frostline.identity import Identity
from frostline.members import TRAINERS, member
from frostline.trial import Start, Trained

__all__ = ["Trainer", "trainer"]


class Trainer(Protocol):
    """Trains what was begun, resuming by itself; any function that is called like this one."""

    def __call__(
        self,
        start: Start,
        folder: Path,
        *,
        identity: Identity,
        pause: Callable[[int], bool],
        on_step: Callable[[Progress], None],
    ) -> Trained:
        """Train until the end or until ``pause``.

        Args:
            start: the cell with its data, its model and its plan applied.
            folder: the trial's own folder; checkpoints and weights belong here.
            identity: what defines the training; a checkpoint of another one is refused.
            pause: epochs done -> whether to stop there for now. One that cannot pause goes on.
            on_step: called after each step.

        Raises:
            TrainingError: the training cannot go on.
        """


def trainer(name: str) -> Trainer:
    """The trainer of a name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    found: Trainer = member(TRAINERS, name, "trainer")
    return found
