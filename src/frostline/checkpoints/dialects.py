"""How torchvision, timm, detectron2, mmdetection and Hugging Face name the same tensor.

Each framework's names are translated into one neutral vocabulary, in which two files can be
compared: ``body.layer1.0.conv2.weight`` (ResNets), ``body.block3.conv1.weight`` (networks of
inverted residual blocks, counted from 1), ``fpn.inner.0.weight``, ``rpn.conv.weight``,
``box.fc6.weight``. Class and box predictors of torchvision, which puts the background class
first, get other names than those of detectron2 and mmdetection, which put it last: equal shapes
prove nothing there.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

__all__ = ["neutral_names", "shows_body", "shows_detectron2"]

Shape = tuple[int, ...]

_ROOT = "(?:ROOT)"  # where the body lies in a file; put in by ``_body_rules``
# What may stand before a body where a file has several: of each only one is ours to translate.
_USUAL_ROOT = r"(?:(?:backbone|bottom_up|body|encoder|model|resnet|mobilenet_v2|base|trunk|net)\.)*"
_PARAM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_MAX_NAME = 200  # real names have some 60 characters; the patterns are not meant for megabytes
_NORM = {"convolution": "conv", "normalization": "bn"}


class _Part(NamedTuple):
    """A tensor of an inverted residual block, before blocks and their parts are counted."""

    block: tuple[int, ...]
    kind: str  # "conv", "bn" or "se"
    rank: tuple[int, ...]  # orders the parts of one kind within the block
    param: str


Rule = tuple[str, Callable[[re.Match[str]], str | _Part]]


def neutral_names(tensors: Mapping[str, Shape]) -> dict[str, str]:
    """Each name that a known framework uses -> its neutral name; unknown names are left out.

    Args:
        tensors: shapes by name, without wrapper prefixes.
    """
    rules = (*_body_rules(tensors), *_HEADS, *_predictor_rules(tensors), *_detr_rules(tensors))
    compiled = [(re.compile(pattern), make) for pattern, make in rules]
    found: dict[str, str] = {}
    parts: dict[str, _Part] = {}
    for name in tensors:
        made = _translate(name, compiled)
        if isinstance(made, _Part):
            parts[name] = made
        elif made is not None:
            found[name] = made
    found |= _count_parts(parts, tensors)
    return _without_doubles(found)


def _translate(
    name: str, rules: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str | _Part]]]
) -> str | _Part | None:
    if len(name) > _MAX_NAME:
        return None
    for pattern, make in rules:
        match = pattern.fullmatch(name)
        if match:
            return make(match)
    return None


def _without_doubles(found: dict[str, str]) -> dict[str, str]:
    """Drop neutral names that two tensors claim (a file with two backbones)."""
    claims: dict[str, int] = {}
    for neutral in found.values():
        claims[neutral] = claims.get(neutral, 0) + 1
    return {name: neutral for name, neutral in found.items() if claims[neutral] == 1}


def shows_body(tensors: Iterable[str]) -> bool:
    """Whether any name is one by which a known body layout is told."""
    return bool(_layout(tensors)[0])


def shows_detectron2(tensors: Iterable[str]) -> bool:
    """Whether a ResNet is named as detectron2 and Caffe2 name it."""
    return _layout(tensors)[0] in (_DETECTRON2, _CAFFE2_RESNET)


def _body_rules(tensors: Iterable[str]) -> tuple[Rule, ...]:
    """Rules of the one body layout that the names show, for the place where it lies."""
    rules, root = _layout(tensors)
    return tuple((pattern.replace(_ROOT, root), make) for pattern, make in rules)


def _layout(tensors: Iterable[str]) -> tuple[tuple[Rule, ...], str]:
    """The body layout by a name that only it has, and a pattern of what stands before the body.

    Whatever a project puts before it (``backbone.0.body.``, ``backbone.conv_encoder.model.``) is
    read off that name.
    """
    names = [name for name in tensors if len(name) <= _MAX_NAME]
    for mark, rules in _BODIES:
        pattern = re.compile(mark)
        marks = [(name, match) for name in names if (match := pattern.search(name))]
        if marks:
            roots = {name[: match.start()] + (match[1] or "") for name, match in marks}
            one = roots.pop().removesuffix("encoder.") if len(roots) == 1 else None
            return rules, _USUAL_ROOT if one is None else re.escape(one)
    return (), ""


def _predictor_rules(tensors: Iterable[str]) -> tuple[Rule, ...]:
    """Class and box predictors, by where their frameworks put the background class."""
    last = any(".rpn_head." in f".{name}" for name in tensors)
    order = "background_last" if last else "background_first"
    return (
        (
            rf"(?:.*\.)?box_predictor\.(cls_score|bbox_pred)\.{_PARAM}",
            lambda m: f"box.{m[1]}.{order}.{m[2]}",
        ),
        (rf"(?:.*\.)?bbox_head\.fc_cls\.{_PARAM}", lambda m: f"box.cls_score.{order}.{m[1]}"),
        (rf"(?:.*\.)?bbox_head\.fc_reg\.{_PARAM}", lambda m: f"box.bbox_pred.{order}.{m[1]}"),
    )


def _count_parts(parts: Mapping[str, _Part], tensors: Mapping[str, Shape]) -> dict[str, str]:
    """Blocks numbered from 1, and the convolutions and norms within each likewise.

    None where a block is missing: every number behind it would be another file's neighbour.
    """
    if not _without_gaps({part.block for part in parts.values()}):
        return {}
    blocks = {key: i for i, key in enumerate(sorted({p.block for p in parts.values()}), start=1)}
    settled = {name: _settle(part, name, tensors) for name, part in parts.items()}
    ranks: dict[tuple[tuple[int, ...], str], list[tuple[int, ...]]] = {}
    for part in settled.values():
        seen = ranks.setdefault((part.block, part.kind), [])
        if part.rank not in seen:
            seen.append(part.rank)
    for seen in ranks.values():
        seen.sort()
    return {
        name: f"body.block{blocks[part.block]}.{part.kind}"
        f"{ranks[part.block, part.kind].index(part.rank) + 1}.{part.param}"
        for name, part in settled.items()
    }


def _without_gaps(blocks: set[tuple[int, ...]]) -> bool:
    """Whether stages, and the blocks within each, have all numbers from the first one on.

    The first block of a network may be 0 or 1, that of a stage is 0.
    """
    stages: dict[tuple[int, ...], set[int]] = {}
    for *stage, block in blocks:
        stages.setdefault(tuple(stage), set()).add(block)
    runs = [*stages.values(), {stage[0] for stage in stages if stage}]
    whole = all(max(run) - min(run) < len(run) for run in runs if run)
    return whole and all(min(found) == 0 for stage, found in stages.items() if stage)


def _settle(part: _Part, name: str, tensors: Mapping[str, Shape]) -> _Part:
    """Tell convolution from BatchNorm by the weight's dimensions where only a number names it."""
    if part.kind == "timm":
        return _settle_timm(part, name, tensors)
    if part.kind != "?":
        return part
    weight = tensors.get(name.rpartition(".")[0] + ".weight", ())
    kind = "conv" if len(weight) > 1 else "bn"
    return _Part(part.block, kind, part.rank, part.param)


def _settle_timm(part: _Part, name: str, tensors: Mapping[str, Shape]) -> _Part:
    """In timm conv_pw is the projection where a block has no expansion, else the expansion."""
    expands = re.sub(r"conv_(pw|dw|pwl)\.\w+$", "conv_pwl.weight", name) in tensors
    last = part.rank == (_TIMM_RANK["conv_pw"],) and not expands
    return _Part(part.block, "conv", (3,) if last else part.rank, part.param)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text))


# Heads, in every framework that has them


def _fpn(match: re.Match[str]) -> str:
    return f"fpn.{match[1]}.{match[2]}.{match[3]}"


_HEADS: Final[tuple[Rule, ...]] = (
    # torchvision (before 0.13 without the second number)
    (rf".*fpn\.(inner|layer)_blocks\.(\d)(?:\.0)?\.{_PARAM}", _fpn),
    (rf"(?:.*\.)?rpn\.head\.conv(?:\.0\.0)?\.{_PARAM}", lambda m: f"rpn.conv.{m[1]}"),
    (rf"(?:.*\.)?rpn\.head\.(cls_logits|bbox_pred)\.{_PARAM}", lambda m: f"rpn.{m[1]}.{m[2]}"),
    (rf"(?:.*\.)?roi_heads\.box_head\.(fc6|fc7)\.{_PARAM}", lambda m: f"box.{m[1]}.{m[2]}"),
    # detectron2
    (rf"(?:.*\.)?fpn_lateral(\d)\.{_PARAM}", lambda m: f"fpn.inner.{int(m[1]) - 2}.{m[2]}"),
    (rf"(?:.*\.)?fpn_output(\d)\.{_PARAM}", lambda m: f"fpn.layer.{int(m[1]) - 2}.{m[2]}"),
    (rf"(?:.*\.)?rpn_head\.conv\.{_PARAM}", lambda m: f"rpn.conv.{m[1]}"),
    (rf"(?:.*\.)?rpn_head\.objectness_logits\.{_PARAM}", lambda m: f"rpn.cls_logits.{m[1]}"),
    (rf"(?:.*\.)?rpn_head\.anchor_deltas\.{_PARAM}", lambda m: f"rpn.bbox_pred.{m[1]}"),
    (rf"(?:.*\.)?box_head\.fc([12])\.{_PARAM}", lambda m: f"box.fc{int(m[1]) + 5}.{m[2]}"),
    # mmdetection
    (rf"(?:.*\.)?lateral_convs\.(\d+)\.conv\.{_PARAM}", lambda m: f"fpn.inner.{m[1]}.{m[2]}"),
    (rf"(?:.*\.)?fpn_convs\.(\d+)\.conv\.{_PARAM}", lambda m: f"fpn.layer.{m[1]}.{m[2]}"),
    (rf"(?:.*\.)?rpn_head\.rpn_conv\.{_PARAM}", lambda m: f"rpn.conv.{m[1]}"),
    (rf"(?:.*\.)?rpn_head\.rpn_cls\.{_PARAM}", lambda m: f"rpn.cls_logits.{m[1]}"),
    (rf"(?:.*\.)?rpn_head\.rpn_reg\.{_PARAM}", lambda m: f"rpn.bbox_pred.{m[1]}"),
    (rf"(?:.*\.)?shared_fcs\.([01])\.{_PARAM}", lambda m: f"box.fc{int(m[1]) + 6}.{m[2]}"),
)  # fmt: skip

# DETR, of its authors and in Hugging Face, where attention weights are split and so have no
# counterpart. Both put "no object" last.


def _detr_rules(tensors: Iterable[str]) -> tuple[Rule, ...]:
    """Transformer and heads of a DETR; no rules for other networks with encoders and decoders."""
    queries = ("query_embed.weight", "query_position_embeddings.weight")
    return _DETR if any(name.endswith(queries) for name in tensors) else ()


def _detr_layer(match: re.Match[str]) -> str:
    part, layer, module, param = match.groups()
    plain = _DETR_MODULES.get(module, module)
    if module == "final_layer_norm":
        plain = "norm2" if part == "encoder" else "norm3"
    return f"detr.{part}.{layer}.{plain}.{param}"


_DETR_MODULES: Final = {
    "fc1": "linear1", "fc2": "linear2", "encoder_attn.out_proj": "multihead_attn.out_proj",
    "self_attn_layer_norm": "norm1", "encoder_attn_layer_norm": "norm2",
    "mlp.fc1": "linear1", "mlp.fc2": "linear2", "self_attn.o_proj": "self_attn.out_proj",
    "encoder_attn.o_proj": "multihead_attn.out_proj",
}  # fmt: skip
_DETR: Final[tuple[Rule, ...]] = (
    (
        rf"(?:.*\.)?(encoder|decoder)\.layers\.(\d+)\.((?:self|multihead|encoder)_attn\.o(?:ut)?_proj|"
        rf"linear[12]|norm[123]|(?:mlp\.)?fc[12]|\w+_layer_norm)\.{_PARAM}",
        _detr_layer,
    ),
    (rf"(?:.*\.)?decoder\.(?:layer)?norm\.{_PARAM}", lambda m: f"detr.decoder.norm.{m[1]}"),
    (rf"(?:.*\.)?input_proj(?:ection)?\.{_PARAM}", lambda m: f"detr.input.{m[1]}"),
    (r"(?:.*\.)?query_(?:embed|position_embeddings)\.weight", lambda _: "detr.queries"),
    (rf"(?:.*\.)?class_(?:embed|labels_classifier)\.{_PARAM}", lambda m: f"detr.class.{m[1]}"),
    (
        rf"(?:.*\.)?bbox_(?:embed|predictor)\.layers\.(\d)\.{_PARAM}",
        lambda m: f"detr.box.{m[1]}.{m[2]}",
    ),
)

# ResNets


def _detectron2_block(match: re.Match[str]) -> str:
    stage, block, module, param = match.groups()
    conv, _, norm = module.partition(".")
    if conv == "shortcut":
        place = "downsample.1" if norm else "downsample.0"
    else:
        place = conv.replace("conv", "bn") if norm else conv
    return f"body.layer{int(stage) - 1}.{block}.{place}.{param}"


def _caffe2_block(match: re.Match[str]) -> str:
    stage, block, branch, suffix = match.groups()
    number = "_abc".find(branch[1:])
    conv, norm = (
        ("downsample.0", "downsample.1") if branch == "1" else (f"conv{number}", f"bn{number}")
    )
    module = conv if suffix == "w" else norm
    return f"body.layer{int(stage) - 1}.{block}.{module}.{_CAFFE2[suffix]}"


_CAFFE2 = {
    "w": "weight", "bn_s": "weight", "bn_b": "bias", "bn_rm": "running_mean",
    "bn_riv": "running_var",
}  # fmt: skip


def _hf_block(match: re.Match[str]) -> str:
    stage, block, conv, kind, param = match.groups()
    return f"body.layer{int(stage) + 1}.{block}.{_NORM[kind]}{int(conv) + 1}.{param}"


_RESNET: Final[tuple[Rule, ...]] = (
    (rf"{_ROOT}(conv1|bn1|fc)\.{_PARAM}", lambda m: f"body.{m[1]}.{m[2]}"),
    (
        rf"{_ROOT}(layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.[01]))\.{_PARAM}",
        lambda m: f"body.{m[1]}.{m[2]}",
    ),
)
_DETECTRON2: Final[tuple[Rule, ...]] = (
    (rf"{_ROOT}stem\.conv1\.{_PARAM}", lambda m: f"body.conv1.{m[1]}"),
    (rf"{_ROOT}stem\.conv1\.norm\.{_PARAM}", lambda m: f"body.bn1.{m[1]}"),
    (
        rf"(?:{_ROOT}|roi_heads\.)res([2-5])\.(\d+)\.((?:conv[123]|shortcut)(?:\.norm)?)\.{_PARAM}",
        _detectron2_block,
    ),
)
_CAFFE2_RESNET: Final[tuple[Rule, ...]] = (
    (r"conv1_w", lambda _: "body.conv1.weight"),
    (r"res_conv1_(bn_\w+)", lambda m: f"body.bn1.{_CAFFE2[m[1]]}"),
    (r"res([2-5])_(\d+)_branch(1|2[abc])_(w|bn_s|bn_b|bn_rm|bn_riv)", _caffe2_block),
)
_HF_RESNET: Final[tuple[Rule, ...]] = (
    (
        rf"{_ROOT}embedder\.embedder\.(convolution|normalization)\.{_PARAM}",
        lambda m: f"body.{_NORM[m[1]]}1.{m[2]}",
    ),
    (
        rf"{_ROOT}(?:encoder\.)?stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.(convolution|normalization)\.{_PARAM}",
        _hf_block,
    ),
    (
        rf"{_ROOT}(?:encoder\.)?stages\.(\d)\.layers\.(\d+)\.shortcut\.(convolution|normalization)\.{_PARAM}",
        lambda m: (
            f"body.layer{int(m[1]) + 1}.{m[2]}.downsample.{int(m[3] == 'normalization')}.{m[4]}"
        ),
    ),
    (rf"classifier\.1\.{_PARAM}", lambda m: f"body.fc.{m[1]}"),
)

# Networks of inverted residual blocks (MobileNetV2, V3, EfficientNet)

_ROLES: Final = {
    "_expand_conv": 0, "_depthwise_conv": 1, "_project_conv": 2,
    "expand_1x1": 0, "conv_3x3": 1, "reduce_1x1": 2,
    "expand_conv": 0, "depthwise_conv": 1, "linear_conv": 2,
    "_se_reduce": 0, "_se_expand": 1, "conv_reduce": 0, "conv_expand": 1, "fc1": 0, "fc2": 1,
}  # fmt: skip


def _end(name: str) -> Callable[[re.Match[str]], str]:
    return lambda m: f"body.{name}.{m[1]}"


def _stem_or_last(match: re.Match[str]) -> str:
    place = "stem" if match[1] == "0" else "last"
    return f"body.{place}.{('conv', 'bn')[int(match[2])]}.{match[3]}"


def _torchvision_block(match: re.Match[str]) -> _Part:
    block, path, param = match.groups()
    if path.endswith(("fc1", "fc2")):
        return _Part((int(block),), "se", (_ROLES[path[-3:]],), param)
    return _Part((int(block),), "?", _numbers(path), param)


def _timm_block(match: re.Match[str]) -> _Part:
    stage, block, module, param = match.groups()
    where = int(stage), int(block)
    if module.startswith("se."):
        return _Part(where, "se", (_ROLES[module[3:]],), param)
    if module.startswith("bn"):
        return _Part(where, "bn", (int(module[2:]),), param)
    return _Part(where, "timm", (_TIMM_RANK[module],), param)


_TIMM_RANK: Final = {"conv_pw": 0, "conv_dw": 1, "conv_pwl": 2}


def _flat_block(match: re.Match[str]) -> _Part:
    block, module, param = match.groups()
    if "_se_" in module:
        return _Part((int(block),), "se", (_ROLES[module],), param)
    if module.startswith("_bn"):
        return _Part((int(block),), "bn", (int(module[3:]),), param)
    return _Part((int(block),), "conv", (_ROLES[module],), param)


def _hf_mobile_block(match: re.Match[str]) -> _Part:
    block, module, kind, param = match.groups()
    return _Part((int(block) + 1,), _NORM[kind], (_ROLES[module],), param)


def _hf_first_block(match: re.Match[str]) -> _Part:
    module, kind, param = match.groups()
    return _Part((0,), _NORM[kind], (_ROLES[module],), param)


def _mm_block(match: re.Match[str]) -> _Part:
    stage, block, module, kind, param = match.groups()
    return _Part((int(stage), int(block)), kind, (_ROLES[module],), param)


_TORCHVISION_MOBILE: Final[tuple[Rule, ...]] = (
    (rf"(?:.*\.)?(?:features|body)\.(\d+)\.([01])\.{_PARAM}", _stem_or_last),
    (rf"(?:.*\.)?(?:features|body)\.(\d+)\.(?:conv|block)\.([\w.]+)\.{_PARAM}", _torchvision_block),
    (rf"classifier\.1\.{_PARAM}", _end("fc")),
)
_TIMM_MOBILE: Final[tuple[Rule, ...]] = (
    (rf"{_ROOT}conv_stem\.{_PARAM}", _end("stem.conv")),
    (rf"{_ROOT}bn1\.{_PARAM}", _end("stem.bn")),
    (
        rf"{_ROOT}blocks\.(\d)\.(\d+)\.(conv_pwl?|conv_dw|bn[123]|se\.conv_(?:reduce|expand))\.{_PARAM}",
        _timm_block,
    ),
    (rf"{_ROOT}conv_head\.{_PARAM}", _end("last.conv")),
    (rf"{_ROOT}bn2\.{_PARAM}", _end("last.bn")),
    (rf"classifier\.{_PARAM}", _end("fc")),
)
_TIMM_V3: Final[tuple[Rule, ...]] = (  # its last convolution is block 6, its head has no norm
    (rf"{_ROOT}blocks\.6\.0\.conv\.{_PARAM}", _end("last.conv")),
    (rf"{_ROOT}blocks\.6\.0\.bn1\.{_PARAM}", _end("last.bn")),
    (rf"{_ROOT}conv_head\.{_PARAM}", _end("head")),
    *_TIMM_MOBILE,
)
_FLAT_MOBILE: Final[tuple[Rule, ...]] = (
    (rf"{_ROOT}_conv_stem\.{_PARAM}", _end("stem.conv")),
    (rf"{_ROOT}_bn0\.{_PARAM}", _end("stem.bn")),
    (rf"{_ROOT}_blocks\.(\d+)\.(_\w+)\.{_PARAM}", _flat_block),
    (rf"{_ROOT}_conv_head\.{_PARAM}", _end("last.conv")),
    (rf"{_ROOT}_bn1\.{_PARAM}", _end("last.bn")),
    (rf"{_ROOT}_fc\.{_PARAM}", _end("fc")),
)
_HF_MOBILE: Final[tuple[Rule, ...]] = (
    (
        rf"{_ROOT}conv_stem\.first_conv\.(convolution|normalization)\.{_PARAM}",
        lambda m: f"body.stem.{_NORM[m[1]]}.{m[2]}",
    ),
    (
        rf"{_ROOT}conv_stem\.(conv_3x3|reduce_1x1)\.(convolution|normalization)\.{_PARAM}",
        _hf_first_block,
    ),
    (
        rf"{_ROOT}layer\.(\d+)\.(\w+)\.(convolution|normalization)\.{_PARAM}",
        _hf_mobile_block,
    ),
    (
        rf"{_ROOT}conv_1x1\.(convolution|normalization)\.{_PARAM}",
        lambda m: f"body.last.{_NORM[m[1]]}.{m[2]}",
    ),
    (rf"classifier\.{_PARAM}", _end("fc")),
)
_MM_MOBILE: Final[tuple[Rule, ...]] = (
    (rf"{_ROOT}conv1\.(conv|bn)\.{_PARAM}", lambda m: f"body.stem.{m[1]}.{m[2]}"),
    (rf"{_ROOT}conv2\.(conv|bn)\.{_PARAM}", lambda m: f"body.last.{m[1]}.{m[2]}"),
    (
        rf"{_ROOT}layer(\d)\.(\d+)\.(expand_conv|depthwise_conv|linear_conv)\.(conv|bn)\.{_PARAM}",
        _mm_block,
    ),
)
# A name that only this layout has, and its rules; the first that fits is taken.
_BODIES: Final[tuple[tuple[str, tuple[Rule, ...]], ...]] = (
    (r"(^|\.)layer1\.0\.conv1\.weight$", _RESNET),
    (r"(^|\.)res2\.0\.conv1\.weight$", _DETECTRON2),
    (r"^()res2_0_branch2a_w$", _CAFFE2_RESNET),
    (r"(^|\.)stages\.0\.layers\.0\.layer\.0\.convolution\.weight$", _HF_RESNET),
    (r"(^|\.)layer1\.0\.depthwise_conv\.conv\.weight$", _MM_MOBILE),
    (r"(^|\.)conv_stem\.first_conv\.convolution\.weight$", _HF_MOBILE),
    (r"(^|\.)_blocks\.0\._depthwise_conv\.weight$", _FLAT_MOBILE),
    (r"(^|\.)blocks\.6\.0\.conv\.weight$", _TIMM_V3),
    (r"(^|\.)blocks\.0\.0\.conv_dw\.weight$", _TIMM_MOBILE),
    (r"(^|\.)(features|body)\.1\.(conv|block)\.", _TORCHVISION_MOBILE),
)
