"""The data that a study names, read and split: light enough to fail before torch is imported."""

from dataclasses import replace
from pathlib import Path

from frostline.config import DataConfig
from frostline.datasets import (
    DatasetIndex,
    Looks,
    read_dataset,
    read_splits,
    train_and_val,
)
from frostline.datasets.locations import open_source, recognise
from frostline.datasets.raw import MaskOptions
from frostline.datasets.reading import require_boxes

__all__ = ["layout_of", "load_data", "mask_options"]


def load_data(
    config: DataConfig, base: Path, *, masks: bool = False, looks: Looks | None = None
) -> dict[str, DatasetIndex]:
    """Read the splits that a study names: ``train``, ``val`` and, if given, ``test``.

    Args:
        config: the ``data`` section of a study.
        base: folder against which its paths resolve.
        masks: whether the task wants masks, also of annotations that are outlines.
        looks: of images that were seen before, where the study is split by photo; what is missing
            is added.

    Raises:
        DatasetError: unreadable or unusable data, with file and line; or a split without boxes.
    """
    splits = _read(config, base, masks, looks)
    require_boxes(splits)
    return splits


def _read(
    config: DataConfig, base: Path, masks: bool, looks: Looks | None
) -> dict[str, DatasetIndex]:
    images = base / config.images
    if config.annotations is not None and config.split is not None:
        index = read_dataset(
            images,
            base / config.annotations,
            layout=config.layout,
            on_problem=config.on_problem,
            masks=mask_options(config, outlines=masks),
        )
        index = replace(index, grey_levels=config.grey_levels)
        return train_and_val(index, **config.split.model_dump(), looks=looks)
    named = {"train": config.train, "val": config.val, "test": config.test}
    files = {split: base / file for split, file in named.items() if file is not None}
    splits = read_splits(
        images,
        files,
        layout=config.layout,
        on_problem=config.on_problem,
        masks=mask_options(config, outlines=masks),
    )
    levels = config.grey_levels
    return {split: replace(index, grey_levels=levels) for split, index in splits.items()}


def mask_options(config: DataConfig, *, outlines: bool = False) -> MaskOptions:
    """What a study says of its masks; classes by ascending value, colours as they are given."""
    said = config.masks
    return MaskOptions(
        tuple(sorted(said.classes.items())),
        tuple(said.colours.items()),
        said.ignore_index,
        said.ignore_colour,
        outlines,
    )


def layout_of(config: DataConfig, base: Path) -> str:
    """The annotation layout of a study's data: as named, or as it is recognised.

    Raises:
        DatasetError: it cannot be recognised.
    """
    file = config.annotations or config.train
    if config.layout != "auto" or file is None:
        return config.layout
    return recognise(open_source(base / config.images, base / file))
