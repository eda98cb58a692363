"""A study as a choice: its candidates, with prices measured once."""

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Collection, Mapping

from frostline.advice.cells import Candidate, Facts, Problem
from frostline.advice.live import cell_of, key_of
from frostline.config import short_epochs
from frostline.datasets import DatasetIndex
from frostline.depth import depth_label, depth_of_label
from frostline.errors import ConfigError
from frostline.members import can_pause
from frostline.prices import Price, Prices
from frostline.records import FILES, TrialKey, TrialRecord
from frostline.study import Study
from frostline.trial_folder import record_in
from frostline.variants import FEWER_PERCENT, SHORT_PERCENT, fewer_variant, short_variant

__all__ = ["Choices", "choices", "failed", "failure_of", "measured", "require_advisable"]


_FEW = 3  # epochs of a trainer that cannot pause
_IMAGES = 40  # for training: a quarter of fewer says little
_BOXES = 10  # that an image without any stands for, as of masks: the mean of the recorded data sets


@dataclasses.dataclass(frozen=True, slots=True)
class Choices:
    """What is to be chosen from.

    Attributes:
        problem: candidates with their prices.
        prices: measured price of each candidate; none for trainers of one's own.
        unit_seconds: of 1x; NaN while nothing is known, as before the first trial of one's own
            trainer has ended.
        short: short run -> the candidate that it stands for; empty where trials can pause.
        left_out: starts that are no candidates, and why.
    """

    problem: Problem
    prices: Mapping[Candidate, Price]
    unit_seconds: float
    short: Mapping[Candidate, Candidate]
    left_out: tuple[str, ...]

    @property
    def priced(self) -> bool:
        """Whether it is known how long a training takes."""
        return not math.isnan(self.unit_seconds)


def require_advisable(study: Study) -> None:
    """Refuse what cannot be advised on.

    Raises:
        ConfigError: nothing-frozen cells are missing, or trainings differ in length.
    """
    if 0 not in study.config.depths:
        raise ConfigError(
            "expected 0 among the depths: starts are compared with nothing frozen; add it"
        )
    epochs = {name: study.config.schedule_of(name).epochs for name in _ranked(study)}
    if len(set(epochs.values())) > 1:
        raise ConfigError(
            f"expected starts with equal epochs, got {epochs}; a share of them is compared: give "
            "all the same"
        )
    if not can_pause(study.config.trainer) and min(epochs.values(), default=_FEW) < _FEW:
        raise ConfigError(
            f"expected at least {_FEW} epochs for trainer {study.config.trainer}, which is "
            f"observed through short runs, got {min(epochs.values())}; give more"
        )
    if not epochs:
        raise ConfigError("expected a start with weights, got random ones alone; add one")


def measured(
    study: Study,
    *,
    threads: int,
    device: str,
    keep: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Prices:
    """The prices of a study's cells: as its folder has them, the rest measured now.

    Args:
        study: the study.
        threads: CPU threads of a trial.
        device: where trials run.
        keep: whether to write what was measured into the folder.
        say: called before something is measured.
    """
    from frostline.measuring import measure_apart, price_key
    from frostline.training import choose_device

    known = Prices.read(study.folder)
    if not can_pause(study.config.trainer):
        return known
    specs = {
        price_key(spec): spec
        for key in _depth_keys(study)
        for spec in [study.spec(key, threads=threads, device=device)]
    }
    missing = known.missing(specs)
    if not missing:
        return known
    kinds = "1 kind of cell" if len(missing) == 1 else f"{len(missing)} kinds of cells"
    say(f"measuring what a step costs, once, for {kinds}")
    found = measure_apart([specs[key] for key in missing])
    where = known.device or choose_device(device).type
    whole = Prices((*known.measured, *found), where, known.threads or threads)
    if keep:
        whole.write(study.folder)
    return whole


def choices(study: Study, prices: Prices, data: Mapping[str, DatasetIndex]) -> Choices:
    """Every start at every depth and rate, with the study's first seed.

    Args:
        study: the study, which ``require_advisable`` has let pass.
        prices: of its cells.
        data: its splits.
    """
    keys = list(_depth_keys(study))
    seconds, of = _seconds(study, keys, prices, data)
    unit = statistics.fmean(seconds[key] for key in keys if key.plan == depth_label(0))
    deepest = study.layers().max_depth(study.config.numbering)
    facts = {
        cell_of(key): Facts(
            (depth_of_label(key.plan) or 0) / deepest,
            1.0 if math.isnan(unit) else seconds[key] / unit,
            study.config.schedule_of(key.init, key.variant).lr,
        )
        for key in keys
    }
    epochs = study.config.schedule_of(keys[0].init, keys[0].variant).epochs
    short = _short(study, facts, epochs)
    share = short_epochs(epochs, SHORT_PERCENT) / epochs
    runs = {run: dataclasses.replace(facts[cell], share=share) for run, cell in short.items()}
    fewer = _fewer(study, facts) if len(data["train"]) >= _IMAGES else {}
    boxes = data["val"].counts().boxes or _BOXES * len(data["val"])
    problem = Problem(facts | runs | fewer, epochs, study.config.seeds[0], max(1, boxes))
    out = tuple(f"{name} starts from no weights, and is left out."
                for name in study.config.inits if name not in _ranked(study))  # fmt: skip
    return Choices(problem, of, unit, short, out)


def failed(study: Study, problem: Problem) -> tuple[Candidate, ...]:
    """Candidates whose trial failed in this folder."""
    folders = {cell: study.trial_folder(key_of(cell, problem.seed)) for cell in problem.cells}
    return tuple(cell for cell, folder in folders.items() if (folder / FILES.failure).exists())


def failure_of(study: Study, key: TrialKey) -> str:
    """Why a trial failed."""
    raw = json.loads((study.trial_folder(key) / FILES.failure).read_bytes())
    return str(raw["text"])


def _ranked(study: Study) -> Collection[str]:
    allowed = study.config.allow_frozen_random
    return [name for name, init in study.config.inits.items() if allowed or not init.is_random]


def _depth_keys(study: Study) -> list[TrialKey]:
    """Cells of depths with the first seed; plans that are no depth are left to ``run``."""
    ranked, seed = _ranked(study), study.config.seeds[0]
    return [
        key
        for key in study.candidates()
        if key.init in ranked and key.seed == seed and depth_of_label(key.plan) is not None
    ]


def _seconds(
    study: Study, keys: list[TrialKey], prices: Prices, data: Mapping[str, DatasetIndex]
) -> tuple[dict[TrialKey, float], dict[Candidate, Price]]:
    """Seconds of a complete trial by key, and the prices that were measured."""
    if not can_pause(study.config.trainer):
        return _own_seconds(study, keys), {}
    from frostline.measuring import price_key

    images = len(data["train"]), len(data["val"])
    found, of = {}, {}
    for key in keys:
        spec = study.spec(key)
        price = prices.of(price_key(spec))
        assert price is not None, "all kinds of cells were measured"
        of[cell_of(key)] = price
        found[key] = spec.schedule.epochs * price.epoch(*images)
    return found, of


def _own_seconds(study: Study, keys: list[TrialKey]) -> dict[TrialKey, float]:
    """Seconds of a complete trial by one's own trainer, from the first trials that ended.

    By plan, the first that ended, which stays so when the study goes on; of a plan that did not run
    those of nothing frozen. NaN while none of these has ended.
    """
    nothing = depth_label(0)
    begun: dict[str, tuple[str, float]] = {}
    short = [
        key.model_copy(update={"variant": short_variant(key.variant)})
        for key in keys
        if key.plan == nothing
    ]
    for key in (*keys, *short):
        record = record_in(study.trial_folder(key))
        if isinstance(record, TrialRecord):
            epochs = study.config.schedule_of(key.init, key.variant).epochs
            found = record.finished_at, (record.seconds.get("train") or math.nan) / epochs
            begun[key.plan] = min(found, begun.get(key.plan, found))
    each = {plan: seconds for plan, (_, seconds) in begun.items()}
    return {
        key: study.config.schedule_of(key.init, key.variant).epochs
        * each.get(key.plan, each.get(nothing, math.nan))
        for key in keys
    }


def _fewer(study: Study, facts: Mapping[Candidate, Facts]) -> dict[Candidate, Facts]:
    """Nothing frozen on a share of the images; for our own loop, which can take them away."""
    if not can_pause(study.config.trainer):
        return {}
    return {
        Candidate(cell.init, cell.label, fewer_variant(cell.variant)): dataclasses.replace(
            one, images=FEWER_PERCENT / 100
        )
        for cell, one in facts.items()
        if one.depth == 0
    }


def _short(
    study: Study, facts: Mapping[Candidate, Facts], epochs: int
) -> dict[Candidate, Candidate]:
    if can_pause(study.config.trainer) or short_epochs(epochs, SHORT_PERCENT) == epochs:
        return {}
    return {
        Candidate(cell.init, cell.label, short_variant(cell.variant)): cell
        for cell, one in facts.items()
        if one.depth == 0
    }
