"""Layer tables read off a forward pass: order, norms, roles and stages worked out by hand."""

import math
import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from frostline.errors import PlanError
from frostline.freezing import freeze
from frostline.observing import (
    has_running_statistics,
    observe_sections,
    observe_table,
    require_values,
)
from frostline.plans import FreezePlan
from tests.autograd_lists import any_loss, three_steps

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Crossed(nn.Module):
    """Registered in another order than called; one convolution twice, one never; a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 2, 1)
        self.shortcut = nn.Conv2d(3, 4, 1)
        self.main = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.twice = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.twice(self.main(x)) + self.shortcut(x)
        y = self.twice(y)
        out: Tensor = self.last(y)
        return out


def test_forward_order_and_what_is_called_twice_or_never() -> None:
    table = observe_table(Crossed(), EXAMPLE)
    assert table.architecture == "Crossed"
    assert [(x.index, x.name, x.norm, x.role, x.bias) for x in table.layers] == [
        (1, "main.0", "main.1", "main", False),
        (2, "twice", None, "main", True),
        (3, "shortcut", None, "projection", True),
        (4, "last", None, "main", True),
    ]
    assert table.layers[0].shape == (4, 3, 3, 3)
    assert table.stage_ends() == {"main": 1, "twice": 2, "shortcut": 3, "last": 4}
    assert table.repeated == ("twice",)
    assert table.unused == ("never",)


def test_stages_start_where_the_names_part() -> None:
    net = nn.Sequential(OrderedDict(features=nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))))
    assert observe_table(net, EXAMPLE).stage_ends() == {"features.0": 1, "features.1": 2}
    assert observe_table(nn.Conv2d(3, 4, 1), EXAMPLE).stage_ends() == {"": 1}


def test_a_batch_norm_without_its_own_convolution_goes_with_the_next() -> None:
    """Pre-activation: the norm before a convolution is part of what it computes."""
    net = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1),
        nn.ReLU(inplace=True), nn.BatchNorm2d(4),
    )  # fmt: skip
    first, second = observe_table(net, EXAMPLE).layers
    assert (first.norm, second.norm) == (None, None)  # no norm reads a convolution's bare output
    assert first.norm_tensors == tuple(
        f"0.{x}" for x in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    )
    assert second.norm_tensors is not None
    assert {name[0] for name in second.norm_tensors} == {"3", "6"}


def test_squeeze_and_transposed_and_other_dimensions() -> None:
    class Excite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(4, 4, 1)
            self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            scale = self.fc(x.mean((2, 3), keepdim=True)).sigmoid()
            out: Tensor = self.up(x * scale)
            return out

    fc, up = observe_table(Excite(), torch.zeros(1, 4, 6, 6)).layers
    assert (fc.role, up.role) == ("squeeze", "main")
    assert up.shape == (4, 2, 2, 2)
    (line,) = observe_table(nn.Conv1d(2, 3, 5), torch.zeros(1, 2, 9)).layers
    assert line.shape == (3, 2, 5)


def test_names_of_parametrized_and_shared_modules() -> None:
    shared = nn.Conv2d(3, 3, 1, bias=False)
    net = nn.Sequential(shared, nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), shared)
    first, second = observe_table(net, EXAMPLE).layers
    assert first.tensors == ("0.weight", "2.weight")
    assert second.tensors is not None
    assert set(first.tensors) | set(second.tensors) == set(net.state_dict())


def test_the_model_stays_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    observe_table(net, torch.rand(2, 3, 8, 8))
    assert [m.training for m in net] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_examples_are_arguments_lists_or_names() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.example_input_array = (EXAMPLE, 2.0)

        def forward(self, x: Tensor, scale: float) -> Tensor:
            out: Tensor = self.conv(x) * scale
            return out

    net = Two()
    for example in ((EXAMPLE, 2.0), {"x": EXAMPLE, "scale": 2.0}, None):
        assert len(observe_table(net, example)) == 1
    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    table = observe_table(detector, [torch.rand(3, 32, 32)])
    assert table.stage_ends()["backbone"] < len(table) == table.stage_ends()["head"]


def test_what_cannot_be_observed_says_so() -> None:
    with pytest.raises(PlanError, match=r"expected an example_input, .*zeros\(1, 5, 224, 224\)"):
        observe_table(nn.Conv2d(5, 4, 1))
    with pytest.raises(PlanError, match="found none in a forward pass of Linear"):
        observe_table(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(PlanError, match=r"cannot be called with the example input \(RuntimeError"):
        observe_table(nn.Conv2d(5, 4, 1), EXAMPLE)


def test_batch_norms_of_all_kinds() -> None:
    kinds = [nn.BatchNorm1d(2), nn.SyncBatchNorm(2), FrozenBatchNorm2d(2)]
    assert all(map(has_running_statistics, kinds))
    assert not any(
        map(
            has_running_statistics,
            [nn.GroupNorm(1, 2), nn.BatchNorm2d(2, track_running_stats=False)],
        )
    )


def test_densenet_and_shufflenet_lose_no_batch_norm() -> None:
    """Every BatchNorm goes with exactly one convolution, whatever the network's habits."""
    for build in (torchvision.models.densenet121, torchvision.models.shufflenet_v2_x0_5):
        net = build(weights=None)
        table = observe_table(net, torch.zeros(1, 3, 32, 32))
        listed = [
            t
            for layer in table.layers
            for t in (*(layer.tensors or ()), *(layer.norm_tensors or ()))
        ]
        head = {name for name in net.state_dict() if name.startswith(("fc.", "classifier."))}
        assert sorted(listed) == sorted(set(net.state_dict()) - head)


class Detector(nn.Module):
    """A backbone inside a wrapper, a neck, a head with a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
        self.body = nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))})
        self.neck = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.neck(self.body["net"](x)).mean((2, 3)))
        return out


def test_sections_of_a_whole_model() -> None:
    parts = {"backbone": "body.net.", "neck": "neck", "head": "head."}
    table = observe_sections(Detector(), EXAMPLE, parts, architecture="toy")
    assert [(x.index, x.name, x.norm) for x in table.layers] == [(1, "0", "1")]
    assert (table.architecture, table.section) == ("toy", "backbone")
    neck, head = table.others
    assert (neck.name, neck.prefix, len(neck.layers)) == ("neck", "neck", 1)
    assert [(x.index, x.name, x.shape, x.bias) for x in head.layers] == [(1, "1", (3, 2), True)]
    with pytest.raises(PlanError, match="section 'head'"):
        observe_sections(Detector(), EXAMPLE, parts, counted="head")


def test_the_deepest_depth_holds_a_backbone_and_leaves_a_head() -> None:
    net = nn.Sequential(
        OrderedDict(
            body=nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.PReLU(4)),
            norm=nn.GroupNorm(2, 4),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(4, 2),
        )
    )

    def deepest(**options: bool) -> set[str]:
        table = observe_table(net, EXAMPLE, **options)  # type: ignore[arg-type]
        used = table.used_at(2)
        assert used is not None
        return {name.split(".")[0] for name in used}

    assert deepest() == {"body", "norm"}
    assert deepest(backbone=True) == {"body", "norm", "head"}


def test_a_head_of_convolutions_is_counted_and_one_in_the_last_stage_is_left() -> None:
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    table = observe_table(whole, EXAMPLE)
    assert table.used_at(2) == frozenset(whole.state_dict())
    inside = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(256, 2))
    )
    left = set(inside.state_dict()) - (observe_table(inside, EXAMPLE).used_at(2) or set())
    assert left == {"1.2.weight", "1.2.bias"}


def test_the_unit_can_be_given() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 8), nn.Flatten(2), nn.TransformerEncoderLayer(1, 1, 2))
    assert observe_table(net, EXAMPLE).unit == "block"
    table = observe_table(net, EXAMPLE, unit="convolution")
    assert (table.unit, len(table)) == ("convolution", 1)


class Levels(nn.Module):
    """One convolution for two levels, each with a BatchNorm of its own, as in RetinaNet's heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
        self.fine, self.coarse = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        fine: Tensor = self.last(self.fine(self.conv(x)))
        coarse: Tensor = self.coarse(self.conv(x[..., ::2, ::2]))
        return fine.mean() + coarse.mean()


def test_every_batch_norm_of_a_shared_convolution_goes_with_it() -> None:
    first, last = observe_table(Levels(), EXAMPLE).layers
    assert (first.norm, last.norm_tensors) == ("fine", ())
    assert {name.split(".")[0] for name in first.norm_tensors or ()} == {"fine", "coarse"}


def test_the_first_lazy_tensor_is_named_and_the_others_are_counted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3), nn.LazyLinear(2))
    with pytest.raises(
        PlanError, match=r"^'1\.weight' and 3 more tensors of Sequential have no shape"
    ):
        require_values(net)
    require_values(net[0])


class ByFunction(nn.Module):
    """Convolves by itself, with the larger one of its parameters, and not by a module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1, 1))
        self.kernel = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kernel * self.scale)


def test_a_module_that_convolves_by_itself_is_a_layer_and_none_is_counted_twice() -> None:
    table = observe_table(nn.Sequential(ByFunction(), nn.Conv2d(4, 2, 1)), EXAMPLE)
    assert [(layer.name, layer.shape) for layer in table.layers] == [
        ("0", (4, 3, 3, 3)),
        ("1", (2, 4, 1, 1)),
    ]
    assert table.repeated == ()
    assert table.layers[0].tensors == ("0.scale", "0.kernel")


class Branches(nn.Module):
    def __init__(self, *sides: nn.Module) -> None:
        super().__init__()
        self.sides = nn.ModuleList(sides)

    def forward(self, x: Tensor) -> Tensor:
        one, other = (side(x) for side in self.sides)
        out: Tensor = one + other
        return out


def test_of_two_branches_the_shorter_one_is_a_projection_and_of_equal_ones_none() -> None:
    def conv() -> nn.Conv2d:
        return nn.Conv2d(3, 3, 1)

    equal = observe_table(Branches(conv(), conv()), EXAMPLE)
    assert [layer.role for layer in equal.layers] == ["main", "main"]
    for long_first in (True, False):
        sides = [nn.Sequential(conv(), conv()), conv()]
        table = observe_table(Branches(*(sides if long_first else sides[::-1])), EXAMPLE)
        roles = ["main", "main", "projection"]
        assert [layer.role for layer in table.layers] == (roles if long_first else roles[::-1])


class ByKeyword(nn.Module):
    """Calls its layers with keywords, of which a hook sees no inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(input=self.norm(input=self.conv(input=x)))
        return out


def test_a_batch_norm_called_by_keyword_goes_with_the_convolution_that_follows() -> None:
    first, second = observe_table(ByKeyword(), EXAMPLE).layers
    assert (first.name, first.norm, first.norm_tensors) == ("conv", None, ())
    assert second.norm_tensors is not None
    assert "norm.running_mean" in second.norm_tensors


class Gated(nn.Module):
    """A gate of one pixel before a convolution that reads ``width`` of them."""

    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.gate = nn.Conv2d(3, 3, kernel, padding=padding)
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x * self.gate(x.mean((2, 3), keepdim=True)))
        return out


@pytest.mark.parametrize(
    ("kernel", "width", "role"),
    [((1, 1), 2, "squeeze"), ((1, 1), 1, "main"), ((3, 1), 2, "main"), ((1, 3), 2, "main")],
)
def test_a_squeeze_reads_one_pixel_with_one_weight_before_what_reads_more(
    kernel: tuple[int, int], width: int, role: str
) -> None:
    table = observe_table(Gated(kernel), torch.zeros(1, 3, 1, width))
    assert [layer.role for layer in table.layers] == [role, "main"]


class Moving(nn.Module):
    """Draws from every generator, and moves, replaces and counts."""

    mean: Tensor
    hidden: Tensor
    cache: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.register_buffer("mean", torch.zeros(4, 1, 1))
        self.register_buffer("hidden", torch.zeros(4, 1, 1), persistent=False)
        self.register_buffer("cache", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            self.mean += x.detach().mean((0, 2, 3)).view(-1, 1, 1)
            self.hidden += random.random() + float(np.random.rand()) + torch.rand(4, 1, 1)
            self.cache = torch.ones(2)
        return x - self.mean


class Auxiliary(nn.Module):
    """In train mode a layer more on the path, and a head beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.moving = Moving()
        self.mixer = nn.Conv2d(4, 4, 1)
        self.side = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Linear(6, 2))
        self.drop = nn.Dropout(0.5)
        self.body = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.moving(self.drop(self.stem(x)))
        if not self.training:
            return self.head(self.body(x).mean((2, 3)))
        side = self.side(x)
        return self.head(self.body(self.mixer(x)).mean((2, 3))), side


def test_what_train_mode_alone_uses_lies_before_the_cuts_behind_it() -> None:
    """It counts for no depth; the layer on the path, the head beside it and its BatchNorm hold."""
    model = Auxiliary()
    x = torch.rand(1, 3, 8, 8)
    table = observe_table(model, x)
    assert [layer.name for layer in table.layers] == ["stem", "body"]
    assert {"mixer", "side.0"} <= set(table.unused)
    used = {
        policy: set(FreezePlan.at_depth(table, 1, batch_norm=policy, prefix=""))
        for policy in ("follow", "live")
    }
    own = {n for n, _ in model.side.named_parameters(prefix="side")}
    norm = {n for n in model.state_dict() if n.startswith("side.1.")}
    path = {"stem.weight", "moving.mean", "moving.cache", "mixer.weight", "mixer.bias"}
    assert used["live"] == path | own - norm
    assert used["follow"] == path | own | norm
    stage = FreezePlan.at_stage(table, "stem", batch_norm="follow", prefix="")
    assert set(stage) == {"stem.weight"}
    frozen = freeze(model, 1, example_input=x)
    moved = three_steps(model, lambda: any_loss(model(torch.rand(2, 3, 8, 8))))
    assert moved >= {"head.weight", "body.weight"}
    assert not moved & used["follow"]
    assert frozen.audit().passed


def test_looking_at_train_mode_moves_nothing() -> None:
    model, x = Auxiliary().train(), torch.rand(1, 3, 8, 8)
    model.drop.eval()
    buffers = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    flags = [m.training for m in model.modules()]
    assert observe_table(model, x).passage.training is not None  # type: ignore[union-attr]
    for name, buffer in model.named_buffers():
        assert buffer is buffers[name][0], name
        assert torch.equal(buffer, buffers[name][1]), name
    assert model.moving.seen == 0
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(np.random.get_state()) == states[2]


def test_buffers_of_every_kind_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    kinds = {
        "sparse": torch.eye(3).to_sparse(),
        "expanded": torch.full((1,), math.nan).expand(5),
        "nan": torch.full((2,), math.nan),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(3),
    }
    for name, buffer in kinds.items():
        net.register_buffer(name, buffer)
    passage = observe_table(net, EXAMPLE).passage
    assert passage is not None
    assert passage.training is not None
    assert all(getattr(net, name) is buffer for name, buffer in kinds.items())


def test_a_model_that_needs_targets_to_train_is_looked_at_in_eval_mode() -> None:
    class Needs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor, targets: Any = None) -> Tensor:
            assert targets or not self.training, "targets should not be none in train mode"
            out: Tensor = self.conv(x)
            return out

    table = observe_table(Needs(), torch.zeros(1, 3, 8, 8))
    assert table.passage is not None
    assert table.passage.training is None
    assert len(table) == 1
