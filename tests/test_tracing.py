"""What a tracer takes down, for passes small enough to write the events out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.tracing import Tracer, aliases, eager_and_quiet

X = torch.ones(1, 2, 4, 4)


def _nothing(*_: Any) -> None:
    pass


def _traced(model: nn.Module, *inputs: Any) -> Tracer:
    tracer = Tracer(model)
    with eager_and_quiet(model), tracer.hooks(_nothing, _nothing), tracer:
        model(*(inputs or (X,)))
    return tracer


def _uses(model: nn.Module, *inputs: Any) -> list[str]:
    return [name for kind, name in _traced(model, *inputs).events if kind == "use"]


def test_events_of_a_small_network_in_order() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2))
    assert _traced(net).events == [
        ("enter", ""),
        ("enter", "0"),
        ("use", "0.weight"),
        ("leave", "0"),
        ("enter", "1"),
        *(("use", f"1.{n}") for n in ("weight", "bias", "running_mean", "running_var")),
        ("use", "1.num_batches_tracked"),  # not read in eval mode: with the module that owns it
        ("leave", "1"),
        ("leave", ""),
    ]


class First(nn.Sequential):
    """Calls the first of its modules only."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self[0](x)
        return out


class Odd(nn.Module):
    """Parts of a tensor, data behind autograd's back, a shape only, and something never used."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.ones(4, 2, 1, 1))
        self.raw = nn.Parameter(torch.ones(2, 1, 1))
        self.shape_only = nn.Parameter(torch.ones(1, 2, 4, 4))
        self.never = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.part[:2]) * self.raw.data + torch.zeros_like(self.shape_only)


def test_views_and_data_are_uses_and_shapes_are_none() -> None:
    assert _uses(Odd()) == ["part", "raw"]


def test_memory_that_is_shared_is_used_under_all_names() -> None:
    first, tied, view = (nn.Conv2d(2, 2, 1, bias=False) for _ in range(3))
    tied.weight = first.weight
    view.weight = nn.Parameter(first.weight.detach()[:])
    net = First(first, tied, view)
    assert set(_uses(net)) == {"0.weight", "1.weight", "2.weight"}


def test_neighbours_in_one_storage_are_told_apart() -> None:
    flat = torch.ones(8)
    one, other = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False)
    one.weight = nn.Parameter(flat[:4].view(2, 2, 1, 1))
    other.weight = nn.Parameter(flat[4:].view(2, 2, 1, 1))
    assert _uses(First(one, other)) == ["0.weight"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_hooks_compute_belongs_to_the_module() -> None:
    """The weight of old weight norm is made in a hook before the module: after its entry."""
    net = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(2, 2, 1, bias=False)))
    events = _traced(net).events
    assert events.index(("enter", "0")) < events.index(("use", "0.weight_g"))


def test_a_recurrent_layer_and_fused_attention_show_their_weights() -> None:
    assert len(_uses(nn.LSTM(2, 2), torch.ones(3, 1, 2))) == 4
    layer = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    assert set(_uses(layer, torch.ones(1, 3, 4))) == set(layer.state_dict())
    assert torch.backends.mha.get_fastpath_enabled()


def test_modules_without_children_that_convolve() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.ones(2, 2, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv_transpose2d(x, self.kernel)

    class Blur(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, torch.ones(2, 1, 3, 3), groups=2)

    net = nn.Sequential(Own(), Blur(), nn.Conv2d(2, 2, 1))
    assert list(_traced(net).convolved) == ["0", "2"]


def test_a_pass_that_builds_layers_is_noticed() -> None:
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "inner"):
                self.inner = nn.Conv2d(2, 2, 1)
            out: Tensor = self.inner(x)
            return out

    model = Late()
    assert _traced(model).is_incomplete()
    assert not _traced(model).is_incomplete()


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train()
    net[1].eval()
    with pytest.raises(RuntimeError):
        _traced(net, torch.ones(1, 5, 4, 4))
    assert [module.training for module in net.modules()] == [True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.is_grad_enabled()


def test_all_names_of_a_module() -> None:
    shared = nn.Conv2d(2, 2, 1)
    assert aliases(nn.Sequential(shared, nn.Sequential(shared)))[shared] == ["0", "1.0"]
