"""The live loop: measure prices, let the policy train, and keep what came of it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from frostline.advice.budget import parse_budget, trainings
from frostline.advice.cells import Decision, Evaluated, Policy, Problem
from frostline.advice.constants import shipped, widened
from frostline.advice.live import key_of, seen, study_policy, without
from frostline.advice.model import Constants
from frostline.advice.policies import smallest_budget
from frostline.advice.replay import Step, spent
from frostline.advice.result import Advice
from frostline.advice.shipped import (
    Prefer,
    advised,
    kept_for_depth,
    knockout_epochs,
    short_runs,
)
from frostline.advice.words import lasting, round_line
from frostline.advising.choice import (
    Choices,
    choices,
    failed,
    failure_of,
    measured,
    require_advisable,
)
from frostline.advising.writing import MARK, Ran, write_advice
from frostline.config import short_epochs
from frostline.errors import ConfigError, TrainingError
from frostline.events import Event
from frostline.identity import FIRST_TASK
from frostline.members import can_pause
from frostline.policy import Advance, Observed
from frostline.records import FILES, TrialKey, set_aside
from frostline.study import Study, threads_of_trial
from frostline.variants import SHORT_PERCENT

__all__ = ["Outlook", "advise_study", "outlook"]

_GIVEN, _LISTED = "2x", "4x"  # default budgets: with the rates given, and with lists of them
_COPIES = 3  # of the weights in a checkpoint, with the optimiser's two
_WIDER = 2.0  # intervals of tasks that the constants were not fitted on


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """What an advice will cost, before anything runs.

    Attributes:
        candidates: starts (and rates) with nothing frozen.
        budget: trainings, ``x``.
        unit_minutes: minutes of 1x; None where the first trial of one's own trainer is to tell.
        minutes: of all of it, one trial after another; None likewise.
        first: epochs to which each candidate goes at first.
        epochs: of a complete training.
        disk_mb: megabytes that its trials will hold while it runs.
    """

    candidates: int
    budget: float
    unit_minutes: float | None
    minutes: float | None
    first: int
    epochs: int
    disk_mb: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain values."""
        return dataclasses.asdict(self)


def outlook(
    study: Study,
    *,
    budget: str | float | None = None,
    workers: int = 1,
    threads: int | None = None,
    device: str = "auto",
) -> Outlook:
    """Check everything and say what an advice will cost; nothing is written.

    Raises:
        ConfigError: the budget is too small; names the smallest that works.
        FrostlineError: something is wrong that would stop every trial.
    """
    study.check()
    choice = _choices(study, workers, threads, device, keep=False)
    asked = _budget(study, choice, budget, workers)
    problem, known = choice.problem, next(iter(choice.prices.values()), None)
    aside = kept_for_depth(problem, asked)
    first = (*knockout_epochs(problem, asked - aside), problem.epochs)[0]
    if choice.short:
        first = short_epochs(problem.epochs, SHORT_PERCENT)
    tensors = 0.0 if known is None else known.weights_mb
    unit = choice.unit_seconds / 60 if choice.priced else None
    return Outlook(
        candidates=len(problem.unfrozen),
        budget=asked,
        unit_minutes=unit,
        minutes=None if unit is None else asked * unit,
        first=first,
        epochs=problem.epochs,
        disk_mb=_COPIES * tensors * (len(problem.unfrozen) + 1),
    )


def advise_study(
    study: Study,
    *,
    budget: str | float | None = None,
    prefer: Prefer = "accuracy",
    workers: int = 1,
    threads: int | None = None,
    device: str = "auto",
    keep: bool = False,
    constants: Constants | None = None,
    say: Callable[[str], None] = lambda line: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Advice:
    """Choose a cell of a study for the price of a few trainings, and finish it.

    Killed at any moment, the same call goes on and comes to the same pick.

    Args:
        study: the study, whose folder and trials ``run`` shares.
        budget: ``2x``, ``90min`` or ``3h``; None: 2x, with lists of rates 4x. What ran before
            counts.
        prefer: ``speed`` takes the cheapest depth that is expected to lose at most a point.
        workers: trials side by side, >= 1.
        threads: CPU threads of each; None: see ``threads_of_trial``.
        device: ``auto``, ``cpu`` or ``cuda``.
        keep: keep the weights of finished trials that lost.
        constants: of the model; None: those that come with the package.
        say: called with a line for each thing that is decided, and why.
        on_event: called for everything that happens to trials.

    Raises:
        ConfigError: the budget is too small, or the study cannot be advised on.
        TrainingError: nothing was trained to its end.
        FrostlineError: something is wrong that would stop every trial.
    """
    study.check()
    choice = _choices(study, workers, threads, device, keep=True, say=say)
    if not choice.priced and budget is not None and parse_budget(budget).minutes is not None:
        resources: dict[str, Any] = {"threads": threads, "device": device, "on_event": on_event}
        _run_first(study, choice, say, resources)
        choice = _choices(study, workers, threads, device, keep=True)
    asked = _budget(study, choice, budget, workers)
    known = constants or _constants(study)
    policy = _policy(study, choice, known, prefer)
    for line in _opening(choice, asked):
        say(line)
    steered = study_policy(
        policy,
        choice.problem,
        asked,
        failed=lambda: failed(study, choice.problem),
        on_decision=_Rounds(study, asked, say),
    )
    for _ in range(2):  # a winner whose weights were removed, as it had lost before, trains again
        study.run(
            workers=workers, threads=threads, device=device, policy=steered, watched=True,
            on_event=on_event,
        )  # fmt: skip
        pick = _pick(study, choice, policy, asked)
        if not _without_weights(study, pick):
            break
        set_aside(study.trial_folder(pick) / FILES.record)
    if not choice.priced:  # now its trials have shown it
        choice = _choices(study, workers, threads, device, keep=True)
    ran = Ran(study, choice, policy, known, asked, prefer, keep, device)
    return write_advice(ran, pick)


def _choices(
    study: Study,
    workers: int,
    threads: int | None,
    device: str,
    *,
    keep: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Choices:
    require_advisable(study)
    count = threads_of_trial(workers, threads)
    prices = measured(study, threads=count, device=device, keep=keep, say=say)
    return choices(study, prices, study.splits())


def _run_first(
    study: Study, choice: Choices, say: Callable[[str], None], resources: dict[str, Any]
) -> None:
    """The first short run of one's own trainer: it shows what a training takes."""
    if not choice.short:
        return
    key = key_of(next(iter(choice.short)), choice.problem.seed)
    say(f"{key.slug} first, which shows how long a training takes")

    def first(observed: Observed, _budget: float | None) -> list[Advance]:
        ended = any(one.key == key and one.last for one in observed)
        return [] if ended else [Advance(key, None)]

    study.run(policy=first, watched=True, **resources)


def _budget(study: Study, choice: Choices, asked: str | float | None, workers: int) -> float:
    """The budget in ``x``.

    Raises:
        ConfigError: it is none, or too small.
    """
    if asked is None:
        asked = _LISTED if study.config.has_lists else _GIVEN
    budget = parse_budget(asked)
    if budget.minutes is not None and not choice.priced:
        raise ConfigError(
            f"expected a budget in trainings, as 2x, for trainer {study.config.trainer}, of which "
            f"no trial has shown yet how long it takes; got {asked}"
        )
    found = trainings(budget, choice.problem, choice.unit_seconds, workers)
    least = smallest_budget(choice.problem)
    if not choice.short and found < least - 1e-9:
        minutes = "" if budget.minutes is None else f" ({asked} is {found:.2f} of them)"
        raise ConfigError(
            f"expected a budget of at least {least:.2f}x: one training, and an epoch of each other "
            f"candidate; got {found:.2f}x{minutes}; try --budget {_rounded_up(least)}x"
        )
    return found


def _rounded_up(value: float) -> str:
    return f"{-(-value * 100 // 1) / 100:g}"


def _constants(study: Study) -> Constants:
    """Of other data sets; wider where none of them is of this kind."""
    ours = study.config.task == FIRST_TASK and can_pause(study.config.trainer)
    return shipped() if ours else widened(shipped(), _WIDER)


def _policy(study: Study, choice: Choices, constants: Constants, prefer: Prefer) -> Policy:
    if can_pause(study.config.trainer):
        return advised(constants, prefer)
    return short_runs(choice.short, SHORT_PERCENT)


def _opening(choice: Choices, asked: float) -> Iterator[str]:
    count = len(choice.problem.unfrozen)
    what = f"{count} candidate{'' if count == 1 else 's'} with nothing frozen"
    if choice.priced:
        unit, whole = lasting(choice.unit_seconds), lasting(asked * choice.unit_seconds)
        yield f"{what}; 1x, a complete training, is {unit} here; the budget {asked:.4g}x is {whole}"
    else:
        yield f"{what}; the budget is {asked:.4g} trainings"


@dataclasses.dataclass(frozen=True, slots=True)
class _Rounds:
    """Says each decision: what it spends, on what, and why; and marks the trials that it begins."""

    study: Study
    budget: float
    say: Callable[[str], None]

    def __call__(
        self,
        problem: Problem,
        decision: Decision,
        steps: tuple[Step, ...],
        observed: frozenset[Evaluated],
    ) -> None:
        if steps:
            self.say(round_line(problem, decision, steps, spent(observed), self.budget))
        for step in steps:
            folder = self.study.trial_folder(key_of(step.cell, problem.seed))
            if not any((folder / name).exists() for name in (FILES.record, FILES.checkpoint)):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / MARK).touch()


def _pick(study: Study, choice: Choices, policy: Policy, budget: float) -> TrialKey:
    """The trial of the pick, which has its record.

    Raises:
        TrainingError: none has.
    """
    left = without(choice.problem, failed(study, choice.problem))
    if left.unfrozen:
        own = seen(study.observed(), left)
        decision = policy(left, own, budget - spent(own))
        if decision.pick is not None:
            key = key_of(decision.pick, left.seed)
            if (study.trial_folder(key) / FILES.record).exists():
                return key
    raise TrainingError(_nothing(study, choice))


def _nothing(study: Study, choice: Choices) -> str:
    """Why there is no pick."""
    lost = failed(study, choice.problem)
    if lost:
        key = key_of(lost[0], choice.problem.seed)
        return (
            f"expected a trained candidate, {len(lost)} of {len(choice.problem.cells)} failed; "
            f"{key.slug}: {failure_of(study, key)}"
        )
    return (
        "expected a trained candidate, the trials did not come to their ends (another process may "
        f"be writing them); `frostline status {study.folder}` shows where they stand"
    )


def _without_weights(study: Study, key: TrialKey) -> bool:
    ours = can_pause(study.config.trainer)
    return ours and not (study.trial_folder(key) / FILES.weights).exists()
