"""Plans of published networks against lists made by autograd, and three steps that move nothing.

Twelve networks; ``make test-freezing`` (FROSTLINE_FREEZING=all) takes all of torchvision's and a
spread of timm's. What was compared is in the properties of ``--junitxml``.
"""

import warnings
from collections.abc import Callable

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
def test_a_plan_holds_what_a_forward_pass_uses_and_steps_leave_it(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    with warnings.catch_warnings():
        net = network(name)
    table = observe_table(net.model, net.example)
    end, lists, steps = len(table), 0, 0
    cuts = sorted({max(1, end // 4), max(1, end // 2), end})
    for k in cuts:
        plan = FreezePlan.at_depth(table, k, batch_norm="follow", prefix="")
        if k < end:
            expected = used_by_autograd(net.model, _example(net), before=table.layers[k].name)
            assert _without_norms(net.model, plan) == expected - norm_tensors(net.model)
            lists += 1
        steps += _steps_leave(net, plan)
    stages = _assert_a_stage_ends_at_its_exit(net, table)
    counts = {"cuts": len(cuts) + stages, "lists": lists + stages, "steps": steps}
    for key, count in (counts | {"meta": int(net.loss is None)}).items():
        record_property(key, count)


def _example(net: Network) -> object:
    return net.example if net.loss else net.example.to("meta")


def _without_norms(model: nn.Module, plan: FreezePlan) -> set[str]:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return set(plan.tensors) & parameters - norm_tensors(model)


def _steps_leave(net: Network, plan: FreezePlan) -> bool:
    """Whether there was something to train; then three steps leave the plan's tensors."""
    if net.loss is None:
        return False
    frozen = Frozen(net.model, plan)
    trains = frozen.trainable_parameters > 0
    if trains:
        moved = three_steps(net.model, net.loss)
        assert moved
        assert not moved & set(plan.tensors)
        assert frozen.audit().passed
    frozen.undo()
    return trains


def _assert_a_stage_ends_at_its_exit(net: Network, table: LayerTable) -> int:
    """The stage in the middle, and the module around the layer in the middle: how many."""
    middle, compared = table.layers[len(table) // 2], 0
    for stage in dict.fromkeys((middle.stage, middle.name.rpartition(".")[0])):
        if not stage or ("leave", stage) not in (table.passage.events if table.passage else ()):
            continue  # a list of modules has no exit of its own
        plan = FreezePlan.at_stage(table, stage, batch_norm="follow", prefix="")
        expected = used_by_autograd(net.model, _example(net), after=stage)
        assert _without_norms(net.model, plan) == expected - norm_tensors(net.model)
        compared += 1
    return compared
