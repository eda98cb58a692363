"""A trainer that is not ours: it nudges what may be trained, and has no checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch

from frostline.events import Progress
from frostline.identity import Identity
from frostline.records import EpochRecord
from frostline.trial import Start, Trained, save_weights

NUDGE = 0.125


def train(
    start: Start,
    folder: Path,
    *,
    identity: Identity,
    pause: Callable[[int], bool],
    on_step: Callable[[Progress], None],
) -> Trained:
    """One step for each epoch, and a loss that falls."""
    epochs = start.spec.schedule.epochs
    history = []
    for epoch in range(1, epochs + 1):
        with torch.no_grad():
            for parameter in start.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(NUDGE / epochs)
        on_step(Progress(epoch, epoch, epochs, 1.0 / epoch, 8.0, 0.0))
        losses = {"toy": 1.0 / epoch}
        history.append(
            EpochRecord(
                epoch=epoch, step=epoch, lr=NUDGE, losses=losses, seconds=1.0, images_per_second=8.0
            )
        )
    weights = folder / "weights.safetensors"
    save_weights(start.model, weights)
    return Trained(weights, tuple(history), seconds={"train": float(epochs)})
