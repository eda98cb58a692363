"""The examples run as they stand, on data that they bring along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "compare_checkpoints.py": (
        "mobilenet_v2: 52 convolutions",
        "34 of 52 layers moved by more than the seeds differ, from layer 19 on",
    ),
    "freeze_any_model.py": (
        "'stage2': 15",
        "audit: 90 frozen tensors, 0 changed",
        "k=52: 260 tensors frozen, audit passed: True",
    ),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_example(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in SHOWN[name]:
        assert line in done.stdout
    written = Path(done.stdout.rstrip().rpartition(": ")[2])
    assert written.is_relative_to(tmp_path)
    assert written.stat().st_size > 1000


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_cells_are_those_of_a_notebook(name: str) -> None:
    """Percent format: editors and jupytext open it as a notebook."""
    text = (EXAMPLES / name).read_text()
    assert text.startswith("# %% [markdown]\n# # ")
    cells = text.split("# %%")[1:]
    assert len(cells) >= 8
    assert all(
        all(line.startswith("#") for line in cell.strip().splitlines()[1:])
        for cell in cells
        if cell.startswith(" [markdown]")
    )
