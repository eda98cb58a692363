"""The same policy on trials that train, and on their observations replayed."""

from pathlib import Path

from frostline.advice.cells import Candidate, Decision, Evaluated, Facts, Problem
from frostline.advice.live import cell_of, key_of, seen, study_policy
from frostline.advice.policies import even, priced
from frostline.advice.replay import Recorded, replay
from frostline.policy import Observation as Seen
from frostline.study import Study
from tests.advice.toy import EPOCHS, FROZEN, A, B, problem
from tests.helpers import write_study

TOY_EPOCHS = 4
BUDGET = 2.0


def test_a_live_study_replayed_gives_the_same_decisions(tmp_path: Path) -> None:
    schedule = {"epochs": TOY_EPOCHS, "batch_size": 3, "eval_every": 1}
    study = Study.from_yaml(write_study(tmp_path, depths=[0, "all"], schedule=schedule))
    facts = {
        cell_of(key): Facts(float(key.plan != "k00"), 1.0 if key.plan == "k00" else 0.5, 3e-4)
        for key in study.cells()
    }
    choice = Problem(facts, TOY_EPOCHS, seed=0)
    live: list[Decision] = []

    def noted(problem: Problem, observed: frozenset[Evaluated], left: float) -> Decision:
        live.append(priced(even(), 0.5)(problem, observed, left))
        return live[-1]

    outcomes = study.run(policy=study_policy(noted, choice, BUDGET))
    assert all(outcome.ok or outcome.paused_at for outcome in outcomes)
    own = seen(study.observed(), choice)
    curves = {
        (cell, 0): tuple(o.score for o in sorted(own, key=lambda o: o.epoch) if o.cell == cell)
        for cell in facts
    }
    again = replay(priced(even(), 0.5), choice, Recorded(curves), BUDGET)
    assert live[: len(again.decisions)] == list(again.decisions)
    assert again.observed == own
    assert again.spent <= BUDGET
    ended = [outcome.key for outcome in outcomes if outcome.paused_at is None]
    assert ended == [key_of(again.pick, 0)]
    assert study.run(policy=study_policy(noted, choice, BUDGET)) == []


def test_what_a_study_saw_comes_at_written_prices() -> None:
    """Two epochs without a score are paid with the third; other seeds and plans are left alone."""
    key = key_of(A, 0)
    assert (key.plan, key.variant, cell_of(key)) == ("k00", None, A)
    assert cell_of(key_of(Candidate("a", "k00", "lr1e-3"), 1)) == Candidate("a", "k00", "lr1e-3")
    found = seen(
        frozenset(
            {
                Seen(key, 1, None, 9.0, False),
                Seen(key, 2, None, 18.0, False),
                Seen(key, 3, 0.3, 99.0, False),
                Seen(key, 4, 0.4, 100.0, False),
                Seen(key_of(FROZEN, 0), 1, 0.1, 1.0, False),
                Seen(key_of(B, 1), 1, 0.9, 1.0, False),
                Seen(key_of(Candidate("a", "layer2"), 0), 1, 0.9, 1.0, True),
            }
        ),
        problem(),
    )
    prices = {(one.cell, one.epoch): round(one.price * EPOCHS, 9) for one in found}
    assert prices == {(A, 3): 3.0, (A, 4): 1.0, (FROZEN, 1): 0.6}


def test_scores_where_an_epoch_was_not_evaluated() -> None:
    """Even shares to epoch 5 with evaluations after 2, 4, 6 and so on: those after 4 decide."""

    def of(cell: Candidate, epoch: int, score: float) -> Evaluated:
        return Evaluated(cell, 0, epoch, score, 0.2)

    observed = {of(A, 2, 0.9), of(A, 4, 0.2), of(A, 6, 0.9), of(B, 4, 0.3), of(B, 6, 0.1)}
    decision = even()(problem((A, B)), frozenset(observed), 0.5)
    assert decision.pick == B
