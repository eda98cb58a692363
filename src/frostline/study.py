"""The grid: inits x depths x seeds, what of it is done, and what is left."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from frostline.config import ModelConfig, StudyConfig, load_study
from frostline.engines import Event, Outcome, run_local
from frostline.errors import RecordError, StudyChangedError
from frostline.estimate import Estimate, estimate
from frostline.models import model_layers
from frostline.records import TrialKey, TrialRecord, write_json
from frostline.trial import FILES, TrialSpec, load_data, prepare, trial_identity

__all__ = ["Study", "TrialState", "open_study", "read_records"]

_STUDY_FILE = "study.json"
_TRIALS = "trials"


@dataclasses.dataclass(frozen=True, slots=True)
class TrialState:
    """Where one cell of a study stands."""

    key: TrialKey
    state: Literal["done", "failed", "started", "waiting"]
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """A study and the folder it writes to.

    Attributes:
        config: what to run.
        base: folder against which the study's paths resolve.
        folder: output; one folder a trial under ``trials/``.
    """

    config: StudyConfig
    base: Path
    folder: Path

    @classmethod
    def from_yaml(cls, path: Path, out: Path | None = None) -> Self:
        """Read a study; output goes to ``runs/<file stem>`` beside the file, or to ``out``.

        Raises:
            ConfigError: the file cannot be used.
        """
        config = load_study(path)
        base = path.resolve().parent
        return cls(config, base, out if out is not None else base / "runs" / path.stem)

    def cells(self) -> tuple[TrialKey, ...]:
        """Every cell, seed by seed, so that a study cut short has whole curves.

        A random init is a reference with nothing to keep: it runs at depth 0 only.

        Raises:
            PlanError: a depth is beyond the model.
        """
        table = model_layers(self.config.model)
        deepest = table.max_depth(self.config.numbering)
        depths = [deepest if depth == "all" else depth for depth in self.config.depths]
        for depth in depths:
            table.frozen_layers(depth, self.config.numbering)
        return tuple(
            TrialKey(init=name, depth=depth, seed=seed)
            for seed in self.config.seeds
            for name, init in self.config.inits.items()
            for depth in ([0] if init.is_random else dict.fromkeys(depths))
        )

    def trial_folder(self, key: TrialKey) -> Path:
        """Folder of one cell."""
        return self.folder / _TRIALS / key.slug

    def spec(self, key: TrialKey, *, threads: int = 1, device: str = "auto") -> TrialSpec:
        """One cell, ready to run."""
        init = self.config.inits[key.init]
        return TrialSpec(
            key=key,
            init=init,
            model=_model_of(self.config.model, random=init.is_random),
            schedule=self.config.schedule_of(key.init),
            data=self.config.data,
            base=self.base,
            numbering=self.config.numbering,
            threads=threads,
            device=device,
        )

    def status(self) -> tuple[TrialState, ...]:
        """Where every cell stands, read from the folder."""
        return tuple(_state(key, self.trial_folder(key)) for key in self.cells())

    def check(self) -> None:
        """Everything that can be wrong before the first step: data, weights, depths, the folder.

        Raises:
            FrostlineError: the first problem.
        """
        self.cells()
        self._require_unchanged()
        data = load_data(self.config.data, self.base)
        records = self.records()
        for key in {key.init: key for key in self.cells()}.values():
            spec = self.spec(key)
            start = prepare(spec, len(data["train"].classes))
            identity = trial_identity(spec, start.init, start.plan, data)
            _require_same_inputs(identity, [r for r in records if r.key.init == key.init])

    def run(
        self,
        *,
        workers: int = 1,
        threads: int = 1,
        device: str = "auto",
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> list[Outcome]:
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
            StudyChangedError: finished trials no longer match the study.
        """
        self.check()
        write_json(self.folder / _STUDY_FILE, self.config.model_dump(mode="json"))
        trials = {
            self.trial_folder(key): self.spec(key, threads=threads, device=device)
            for key in self.left()
        }
        return run_local(trials, workers=workers, on_event=on_event)

    def estimate(self, *, workers: int = 1, threads: int = 1, device: str = "auto") -> Estimate:
        """Check everything and measure what is left to run; writes nothing.

        Raises:
            FrostlineError: as ``check``.
        """
        self.check()
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

    def _require_unchanged(self) -> None:
        """Explain, value by value, where the study differs from the one its folder was made by.

        More inits, depths or seeds are no change: they add cells.
        """
        path = self.folder / _STUDY_FILE
        if not path.exists():
            return
        before = _read_config(path)
        changes = list(_changes(_frame(before), _frame(self.config)))
        for name in before.inits.keys() & self.config.inits.keys():
            old, new = (c.inits[name].model_dump(mode="json") for c in (before, self.config))
            changes += _changes(old, new, f"inits.{name}.")
        if changes:
            raise StudyChangedError(
                f"{self.folder} was made by another study: {'; '.join(changes)}; "
                "change it back, or use --out for a new folder"
            )


def open_study(folder: Path) -> Study:
    """A study from its output folder alone, for looking at what is there.

    Its data and weights are not looked for: ``base`` is the folder itself.

    Raises:
        RecordError: the folder does not hold a study.
    """
    path = folder / _STUDY_FILE
    if not path.exists():
        raise RecordError(
            f"{folder} holds no study: expected {_STUDY_FILE}; `frostline run study.yaml` makes one"
        )
    return Study(_read_config(path), folder, folder)


def read_records(folder: Path) -> tuple[StudyConfig, tuple[TrialRecord, ...]]:
    """A study's configuration and the records of its finished trials.

    Raises:
        RecordError: the folder does not hold a study.
    """
    study = open_study(folder)
    return study.config, study.records()


def _read_config(path: Path) -> StudyConfig:
    try:
        return StudyConfig.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise RecordError(f"cannot read {path}: {text}; use --out for a new folder") from None


def _require_same_inputs(identity: dict[str, Any], records: Sequence[TrialRecord]) -> None:
    """Weights and data are compared by what is in them: a file may keep its name and change."""
    shared = {name: identity[name] for name in ("weights", "data", "model", "schedule")}
    for record in records:
        changes = list(_changes({name: record.spec[name] for name in shared}, shared))
        if changes:
            raise StudyChangedError(
                f"{record.key.slug} is finished, but its inputs have changed: "
                f"{'; '.join(changes)}; use --out for a new folder"
            )


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


def _frame(config: StudyConfig) -> dict[str, Any]:
    """What all cells share and what their results depend on."""
    frame = config.model_dump(mode="json", exclude={"inits", "depths", "seeds"})
    del frame["schedule"]["checkpoint_seconds"]
    return frame


def _changes(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{where.rstrip('.')} was {old!r}, is {new!r}"
        return
    for key in dict.fromkeys([*old, *new]):
        yield from _changes(old.get(key), new.get(key), f"{where}{key}.")
