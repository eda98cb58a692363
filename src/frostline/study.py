"""The grid: inits x depths x seeds, what of it is done, and what is left."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from frostline.architectures import architecture_of, require_fitting
from frostline.cells import FROZEN_RANDOM
from frostline.config import ModelConfig, PlanConfig, StudyConfig, load_study, parse_plan
from frostline.datasets import DatasetIndex, FileHashes, Looks, copies_of
from frostline.datasets.looks import LOOKS_FILE
from frostline.depth import LayerTable, depth_label
from frostline.doctor import require_torch
from frostline.errors import ConfigError, RecordError
from frostline.events import Ended, Event, Outcome
from frostline.loading import load_data
from frostline.members import can_pause, nearest
from frostline.notebook import table_html
from frostline.plans import PLAN_VERSION, PlanVersion, same_plans
from frostline.policy import Advance, Observed, Policy, grid
from frostline.prices import Prices
from frostline.rates import choose_rates, chosen_rates
from frostline.records import (
    FILES,
    TrialKey,
    TrialRecord,
    set_aside,
    write_json,
)
from frostline.rules import (
    reference_keys,
    require_rules,
    rule_of_file,
    ruled_plan,
    write_ruled,
)
from frostline.scores import Declaration, Score, merged
from frostline.starter.machine import usable_cores
from frostline.study_file import STUDY_FILE, StudyFile
from frostline.tasks import require_task, task_named
from frostline.trial_folder import (
    TRIALS,
    TrialState,
    failure_in,
    is_stray,
    observations_in,
    progress_in,
    record_in,
    require_known_version,
    require_same,
    state_in,
    stray_in,
)
from frostline.variants import (
    FEWER_PERCENT,
    SHORT_PERCENT,
    fewer_variant,
    short_variant,
    values_of,
)

if TYPE_CHECKING:  # what trains imports torch: only where something is run
    from matplotlib.axes import Axes

    from frostline.engines import Engine
    from frostline.estimate import Estimate
    from frostline.trial import TrialSpec

__all__ = [
    "COPIES",
    "HASHES",
    "Study",
    "TrialState",
    "open_study",
    "read_records",
    "threads_of_trial",
]

HASHES = "images.json"
"""File with hashes of the images, so that they are read once."""

COPIES = "copies.json"
"""File that names, by split, images of one photo with a training image, and that image."""
_WORK = (FILES.record, FILES.checkpoint, FILES.failure)

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
class Study:
    """A study and the folder it writes to.

    Attributes:
        config: what to run.
        base: folder against which the study's paths resolve.
        folder: output; one folder a trial under ``trials/``.
        table: the layers that depths count, where the folder kept them.
        plan_version: of the freeze plans, see ``FreezePlan``: a folder keeps the one that it began
            with.
    """

    config: StudyConfig
    base: Path
    folder: Path
    table: LayerTable | None = None
    plan_version: PlanVersion = PLAN_VERSION

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

    def plans(self) -> dict[str, PlanConfig]:
        """What is frozen, by the label of the plan: the depths as they are given, then the plans.

        Raises:
            PlanError: a depth is beyond the model.
        """
        table = self.layers()
        deepest = table.max_depth(self.config.numbering)
        depths = [deepest if depth == "all" else depth for depth in self.config.depths]
        for depth in depths:
            table.frozen_layers(depth, self.config.numbering)
        return {depth_label(k): PlanConfig(depth=k) for k in depths} | self.config.plans

    def plan_file(self, key: TrialKey) -> Path | None:
        """Where the plan of a cell stands that a rule makes; None for cells of other plans."""
        if self._only_reference(key.init) or self.plans()[key.plan].rule is None:
            return None
        return self.folder / "plans" / f"{key.cell}.json"

    def _only_reference(self, init: str) -> bool:
        """Whether a start is random, and may have nothing frozen: a reference."""
        return self.config.inits[init].is_random and not self.config.allow_frozen_random

    def waits_for(self, key: TrialKey) -> tuple[TrialKey, ...]:
        """The trials that must end before a cell's plan can be made; none once it is made."""
        file = self.plan_file(key)
        if file is None or file.exists():
            return ()
        return reference_keys(self.config, key.init)

    def layers(self) -> LayerTable:
        """The layers that depths count, as the folder kept them or as the network has them."""
        return self.table or architecture_of(self.config.model).backbone(self.config.model).table

    def cells(self) -> tuple[TrialKey, ...]:
        """The key of every trial, seed by seed, so that a study cut short has whole curves.

        A random init is a reference with nothing to keep: it runs with nothing frozen only, unless
        ``allow_frozen_random`` is set. Where a start has several rates, each runs with nothing
        frozen; what is frozen runs at the start's best, and is listed once that is known.

        Raises:
            ConfigError: two trials would share a folder.
            PlanError: a depth is beyond the model.
        """
        keys = self.candidates()
        if not self.config.has_lists:
            return keys
        chosen = chosen_rates(self.folder)
        return tuple(key for key in keys if self._listed(key, chosen))

    def _listed(self, key: TrialKey, chosen: Mapping[str, str]) -> bool:
        """Whether a trial at one of several rates is one to run, or was run."""
        if key.variant in (None, chosen.get(key.init)) or key.plan == depth_label(0):
            return True
        return any((self.trial_folder(key) / name).exists() for name in _WORK)

    def candidates(self) -> tuple[TrialKey, ...]:
        """The key of every trial that there could be: every start, plan, rate and seed.

        Raises:
            ConfigError: two trials would share a folder.
            PlanError: a depth is beyond the model.
        """
        labels = list(self.plans())
        keys = tuple(
            TrialKey(init=name, plan=label, variant=variant, seed=seed)
            for seed in self.config.seeds
            for name in self.config.inits
            for label in ([depth_label(0)] if self._only_reference(name) else labels)
            for variant in self.config.schedules_of(name)
        )
        _require_own_folders(keys)
        return keys

    def trial_folder(self, key: TrialKey) -> Path:
        """Folder of one cell."""
        return self.folder / TRIALS / key.slug

    def _record_file(self, key: TrialKey) -> Path:
        return self.trial_folder(key) / FILES.record

    def spec(
        self,
        key: TrialKey,
        *,
        threads: int = 1,
        device: str = "auto",
        watched: bool = False,
    ) -> "TrialSpec":
        """One cell, ready to run.

        Args:
            key: the cell.
            threads: CPU threads, >= 1.
            device: ``auto``, ``cpu`` or ``cuda``.
            watched: evaluate after every epoch (of all images), and leave ``test`` alone.
        """
        from frostline.trial import TrialSpec

        init = self.config.inits[key.init]
        schedule = self.config.schedule_of(key.init, key.variant)
        share = values_of(key.variant).images / 100
        every_epoch = schedule.model_copy(update={"eval_every": round(1 / share)})
        return TrialSpec(
            key=key,
            init=init,
            model=_model_of(self.config.model, random=init.is_random),
            schedule=every_epoch if watched else schedule,
            image_share=share,
            score_test=not watched,
            data=self.config.data,
            base=self.base,
            plan=PlanConfig(depth=0) if self._only_reference(key.init) else self.plans()[key.plan],
            allow_frozen_random=self.config.allow_frozen_random,
            plan_file=self.plan_file(key),
            task=self.config.task,
            trainer=self.config.trainer,
            differences=self.config.differences,
            hashes=self.folder / HASHES,
            plan_version=self.plan_version,
            numbering=self.config.numbering,
            threads=threads,
            device=device,
        )

    def status(self) -> tuple[TrialState, ...]:
        """Where every cell stands, read from the folder."""
        return tuple(self._state(key) for key in self.cells())

    def _state(self, key: TrialKey) -> TrialState:
        state = state_in(key, self.trial_folder(key))
        told = [] if state.state != "waiting" else [self._plan_of_waiting(key)]
        if state.state != "done" and self._keeps_random(key):
            told.append(FROZEN_RANDOM)
        detail = "; ".join(text for text in (state.detail, *told) if text)
        return dataclasses.replace(state, detail=detail)

    def _plan_of_waiting(self, key: TrialKey) -> str:
        """What the plan of a cell that has not begun waits for, or freezes; of rules alone."""
        waits, file = self.waits_for(key), self.plan_file(key)
        if waits:
            names = (k.slug + progress_in(self.trial_folder(k)) for k in waits)
            return f"its plan is made from {', '.join(names)}"
        if file is None:
            return ""
        rule = rule_of_file(file)
        return f"its plan freezes {rule['frozen_layers']} of {rule['of_layers']} layers"

    def _keeps_random(self, key: TrialKey) -> bool:
        """Whether a cell is known beforehand to keep random weights as they are."""
        plan, init = self.plans().get(key.plan), self.config.inits[key.init]
        ranked = init.is_random and self.config.allow_frozen_random
        return ranked and plan is not None and bool(plan.depth or plan.stage)

    def waits(self) -> dict[str, tuple[str, ...]]:
        """Cells whose plan is made from other trials first: name of the cell -> those trials."""
        found = {key.cell: self.waits_for(key) for key in self.cells()}
        return {cell: tuple(key.slug for key in keys) for cell, keys in found.items() if keys}

    def strays(self) -> tuple[TrialState, ...]:
        """Trials in the folder that the study no longer names; they stand in no table."""
        named = {key.slug for key in (*self.cells(), *self._possible())}
        folders = sorted((self.folder / TRIALS).glob("*"))
        return tuple(stray_in(folder) for folder in folders if is_stray(folder, named))

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
            return self._advance(where, policy or self._everything, resources, on_event)

    def _everything(self, observed: Observed, budget: float | None) -> Sequence[Advance]:
        """The policy that runs every cell; those of a best rate once all rates have ended."""
        if self.config.has_lists:
            choose_rates(self.folder, self._ends_at_rates())
        return grid(self.cells())(observed, budget)

    def _ends_at_rates(self) -> dict[str, dict[str, list[float]]]:
        """Start -> rate -> scores over seeds, of the starts all of whose rates have ended."""
        keys = [k for k in self.candidates() if k.plan == depth_label(0) and k.variant is not None]
        found: dict[str, dict[str, list[float]]] = {}
        for init in dict.fromkeys(key.init for key in keys):
            own = [key for key in keys if key.init == init]
            states = {key: state_in(key, self.trial_folder(key)).state for key in own}
            if set(states.values()) <= {"done", "failed"}:
                rates: dict[str, list[float]] = {key.variant or "": [] for key in own}
                for key in own:
                    record = record_in(self.trial_folder(key))
                    if isinstance(record, TrialRecord):
                        rates[key.variant or ""].append(record.score())
                found[init] = rates
        return found

    def splits(self, looks: Looks | None = None) -> dict[str, DatasetIndex]:
        """The study's data: ``train``, ``val`` and, if given, ``test``.

        Args:
            looks: of the images, where they are known; None reads what the folder keeps.

        Raises:
            DatasetError: they cannot be read.
        """
        looks = looks or Looks.read(self.folder / LOOKS_FILE)
        masks = task_named(self.config.task).declares.masks
        return load_data(self.config.data, self.base, masks=masks, looks=looks)

    def _set_damaged_aside(self) -> None:
        """Records that cannot be read are kept under another name, and their trials run again.

        Raises:
            RecordError: a later version wrote one, which is no damage.
        """
        for state in self.status():
            if state.state == "damaged":
                require_known_version(self._record_file(state.key))
                aside = set_aside(self._record_file(state.key))
                _log.warning("trial %s runs again: %s; kept as %s", state.key.slug, state.detail,
                             aside.name)  # fmt: skip

    def _advance(
        self,
        engine: "Engine",
        policy: Policy,
        resources: dict[str, Any],
        on_event: Callable[[Event], None],
    ) -> list[Outcome]:
        """Round after round, until the policy names nothing that can still be advanced."""
        from frostline.engines import Job

        outcomes: dict[TrialKey, Outcome] = {}
        over: set[TrialKey] = set()  # ended, or paused by order before the policy wanted it
        while True:
            wanted = _by_key(policy(self.observed(), None), self._possible())
            wanted = {key: until for key, until in wanted.items() if key not in over}
            if not wanted:
                return list(outcomes.values())
            impossible = self._make_plans(wanted)
            over |= impossible.keys()
            outcomes |= impossible
            for outcome in impossible.values():
                on_event(Ended(outcome.key, outcome))
            wanted = {
                key: until
                for key, until in wanted.items()
                if key not in over and not self.waits_for(key)
            }
            if not wanted and not impossible:
                return list(outcomes.values())
            for key, until in wanted.items():
                engine.submit(Job(self.trial_folder(key), self.spec(key, **resources), until))
            for outcome in engine.wait(on_event):
                outcomes.pop(outcome.key, None)  # in the order in which they ended
                outcomes[outcome.key] = outcome
                if not _reached(outcome, wanted.get(outcome.key)):
                    over.add(outcome.key)

    def _make_plans(self, wanted: Collection[TrialKey]) -> dict[TrialKey, Outcome]:
        """Make the plans of rules whose references have ended; outcomes of those that never can."""
        impossible = {}
        for key in wanted:
            waits = self.waits_for(key)
            reason = self._make_plan(key, waits, wanted) if waits else None
            if reason is not None:
                folder = self.trial_folder(key)
                write_json(folder / FILES.failure, {"error": "PlanError", "text": reason})
                impossible[key] = Outcome(key, False, reason)
        return impossible

    def _make_plan(
        self, key: TrialKey, waits: Sequence[TrialKey], coming: Collection[TrialKey]
    ) -> str | None:
        """Make a cell's plan if its references have ended; why it never can be, else None."""
        found = {self.trial_folder(k): record_in(self.trial_folder(k)) for k in waits}
        records = {f: r for f, r in found.items() if isinstance(r, TrialRecord)}
        for folder, record in records.items():
            collapsed = [flag for flag in record.flags if flag.startswith("collapsed")]
            if collapsed:
                return f"its plan cannot be made: reference {folder.name} {collapsed[0]}"
        for reference in waits:
            folder = self.trial_folder(reference)
            failed = folder not in records and (folder / FILES.failure).exists()
            if failed and reference not in coming:
                return (
                    f"its plan cannot be made: reference {reference.slug} failed "
                    f"({failure_in(folder)})"
                )
        if len(records) == len(waits):
            self._write_plan(key, records)
        return None

    def _write_plan(self, key: TrialKey, records: Mapping[Path, TrialRecord]) -> None:
        file = self.plan_file(key)
        assert file is not None, "of a rule"
        write_ruled(file, self._ruled(key.plan, self.spec(key).plan, records))

    def _ruled(
        self, label: str, wanted: PlanConfig, records: Mapping[Path, TrialRecord]
    ) -> dict[str, Any]:
        """A rule's plan from its references, as plain values."""
        from frostline.trial import prepare

        first = self.spec(next(iter(records.values())).key)
        return ruled_plan(
            label,
            wanted,
            self.layers(),
            records,
            lambda: prepare(first, self.splits()).before,
            batch_norm=first.model.batch_norm,
            prefix=architecture_of(self.config.model).prefix,
            version=self.plan_version,
        )

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
        if init not in self.config.inits:
            raise ConfigError(
                f"expected a start of the study ({', '.join(self.config.inits)}), got '{init}'"
                f"{nearest(init, self.config.inits)}"
            )
        wanted = parse_plan({"rule": rule, "t": t})
        keys = reference_keys(self.config, init)
        found = {self.trial_folder(key): record_in(self.trial_folder(key)) for key in keys}
        records = {f: r for f, r in found.items() if isinstance(r, TrialRecord)}
        if not records:
            raise RecordError(
                f"expected finished trials of {init} with nothing frozen in {self.folder}, found "
                "none; a rule is made from them"
            )
        if t == "floor" and len(records) < 2:  # noqa: PLR2004 - to compare
            raise ConfigError("'floor' compares seeds: expected two finished trials, found one")
        return self._ruled(f"{rule} {t}", wanted, records)

    def observed(self) -> Observed:
        """Every epoch of every trial that has ended or is paused: what a policy decides on."""
        rank = task_named(self.config.task).declares.ranking.key
        found = (
            observations_in(
                key,
                self.trial_folder(key),
                rank,
                self.config.schedule_of(key.init, key.variant).epochs,
            )
            for key in self._possible()
        )
        return frozenset(itertools.chain.from_iterable(found))

    def _possible(self) -> tuple[TrialKey, ...]:
        """Also what an advice adds: short runs of a trainer that cannot pause, or fewer images."""
        keys = self.candidates()
        pauses = can_pause(self.config.trainer)
        name, percent = (fewer_variant, FEWER_PERCENT) if pauses else (short_variant, SHORT_PERCENT)
        added = (
            key.model_copy(update={"variant": name(key.variant, percent)})
            for key in keys
            if key.plan == depth_label(0)
        )
        return (*keys, *added)

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

    def left(self) -> tuple[TrialKey, ...]:
        """Cells without a record."""
        return tuple(state.key for state in self.status() if state.state != "done")

    def records(self) -> tuple[TrialRecord, ...]:
        """Records of the finished cells, in the order of ``cells()``; no damaged ones."""
        found = (record_in(self.trial_folder(key)) for key in self.cells())
        return tuple(record for record in found if isinstance(record, TrialRecord))

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


def _model_of(model: ModelConfig, *, random: bool) -> ModelConfig:
    """The random reference needs live BatchNorm: fixed statistics of nothing are nothing."""
    return model.model_copy(update={"batch_norm": "live"}) if random else model


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


def _by_key(advances: Sequence[Advance], cells: Sequence[TrialKey]) -> dict[TrialKey, int | None]:
    """How far to bring each trial that a policy names."""
    known = {key.slug: key for key in cells}
    wanted: dict[TrialKey, int | None] = {}
    for advance in advances:
        key = advance.key
        if known.get(key.slug) != key:
            raise ConfigError(
                f"expected trials of the study, the policy names {key.slug}"
                f"{nearest(key.slug, known)}"
            )
        if key in wanted:
            raise ConfigError(
                f"expected each trial once a round, the policy names {key.slug} twice"
            )
        wanted[key] = advance.until
    return wanted


def _reached(outcome: Outcome, until: int | None) -> bool:
    """Whether a trial is paused where its policy wanted it, and so may go on in another round."""
    return outcome.paused_at is not None and until is not None and outcome.paused_at >= until


def _require_own_folders(keys: Sequence[TrialKey]) -> None:
    """Names may hold hyphens, and not every disk tells case apart."""
    seen: dict[str, TrialKey] = {}
    for key in keys:
        other = seen.setdefault(key.slug.lower(), key)
        if other != key:
            raise ConfigError(
                f"start '{other.init}' with plan '{other.plan}' and start '{key.init}' with plan "
                f"'{key.plan}' would share the folder {key.slug}; rename one of them"
            )


def _require_writable(folder: Path) -> None:
    """Refuse now what would stop the first trial."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        what = "cannot be written" if place.is_dir() else "is no folder"
        raise RecordError(f"{place} {what}; use --out for another folder")
