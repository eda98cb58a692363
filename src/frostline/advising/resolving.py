"""What validation images can tell: a paired bootstrap over them, of two trained models."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from frostline.datasets import DatasetIndex
from frostline.records import FILES
from frostline.tasks import Task
from frostline.training import choose_device
from frostline.trial import TrialSpec, begin

__all__ = ["half_width", "resolution"]

_MOST, _LEAST, _IMAGES = 200, 40, 20_000  # resamples; fewer where there are many images


def resolution(first: tuple[TrialSpec, Path], second: tuple[TrialSpec, Path]) -> float | None:
    """Difference of two trained models that the validation images can just tell.

    Args:
        first: a cell and its folder, with weights or a checkpoint.
        second: another.

    Returns:
        Half the width of the 95 % interval of the paired difference of the ranking score, over
        images drawn with replacement; None where it is not to be had.
    """
    found = [_predicted(*one) for one in (first, second)]
    if any(one is None for one in found):
        return None
    (task, index, a), (_, _, b) = (one for one in found if one is not None)
    return half_width(task, index, a, b)


def half_width(
    task: Task, index: DatasetIndex, a: Sequence[Any], b: Sequence[Any], *, seed: int = 0
) -> float | None:
    """The same from what two models found in the images of ``index``."""
    random = np.random.default_rng(seed)
    count = max(_LEAST, min(_MOST, _IMAGES // max(1, len(index))))
    differences = []
    for _ in range(count):
        drawn = random.integers(len(index), size=len(index)).tolist()
        again = _drawn(index, drawn)
        pair = [_score(task, again, [found[i] for i in drawn]) for found in (a, b)]
        if not any(math.isnan(score) for score in pair):
            differences.append(pair[0] - pair[1])
    if len(differences) < _LEAST // 2:
        return None
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(high - low) / 2


def _drawn(index: DatasetIndex, numbers: Sequence[int]) -> DatasetIndex:
    """Images by number, also several times, each under a name of its own."""
    images = tuple(
        dataclasses.replace(index.images[number], file=f"{place}/{index.images[number].file}")
        for place, number in enumerate(numbers)
    )
    return dataclasses.replace(index, images=images, findings=())


def _score(task: Task, index: DatasetIndex, found: Sequence[Any]) -> float:
    value = task.evaluate(index, found, None, frozenset()).scores[task.declares.ranking.key]
    return math.nan if value is None else value


def _predicted(spec: TrialSpec, folder: Path) -> tuple[Task, DatasetIndex, Sequence[Any]] | None:
    """What a trial's model, as far as it is trained, finds in the validation images."""
    tensors = _tensors(folder)
    if tensors is None:
        return None
    start, device = begin(spec), choose_device(spec.device)
    start.model.load_state_dict(tensors)
    images = start.placed["val"]
    found = start.task.predict(
        start.model.to(device), images, device, start.spec.schedule.batch_size
    )
    return start.task, images.dataset, found


def _tensors(folder: Path) -> dict[str, Tensor] | None:
    """A finished trial's weights, or those in a paused one's checkpoint."""
    if (folder / FILES.weights).exists():
        return safetensors.torch.load_file(folder / FILES.weights)
    if (folder / FILES.checkpoint).exists():
        payload = torch.load(folder / FILES.checkpoint, map_location="cpu", weights_only=True)
        tensors: dict[str, Tensor] = payload["model"]
        return tensors
    return None
