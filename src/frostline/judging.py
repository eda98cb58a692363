"""Judging what a trainer left: audit, scores, differences, record. All of it from one file.

Whoever trained, the file of weights is read back, so that what is audited, scored and compared is
what is on disk.
"""

import datetime
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from frostline.architectures import architecture_of
from frostline.cells import FROZEN_RANDOM
from frostline.config import IMAGENET
from frostline.depth import LayerTable, Section
from frostline.difference import profile
from frostline.errors import TrainingError, one_line
from frostline.freezing import require_passed
from frostline.identity import Identity
from frostline.observing import observe_sections
from frostline.records import (
    FILES,
    DataRecord,
    EpochRecord,
    TrialRecord,
    environment,
    write_json,
)
from frostline.tasks import Measured, Placed, Task
from frostline.training import choose_device
from frostline.trial import Start, Trained, counted_tensors, frozen_random
from frostline.weights_header import WeightsHeader, write_weights_header

__all__ = ["judge", "judge_test"]


def judge(
    start: Start,
    trained: Trained,
    folder: Path,
    *,
    identity: Identity,
    seconds: Mapping[str, float],
) -> TrialRecord:
    """Audit, score and compare what a trainer left: all of it read from its file of weights.

    Args:
        start: what was begun.
        trained: what came of it; not paused.
        folder: the trial's own folder, where the detections are written.
        identity: what defined the trial when it began.
        seconds: wall-clock time by phase until now.

    Raises:
        AuditError: a frozen tensor changed.
        RecordError: nothing can be written.
        TrainingError: the weights are not the model's, or not finite.
    """
    clock = _Clock(dict(seconds))
    device = choose_device(start.spec.device)
    _load_trained(start.model.to(device), trained.weights)
    audited = start.frozen.audit()
    require_passed(audited)
    with clock.measure("evaluate"):
        measured, threshold = _evaluate(start, device, folder)
    assert trained.weights is not None, "a paused training is not judged"
    write_weights_header(trained.weights, _header(start, threshold))
    with clock.measure("difference"):
        differences = _differences(start)
        others = _other_differences(start, device)
    return TrialRecord(
        key=start.spec.key,
        ranked=start.spec.allow_frozen_random or not start.spec.init.is_random,
        spec=identity.training,
        scoring=identity.scoring,
        init=start.init,
        plan=start.plan_record,
        audit=audited,
        data={split: _data_record(start.task, images) for split, images in start.placed.items()},
        history=trained.history,
        task=start.task.declares.measured(measured["val"].scores.keys()),
        scores={split: dict(one.scores) for split, one in measured.items()},
        details={split: one.details for split, one in measured.items()},
        differences=differences,
        other_differences=others,
        flags=(*_flags(trained, start.task, measured["val"]), *_frozen_random(start)),
        environment=environment() | _hardware(device),
        conditions=trained.conditions,
        seconds=clock.seconds,
        resumed_at_steps=trained.resumed_at,
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def judge_test(start: Start, folder: Path) -> TrialRecord:
    """Score a finished trial on ``test`` as well, from its weights; the record is written anew.

    Args:
        start: the cell.
        folder: the trial's own folder, with its record and weights.

    Raises:
        RecordError: the record cannot be read, or nothing can be written.
        TrainingError: the weights are not the model's, or not finite.
    """
    record = TrialRecord.read(folder / FILES.record)
    if "test" in record.scores or "test" not in start.placed:
        return record
    task, device, images = start.task, choose_device(start.spec.device), start.placed["test"]
    model = start.model.to(device).to(memory_format=torch.channels_last)  # as it was trained
    _load_trained(model, folder / FILES.weights)
    found = task.predict(model, images, device, start.spec.schedule.batch_size)
    thresholds = record.details["val"].thresholds
    measured = task.evaluate(images.dataset, found, thresholds, start.asked)
    kept = json.loads((folder / FILES.detections).read_bytes())
    kept["test"] = task.write(images.dataset, found)
    kept["images"]["test"] = [image.file for image in images.dataset.images]
    write_json(folder / FILES.detections, kept)
    scores = record.scores | {"test": dict(measured.scores)}
    details = record.details | {"test": measured.details}
    record = record.model_copy(update={"scores": scores, "details": details})
    record.write(folder / FILES.record)
    return record


def _load_trained(model: nn.Module, weights: Path | None) -> None:
    """Fill the model from a file of weights, which must be exactly the model's tensors.

    Raises:
        TrainingError: it is not: names what differs. The other trials may be fine.
    """
    assert weights is not None, "a paused training is not judged"
    try:
        tensors = safetensors.torch.load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"cannot read trained weights {weights}: {one_line(error)}") from None
    problem = next(_unlike(model.state_dict(), tensors), None)
    if problem:
        raise TrainingError(
            f"expected the model's tensors in the trained weights {weights.name}: {problem}"
        )
    model.load_state_dict(tensors)


def _unlike(model: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> Iterator[str]:
    """In what trained weights are not a model's, tensor by tensor."""
    for name, tensor in model.items():
        if name not in trained:
            yield f"{name} is missing"
            continue
        wanted, got = (f"{x.dtype} {tuple(x.shape)}" for x in (tensor, trained[name]))
        if wanted != got:
            yield f"{name} is {got}, expected {wanted}".replace("torch.", "")
        elif not torch.isfinite(trained[name]).all():
            yield f"{name} is not finite"
    yield from (f"{name} is not one of them" for name in trained if name not in model)


def _evaluate(
    start: Start, device: torch.device, folder: Path
) -> tuple[dict[str, Measured], float | None]:
    """Scores on ``val``, and on ``test`` with the thresholds that ``val`` chose.

    Also the score from which boxes are shown, chosen on ``val``.
    """
    task, thresholds, shown_from = start.task, None, None
    measured: dict[str, Measured] = {}
    detections: dict[str, Any] = {}
    names: dict[str, list[str]] = {}
    for split in ("val", "test"):
        if split not in start.placed or (split == "test" and not start.spec.score_test):
            continue
        images = start.placed[split]
        found = task.predict(start.model, images, device, start.spec.schedule.batch_size)
        measured[split] = task.evaluate(images.dataset, found, thresholds, start.asked)
        thresholds = measured["val"].details.thresholds
        if split == "val" and task.show_from is not None:
            shown_from = task.show_from(images.dataset, found)
        detections[split] = task.write(images.dataset, found)
        names[split] = [image.file for image in images.dataset.images]  # image_id counts them
    classes = start.placed["val"].dataset.classes
    write_json(folder / FILES.detections, detections | {"images": names, "classes": classes})
    return measured, shown_from


def _header(start: Start, threshold: float | None) -> WeightsHeader:
    """What the file of weights says of itself."""
    images, config = start.placed["val"], start.spec.model
    eps = architecture_of(config).backbone(config).eps
    return WeightsHeader(
        task=start.task.name,
        model=config if eps is None else config.model_copy(update={"norm_eps": eps}),
        classes=images.dataset.classes,
        pixels=start.init.normalisation or IMAGENET,
        canvas=(images.canvas.height, images.canvas.width),
        batch_size=start.spec.schedule.batch_size,
        threshold=threshold,
        grey_levels=images.dataset.grey_levels,
        turned=any(
            f.code == "image-turned" for index in start.data.values() for f in index.findings
        ),
    )


def _differences(start: Start) -> tuple[dict[str, Any], ...]:
    """Of every layer that depth counts."""
    config = start.spec.model
    known, prefix = architecture_of(config).backbone(config), architecture_of(config).prefix
    now = counted_tensors(start.model, prefix)
    rows = profile(start.before, now, known.table, prefix=prefix, eps=known.eps)
    return tuple(row.to_dict() for row in rows)


def _other_differences(start: Start, device: torch.device) -> tuple[dict[str, Any], ...]:
    """Of the layers of the other sections, where the study asks for them."""
    if start.spec.differences != "all":
        return ()
    now = counted_tensors(start.model, "")
    rows = []
    for section in _sections(start, device):
        table = LayerTable(section.name, section.layers)
        found = profile(start.before, now, table, prefix=section.prefix)
        rows += [{"section": section.name, **row.to_dict()} for row in found]
    return tuple(rows)


def _sections(start: Start, device: torch.device) -> tuple[Section, ...]:
    """The sections that depth does not count, off the forward pass of one validation image."""
    architecture = architecture_of(start.spec.model)
    placed = start.placed["val"]
    one = placed.dataset.select([placed.dataset.images[0].file])
    calls: list[tuple[Any, ...]] = []
    handle = start.model.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    try:
        start.task.predict(start.model, start.task.place(one, placed.canvas), device, 1)
    finally:
        handle.remove()
    parts = dict(architecture.parts)
    return observe_sections(start.model, calls[0], parts, counted=architecture.counted).others


def _flags(training: Trained, task: Task, val: Measured) -> tuple[str, ...]:
    """``collapsed``: nothing was learned that scores; and remarks, which exclude no trial."""
    flags = []
    ranking, score = task.declares.ranking, val.scores[task.declares.ranking.key]
    if score is not None and score - val.details.floor < task.declares.least_gain:
        flags.append(
            f"collapsed: {ranking.label} {score:.3f}, a constant prediction has "
            f"{val.details.floor:.3f}"
        )
    history = training.history
    if len(history) > 1 and _total(history[-1]) >= _total(history[0]):
        flags.append("loss did not fall")
    flags += training.remarks
    if len(training.conditions) > 1:
        flags.append(f"resumed under other conditions: {'; '.join(training.conditions)}")
    return tuple(flags)


def _frozen_random(start: Start) -> tuple[str, ...]:
    """The mark of a trial that keeps random weights as they are."""
    found = frozen_random(start.plan, start.init, architecture_of(start.spec.model))
    return (FROZEN_RANDOM,) if found else ()


def _total(epoch: EpochRecord) -> float:
    return sum(epoch.losses.values())


def _data_record(task: Task, images: Placed) -> DataRecord:
    index = images.dataset
    counts = index.counts()
    findings: dict[str, int] = {}
    for finding in index.findings:
        findings[finding.code] = findings.get(finding.code, 0) + 1
    findings |= task.remarks(images)
    return DataRecord(
        digest=index.digest(),
        images=counts.images,
        empty_images=counts.empty_images,
        boxes=counts.boxes,
        classes=index.classes,
        groups=dict(counts.images_per_group),
        findings=findings,
        pixels=counts.pixels_per_class,
    )


def _hardware(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    capability = torch.backends.cpu.get_cpu_capability()
    return {"device": name, "cpu_capability": capability, "threads": str(torch.get_num_threads())}


class _Clock:
    """Wall-clock seconds by phase."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[phase] = time.monotonic() - started
