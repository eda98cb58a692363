"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


def _asset_folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: the real assets are not on this machine")
    return Path(value)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets, or a skip that says why."""
    return _asset_folder("FROSTLINE_DATA")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """Folder of real pretrained weights, or a skip that says why."""
    return _asset_folder("FROSTLINE_WEIGHTS")
