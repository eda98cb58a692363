"""The starter file as text: every value with the reason for it, and the number behind the reason.

A YAML library would lose the comments, which are half of what this file is for.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from frostline.datasets import DatasetCounts
from frostline.datasets.box_sizes import BoxSizes
from frostline.datasets.findings import shown
from frostline.depth import layer_table
from frostline.starter.data import FRACTION, Material
from frostline.starter.machine import Machine
from frostline.starter.weights import Choice

__all__ = ["Proposal", "propose", "render", "render_masks", "stage_depths"]

_COLUMN = 34  # where comments begin
_NAMED = 12  # classes that are named in the comment
_SLIM_PROPOSALS = 300  # of preset slim: more boxes than this it cannot find in one image


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is chosen by the size of the data and the machine.

    Attributes:
        preset: of the model.
        max_detections: boxes kept per image: twice what the fullest image has, in hundreds.
        depths: see `stage_depths`.
        seeds: two on a CPU, three on a GPU.
        epochs: such that a trial sees `images_seen` images, within bounds.
        batch_size: images a step.
        precision: ``bf16`` where the hardware has it.
        images_seen: images that a trial is meant to train on, repeats counted.
    """

    preset: str
    max_detections: int
    depths: tuple[int | str, ...]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    precision: str
    images_seen: int


def propose(material: Material, choice: Choice, machine: Machine) -> Proposal:
    """Settings for a first study that ends in hours on a CPU."""
    gpu = machine.gpu is not None
    images = len(material.splits["train"])
    seen, fewest, most = (12_000, 12, 100) if gpu else (2_400, 4, 100)
    return Proposal(
        preset="stock" if gpu else "slim",
        max_detections=max(100, math.ceil(2 * material.most_boxes() / 100) * 100),
        depths=stage_depths(choice.backbone),
        seeds=(0, 1, 2) if gpu else (0, 1),
        epochs=min(max(math.ceil(seen / images), fewest), most),
        batch_size=min(8 if gpu else 4, images),
        precision="bf16" if machine.bf16 else "fp32",
        images_seen=seen,
    )


def stage_depths(backbone: str) -> tuple[int | str, ...]:
    """Nothing, the ends of stages at least a tenth of the backbone apart, and all of it.

    Example:
        >>> stage_depths("resnet50")
        (0, 11, 24, 43, 'all')
    """
    table = layer_table(backbone)
    least = len(table) / 10
    chosen = [0]
    for end in table.stage_ends().values():
        if end - chosen[-1] >= least and len(table) - end >= least:
            chosen.append(end)
    return (*chosen, "all")


def render(
    name: str, base: Path, material: Material, choice: Choice, machine: Machine, sizes: BoxSizes
) -> str:
    """The file's text.

    Args:
        name: the file's name.
        base: its folder, against which paths are written.
        material: the data.
        choice: backbone and starting weights.
        machine: what it will run on.
        sizes: image size, and box sizes there.
    """
    plan = propose(material, choice, machine)
    lines = [
        *_head(name),
        *_data(material, base),
        "",
        *_model(material, choice, machine, plan, sizes),
        "",
        *_inits(choice, base),
        "",
        *_grid(choice, plan),
        "",
        *_schedule(material, machine, plan),
    ]
    return "\n".join(lines) + "\n"


def render_masks(
    name: str, base: Path, material: Material, choice: Choice, machine: Machine, size: int
) -> str:
    """The text of a study of masks.

    Args:
        name: the file's name.
        base: its folder, against which paths are written.
        material: the data.
        choice: encoder and starting weights.
        machine: what it will run on.
        size: image size in px.
    """
    plan = propose(material, choice, machine)
    lines = [
        *_head(name),
        _entry("task: segmentation", "the class of every pixel; scored by mean IoU and Dice"),
        *_data(material, base),
        *(_values(material) if material.layout == "masks" else ()),
        "",
        *_segmenter(choice, size),
        "",
        *_inits(choice, base, "encoder", "decoder and head start"),
        "",
        *_grid(choice, plan),
        _entry("differences: all", "of encoder, decoder and head, in Figure 2"),
        "",
        *_schedule(material, machine, plan, "1.0e-3"),
    ]
    return "\n".join(lines) + "\n"


def _head(name: str) -> Iterator[str]:
    yield (
        f"# {shown(name)}, written by `frostline init`. It runs as it stands; change what you like"
    )
    yield "# before the first run: finished trials belong to what stands here."
    yield f"# Paths resolve against this file; output goes to runs/{shown(Path(name).stem)}/."
    yield "# For editors: frostline schema > study.schema.json, and as the first line of this file"
    yield "# `# yaml-language-server: $schema=study.schema.json`"
    yield "version: 1"
    yield ""


def _entry(text: str, comment: str = "") -> str:
    return f"{text:<{_COLUMN}}  # {comment}" if comment else text


# --- data ----------------------------------------------------------------------------------------


def _data(material: Material, base: Path) -> Iterator[str]:
    total = material.total()
    yield "data:"
    yield _entry(f"  layout: {material.layout}", _classes(total))
    yield _entry(f"  images: {_path(material.images, base)}", "nothing outside it is read")
    counts = material.counts()
    for split, file in material.files.items():
        comment = _amount(counts[split]) if split in counts else _amount(total)
        if split == "val":
            comment += "; scores are measured here" if total.masks else "; AP is measured here"
        yield _entry(f"  {split}: {_path(file, base)}", comment)
    yield from _split(material, counts)
    if material.grey is not None:
        largest = material.grey.largest
        comment = f"16-bit images have levels up to {largest}; one scale for all of them"
        yield _entry(f"  grey_levels: {material.grey.levels}", comment)
    for note in material.notes:
        yield f"  # {note}"
    if material.unused:
        others = shown(", ".join(material.unused))
        yield f"  # not used: {others} (frostline needs train and val; keep it for the end)"
    if material.problems:
        comment = f"{material.left_out()}: `frostline data check` names them"
        yield _entry("  on_problem: drop", comment)


def _split(material: Material, counts: Mapping[str, DatasetCounts]) -> Iterator[str]:
    train, val = counts["train"].images, counts["val"].images
    if material.fraction is not None:
        yield "  split:"
        comment = f"no groups in the data, so images are drawn: {train} train, {val} validate"
        yield _entry(f"    fraction: {material.fraction:g}", comment)
        yield _entry("    seed: 0", "another seed draws other images")
        yield _entry("    by: photo", "copies, tiles and frames of one photo stay on one side")
    if material.val_groups is not None:
        groups = material.total().images_per_group
        yield (
            f"  # {len(groups)} groups: whole ones validate, unseen in training; the smallest, up "
            f"to {_percent(FRACTION)} of the images"
        )
        yield "  split:"
        names = ", ".join(_scalar(group) for group in material.val_groups)
        yield _entry(f"    val_groups: [{names}]", f"{train} images train, {val} validate")


def _values(material: Material) -> Iterator[str]:
    """What the values of masks mean, to be renamed."""
    yield "  masks:"
    yield "    classes:  # values in the mask files; put the names of your classes behind them"
    values = list(material.total().pixels_per_class)
    names = (
        dict(zip(values, ("background", "foreground"), strict=False))
        if len(values) == len(("background", "foreground"))
        else {v: f"class_{v}" for v in values}
    )
    for value, name in names.items():
        yield f"      {value}: {name}"


def _classes(total: DatasetCounts) -> str:
    if total.masks:
        pixels = sum(total.pixels_per_class.values())
        shares = [f"{shown(n)} {_percent(p / pixels)}" for n, p in total.pixels_per_class.items()]
        more = f", and {len(shares) - _NAMED} more" if len(shares) > _NAMED else ""
        values = all(name.isdecimal() for name in total.pixels_per_class)
        what = "values in the masks" if values else "classes"
        return f"{len(shares)} {what}: {', '.join(shares[:_NAMED])}{more}"
    names = [f"{shown(name)} {n}" for name, n in total.boxes_per_class.items()]
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    plural = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {plural}, with boxes: {', '.join(names[:_NAMED])}{more}"


def _amount(counts: DatasetCounts) -> str:
    if counts.masks:
        return f"{counts.images} images, a mask each"
    noun = "image" if counts.empty_images == 1 else "images"
    empty = f", {counts.empty_images} {noun} without" if counts.empty_images else ""
    return f"{counts.images} images, {counts.boxes} boxes{empty}"


# --- model and starts ----------------------------------------------------------------------------


def _model(
    material: Material, choice: Choice, machine: Machine, plan: Proposal, sizes: BoxSizes
) -> Iterator[str]:
    yield "model:"
    yield _entry(f"  backbone: {choice.backbone}", choice.reason)
    if choice.width_mult != 1.0:
        yield _entry(f"  width_mult: {choice.width_mult:g}", "channels of the weight files")
    comment = f"a smaller neck and head than torchvision's, for {machine.where}"
    if plan.preset == "stock":
        comment = f"torchvision's Faster R-CNN with FPN, for {machine.where}"
    yield _entry(f"  preset: {plan.preset}", comment)
    yield _entry("  batch_norm: frozen", "as torchvision and detectron2 fine-tune")
    for line in _size_comments(material, sizes):
        yield f"  # {line}"
    yield _entry(
        f"  image_size: {sizes.image_size}", "longest side, px; time grows with its square"
    )
    most = material.most_boxes()
    comment = f"kept per image; the fullest image has {most} boxes"
    if plan.preset == "slim" and most > _SLIM_PROPOSALS:
        comment += f", preset slim proposes {_SLIM_PROPOSALS}: cut the images into tiles"
    yield _entry(f"  max_detections: {plan.max_detections}", comment)


def _segmenter(choice: Choice, size: int) -> Iterator[str]:
    yield "model:"
    yield _entry("  architecture: unet", "needs the extra unet: pip install 'frostline[unet]'")
    yield _entry(f"  backbone: {choice.backbone}", f"the encoder; {choice.reason}")
    yield _entry("  batch_norm: live", "statistics follow the new images, as segmenters train")
    yield _entry(f"  image_size: {size}", "longest side, px; masks are scored at their own size")
    yield _entry("  losses: {cross_entropy: 1, dice: 1}", "their weights")


def _size_comments(material: Material, sizes: BoxSizes) -> Iterator[str]:
    low, middle, high = sizes.quantiles
    stored = max(max(i.width, i.height) for index in material.splits.values() for i in index)
    yield (
        f"images have up to {stored} px; at size {sizes.image_size}, 5 % of the boxes are below "
        f"{low:.0f} px, half below {middle:.0f}, 95 % below {high:.0f}"
    )
    yield (
        f"{_percent(sizes.small_share)} are under 16 px (those want larger images, or tiles), "
        f"{_percent(sizes.misfit_share)} fit no anchor of preset {sizes.preset}"
    )


def _inits(
    choice: Choice, base: Path, part: str = "backbone", rest: str = "neck and head start"
) -> Iterator[str]:
    yield f"# Starting weights: each fills the {part}; {rest} from the same random"
    if part == "backbone":
        yield "# values in all. Any can have `parts: [backbone, neck]` or a `schedule:` of its own."
    else:
        yield "# values in all. Any can have a `schedule:` of its own."
    if choice.downloads:
        yield "# None were found on this machine: the first run downloads them."
    yield "inits:"
    for file in choice.files:
        source = f"{{source: {_scalar(_relative(file.path, base))}}}"
        yield _entry(f"  {_scalar(file.name)}: {source}", f"holds a {file.backbone}")
    for row in choice.cached:
        yield _entry(f"  {row.name}: {_torchvision(row.enum)}", "in torch's cache")
    names = {file.name for file in choice.files} | {row.name for row in choice.cached}
    for row in choice.absent:
        mark = "" if choice.downloads and row.name in ("imagenet", "coco") else "# "
        if mark and row.name in names:
            continue
        comment = f"downloads {row.megabytes} MB at first use"
        yield _entry(f"  {mark}{row.name}: {_torchvision(row.enum)}", comment)
    for line in choice.left_out:
        yield f"  # not used: {line}"


def _torchvision(enum: str) -> str:
    return f'{{source: "torchvision:{enum}"}}'


# --- the grid and its schedule -------------------------------------------------------------------


def _grid(choice: Choice, plan: Proposal) -> Iterator[str]:
    table = layer_table(choice.backbone)
    depths = ", ".join(map(str, plan.depths))
    comment = f"frozen convolutions of {len(table)}, at ends of stages: `frostline layers"
    yield _entry(f"depths: [{depths}]", f"{comment} {choice.backbone}`")
    comment = "more seeds tell smaller differences from chance"
    yield _entry(f"seeds: [{', '.join(map(str, plan.seeds))}]", comment)


def _schedule(
    material: Material, machine: Machine, plan: Proposal, lr: str = "3.0e-4"
) -> Iterator[str]:
    images = len(material.splits["train"])
    yield "schedule:"
    comment = f"{plan.epochs * images} images seen by each trial; `run --dry-run` tells the time"
    yield _entry(f"  epochs: {plan.epochs}", comment)
    yield _entry(f"  batch_size: {plan.batch_size}", "lower it if memory runs out")
    yield "  optimizer: adamw"
    comment = "peak; any init can have its own: mine: {source: …, schedule: {lr: 1.0e-4}}"
    yield _entry(f"  lr: {lr}", comment)
    comment = "scores along the way tell whether training was long enough"
    yield _entry("  eval_every: 1", comment)
    if plan.precision == "bf16":
        device = machine.gpu or "this CPU"
        comment = f"{device} has it in hardware; the heads' outputs and evaluation in fp32"
        yield _entry("  precision: bf16", comment)
    else:
        yield _entry("  precision: fp32", "bf16 is faster on hardware that has it")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# --- values --------------------------------------------------------------------------------------


def _path(path: Path, base: Path) -> str:
    return _scalar(_relative(path, base))


def _relative(path: Path, base: Path) -> str:
    """POSIX path from the study's folder, or an absolute one from another drive."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as the user gave them
    try:
        return Path(os.path.relpath(full, base.resolve())).as_posix()
    except ValueError:  # Windows: another drive
        return full.as_posix()


def _scalar(text: str) -> str:
    """A text as a YAML value, quoted where it would be read as something else.

    Example:
        >>> _scalar("field_1"), _scalar("no"), _scalar("7"), _scalar("a: b")
        ('field_1', '"no"', '"7"', '"a: b"')
    """
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=1 << 20)
    return quoted.strip()
