"""Fine-tuning: one plain loop that reads from top to bottom.

Everything random is drawn from a generator seeded by (seed, step) or (seed, epoch), so what a step
does depends on nothing but the state before it: a resumed run is bit-equal to an uninterrupted one.
"""

import contextlib
import dataclasses
import errno
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.config import ScheduleConfig
from frostline.errors import ConfigError, RecordError, TrainingError, one_line
from frostline.events import Progress
from frostline.freezing import Frozen
from frostline.identity import Identity
from frostline.plans import BACKBONE_PREFIX
from frostline.records import EpochRecord, atomic_write, set_aside
from frostline.seeds import derived_seed
from frostline.tasks import Placed, Task

__all__ = [
    "TrainingResult",
    "batch_at",
    "choose_device",
    "torch_as_before",
    "train",
    "warmup_steps",
]


_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one training leaves besides the model.

    Attributes:
        history: one record an epoch.
        steps: optimiser steps done.
        finished: False where it was paused: it goes on from its checkpoint.
        resumed_at: steps of the checkpoints it was resumed from.
        conditions: device, threads, torch and the CPU's vector instructions, again where a resumed
            part had others: then the result is not bit-equal to an uninterrupted one.
        seconds: in steps, over all parts.
        evaluation_seconds: in evaluations after epochs, over all parts.
    """

    history: tuple[EpochRecord, ...]
    steps: int
    finished: bool
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
    threads: int = 0  # that its first part ran with; 0 in checkpoints of before


def choose_device(device: str) -> torch.device:
    """The device to train on: for ``auto``, ``cuda`` if there is a GPU, else ``cpu``.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError("expected a CUDA device, found none; use --device cpu")
    return torch.device(("cuda" if has_gpu else "cpu") if device == "auto" else device)


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
    frozen: Frozen,
    images: Placed,
    *,
    task: Task,
    schedule: ScheduleConfig,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    identity: Identity,
    score: Callable[[nn.Module], dict[str, float | None]],
    backbone: str = BACKBONE_PREFIX,
    pause: Callable[[int], bool] = lambda epochs: False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_resume: Callable[[int], None] = lambda step: None,
    observe: Callable[[int, int], None] = lambda step, steps: None,
) -> TrainingResult:
    """Fine-tune a model in place, resuming from ``checkpoint`` if there is one.

    The optimiser gets the parameters that require a gradient, and no others.

    Args:
        frozen: the model on the CPU, with its starting weights, and the plan in force on it.
        images: training images on the study's canvas.
        task: the task's functions.
        schedule: epochs, optimiser, learning rate, precision, augmentation.
        seed: of order, augmentation and sampling inside the model.
        device: where to train.
        checkpoint: file of the running checkpoint; removed by the caller once a record exists.
        identity: what defines this training; a checkpoint of another one is refused.
        score: model -> metrics, called every ``schedule.eval_every`` epochs.
        backbone: beginning of the names that ``schedule.backbone_lr_scale`` holds for.
        pause: epochs done -> whether to stop there for now; asked between epochs. A paused
            training goes on from its checkpoint and ends with the same bits.
        on_step: called after each step.
        on_resume: called with the step of the checkpoint, if there is one.
        observe: called with the steps done and the steps in all, before the first step and after
            each one. It may compute with the model, also draw random numbers, but must leave
            parameters and buffers as they were. After a resume, steps come again.

    Raises:
        TrainingError: a loss is not finite; names epoch, step and images.
        RecordError: a checkpoint cannot be written, or belongs to another training.
    """
    model = frozen.model
    model.to(device).to(
        memory_format=torch.channels_last
    )  # 13 to 24 % of a CPU step (bench_step.py)
    optimizer = _optimizer(model, schedule, backbone)
    state = _resume(checkpoint, identity, model, optimizer, device)
    if state.resumed_at:
        on_resume(state.step)
    steps_per_epoch = math.ceil(len(images) / schedule.batch_size)
    total = steps_per_epoch * schedule.epochs
    saved = time.monotonic()
    if state.step == 0:
        observe(0, total)

    while state.step < total:
        started = time.monotonic()
        epoch, position = divmod(state.step, steps_per_epoch)
        if position == 0 and pause(epoch):
            break
        lr = _learning_rate(state.step, total, steps_per_epoch, schedule)
        for group in optimizer.param_groups:  # those of checkpoints of before have no scale
            group["lr"] = lr * group.get("scale", 1.0)

        torch.manual_seed(derived_seed(seed, "step", state.step))
        batch = batch_at(images, task, schedule, seed, epoch, position)
        frozen.train()
        with _autocast(device, schedule):
            losses = task.loss(model, batch, device)
        loss = torch.stack(list(losses.values())).sum()
        _require_finite(loss, losses, epoch, state.step, batch)
        norm = _differentiate(optimizer, loss, schedule.clip_norm)
        _require_finite(norm, {"gradient": norm}, epoch, state.step, batch)
        optimizer.step()

        state.step += 1
        _count(state, losses, len(batch), time.monotonic() - started)
        on_step(_progress(state, epoch, total, float(loss.detach()), len(batch)))
        observe(state.step, total)
        epoch_ended = position + 1 == steps_per_epoch
        if epoch_ended:
            _close_epoch(state, epoch + 1, lr, schedule, lambda: score(model))
        if epoch_ended or time.monotonic() - saved > schedule.checkpoint_seconds:
            _save(checkpoint, identity.digest, model, optimizer, state)
            saved = time.monotonic()
    return _result(state, total)


def _differentiate(
    optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float | None
) -> Tensor:
    """Gradients of the loss, clipped; returns their L2 norm before that.

    The optimiser's order of parameters decides the last bits of the norm.
    """
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    limit = math.inf if clip_norm is None else clip_norm
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, limit)


def _result(state: _State, total: int) -> TrainingResult:
    return TrainingResult(
        tuple(EpochRecord.model_validate(row) for row in state.history),
        state.step,
        state.step == total,
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


def _optimizer(model: nn.Module, schedule: ScheduleConfig, backbone: str) -> torch.optim.Optimizer:
    """Weight decay on weights only: biases and normalisation have one dimension."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    scale = schedule.backbone_lr_scale
    parts = [(named, 1.0)]
    if scale != 1.0:
        slow = [(name, p) for name, p in named if name.startswith(backbone)]
        rest = [(name, p) for name, p in named if not name.startswith(backbone)]
        parts = [(slow, scale), (rest, 1.0)]
    groups = [group for part, share in parts for group in _groups(part, share, schedule)]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum)
    return torch.optim.AdamW(groups, lr=schedule.lr, fused=True)


def _groups(
    named: Sequence[tuple[str, nn.Parameter]], scale: float, schedule: ScheduleConfig
) -> Iterator[dict[str, Any]]:
    """Weights and the rest of one part of the model; its rate is ``lr * scale``."""
    weights = [p for _, p in named if p.ndim > 1]
    others = [p for _, p in named if p.ndim <= 1]
    for parameters, decay in ((weights, schedule.weight_decay), (others, 0.0)):
        if parameters:
            yield {"params": parameters, "weight_decay": decay, "scale": scale}


def _autocast(device: torch.device, schedule: ScheduleConfig) -> torch.autocast:
    """bfloat16 for what autocast lists; the target boxes it leaves alone."""
    return torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bf16")


def _learning_rate(step: int, total: int, per_epoch: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up from lr/100, then cosine to zero, two steps of x0.1, or constant.

    What follows the warm-up is counted in the steps after it.
    """
    warmup = warmup_steps(schedule, per_epoch, total)[1]
    if step < warmup:
        return schedule.lr * (0.01 + 0.99 * (step + 1) / warmup)
    done = (step - warmup) / max(1, total - warmup)
    if schedule.lr_schedule == "cosine":
        return schedule.lr * 0.5 * (1 + math.cos(math.pi * done))
    if schedule.lr_schedule == "step":
        return schedule.lr * 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9))
    return schedule.lr


def warmup_steps(schedule: ScheduleConfig, per_epoch: int, total: int) -> tuple[int, int]:
    """Steps of warm-up that the schedule asks for and that it gets: half of all steps at most."""
    asked = round(schedule.warmup_epochs * per_epoch)
    return asked, min(asked, total // 2)


def batch_at(
    images: Placed, task: Task, schedule: ScheduleConfig, seed: int, epoch: int, position: int
) -> list[Any]:
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
    loss: Any, losses: dict[str, Any], epoch: int, step: int, batch: Sequence[Any]
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


def _resume(
    path: Path, identity: Identity, model: nn.Module, optimizer: Any, device: torch.device
) -> _State:
    """State of the checkpoint, with model, optimiser and generator set to it; else a fresh one.

    The training goes on with as many threads as it began with: other numbers, other bits.
    """
    payload = _read_checkpoint(path, model, optimizer) if path.exists() else None
    if payload is None:
        state = _State(threads=torch.get_num_threads())
        _note_condition(state, device)
        return state
    if not identity.knows(payload["identity"]):
        raise RecordError(
            f"{path} belongs to another trial; delete it or use --out for a new folder"
        )
    model.load_state_dict(payload["model"])
    optimizer.load_state_dict(payload["optimizer"])
    torch.set_rng_state(payload["rng"])
    state = _State(**payload["state"])
    state.resumed_at.append(state.step)
    state.threads = state.threads or _threads_of(state.conditions) or torch.get_num_threads()
    torch.set_num_threads(state.threads)
    _note_condition(state, device)
    return state


def _read_checkpoint(path: Path, model: nn.Module, optimizer: Any) -> dict[str, Any] | None:
    """A checkpoint's content; one that cannot be used is put aside, and the trial starts anew."""
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        problem = _unusable(payload, model, optimizer)
    except Exception as error:  # what torch raises for a damaged file has many types
        payload, problem = None, one_line(error)
    if problem is None:
        return dict(payload)
    aside = set_aside(path)
    _log.warning("cannot use checkpoint %s (%s): the trial starts anew, it is kept as %s",
                 path, problem, aside.name)  # fmt: skip
    return None


def _unusable(payload: Any, model: nn.Module, optimizer: Any) -> str | None:
    """What keeps a checkpoint from being resumed; None for nothing."""
    expected = {"identity", "state", "model", "optimizer", "rng"}
    if not isinstance(payload, dict) or set(payload) != expected:
        return f"expected {', '.join(sorted(expected))} in it"
    unknown = set(payload["state"]) - {field.name for field in dataclasses.fields(_State)}
    if unknown:
        return f"unknown state {', '.join(sorted(unknown))}"
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: tensor.shape for name, tensor in payload["model"].items()} != shapes:
        return "its tensors are not the model's"
    problem = _unusable_state(payload["state"], payload["rng"])
    if problem:
        return problem
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if [len(group["params"]) for group in payload["optimizer"]["param_groups"]] != sizes:
        return "its optimiser has other parameters"
    return None


def _unusable_state(state: dict[str, Any], rng: Tensor) -> str | None:
    """What keeps the loop from going on with a state, and the generator from being set."""
    try:
        for row in state.get("history", ()):
            EpochRecord.model_validate(row)
    except ValueError as error:
        return f"its history is of another version ({one_line(error)})"
    kinds = {field.name: field.type for field in dataclasses.fields(_State)}
    for name, value in state.items():
        if kinds[name] in (int, float) and not isinstance(value, int | float):
            return f"state {name} is no number"
    if rng.dtype != torch.uint8 or rng.shape != torch.get_rng_state().shape:
        return "its generator is not torch's"
    return None


def _threads_of(conditions: Sequence[str]) -> int:
    """Threads as a condition names them (``cpu, 2 threads, torch 2.9``); 0 where none does."""
    found = re.search(r"(\d+) threads", conditions[-1]) if conditions else None
    return int(found[1]) if found else 0
