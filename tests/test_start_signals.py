"""Scores of starts before training, and how the replay pays for them: under ``benchmarks/``."""

import importlib
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from frostline import training
from frostline.config import ScheduleConfig
from frostline.tasks.boxes import Sample
from frostline.tasks.canvas import Canvas

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def scores() -> Iterator[ModuleType]:
    """``start_scores``; what else is imported from ``benchmarks`` is dropped after the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("start_scores")
    for name in [x for x in sys.modules if x.split("_")[0] in ("grid", "replay", "start")]:
        sys.modules.pop(name)


# LogME


def log_density(features: Array, y: Array, alpha: float, beta: float) -> float:
    """Of y under a Gaussian with covariance 1/beta + F F'/alpha, written out."""
    count = len(y)
    covariance = np.eye(count) / beta + features @ features.T / alpha
    _, logdet = np.linalg.slogdet(covariance)
    quadratic = y @ np.linalg.solve(covariance, y)
    return float(-(count * math.log(2 * math.pi) + logdet + quadratic) / 2)


def highest_evidence(features: Array, y: Array) -> float:
    """By grids over (log alpha, log beta), each around the best of the last."""
    centre, width = (0.0, 0.0), 8.0
    while True:
        steps = np.linspace(-width, width, 17)
        grid = [(centre[0] + a, centre[1] + b) for a, b in itertools.product(steps, steps)]
        values = [log_density(features, y, math.exp(a), math.exp(b)) for a, b in grid]
        centre = grid[int(np.argmax(values))]
        assert max(map(abs, centre)) < 7.9, "take data whose maximum is not at the edge"
        if width < 1e-2:
            return max(values) / len(y)
        width /= 2


@pytest.mark.parametrize(("count", "size", "seed"), [(12, 3, 1), (8, 12, 3)])
def test_logme_is_the_highest_log_evidence(
    scores: ModuleType, count: int, size: int, seed: int
) -> None:
    """Also with more features than examples."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, size))
    y = features[:, 0] - features[:, 1] + 0.5 * rng.normal(size=count)
    expected = highest_evidence(features, y)
    assert scores.logme(features, y[:, None]) == pytest.approx(expected, abs=1e-5)


def test_logme_of_classes_is_the_mean_over_one_against_the_rest(scores: ModuleType) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(12, 3))
    targets = scores.one_hot((features[:, 0] - features[:, 1] > 0).astype(np.int64))
    expected = [highest_evidence(features, column) for column in targets.T]
    assert scores.logme(features, targets) == pytest.approx(np.mean(expected), abs=1e-5)


def test_logme_of_features_that_tell_nothing_is_that_of_noise(scores: ModuleType) -> None:
    """Orthogonal to the target: the best alpha is infinite, and y ~ N(0, mean of y squared)."""
    features, y = np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([1.0, -1.0, 1.0, -1.0])
    noise = -(math.log(2 * math.pi) + 1) / 2
    assert scores.logme(features, y[:, None]) == pytest.approx(noise, abs=1e-6)


def test_logme_prefers_features_that_tell_more_whatever_their_scale(scores: ModuleType) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=60) + 5
    targets = scores.one_hot(labels)
    assert targets.shape == (60, 3)
    assert (targets.sum(axis=1) == 1).all()
    clear, vague = (targets + spread * rng.normal(size=(60, 3)) for spread in (0.2, 1.0))
    assert scores.logme(clear, targets) > scores.logme(vague, targets)
    assert scores.logme(100 * clear, targets) == pytest.approx(scores.logme(clear, targets))


# Spectrum


@pytest.mark.parametrize("shape", [(200, 200), (100, 400), (320, 20)])
def test_the_median_of_noise_is_that_of_noise(scores: ModuleType, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).normal(size=shape)
    values = np.linalg.svd(noise, compute_uv=False) / math.sqrt(max(shape))
    median = scores.noise_median(min(shape) / max(shape))
    assert median == pytest.approx(float(np.median(values)), rel=0.02)


def test_noise_has_no_signal_and_a_strong_direction_is_signal_alone(scores: ModuleType) -> None:
    noise = np.random.default_rng(2).normal(size=(96, 32, 3, 3))
    assert scores.signal_to_noise(noise) < 0.03  # the largest values may touch the edge
    u, v = np.zeros(96), np.zeros((32, 3, 3))
    u[0], v[0, 0, 0] = 1, 1
    strong = noise + 1000 * u[:, None, None, None] * v
    values = np.linalg.svd(strong.reshape(96, -1), compute_uv=False)
    assert scores.signal_to_noise(strong) == pytest.approx(values[0] / values[1:].sum(), rel=0.03)
    assert scores.signal_to_noise(7 * strong) == pytest.approx(scores.signal_to_noise(strong))


# Range tests


def test_a_range_test_suggests_the_steepest_and_a_tenth_of_the_lowest(scores: ModuleType) -> None:
    """A loss that falls around 1e-3 and rises from 1e-2 on; the running mean lags by some steps."""
    rates = np.geomspace(1e-5, 1e-1, 100)
    place = np.log10(rates)
    losses = 1 - 0.5 / (1 + np.exp(-6 * (place + 3))) + np.maximum(0, place + 2) ** 2
    lag = 10 ** (9 * 4 / 99)  # a mean with 0.9 is 9 steps late
    assert math.log10(scores.steepest(rates, losses) / 1e-3 / lag) == pytest.approx(0, abs=0.2)
    lowest = scores.smoothed(losses)[10:].argmin() + 10
    assert scores.tenth_of_lowest(rates, losses) == pytest.approx(rates[lowest] / 10)


def test_the_running_mean_begins_at_the_first_loss(scores: ModuleType) -> None:
    assert scores.smoothed(np.array([2.0, 2.0])) == pytest.approx([2.0, 2.0])
    assert scores.smoothed(np.array([1.0, 2.0])) == pytest.approx([1.0, (0.09 + 0.2) / 0.19])


@pytest.fixture
def signals(scores: ModuleType) -> ModuleType:
    return importlib.import_module("start_signals")


def test_a_range_test_steps_as_the_grid_does(signals: ModuleType) -> None:
    """Groups of the training's own optimiser, which is built inside it."""
    model, schedule = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), ScheduleConfig()
    model[0].bias.requires_grad_(False)
    own, parameters = signals.adamw(model, schedule)
    other = training._optimizer(model, schedule, "backbone.")
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters() if p.requires_grad}
    assert type(own) is type(other)
    for a, b in zip(own.param_groups, other.param_groups, strict=True):
        assert [id(p) for p in a["params"]] == [id(p) for p in b["params"]]
        keys = ("weight_decay", "betas", "eps", "fused")
        assert [a[key] for key in keys] == [b[key] for key in keys]


class Columns:
    """A network whose one map says the column, in px of the image, that each cell looks at.

    Strided 3x3 convolutions with a padding of 1 look at 0, 32, 64, not at the cells' middles.
    """

    @property
    def backbone(self) -> SimpleNamespace:
        return SimpleNamespace(body=self.columns)

    def eval(self) -> None:
        pass

    def transform(self, images: list[Tensor]) -> tuple[SimpleNamespace, None]:
        return SimpleNamespace(tensors=torch.stack(images)), None

    def columns(self, images: Tensor) -> dict[str, Tensor]:
        cells = images.shape[-1] // 32
        row = 32.0 * torch.arange(cells)
        return {"0": row.expand(1, 1, cells, cells)}


@dataclass(frozen=True)
class OneImage:
    sample: Sample
    canvas: Canvas

    def __getitem__(self, i: int) -> Sample:
        return self.sample


def test_features_are_means_in_boxes_and_places_are_shares(signals: ModuleType) -> None:
    boxes = torch.tensor([[64.0, 32, 128, 64], [100, 100, 140, 180]])
    image, labels_ = torch.zeros(3, 256, 256, dtype=torch.uint8), torch.tensor([1, 2])
    sample = Sample(image, boxes, labels_, "a")
    features, places, labels = signals.box_features(
        Columns(), OneImage(sample, Canvas(256, 256, 256)), [0]
    )
    assert features == pytest.approx(np.array([[96.0], [120.0]]), abs=1.0)
    expected = [[96, 48, 64, 32], [120, 140, 40, 80]]
    assert places == pytest.approx(np.array(expected) / 256)
    assert labels.tolist() == [1, 2]


# Replay


def test_a_signal_is_paid_for_and_left_out_where_it_is_missing(scores: ModuleType) -> None:
    replay, starts = (importlib.import_module(name) for name in ("replay", "replay_starts"))
    sets = {name: replay.read(name) for name in ("bccd", "playing_cards")}
    tasks = [replay.given(rows, (0, 9)) for rows in sets.values()]
    context = replay.contexts(tasks, sets)[0]
    values = dict(zip(sorted(context.starts), (1.0, 3.0, 2.0), strict=True))

    def played(measured: dict[str, Any]) -> Any:
        known = replay.Context(context.task, context.constants, context.means, measured)
        return replay.play(replay.Entry("x", replay.scored_by("s", 1), signal="s"), known)

    found = played({"s": starts.Measured(values, dict.fromkeys(values, 0.1))})
    assert {result.outcome.pick.init for result in found} == {max(values, key=values.__getitem__)}
    assert [result.spent for result in found] == pytest.approx([1.3] * len(context.task.seeds))
    assert played({}) == []
    first = next(iter(values))
    assert played({"s": starts.Measured({first: 1.0}, {first: 0.1})}) == []


def test_logme_is_of_classes_or_else_of_boxes(
    scores: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = importlib.import_module("replay_starts")
    rows = [
        {"data": data, "init": "a", "signal": signal, "value": value, "cost": "0.01"}
        for data, signal, value in (
            ("any", "spectrum", "2"),
            ("cells", "logme_boxes", "1"),
            ("cells", "logme_classes", "-2"),
            ("wheat", "logme_boxes", "3"),
        )
    ]
    monkeypatch.setattr(starts, "csv_rows", lambda path: rows)
    cells, wheat = (starts.measured.__wrapped__(name) for name in ("cells", "wheat"))
    assert (cells["logme"].values, cells["tlogme"].values) == ({"a": -2.0}, {"a": -0.5})
    assert (wheat["logme"].values, wheat["tlogme"].values) == ({"a": 3.0}, {"a": 3.0})
    assert cells["spectrum"].cost(["a"]) == cells["logme"].cost([]) + 0.01
    assert starts.measured.__wrapped__("pears").keys() == {"spectrum"}
