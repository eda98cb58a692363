"""Round after round: what a policy names is brought forward, and plans of rules are made."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from frostline.depth import depth_label
from frostline.errors import ConfigError
from frostline.events import Ended, Event, Outcome
from frostline.members import nearest
from frostline.policy import Advance, Observed, Policy, grid
from frostline.rates import choose_rates
from frostline.records import TrialKey, TrialRecord
from frostline.study.cells import StudyCells
from frostline.study.ruling import make_plans
from frostline.trial_folder import record_in, state_in

if TYPE_CHECKING:  # imports torch
    from frostline.engines import Engine

__all__ = ["advance", "every_cell"]


def every_cell(study: StudyCells) -> Policy:
    """The policy that runs every cell; those of a best rate once all rates have ended."""

    def policy(observed: Observed, budget: float | None) -> Sequence[Advance]:
        if study.config.has_lists:
            choose_rates(study.folder, _ends_at_rates(study))
        return grid(study.cells())(observed, budget)

    return policy


def _ends_at_rates(study: StudyCells) -> dict[str, dict[str, list[float]]]:
    """Start -> rate -> scores over seeds, of the starts all of whose rates have ended."""
    keys = [k for k in study.candidates() if k.plan == depth_label(0) and k.variant is not None]
    found: dict[str, dict[str, list[float]]] = {}
    for init in dict.fromkeys(key.init for key in keys):
        own = [key for key in keys if key.init == init]
        states = {key: state_in(key, study.trial_folder(key)).state for key in own}
        if set(states.values()) <= {"done", "failed"}:
            rates: dict[str, list[float]] = {key.variant or "": [] for key in own}
            for key in own:
                record = record_in(study.trial_folder(key))
                if isinstance(record, TrialRecord):
                    rates[key.variant or ""].append(record.score())
            found[init] = rates
    return found


def advance(
    study: StudyCells,
    engine: "Engine",
    policy: Policy,
    resources: dict[str, Any],
    on_event: Callable[[Event], None],
) -> list[Outcome]:
    """Go on until the policy names nothing that can still be advanced.

    Args:
        study: the study.
        engine: where trials run.
        policy: which trials to advance next.
        resources: of each trial, as ``StudyCells.spec`` takes them.
        on_event: called for everything that happens.

    Returns:
        Outcomes of the trials that ended now, or were paused in the last round.

    Raises:
        ConfigError: the policy names a trial that is none of the study's, or one twice.
    """
    from frostline.engines import Job

    outcomes: dict[TrialKey, Outcome] = {}
    over: set[TrialKey] = set()  # ended, or paused by order before the policy wanted it
    while True:
        named = _by_key(policy(study.observed(), None), study.possible())
        left = {key: until for key, until in named.items() if key not in over}
        impossible = make_plans(study, left)
        over |= impossible.keys()
        outcomes |= impossible
        for outcome in impossible.values():
            on_event(Ended(outcome.key, outcome))
        wanted = {
            key: until
            for key, until in left.items()
            if key not in over and not study.waits_for(key)
        }
        if not wanted and not impossible:
            return list(outcomes.values())
        for key, until in wanted.items():
            engine.submit(Job(study.trial_folder(key), study.spec(key, **resources), until))
        for outcome in engine.wait(on_event):
            outcomes.pop(outcome.key, None)  # in the order in which they ended
            outcomes[outcome.key] = outcome
            if not _reached(outcome, wanted.get(outcome.key)):
                over.add(outcome.key)


def _by_key(advances: Sequence[Advance], cells: Sequence[TrialKey]) -> dict[TrialKey, int | None]:
    """How far to bring each trial that a policy names."""
    known = {key.slug: key for key in cells}
    wanted: dict[TrialKey, int | None] = {}
    for named in advances:
        key = named.key
        if known.get(key.slug) != key:
            raise ConfigError(
                f"expected trials of the study, the policy names {key.slug}"
                f"{nearest(key.slug, known)}"
            )
        if key in wanted:
            raise ConfigError(
                f"expected each trial once a round, the policy names {key.slug} twice"
            )
        wanted[key] = named.until
    return wanted


def _reached(outcome: Outcome, until: int | None) -> bool:
    """Whether a trial is paused where its policy wanted it, and so may go on in another round."""
    return outcome.paused_at is not None and until is not None and outcome.paused_at >= until
