"""The grid: inits x depths x seeds, what of it is done, and what is left."""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from frostline.config import ModelConfig, PlanConfig, StudyConfig, load_study
from frostline.depth import TIMM_PREFIX, LayerTable, depth_label, layer_table
from frostline.doctor import require_torch
from frostline.errors import ConfigError, RecordError, StudyChangedError
from frostline.identity import Identity, changes
from frostline.loading import load_data
from frostline.notebook import table_html
from frostline.records import FILES, TrialKey, TrialRecord
from frostline.study_file import StudyFile

if TYPE_CHECKING:  # what trains imports torch: only where something is run
    from matplotlib.axes import Axes

    from frostline.engines import Event, Outcome
    from frostline.estimate import Estimate
    from frostline.figures import Score
    from frostline.trial import TrialSpec

__all__ = ["Study", "TrialState", "open_study", "read_records"]

_TRIALS = "trials"


@dataclasses.dataclass(frozen=True, slots=True)
class TrialState:
    """Where one cell of a study stands."""

    key: TrialKey
    state: Literal["done", "failed", "started", "waiting", "unlisted"]
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """A study and the folder it writes to.

    Attributes:
        config: what to run.
        base: folder against which the study's paths resolve.
        folder: output; one folder a trial under ``trials/``.
        table: the layers that depths count, where the folder kept them.
    """

    config: StudyConfig
    base: Path
    folder: Path
    table: LayerTable | None = None

    @classmethod
    def from_yaml(cls, path: Path | str, out: Path | str | None = None) -> Self:
        """Read a study; output goes to ``runs/<file stem>`` beside the file, or to ``out``.

        Raises:
            ConfigError: the file cannot be used.
        """
        path = Path(path)
        config = load_study(path)
        base = path.resolve().parent
        return cls(config, base, Path(out) if out is not None else base / "runs" / path.stem)

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

    def layers(self) -> LayerTable:
        """The layers that depths count, as the folder kept them or as the network has them."""
        return self.table or _layers(self.config.model)

    def cells(self) -> tuple[TrialKey, ...]:
        """The key of every trial, seed by seed, so that a study cut short has whole curves.

        A random init is a reference with nothing to keep: it runs with nothing frozen only.

        Raises:
            ConfigError: two trials would share a folder.
            PlanError: a depth is beyond the model.
        """
        labels = list(self.plans())
        keys = tuple(
            TrialKey(init=name, plan=label, seed=seed)
            for seed in self.config.seeds
            for name, init in self.config.inits.items()
            for label in ([depth_label(0)] if init.is_random else labels)
        )
        _require_own_folders(keys)
        return keys

    def trial_folder(self, key: TrialKey) -> Path:
        """Folder of one cell."""
        return self.folder / _TRIALS / key.slug

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
            plan=PlanConfig(depth=0) if init.is_random else self.plans()[key.plan],
            numbering=self.config.numbering,
            threads=threads,
            device=device,
        )

    def status(self) -> tuple[TrialState, ...]:
        """Where every cell stands, read from the folder."""
        return tuple(_state(key, self.trial_folder(key)) for key in self.cells())

    def strays(self) -> tuple[TrialState, ...]:
        """Trials in the folder that the study no longer names; they stand in no table."""
        named = {key.slug for key in self.cells()}
        folders = sorted((self.folder / _TRIALS).glob("*"))
        return tuple(_stray(folder) for folder in folders if _is_stray(folder, named))

    def check(self) -> None:
        """Everything that can be wrong before the first step: data, weights, depths, the folder.

        Trials already in the folder are compared by what defines them (model, schedule, hashes of
        weights and annotations), so a moved file is no change and an edited one is; pixels are not
        compared.

        Raises:
            FrostlineError: the first problem.
            StudyChangedError: a trial in the folder was defined otherwise; says in what.
        """
        cells = self.cells()
        data = load_data(self.config.data, self.base)
        require_torch()
        from frostline.trial import plan_of, prepare, trial_identity

        for name in self.config.inits:
            specs = [self.spec(key) for key in cells if key.init == name]
            start = prepare(specs[-1], len(data["train"].classes))
            for spec in specs:
                plan = plan_of(spec, start.model.state_dict())
                identity = trial_identity(spec, start.init, plan, data)
                _require_same(identity, spec.key, self.trial_folder(spec.key))

    def run(
        self,
        *,
        workers: int = 1,
        threads: int = 1,
        device: str = "auto",
        on_event: Callable[["Event"], None] = lambda event: None,
    ) -> "list[Outcome]":
        """Run what is not done yet; finished trials are kept, interrupted ones resume.

        Args:
            workers: trials side by side, >= 1.
            threads: CPU threads of each.
            device: ``auto``, ``cpu`` or ``cuda``.
            on_event: called for everything that happens.

        Returns:
            Outcomes of the trials that ran now.

        Raises:
            FrostlineError: something is wrong that would stop every trial.
            StudyChangedError: trials in the folder were defined otherwise.
        """
        self.check()
        from frostline.engines import run_local
        from frostline.training import choose_device

        choose_device(device)  # a GPU that is not there would fail each trial by itself
        StudyFile(self.config, self.base, self.layers()).write(self.folder)
        trials = {
            self.trial_folder(key): self.spec(key, threads=threads, device=device)
            for key in self.left()
        }
        return run_local(trials, workers=workers, on_event=on_event)

    def estimate(self, *, workers: int = 1, threads: int = 1, device: str = "auto") -> "Estimate":
        """Check everything and measure what is left to run; writes nothing.

        Raises:
            FrostlineError: as ``check``.
        """
        self.check()
        from frostline.estimate import estimate

        specs = [self.spec(key, threads=threads, device=device) for key in self.left()]
        return estimate(specs, cells=len(self.cells()), workers=workers)

    def left(self) -> tuple[TrialKey, ...]:
        """Cells without a record."""
        return tuple(state.key for state in self.status() if state.state != "done")

    def records(self) -> tuple[TrialRecord, ...]:
        """Records of the finished cells, in the order of ``cells()``."""
        folders = [self.trial_folder(key) for key in self.cells()]
        return tuple(
            TrialRecord.read(folder / FILES.record)
            for folder in folders
            if (folder / FILES.record).exists()
        )

    def to_dict(self) -> dict[str, Any]:
        """Where every cell stands, and the scores of the finished ones, as plain values."""
        return {
            "folder": str(self.folder),
            "config": self.config.model_dump(mode="json"),
            "trials": list(self._rows()),
        }

    def plot(self, ax: "Axes", score: "Score" = "ap") -> None:
        """Draw a score of the finished trials against the number of frozen convolutions on ``ax``.

        Raises:
            RecordError: no trial has finished.
        """
        from frostline.figures import depth_table

        records = self.records()
        if not records:
            raise RecordError(f"expected a finished trial in {self.folder}, found none")
        depth_table(records, score).plot(ax)

    def _repr_html_(self) -> str:
        head = ("init", "plan", "variant", "seed", "state", "AP", "AP50", "note")
        rows = list(self._rows())
        done = sum(row["state"] == "done" for row in rows)
        return table_html(
            f"study {self.folder.name}: {done} of {len(rows)} trials done",
            head,
            ([_cell(value) for value in row.values()] for row in rows),
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        records = {record.key: record for record in self.records()}
        for state in self.status():
            record = records.get(state.key)
            scores = record.metrics["val"]["coco"]["overall"] if record else {}
            yield {
                **state.key.model_dump(mode="json"),
                "state": state.state,
                "ap": scores.get("ap"),
                "ap50": scores.get("ap50"),
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
    return Study(file.config, file.base, folder, file.table)


def read_records(folder: Path) -> tuple[StudyConfig, tuple[TrialRecord, ...]]:
    """A study's configuration and the records of its finished trials.

    Raises:
        RecordError: the folder does not hold a study.
    """
    study = open_study(folder)
    return study.config, study.records()


def _require_same(identity: Identity, key: TrialKey, folder: Path) -> None:
    """Explain, value by value, in what a trial differs from the one already in its folder."""
    before = _identity_in(folder)
    if before is None:
        return
    different = changes(before, identity)
    if different:
        raise StudyChangedError(
            f"trial {key.slug} in {folder.parent.parent} was made by another study: "
            f"{'; '.join(different)}; change it back, delete the trial's folder "
            f"({_TRIALS}/{key.slug}) to run it anew, or use --out for a new folder"
        )


def _identity_in(folder: Path) -> Identity | None:
    if (folder / FILES.record).exists():
        record = TrialRecord.read(folder / FILES.record)
        return Identity(record.spec, record.scoring)
    if not (folder / FILES.checkpoint).exists():
        return None  # nothing is lost by starting anew
    try:
        return Identity.of_stored(json.loads((folder / FILES.spec).read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"cannot read {folder / FILES.spec}: {error}; delete the trial") from None


def _layers(model: ModelConfig) -> LayerTable:
    """The backbone's convolutions; only a network of timm has to be looked at for them."""
    if model.backbone.startswith(TIMM_PREFIX):
        require_torch()
        from frostline.models import model_layers

        return model_layers(model)
    return layer_table(model.backbone, width_mult=model.width_mult)


def _model_of(model: ModelConfig, *, random: bool) -> ModelConfig:
    """The random reference needs live BatchNorm: fixed statistics of nothing are nothing."""
    return model.model_copy(update={"batch_norm": "live"}) if random else model


def _state(key: TrialKey, folder: Path) -> TrialState:
    if (folder / FILES.record).exists():
        return TrialState(key, "done")
    if (folder / FILES.failure).exists():
        text = json.loads((folder / FILES.failure).read_bytes()).get("text", "")
        return TrialState(key, "failed", text)
    if (folder / FILES.checkpoint).exists():
        return TrialState(key, "started", "has a checkpoint")
    return TrialState(key, "waiting")


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


def _is_stray(folder: Path, named: Collection[str]) -> bool:
    return folder.name not in named and any(
        (folder / file).exists() for file in (FILES.record, FILES.checkpoint)
    )


def _stray(folder: Path) -> TrialState:
    """A trial that no cell names; its key is read off its folder's name."""
    cell, _, seed = folder.name.rpartition("-s")
    init, _, plan = cell.rpartition("-")
    key = TrialKey(init=init, plan=plan, seed=int(seed) if seed.isdecimal() else 0)
    what = "a record" if (folder / FILES.record).exists() else "a checkpoint"
    return TrialState(key, "unlisted", f"the study does not name it; its folder has {what}")
