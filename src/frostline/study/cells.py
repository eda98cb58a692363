"""What a study consists of, and where each of its cells stands: reads, and runs nothing."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.architectures import architecture_of
from frostline.cells import FROZEN_RANDOM
from frostline.config import ModelConfig, PlanConfig, StudyConfig
from frostline.datasets import DatasetIndex, Looks
from frostline.datasets.looks import LOOKS_FILE
from frostline.depth import LayerTable, depth_label
from frostline.errors import ConfigError
from frostline.loading import load_data
from frostline.members import can_pause
from frostline.plans import PLAN_VERSION, PlanVersion
from frostline.policy import Observed
from frostline.rates import chosen_rates
from frostline.records import FILES, TrialKey, TrialRecord
from frostline.rules import reference_keys, rule_of_file
from frostline.tasks import task_named
from frostline.trial_folder import (
    TRIALS,
    TrialState,
    is_stray,
    observations_in,
    progress_in,
    record_in,
    state_in,
    stray_in,
)
from frostline.variants import fewer_variant, short_variant, values_of

if TYPE_CHECKING:  # what trains imports torch: only where something is run
    from frostline.trial import TrialSpec

__all__ = ["HASHES", "StudyCells"]

HASHES = "images.json"
"""File with hashes of the images, so that they are read once."""

_WORK = (FILES.record, FILES.checkpoint, FILES.failure)


@dataclasses.dataclass(frozen=True)
class StudyCells:
    """A study's cells, and its folder.

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

    def possible(self) -> tuple[TrialKey, ...]:
        """Also what an advice adds: short runs of a trainer that cannot pause, or fewer images."""
        keys = self.candidates()
        variant = fewer_variant if can_pause(self.config.trainer) else short_variant
        added = (
            key.model_copy(update={"variant": variant(key.variant)})
            for key in keys
            if key.plan == depth_label(0)
        )
        return (*keys, *added)

    def trial_folder(self, key: TrialKey) -> Path:
        """Folder of one cell."""
        return self.folder / TRIALS / key.slug

    def record_file(self, key: TrialKey) -> Path:
        """Where its record stands once it has ended."""
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
        named = {key.slug for key in (*self.cells(), *self.possible())}
        folders = sorted((self.folder / TRIALS).glob("*"))
        return tuple(stray_in(folder) for folder in folders if is_stray(folder, named))

    def left(self) -> tuple[TrialKey, ...]:
        """Cells without a record."""
        return tuple(state.key for state in self.status() if state.state != "done")

    def records(self) -> tuple[TrialRecord, ...]:
        """Records of the finished cells, in the order of ``cells()``; no damaged ones."""
        found = (record_in(self.trial_folder(key)) for key in self.cells())
        return tuple(record for record in found if isinstance(record, TrialRecord))

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
            for key in self.possible()
        )
        return frozenset(itertools.chain.from_iterable(found))


def _model_of(model: ModelConfig, *, random: bool) -> ModelConfig:
    """The random reference needs live BatchNorm: fixed statistics of nothing are nothing."""
    return model.model_copy(update={"batch_norm": "live"}) if random else model


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
