import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.depth import ConvLayer, LayerTable, layer_table
from frostline.errors import PlanError
from frostline.signals import gradient_rows, probe_losses, rewind_curve
from frostline.study import Study
from frostline.trial import Moment
from tests.helpers import run_trial, write_study

TABLE = LayerTable(
    "toy",
    (
        ConvLayer(1, "a", "na", "stem", "main", (2, 3, 1, 1)),
        ConvLayer(2, "b", None, "stem", "main", (1, 2, 1, 1)),
    ),
)
TABLE_OF_TRIAL = layer_table("mobilenet_v2", width_mult=0.1)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 2, 1, bias=False)
        self.na = nn.BatchNorm2d(2)
        self.b = nn.Conv2d(2, 1, 1, bias=False)


def test_gradients_of_a_loss_worked_by_hand() -> None:
    """Loss sum(c w) has gradient c: two batches with c = 3 and c = 5 in every element."""
    net = _Net()
    net.b.weight.requires_grad_(False)
    losses = ((factor * net.a.weight).sum() for factor in (3.0, 5.0))
    (row,) = gradient_rows(net, TABLE, losses, prefix="")
    size = math.sqrt(6)
    assert (row.index, row.name, row.batches) == (1, "a", 2)
    assert row.mean_norm == pytest.approx(4 * size)
    assert row.norm_variance == pytest.approx(2 * 6)  # ((3 - 4)^2 + (5 - 4)^2) / 1, times |1|^2
    assert row.norm_of_mean == pytest.approx(4 * size)
    assert row.weight_norm == pytest.approx(np.linalg.norm(net.a.weight.detach().double()))
    assert net.a.weight.grad is None


def test_opposite_gradients_cancel_in_the_mean_only() -> None:
    net = _Net()
    losses = (sign * (net.a.weight.sum() + net.b.weight.sum()) for sign in (1.0, -1.0))
    first, second = gradient_rows(net, TABLE, losses, prefix="")
    assert first.norm_of_mean == second.norm_of_mean == 0
    assert first.mean_norm == pytest.approx(math.sqrt(6))
    assert second.norm_variance == 0


def test_nothing_trainable_has_no_rows() -> None:
    net = _Net().requires_grad_(False)

    def never() -> Iterator[Tensor]:
        raise AssertionError("no loss is needed")
        yield

    assert gradient_rows(net, TABLE, never(), prefix="") == []


def test_rewind_puts_back_what_each_depth_names() -> None:
    net = _Net()
    start = {name: np.full(tensor.shape, 7, np.float32) for name, tensor in _floats(net).items()}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def sevens(model: nn.Module) -> dict[str, float | None]:
        state = _floats(model)
        return {name: float((tensor == 7).all()) for name, tensor in state.items()}

    points = rewind_curve(net, start, TABLE, [2, 0, 1], sevens, prefix="")
    back = [{name for name, value in point.metrics.items() if value} for point in points]
    first = {"a.weight", "na.weight", "na.bias", "na.running_mean", "na.running_var"}
    assert [point.depth for point in points] == [0, 1, 2]
    assert back == [set(), first, first | {"b.weight"}]
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())


def test_rewind_beyond_the_model_leaves_it_as_it_was() -> None:
    net = _Net()
    start = {name: np.zeros(tensor.shape, np.float32) for name, tensor in _floats(net).items()}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(PlanError, match="depth 3 is beyond toy"):
        rewind_curve(net, start, TABLE, [1, 3], lambda model: {}, prefix="")
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())


def _floats(net: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in net.state_dict().items() if t.is_floating_point()}


@dataclasses.dataclass(frozen=True)
class _Probe:
    """Writes what it sees, and disturbs whatever an observer may disturb."""

    def __call__(self, moment: Moment) -> None:
        model = moment.start.model
        if moment.step in (0, 2):
            losses = [float(loss.detach()) for loss in probe_losses(moment, 2)]
            rows = gradient_rows(model, TABLE_OF_TRIAL, probe_losses(moment, 2))
            text = json.dumps([losses, [row.mean_norm for row in rows]])
            (moment.folder / f"probe{moment.step}.json").write_text(text)
        if moment.step in (2, moment.steps):  # in the middle of an epoch, and at the end
            curve = rewind_curve(model, moment.start.before, TABLE_OF_TRIAL, [0, 52], moment.score)
            (moment.folder / "curve.json").write_text(json.dumps([p.metrics for p in curve]))
        torch.manual_seed(99)


def test_an_observed_trial_ends_bit_equal_to_an_unobserved_one(tmp_path: Path) -> None:
    study = Study.from_yaml(write_study(tmp_path))
    spec = study.spec(study.cells()[0])
    plain = run_trial(spec, tmp_path / "plain")
    seen = run_trial(dataclasses.replace(spec, observer=_Probe()), tmp_path / "seen")
    assert (seen.scores, seen.details) == (plain.scores, plain.details)
    assert seen.differences == plain.differences
    assert seen.spec == plain.spec
    assert [epoch.losses for epoch in seen.history] == [epoch.losses for epoch in plain.history]
    losses, norms = json.loads((tmp_path / "seen" / "probe0.json").read_text())
    assert len(losses) == 2
    assert len(norms) == 52
    assert min(norms) > 0
    first, last = json.loads((tmp_path / "seen" / "curve.json").read_text())
    overall = seen.scores["val"]
    assert first["ap"] == overall["ap"]
    assert set(last) == {"ap", "ap50", "wheat"}
