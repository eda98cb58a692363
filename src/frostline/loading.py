"""The data that a study names, read and split: light enough to fail before torch is imported."""

from pathlib import Path

from frostline.config import DataConfig
from frostline.datasets import (
    DatasetIndex,
    read_dataset,
    read_splits,
    split_by_fraction,
    split_by_group,
)

__all__ = ["load_data"]


def load_data(config: DataConfig, base: Path) -> dict[str, DatasetIndex]:
    """Read the splits that a study names: ``train``, ``val`` and, if given, ``test``.

    Args:
        config: the ``data`` section of a study.
        base: folder against which its paths resolve.

    Raises:
        DatasetError: unreadable or unusable data; names file and line.
    """
    images = base / config.images
    if config.annotations is not None and config.split is not None:
        index = read_dataset(
            images,
            base / config.annotations,
            layout=config.layout,
            on_problem=config.on_problem,
        )
        if config.split.fraction is not None:
            rest, drawn = split_by_fraction(index, config.split.fraction, config.split.seed)
        else:
            rest, drawn = split_by_group(index, config.split.val_groups or ())
        return {"train": rest, "val": drawn}
    named = {"train": config.train, "val": config.val, "test": config.test}
    files = {split: base / file for split, file in named.items() if file is not None}
    return read_splits(images, files, layout=config.layout, on_problem=config.on_problem)
