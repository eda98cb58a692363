"""From finished trials to ``advice.json``: the winner's test score, the lists, the words."""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Iterator

from frostline.advice.cells import Candidate, Evaluated, Policy, Problem, reached
from frostline.advice.live import cell_of, key_of, seen, without
from frostline.advice.model import Constants, Posterior, condition
from frostline.advice.replay import Step, next_steps, spent
from frostline.advice.result import Advice, Cost, Labels, Other, Pick
from frostline.advice.shipped import Prefer
from frostline.advice.summary import Against, Summary, doubled, summarise
from frostline.advice.words import round_line
from frostline.advising.choice import Choices, failed, failure_of
from frostline.depth import depth_of_label
from frostline.errors import RecordError
from frostline.identity import FIRST_TASK
from frostline.members import can_pause
from frostline.records import FILES, TrialKey, TrialRecord
from frostline.study import Study
from frostline.variants import SHORT_PERCENT

__all__ = ["MARK", "Ran", "write_advice"]

MARK = ".advised"  # in the folders of trials that an advice began: their weights are its own


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """An advice that has run.

    Attributes:
        study: the study.
        choice: what was chosen from.
        policy: what decided.
        constants: of the model.
        budget: in ``x``.
        prefer: ``accuracy`` or ``speed``.
        keep: whether finished trials that lost keep their weights.
        device: where trials run.
    """

    study: Study
    choice: Choices
    policy: Policy
    constants: Constants
    budget: float
    prefer: Prefer
    keep: bool
    device: str


def write_advice(ran: Ran, pick: TrialKey) -> Advice:
    """Score the winner on ``test``, put the answer together, write it, and clear up.

    Raises:
        RecordError: the folder cannot be written.
    """
    problem = without(ran.choice.problem, failed(ran.study, ran.choice.problem))
    own = seen(ran.study.observed(), problem)
    record = _scored(ran, pick)
    cell = cell_of(pick)
    base = _base(problem, cell)
    found = summarise(problem, own, ran.constants, base)
    advice = _advice(ran, problem, own, found, record)
    advice.write(ran.study.folder)
    if not ran.keep:
        _remove_losers(ran.study, ran.choice.problem, pick)
    return advice


def _scored(ran: Ran, pick: TrialKey) -> TrialRecord:
    """The winner's record, with its score on ``test``."""
    folder = ran.study.trial_folder(pick)
    record = TrialRecord.read(folder / FILES.record)
    if "test" in record.scores or ran.study.config.data.test is None:
        return record
    if not (folder / FILES.weights).exists():
        return record
    from frostline.judging import judge_test
    from frostline.training import torch_as_before
    from frostline.trial import begin

    with torch_as_before():
        return judge_test(begin(ran.study.spec(pick, device=ran.device)), folder)


def _base(problem: Problem, pick: Candidate) -> Candidate:
    """The pick's start and rate with nothing frozen."""
    return next((cell for cell in problem.unfrozen if cell.arm == pick.arm), pick)


def _advice(
    ran: Ran, problem: Problem, own: frozenset[Evaluated], found: Summary, record: TrialRecord
) -> Advice:
    ranking, posterior = record.task.ranking, condition(problem, own, ran.constants)
    base = Against(found.pick, True, 0.0, 0.0, 0.0, problem.cells[found.pick].price)
    return Advice(
        task=ran.study.config.task,
        label=ranking.label,
        prefer=ran.prefer,
        pick=_picked(ran, posterior, record),
        base=_other(ran, base),
        chance=found.chance,
        regret=found.regret,
        others=tuple(_other(ran, one) for one in found.others),
        prices=tuple(_other(ran, one) for one in found.prices),
        images=record.data["val"].images,
        resolution=_known_resolution(ran, own, record.key)
        or _resolution(ran, problem, own, record.key),
        cost=_cost(ran, problem, own),
        learned=not any(flag.startswith("collapsed") for flag in record.flags),
        remarks=tuple(_remarks(ran, problem, own, record)),
        tool=ran.study.config.trainer,
        unit=record.plan.unit,
        labels=_labels(problem, posterior, own, found, record),
    )


def _labels(
    problem: Problem,
    posterior: Posterior,
    own: frozenset[Evaluated],
    found: Summary,
    record: TrialRecord,
) -> Labels | None:
    """What more labels would give, where both trainings came to their ends."""
    fewer, last = problem.fewer(found.pick), reached(own)
    ended = {cell for cell, one in last.items() if one.epoch == problem.epochs}
    if fewer is None or not {fewer, found.pick} <= ended:
        return None
    share, images = problem.cells[fewer].images, record.data["train"].images
    score, whole = last[fewer].score, last[found.pick].score
    mean, low, high = doubled(posterior, score, whole, share)
    choosing = [other.loss for other in found.others]
    return Labels(
        images=max(1, round(share * images)),
        of_images=images,
        score=score,
        of_score=whole,
        doubling=mean,
        low=low,
        high=high,
        choosing=statistics.fmean(choosing) if choosing else None,
    )


def _picked(ran: Ran, posterior: Posterior, record: TrialRecord) -> Pick:
    key, cell = record.key, cell_of(record.key)
    low, high = posterior.interval(cell, seeds=1)
    val, test = record.score(), record.score(split="test")
    return Pick(
        init=key.init,
        plan=key.plan,
        variant=key.variant,
        depth=depth_of_label(key.plan) or 0,
        lr=ran.study.config.schedule_of(key.init, key.variant).lr,
        seed=key.seed,
        trial=key.slug,
        expected=posterior.score(cell),
        low=low,
        high=high,
        val=None if math.isnan(val) else val,
        test=None if math.isnan(test) else test,
    )


def _other(ran: Ran, one: Against) -> Other:
    price = ran.choice.prices.get(one.cell)
    return Other(
        init=one.cell.init,
        plan=one.cell.label,
        variant=one.cell.variant or None,
        depth=depth_of_label(one.cell.label) or 0,
        trained=one.observed,
        change=-one.loss,
        low=-one.high,
        high=-one.low,
        price=one.price,
        memory_mb=None if price is None else price.memory_mb,
    )


def _cost(ran: Ran, problem: Problem, own: frozenset[Evaluated]) -> Cost:
    grid = sum(facts.price for facts in problem.cells.values() if facts.complete)
    unit = ran.choice.unit_seconds
    steps = tuple(_steps(ran, problem, own))
    return Cost(ran.budget, spent(own), 0.0 if math.isnan(unit) else unit, grid, steps)


def _steps(ran: Ran, problem: Problem, own: frozenset[Evaluated]) -> Iterator[str]:
    """Each round in a line: the same policy on what was observed, from the beginning."""
    so_far: frozenset[Evaluated] = frozenset()
    while True:
        decision = ran.policy(problem, so_far, ran.budget - spent(so_far))
        steps = next_steps(decision, problem, so_far)
        if steps:
            yield round_line(problem, decision, steps, spent(so_far), ran.budget)
        new = frozenset(one for step in steps for one in _epochs_of(step, own)) - so_far
        so_far |= new
        if decision.pick is not None or not new:
            return


def _epochs_of(step: Step, own: frozenset[Evaluated]) -> list[Evaluated]:
    """What a step gave; of a record without a curve, its end."""
    same = [one for one in own if one.cell == step.cell]
    return [one for one in same if step.begin < one.epoch <= step.end] or same


def _known_resolution(ran: Ran, own: frozenset[Evaluated], pick: TrialKey) -> float | None:
    """As the folder's advice has it, where nothing was trained since."""
    with contextlib.suppress(RecordError):
        before = Advice.read(ran.study.folder)
        if before and (before.pick.trial, before.cost.spent) == (pick.slug, spent(own)):
            return before.resolution
    return None


def _resolution(
    ran: Ran, problem: Problem, own: frozenset[Evaluated], pick: TrialKey
) -> float | None:
    """Between the winner and the best of the others that was trained."""
    last = reached(own)
    others = [cell for cell in last if cell != cell_of(pick) and problem.cells[cell].complete]
    if not can_pause(ran.study.config.trainer) or not others:
        return None
    from frostline.advising.resolving import resolution
    from frostline.training import torch_as_before

    best = max(others, key=lambda cell: (problem.cells[cell].depth == 0, last[cell].score))
    pair = [
        (ran.study.spec(key, device=ran.device), ran.study.trial_folder(key))
        for key in (pick, key_of(best, problem.seed))
    ]
    with torch_as_before():
        return resolution(pair[0], pair[1])


def _remarks(
    ran: Ran, problem: Problem, own: frozenset[Evaluated], record: TrialRecord
) -> Iterator[str]:
    """What else is to be known."""
    config = ran.study.config
    yield from ran.choice.left_out
    for cell in failed(ran.study, ran.choice.problem):
        key = key_of(cell, problem.seed)
        yield f"{key.slug} failed and was left out: {failure_of(ran.study, key)}."
    yield from (f"{record.key.slug}: {flag}." for flag in record.flags)
    if config.task != FIRST_TASK:
        yield (
            f"Intervals rest on detection studies; for {config.task} they are made twice as wide."
        )
    if not can_pause(config.trainer):
        yield (
            f"Trainer {config.trainer} does not pause: it was observed through short complete runs "
            f"of {SHORT_PERCENT} % of the epochs, and intervals are made twice as wide."
        )
    seen_once = [c for c in reached(own) if sum(one.cell == c for one in own) == 1]
    ends = [c for c in seen_once if reached(own)[c].epoch == problem.epochs > 1]
    if ends and can_pause(config.trainer):
        names = ", ".join(key_of(cell, problem.seed).slug for cell in ends)
        yield f"Of {names} the end score alone was known: it ran without scores after epochs."
    if not config.has_lists:
        yield (
            "Each start ran at the rate that was given; whether another suits it better is not "
            "known. Several under schedule.lr, as a list, let it be chosen."
        )
    if not any(facts.depth for facts in problem.cells.values()):
        yield "Nothing is said of freezing: name depths, such as [0, 9, all]."
    yield "One seed ran; the interval says what another one may give."


def _remove_losers(study: Study, problem: Problem, pick: TrialKey) -> None:
    """Weights of finished trials that lost; checkpoints stay, for a larger budget goes on there."""
    for cell in problem.cells:
        key = key_of(cell, problem.seed)
        folder = study.trial_folder(key)
        if key != pick and (folder / MARK).exists() and (folder / FILES.record).exists():
            (folder / FILES.weights).unlink(missing_ok=True)
