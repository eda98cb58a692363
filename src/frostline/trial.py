"""One cell: begin it, let somebody train it, judge what came of it.

``begin`` reads data and weights and applies the plan; a trainer (``trainers``) makes a file of
weights of it; ``judging`` audits, scores and compares that file and makes the record.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from frostline.architectures import Architecture, architecture_of
from frostline.architectures.building import load_tensors
from frostline.architectures.norms import with_filled_norms
from frostline.backbones import KnownBackbone
from frostline.config import DataConfig, InitConfig, ModelConfig, PlanConfig, ScheduleConfig
from frostline.datasets import DatasetIndex, FileHashes, Looks
from frostline.datasets.reading import require_boxes
from frostline.depth import ConvLayer, LayerTable, Numbering
from frostline.errors import InitError
from frostline.freezing import Frozen
from frostline.identity import Identity, identify
from frostline.inits import match_source, open_source
from frostline.loading import layout_of, load_data
from frostline.plans import PLAN_VERSION, FreezePlan, PlanVersion
from frostline.records import (
    FILES,
    EpochRecord,
    InitRecord,
    PlanRecord,
    TrialKey,
    atomic_write,
)
from frostline.tasks import (
    Placed,
    Task,
    common_canvas,
    require_model,
    task_named,
)

__all__ = [
    "FILES",
    "Moment",
    "Start",
    "Trained",
    "TrialSpec",
    "begin",
    "counted_tensors",
    "frozen_random",
    "headline_scores",
    "load_data",
    "plan_of",
    "prepare",
    "require_filled",
    "save_weights",
    "trial_identity",
]


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """Everything that one trial needs, ready to be sent to another process.

    Attributes:
        key: the cell.
        init: source and parts of the starting weights.
        model: the detector; of a random reference with BatchNorm ``live``.
        schedule: with the init's overrides applied.
        data: images and boxes.
        base: folder against which the paths in ``data`` and ``init`` resolve; never recorded.
        plan: what is frozen.
        plan_file: the plan that a rule made, once it has; None for all others.
        allow_frozen_random: whether the plan may freeze what the start leaves random.
        plan_version: how a depth or a stage is read, see ``FreezePlan``.
        numbering: how a depth counts.
        threads: CPU threads of the trial, >= 1; results are bit-equal for equal numbers of them.
        device: ``auto``, ``cpu`` or ``cuda``.
        trainer: who trains; a name of ``members.TRAINERS``.
        task: what is trained for; a name of ``members.TASKS``.
        differences: of which layers: those that depth ``counted``, or ``all``; no part of what
            defines the trial.
        image_share: share of the training images that it trains on, see ``DatasetIndex.share``.
        score_test: whether the end is scored on ``test`` too; no part of what defines the trial.
        hashes: file with hashes of the images that were read before; None for none.
        observer: called before the first training step and after each one, in the process that
            trains; it must pickle to be sent there, and leave the model as it was. It is no part
            of what defines the trial.
    """

    key: TrialKey
    init: InitConfig
    model: ModelConfig
    schedule: ScheduleConfig
    data: DataConfig
    base: Path
    plan: PlanConfig
    plan_file: Path | None = None
    allow_frozen_random: bool = False
    plan_version: PlanVersion = PLAN_VERSION
    numbering: Numbering = "all"
    threads: int = 1
    device: str = "auto"
    trainer: str = "frostline"
    task: str = "detection"
    differences: Literal["counted", "all"] = "counted"
    image_share: float = 1.0
    score_test: bool = True
    hashes: Path | None = None
    observer: "Callable[[Moment], None] | None" = None

    def load(self) -> dict[str, DatasetIndex]:
        """Read the splits that it trains and is scored on.

        Raises:
            DatasetError: see ``load_data``.
        """
        masks = task_named(self.task).declares.masks
        looks = Looks.beside(self.hashes)
        splits = load_data(self.data, self.base, masks=masks, looks=looks)
        if self.image_share == 1:
            return splits
        fewer = splits | {"train": splits["train"].share(self.image_share)}
        require_boxes(fewer)
        return fewer


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A cell before its first step: the model with its starting weights, and what it is judged by.

    Attributes:
        spec: the cell.
        task: the task's functions.
        data: the splits as they were read.
        placed: their images on the study's canvas.
        frozen: the model with its starting weights, and the plan in force on it.
        init: where the weights came from, and what they filled.
        plan_record: the plan as the record keeps it.
        hashes: of the image files.
        before: copies of the tensors that will be compared, by state-dict name: those of the part
            that depth counts, or all.
    """

    spec: TrialSpec
    task: Task
    data: Mapping[str, DatasetIndex]
    placed: Mapping[str, Placed]
    frozen: Frozen
    init: InitRecord
    plan_record: PlanRecord
    hashes: FileHashes
    before: dict[str, npt.NDArray[Any]]

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.frozen.model

    @property
    def plan(self) -> FreezePlan:
        """What is frozen."""
        return self.frozen.plan

    @property
    def asked(self) -> frozenset[str]:
        """What is measured besides the task's usual scores."""
        return _asked(self.spec, self.task)

    @property
    def identity(self) -> Identity:
        """What defines the trial."""
        return trial_identity(self.spec, self.init, self.plan, self.data, self.hashes)


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """What a trainer leaves.

    Attributes:
        weights: the file of the trained weights, ``.safetensors``, in the model's names; None
            where the training was paused.
        history: one record for each epoch done.
        resumed_at: steps at which an interrupted training went on.
        conditions: what the training depended on besides its definition; several where parts of it
            ran under different ones.
        seconds: wall-clock time by phase, over all parts of a resumed training.
        remarks: what was done otherwise than asked; they become flags of the record.
    """

    weights: Path | None
    history: tuple[EpochRecord, ...]
    resumed_at: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A training at one step, as an observer sees it.

    Attributes:
        step: optimiser steps done.
        steps: steps in all.
        start: the cell, its data, the model as it trains, and copies of what it started from.
        device: where the model is.
        folder: the trial's own folder.
    """

    step: int
    steps: int
    start: Start
    device: torch.device
    folder: Path

    @property
    def spec(self) -> TrialSpec:
        """The cell."""
        return self.start.spec

    def score(self, model: nn.Module) -> dict[str, float | None]:
        """Headline scores of a model on ``val``."""
        return headline_scores(self.start, model, self.device)


def begin(spec: TrialSpec, *, task: Task | None = None) -> Start:
    """Read a cell's data and build its model with its starting weights and its plan applied.

    Raises:
        FrostlineError: unusable data or weights, or a plan that the model cannot have.
    """
    torch.set_num_threads(spec.threads)
    return prepare(spec, spec.load(), task=task)


def headline_scores(
    start: Start, model: nn.Module, device: torch.device
) -> dict[str, float | None]:
    """Headline scores of a model on ``val``; None for one that the split cannot give."""
    images = start.placed["val"]
    found = start.task.predict(model, images, device, start.spec.schedule.batch_size)
    scores = start.task.evaluate(images.dataset, found, None, start.asked).scores
    shown = (score.key for score in start.task.declares.scores if score.headline)
    return {key: scores[key] for key in shown if key in scores}


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's tensors as ``.safetensors``, whole or not at all.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


def trial_identity(
    spec: TrialSpec,
    init: InitRecord,
    plan: FreezePlan,
    data: Mapping[str, DatasetIndex],
    hashes: FileHashes,
) -> Identity:
    """What defines a trial: equal identities mean equal experiments; see ``identity``.

    Data stand as the digest of names, sizes and boxes, and as that of the image files' bytes.

    Raises:
        DatasetError: an image cannot be read.
    """
    depth = spec.plan.depth
    return identify(
        seed=spec.key.seed,
        model=spec.model,
        norm_eps=_known(spec.model).eps,
        schedule=spec.schedule,
        weights=init.sha256,
        parts=init.parts,
        section=init.section,
        normalisation=init.normalisation,
        plan=plan.digest(),
        data={split: index.digest() for split, index in data.items()},
        pixels={split: hashes.digest(index) for split, index in data.items()},
        trainer=spec.trainer,
        cell=None if depth is None else (spec.key.init, depth, spec.numbering),
        task=spec.task,
        metrics=_asked(spec, task_named(spec.task)),
        grey_levels=spec.data.grey_levels,
    )


def prepare(
    spec: TrialSpec, data: Mapping[str, DatasetIndex], *, task: Task | None = None
) -> Start:
    """Build a cell's model with its starting weights and apply its plan.

    Args:
        spec: the cell.
        data: its splits, as ``load_data`` reads them.
        task: the task's functions; None takes the task that the cell names.

    Raises:
        CheckpointError: the weights cannot be opened.
        InitError: they do not fill what they are asked to fill.
        PlanError: the depth is beyond the model.
    """
    canvas = common_canvas(tuple(data.values()), spec.model.image_size)
    task = task or task_named(spec.task)
    placed = {split: task.place(index, canvas) for split, index in data.items()}
    classes = len(data["train"].classes)
    require_model(spec.task, spec.model)
    model = task.build(spec.model, classes, spec.key.seed)
    source = open_source(spec.init.source, spec.base, section=spec.init.section)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    architecture, known = architecture_of(spec.model), _known(spec.model)
    tensors, init = match_source(source, shapes, spec.init, architecture)
    load_tensors(model, tensors)
    pixels = init.normalisation or known.pixels
    architecture.set_pixels(model, pixels)
    init = init.model_copy(update={"normalisation": pixels})
    plan = plan_of(spec, shapes)
    if not spec.allow_frozen_random:
        require_filled(plan, init, architecture)
    frozen = Frozen(model, plan).require_trainable()
    record = _plan_record(frozen, known.table, architecture.prefix, spec.plan_file)
    before = counted_tensors(model, "" if spec.differences == "all" else architecture.prefix)
    hashes = FileHashes.read(spec.hashes) if spec.hashes else FileHashes()
    return Start(spec, task, data, placed, frozen, init, record, hashes, before)


def plan_of(spec: TrialSpec, names: Collection[str]) -> FreezePlan:
    """The freeze plan of a cell, for a model with tensors of these names.

    Patterns name what is frozen besides the BatchNorm that the policy fixes: all of it, or what is
    behind a frozen layer.

    Raises:
        PlanError: a depth is beyond the model, a stage is unknown, or a pattern matches nothing.
    """
    architecture = architecture_of(spec.model)
    parts = () if spec.init.is_random else architecture.asked(spec.init.parts)
    return with_filled_norms(_counted_plan(spec, names), names, architecture, parts)


def _counted_plan(spec: TrialSpec, names: Collection[str]) -> FreezePlan:
    """With the BatchNorm of the part that depth counts, as far as the policy fixes it."""
    table, prefix = _known(spec.model).table, architecture_of(spec.model).prefix
    policy, wanted = spec.model.batch_norm, spec.plan
    if spec.plan_file is not None:
        return FreezePlan.read(spec.plan_file)
    if wanted.stage is not None:
        return FreezePlan.at_stage(
            table, wanted.stage, batch_norm=policy, prefix=prefix, version=spec.plan_version
        )
    if wanted.patterns is not None:
        found = FreezePlan.matching(names, wanted.patterns, batch_norm=policy)
        fixed = set(FreezePlan.at_depth(table, 0, batch_norm=policy, prefix=prefix, version=1))
        if policy == "follow":
            fixed |= set(_norms_behind(found, table, prefix, names))
        return dataclasses.replace(found, tensors=tuple(sorted({*found, *fixed})))
    assert wanted.depth is not None, "one of the three is given"
    return FreezePlan.at_depth(
        table,
        wanted.depth,
        batch_norm=policy,
        numbering=spec.numbering,
        prefix=prefix,
        version=spec.plan_version,
    )


def _norms_behind(
    plan: FreezePlan, table: LayerTable, prefix: str, names: Collection[str]
) -> Iterator[str]:
    """Tensors of the BatchNorm behind every layer that a plan freezes."""
    for layer in table.layers:
        if not _freezes(plan, layer, prefix):
            continue
        if layer.norm_tensors is not None:
            yield from (prefix + name for name in layer.norm_tensors)
        elif layer.norm is not None:
            yield from (name for name in names if name.startswith(f"{prefix}{layer.norm}."))


def _plan_record(frozen: Frozen, table: LayerTable, prefix: str, ruled: Path | None) -> PlanRecord:
    plan = frozen.plan
    return PlanRecord(
        rule=None if ruled is None else _rule_in(ruled),
        label=plan.label,
        depth=plan.depth,
        numbering=plan.numbering,
        batch_norm=plan.batch_norm,
        digest=plan.digest(),
        version=plan.version,
        unit=plan.unit,
        layers=tuple(
            index
            for index, (begin, layer) in enumerate(_all_layers(table, prefix), start=1)
            if _freezes(plan, layer, begin)
        ),
        tensors=plan.tensors,
        frozen_parameters=frozen.frozen_parameters,
        trainable_parameters=frozen.trainable_parameters,
    )


def _rule_in(file: Path) -> dict[str, Any]:
    """Of what a rule's plan was made from, what its records keep; the file has the layers too."""
    rule = json.loads(file.read_bytes()).get("rule", {})
    return {name: value for name, value in rule.items() if name != "layers"}


def _all_layers(table: LayerTable, prefix: str) -> Iterator[tuple[str, ConvLayer]]:
    """Prefix and layer: those that depth counts, then those of other sections."""
    yield from ((prefix, layer) for layer in table.layers)
    for section in table.others:
        yield from ((section.prefix, layer) for layer in section.layers)


def _freezes(plan: FreezePlan, layer: ConvLayer, prefix: str) -> bool:
    """Whether a plan names all weights of a layer."""
    names = layer.tensors or (f"{layer.name}.weight",)
    return all(prefix + name in plan for name in names)


def frozen_random(
    plan: FreezePlan, init: InitRecord, architecture: Architecture
) -> tuple[str, ...]:
    """Names of what a plan freezes and a start leaves random, by permission or as not asked for."""
    mismatched = (text.partition(": ")[0] for text in init.mismatched)
    filled = architecture.prefixes(init.parts)
    unasked = {name for name in plan if not name.startswith(filled)}
    return tuple(sorted({*init.missing, *mismatched} & set(plan) | unasked))


def require_filled(plan: FreezePlan, init: InitRecord, architecture: Architecture) -> None:
    """What a start leaves random, by permission or as it was not asked for, must be trained.

    Raises:
        InitError: the plan would freeze it.
    """
    random = frozen_random(plan, init, architecture)
    if random:
        raise InitError(
            f"'{init.source}' leaves {random[0]} random, and plan {plan.label} would freeze it "
            "like that; freeze less, give weights that fill it, or set allow_frozen_random: true"
        )


def _asked(spec: TrialSpec, task: Task) -> frozenset[str]:
    return task.declares.asked(spec.data.metrics, layout_of(spec.data, spec.base))


def _known(model: ModelConfig) -> KnownBackbone:
    return architecture_of(model).backbone(model)


def counted_tensors(model: nn.Module, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Copies of the tensors whose names begin so as numpy arrays, by state-dict name."""
    return {
        name: np.array(tensor.detach().cpu().numpy())
        for name, tensor in model.state_dict().items()
        if name.startswith(prefix)
    }
