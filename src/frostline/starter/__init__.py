"""``frostline init``: a commented ``study.yaml`` that runs as it stands.

What is in the data decides sizes and splits, what this machine has decides backbone, starting
weights and schedule. Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from frostline.config import parse_study
from frostline.datasets import DatasetLocation
from frostline.errors import ConfigError
from frostline.records import atomic_write
from frostline.starter.data import Material, choose_mask_size, choose_size, read_material
from frostline.starter.machine import (
    Device,
    Machine,
    this_machine,
    torch_cache,
    usable_cores,
)
from frostline.starter.text import propose, render, render_masks
from frostline.starter.weights import Choice, choose, nearby_files

__all__ = [
    "Device",
    "Machine",
    "Starter",
    "this_machine",
    "torch_cache",
    "usable_cores",
    "write_starter",
]


@dataclass(frozen=True)
class Starter:
    """A study file that was written, and what it is based on.

    Attributes:
        path: the file.
        material: the data.
        choice: backbone and starting weights.
        trials: cells of the study's grid.
    """

    path: Path
    material: Material
    choice: Choice
    trials: int


def write_starter(
    location: DatasetLocation,
    path: Path,
    *,
    weights: Sequence[Path] = (),
    backbone: str | None = None,
    masks: bool | None = None,
    machine: Machine | None = None,
    force: bool = False,
) -> Starter:
    """Write a study file for a data set.

    Args:
        location: the data set, see ``find_dataset``.
        path: file to write. Its folder is what the paths in it are relative to.
        weights: weight files to start from. Without any: those that lie beside the data, beside
            ``path`` or in the working folder, and what torch's cache has.
        backbone: take this one. Without it: the one with the most starting weights.
        masks: whether to segment, for which outlines of objects are masks, or to detect; None is
            by the data.
        machine: where it will run; this one by default.
        force: overwrite ``path`` if it is there.

    Raises:
        ConfigError: the file is there already, the data are of the other kind, or the weight files
            hold no known backbone.
        CheckpointError: a given weight file cannot be opened.
        DatasetError: the data cannot be read or has no boxes.
        RecordError: the file cannot be written.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; use --force to overwrite it, or another --out")
    machine = machine or this_machine()
    found = nearby_files((location.images, location.images.parent, path.parent, Path.cwd()))
    material = read_material(location, outlines=bool(masks))
    if masks not in (None, material.masks):
        wanted = "masks, or outlines of layout coco" if masks else "boxes"
        got = "masks" if material.masks else f"boxes of layout {location.layout}"
        raise ConfigError(f"expected {wanted}, got {got}; leave out --task, or give other data")
    choice = choose(weights, found, machine, backbone, encoder=material.masks)
    if material.masks:
        size = choose_mask_size(material, gpu=machine.gpu is not None)
        text = render_masks(path.name, path.parent, material, choice, machine, size)
    else:
        sizes = choose_size(material, propose(material, choice, machine).preset)
        text = render(path.name, path.parent, material, choice, machine, sizes)
    study = parse_study(yaml.safe_load(text), path.name)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    trials = len(study.inits) * len(study.depths) * len(study.seeds)
    return Starter(path, material, choice, trials)
