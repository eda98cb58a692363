"""Freezes of a folder of small failing cases, where ``FROSTLINE_CASES`` names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = ("deform", "spectral", "sync_batchnorm", "lightning", "ddp", "unbuilt")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_freeze_case_is_right(case: str, tmp_path: Path) -> None:
    source = os.environ.get("FROSTLINE_CASES")
    if not source:
        pytest.skip("FROSTLINE_CASES is not set")
    make = [sys.executable, str(Path(source) / "make_cases.py"), str(tmp_path), f"freeze_{case}"]
    subprocess.run(make, check=True, capture_output=True)
    program = tmp_path / f"freeze_{case}" / "try.py"
    result = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
