"""Plans of published networks against lists made by autograd, and three steps that move nothing.

Twelve networks; ``make test-freezing`` (FROSTLINE_FREEZING=all) takes all of torchvision's and a
spread of timm's.
"""

import warnings

import pytest
from torch import nn

from frostline.depth import LayerTable
from frostline.freezing import Frozen
from frostline.observing import observe_table
from frostline.plans import FreezePlan
from tests.autograd_lists import norm_tensors, three_steps, used_by_autograd
from tests.zoo import Network, names, network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", names())
def test_a_plan_holds_what_a_forward_pass_uses_and_steps_leave_it(name: str) -> None:
    with warnings.catch_warnings():
        net = network(name)
    table = observe_table(net.model, net.example)
    end = len(table)
    for k in sorted({max(1, end // 4), max(1, end // 2), end}):
        plan = FreezePlan.at_depth(table, k, batch_norm="follow", prefix="")
        if k < end:
            expected = used_by_autograd(net.model, _example(net), before=table.layers[k].name)
            assert _without_norms(net.model, plan) == expected - norm_tensors(net.model)
        _assert_steps_leave(net, plan)
    _assert_a_stage_ends_at_its_exit(net, table)


def _example(net: Network) -> object:
    return net.example if net.loss else net.example.to("meta")


def _without_norms(model: nn.Module, plan: FreezePlan) -> set[str]:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return set(plan.tensors) & parameters - norm_tensors(model)


def _assert_steps_leave(net: Network, plan: FreezePlan) -> None:
    if net.loss is None:
        return
    frozen = Frozen(net.model, plan)
    if frozen.trainable_parameters:
        moved = three_steps(net.model, net.loss)
        assert moved
        assert not moved & set(plan.tensors)
        assert frozen.audit().passed
    frozen.undo()


def _assert_a_stage_ends_at_its_exit(net: Network, table: LayerTable) -> None:
    """The stage in the middle, and the module around the layer in the middle."""
    middle = table.layers[len(table) // 2]
    for stage in (middle.stage, middle.name.rpartition(".")[0]):
        if not stage or ("leave", stage) not in (table.passage.events if table.passage else ()):
            continue  # a list of modules has no exit of its own
        plan = FreezePlan.at_stage(table, stage, batch_norm="follow", prefix="")
        expected = used_by_autograd(net.model, _example(net), after=stage)
        assert _without_norms(net.model, plan) == expected - norm_tensors(net.model)
