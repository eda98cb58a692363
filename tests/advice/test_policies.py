"""Each policy on the toy choice, its costs by hand."""

import dataclasses

import pytest

from frostline.advice.cells import Candidate, Facts, Problem
from frostline.advice.policies import (
    asha,
    at_depth,
    even,
    everything,
    forerunners,
    halving,
    hyperband,
    ladder,
    near_rates,
    of_known_starts,
    priced,
    probe,
    rewound,
    scored,
    signalled,
    smallest_budget,
)
from frostline.advice.replay import Played, Recorded, replay
from frostline.errors import ConfigError
from tests.advice.toy import EPOCHS, FROZEN, A, B, C, problem, recorded


def reached_by(outcome: Played) -> dict[Candidate, int]:
    epochs: dict[Candidate, int] = {}
    for one in outcome.observed:
        epochs[one.cell] = max(epochs.get(one.cell, 0), one.epoch)
    return epochs


def test_a_probe_that_ends_early_is_misled() -> None:
    assert replay(probe(0.2), problem(), recorded()).pick == A
    assert replay(probe(1, everything), problem(), recorded()).spent == pytest.approx(3.6)
    assert replay(probe(1, at_depth("k52")), problem(), recorded()).pick == FROZEN


@pytest.mark.parametrize(("budget", "epoch"), [(2.0, 5), (1.2, 1), (2.5, 7), (3.0, 10), (9.0, 10)])
def test_even_shares_go_as_far_as_the_budget_lets_them(budget: float, epoch: int) -> None:
    """Three starts to epoch e and the rest of one: 1 + 2 e / 10."""
    outcome = replay(even(), problem(), recorded(), budget)
    assert reached_by(outcome) == {
        A: epoch if outcome.pick != A else 10,
        B: epoch if outcome.pick != B else 10,
        C: epoch,
    }
    assert outcome.spent == pytest.approx(1 + 2 * epoch / EPOCHS)
    assert outcome.spent <= budget + 1e-9


def test_a_ladder_drops_the_lowest_first() -> None:
    """Epochs 3 and 6 (3.5 and 7 would cost 2.0; with whole epochs 3 and 7 do)."""
    outcome = replay(ladder(), problem(), recorded(), 2.0)
    assert reached_by(outcome) == {A: 7, B: 10, C: 3}
    assert outcome.spent == pytest.approx(2.0)


def test_a_budget_that_cannot_look_at_every_start_is_refused() -> None:
    assert smallest_budget(problem()) == pytest.approx(1.2)
    with pytest.raises(ConfigError, match=r"at least 1.20 trainings .* got 1.10: raise it"):
        replay(even(), problem(), recorded(), 1.1)


def test_one_start_alone_costs_one_training() -> None:
    for policy in (even(), ladder(), probe(0.3)):
        assert replay(policy, problem((A,)), recorded(), 1.0).spent == pytest.approx(1.0)


def test_the_price_of_depth_is_set_aside_and_changes_no_pick() -> None:
    """2.0 minus .6 x .3 leaves 1.82: even shares to epoch 4; B has no frozen cell, A has."""
    worse = {B: 0.3}
    curves = {
        (cell, seed): tuple(score * worse.get(cell, 1.0) for score in curve)
        for (cell, seed), curve in recorded().curves.items()
    }
    outcome = replay(priced(even(), 0.3), problem(), Recorded(curves), 2.0)
    assert outcome.pick == A
    assert reached_by(outcome) == {A: 10, B: 4, C: 4, FROZEN: 3}
    assert outcome.spent == pytest.approx(1.8 + 0.18)
    other = replay(priced(even(), 0.3), problem(), recorded(), 2.0)
    assert (other.pick, reached_by(other)) == (B, {A: 4, B: 10, C: 4})


def test_halving_keeps_the_better_half() -> None:
    """Four to 2 (A, B lead: .25, .12, .08, .09), two to 4, one to the end: 2 x 4 + 2 x 2 + 6."""
    outcome = replay(halving(0.2, 2), problem(), recorded())
    assert outcome.pick == B
    assert reached_by(outcome) == {A: 4, B: 10, C: 2, FROZEN: 2}
    assert outcome.spent == pytest.approx(0.2 * 3 + 0.2 * 0.6 + 0.2 * 2 + 0.6)


def test_hyperband_and_asha_end_with_a_finished_candidate() -> None:
    for policy, budget in ((hyperband(), 99.0), (asha(0.1), 3.0)):
        outcome = replay(policy, problem(), recorded(), budget)
        assert reached_by(outcome)[outcome.pick] == EPOCHS
        assert outcome.spent <= budget
    assert replay(hyperband(), problem(), recorded()).pick == B


def test_a_short_schedule_is_paid_beside_the_whole_training() -> None:
    """Two of 2 of 10 epochs each, and 10: the picks cost 1.4."""
    short = {Candidate(c.init, "k00", "e0.2"): end for c, end in ((A, 0.1), (B, 0.2))}
    whole = problem((A, B))
    facts = {**whole.cells, **{c: Facts(0.0, 1.0, 3e-4, share=0.2) for c in short}}
    rows = Recorded(
        {**recorded().curves, **{(c, 0): (0.0, end) for c, end in short.items()}},
    )
    choice = dataclasses.replace(whole, cells=facts)
    outcome = replay(forerunners(0.2), choice, rows)
    assert outcome.pick == B
    assert outcome.spent == pytest.approx(1.4)
    assert choice.unfrozen == (A, B)
    assert replay(probe(1, everything), choice, rows).spent == pytest.approx(2.0)


def test_recalled_starts_are_looked_at_alone() -> None:
    outcome = replay(
        of_known_starts({"a": 0.2, "c": 0.1, "b": -0.1}, 2, 0.4), problem(), recorded()
    )
    assert (outcome.pick, reached_by(outcome)) == (A, {A: 10, C: 4})


def with_signals(values: dict[tuple[Candidate, str], float]) -> Recorded:
    by_cell: dict[Candidate, list[tuple[str, float]]] = {}
    for (cell, name), value in values.items():
        by_cell.setdefault(cell, []).append((name, value))
    signals = {(cell, 0, 2): tuple(found) for cell, found in by_cell.items()}
    return dataclasses.replace(recorded(), signals=signals)


def test_a_signal_chooses_the_start_alone() -> None:
    rows = with_signals({(A, "movement"): 0.2, (B, "movement"): 0.3, (C, "movement"): 0.1})
    assert replay(signalled("movement", 0.2, -1), problem(), rows).pick == C
    assert replay(signalled("movement", 0.2, 1), problem(), rows).pick == B
    unseen = replay(signalled("movement", 0.1, 1), problem(), rows)
    assert unseen.pick == A  # nothing was measured by then: the first


def test_a_rewind_curve_chooses_the_depth() -> None:
    for loss, pick in ((0.05, FROZEN), (0.001, A)):
        rows = with_signals({(A, "rewind k00"): 0.25, (A, "rewind k52"): 0.21})
        outcome = replay(rewound(0.2, loss), problem(), rows)
        assert outcome.pick == pick
        assert reached_by(outcome)[pick] == EPOCHS


@pytest.mark.parametrize(("sign", "pick"), [(1, C), (-1, A)])
def test_a_score_from_before_training_picks_at_once(sign: int, pick: Candidate) -> None:
    outcome = replay(scored({"a": -2.0, "b": 0.0, "c": 1.0}, sign), problem(), recorded())
    assert (outcome.pick, len(outcome.decisions)) == (pick, 1)
    assert outcome.spent == pytest.approx(1.0)


def test_a_suggested_rate_leaves_each_start_its_nearest() -> None:
    """1e-4 is not offered; 6e-4 is nearer to 1e-3 than to 3e-4, as sqrt(3e-4 * 1e-3) = 5.5e-4."""
    rates = {"lr0.0003": 3e-4, "lr0.001": 1e-3}
    facts = {Candidate(init, "k00", slug): Facts(0.0, 1.0, lr)
             for init in "ab" for slug, lr in rates.items()}  # fmt: skip
    facts[Candidate("a", "k52", "lr0.001")] = Facts(1.0, 0.6, 1e-3)
    choice = Problem(facts, EPOCHS, 0)
    found = near_rates({"a": 1e-4, "b": 6e-4})(choice)
    assert found == (Candidate("a", "k00", "lr0.0003"), Candidate("b", "k00", "lr0.001"))
    curves = {(cell, 0): (0.1,) * EPOCHS for cell in facts}
    outcome = replay(even(near_rates({"a": 1e-4, "b": 6e-4})), choice, Recorded(curves), 1.3)
    assert outcome.pick == found[0]
    assert reached_by(outcome) == {found[0]: 10, found[1]: 3}
