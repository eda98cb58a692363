"""Networks that freeze plans are tried on: all of torchvision's, and a spread of timm's."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tests.autograd_lists import any_loss, call

LARGE = 60_000_000  # parameters beyond which a network is looked at on the meta device only

_TIMM = (
    *("beit_base_patch16_224", "botnet26t_256", "cait_xxs24_224", "coatnet_nano_rw_224"),
    *("convit_tiny", "convnext_atto", "convnextv2_atto", "crossvit_tiny_240", "cspresnet50"),
    *("davit_tiny", "deit_tiny_distilled_patch16_224", "dla34", "ecaresnet26t"),
    *("edgenext_xx_small", "efficientvit_b0", "fastvit_t8", "focalnet_tiny_srf", "gcvit_xxtiny"),
    *("ghostnet_100", "hardcorenas_a", "hiera_tiny_224", "hrnet_w18_small", "lambda_resnet26t"),
    *("lcnet_050", "levit_128s", "mambaout_femto", "mobileone_s0", "mobilevit_xs"),
    *("mobilevitv2_050", "nf_resnet50", "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "regnety_002"),
    *("repvgg_a0", "resnest14d", "resnetv2_50", "rexnet_100", "seresnet50", "skresnet18"),
    *("starnet_s1", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "tresnet_m"),
    *("twins_svt_small", "visformer_tiny", "vit_tiny_patch16_224", "vovnet39a", "xception41"),
    "xcit_tiny_12_p16_224",
)
# Of every kind one: dense and residual sums, squeeze-excitation, scales, tokens, windows, a hybrid,
# parallel branches, segmentation, detection, and networks of which only the list is looked at.
_FEW = (
    *("torchvision:convnext_tiny", "torchvision:densenet121", "torchvision:mobilenet_v3_small"),
    *("torchvision:swin_v2_t", "torchvision:vit_b_16", "timm:coatnet_nano_rw_224"),
    *("torchvision:lraspp_mobilenet_v3_large", "torchvision:ssdlite320_mobilenet_v3_large"),
    *("torchvision:regnet_y_128gf", "timm:levit_128s", "timm:mobileone_s0", "timm:convnextv2_atto"),
)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, what it is called with, and a loss to train it by.

    Attributes:
        name: library and builder.
        model: on the CPU; on the meta device where it is large.
        example: what its forward pass is observed on.
        loss: of the model in train mode; None where it has no values.
    """

    name: str
    model: nn.Module
    example: Any
    loss: Callable[[], Tensor] | None


def names() -> Sequence[str]:
    """Twelve, or all of them where FROSTLINE_FREEZING=all."""
    if os.environ.get("FROSTLINE_FREEZING") != "all":
        return _FEW
    kinds = ("", ".segmentation", ".detection")
    modules = [importlib.import_module(f"torchvision.models{kind}") for kind in kinds]
    ours = [f"torchvision:{n}" for m in modules for n in torchvision.models.list_models(module=m)]
    return [*ours, *(f"timm:{name}" for name in _TIMM)]


def network(name: str) -> Network:
    library, _, builder = name.partition(":")
    torch.manual_seed(0)
    if library == "torchvision" and builder in torchvision.models.list_models(
        module=torchvision.models.detection
    ):
        return _detector(name, builder)
    options: dict[str, Any] = {}
    if library == "torchvision" and _segments(builder):
        options = {"weights_backbone": None}
    elif builder == "inception_v3":  # its auxiliary head wants large images
        options = {"aux_logits": False, "init_weights": False}
    build = torchvision.models.get_model if library == "torchvision" else timm.create_model
    with _MetaWeights():
        model = build(builder, **options).to("meta")
    size = _size(model, builder)
    if sum(parameter.numel() for parameter in model.parameters()) > LARGE:
        return Network(name, model, torch.zeros(2, 3, size, size), None)
    model = build(builder, **options)
    images = torch.rand(2, 3, size, size)
    return Network(name, model, images, lambda: any_loss(call(model, images)))


def _segments(builder: str) -> bool:
    return builder in torchvision.models.list_models(module=torchvision.models.segmentation)


def _size(model: nn.Module, builder: str) -> int:
    """Small, where the network takes any size."""
    published: Mapping[str, Any] = getattr(model, "pretrained_cfg", {})
    if published.get("fixed_input_size"):
        return int(published["input_size"][1])
    if builder.startswith(("vit_", "maxvit")):
        return 224
    return 96 if published or builder.startswith("inception") else 64


def _detector(name: str, builder: str) -> Network:
    few = {"box_detections_per_img": 2, "rpn_post_nms_top_n_test": 4} if "rcnn" in builder else {}
    model = torchvision.models.get_model(builder, weights=None, weights_backbone=None, **few)
    side = 320 if builder.startswith("ssd") else 64
    if not builder.startswith("ssd"):
        model.transform.min_size, model.transform.max_size = (side,), side
    images = [torch.rand(3, side, side) for _ in range(2)]
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 40.0, 44.0]]),
        "labels": torch.ones(1, dtype=torch.int64),
        "masks": torch.ones(1, side, side, dtype=torch.uint8),
        "keypoints": torch.full((1, 17, 3), 20.0),
    }
    return Network(name, model, images, lambda: any_loss(model(images, [target, target])))


class _MetaWeights(TorchFunctionMode):
    """Tensors for weights on the meta device; those that builders compute with stay as they are."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones):
            options["device"] = "meta"
        return func(*args, **options)
