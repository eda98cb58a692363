"""What can be done with a study: check, run, measure and show it."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from frostline.architectures import architecture_of, require_fitting
from frostline.config import PlanConfig, StudyConfig, load_study
from frostline.datasets import DatasetIndex, FileHashes, Looks, copies_of
from frostline.datasets.looks import LOOKS_FILE
from frostline.depth import depth_label
from frostline.doctor import require_torch
from frostline.errors import ConfigError, RecordError
from frostline.events import Event, Outcome
from frostline.notebook import table_html
from frostline.plans import PLAN_VERSION, same_plans
from frostline.policy import Policy
from frostline.prices import Prices
from frostline.rates import chosen_rates
from frostline.records import TrialKey, TrialRecord, set_aside, write_json
from frostline.rules import require_rules
from frostline.scores import Declaration, Score, merged
from frostline.starter.machine import usable_cores
from frostline.study.cells import HASHES, StudyCells
from frostline.study.rounds import advance, every_cell
from frostline.study.ruling import plan_of_rule
from frostline.study_file import STUDY_FILE, StudyFile
from frostline.tasks import require_task, task_named
from frostline.trial_folder import require_known_version, require_same

if TYPE_CHECKING:  # what trains imports torch: only where something is run
    from matplotlib.axes import Axes

    from frostline.estimate import Estimate

__all__ = ["COPIES", "Study", "open_study", "read_records", "threads_of_trial"]

COPIES = "copies.json"
"""File that names, by split, images of one photo with a training image, and that image."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """What was read of the data to check a study."""

    data: Mapping[str, DatasetIndex]
    hashes: FileHashes
    looks: Looks

    def keep(self, folder: Path) -> None:
        """Write what need not be read again, and which images are copies of training images."""
        if self.hashes.changed:
            write_json(folder / HASHES, self.hashes.to_dict())
        files = {split: [image.file for image in index] for split, index in self.data.items()}
        looks = {split: self.looks.of(index.root, files[split])
                 for split, index in self.data.items()}  # fmt: skip
        found = {
            split: copies_of(files[split], looks[split], files["train"], looks["train"])
            for split in files
            if split != "train"
        }
        if self.looks.changed:
            write_json(folder / LOOKS_FILE, self.looks.to_dict())
        write_json(folder / COPIES, found)


@dataclasses.dataclass(frozen=True)
class Study(StudyCells):
    """A study: it can be checked, run, measured and shown."""

    @classmethod
    def from_yaml(cls, path: Path | str, out: Path | str | None = None) -> Self:
        """Read a study; output goes to ``runs/<file stem>`` beside the file, or to ``out``.

        Raises:
            ConfigError: the file cannot be used.
            RecordError: the folder holds a study that cannot be read, or of a later version.
        """
        path = Path(path)
        config = load_study(path)
        base = path.resolve().parent
        folder = Path(out) if out is not None else base / "runs" / path.stem
        begun = (folder / STUDY_FILE).exists()
        version = StudyFile.read(folder).plan_version if begun else PLAN_VERSION
        return cls(config, base, folder, plan_version=version)

    def check(self) -> None:
        """Everything that can be wrong before the first step: data, weights, depths, the folder.

        Trials already in the folder are compared by what defines them (model, schedule, hashes of
        weights, annotations and images), so a moved file is no change and an edited one is. Nothing
        is written.

        Raises:
            FrostlineError: the first problem.
            StudyChangedError: a trial in the folder was defined otherwise; says in what.
        """
        self._checked()

    def _checked(self) -> "_Checked":
        """Check everything; what was read for it need not be read again."""
        require_fitting(self.config)
        require_task(self.config)
        _require_writable(self.folder)
        cells, hashes = self.cells(), FileHashes.read(self.folder / HASHES)
        looks = Looks.read(self.folder / LOOKS_FILE)
        data = self.splits(looks)
        require_torch()
        from frostline.trial import plan_of, prepare, require_filled, trial_identity

        require_rules(self.config)
        same: dict[tuple[str, str], list[str]] = {}
        for name in self.config.inits:
            known = [key for key in cells if key.init == name and not self.waits_for(key)]
            specs = [self.spec(key) for key in known]
            start = prepare(specs[-1], data)
            for spec in specs:
                plan = plan_of(spec, start.model.state_dict())
                same.setdefault((name, plan.digest()), []).append(spec.key.plan)
                if not spec.allow_frozen_random:
                    require_filled(plan, start.init, architecture_of(spec.model))
                identity = trial_identity(spec, start.init, plan, data, hashes)
                require_same(identity, spec.key, self.trial_folder(spec.key), hashes.replaced)
        for line in same_plans(same):
            _log.warning(line)
        return _Checked(data, hashes, looks)

    def run(
        self,
        *,
        workers: int = 1,
        threads: int | None = None,
        device: str = "auto",
        engine: str = "local",
        policy: Policy | None = None,
        watched: bool = False,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> list[Outcome]:
        """Run what is not done yet; finished trials are kept, interrupted ones resume.

        Args:
            workers: trials side by side, >= 1.
            threads: CPU threads of each; None: see ``threads_of_trial``. A trial that was
                interrupted goes on with those that it began with.
            device: ``auto``, ``cpu`` or ``cuda``.
            engine: where trials run; a name of ``members.ENGINES``.
            policy: which trials to advance next; None runs every cell to its end.
            watched: evaluate after every epoch, and leave ``data.test`` alone.
            on_event: called for everything that happens.

        A trial that is paused by order, not by the policy, rests until the next run.

        Returns:
            Outcomes of the trials that ended now, or were paused in the last round.

        Raises:
            ConfigError: the policy names a trial that is none of the study's, or one twice.
            FrostlineError: something is wrong that would stop every trial.
            StudyChangedError: trials in the folder were defined otherwise.
        """
        checked = self._checked()
        from frostline.engines import engine as engine_of
        from frostline.training import choose_device

        choose_device(device)  # a GPU that is not there would fail each trial by itself
        parts = self.config, self.base, self.layers(), self.plan_version, self.cells()
        StudyFile(*parts).write(self.folder)
        checked.keep(self.folder)
        self._set_damaged_aside()
        count = threads_of_trial(workers, threads)
        resources = {"threads": count, "device": device, "watched": watched}
        with engine_of(engine, workers=workers) as where:
            return advance(self, where, policy or every_cell(self), resources, on_event)

    def _set_damaged_aside(self) -> None:
        """Records that cannot be read are kept under another name, and their trials run again.

        Raises:
            RecordError: a later version wrote one, which is no damage.
        """
        for state in self.status():
            if state.state == "damaged":
                require_known_version(self.record_file(state.key))
                aside = set_aside(self.record_file(state.key))
                _log.warning("trial %s runs again: %s; kept as %s", state.key.slug, state.detail,
                             aside.name)  # fmt: skip

    def plan_of_rule(self, init: str, rule: str, t: float | str) -> dict[str, Any]:
        """The plan that a rule makes of the finished trials of a start with nothing frozen.

        Args:
            init: the start.
            rule: ``freeze-above`` or ``freeze-below``.
            t: see ``PlanConfig``.

        Returns:
            Plain values, as ``FreezePlan.from_dict`` reads them; ``rule`` says what it is made of.

        Raises:
            ConfigError: there is no such start or rule, or one seed with ``floor``.
            RecordError: none of those trials has finished.
        """
        return plan_of_rule(self, init, rule, t)

    def estimate(
        self, *, workers: int = 1, threads: int | None = None, device: str = "auto"
    ) -> "Estimate":
        """Check everything and measure what is left to run; writes nothing.

        Raises:
            FrostlineError: as ``check``.
        """
        self.check()
        from frostline.estimate import estimate

        count = threads_of_trial(workers, threads)
        later = self._later()
        specs = [self.spec(key, threads=count, device=device) for key in (*self.left(), *later)]
        nothing = PlanConfig(depth=0)  # of a rule that waits: at most as dear as this
        specs = [
            dataclasses.replace(spec, plan=nothing, plan_file=None)
            if self.waits_for(spec.key)
            else spec
            for spec in specs
        ]
        return estimate(
            specs,
            cells=len(self.cells()) + len(later),
            workers=workers,
            waits=self.waits(),
            prices=Prices.read(self.folder),
        )

    def _later(self) -> tuple[TrialKey, ...]:
        """What will run at the best rate of the starts that have not found theirs, at any rate."""
        if not self.config.has_lists:
            return ()
        chosen, first = chosen_rates(self.folder), depth_label(0)
        rates = {name: next(iter(self.config.schedules_of(name))) for name in self.config.inits}
        return tuple(
            key
            for key in self.candidates()
            if key.plan != first
            and key.init not in chosen
            and key.variant is not None
            and key.variant == rates[key.init]
        )

    def to_dict(self) -> dict[str, Any]:
        """Where every cell stands, and the scores of the finished ones, as plain values."""
        return {
            "folder": str(self.folder),
            "config": self.config.model_dump(mode="json"),
            "trials": list(self._rows()),
        }

    def plot(self, ax: "Axes", score: str | None = None) -> None:
        """Draw a score of the finished trials against the number of frozen convolutions on ``ax``.

        Args:
            ax: where to draw.
            score: its key; None takes the one that ranks the cells.

        Raises:
            RecordError: no trial has finished.
            ConfigError: the task does not measure the score.
        """
        from frostline.figures import depth_table

        records = self.records()
        if not records:
            raise RecordError(f"expected a finished trial in {self.folder}, found none")
        depth_table(records, score).plot(ax)

    def _repr_html_(self) -> str:
        labels = [score.label for score in self._headline()]
        head = ("init", "plan", "variant", "seed", "state", *labels, "note")
        rows = list(self._rows())
        done = sum(row["state"] == "done" for row in rows)
        return table_html(
            f"study {self.folder.name}: {done} of {len(rows)} trials done",
            head,
            ([_cell(value) for value in row.values()] for row in rows),
        )

    def _headline(self) -> list[Score]:
        """What is told of a trial in a line: of the scores that its records or its task declare."""
        records = self.records()
        found = merged(record.task for record in records) if records else self._declares()
        return [score for score in found.scores if score.headline]

    def _declares(self) -> Declaration:
        declares = task_named(self.config.task).declares
        asked = declares.asked(self.config.data.metrics, self.config.data.layout)
        kept = [score.key for score in declares.scores if not score.asked or score.asked in asked]
        return declares.measured(kept)

    def _rows(self) -> Iterator[dict[str, Any]]:
        records = {record.key: record for record in self.records()}
        for state in self.status():
            record = records.get(state.key)
            scores = record.scores["val"] if record else {}
            yield {
                **state.key.model_dump(mode="json"),
                "state": state.state,
                **{score.key: scores.get(score.key) for score in self._headline()},
                "note": "; ".join(record.flags) if record else state.detail,
            }


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def open_study(folder: Path) -> Study:
    """A study from its output folder alone.

    Its data and weights are not looked for. Where ``study.json`` does not say where the study's
    paths resolve, as those of version 1, they are taken to resolve two levels above.

    Raises:
        RecordError: the folder does not hold a study, or one that a later version wrote.
    """
    file = StudyFile.read(folder)
    return Study(file.config, file.base, folder, file.table, file.plan_version)


def read_records(folder: Path) -> tuple[StudyConfig, tuple[TrialRecord, ...]]:
    """A study's configuration and the records of its finished trials.

    Raises:
        RecordError: the folder does not hold a study.
    """
    study = open_study(folder)
    return study.config, study.records()


def threads_of_trial(workers: int, asked: int | None = None) -> int:
    """CPU threads of each trial: as asked, else ``OMP_NUM_THREADS``, else cores / workers.

    Args:
        workers: trials side by side, >= 1.
        asked: the number that was asked for, >= 1; None for none.

    Example:
        >>> threads_of_trial(2, 3)
        3

    Raises:
        ConfigError: one of them is below 1.
    """
    if (asked is not None and asked < 1) or workers < 1:
        raise ConfigError(f"expected at least 1 worker and 1 thread, got {workers} and {asked}")
    if asked is not None:
        return asked
    variable = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if variable.isdecimal() and int(variable) > 0:
        return int(variable)
    return max(1, usable_cores() // workers)


def _require_writable(folder: Path) -> None:
    """Refuse now what would stop the first trial."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        what = "cannot be written" if place.is_dir() else "is no folder"
        raise RecordError(f"{place} {what}; use --out for another folder")
