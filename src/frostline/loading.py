"""The data that a study names, read and split: light enough to fail before torch is imported."""

from pathlib import Path

from frostline.config import DataConfig
from frostline.datasets import (
    DatasetIndex,
    read_dataset,
    read_splits,
    train_and_val,
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
        return train_and_val(index, **config.split.model_dump())
    named = {"train": config.train, "val": config.val, "test": config.test}
    files = {split: base / file for split, file in named.items() if file is not None}
    return read_splits(images, files, layout=config.layout, on_problem=config.on_problem)
