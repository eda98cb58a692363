"""Pairs by order and shape, where names tell nothing."""

import random
import re
from typing import Any

import pytest
import timm
import torch
import torchvision

from frostline.checkpoints import align
from frostline.checkpoints.by_order import pair_by_order
from frostline.errors import AlignmentError
from tests.checkpoints.test_alignment import Shaped, assert_maps, shapes


def body(name: str = "resnet50") -> Any:
    """A network without its classifier, as ``nn.Sequential`` of its children."""
    with torch.device("meta"):
        net = getattr(torchvision.models, name)()
        return shapes(net), shapes(torch.nn.Sequential(*list(net.children())[:-1]))


def rtdetr(name: str) -> str:
    """What Ultralytics' RT-DETR calls a tensor of torchvision's ResNet."""
    rules = (
        (r"^conv1\.", "model.0.layer.0.conv."),
        (r"^bn1\.", "model.0.layer.0.bn."),
        (r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.", r"model.\1.layer.\2.cv\4.\3."),
        (r"^layer(\d)\.(\d+)\.downsample\.0\.", r"model.\1.layer.\2.shortcut.0.conv."),
        (r"^layer(\d)\.(\d+)\.downsample\.1\.", r"model.\1.layer.\2.shortcut.0.bn."),
    )
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_children_of_a_network(name: str) -> None:
    """``4.0.conv1`` is ``layer1.0.conv1``; the classifier has no counterpart."""
    net, numbered = body(name)
    found = align(net, numbered)
    fc = ("fc.weight", "fc.bias")
    assert_maps(found, net, [*numbered, *fc], left=fc)
    assert {pair.how for pair in found.pairs} == {"order"}
    assert found.confidence is not None
    assert 0.8 <= found.confidence < 1


@pytest.mark.parametrize("order", ["file", "sorted"])
def test_numbers_of_ultralytics(order: str) -> None:
    """In file order, and in the order in which safetensors writes them."""
    net, _ = body()
    other = {rtdetr(name): tensor for name, tensor in net.items() if not name.startswith("fc.")}
    if order == "sorted":
        other = {name: other[name] for name in sorted(other)}
    found = align(net, other)
    assert len(found.pairs) == len(other)
    assert all(rtdetr(pair.before) == pair.after for pair in found.pairs)


def test_a_projection_at_another_place_of_the_file() -> None:
    """Shortcuts first, as detectron2 and Hugging Face have them, in names of nobody."""
    net, _ = body()
    rules = (("conv", "op"), ("bn", "scale"), ("downsample.0", "skip.op"), ("layer", "part"))
    moved: dict[str, Any] = {}
    for name, tensor in net.items():
        new = name
        for old, replaced in rules:
            new = new.replace(old, replaced)
        moved[new] = tensor, name
    ordered = sorted(moved.items(), key=lambda item: "skip" not in item[0])
    found = pair_by_order(net, {new: tensor for new, (tensor, _) in ordered})
    convolutions = [pair for pair in found.pairs if len(net[pair[0]].shape) > 1]
    assert len(convolutions) == 54
    assert all(moved[new][1] == old for old, new in convolutions)


@pytest.mark.parametrize(
    ("ours", "theirs", "least", "numbered"),
    [("vit_base_patch16_224", "vit_b_16", 148, 96), ("efficientnet_b0", "efficientnet_b0", 360, 0)],
)
def test_timm_and_torchvision(ours: str, theirs: str, least: int, numbered: int) -> None:
    with torch.device("meta"):
        before = shapes(timm.create_model(ours))
        after = shapes(getattr(torchvision.models, theirs)())
    found = align(before, after)
    assert sum(pair.how == "order" for pair in found.pairs) >= least
    numbers = [  # of blocks, where both names have one
        (a[1], b[1])
        for pair in found.pairs
        if (a := re.search(r"blocks\.(\d+)\.(?:attn|mlp)", pair.before))
        and (b := re.search(r"encoder_layer_(\d+)\.", pair.after))
    ]
    assert len(numbers) == numbered
    assert all(a == b for a, b in numbers)


@pytest.mark.parametrize(
    ("one", "two"),
    [("resnet50", "resnet101"), ("resnet18", "resnet34"), ("resnet50", "wide_resnet50_2"),
     ("resnet50", "vgg16"), ("mobilenet_v2", "resnet18"), ("densenet121", "densenet169")],
)  # fmt: skip
def test_other_networks_are_not_paired(one: str, two: str) -> None:
    """The confidence fails, whatever the names."""
    with torch.device("meta"):
        nets = [shapes(getattr(torchvision.models, name)()) for name in (one, two)]
    unnamed = [
        {f"{letter}.{n}.weight": t for n, t in enumerate(net.values())}
        for letter, net in zip("xy", nets, strict=True)
    ]
    found = pair_by_order(*unnamed)
    assert found.pairs == ()
    assert found.confidence < 0.8


def test_a_file_in_no_order_has_no_confidence() -> None:
    net, _ = body("resnet18")
    names = list(net)
    shuffled = names.copy()
    random.Random(0).shuffle(shuffled)
    other = {rtdetr(name): net[name] for name in shuffled}
    assert pair_by_order(net, other).confidence < 0.8


def test_few_tensors_prove_nothing() -> None:
    few = {f"a{n}.weight": Shaped((n + 2, 3, 3, 3)) for n in range(7)}
    found = pair_by_order(few, {name.replace("a", "b"): t for name, t in few.items()})
    assert found == ((), 0.0)


def test_names_go_first() -> None:
    """Where names pair half of a file, nothing is left to order."""
    net, _ = body("resnet18")
    found = align(net, {name: t for name, t in net.items() if "layer4.1" not in name})
    assert found.confidence is None


def test_a_tie_that_order_does_not_settle_stays_an_error() -> None:
    _, numbered = body("resnet101")
    net, _ = body("resnet50")
    with pytest.raises(AlignmentError, match="choose with --map"):
        align(numbered, net)


# DETR: a table


def test_detr_of_two_projects() -> None:
    width = {"self_attn.out_proj": (4, 4), "linear1": (8, 4), "norm1": (4,), "norm2": (4,)}
    authors = {f"transformer.encoder.layers.0.{m}.weight": Shaped(s) for m, s in width.items()}
    authors |= {
        f"transformer.decoder.layers.1.{m}.weight": Shaped((4,)) for m in ("norm2", "norm3")
    }
    authors |= {
        "transformer.decoder.norm.weight": Shaped((4,)),
        "query_embed.weight": Shaped((5, 4)),
    }
    authors |= {"class_embed.weight": Shaped((3, 4)), "bbox_embed.layers.1.weight": Shaped((4, 4))}
    authors |= {"input_proj.weight": Shaped((4, 16, 1, 1))}
    theirs = (
        ("transformer", "model"), ("linear1", "fc1"),
        ("encoder.layers.0.norm1", "encoder.layers.0.self_attn_layer_norm"),
        ("encoder.layers.0.norm2", "encoder.layers.0.final_layer_norm"),
        ("decoder.layers.1.norm2", "decoder.layers.1.encoder_attn_layer_norm"),
        ("decoder.layers.1.norm3", "decoder.layers.1.final_layer_norm"),
        ("decoder.norm", "decoder.layernorm"), ("query_embed", "model.query_position_embeddings"),
        ("class_embed", "class_labels_classifier"), ("bbox_embed", "bbox_predictor"),
        ("input_proj", "model.input_projection"),
    )  # fmt: skip
    hugging_face = []
    for given in authors:
        name = given
        for old, new in theirs:
            name = name.replace(old, new)
        hugging_face.append(name)
    other = dict(zip(hugging_face, authors.values(), strict=True))
    assert_maps(align(authors, other), authors, other)
