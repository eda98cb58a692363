"""What a training shows before it has ended: gradients by layer, and the rewind test.

These are measurements, not advice: each is a candidate predictor of which depth is worth freezing,
recorded beside what the depths then really reached.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from frostline.architectures.building import load_tensors
from frostline.depth import LayerTable
from frostline.plans import BACKBONE_PREFIX, FreezePlan
from frostline.seeds import derived_seed
from frostline.training import batch_at
from frostline.trial import Moment

__all__ = ["GradientRow", "RewindPoint", "gradient_rows", "probe_losses", "rewind_curve"]

Metrics = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True, slots=True)
class GradientRow:
    """Gradient of the loss with respect to one convolution's weight, over several batches.

    Attributes:
        index: position of the convolution in forward order, from 1.
        name: module name inside the backbone.
        batches: number of batches, >= 1.
        mean_norm: mean over batches of the L2 norm |g_b|.
        norm_variance: unbiased variance over batches of |g_b|; NaN for one batch.
        norm_of_mean: L2 norm of the mean gradient. Against ``mean_norm`` it says how far the
            batches agree: equal for identical gradients, 1/sqrt(batches) of it for unrelated ones.
        weight_norm: L2 norm of the weight, for relative gradient norms (Lee et al. 2023, RGN).
    """

    index: int
    name: str
    batches: int
    mean_norm: float
    norm_variance: float
    norm_of_mean: float
    weight_norm: float


@dataclasses.dataclass(frozen=True, slots=True)
class RewindPoint:
    """Scores of a fine-tuned model whose first ``depth`` convolutions are as they started."""

    depth: int
    metrics: Metrics


def gradient_rows(
    model: nn.Module,
    table: LayerTable,
    losses: Iterable[Tensor],
    *,
    prefix: str = BACKBONE_PREFIX,
) -> list[GradientRow]:
    """Gradient statistics of every trainable convolution weight, in forward order.

    Gradients are taken with ``torch.autograd.grad``: ``.grad`` of the parameters stays as it was.

    Args:
        model: holds the parameters.
        table: the backbone's convolutions.
        losses: one scalar loss per batch, computed when it is asked for.
        prefix: what stands before the table's names in the model's state dict.

    Returns:
        One row per convolution that requires a gradient; none for frozen ones.
    """
    named = dict(model.named_parameters())
    layers = [x for x in table.layers if named[f"{prefix}{x.name}.weight"].requires_grad]
    weights = [named[f"{prefix}{layer.name}.weight"] for layer in layers]
    if not weights:
        return []
    norms: list[list[float]] = [[] for _ in weights]
    sums = [torch.zeros(weight.shape, dtype=torch.float64) for weight in weights]
    for loss in losses:
        gradients = torch.autograd.grad(loss, weights)
        for i, gradient in enumerate(gradients):
            exact = gradient.detach().cpu().double()
            norms[i].append(float(exact.norm()))
            sums[i] += exact
    return [
        _row(layer.index, layer.name, norms[i], sums[i], weights[i])
        for i, layer in enumerate(layers)
    ]


def _row(
    index: int, name: str, norms: Sequence[float], total: Tensor, weight: Tensor
) -> GradientRow:
    count = len(norms)
    mean = math.fsum(norms) / count
    spread = math.fsum((norm - mean) ** 2 for norm in norms)
    return GradientRow(
        index=index,
        name=name,
        batches=count,
        mean_norm=mean,
        norm_variance=spread / (count - 1) if count > 1 else math.nan,
        norm_of_mean=float(total.norm()) / count,
        weight_norm=float(weight.detach().cpu().double().norm()),
    )


def probe_losses(moment: Moment, batches: int) -> Iterator[Tensor]:
    """Losses of the first ``batches`` batches of the first epoch, on the model as it is.

    The same batches, with the same augmentation, whenever they are asked for, so that two moments
    of one training, or two starts, differ in their weights only. Float32.
    """
    start, spec = moment.start, moment.spec
    images, seed = start.placed["train"], spec.key.seed
    for position in range(min(batches, -(-len(images) // spec.schedule.batch_size))):
        torch.manual_seed(derived_seed(seed, "probe", position))
        batch = batch_at(images, start.task, spec.schedule, seed, 0, position)
        start.frozen.train()
        losses = start.task.loss(start.model, batch, moment.device)
        yield torch.stack(list(losses.values())).sum()


def rewind_curve(
    model: nn.Module,
    start: Mapping[str, npt.NDArray[Any]],
    table: LayerTable,
    depths: Iterable[int],
    score: Callable[[nn.Module], Metrics],
    *,
    prefix: str = BACKBONE_PREFIX,
) -> list[RewindPoint]:
    """The rewind test: put the first k convolutions and their BatchNorm back, and only evaluate.

    One fine-tuning gives a curve over k. It tends to lie below what freezing k would have reached
    as far as the layers above had no chance to adapt.

    Args:
        model: fine-tuned with nothing frozen; as it was when this returns.
        start: starting tensors by state-dict name, of the whole backbone.
        table: the backbone's convolutions.
        depths: every k to try; 0 is the model as it is.
        score: model -> named scores.
        prefix: what stands before the table's names in the model's state dict.

    Returns:
        One point per depth, ascending.

    Raises:
        PlanError: a depth is beyond the model.
    """
    state = model.state_dict()
    trained = {name: state[name].detach().cpu().clone() for name in start}
    points = []
    try:
        for depth in sorted(set(depths)):  # each rewind contains the one before
            plan = FreezePlan.at_depth(table, depth, batch_norm="follow", prefix=prefix)
            load_tensors(model, {name: start[name] for name in plan if name in start})
            points.append(RewindPoint(depth, score(model)))
    finally:
        load_tensors(model, {name: tensor.numpy() for name, tensor in trained.items()})
    return points
