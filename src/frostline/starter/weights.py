"""Starting weights that this machine can reach: files, and torch's cache of torchvision's."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frostline.checkpoints import Checkpoint, open_checkpoint
from frostline.checkpoints.architectures import find_backbone
from frostline.datasets.findings import shown
from frostline.depth import BACKBONES, LayerTable, layer_table
from frostline.errors import ConfigError, FrostlineError
from frostline.starter.machine import Machine

__all__ = ["PUBLISHED", "Choice", "Published", "WeightFile", "choose", "look_at", "nearby_files"]

_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt")
_MOST_FILES = 20  # looked at in one folder
_WIDTHS = (1.0, 1.4, 0.75, 0.5, 0.35, 0.25, 0.1)  # of published MobileNetV2s, and of tests
_FIRST_CHOICE = {False: ("mobilenet_v3_large", "mobilenet_v2"), True: ("resnet50",)}  # by GPU


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that torchvision publishes.

    Attributes:
        backbone: the backbone that they fill.
        name: what the init is called in the study.
        enum: ``<WeightsEnum>.<MEMBER>`` in torchvision.
        file: name in torch's cache.
        megabytes: size of the download.
    """

    backbone: str
    name: str
    enum: str
    file: str
    megabytes: int


_R50, _V2, _V3 = "ResNet50_Weights", "MobileNet_V2_Weights", "MobileNet_V3_Large_Weights"
_R50_COCO = "FasterRCNN_ResNet50_FPN_Weights.COCO_V1"
_V3_COCO = "FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1"

# fmt: off
PUBLISHED = tuple(Published(*row) for row in (
    ("resnet18", "imagenet", "ResNet18_Weights.IMAGENET1K_V1", "resnet18-f37072fd.pth", 45),
    ("resnet34", "imagenet", "ResNet34_Weights.IMAGENET1K_V1", "resnet34-b627a593.pth", 83),
    ("resnet50", "imagenet", f"{_R50}.IMAGENET1K_V1", "resnet50-0676ba61.pth", 98),
    ("resnet50", "coco", _R50_COCO, "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 160),
    ("resnet50", "imagenet_v2", f"{_R50}.IMAGENET1K_V2", "resnet50-11ad3fa6.pth", 98),
    ("resnet101", "imagenet", "ResNet101_Weights.IMAGENET1K_V1", "resnet101-63fe2227.pth", 171),
    ("resnet101", "imagenet_v2", "ResNet101_Weights.IMAGENET1K_V2", "resnet101-cd907fc2.pth", 171),
    ("mobilenet_v2", "imagenet", f"{_V2}.IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", 14),
    ("mobilenet_v2", "imagenet_v2", f"{_V2}.IMAGENET1K_V2", "mobilenet_v2-7ebf99e0.pth", 14),
    ("mobilenet_v3_large", "imagenet", f"{_V3}.IMAGENET1K_V1",
     "mobilenet_v3_large-8738ca79.pth", 21),
    ("mobilenet_v3_large", "coco", _V3_COCO, "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", 74),
    ("mobilenet_v3_large", "imagenet_v2", f"{_V3}.IMAGENET1K_V2",
     "mobilenet_v3_large-5c1a4163.pth", 21),
))
"""By backbone, the weights to begin with first; a test holds the rows against torchvision."""
# fmt: on


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A weight file whose backbone was recognised.

    Attributes:
        name: a slug, for the study.
        path: where it is.
        backbone: one of ``BACKBONES``.
        width_mult: channel multiplier of its ``mobilenet_v2``; 1.0 for the others.
        digest: SHA-256 of its first and last convolution, hex: equal for the same weights in
            another format.
    """

    name: str
    path: Path
    backbone: str
    width_mult: float = 1.0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The backbone of the study, and where its starting weights come from.

    Attributes:
        backbone: one of ``BACKBONES``.
        reason: why this one, in words.
        width_mult: of ``mobilenet_v2``.
        files: weight files of this backbone; names differ.
        cached: torchvision's weights that are in torch's cache.
        absent: torchvision's weights that would have to be downloaded.
        left_out: why other weight files were not taken, one line each.
    """

    backbone: str
    reason: str
    width_mult: float
    files: tuple[WeightFile, ...]
    cached: tuple[Published, ...]
    absent: tuple[Published, ...]
    left_out: tuple[str, ...]

    @property
    def downloads(self) -> bool:
        """Whether the study begins with downloads, as nothing was found here."""
        return not self.files and not self.cached


def choose(
    given: Sequence[Path],
    nearby: Sequence[Path],
    machine: Machine,
    backbone: str | None = None,
    *,
    encoder: bool = False,
) -> Choice:
    """Choose the backbone for which this machine has the most starting weights.

    Args:
        given: weight files that the user named; all are taken.
        nearby: weight files found beside the data; those that fit are taken.
        machine: its cache, and whether it has a GPU, decides where nothing else does.
        backbone: take this one.
        encoder: whether it is one of ``unet``, which has its full width.

    Raises:
        CheckpointError: a given file cannot be opened.
        ConfigError: the given files hold no known backbone, or not the same one.
        PlanError: ``backbone`` is not known.
    """
    if backbone is not None:
        layer_table(backbone)  # refuses an unknown name
    taken = [look_at(path) for path in given]
    left_out: list[str] = []
    for path in nearby if not given else ():
        try:
            taken.append(look_at(path))
        except FrostlineError as error:
            left_out.append(shown(str(error).partition(";")[0]))
    if encoder:
        taken, narrow = _of_full_width(taken, given=bool(given))
        left_out += narrow
    cached = [row for row in PUBLISHED if (machine.cache / row.file).is_file()]
    best = backbone or _most_starts(taken, cached, gpu=machine.gpu is not None)
    if given:
        _require_one_backbone(taken, backbone or taken[0].backbone)
        best = taken[0].backbone
    width = next((file.width_mult for file in taken if file.backbone == best), 1.0)
    files = [file for file in taken if (file.backbone, file.width_mult) == (best, width)]
    left_out += [f"{shown(f.path.name)}: holds {_kind(f)}" for f in taken if f not in files]
    files, copies = _without_copies(files)
    left_out += copies
    mine = [row for row in PUBLISHED if row.backbone == best and width == 1.0]
    return Choice(
        best,
        _reason(given, backbone, len(files) + len([r for r in mine if r in cached]), machine),
        width,
        _with_distinct_names(files, {row.name for row in cached if row in mine}),
        tuple(row for row in mine if row in cached),
        tuple(row for row in mine if row not in cached),
        tuple(left_out),
    )


def nearby_files(folders: Iterable[Path]) -> list[Path]:
    """Weight files that lie directly in the folders, by their names' endings."""
    found: dict[Path, None] = {}
    for folder in folders:
        if folder.is_dir():
            files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file())
            found |= dict.fromkeys(path.resolve() for path in files[:_MOST_FILES])
    return list(found)


def look_at(path: Path) -> WeightFile:
    """Recognise the backbone in a weight file; nothing from it is run.

    Raises:
        CheckpointError: it cannot be opened.
        ConfigError: it holds no backbone that a study can have, or not all of it.
    """
    checkpoint = open_checkpoint(path)
    found = find_backbone(checkpoint)
    if found is None:
        raise ConfigError(
            f"{shown(path.name)}: no known backbone in it; expected one of {', '.join(BACKBONES)}"
        )
    width = _width(checkpoint, found.table, found.names)
    if width is None:
        raise ConfigError(
            f"{shown(path.name)}: its {found.table.architecture} has tensors missing or of other "
            f"shapes; see it with `frostline diff`, or name another file"
        )
    ends = (found.table.layers[0], found.table.layers[-1])
    sha = hashlib.sha256()
    for layer in ends:
        sha.update(checkpoint[f"{found.names[layer.name]}.weight"].read().tobytes())
    return WeightFile(_slug(path.stem), path, found.table.architecture, width, sha.hexdigest())


def _width(checkpoint: Checkpoint, table: LayerTable, names: dict[str, str]) -> float | None:
    """The width at which all shapes fit; None if there is none, or BatchNorm is not complete."""
    norms = [names[layer.norm] for layer in table.layers if layer.norm is not None]
    parts = ("weight", "bias", "running_mean", "running_var")
    if not all(f"{norm}.{part}" in checkpoint for norm in norms for part in parts):
        return None
    for width in _WIDTHS if table.architecture == "mobilenet_v2" else (1.0,):
        layers = layer_table(table.architecture, width_mult=width).layers
        if all(
            tuple(checkpoint[f"{names[layer.name]}.weight"].shape) == layer.shape
            for layer in layers
        ):
            return width
    return None


def _most_starts(files: Iterable[WeightFile], cached: Iterable[Published], *, gpu: bool) -> str:
    """The backbone with the most starting weights; of several, the one that suits the machine."""
    number = Counter([*(file.backbone for file in files), *(row.backbone for row in cached)])
    first = _FIRST_CHOICE[gpu]
    order = (*first, *(name for name in BACKBONES if name not in first))
    return max(order, key=lambda name: number[name])  # the first of the largest


def _reason(given: Sequence[Path], asked: str | None, starts: int, machine: Machine) -> str:
    if asked is not None:
        return "as asked for"
    if given:
        return "what the weight files hold"
    if starts:
        return f"{starts} of its starting weights are on this machine"
    return f"for {machine.where}; no starting weights were found here"


def _without_copies(files: Iterable[WeightFile]) -> tuple[list[WeightFile], list[str]]:
    """Files that differ, and a line about each that does not: it would only cost trials."""
    first: dict[str, WeightFile] = {}
    copies = []
    for file in files:
        other = first.setdefault(file.digest, file)
        if other is not file:
            copies.append(f"{shown(file.path.name)}: the weights of {shown(other.path.name)}")
    return list(first.values()), copies


def _of_full_width(
    files: Sequence[WeightFile], *, given: bool
) -> tuple[list[WeightFile], list[str]]:
    """Files that an encoder can have, and a line about each of the others.

    Raises:
        ConfigError: one of the others was given.
    """
    lines = [
        f"{shown(f.path.name)}: holds {_kind(f)}; an encoder of unet has its full width"
        for f in files
        if f.width_mult != 1.0
    ]
    if given and lines:
        raise ConfigError(f"{lines[0]}: name other weights")
    return [file for file in files if file.width_mult == 1.0], lines


def _require_one_backbone(files: Sequence[WeightFile], backbone: str) -> None:
    first = replace(files[0], backbone=backbone)
    for file in files:
        if (file.backbone, file.width_mult) != (backbone, first.width_mult):
            raise ConfigError(
                f"{shown(file.path.name)}: expected weights of {_kind(first)}, got {_kind(file)}; "
                f"a study compares starts of one backbone: make one study for each"
            )


def _kind(file: WeightFile) -> str:
    width = f" of width {file.width_mult:g}" if file.width_mult != 1.0 else ""
    return f"{file.backbone}{width}"


def _slug(stem: str) -> str:
    """A name that is legal for an init.

    Example:
        >>> _slug("my best run (2).final")
        'my-best-run-2-.final'
    """
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", stem).strip("-._+") or "weights"


def _with_distinct_names(files: Sequence[WeightFile], taken: set[str]) -> tuple[WeightFile, ...]:
    """Names that differ in more than case: folders are named by them."""
    used, named = {name.lower() for name in taken}, []
    for file in files:
        name, n = file.name, 2
        while name.lower() in used:
            name, n = f"{file.name}-{n}", n + 1
        used.add(name.lower())
        named.append(replace(file, name=name))
    return tuple(named)
