"""What a policy sees and says: candidates with their prices, observations, and the next trials."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from frostline.errors import ConfigError

__all__ = ["Candidate", "Decision", "Evaluated", "Facts", "Goal", "Policy", "Problem", "reached"]


@dataclass(frozen=True, order=True)
class Candidate:
    """A candidate; with a seed it is a trial's key.

    Attributes:
        init: name of the start.
        label: of the freeze plan; ``k09`` is depth 9.
        variant: slug of what differs from the start's own schedule; empty for nothing.
    """

    init: str
    label: str
    variant: str = ""

    @property
    def arm(self) -> tuple[str, str]:
        """Start and schedule: what cells have in common that differ in what is frozen."""
        return self.init, self.variant

    @property
    def arm_name(self) -> str:
        """The same in a word or two."""
        return " ".join(filter(None, self.arm))


@dataclass(frozen=True)
class Facts:
    """What is known of a candidate before anything ran.

    Attributes:
        depth: frozen share of the backbone's convolutions, in [0, 1].
        price: cost of one complete trial, in complete nothing-frozen trials (``1x``), > 0.
        rate: peak learning rate, > 0.
        share: of a complete trial's epochs; what is shorter has a complete schedule of its own, is
            never a pick, and costs its share of ``price``.
        images: share of the training images, with as many steps; with fewer it is never a pick.
    """

    depth: float
    price: float
    rate: float
    share: float = 1.0
    images: float = 1.0

    @property
    def complete(self) -> bool:
        """Whether it is a training as the study has it: all epochs, all images."""
        return self.share == self.images == 1


@dataclass(frozen=True)
class Problem:
    """The choice that is asked for.

    Attributes:
        cells: candidates, in the order that breaks ties.
        epochs: of a complete trial, >= 1.
        seed: with which candidates run.
        boxes: on the selection images, >= 1: the fewer, the noisier are scores.
    """

    cells: Mapping[Candidate, Facts]
    epochs: int
    seed: int
    boxes: int = 100

    def until(self, share: float) -> int:
        """Epochs of a share of a complete trial, at least one."""
        return min(self.epochs, max(1, round(share * self.epochs)))

    @property
    def unfrozen(self) -> tuple[Candidate, ...]:
        """Candidates that freeze nothing."""
        return tuple(
            cell for cell, facts in self.cells.items() if facts.depth == 0 and facts.complete
        )

    def fewer(self, cell: Candidate) -> Candidate | None:
        """A candidate that freezes nothing, with fewer images; None where there is none."""
        init, facts = cell.init, self.cells[cell]
        return next(
            (
                other
                for other, one in self.cells.items()
                if one.images < 1 and (other.init, one.rate) == (init, facts.rate)
            ),
            None,
        )

    def short(self, share: float) -> dict[Candidate, Candidate]:
        """Short schedules of a share, and the candidate that each is the forerunner of."""
        whole = {(cell.init, self.cells[cell].rate): cell for cell in self.unfrozen}
        return {
            cell: whole[cell.init, facts.rate]
            for cell, facts in self.cells.items()
            if facts.share == share and (cell.init, facts.rate) in whole
        }


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a trial.

    Attributes:
        cell: which candidate.
        seed: of the trial.
        epoch: after which it was made, >= 1.
        score: the ranking score on the selection images, higher is better.
        price: of the training since the last one, in ``1x``.
        signals: what else was measured then, by name.
    """

    cell: Candidate
    seed: int
    epoch: int
    score: float
    price: float
    signals: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, order=True)
class Goal:
    """Train one candidate, with the problem's seed, to the end of an epoch."""

    cell: Candidate
    epoch: int


@dataclass(frozen=True)
class Decision:
    """One round: trials to advance, all of which end before the next; or the pick.

    The loop finishes a pick that is not finished.
    """

    advance: tuple[Goal, ...] = ()
    pick: Candidate | None = None
    why: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if bool(self.advance) == (self.pick is not None):
            raise ConfigError(
                "expected a round's trials or a pick, "
                f"got {'both' if self.advance else 'neither'}: give one of them"
            )


Policy = Callable[[Problem, frozenset[Evaluated], float], Decision]
"""(problem, observed, budget left in ``1x``) -> decision; it keeps no state and reads no clock."""


def reached(observed: frozenset[Evaluated]) -> dict[Candidate, Evaluated]:
    """The last observation of every trial."""
    last: dict[Candidate, Evaluated] = {}
    for one in observed:
        if one.cell not in last or last[one.cell].epoch < one.epoch:
            last[one.cell] = one
    return last
