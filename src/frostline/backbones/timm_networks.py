"""timm's convolutional networks as backbones: under their own names, with their own layer table.

A network is looked at before it is built: on torch's ``meta`` device, where tensors have shapes
and no values, it costs a fraction of a second whatever its size.
"""

import contextlib
import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.backbones.known import KnownBackbone, Tap
from frostline.config import ModelConfig, Normalisation
from frostline.depth import TIMM_PREFIX, LayerTable
from frostline.errors import ConfigError, PlanError
from frostline.extras import load_extra
from frostline.hubs import timm_config
from frostline.observing import observe_table
from frostline.seeds import derived_seed

__all__ = ["TimmBackbone", "build_timm_body", "known_in_timm", "timm_backbone"]

_STRIDES = (8, 16, 32)  # what every preset joins; stock adds stride 4
_EXAMPLE = (1, 3, 256, 320)  # not square, so that a network of one fixed size shows itself
_WRAPPERS = ("body", "model")  # timm's extractors that keep the whole network in one child
_MAPS = 4  # dimensions of a feature map: images, channels, rows, columns


@dataclasses.dataclass(frozen=True, slots=True)
class TimmBackbone:
    """What must be known of a network before it is built.

    Attributes:
        model: timm's name.
        table: its convolutions up to stride 32, in forward order. Stages end where timm taps the
            network. Tensors that belong to neither a convolution nor a BatchNorm (linear layers,
            layer norms, scales) go with the convolution after which they are used, so that depth
            k freezes everything up to the next convolution.
        taps: by stride in px; the name of one is its number among timm's feature maps.
        eps: of its BatchNorms; None where there are none or several values.
        normalisation: of the pixels that timm's default weights want.
        paths: module names in timm's extractor -> names in the whole network, which are ours.
    """

    model: str
    table: LayerTable
    taps: Mapping[int, Tap]
    eps: float | None
    normalisation: Normalisation
    paths: Mapping[str, str]


class _TimmBody(nn.Module):
    """timm's extractor, its modules under the names that they have in the whole network.

    timm renames what it cuts out (``stages.0`` becomes ``stages_0``), but its weight files have
    the names of the whole network. The extractor itself is no submodule: every tensor is in it
    under another name.

    Output of a forward pass: the feature maps, float (images, channels, rows, columns), under
    ``"0"``, ``"1"``, ... from the smallest stride.
    """

    def __init__(self, extractor: nn.Module, paths: Mapping[str, str]) -> None:
        super().__init__()
        for inner, path in paths.items():
            _register(self, path, extractor.get_submodule(inner))
        self.__dict__["_extractor"] = extractor

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        maps = self.__dict__["_extractor"](images)
        return OrderedDict((str(i), features) for i, features in enumerate(maps))

    def train(self, mode: bool = True) -> "_TimmBody":
        self.__dict__["_extractor"].train(mode)
        return super().train(mode)


def known_in_timm(config: ModelConfig) -> KnownBackbone:
    """What is known of a network of timm, as a configuration asks for it.

    Raises:
        ConfigError: timm does not have it, or not with the feature maps it must have.
        DependencyError: timm is not installed.
    """
    found = timm_backbone(config.backbone.removeprefix(TIMM_PREFIX))

    def build(taps: Sequence[Tap], seed: int) -> nn.Module:
        own_seed = derived_seed(seed, found.model)
        return build_timm_body(found, taps, eps=config.norm_eps, seed=own_seed)

    return KnownBackbone(
        table=found.table,
        eps=found.eps if config.norm_eps is None else config.norm_eps,
        pixels=found.normalisation,
        taps=tuple(found.taps[stride] for stride in sorted(found.taps)),
        build=build,
        drawn=True,
        rewritten=False,
    )


@functools.lru_cache(maxsize=8)
def timm_backbone(model: str) -> TimmBackbone:
    """Look at a network of timm without building it.

    Args:
        model: timm's name, with or without a tag.

    Raises:
        ConfigError: timm has no such model, or it is none of the networks that depth is defined
            for: convolutional, of any image size, with feature maps of strides 8, 16 and 32.
        DependencyError: timm is not installed.
    """
    config = timm_config(model)
    taps = _taps(model)
    indices = _indices(taps[stride] for stride in _STRIDES)
    with torch.device("meta"):
        extractor = _create(model, features_only=True, out_indices=indices)
        paths = _paths(model, extractor, _create(model))
    body = _TimmBody(extractor, paths)
    table = _observe(model, body, [taps[stride].channels for stride in _STRIDES])
    stages = [info["module"] for info in extractor.feature_info.info[: indices[-1] + 1]]
    eps = {module.eps for module in body.modules() if isinstance(module, _BatchNorm)}
    return TimmBackbone(
        model,
        _with_stages(model, _Met(body), table, stages),
        taps,
        eps.pop() if len(eps) == 1 else None,
        Normalisation(mean=config.mean, std=config.std),
        paths,
    )


def build_timm_body(
    backbone: TimmBackbone, taps: Sequence[Tap], *, eps: float | None, seed: int
) -> nn.Module:
    """Build a network with timm's own random values, drawn from one seeded generator.

    Args:
        backbone: what ``timm_backbone`` says of it.
        taps: the feature maps to give, by ascending stride.
        eps: of every BatchNorm; None keeps timm's.
        seed: of the random values, >= 0; torch's global generator is left as it was.

    Returns:
        A module from images, float32 (N, 3, H, W) and normalised, to a dict of feature maps.
        Its tensors have timm's names, and BatchNorm stays timm's own: what a freeze plan fixes is
        the function of the pretrained network in eval mode.
    """
    indices = _indices(taps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extractor = _create(backbone.model, features_only=True, out_indices=indices)
    for module in extractor.modules():
        if isinstance(module, _BatchNorm) and eps is not None:
            module.eps = eps
    return _TimmBody(extractor, backbone.paths)


def _create(model: str, **options: Any) -> Any:
    timm = load_extra("timm", "timm")
    try:
        return timm.create_model(model, pretrained=False, **options)
    except Exception as error:  # each network of timm has its own way to say that it cannot
        raise _unusable(model, "cannot be built as a feature extractor", error) from None


def _unusable(model: str, problem: str, error: BaseException | None = None) -> ConfigError:
    reason = " ".join(str(error).split()) or type(error).__name__
    cause = "" if error is None else f" ({reason})"
    return ConfigError(
        f"backbone timm:{model} {problem}{cause}: expected a convolutional network for images of "
        "any size with feature maps of strides 8, 16 and 32, such as resnet50, convnext_tiny or "
        "tf_efficientnet_lite0"
    )


def _taps(model: str) -> dict[int, Tap]:
    """The last feature map of each stride."""
    with torch.device("meta"):
        info = _create(model, features_only=True).feature_info.info
    taps = {
        row["reduction"]: Tap(row["reduction"], str(i), row["num_chs"])
        for i, row in enumerate(info)
    }
    if not set(_STRIDES) <= set(taps):
        raise _unusable(model, f"has feature maps of strides {', '.join(map(str, sorted(taps)))}")
    return taps


def _indices(taps: Iterable[Tap]) -> tuple[int, ...]:
    """Numbers of timm's feature maps."""
    return tuple(int(tap.name) for tap in taps)


def _paths(model: str, extractor: nn.Module, whole: nn.Module) -> dict[str, str]:
    """Names of the extractor's modules in the whole network; every tensor must be among them."""
    known = {name for name, _ in whole.named_modules()}
    paths: dict[str, str] = {}
    for key, child in extractor.named_children():
        path = _original(key, known)
        if path is None and key in _WRAPPERS:
            inner = ((f"{key}.{name}", name) for name, _ in child.named_children())
            paths |= {name: path for name, path in inner if path in known}
        elif path is not None:
            paths[key] = path
    body = _TimmBody(extractor, paths)
    if len(body.state_dict()) != len(extractor.state_dict()) or not (
        _shapes(body).items() <= _shapes(whole).items()
    ):
        raise _unusable(model, "has tensors whose names in its weight files are not known")
    return paths


def _original(key: str, known: set[str]) -> str | None:
    """``stages_0`` was ``stages.0``, and ``conv_stem`` was itself."""
    places = [i for i, letter in enumerate(key) if letter == "_"]
    candidates = [key, *(f"{key[:i]}.{key[i + 1 :]}" for i in places)]
    return next((name for name in candidates if name in known), None)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _register(root: nn.Module, path: str, module: nn.Module) -> None:
    """Make ``module`` the submodule ``path`` of ``root``, with what must stand in between."""
    parent = root
    *between, last = path.split(".")
    for name in between:
        if name not in parent._modules:
            parent.add_module(name, nn.Module())
        parent = parent.get_submodule(name)
    parent.add_module(last, module)


def _observe(model: str, body: nn.Module, channels: Sequence[int]) -> LayerTable:
    """The table of one forward pass, and whether the maps are what the FPN expects."""
    example = torch.zeros(_EXAMPLE, device="meta")
    try:
        table = observe_table(
            body,
            example,
            architecture=f"{TIMM_PREFIX}{model}",
            backbone=True,
            unit="convolution",
        )
    except PlanError as error:
        raise _unusable(
            model, f"does not run on images of {_EXAMPLE[3]}x{_EXAMPLE[2]} px", error.__cause__
        ) from None
    if table.unused:
        raise _unusable(model, f"has a convolution that no forward pass meets ({table.unused[0]})")
    with torch.no_grad():
        maps = list(body.eval()(example).values())
    if [tuple(x.shape[1:2]) for x in maps if x.ndim == _MAPS] != [(n,) for n in channels]:
        shapes = ", ".join(str(tuple(x.shape)) for x in maps)
        raise _unusable(model, f"gives {shapes} where channels come second")
    return table


class _Met:
    """How many convolutions a forward pass had met when it left each module.

    Attributes:
        exits: module name -> number of convolutions, for the modules that were called.
    """

    def __init__(self, body: nn.Module) -> None:
        self.body = body
        self.exits: dict[str, int] = {}
        self._convolutions: set[nn.Module] = set()
        with self._hooks(), torch.no_grad():
            body.eval()(torch.zeros(_EXAMPLE, device="meta"))

    def at(self, name: str) -> int:
        """Convolutions met up to the end of a module, or of what calls into it."""
        while name not in self.exits and name:
            name = name.rpartition(".")[0]
        return max(1, self.exits[name])

    @contextlib.contextmanager
    def _hooks(self) -> Iterator[None]:
        handles = [
            module.register_forward_hook(self._leaver(name))
            for name, module in self.body.named_modules()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leaver(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, _inputs: object, _output: object) -> None:
            if isinstance(module, nn.modules.conv._ConvNd):
                self._convolutions.add(module)
            self.exits[name] = len(self._convolutions)

        return leave


def _with_stages(model: str, met: _Met, table: LayerTable, stages: Sequence[str]) -> LayerTable:
    """The table with timm's stages, and with the tensors that are nobody's yet."""
    given = {name for x in table.layers for name in (*(x.tensors or ()), *(x.norm_tensors or ()))}
    companions: dict[int, list[str]] = {}
    for name in met.body.state_dict():
        if name not in given:
            companions.setdefault(met.at(name.rpartition(".")[0]), []).append(name)
    ends = {met.exits[stage]: stage for stage in stages if stage and stage in met.exits}
    if min(ends, default=0) == len(table):
        raise _unusable(model, "has no convolution behind its stem, and depth counts convolutions")
    layers = tuple(
        dataclasses.replace(
            layer,
            stage=_stage(layer.index, layer.name, ends),
            tensors=(*(layer.tensors or ()), *companions.get(layer.index, ())),
        )
        for layer in table.layers
    )
    return dataclasses.replace(table, layers=layers)


def _stage(index: int, name: str, ends: Mapping[int, str]) -> str:
    """The stage that a forward pass ends next; what precedes the first one is the stem."""
    later = sorted(end for end in ends if end >= index)
    if not later:
        return "last"
    stage = ends[later[0]]
    inside = name == stage or name.startswith(f"{stage}.")
    return "stem" if later[0] == min(ends) and not inside else stage
