"""A choice worked out by hand: three starts over ten epochs, and one frozen cell."""

from collections.abc import Mapping, Sequence

from frostline.advice.cells import Candidate, Facts, Problem
from frostline.advice.replay import Recorded

A, B, C = (Candidate(init, "k00") for init in "abc")
FROZEN = Candidate("a", "k52")
EPOCHS = 10
ENDS = {A: 0.5, B: 0.6, C: 0.4, FROZEN: 0.45}


def problem(cells: Sequence[Candidate] = (A, B, C, FROZEN), seed: int = 0) -> Problem:
    """Nothing frozen costs 1, all frozen 0.6."""
    frozen = {cell: cell.label != "k00" for cell in cells}
    facts = {cell: Facts(float(deep), 0.6 if deep else 1.0, 3e-4) for cell, deep in frozen.items()}
    return Problem(facts, EPOCHS, seed)


def straight(
    ends: Mapping[Candidate, float] = ENDS,
) -> dict[tuple[Candidate, int], tuple[float, ...]]:
    """Curves that rise evenly to their ends, the same for every seed."""
    return {
        (cell, seed): tuple(end * (epoch + 1) / EPOCHS for epoch in range(EPOCHS))
        for cell, end in ends.items()
        for seed in range(3)
    }


def recorded() -> Recorded:
    """B is best throughout, but A leads in the first three epochs."""
    curves = straight()
    for seed in range(3):
        curves[A, seed] = (0.2, 0.25, 0.3, *curves[A, seed][3:])
    return Recorded(curves)
