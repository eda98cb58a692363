"""The grid: inits x depths x seeds, what of it is done, and what is left."""

import dataclasses
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from frostline.architectures import architecture_of, require_fitting
from frostline.cells import FROZEN_RANDOM
from frostline.config import ModelConfig, PlanConfig, StudyConfig, load_study, parse_plan
from frostline.datasets import FileHashes, Looks
from frostline.datasets.looks import LOOKS_FILE
from frostline.depth import BACKBONES, LayerTable, depth_label
from frostline.doctor import require_torch
from frostline.errors import ConfigError, RecordError, StudyChangedError, one_line
from frostline.events import Ended, Event, Outcome
from frostline.identity import Identity, changes
from frostline.loading import load_data
from frostline.members import nearest
from frostline.notebook import table_html
from frostline.plans import PLAN_VERSION, PlanVersion
from frostline.policy import Advance, Observation, Observed, Policy, grid
from frostline.records import (
    FILES,
    SCHEMA_VERSION,
    EpochRecord,
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

if TYPE_CHECKING:  # what trains imports torch: only where something is run
    from matplotlib.axes import Axes

    from frostline.engines import Engine
    from frostline.estimate import Estimate
    from frostline.trial import TrialSpec

__all__ = ["Study", "TrialState", "open_study", "read_records", "threads_of_trial"]

_TRIALS = "trials"
_HASHES = "images.json"  # of the image files, so that they are read once
_NAMED = 5  # image files that a message names

_SLUG = re.compile(r"(?P<init>.+)-(?P<plan>[^-]+)-s(?P<seed>[0-9]+)")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class TrialState:
    """Where one cell of a study stands."""

    key: TrialKey
    state: Literal["done", "damaged", "failed", "started", "waiting", "unlisted"]
    detail: str = ""


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
        ``allow_frozen_random`` is set.

        Raises:
            ConfigError: two trials would share a folder.
            PlanError: a depth is beyond the model.
        """
        labels = list(self.plans())
        keys = tuple(
            TrialKey(init=name, plan=label, seed=seed)
            for seed in self.config.seeds
            for name in self.config.inits
            for label in ([depth_label(0)] if self._only_reference(name) else labels)
        )
        _require_own_folders(keys)
        return keys

    def trial_folder(self, key: TrialKey) -> Path:
        """Folder of one cell."""
        return self.folder / _TRIALS / key.slug

    def _record_file(self, key: TrialKey) -> Path:
        return self.trial_folder(key) / FILES.record

    def spec(self, key: TrialKey, *, threads: int = 1, device: str = "auto") -> "TrialSpec":
        """One cell, ready to run."""
        from frostline.trial import TrialSpec

        init = self.config.inits[key.init]
        return TrialSpec(
            key=key,
            init=init,
            model=_model_of(self.config.model, random=init.is_random),
            schedule=self.config.schedule_of(key.init),
            data=self.config.data,
            base=self.base,
            plan=PlanConfig(depth=0) if self._only_reference(key.init) else self.plans()[key.plan],
            allow_frozen_random=self.config.allow_frozen_random,
            plan_file=self.plan_file(key),
            task=self.config.task,
            trainer=self.config.trainer,
            differences=self.config.differences,
            hashes=self.folder / _HASHES,
            plan_version=self.plan_version,
            numbering=self.config.numbering,
            threads=threads,
            device=device,
        )

    def status(self) -> tuple[TrialState, ...]:
        """Where every cell stands, read from the folder."""
        return tuple(self._state(key) for key in self.cells())

    def _state(self, key: TrialKey) -> TrialState:
        state = _state(key, self.trial_folder(key))
        told = [] if state.state != "waiting" else [self._plan_of_waiting(key)]
        if state.state != "done" and self._keeps_random(key):
            told.append(FROZEN_RANDOM)
        detail = "; ".join(text for text in (state.detail, *told) if text)
        return dataclasses.replace(state, detail=detail)

    def _plan_of_waiting(self, key: TrialKey) -> str:
        """What the plan of a cell that has not begun waits for, or freezes; of rules alone."""
        waits, file = self.waits_for(key), self.plan_file(key)
        if waits:
            names = (k.slug + _progress(self.trial_folder(k)) for k in waits)
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

    def notes(self) -> tuple[str, ...]:
        """What is to be known of the folder besides its trials, in one line each."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        older = self.plan_version < PLAN_VERSION
        if older and self.config.model.backbone not in BACKBONES:  # theirs are equal in both
            yield (
                f"Its freeze plans are of version {self.plan_version}, with which this folder "
                "began, also for new cells: convolutions and their BatchNorm alone; another folder "
                "(--out) freezes everything up to the cut."
            )
        for state in self.status():
            if state.state == "damaged" and not _later_version(self._record_file(state.key)):
                yield f"Trial {state.key.slug} has a damaged record; `frostline run` does it again."
        replaced = FileHashes.read(self.folder / _HASHES).look_again(
            self.base / self.config.data.images
        )
        if replaced:
            yield (
                f"Since its trials were trained, {_several(replaced)} changed: the scores are of "
                "the files as they were, and `frostline run` adds no trial until they are back."
            )
        yield from self._rule_notes()
        same: dict[tuple[str, str], list[str]] = {}
        for record in self.records():
            same.setdefault((record.key.init, record.plan.digest), []).append(record.key.plan)
        yield from _same_plans(same)
        unknown = sum("pixels" not in record.spec for record in self.records())
        if unknown:
            yield (
                f"{unknown} of its trials ran before the pixels of images were recorded; they are "
                "taken to be those of the others."
            )

    def _rule_notes(self) -> Iterator[str]:
        """What rules froze at their ends, and seeds that came after they were made."""
        cells = {key.cell: key for key in self.cells() if self.plan_file(key) is not None}
        for cell, key in cells.items():
            file = self.plan_file(key)
            if file is None or not file.exists():
                continue
            rule = rule_of_file(file)
            if rule["frozen_layers"] in (0, rule["of_layers"]):
                what = f"all {rule['of_layers']} layers"
                if not rule["frozen_layers"]:
                    what = "nothing: its trials are those with k=0 again"
                yield f"Plan {cell} ({rule['rule']}, t = {rule['t']}) freezes {what}."
            lost = sum(layer["above"] is None for layer in rule["layers"])
            if lost:
                yield (
                    f"Plan {cell} leaves {lost} of {rule['of_layers']} layers out, which could not "
                    "be compared: they are updated."
                )
            late = [k.slug for k in reference_keys(self.config, key.init)
                    if k.slug not in rule["references"]]  # fmt: skip
            if late:
                yield f"Plan {cell} was made before {', '.join(late)}, which it does not count."

    def strays(self) -> tuple[TrialState, ...]:
        """Trials in the folder that the study no longer names; they stand in no table."""
        named = {key.slug for key in self.cells()}
        folders = sorted((self.folder / _TRIALS).glob("*"))
        return tuple(_stray(folder) for folder in folders if _is_stray(folder, named))

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

    def _checked(self) -> tuple[FileHashes, Looks]:
        """Check everything; hashes and looks of the images, which need not be read again."""
        require_fitting(self.config)
        require_task(self.config)
        _require_writable(self.folder)
        cells, hashes = self.cells(), FileHashes.read(self.folder / _HASHES)
        looks = Looks.beside(self.folder / _HASHES)
        data = load_data(self.config.data, self.base, looks)
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
                _require_same(identity, spec.key, self.trial_folder(spec.key), hashes.replaced)
        for line in _same_plans(same):
            _log.warning(line)
        return hashes, looks

    def run(
        self,
        *,
        workers: int = 1,
        threads: int | None = None,
        device: str = "auto",
        engine: str = "local",
        policy: Policy | None = None,
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
            on_event: called for everything that happens.

        A trial that is paused by order, not by the policy, rests until the next run.

        Returns:
            Outcomes of the trials that ended now, or were paused in the last round.

        Raises:
            ConfigError: the policy names a trial that is none of the study's, or one twice.
            FrostlineError: something is wrong that would stop every trial.
            StudyChangedError: trials in the folder were defined otherwise.
        """
        hashes, looks = self._checked()
        from frostline.engines import engine as engine_of
        from frostline.training import choose_device

        choose_device(device)  # a GPU that is not there would fail each trial by itself
        parts = self.config, self.base, self.layers(), self.plan_version, self.cells()
        StudyFile(*parts).write(self.folder)
        if hashes.changed:
            write_json(self.folder / _HASHES, hashes.to_dict())
        if looks.changed:
            write_json(self.folder / LOOKS_FILE, looks.to_dict())
        self._set_damaged_aside()
        resources = {"threads": threads_of_trial(workers, threads), "device": device}
        with engine_of(engine, workers=workers) as where:
            return self._advance(where, policy or grid(self.cells()), resources, on_event)

    def _set_damaged_aside(self) -> None:
        """Records that cannot be read are kept under another name, and their trials run again.

        Raises:
            RecordError: a later version wrote one, which is no damage.
        """
        for state in self.status():
            if state.state == "damaged":
                _require_known_version(self._record_file(state.key))
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
            wanted = _by_key(policy(self.observed(), None), self.cells())
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
        found = {self.trial_folder(k): _record_in(self.trial_folder(k)) for k in waits}
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
                    f"({_failure_in(folder)})"
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
            lambda: prepare(first, first.load()).before,
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
        found = {self.trial_folder(key): _record_in(self.trial_folder(key)) for key in keys}
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
        found = (_observations(key, self.trial_folder(key), rank) for key in self.cells())
        return frozenset(itertools.chain.from_iterable(found))

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
        specs = [self.spec(key, threads=count, device=device) for key in self.left()]
        nothing = PlanConfig(depth=0)  # of a rule that waits: at most as dear as this
        specs = [
            dataclasses.replace(spec, plan=nothing, plan_file=None)
            if self.waits_for(spec.key)
            else spec
            for spec in specs
        ]
        cells = len(self.cells())
        return estimate(specs, cells=cells, workers=workers, waits=self.waits())

    def left(self) -> tuple[TrialKey, ...]:
        """Cells without a record."""
        return tuple(state.key for state in self.status() if state.state != "done")

    def records(self) -> tuple[TrialRecord, ...]:
        """Records of the finished cells, in the order of ``cells()``; no damaged ones."""
        found = (_record_in(self.trial_folder(key)) for key in self.cells())
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


def _same_plans(found: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """Plans that freeze the same tensors from one start, in one line for all of its starts.

    Args:
        found: (start, digest of the plan) -> labels of the plans that have it.
    """
    starts: dict[tuple[str, ...], list[str]] = {}
    for (init, _), labels in found.items():
        distinct = tuple(dict.fromkeys(labels))
        if len(distinct) > 1:
            starts.setdefault(distinct, []).append(init)
    for labels, inits in starts.items():
        yield (
            f"Plans {', '.join(labels)} freeze the same tensors from {', '.join(inits)}: one "
            "experiment, which is run once for each."
        )


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


def _require_same(
    identity: Identity, key: TrialKey, folder: Path, replaced: Sequence[str] = ()
) -> None:
    """Explain, value by value, in what a trial differs from the one already in its folder.

    Args:
        identity: what is asked for now.
        key: the cell.
        folder: of the trial.
        replaced: image files that have other bytes than they had.
    """
    before = _identity_in(folder)
    if before is None:
        return
    different = changes(before, identity)
    rest = tuple(line for line in different if not line.startswith("pixels."))
    if replaced and rest != different:  # names say more than a digest of all images
        different = (*rest, f"other bytes in {_several(replaced)}")
    if different:
        raise StudyChangedError(
            f"trial {key.slug} in {folder.parent.parent} was made by another study: "
            f"{'; '.join(different)}; change it back, delete the trial's folder "
            f"({_TRIALS}/{key.slug}) to run it anew, or use --out for a new folder"
        )


def _several(names: Sequence[str]) -> str:
    """``2 image files (a.jpg, b.jpg)``, with at most a few names."""
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    return f"{len(names)} image file{'s' * (len(names) != 1)} ({listed})"


def _identity_in(folder: Path) -> Identity | None:
    if (folder / FILES.record).exists():
        record = _record_in(folder)
        return Identity(record.spec, record.scoring) if isinstance(record, TrialRecord) else None
    if not (folder / FILES.checkpoint).exists():
        return None  # nothing is lost by starting anew
    try:
        return Identity.of_stored(json.loads((folder / FILES.spec).read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"cannot read {folder / FILES.spec}: {error}; delete the trial") from None


def _model_of(model: ModelConfig, *, random: bool) -> ModelConfig:
    """The random reference needs live BatchNorm: fixed statistics of nothing are nothing."""
    return model.model_copy(update={"batch_norm": "live"}) if random else model


def _state(key: TrialKey, folder: Path) -> TrialState:
    if (folder / FILES.record).exists():
        found = _record_in(folder)
        damaged = isinstance(found, RecordError)
        if damaged:
            return TrialState(key, "damaged", str(found))
        marked = isinstance(found, TrialRecord) and FROZEN_RANDOM in found.flags
        return TrialState(key, "done", FROZEN_RANDOM if marked else "")
    if (folder / FILES.failure).exists():
        return TrialState(key, "failed", _failure_in(folder))
    if (folder / FILES.checkpoint).exists():
        return TrialState(key, "started", "has a checkpoint")
    return TrialState(key, "waiting")


def _progress(folder: Path) -> str:
    """How far a trial is that another waits for, in brackets; "" if it has not begun."""
    for file, word in ((FILES.record, "done"), (FILES.failure, "failed"),
                       (FILES.checkpoint, "started")):  # fmt: skip
        if (folder / file).exists():
            return f" ({word})"
    return ""


def _failure_in(folder: Path) -> str:
    try:
        return str(json.loads((folder / FILES.failure).read_bytes())["text"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{FILES.failure} cannot be read"


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


def _observations(key: TrialKey, folder: Path, rank: str) -> Iterator[Observation]:
    """A trial's epochs so far, from its record or, where it is paused, from its history."""
    record = _record_in(folder)
    if isinstance(record, TrialRecord):
        history, final = record.history, record.scores["val"].get(rank)
    elif (folder / FILES.history).exists():
        history, final = _history_in(folder), None
    else:
        return
    seconds = 0.0
    for epoch in history:
        seconds += epoch.seconds
        last = isinstance(record, TrialRecord) and epoch is history[-1]
        score = final if last else (epoch.metrics or {}).get(rank)
        yield Observation(key, epoch.epoch, score, seconds, last)


def _history_in(folder: Path) -> tuple[EpochRecord, ...]:
    """The epochs of a paused trial."""
    try:
        raw = json.loads((folder / FILES.history).read_bytes())
        return tuple(EpochRecord.model_validate(row) for row in raw)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"cannot read {folder / FILES.history}: {one_line(error)}; delete it"
        ) from None


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


def _record_in(folder: Path) -> TrialRecord | RecordError | None:
    """A trial's record, what keeps it from being read, or None where there is none."""
    if not (folder / FILES.record).exists():
        return None
    try:
        return TrialRecord.read(folder / FILES.record)
    except RecordError as error:
        return error


def _require_known_version(path: Path) -> None:
    """Refuse a record that a later version wrote: nothing is wrong with it."""
    version = _later_version(path)
    if version:
        raise RecordError(
            f"{path} was written by a later frostline (schema version {version}, expected up to "
            f"{SCHEMA_VERSION}); use that version, or --out for a new folder"
        )


def _later_version(path: Path) -> int | None:
    """The schema version of a record that this frostline is too old for; None of all others."""
    try:
        version = json.loads(path.read_bytes())["schema_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) and version > SCHEMA_VERSION else None


def _require_writable(folder: Path) -> None:
    """Refuse now what would stop the first trial."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        what = "cannot be written" if place.is_dir() else "is no folder"
        raise RecordError(f"{place} {what}; use --out for another folder")


def _key_of(slug: str) -> TrialKey:
    """What a folder's name says, as far as it says it: names may hold hyphens."""
    found = _SLUG.fullmatch(slug)
    if found is None:
        return TrialKey(init=slug, plan="", seed=0)
    return TrialKey(init=found["init"], plan=found["plan"], seed=int(found["seed"]))


def _is_stray(folder: Path, named: Collection[str]) -> bool:
    return folder.name not in named and any(
        (folder / file).exists() for file in (FILES.record, FILES.checkpoint)
    )


def _stray(folder: Path) -> TrialState:
    """A trial that no cell names; without a record its key is read off its folder's name."""
    record = _record_in(folder)
    key = record.key if isinstance(record, TrialRecord) else _key_of(folder.name)
    what = "a record" if (folder / FILES.record).exists() else "a checkpoint"
    return TrialState(key, "unlisted", f"the study does not name it; its folder has {what}")
