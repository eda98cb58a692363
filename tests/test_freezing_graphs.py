"""Random module graphs under ``freeze``, against the list that autograd makes of each.

Sequential, residual and parallel parts, modules that are called twice or in another order than they
are registered, tied weights, parametrizations, functional calls with other modules' weights, layers
that train mode alone calls.
"""

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import DeformConv2d

from frostline.freezing import freeze
from frostline.observing import observe_table
from tests.autograd_lists import any_loss, norm_tensors, three_steps, used_by_autograd

OTHERS = os.environ.get("FROSTLINE_FREEZING") == "all"  # other graphs each time
MANY = OTHERS or "CI" in os.environ
CHANNELS = 4
X = torch.rand(2, CHANNELS, 6, 6, generator=torch.Generator().manual_seed(0))


class Scale(nn.Module):
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((CHANNELS, 1, 1), 0.5))
        self.register_buffer("offset", torch.full((1,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.offset


class Functional(nn.Module):
    """Convolves by a function with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(CHANNELS, CHANNELS, 1, 1) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel)


class Deform(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(CHANNELS, 18, 3, padding=1)
        self.conv = DeformConv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x, self.offset(x))
        return out


class OverChannels(nn.Module):
    """A layer of tokens, such as LayerNorm or Linear."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class MovingMean(nn.Module):
    """Subtracts a mean that follows the data in train mode, under names of its own."""

    centre: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(CHANNELS, 1, 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            self.centre += 0.1 * (x.detach().mean((0, 2, 3)).view(-1, 1, 1) - self.centre)
        return x - self.centre


class InTraining(nn.Module):
    """A layer and a head that train mode alone calls; the head's output goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.head = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.head(x)
        out: Tensor = self.layer(x)
        return out


def _conv() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


LEAVES: dict[str, Any] = {
    "conv": _conv,
    "depthwise": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1),
    "deform": Deform,
    "functional": Functional,
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS),
    "group norm": lambda: nn.GroupNorm(2, CHANNELS),
    "layer norm": lambda: OverChannels(nn.LayerNorm(CHANNELS)),
    "linear": lambda: OverChannels(nn.Linear(CHANNELS, CHANNELS)),
    "scale": Scale,
    "moving mean": MovingMean,
    "in training": InTraining,
    "old weight norm": lambda: nn.utils.parametrizations.weight_norm(_conv()),
    "old spectral norm": lambda: nn.utils.spectral_norm(_conv()),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(_conv()),
    "dropout": lambda: nn.Dropout(0.1),
}

# A part of a graph: the name of a leaf; ("again", n), the nth leaf once more; ("weight", n), a
# function with the weight of the nth convolution; ("residual" or "parallel", parts).
Part = Any

_LEAF = st.sampled_from(sorted(LEAVES))
_LINK = st.tuples(st.sampled_from(["again", "weight", "tied"]), st.integers(0, 9))


def _parts(inner: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.tuples(st.sampled_from(["residual", "parallel", "sequential"]), some)


GRAPHS = st.lists(st.recursive(_LEAF | _LINK, _parts, max_leaves=5), min_size=2, max_size=5)


class Graph(nn.Module):
    """Parts one after the other, registered in the opposite order, with a head that trains."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.made: list[nn.Module] = []
        self.plan = [self._build(part) for part in parts]
        self.head = nn.Linear(CHANNELS, 2)
        for number, module in reversed(list(enumerate(self.made))):
            self.add_module(f"part{number}", module)
        del self.made

    def _build(self, part: Part) -> Any:
        if isinstance(part, str):
            self.made.append(LEAVES[part]())
            return ("call", len(self.made) - 1)
        kind, rest = part
        if isinstance(rest, list):
            return (kind, [self._build(inner) for inner in rest])
        if not self.made:
            return ("call", self._build("conv")[1])
        number = rest % len(self.made)
        if kind == "tied":
            copy, own = _conv(), self.made[number]._parameters.get("weight")
            if own is not None and own.shape == copy.weight.shape:
                copy.weight = own
            self.made.append(copy)
            return ("call", len(self.made) - 1)
        return ("call" if kind == "again" else "weight", number)

    def _run(self, step: Any, x: Tensor) -> Tensor:
        kind, rest = step
        if kind == "call":
            return getattr(self, f"part{rest}")(x)  # type: ignore[no-any-return]
        if kind == "weight":
            weight = getattr(getattr(self, f"part{rest}"), "weight", None)
            if not isinstance(weight, Tensor) or weight.ndim != 4 or len(weight) != CHANNELS:
                return x
            return F.conv2d(x, weight[:, :1].sum((2, 3), keepdim=True), groups=CHANNELS)
        outputs = [x]
        for inner in rest:
            outputs.append(self._run(inner, x if kind == "parallel" else outputs[-1]))
        return outputs[-1] if kind == "sequential" else torch.stack(outputs).sum(0) / len(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.plan:
            x = self._run(step, x).tanh()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@settings(
    max_examples=500 if MANY else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not OTHERS,
)
@given(parts=GRAPHS, cut=st.integers(0, 99), seed=st.integers(0, 9))
def test_a_random_graph_is_frozen_up_to_its_cut(parts: list[Part], cut: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = Graph(["conv", *parts])
    table = observe_table(model, X)
    k = 1 + cut % len(table)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    norms = norm_tensors(model)
    if k < len(table):
        expected = used_by_autograd(model, X, before=table.layers[k].name)
    frozen = freeze(model, k, example_input=X)
    if k < len(table):
        assert set(frozen.plan) & parameters - norms == expected - norms
    assert "head.weight" not in frozen.plan
    moved = three_steps(model, lambda: any_loss(model(X)))
    assert not moved & set(frozen.plan)
    assert frozen.audit().passed
    assert not {n for n in moved - set(frozen.plan) if n in norms} & _norms_before(model, table, k)


def _norms_before(model: nn.Module, table: Any, k: int) -> set[str]:
    """Tensors of every BatchNorm whose module is entered before layer k + 1."""
    events = table.passage.events
    end = events.index(("enter", table.layers[k].name)) if k < len(table) else 0
    entered = {name for kind, name in events[:end] if kind == "enter"}
    return {name for name in norm_tensors(model) if name.rpartition(".")[0] in entered}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@settings(max_examples=500 if MANY else 40, deadline=None, derandomize=not OTHERS)
@given(parts=GRAPHS, cut=st.integers(0, 99))
def test_a_module_is_frozen_up_to_its_exit(parts: list[Part], cut: int) -> None:
    torch.manual_seed(0)
    model = Graph(["conv", *parts])
    table = observe_table(model, X)
    assert table.passage is not None
    called = [name for kind, name in table.passage.events if kind == "leave" and name]
    stage = called[cut % len(called)]
    norms = norm_tensors(model)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    expected = used_by_autograd(model, X, after=stage)
    frozen = freeze(model, stage, example_input=X)
    assert set(frozen.plan) & parameters - norms == expected - norms
