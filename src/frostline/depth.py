"""The vocabulary of depth: a backbone's convolutions in forward order, its stages, two numberings.

The tables are written down by rule instead of being read off a built model, so that printing one,
or recognising a checkpoint by its names, needs no deep-learning framework. A contract test holds
every table against a forward pass through the real network.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from frostline.errors import PlanError
from frostline.passage import Passage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BACKBONES",
    "TIMM_PREFIX",
    "ConvLayer",
    "LayerTable",
    "Numbering",
    "Role",
    "Section",
    "Unit",
    "depth_label",
    "depth_of_label",
    "layer_table",
    "published_eps",
]

Numbering = Literal["all", "paper"]
Role = Literal["main", "projection", "squeeze"]
Unit = Literal["convolution", "block", "module"]

_BASIC = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_BOTTLENECK = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}

BACKBONES = (*_BASIC, *_BOTTLENECK, "mobilenet_v2", "mobilenet_v3_large")
_SHOWN = 8  # names in a message
TIMM_PREFIX = "timm:"  # before the name of a network of timm, whose table is read off it


@dataclasses.dataclass(frozen=True, slots=True)
class ConvLayer:
    """One convolution of a backbone.

    Attributes:
        index: position in forward order, from 1.
        name: module name inside the backbone, as in torchvision's detectors (``layer1.0.conv1``).
        norm: module name of the BatchNorm that follows, or None (squeeze-excitation has none).
        stage: the stage it belongs to (``stem``, ``layer1``, ...).
        role: ``main`` path, ``projection`` (a residual block's shortcut) or ``squeeze``.
        shape: weight shape (out channels, in channels per group, kernel height, kernel width; of
            an observed model as it is stored: transposed convolutions have in channels first).
        bias: whether the convolution has a bias tensor of its own.
        tensors: names of its parameters and buffers, where observed on a model; None: weight and
            bias.
        norm_tensors: names of the parameters and buffers of all BatchNorm that go with it, where
            observed on a model; None: those of ``norm``.
    """

    index: int
    name: str
    norm: str | None
    stage: str
    role: Role
    shape: tuple[int, ...]
    bias: bool = False
    tensors: tuple[str, ...] | None = None
    norm_tensors: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assert self.index >= 1, "layers are counted from 1"


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """Layers of a part of a model that depth does not count: its neck, its heads.

    Attributes:
        name: of the part.
        prefix: what stands before its layers' names in the model's state dict (``rpn.``).
        layers: convolutions and linear layers in forward order, counted from 1.
    """

    name: str
    prefix: str
    layers: tuple[ConvLayer, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LayerTable:
    """All convolutions of one backbone, in the order in which a forward pass meets them.

    Attributes:
        architecture: name of the backbone; of an observed model the name of its class.
        layers: what depth counts: the convolutions (of one section, where there are several).
        repeated: names of those that one forward pass calls several times (counted once).
        unused: convolutions of an observed model that the forward pass did not call.
        unit: what one layer is: a ``convolution``; a ``block``, exactly where no convolution
            follows the first attention call (ViT, Swin); a ``module`` of a trainer's own naming.
        section: name of the section that depth counts.
        others: the model's other sections, where the table covers all of it.
        passage: of an observed model, the forward pass that the table was read off.

    Example:
        >>> layer_table("resnet50").stage_ends()
        {'stem': 1, 'layer1': 11, 'layer2': 24, 'layer3': 43, 'layer4': 53}
    """

    architecture: str
    layers: tuple[ConvLayer, ...]
    repeated: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unit: Unit = "convolution"
    section: str = "backbone"
    others: tuple[Section, ...] = ()
    passage: Passage | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        for layers in (self.layers, *(section.layers for section in self.others)):
            indices = [layer.index for layer in layers]
            assert indices == list(range(1, len(indices) + 1)), "forward order has no gaps"

    def __len__(self) -> int:
        return len(self.layers)

    def max_depth(self, numbering: Numbering = "all") -> int:
        """The largest depth k: 53 for ResNet-50 in ``all``, 48 in ``paper``.

        Raises:
            PlanError: the numbering is not defined for this architecture.
        """
        return len(self.layers) if numbering == "all" else len(self._main_path())

    def frozen_layers(self, k: int, numbering: Numbering = "all") -> tuple[ConvLayer, ...]:
        """The convolutions that depth ``k`` does not update, in forward order.

        In ``paper`` numbering only main-path convolutions of bottleneck ResNets count; the stem
        goes with k >= 1 and a block's projection with that block's last main-path convolution.

        Args:
            k: from 0 (nothing frozen) to ``max_depth(numbering)`` (the whole backbone).
            numbering: ``all`` counts every convolution; ``paper`` the main path only.

        Raises:
            PlanError: k is out of range, or the numbering is not defined here.
        """
        deepest = self.max_depth(numbering)
        if not 0 <= k <= deepest:
            raise PlanError(
                f"depth {k} is beyond {self.architecture}: expected 0 to {deepest} in numbering "
                f"'{numbering}'; {self._where_shown()} shows the table"
            )
        if numbering == "all":
            return self.layers[:k]
        return self._paper_prefix(k)

    def stage_ends(self, numbering: Numbering = "all") -> dict[str, int]:
        """Depth at which each stage is completely frozen, by stage name in forward order."""
        counted = self.layers if numbering == "all" else self._main_path()
        ends: dict[str, int] = {"stem": 0} if numbering == "paper" else {}
        for k, layer in enumerate(counted, start=1):
            ends[layer.stage] = k
        return ends

    def used_at(self, k: int, numbering: Numbering = "all") -> frozenset[str] | None:
        """Every tensor that a forward pass uses up to depth ``k``, BatchNorm included.

        That is until just before layer k + 1 is entered; for the deepest, to the end of the
        backbone. Nothing for k = 0; None where no forward pass was observed.

        Raises:
            PlanError: as ``frozen_layers``.
        """
        count = len(self.frozen_layers(k, numbering))
        if self.passage is None:
            return None
        if count == 0:
            return frozenset()
        if count == len(self.layers):
            return self.passage.to_the_end()
        return self.passage.before(self.layers[count].name)

    def used_until(self, stage: str) -> frozenset[str] | None:
        """Every tensor that a forward pass uses until a stage or module returns.

        None where no forward pass was observed, or the stage is no module of the model.

        Raises:
            PlanError: as ``end_of``.
        """
        if self.passage is None or not (name := self._module(stage)):
            return None
        return self.passage.until(name)

    def end_of(self, stage: str) -> int:
        """Depth at which a stage, or any module with layers, is completely frozen.

        Args:
            stage: a stage (``layer2``) or the name of a module (``layer2.0``), or the end of a
                module's name (``layer2`` for ``backbone.body.layer2``) where it is the only one.

        Raises:
            PlanError: no layer has that stage, or a name that begins with it; several modules
                have a name that ends so.
        """
        name = self._module(stage)
        if self.passage is not None and name:
            end = self.passage.exit(name)
            return sum(self.passage.entry(layer.name) < end for layer in self.layers)
        inside = [
            layer.index
            for layer in self.layers
            if stage == layer.stage or f"{layer.name}.".startswith(f"{name or stage}.")
        ]
        if not inside:
            raise PlanError(
                f"{self.architecture} has no stage '{stage}': expected one of "
                f"{', '.join(self.stage_ends())}, or a module that a forward pass calls"
            )
        return inside[-1]

    def _module(self, stage: str) -> str | None:
        """The full name of a module; None where no module is called so.

        Raises:
            PlanError: several are.
        """
        if self.passage is not None:
            fits = self.passage.find(stage)
        else:
            fits = tuple(_ending_in(stage, [layer.name for layer in self.layers]))
        if len(fits) > 1:
            raise PlanError(
                f"'{stage}' may be any of {len(fits)} modules of {self.architecture}: "
                f"{', '.join(fits[:_SHOWN])}{', ...' if len(fits) > _SHOWN else ''}; give the full "
                "name of one"
            )
        return fits[0] if fits else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "architecture": self.architecture,
            "unit": self.unit,
            "section": self.section,
            "stages": self.stage_ends(),
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "others": [dataclasses.asdict(section) for section in self.others],
            "repeated": list(self.repeated),
            "unused": list(self.unused),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "LayerTable":
        """The table that ``to_dict`` wrote, also after it went through JSON.

        The forward pass that it was read off is not in it: for words and figures, not for plans of
        version 2.
        """
        sections = [
            Section(part["name"], part["prefix"], _layers_of(part))
            for part in raw.get("others", ())
        ]
        return cls(
            raw["architecture"],
            _layers_of(raw),
            tuple(raw["repeated"]),
            tuple(raw["unused"]),
            raw.get("unit", "convolution"),
            raw.get("section", "backbone"),
            tuple(sections),
        )

    def plot(self, ax: "Axes") -> None:
        """Draw on ``ax`` which share of the layers' weights each depth k freezes."""
        sizes = [math.prod(layer.shape) for layer in self.layers]
        shares = [100 * done / sum(sizes) for done in itertools.accumulate(sizes, initial=0)]
        ax.step(range(len(shares)), shares, where="post")
        for end in list(self.stage_ends().values())[:-1]:
            ax.axvline(end, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xlabel(f"frozen {self.unit}s k, counted from the input")
        ax.set_ylabel(f"frozen weights of {self.unit}s / %")
        ax.set_title(self.architecture)

    def _repr_html_(self) -> str:
        from frostline.notebook import table_html  # not needed to compare files

        head = ("k", self.unit, "stage", "role", "weight", "BatchNorm")
        caption = f"{self.architecture}: {len(self.layers)} {self.unit}s in forward order"
        if self.repeated:
            caption += f"; called several times: {', '.join(self.repeated)}"
        if self.unused:
            caption += f"; never called, without a depth: {', '.join(self.unused)}"
        return table_html(caption, head, map(_cells, self.layers))

    def _where_shown(self) -> str:
        if self.architecture in BACKBONES or self.architecture.startswith(TIMM_PREFIX):
            return f"`frostline layers {self.architecture}`"
        return "frostline.layers(model, example_input)"

    def paper_index(self, layer: ConvLayer) -> int | None:
        """Position of a layer in ``paper`` numbering; None for the stem and the projections."""
        main = self._main_path()
        return main.index(layer) + 1 if layer in main else None

    def _main_path(self) -> tuple[ConvLayer, ...]:
        if self.architecture not in _BOTTLENECK:
            raise PlanError(
                f"numbering 'paper' counts the main path of bottleneck ResNets "
                f"({', '.join(_BOTTLENECK)}), not of {self.architecture}; use numbering 'all'"
            )
        return tuple(x for x in self.layers if x.role == "main" and x.stage != "stem")

    def _paper_prefix(self, k: int) -> tuple[ConvLayer, ...]:
        if k == 0:
            return ()
        last = self._main_path()[k - 1].index
        follower = self.layers[last] if last < len(self.layers) else None
        with_projection = follower is not None and follower.role == "projection"
        return self.layers[: last + with_projection]


def layer_table(architecture: str, *, width_mult: float = 1.0) -> LayerTable:
    """The convolutions of a named backbone in forward order.

    Args:
        architecture: one of ``BACKBONES``.
        width_mult: channel multiplier, for ``mobilenet_v2`` only; > 0.

    Raises:
        PlanError: the name is unknown, or the width is given for another architecture.
    """
    if architecture not in BACKBONES:
        raise PlanError(
            f"unknown backbone '{architecture}': expected one of {', '.join(BACKBONES)}"
        )
    if width_mult != 1.0 and architecture != "mobilenet_v2":
        raise PlanError(f"width_mult is defined for mobilenet_v2 only, not for {architecture}")
    if architecture == "mobilenet_v2":
        rows = _mobilenet_v2(width_mult)
    elif architecture == "mobilenet_v3_large":
        rows = _mobilenet_v3_large()
    else:
        rows = _resnet(architecture)
    return LayerTable(
        architecture,
        tuple(dataclasses.replace(row, index=i) for i, row in enumerate(rows, start=1)),
    )


def depth_label(k: int) -> str:
    """The label of a depth in keys, folder names and tables: ``k09``."""
    return f"k{k:02d}"


def depth_of_label(label: str) -> int | None:
    """The depth that a plan's label names; None where it is the label of another plan.

    Example:
        >>> depth_of_label("k09"), depth_of_label("layer2")
        (9, None)
    """
    number = label.removeprefix("k")
    return int(number) if number != label and number.isdecimal() else None


def published_eps(architecture: str) -> float:
    """Eps of BatchNorm that torchvision's own weights of a backbone are used with.

    It is no part of a weight file. (The COCO_V1 detectors have 0.)
    """
    return 1e-3 if architecture == "mobilenet_v3_large" else 1e-5


def _layers_of(raw: Mapping[str, Any]) -> tuple[ConvLayer, ...]:
    """Layers from plain values, where JSON has made lists of the tuples."""
    rows: list[dict[str, Any]] = [
        {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
        for row in raw["layers"]
    ]
    return tuple(ConvLayer(**row) for row in rows)


def _ending_in(name: str, layers: Sequence[str]) -> Iterator[str]:
    """Modules around layers that have a name, or one that ends with it; an exact one alone."""
    parts = [layer.split(".") for layer in layers]
    known = dict.fromkeys(".".join(p[:i]) for p in parts for i in range(1, len(p) + 1))
    if name in known:
        yield name
        return
    yield from (module for module in known if module.endswith(f".{name}"))


def _cells(layer: ConvLayer) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.shape))
    return (str(layer.index), layer.name, layer.stage, layer.role, shape, layer.norm or "")


def _conv(  # one row; the index is filled in when the table is put together
    name: str,
    norm: str | None,
    stage: str,
    channels: tuple[int, int],
    kernel: int,
    *,
    groups: int = 1,
    role: Role = "main",
    bias: bool = False,
) -> ConvLayer:
    cin, cout = channels
    return ConvLayer(1, name, norm, stage, role, (cout, cin // groups, kernel, kernel), bias)


def _resnet(architecture: str) -> Iterator[ConvLayer]:
    """Torchvision ResNet: the projection runs after the main path of its block."""
    bottleneck = architecture in _BOTTLENECK
    blocks = _BOTTLENECK[architecture] if bottleneck else _BASIC[architecture]
    yield _conv("conv1", "bn1", "stem", (3, 64), 7)
    cin = 64
    for s, count in enumerate(blocks, start=1):
        planes = 64 * 2 ** (s - 1)
        cout = planes * (4 if bottleneck else 1)
        for b in range(count):
            block, stage = f"layer{s}.{b}", f"layer{s}"
            steps = (
                [(cin, planes, 1), (planes, planes, 3), (planes, cout, 1)]
                if bottleneck
                else [(cin, planes, 3), (planes, cout, 3)]
            )
            for i, (a, z, kernel) in enumerate(steps, start=1):
                yield _conv(f"{block}.conv{i}", f"{block}.bn{i}", stage, (a, z), kernel)
            if b == 0 and (s > 1 or bottleneck):
                names = f"{block}.downsample.0", f"{block}.downsample.1"
                yield _conv(*names, stage, (cin, cout), 1, role="projection")
            cin = cout


def _divisible(value: float, divisor: int = 8) -> int:
    """Nearest multiple of 8 that is not more than 10 % below (Sandler et al. 2018, section 5)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _mobilenet_v2(width: float) -> Iterator[ConvLayer]:
    """Sandler et al. 2018, table 2; names of torchvision's ``features``."""
    cin = _divisible(32 * width)
    yield _conv("0.0", "0.1", "stem", (3, cin), 3)
    settings = [
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ]
    feature = 1
    for s, (expand, channels, count) in enumerate(settings, start=1):
        cout = _divisible(channels * width)
        for _ in range(count):
            block, stage, hidden = f"{feature}.conv", f"stage{s}", cin * expand
            i = 0
            if expand != 1:
                yield _conv(f"{block}.0.0", f"{block}.0.1", stage, (cin, hidden), 1)
                i = 1
            names = f"{block}.{i}.0", f"{block}.{i}.1"
            yield _conv(*names, stage, (hidden, hidden), 3, groups=hidden)
            yield _conv(f"{block}.{i + 1}", f"{block}.{i + 2}", stage, (hidden, cout), 1)
            cin, feature = cout, feature + 1
    last = _divisible(1280 * max(1.0, width))
    yield _conv(f"{feature}.0", f"{feature}.1", "last", (cin, last), 1)


# Howard et al. 2019, table 1: kernel, expanded, out channels, squeeze-excitation, stage.
_V3_LARGE = (
    *((3, 16, 16, False, 1), (3, 64, 24, False, 2), (3, 72, 24, False, 2)),
    *((5, 72, 40, True, 3), (5, 120, 40, True, 3), (5, 120, 40, True, 3)),
    *((3, 240, 80, False, 4), (3, 200, 80, False, 4), (3, 184, 80, False, 4)),
    *((3, 184, 80, False, 4), (3, 480, 112, True, 5), (3, 672, 112, True, 5)),
    *((5, 672, 160, True, 6), (5, 960, 160, True, 6), (5, 960, 160, True, 6)),
)


def _mobilenet_v3_large() -> Iterator[ConvLayer]:
    cin = 16
    yield _conv("0.0", "0.1", "stem", (3, cin), 3)
    for feature, (kernel, hidden, cout, squeeze, s) in enumerate(_V3_LARGE, start=1):
        block, stage, i = f"{feature}.block", f"stage{s}", 0
        if hidden != cin:
            yield _conv(f"{block}.0.0", f"{block}.0.1", stage, (cin, hidden), 1)
            i = 1
        names = f"{block}.{i}.0", f"{block}.{i}.1"
        yield _conv(*names, stage, (hidden, hidden), kernel, groups=hidden)
        if squeeze:
            i, inner = i + 1, _divisible(hidden // 4)
            for fc, pair in (("fc1", (hidden, inner)), ("fc2", (inner, hidden))):
                yield _conv(f"{block}.{i}.{fc}", None, stage, pair, 1, role="squeeze", bias=True)
        names = f"{block}.{i + 1}.0", f"{block}.{i + 1}.1"
        yield _conv(*names, stage, (hidden, cout), 1)
        cin = cout
    yield _conv("16.0", "16.1", "last", (cin, 6 * cin), 1)
