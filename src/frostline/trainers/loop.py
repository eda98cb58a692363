"""Our own trainer: the loop of ``training`` on a start, with its log, observer and checkpoint."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from frostline.architectures import architecture_of
from frostline.config import ScheduleConfig
from frostline.events import Progress
from frostline.identity import Identity
from frostline.records import FILES, append_line
from frostline.training import TrainingResult, choose_device, train, warmup_steps
from frostline.trial import Moment, Start, Trained, headline_scores, save_weights

__all__ = ["fine_tune"]

_LOG_EVERY_SECONDS = 5.0


def fine_tune(
    start: Start,
    folder: Path,
    *,
    identity: Identity,
    pause: Callable[[int], bool],
    on_step: Callable[[Progress], None],
) -> Trained:
    """Train a start with our own loop; see ``Trainer`` and ``training.train``.

    Raises:
        TrainingError: a loss is not finite.
        RecordError: nothing can be written, or the checkpoint belongs to another training.
    """
    spec, log = start.spec, folder / FILES.log
    device = choose_device(spec.device)

    def observe(step: int, steps: int) -> None:
        if spec.observer is not None:
            spec.observer(Moment(step, steps, start, device, folder))

    result = train(
        start.frozen,
        start.placed["train"],
        task=start.task,
        schedule=spec.schedule,
        seed=spec.key.seed,
        device=device,
        checkpoint=folder / FILES.checkpoint,
        identity=identity,
        score=lambda model: headline_scores(start, model, device),
        backbone=architecture_of(spec.model).prefix,
        pause=pause,
        on_step=_logged(log, on_step),
        on_resume=lambda step: append_line(log, {"event": "resumed", "step": step}),
        observe=observe,
    )
    weights = folder / FILES.weights
    if result.finished:
        save_weights(start.model, weights)
    return Trained(
        weights if result.finished else None,
        result.history,
        result.resumed_at,
        result.conditions,
        _seconds(result, evaluated=spec.schedule.eval_every is not None),
        tuple(_remarks(spec.schedule, len(start.placed["train"]))),
    )


def _remarks(schedule: ScheduleConfig, images: int) -> Iterator[str]:
    """A warm-up longer than half the training is cut to that half."""
    per_epoch = math.ceil(images / schedule.batch_size)
    asked, got = warmup_steps(schedule, per_epoch, per_epoch * schedule.epochs)
    if got < asked:
        yield f"warm-up cut: {got} steps, half of all, where {asked} were asked for"


def _seconds(result: TrainingResult, *, evaluated: bool) -> dict[str, float]:
    seconds = {"train": result.seconds}
    return seconds | ({"evaluate_epochs": result.evaluation_seconds} if evaluated else {})


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
