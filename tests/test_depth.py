import dataclasses

import pytest

from frostline.depth import BACKBONES, Section, layer_table
from frostline.errors import PlanError


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 20),
        ("resnet34", 36),
        ("resnet50", 53),
        ("resnet101", 104),
        ("mobilenet_v2", 52),
        ("mobilenet_v3_large", 62),
    ],
)
def test_number_of_convolutions(name: str, count: int) -> None:
    assert len(layer_table(name)) == count


def test_resnet50_stage_ends_in_both_numberings() -> None:
    table = layer_table("resnet50")
    assert table.stage_ends() == {
        "stem": 1, "layer1": 11, "layer2": 24, "layer3": 43, "layer4": 53,
    }  # fmt: skip
    assert table.stage_ends("paper") == {
        "stem": 0, "layer1": 9, "layer2": 21, "layer3": 39, "layer4": 48,
    }  # fmt: skip


def test_paper_numbering_takes_stem_and_projection_along() -> None:
    table = layer_table("resnet50")
    names = [layer.name for layer in table.frozen_layers(3, "paper")]
    assert names == [
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.0.conv3",
        "layer1.0.downsample.0",
    ]
    assert [x.name for x in table.frozen_layers(2, "paper")] == names[:3]
    assert table.frozen_layers(0, "paper") == ()
    assert len(table.frozen_layers(48, "paper")) == 53


def test_paper_index_skips_stem_and_projections() -> None:
    table = layer_table("resnet50")
    numbered = [table.paper_index(layer) for layer in table.layers]
    assert numbered[:6] == [None, 1, 2, 3, None, 4]
    assert max(n for n in numbered if n) == 48


def test_paper_numbering_is_an_error_elsewhere() -> None:
    with pytest.raises(PlanError, match="bottleneck ResNets"):
        layer_table("mobilenet_v2").max_depth("paper")


@pytest.mark.parametrize("k", [-1, 54])
def test_depth_beyond_the_model(k: int) -> None:
    with pytest.raises(PlanError, match="expected 0 to 53"):
        layer_table("resnet50").frozen_layers(k)


def test_block_ends_of_mobilenet_v2() -> None:
    table = layer_table("mobilenet_v2")
    assert [table.layers[k - 1].name for k in (9, 18, 30, 39, 52)] == [
        "3.conv.2",
        "6.conv.2",
        "10.conv.2",
        "13.conv.2",
        "18.0",
    ]


def test_unknown_backbone_lists_the_known() -> None:
    with pytest.raises(PlanError, match="resnet18"):
        layer_table("vgg16")


def test_width_only_for_mobilenet_v2() -> None:
    assert layer_table("mobilenet_v2", width_mult=0.5).layers[0].shape == (16, 3, 3, 3)
    with pytest.raises(PlanError, match="mobilenet_v2 only"):
        layer_table("resnet18", width_mult=0.5)


def test_every_norm_is_named_once() -> None:
    for name in BACKBONES:
        norms = [layer.norm for layer in layer_table(name).layers if layer.norm]
        assert len(set(norms)) == len(norms)


def test_a_table_says_its_unit_and_its_sections() -> None:
    table = layer_table("resnet18")
    assert (table.unit, table.section, table.others) == ("convolution", "backbone", ())
    neck = Section("neck", "backbone.fpn.", table.layers[:2])
    data = dataclasses.replace(table, others=(neck,)).to_dict()
    assert (data["unit"], data["section"]) == ("convolution", "backbone")
    assert [(x["name"], x["prefix"], len(x["layers"])) for x in data["others"]] == [
        ("neck", "backbone.fpn.", 2)
    ]
    with pytest.raises(AssertionError, match="no gaps"):
        dataclasses.replace(table, others=(Section("neck", "", table.layers[1:]),))
