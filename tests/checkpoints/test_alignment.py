"""Names of five frameworks, matched."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from frostline.checkpoints import align, open_checkpoint, strip_prefixes
from frostline.checkpoints.architectures import find_backbone
from frostline.checkpoints.dialects import neutral_names
from frostline.depth import BACKBONES, layer_table
from frostline.errors import AlignmentError, PlanError


@dataclass(frozen=True)
class Shaped:
    shape: tuple[int, ...]


def shapes(module: Any) -> Any:
    return {name: Shaped(tuple(t.shape)) for name, t in module.state_dict().items()}


@pytest.fixture(scope="module")
def detector() -> Any:
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2
    )
    return shapes(model)


@pytest.fixture(scope="module")
def mobilenet() -> Any:
    return shapes(torchvision.models.mobilenet_v2())


def renamed(tensors: Any, *rules: Any) -> Any:
    result = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        assert new not in result
        result[new] = value
    return result


def assert_maps(found: Any, before: Any, after: Any, left: Any = ()) -> None:
    """Every tensor but ``left`` is paired with the one at the same place."""
    want = {b: a for b, a in zip(before, after, strict=True) if b not in left}
    assert {p.before: p.after for p in found.pairs} == want
    assert set(found.only_before) == set(left)


def test_equal_names() -> None:
    tensors = {"b": Shaped((2,)), "a": Shaped((3,))}
    found = align(tensors, dict(reversed(tensors.items())))
    assert [(p.before, p.after, p.how) for p in found.pairs] == [
        ("b", "b", "same"),
        ("a", "a", "same"),
    ]


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "ema.module.", "net.model."]
)
def test_wrapper_prefixes(detector: Any, wrapper: Any) -> None:
    after = {wrapper + name: value for name, value in detector.items()}
    assert_maps(align(detector, after), detector, after)
    assert_maps(align(after, detector), after, detector)


def test_compiled_submodules(mobilenet: Any) -> None:
    after = renamed(mobilenet, (r"^features\.", "features._orig_mod."))
    assert_maps(align(mobilenet, after), mobilenet, after)


def test_a_counter_beside_the_wrapped_model() -> None:
    names = ["n_averaged", "module.conv.weight"]
    assert strip_prefixes(names) == {
        "n_averaged": "n_averaged",
        "module.conv.weight": "conv.weight",
    }


def test_nothing_is_stripped_that_makes_two_names_equal() -> None:
    names = ["module.a", "a"]
    assert strip_prefixes(names) == {"module.a": "module.a", "a": "a"}
    assert strip_prefixes([]) == {}


def test_a_classifier_in_a_detector(detector: Any) -> None:
    classifier = shapes(torchvision.models.resnet50())
    found = align(classifier, detector)
    assert found.only_before == ("fc.weight", "fc.bias")
    assert all(p.after == f"backbone.body.{p.before}" for p in found.pairs)
    assert len(found.pairs) == 318


DETECTRON2 = (
    (r"^backbone\.body\.conv1\.", "backbone.bottom_up.stem.conv1."),
    (r"^backbone\.body\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
    (r"^backbone\.body\.layer(\d)\.", lambda m: f"backbone.bottom_up.res{int(m[1]) + 1}."),
    (r"downsample\.0\.", "shortcut."),
    (r"downsample\.1\.", "shortcut.norm."),
    (r"(res\d\.\d+)\.bn(\d)\.", r"\1.conv\2.norm."),
    (r"fpn\.inner_blocks\.(\d)\.0", lambda m: f"fpn_lateral{int(m[1]) + 2}"),
    (r"fpn\.layer_blocks\.(\d)\.0", lambda m: f"fpn_output{int(m[1]) + 2}"),
    (r"rpn\.head\.conv\.0\.0", "proposal_generator.rpn_head.conv"),
    (r"rpn\.head\.cls_logits", "proposal_generator.rpn_head.objectness_logits"),
    (r"rpn\.head\.bbox_pred", "proposal_generator.rpn_head.anchor_deltas"),
    (r"box_head\.fc6", "box_head.fc1"),
    (r"box_head\.fc7", "box_head.fc2"),
)
MMDETECTION = (
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.0", r"neck.lateral_convs.\1.conv"),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.0", r"neck.fpn_convs.\1.conv"),
    (r"rpn\.head\.conv\.0\.0", "rpn_head.rpn_conv"),
    (r"rpn\.head\.cls_logits", "rpn_head.rpn_cls"),
    (r"rpn\.head\.bbox_pred", "rpn_head.rpn_reg"),
    (r"roi_heads\.box_head\.fc6", "roi_head.bbox_head.shared_fcs.0"),
    (r"roi_heads\.box_head\.fc7", "roi_head.bbox_head.shared_fcs.1"),
    (r"roi_heads\.box_predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
    (r"roi_heads\.box_predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
)
PREDICTORS = tuple(
    f"roi_heads.box_predictor.{part}.{kind}"
    for part in ("cls_score", "bbox_pred")
    for kind in ("weight", "bias")
)


@pytest.mark.parametrize("rules", [DETECTRON2, MMDETECTION], ids=["detectron2", "mmdetection"])
def test_other_detection_frameworks(detector: Any, rules: Any) -> None:
    """All but the predictors, whose classes stand in another order there."""
    after = renamed(detector, *rules)
    assert_maps(align(detector, after), detector, after, PREDICTORS)
    assert find_backbone(after).table.architecture == "resnet50"  # type: ignore[union-attr]


def test_detectron2_and_mmdetection_share_the_order_of_classes(detector: Any) -> None:
    d2, mm = renamed(detector, *DETECTRON2), renamed(detector, *MMDETECTION)
    assert_maps(align(d2, mm), d2, mm)


def test_torchvision_before_0_13(detector: Any) -> None:
    after = renamed(
        detector,
        (r"((?:inner|layer)_blocks\.\d)\.0\.", r"\1."),
        (r"rpn\.head\.conv\.0\.0", "rpn.head.conv"),
    )
    assert_maps(align(detector, after), detector, after)


def test_caffe2_resnet(detector: Any) -> Any:
    before = {k: v for k, v in shapes(torchvision.models.resnet50()).items() if "num_" not in k}
    before = {k: v for k, v in before.items() if not k.startswith("fc")}
    suffix = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}

    def caffe2(name: Any) -> Any:
        module, _, part = name.rpartition(".")
        if module == "conv1":
            return "conv1_w"
        if module == "bn1":
            return f"res_conv1_bn_{suffix[part]}"
        layer, block, rest = re.match(r"layer(\d)\.(\d+)\.(.*)", module).groups()  # type: ignore[union-attr]
        root = f"res{int(layer) + 1}_{block}_branch"
        branch = "1" if "downsample" in rest else "2" + "_abc"[int(rest[-1])]
        is_norm = rest.startswith("bn") or rest == "downsample.1"
        return root + branch + (f"_bn_{suffix[part]}" if is_norm else "_w")

    after = {caffe2(name): value for name, value in before.items()}
    assert_maps(align(before, after), before, after)


HF_RESNET = (
    (r"^conv1\.", "resnet.embedder.embedder.convolution."),
    (r"^bn1\.", "resnet.embedder.embedder.normalization."),
    (
        r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.",
        lambda m: (
            f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}."
            f"{ {'conv': 'convolution', 'bn': 'normalization'}[m[3]] }."
        ),
    ),
    (
        r"^layer(\d)\.(\d+)\.downsample\.(\d)\.",
        lambda m: (
            f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut."
            f"{('convolution', 'normalization')[int(m[3])]}."
        ),
    ),
    (r"^fc\.", "classifier.1."),
)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_hugging_face_resnet(name: Any) -> None:
    before = shapes(getattr(torchvision.models, name)())
    after = renamed(before, *HF_RESNET)
    assert_maps(align(before, after), before, after)
    assert find_backbone(after).table.architecture == name  # type: ignore[union-attr]


# MobileNets: each framework's name of (block, role) by the same small table of roles

STAGES = (1, 2, 3, 4, 3, 3, 1)
FLAT = [(stage, block) for stage, count in enumerate(STAGES) for block in range(count)]
ROLES = {
    "timm": ("conv_pw", "conv_dw", "conv_pwl"),
    "flat": ("_expand_conv", "_depthwise_conv", "_project_conv"),
    "hf": ("expand_1x1", "conv_3x3", "reduce_1x1"),
    "mm": ("expand_conv", "depthwise_conv", "linear_conv"),
}


def mobile_name(name: Any, framework: Any) -> Any:
    """A torchvision MobileNetV2 name in another framework's words."""
    head = re.match(r"features\.(0|18)\.([01])\.(\w+)$", name)
    if head:
        first, is_norm, part = head[1] == "0", head[2] == "1", head[3]
        end = "stem" if first else "head"
        return {
            "timm": f"{('bn1' if first else 'bn2') if is_norm else f'conv_{end}'}.{part}",
            "flat": f"{('_bn0' if first else '_bn1') if is_norm else f'_conv_{end}'}.{part}",
            "hf": f"mobilenet_v2.{'conv_stem.first_conv' if first else 'conv_1x1'}."
            f"{'normalization' if is_norm else 'convolution'}.{part}",
            "mm": f"backbone.conv{1 if first else 2}.{'bn' if is_norm else 'conv'}.{part}",
        }[framework]
    if name.startswith("classifier"):
        part = name.rpartition(".")[2]
        return {"flat": "_fc", "mm": "head.fc"}.get(framework, "classifier") + f".{part}"
    block, path, part = re.match(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)$", name).groups()  # type: ignore[union-attr]
    n, expands = int(block) - 1, block != "1"
    roles = ROLES[framework] if expands else ROLES[framework][1:]
    last = "2" if expands else "1"
    place = int(path[0]) if path not in {last, str(int(last) + 1)} else int(last)
    is_norm = path.endswith(".1") or path == str(int(last) + 1)
    role = roles[place]
    stage, inner = FLAT[n]
    if framework == "timm":
        role = "conv_pw" if not expands and place == 1 else role
        return f"blocks.{stage}.{inner}.{f'bn{place + 1}' if is_norm else role}.{part}"
    if framework == "flat":
        norm = f"_bn{place + (0 if expands else 1)}"
        return f"_blocks.{n}.{norm if is_norm else role}.{part}"
    if framework == "hf":
        kind = "normalization" if is_norm else "convolution"
        return f"mobilenet_v2.{'conv_stem' if n == 0 else f'layer.{n - 1}'}.{role}.{kind}.{part}"
    return f"backbone.layer{stage + 1}.{inner}.{role}.{'bn' if is_norm else 'conv'}.{part}"


@pytest.mark.parametrize("framework", ROLES)
def test_mobilenet_v2_of_other_frameworks(mobilenet: Any, framework: Any) -> None:
    after = {mobile_name(name, framework): value for name, value in mobilenet.items()}
    assert len(after) == len(mobilenet)
    left = ("classifier.1.weight", "classifier.1.bias") if framework == "mm" else ()
    assert_maps(align(mobilenet, after), mobilenet, after, left)
    backbone = find_backbone(after)
    assert backbone.table.architecture == "mobilenet_v2"  # type: ignore[union-attr]
    assert (
        backbone.names["18.0"] == mobile_name("features.18.0.weight", framework)[: -len(".weight")]  # type: ignore[union-attr]
    )


def test_mobilenet_v2_of_its_authors(mobilenet: Any) -> Any:
    """features.1.conv.1 is a BatchNorm there and a convolution in torchvision."""

    def theirs(name: Any) -> Any:
        match = re.match(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)$", name)
        if not match:
            return name
        block, path, part = match.groups()
        if "." in path:
            a, b = path.split(".")
            return f"features.{block}.conv.{3 * int(a) + int(b)}.{part}"
        last = 1 if block == "1" else 2
        return f"features.{block}.conv.{3 * last + int(path) - last}.{part}"

    after = {theirs(name): value for name, value in mobilenet.items()}
    assert_maps(align(mobilenet, after), mobilenet, after)


def test_a_backbone_body_without_the_word_features(mobilenet: Any) -> None:
    body = {k: v for k, v in mobilenet.items() if k.startswith("features")}
    after = renamed(body, (r"^features\.", "backbone.body."))
    assert_maps(align(body, after), body, after)


def test_real_originals(real_weights: Path) -> None:
    original = open_checkpoint(real_weights / "mobilenet_v2_imagenet_original.pt")
    ours = open_checkpoint(real_weights / "mobilenet_v2_imagenet.safetensors")
    found = align(original, ours)
    assert not found.only_before
    assert not found.only_after
    for pair in found.pairs:
        assert (original[pair.before].read() == ours[pair.after].read()).all()


def timm_lite0_name(name: Any) -> Any:
    """timm 1.0's names of tf_efficientnet_lite0 for the original's names."""
    stages = (1, 2, 2, 3, 3, 4, 1)
    flat = [(s, b) for s, count in enumerate(stages) for b in range(count)]
    outer = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    parts = name.split(".")
    if parts[0] != "_blocks":
        return f"{outer[parts[0]]}.{parts[1]}"
    stage, block = flat[int(parts[1])]
    first = parts[1] == "0"
    inner = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    if first:
        inner |= {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return f"blocks.{stage}.{block}.{inner[parts[2]]}.{parts[3]}"


def test_efficientnet_lite0_aligns_with_timm(real_weights: Path) -> None:
    original = open_checkpoint(real_weights / "efficientnet-lite0-57934424.pth")
    after = {timm_lite0_name(name): Shaped(t.shape) for name, t in original.items()}
    assert_maps(align(original, after), original, after)


# What must not be guessed


def test_two_copies_are_ambiguous_and_listed(mobilenet: Any) -> None:
    after = {f"{who}.{k}": v for k, v in mobilenet.items() for who in ("student", "teacher")}
    with pytest.raises(AlignmentError, match=r"student\.features.* or .*teacher\.features"):
        align(mobilenet, after)
    found = align(mobilenet, after, renames=[("", "teacher.")])
    assert all(p.after == f"teacher.{p.before}" and p.how == "map" for p in found.pairs)
    assert len(found.pairs) == len(mobilenet)


def test_other_blocks_are_not_other_prefixes() -> None:
    before = {"layer1.0.conv.weight": Shaped((4, 4)), "layer1.1.conv.weight": Shaped((4, 4))}
    after = {"layer1.2.conv.weight": Shaped((4, 4)), "layer1.3.conv.weight": Shaped((4, 4))}
    assert not align(before, after).pairs


def test_a_missing_block_does_not_shift_the_others(mobilenet: Any) -> None:
    """Blocks are counted to match frameworks that number them otherwise."""
    after = {name: value for name, value in mobilenet.items() if ".9." not in name}
    for found in (align(mobilenet, after), align(after, mobilenet)):
        assert all(pair.before == pair.after for pair in found.pairs)
        assert len(found.pairs) == len(after)
    names = {f"features.{n}.conv.0.0.weight": (4, 4, 1, 1) for n in range(1, 6)}
    assert "body.block5.conv1.weight" in neutral_names(names).values()
    del names["features.3.conv.0.0.weight"]
    assert not neutral_names(names)
    names = {f"blocks.{stage}.{n}.conv_dw.weight": (4, 1, 3, 3) for stage in (0, 1) for n in (0, 1)}
    assert len(neutral_names(names)) == 4
    del names["blocks.1.0.conv_dw.weight"]
    assert not neutral_names(names)


@pytest.mark.parametrize("other", ["fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn"])
def test_heads_that_end_alike_are_no_counterparts(detector: Any, other: str) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models.detection, other)(weights=None, weights_backbone=None)
    found = align(detector, shapes(model))
    assert {pair.how for pair in found.pairs} <= {"same", "framework"}
    body = [name for name in detector if name.startswith("backbone.body.")]
    assert {pair.before for pair in found.pairs} >= set(body)


def test_heads_of_language_models_are_no_counterparts() -> None:
    body = {f"roberta.layer.{n}.query.weight": Shaped((4, 4)) for n in range(3)}
    heads = "roberta.pooler.dense.weight", "lm_head.dense.weight"
    before = body | {name: Shaped((4, 4)) for name in heads}
    found = align(before, body | {"classifier.dense.weight": Shaped((4, 4))})
    assert [pair.before for pair in found.pairs] == list(body)
    assert found.only_before == heads
    assert found.only_after == ("classifier.dense.weight",)


def test_a_prefix_of_paired_names_holds_for_the_others_too() -> None:
    """timm's ResNets with a deep stem, of which the key maps know all but the stem."""
    names = ["conv1.0.weight", "conv1.3.weight", *(f"layer1.0.conv{n}.weight" for n in (1, 2, 3))]
    after = {name: Shaped((4, 4, 3, 3)) for name in names}
    before = {f"backbone.body.{name}": value for name, value in after.items()}
    found = align(before | {"rpn.head.conv.weight": Shaped((4, 4, 1, 1))}, after)
    assert [pair.how for pair in found.pairs] == ["suffix"] * 2 + ["framework"] * 3


def test_shape_is_a_check() -> None:
    before, after = {"a.conv.weight": Shaped((4, 4))}, {"b.conv.weight": Shaped((4, 5))}
    assert not align(before, after).pairs
    assert align({"a.conv.weight": Shaped((4, 4))}, {"b.conv.weight": Shaped((4, 4))}).pairs


def test_a_replaced_head_stays_a_pair() -> None:
    found = align(
        {"head.weight": Shaped((91, 4))}, {"head.weight": Shaped((2, 4)), "x": Shaped(())}
    )
    assert [(p.before, p.after, p.how) for p in found.pairs] == [
        ("head.weight", "head.weight", "same")
    ]


def test_renames(mobilenet: Any) -> None:
    before = {"old.weight": Shaped((2,)), "old.bias": Shaped((2,)), "keep": Shaped((1,))}
    after = {"new.weight": Shaped((2,)), "new.bias": Shaped((2,)), "keep": Shaped((1,))}
    for rename in (("old", "new"), ("old.", "new.")):
        assert_maps(align(before, after, renames=[rename]), before, after)
    one = align(before, after, renames=[("old.weight", "new.bias")])
    assert ("old.weight", "new.bias") in [(p.before, p.after) for p in one.pairs]
    with pytest.raises(AlignmentError, match="map nope=new fits no tensor"):
        align(before, after, renames=[("nope", "new")])


def test_a_million_lookalikes_are_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.checkpoints.alignment._MAX_COMPARED", 100)
    before = {f"a{i}.x.weight": Shaped((2,)) for i in range(20)}
    after = {f"b{i}.x.weight": Shaped((2,)) for i in range(20)}
    with pytest.raises(AlignmentError, match="--map"):
        align(before, after)


def test_two_backbones_in_one_file_have_no_neutral_names() -> None:
    names = {f"{who}.layer1.0.conv1.weight": (4, 4, 1, 1) for who in ("backbone", "model")}
    assert not neutral_names(names)


def test_long_names_are_left_alone() -> None:
    assert not neutral_names({"a" * 10_000 + ".layer1.0.conv1.weight": (4, 4, 1, 1)})


# Backbones


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("prefix", ["", "backbone.body.", "module.x."])
def test_backbones_are_recognised_by_torchvision_names(name: Any, prefix: Any) -> None:
    table = layer_table(name)
    tensors = {f"{prefix}{layer.name}.weight": Shaped(layer.shape) for layer in table.layers}
    tensors["head.weight"] = Shaped((2, 2))
    backbone = find_backbone(tensors)
    assert backbone.table == table  # type: ignore[union-attr]
    assert backbone.names[table.layers[0].name] == prefix + table.layers[0].name  # type: ignore[union-attr]


def test_a_deeper_network_is_not_taken_for_its_prefix() -> None:
    """ResNet-152 has every name of ResNet-101, and more."""
    tensors = shapes(torchvision.models.resnet152())
    assert find_backbone(tensors) is None


def test_a_model_asked_for_must_be_there(mobilenet: Any) -> None:
    assert find_backbone(mobilenet, "mobilenet_v2").table.architecture == "mobilenet_v2"  # type: ignore[union-attr]
    with pytest.raises(AlignmentError, match="53 convolutions of resnet50"):
        find_backbone(mobilenet, "resnet50")
    with pytest.raises(PlanError, match="unknown backbone"):
        find_backbone(mobilenet, "alexnet")
