"""Fine-tuning: one plain loop that reads from top to bottom, on Lightning Fabric.

Everything random is drawn from a generator seeded by (seed, step) or (seed, epoch), so what a step
does depends on nothing but the state before it: a resumed run is bit-equal to an uninterrupted one.
"""

import contextlib
import dataclasses
import errno
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from frostline.config import ScheduleConfig
from frostline.errors import ConfigError, RecordError, TrainingError
from frostline.freezing import set_train_mode
from frostline.identity import Identity
from frostline.plans import FreezePlan
from frostline.records import EpochRecord, atomic_write
from frostline.seeds import derived_seed
from frostline.tasks import PlacedImages, Sample, Task

__all__ = [
    "Progress",
    "TrainingResult",
    "batch_at",
    "choose_device",
    "make_fabric",
    "torch_as_before",
    "train",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands after a step."""

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one training leaves besides the model.

    Attributes:
        history: one record an epoch.
        steps: optimiser steps in all.
        resumed_at: steps of the checkpoints it was resumed from.
        conditions: device, threads, torch and the CPU's vector instructions, again where a resumed
            part had others: then the result is not bit-equal to an uninterrupted one.
        seconds: in steps, over all parts.
        evaluation_seconds: in evaluations after epochs, over all parts.
    """

    history: tuple[EpochRecord, ...]
    steps: int
    resumed_at: tuple[int, ...]
    conditions: tuple[str, ...]
    seconds: float
    evaluation_seconds: float


@dataclasses.dataclass(slots=True)
class _State:
    """What the loop carries from step to step; all of it is in a checkpoint."""

    step: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch_seconds: float = 0.0
    resumed_at: list[int] = dataclasses.field(default_factory=list)
    conditions: list[str] = dataclasses.field(default_factory=list)


def make_fabric(device: str = "auto") -> Fabric:
    """A Fabric on one device, see ``choose_device``."""
    return Fabric(accelerator=choose_device(device), devices=1)


def choose_device(device: str) -> str:
    """The device to train on: for ``auto``, ``cuda`` if there is a GPU, else ``cpu``.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError("expected a CUDA device, found none; use --device cpu")
    return ("cuda" if has_gpu else "cpu") if device == "auto" else device


@contextlib.contextmanager
def torch_as_before() -> Iterator[None]:
    """Put torch's threads and generator back afterwards: the process may be a notebook's."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def train(
    model: nn.Module,
    images: PlacedImages,
    *,
    task: Task,
    plan: FreezePlan,
    schedule: ScheduleConfig,
    seed: int,
    fabric: Fabric,
    checkpoint: Path,
    identity: Identity,
    score: Callable[[nn.Module], dict[str, float | None]],
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_resume: Callable[[int], None] = lambda step: None,
    observe: Callable[[int, int], None] = lambda step, steps: None,
) -> TrainingResult:
    """Fine-tune ``model`` in place, resuming from ``checkpoint`` if there is one.

    The plan must already be applied (``freezing.apply_plan``): the optimiser gets the parameters
    that require a gradient, and no others.

    Args:
        model: on the CPU, with its starting weights.
        images: training images on the study's canvas.
        task: the task's functions.
        plan: the plan in force; its BatchNorm stays in eval mode.
        schedule: epochs, optimiser, learning rate, precision, augmentation.
        seed: of order, augmentation and sampling inside the model.
        fabric: device and precision.
        checkpoint: file of the running checkpoint; removed by the caller once a record exists.
        identity: what defines this training; a checkpoint of another one is refused.
        score: model -> metrics, called every ``schedule.eval_every`` epochs.
        on_step: called after each step.
        on_resume: called with the step of the checkpoint, if there is one.
        observe: called with the steps done and the steps in all, before the first step and after
            each one. It may compute with the model, also draw random numbers, but must leave
            parameters and buffers as they were. After a resume, steps come again.

    Raises:
        TrainingError: a loss is not finite; names epoch, step and images.
        RecordError: a checkpoint cannot be written, or belongs to another training.
    """
    model.to(memory_format=torch.channels_last)  # 13 to 24 % of a CPU step (bench_step.py)
    parameters = [p for p in model.parameters() if p.requires_grad]
    wrapped, optimizer = fabric.setup(model, _optimizer(parameters, schedule))
    state = _resume(checkpoint, identity, model, optimizer)
    if state.resumed_at:
        on_resume(state.step)
    _note_condition(state, fabric.device)
    steps_per_epoch = math.ceil(len(images) / schedule.batch_size)
    total = steps_per_epoch * schedule.epochs
    saved = time.monotonic()
    if state.step == 0:
        observe(0, total)

    while state.step < total:
        started = time.monotonic()
        epoch, position = divmod(state.step, steps_per_epoch)
        lr = _learning_rate(state.step, total, steps_per_epoch, schedule)
        for group in optimizer.param_groups:
            group["lr"] = lr

        torch.manual_seed(derived_seed(seed, "step", state.step))
        batch = batch_at(images, task, schedule, seed, epoch, position)
        set_train_mode(model, plan)
        with _autocast(fabric, schedule):
            losses = task.loss(wrapped, batch, fabric.device)
        loss = torch.stack(list(losses.values())).sum()
        _require_finite(loss, losses, epoch, state.step, batch)
        optimizer.zero_grad()
        fabric.backward(loss)
        limit = math.inf if schedule.clip_norm is None else schedule.clip_norm
        norm = fabric.clip_gradients(wrapped, optimizer, max_norm=limit, error_if_nonfinite=False)
        _require_finite(norm, {"gradient": norm}, epoch, state.step, batch)
        optimizer.step()

        state.step += 1
        _count(state, losses, len(batch), time.monotonic() - started)
        on_step(_progress(state, epoch, total, float(loss.detach()), len(batch)))
        observe(state.step, total)
        epoch_ended = state.step % steps_per_epoch == 0
        if epoch_ended:
            _close_epoch(state, epoch + 1, lr, schedule, lambda: score(model))
        if epoch_ended or time.monotonic() - saved > schedule.checkpoint_seconds:
            _save(checkpoint, identity.digest, model, optimizer, state)
            saved = time.monotonic()

    history = tuple(EpochRecord.model_validate(row) for row in state.history)
    return TrainingResult(
        history,
        state.step,
        tuple(state.resumed_at),
        tuple(state.conditions),
        state.seconds,
        state.evaluation_seconds,
    )


def _note_condition(state: _State, device: torch.device) -> None:
    """Add what a step depends on to the bit besides its definition, where it is a new one."""
    capability = torch.backends.cpu.get_cpu_capability()
    threads = f"{device.type}, {torch.get_num_threads()} threads"
    condition = f"{threads}, torch {torch.__version__}, {capability}"
    # Checkpoints of before say device and threads alone: of the rest nothing is known.
    if not {condition, threads} & set(state.conditions):
        state.conditions.append(condition)


def _optimizer(
    parameters: Sequence[nn.Parameter], schedule: ScheduleConfig
) -> torch.optim.Optimizer:
    """Weight decay on weights only: biases and normalisation have one dimension."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum)
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=True)


def _autocast(fabric: Fabric, schedule: ScheduleConfig) -> torch.autocast:
    """bfloat16 for what autocast lists; unlike Fabric's own, it leaves the target boxes alone."""
    return torch.autocast(fabric.device.type, torch.bfloat16, enabled=schedule.precision == "bf16")


def _learning_rate(step: int, total: int, per_epoch: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up from lr/100, then cosine to zero, two steps of x0.1, or constant.

    What follows the warm-up is counted in the steps after it.
    """
    warmup = min(round(schedule.warmup_epochs * per_epoch), total // 2)
    if step < warmup:
        return schedule.lr * (0.01 + 0.99 * (step + 1) / warmup)
    done = (step - warmup) / max(1, total - warmup)
    if schedule.lr_schedule == "cosine":
        return schedule.lr * 0.5 * (1 + math.cos(math.pi * done))
    if schedule.lr_schedule == "step":
        return schedule.lr * 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9))
    return schedule.lr


def batch_at(
    images: PlacedImages, task: Task, schedule: ScheduleConfig, seed: int, epoch: int, position: int
) -> list[Sample]:
    """The batch at one position of one epoch (both from 0), augmented.

    Which images are in it is a function of the seed alone; augmentation draws from torch's
    global generator.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    order = torch.randperm(len(images), generator=generator).tolist()
    start = position * schedule.batch_size
    chosen = order[start : start + schedule.batch_size]
    return [task.augment(images[i], schedule.augment) for i in chosen]


def _require_finite(
    loss: Any, losses: dict[str, Any], epoch: int, step: int, batch: Sequence[Sample]
) -> None:
    if torch.isfinite(loss):
        return
    bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
    names = ", ".join(sample.name for sample in batch)
    raise TrainingError(
        f"loss or gradient is not finite ({bad}) in epoch {epoch + 1}, step {step + 1}, "
        f"images {names}; lower the learning rate or look at these images"
    )


def _count(state: _State, losses: dict[str, Tensor], images: int, seconds: float) -> None:
    for name, value in losses.items():
        state.sums[name] = state.sums.get(name, 0.0) + float(value.detach()) * images
    state.sums["images"] = state.sums.get("images", 0.0) + images
    state.epoch_seconds += seconds
    state.seconds += seconds


def _progress(state: _State, epoch: int, total: int, loss: float, images: int) -> Progress:
    rate = state.sums["images"] / max(state.epoch_seconds, 1e-9)
    left = (total - state.step) * images / rate
    return Progress(epoch + 1, state.step, total, loss, rate, left)


def _close_epoch(
    state: _State,
    epoch: int,
    lr: float,
    schedule: ScheduleConfig,
    score: Callable[[], dict[str, float | None]],
) -> None:
    count = state.sums.pop("images")
    due = schedule.eval_every is not None and epoch % schedule.eval_every == 0
    record = EpochRecord(
        epoch=epoch,
        step=state.step,
        lr=lr,
        losses={name: total / count for name, total in sorted(state.sums.items())},
        seconds=state.epoch_seconds,
        images_per_second=count / max(state.epoch_seconds, 1e-9),
        metrics=_evaluated(state, score) if due else None,
    )
    state.history.append(record.model_dump(mode="json"))
    state.sums, state.epoch_seconds = {}, 0.0


def _evaluated(
    state: _State, score: Callable[[], dict[str, float | None]]
) -> dict[str, float | None]:
    started = time.monotonic()
    metrics = score()
    state.evaluation_seconds += time.monotonic() - started
    return metrics


def _save(path: Path, identity: str, model: nn.Module, optimizer: Any, state: _State) -> None:
    payload = {
        "identity": identity,
        "state": dataclasses.asdict(state),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    with atomic_write(path) as temporary:
        try:
            torch.save(payload, temporary)
        except RuntimeError as error:  # how torch's zip writer tells of a full disk
            raise OSError(errno.EIO, str(error).splitlines()[0]) from None


def _resume(path: Path, identity: Identity, model: nn.Module, optimizer: Any) -> _State:
    """State of the checkpoint, with model, optimiser and generator set to it; else a fresh one."""
    if not path.exists():
        return _State()
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RecordError(
            f"cannot read checkpoint {path}: {error}; delete it to start over"
        ) from None
    if not identity.knows(payload["identity"]):
        raise RecordError(
            f"{path} belongs to another trial; delete it or use --out for a new folder"
        )
    model.load_state_dict(payload["model"])
    optimizer.load_state_dict(payload["optimizer"])
    torch.set_rng_state(payload["rng"])
    state = _State(**payload["state"])
    state.resumed_at.append(state.step)
    return state
