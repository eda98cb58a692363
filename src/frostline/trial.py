"""One cell of the grid: init + plan + seed -> record. The contract other trainers also meet."""

import dataclasses
import datetime
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from frostline.config import DataConfig, InitConfig, ModelConfig, PlanConfig, ScheduleConfig
from frostline.datasets import DatasetIndex
from frostline.depth import LayerTable, Numbering
from frostline.difference import profile
from frostline.errors import InitError, RecordError
from frostline.evaluation import Evaluation, to_coco_results
from frostline.freezing import apply_plan, audit, fingerprint, require_passed
from frostline.identity import Identity, changes, identify
from frostline.inits import match_source, open_source
from frostline.loading import load_data
from frostline.models import (
    load_tensors,
    model_layers,
    norm_eps,
    normalisation,
    set_normalisation,
)
from frostline.plans import BACKBONE_PREFIX, FreezePlan
from frostline.records import (
    FILES,
    DataRecord,
    EpochRecord,
    InitRecord,
    PlanRecord,
    TrialKey,
    TrialRecord,
    append_line,
    atomic_write,
    environment,
    write_json,
)
from frostline.tasks import DETECTION, PlacedImages, Task, common_canvas
from frostline.training import Progress, TrainingResult, make_fabric, train

__all__ = [
    "FILES",
    "Moment",
    "Start",
    "TrialSpec",
    "load_data",
    "plan_of",
    "prepare",
    "run_trial",
    "trial_identity",
]


_AP50_NEAR_ZERO = 0.02
_LOG_EVERY_SECONDS = 5.0


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
        numbering: how a depth counts.
        threads: CPU threads of the trial, >= 1; results are bit-equal for equal numbers of them.
        device: ``auto``, ``cpu`` or ``cuda``.
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
    numbering: Numbering = "all"
    threads: int = 1
    device: str = "auto"
    observer: "Callable[[Moment], None] | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A model with its starting weights, and what must be remembered about them."""

    model: nn.Module
    init: InitRecord
    plan: FreezePlan
    plan_record: PlanRecord
    fingerprint: dict[str, str]
    backbone: dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A training at one step, as an observer sees it.

    Attributes:
        step: optimiser steps done.
        steps: steps in all.
        spec: the cell.
        start: the model as it trains, and copies of what it started from.
        placed: images by split, on the study's canvas.
        task: the task's functions.
        device: where the model is.
        score: headline scores of a model on ``val``.
        folder: the trial's own folder.
    """

    step: int
    steps: int
    spec: TrialSpec
    start: Start
    placed: Mapping[str, PlacedImages]
    task: Task
    device: torch.device
    score: Callable[[nn.Module], dict[str, float | None]]
    folder: Path


def run_trial(
    spec: TrialSpec,
    folder: Path,
    *,
    task: Task = DETECTION,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> TrialRecord:
    """Train, audit, evaluate and compare one cell; resume if the folder holds a checkpoint.

    Args:
        spec: the cell.
        folder: the trial's own folder; made if it does not exist.
        task: the task's functions.
        on_step: called after each training step.

    Returns:
        The record, which is also written to ``folder``.

    Raises:
        FrostlineError: unusable data or weights, a non-finite loss, a failed audit, a full disk.
    """
    clock = _Clock()
    torch.set_num_threads(spec.threads)
    with clock.measure("load"):
        data = load_data(spec.data, spec.base)
        start = prepare(spec, len(data["train"].classes), task=task)
        canvas = common_canvas(tuple(data.values()), spec.model.image_size)
        placed = {split: PlacedImages(index, canvas) for split, index in data.items()}
    identity = trial_identity(spec, start.init, start.plan, data)
    identity = _claim(folder, identity)
    fabric = make_fabric(spec.device)
    log = folder / FILES.log

    def score(model: nn.Module) -> dict[str, float | None]:
        images = placed["val"]
        found = task.predict(model, images, fabric.device, spec.schedule.batch_size)
        return _headline(task.evaluate(images.dataset, found))

    def observe(step: int, steps: int) -> None:
        if spec.observer is not None:
            spec.observer(
                Moment(step, steps, spec, start, placed, task, fabric.device, score, folder)
            )

    training = train(
        start.model,
        placed["train"],
        task=task,
        plan=start.plan,
        schedule=spec.schedule,
        seed=spec.key.seed,
        fabric=fabric,
        checkpoint=folder / FILES.checkpoint,
        identity=identity,
        score=score,
        on_step=_logged(log, on_step),
        on_resume=lambda step: append_line(log, {"event": "resumed", "step": step}),
        observe=observe,
    )
    clock.seconds["train"] = training.seconds  # over all parts of a resumed trial
    if spec.schedule.eval_every is not None:
        clock.seconds["evaluate_epochs"] = training.evaluation_seconds
    audited = audit(start.fingerprint, start.model, start.plan)
    require_passed(audited)
    with clock.measure("evaluate"):
        metrics = _evaluate(start.model, placed, task, spec, fabric.device, folder)
    with clock.measure("difference"):
        differences = _differences(start, spec.model)
    _save_weights(start.model, folder / FILES.weights)
    record = TrialRecord(
        key=spec.key,
        ranked=not spec.init.is_random,
        spec=identity.training,
        scoring=identity.scoring,
        init=start.init,
        plan=start.plan_record,
        audit=audited,
        data={split: _data_record(images) for split, images in placed.items()},
        history=training.history,
        metrics=metrics,
        differences=differences,
        flags=_flags(training, metrics["val"]),
        environment=environment() | _hardware(fabric.device, spec.threads),
        seconds=clock.seconds,
        resumed_at_steps=training.resumed_at,
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    record.write(folder / FILES.record)
    (folder / FILES.checkpoint).unlink(missing_ok=True)
    (folder / FILES.failure).unlink(missing_ok=True)
    return record


def trial_identity(
    spec: TrialSpec, init: InitRecord, plan: FreezePlan, data: Mapping[str, DatasetIndex]
) -> Identity:
    """What defines a trial: equal identities mean equal experiments; see ``identity``.

    Data stand as the digest of names, sizes and boxes: other pixels in an image of the same name
    and size are not noticed.
    """
    depth = spec.plan.depth
    return identify(
        seed=spec.key.seed,
        model=spec.model,
        norm_eps=norm_eps(spec.model),
        schedule=spec.schedule,
        weights=init.sha256,
        parts=init.parts,
        section=init.section,
        normalisation=init.normalisation,
        plan=plan.digest(),
        data={split: index.digest() for split, index in data.items()},
        cell=None if depth is None else (spec.key.init, depth, spec.numbering),
    )


def prepare(spec: TrialSpec, classes: int, *, task: Task = DETECTION) -> Start:
    """Build a cell's model with its starting weights and apply its plan.

    Args:
        spec: the cell.
        classes: number of object classes, without background.
        task: the task's functions.

    Raises:
        CheckpointError: the weights cannot be opened.
        InitError: they do not fill what they are asked to fill.
        PlanError: the depth is beyond the model.
    """
    model = task.build(spec.model, classes, spec.key.seed)
    source = open_source(spec.init.source, spec.base, section=spec.init.section)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors, init = match_source(source, shapes, spec.init)
    load_tensors(model, tensors)
    pixels = init.normalisation or normalisation(spec.model)
    set_normalisation(model, pixels)
    init = init.model_copy(update={"normalisation": pixels})
    plan = plan_of(spec, shapes)
    _require_filled_prefix(plan, init)
    counts = apply_plan(model, plan)
    record = _plan_record(plan, model_layers(spec.model), counts)
    return Start(model, init, plan, record, fingerprint(model), _backbone(model))


def plan_of(spec: TrialSpec, names: Iterable[str]) -> FreezePlan:
    """The freeze plan of a cell, for a model with tensors of these names.

    Patterns name what is frozen besides the BatchNorm that the policy fixes everywhere.

    Raises:
        PlanError: a depth is beyond the model, a stage is unknown, or a pattern matches nothing.
    """
    table, policy, wanted = model_layers(spec.model), spec.model.batch_norm, spec.plan
    if wanted.stage is not None:
        return FreezePlan.at_stage(table, wanted.stage, batch_norm=policy)
    if wanted.patterns is not None:
        found = FreezePlan.matching(names, wanted.patterns, batch_norm=policy)
        fixed = FreezePlan.at_depth(table, 0, batch_norm=policy)
        return dataclasses.replace(found, tensors=tuple(sorted({*found, *fixed})))
    assert wanted.depth is not None, "one of the three is given"
    return FreezePlan.at_depth(table, wanted.depth, batch_norm=policy, numbering=spec.numbering)


def _plan_record(plan: FreezePlan, table: LayerTable, counts: tuple[int, int]) -> PlanRecord:
    frozen, trainable = counts
    return PlanRecord(
        label=plan.label,
        depth=plan.depth,
        numbering=plan.numbering,
        batch_norm=plan.batch_norm,
        digest=plan.digest(),
        layers=tuple(x.index for x in table.layers if f"{BACKBONE_PREFIX}{x.name}.weight" in plan),
        tensors=plan.tensors,
        frozen_parameters=frozen,
        trainable_parameters=trainable,
    )


def _require_filled_prefix(plan: FreezePlan, init: InitRecord) -> None:
    """What stayed random by permission must at least be trained."""
    mismatched = (text.partition(": ")[0] for text in init.mismatched)
    random = sorted({*init.missing, *mismatched} & set(plan))
    if random:
        raise InitError(
            f"'{init.source}' leaves {random[0]} random, and plan {plan.label} would freeze it "
            "like that; lower the depth or give weights that fill it"
        )


def _backbone(model: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Copies of the backbone's tensors as numpy arrays, by state-dict name."""
    return {
        name: np.array(tensor.detach().cpu().numpy())
        for name, tensor in model.state_dict().items()
        if name.startswith(BACKBONE_PREFIX)
    }


def _claim(folder: Path, identity: Identity) -> Identity:
    """Write the identity beside the trial, or refuse a folder that holds another trial's work.

    Returns:
        The identity, with the digests under which the work that is there knows it.
    """
    path = folder / FILES.spec
    worked = any((folder / name).exists() for name in (FILES.checkpoint, FILES.record))
    if not (path.exists() and worked):
        write_json(path, identity.to_dict())
        return identity
    try:
        before = Identity.of_stored(json.loads(path.read_bytes()))
        other = changes(before, identity)
    except (ValueError, KeyError):
        raise RecordError(f"cannot read {path}; delete the trial's folder to run it anew") from None
    if other:
        raise RecordError(
            f"{folder.name} holds another trial: {'; '.join(other)}; delete it or use --out for a "
            "new folder"
        )
    return dataclasses.replace(identity, older=identity.older | before.older | {before.digest})


def _logged(path: Path, on_step: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Also append to the trial's log: the first step after a start or resume, then every 5 s."""
    last = -math.inf

    def log(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LOG_EVERY_SECONDS or progress.step == progress.steps:
            append_line(path, {"event": "step"} | dataclasses.asdict(progress))
            last = now
        on_step(progress)

    return log


def _evaluate(
    model: nn.Module,
    placed: Mapping[str, PlacedImages],
    task: Task,
    spec: TrialSpec,
    device: torch.device,
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Scores on ``val``, and on ``test`` with the threshold that ``val`` chose."""
    metrics, threshold = {}, None
    detections: dict[str, Any] = {}
    names: dict[str, list[str]] = {}
    for split in ("val", "test"):
        if split not in placed:
            continue
        images = placed[split]
        found = task.predict(model, images, device, spec.schedule.batch_size)
        result = task.evaluate(images.dataset, found, wheat_threshold=threshold)
        threshold = result.wheat.overall.threshold if threshold is None else threshold
        metrics[split] = result.to_dict()
        detections[split] = to_coco_results(images.dataset, found)
        names[split] = [image.file for image in images.dataset.images]  # image_id counts them
    classes = placed["val"].dataset.classes
    write_json(folder / FILES.detections, detections | {"images": names, "classes": classes})
    return metrics


def _headline(result: Evaluation) -> dict[str, float | None]:
    scores = {"ap": result.ap, "ap50": result.ap50, "wheat": result.wheat_score}
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _differences(start: Start, config: ModelConfig) -> tuple[dict[str, Any], ...]:
    rows = profile(
        start.backbone, _backbone(start.model), model_layers(config), eps=norm_eps(config)
    )
    return tuple(row.to_dict() for row in rows)


def _save_weights(model: nn.Module, path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


def _flags(training: TrainingResult, val: Mapping[str, Any]) -> tuple[str, ...]:
    """``collapsed``: the loss did not fall or AP50 is near 0; or resumed under other conditions."""
    flags = []
    ap50 = val["coco"]["overall"]["ap50"]
    if _total(training.history[-1]) >= _total(training.history[0]) and len(training.history) > 1:
        flags.append("collapsed: loss did not fall")
    if ap50 is not None and ap50 < _AP50_NEAR_ZERO:
        flags.append("collapsed: AP50 near 0")
    if len(training.conditions) > 1:
        flags.append(f"resumed under other conditions: {'; '.join(training.conditions)}")
    return tuple(flags)


def _total(epoch: EpochRecord) -> float:
    return sum(epoch.losses.values())


def _data_record(images: PlacedImages) -> DataRecord:
    index = images.dataset
    counts = index.counts()
    findings: dict[str, int] = {}
    for finding in index.findings:
        findings[finding.code] = findings.get(finding.code, 0) + 1
    if tiny := images.tiny_boxes():
        findings["box-under-2-px-on-canvas"] = tiny
    return DataRecord(
        digest=index.digest(),
        images=counts.images,
        empty_images=counts.empty_images,
        boxes=counts.boxes,
        classes=index.classes,
        groups=dict(counts.images_per_group),
        findings=findings,
    )


def _hardware(device: torch.device, threads: int) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    capability = torch.backends.cpu.get_cpu_capability()
    return {"device": name, "cpu_capability": capability, "threads": str(threads)}


class _Clock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[phase] = time.monotonic() - started
