"""The package's names, loaded when they are first used."""

import subprocess
import sys

import pytest

from frostline import difference


def test_every_name_is_found_and_an_unknown_one_is_said() -> None:
    assert difference.__all__ == sorted(difference.__all__)
    for name in difference.__all__:
        assert getattr(difference, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'differnce'"):
        _ = difference.differnce


def test_comparing_files_loads_no_backbone_profile() -> None:
    code = (
        "import sys, frostline.comparison.pairs\n"
        "assert 'frostline.difference.folded' in sys.modules\n"
        "assert 'frostline.difference.layers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
