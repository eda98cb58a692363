"""The loop on a model small enough to check: schedule, resume, and what stops it."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.config import AugmentConfig, ScheduleConfig
from frostline.datasets import Boxes, DatasetIndex, ImageRecord
from frostline.errors import ConfigError, RecordError, TrainingError
from frostline.events import Progress
from frostline.freezing import Frozen
from frostline.identity import Identity
from frostline.plans import FreezePlan
from frostline.tasks import Canvas, Task, task_named
from frostline.tasks.boxes import PlacedImages, Sample
from frostline.trainers.loop import _remarks
from frostline.training import TrainingResult, choose_device, train, warmup_steps

X = Identity({"name": "x"}, {})
OFF = AugmentConfig(flip=False, colour=False, scale_jitter=False)
SCHEDULE = ScheduleConfig(epochs=3, batch_size=2, lr=0.01, augment=OFF, checkpoint_seconds=0)


class _Net(nn.Module):
    """Dropout makes it draw from the global generator, as RPN and RoI sampling do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)).mean((2, 3))
        result: Tensor = self.head(self.drop(features))
        return result


def _loss(model: nn.Module, samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
    images = torch.stack([sample.image for sample in samples]).float() / 255
    target = torch.tensor([[float(sample.name[2:])] for sample in samples])
    return {"square": ((model(images) - target) ** 2).mean()}


TASK = dataclasses.replace(task_named("detection"), build=lambda *_: _Net(), loss=_loss)


@pytest.fixture
def images(tmp_path: Path) -> PlacedImages:
    from PIL import Image

    records = []
    for i in range(5):
        Image.new("RGB", (32, 32), (40 * i, 10, 200 - 30 * i)).save(tmp_path / f"im{i}.png")
        none = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        records.append(ImageRecord(f"im{i}.png", 32, 32, Boxes(*none)))

    class Named(PlacedImages):
        def __getitem__(self, i: int) -> Sample:
            sample = super().__getitem__(i)
            return Sample(sample.image, sample.boxes, sample.labels, sample.name.split(".")[0])

    return Named(DatasetIndex(tmp_path, ("x",), tuple(records), ()), Canvas(32, 32, 32))


class _KilledError(Exception):
    pass


def _train(
    images: PlacedImages,
    checkpoint: Path,
    *,
    stop_at: int | None = None,
    schedule: ScheduleConfig = SCHEDULE,
    task: Task = TASK,
    identity: Identity = X,
    score: Callable[[nn.Module], dict[str, float | None]] = lambda model: {"ap": 0.5},
    backbone: str = "backbone.body.",
    pause: Callable[[int], bool] = lambda epochs: False,
) -> tuple[nn.Module, TrainingResult]:
    model = _Net()

    def on_step(progress: Progress) -> None:
        if progress.step == stop_at:
            raise _KilledError

    result = train(
        Frozen(model, FreezePlan("none", (), "live")),
        images,
        task=task,
        schedule=schedule,
        seed=0,
        device=choose_device("cpu"),
        checkpoint=checkpoint,
        identity=identity,
        score=score,
        backbone=backbone,
        pause=pause,
        on_step=on_step,
    )
    return model, result


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop_at", [2, 3, 5, 8])
def test_resume_is_bit_equal(
    images: PlacedImages, tmp_path: Path, optimizer: str, stop_at: int
) -> None:
    schedule = SCHEDULE.model_copy(update={"optimizer": optimizer})
    straight, whole = _train(images, tmp_path / "a.pt", schedule=schedule)
    with pytest.raises(_KilledError):
        _train(images, tmp_path / "b.pt", stop_at=stop_at, schedule=schedule)
    resumed, result = _train(images, tmp_path / "b.pt", schedule=schedule)
    assert result.resumed_at == (stop_at - 1,)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    losses = [epoch.losses for epoch in whole.history]
    assert losses == [epoch.losses for epoch in result.history]
    assert result.steps == 9


def test_history_and_evaluations(images: PlacedImages, tmp_path: Path) -> None:
    schedule = SCHEDULE.model_copy(update={"eval_every": 2})
    _, result = _train(images, tmp_path / "a.pt", schedule=schedule)
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3]
    assert [epoch.metrics for epoch in result.history] == [None, {"ap": 0.5}, None]
    assert result.history[-1].losses["square"] < result.history[0].losses["square"]


def test_evaluations_are_timed_over_all_parts(images: PlacedImages, tmp_path: Path) -> None:
    def score(model: nn.Module) -> dict[str, float | None]:
        time.sleep(0.05)
        return {"ap": 0.5}

    schedule = SCHEDULE.model_copy(update={"eval_every": 1})
    with pytest.raises(_KilledError):
        _train(images, tmp_path / "a.pt", schedule=schedule, score=score, stop_at=5)
    _, result = _train(images, tmp_path / "a.pt", schedule=schedule, score=score)
    assert result.evaluation_seconds >= 3 * 0.05
    _, result = _train(images, tmp_path / "b.pt", score=score)
    assert result.evaluation_seconds == 0


@pytest.mark.parametrize("kind", ["cosine", "step", "constant"])
def test_learning_rate_by_hand(images: PlacedImages, tmp_path: Path, kind: str) -> None:
    """5 images in batches of 2: 3 steps an epoch, the first epoch warms up."""
    schedule = SCHEDULE.model_copy(update={"lr_schedule": kind})
    _, result = _train(images, tmp_path / "a.pt", schedule=schedule)
    after = {
        "cosine": [0.005 * (1 + math.cos(math.pi * d)) for d in (2 / 6, 5 / 6)],
        "step": [0.01, 0.001],
        "constant": [0.01, 0.01],
    }[kind]
    rates = [epoch.lr for epoch in result.history]
    assert rates == pytest.approx([0.01, *after], rel=1e-12)


def test_a_loss_that_is_not_finite_stops_with_names(images: PlacedImages, tmp_path: Path) -> None:
    def bad(model: nn.Module, samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
        losses = _loss(model, samples, device)
        scale = math.nan if any(sample.name == "im3" for sample in samples) else 1.0
        return {"square": losses["square"] * scale}

    task = dataclasses.replace(TASK, loss=bad)
    with pytest.raises(TrainingError, match=r"\(square\) in epoch 1, step \d, images .*im3"):
        _train(images, tmp_path / "a.pt", task=task)


def test_a_checkpoint_of_another_trial_is_refused(images: PlacedImages, tmp_path: Path) -> None:
    _train(images, tmp_path / "a.pt")
    with pytest.raises(RecordError, match="belongs to another trial"):
        _train(images, tmp_path / "a.pt", identity=Identity({"name": "y"}, {}))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_precision_is_that_of_activations_and_of_no_weight(
    images: PlacedImages, tmp_path: Path, precision: str, dtype: str
) -> None:
    """What the convolution gives, forward and backward; weights and their steps are float32."""
    seen: list[torch.dtype] = []

    def loss(model: Any, samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
        def look(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.append(output.dtype)
            output.register_hook(lambda gradient: seen.append(gradient.dtype))  # type: ignore[no-untyped-call]

        handle = model.conv.register_forward_hook(look)
        losses = _loss(model, samples, device)
        handle.remove()
        return losses

    task = dataclasses.replace(TASK, loss=loss)
    schedule = SCHEDULE.model_copy(update={"precision": precision, "clip_norm": None})
    model, result = _train(images, tmp_path / "a.pt", schedule=schedule, task=task)
    assert seen == [getattr(torch, dtype)] * 2 * 9
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    moved = {n: t - _Net().state_dict()[n] for n, t in model.state_dict().items()}
    assert moved["conv.weight"].abs().max() > 1e-4
    assert result.history[-1].losses["square"] < result.history[0].losses["square"]


def test_a_gradient_that_is_not_finite_stops_even_without_clipping(
    images: PlacedImages, tmp_path: Path
) -> None:
    """sqrt at 0: the loss is finite, its gradient is not."""

    def bad(model: nn.Module, samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
        square = _loss(model, samples, device)["square"]
        return {"square": torch.sqrt(square - square) + square}

    task = dataclasses.replace(TASK, loss=bad)
    schedule = SCHEDULE.model_copy(update={"clip_norm": None})
    with pytest.raises(TrainingError, match=r"gradient is not finite \(gradient\) in epoch 1"):
        _train(images, tmp_path / "a.pt", schedule=schedule, task=task)


def test_no_gpu_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="expected a CUDA device"):
        choose_device("cuda")


def test_a_full_disk_while_a_checkpoint_is_written(
    images: PlacedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RecordError, match="cannot write"):
        _train(images, tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()


def test_a_training_goes_on_with_the_threads_that_it_began_with(
    images: PlacedImages, tmp_path: Path
) -> None:
    with pytest.raises(_KilledError):
        _train(images, tmp_path / "a.pt", stop_at=3)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        _, result = _train(images, tmp_path / "a.pt")
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
    assert len(result.conditions) == 1


@pytest.mark.parametrize(
    ("changed", "value"),
    [("__version__", "2.0.0"), ("backends.cpu.get_cpu_capability", lambda: "other")],
)
def test_another_torch_or_processor_is_told(
    images: PlacedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, value: Any
) -> None:
    with pytest.raises(_KilledError):
        _train(images, tmp_path / "a.pt", stop_at=3)
    monkeypatch.setattr(f"torch.{changed}", value)
    _, result = _train(images, tmp_path / "a.pt")
    assert len(result.conditions) == 2


def test_a_checkpoint_that_says_less_of_its_conditions_resumes(
    images: PlacedImages, tmp_path: Path
) -> None:
    with pytest.raises(_KilledError):
        _train(images, tmp_path / "a.pt", stop_at=3)
    payload = torch.load(tmp_path / "a.pt")
    before = [f"cpu, {torch.get_num_threads()} threads"]
    payload["state"]["conditions"] = before
    torch.save(payload, tmp_path / "a.pt")
    _, result = _train(images, tmp_path / "a.pt")
    assert result.resumed_at == (2,)
    assert list(result.conditions) == before


def _broken(payload: dict[str, Any], how: str) -> object:
    state, groups = payload["state"], payload["optimizer"]
    changed: dict[str, object] = {
        "no rng": {name: value for name, value in payload.items() if name != "rng"},
        "other rng": payload | {"rng": payload["rng"][:-1]},
        "unknown state": payload | {"state": state | {"of_a_later_version": 1}},
        "no number": payload | {"state": state | {"step": "four"}},
        "a row of another version": payload
        | {"state": state | {"history": [{"epoch": 1, "later": 2}]}},
        "other tensors": payload | {"model": {"w": torch.zeros(3)}},
        "other optimiser": payload | {"optimizer": groups | {"param_groups": []}},
        "a list": [1, 2],
    }
    return changed[how]


@pytest.mark.parametrize(
    "how",
    [
        *("no rng", "unknown state", "a row of another version", "no number", "other rng"),
        *("other tensors", "other optimiser", "a list", "no file"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_kept_aside_and_the_trial_starts_anew(
    images: PlacedImages, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    straight, _ = _train(images, tmp_path / "straight.pt")
    path = tmp_path / "a.pt"
    with pytest.raises(_KilledError):
        _train(images, path, stop_at=4)
    if how == "no file":
        path.write_bytes(b"not a checkpoint")
    else:
        torch.save(_broken(torch.load(path), how), path)
    kept = path.read_bytes()
    model, result = _train(images, path)
    assert result.resumed_at == ()
    assert (tmp_path / "a.pt.damaged").read_bytes() == kept
    assert len(caplog.messages) == 1
    assert "the trial starts anew, it is kept as a.pt.damaged" in caplog.messages[0]
    for name, tensor in straight.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_a_pause_changes_no_bit(images: PlacedImages, tmp_path: Path, epochs: int) -> None:
    straight, whole = _train(images, tmp_path / "a.pt")
    _, part = _train(images, tmp_path / "b.pt", pause=lambda done: done >= epochs)
    assert (part.finished, part.steps, len(part.history)) == (False, 3 * epochs, epochs)
    resumed, result = _train(images, tmp_path / "b.pt")
    assert result.finished
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert [e.losses for e in whole.history] == [e.losses for e in result.history]


def test_the_rate_of_the_backbone_by_hand(images: PlacedImages, tmp_path: Path) -> None:
    """One step of plain SGD with a tenth of the rate moves the backbone a tenth as far."""
    plain = {"epochs": 1, "batch_size": 5, "optimizer": "sgd", "momentum": 0.0, "clip_norm": None}
    one = SCHEDULE.model_copy(update=plain | {"weight_decay": 0.0, "warmup_epochs": 0.0})
    before = _Net().state_dict()
    moved = {}
    for scale in (1.0, 0.1):
        schedule = one.model_copy(update={"backbone_lr_scale": scale})
        model, _ = _train(images, tmp_path / f"{scale}.pt", schedule=schedule, backbone="conv.")
        moved[scale] = {n: t - before[n] for n, t in model.state_dict().items()}
    assert torch.allclose(moved[0.1]["conv.weight"], 0.1 * moved[1.0]["conv.weight"], rtol=1e-3)
    assert torch.equal(moved[0.1]["head.weight"], moved[1.0]["head.weight"])
    assert moved[1.0]["conv.weight"].abs().max() > 1e-5


def test_gradients_are_clipped_in_the_optimisers_order(
    images: PlacedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights before biases: another order of the sum is another last bit of every step."""
    seen: list[list[int]] = []
    clip = torch.nn.utils.clip_grad_norm_

    def note(parameters: list[nn.Parameter], limit: float) -> Tensor:
        seen.append([parameter.ndim for parameter in parameters])
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", note)
    _train(images, tmp_path / "a.pt")
    assert len(seen) == 9
    assert seen[0] == [4, 2, 1, 1, 1, 1]


def test_warm_up_by_hand(images: PlacedImages, tmp_path: Path) -> None:
    """5 images one by one, 2 epochs: 4 steps of warm-up to 0.01, then the cosine over 6."""
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def note(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.extend({group["lr"] for group in self.param_groups})
        return step(self, *arguments)

    update = {"epochs": 2, "batch_size": 1, "warmup_epochs": 0.8, "lr_schedule": "cosine"}
    schedule = SCHEDULE.model_copy(update=update | {"optimizer": "adamw"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", note)
        _train(images, tmp_path / "a.pt", schedule=schedule)
    warm = [0.002575, 0.00505, 0.007525, 0.01]  # 0.01 x (0.01 + 0.99 x n/4), n = 1 to 4
    half = 0.005 * math.sqrt(3) / 2  # of cos 30 degrees
    down = [0.01, 0.005 + half, 0.0075, 0.005, 0.0025, 0.005 - half]
    assert rates == pytest.approx(warm + down, rel=1e-12)


def test_a_warm_up_longer_than_half_the_steps_is_cut_and_said() -> None:
    schedule = ScheduleConfig(epochs=3, batch_size=4, warmup_epochs=2.0)
    assert warmup_steps(schedule, 5, 15) == (10, 7)
    (remark,) = _remarks(schedule, 18)  # 18 images are 5 steps an epoch
    assert remark == "warm-up cut: 7 steps, half of all, where 10 were asked for"
    assert list(_remarks(schedule.model_copy(update={"warmup_epochs": 1.0}), 18)) == []
