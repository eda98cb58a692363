"""No command imports torch before it needs it, and help comes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import make_grid, write_study_folder
from tests.helpers import write_study

# Arguments, and the exit code to expect.
LIGHT = (
    ("--help", 0),
    ("--version", 0),
    *((f"{name} --help", 0) for name in ("run", "status", "report", "demo", "doctor", "init")),
    ("layers resnet50", 0),
    ("data check .", 0),
    ("init . --out new.yaml", 0),
    ("schema", 0),
    ("diff a.safetensors b.safetensors", 0),
    ("status done", 0),
    ("report done", 0),
    ("run study.yaml", 2),  # the data is bad: found before torch is asked for
    ("run none.yaml", 2),
)

_PROGRAM = """
import sys
from frostline.cli import main
for line in {lines!r}:
    words, code = line
    sys.argv = ["frostline", *words.split()]
    try:
        main()
        came = 0
    except SystemExit as stop:
        came = stop.code or 0
    assert came == code, (words, came)
    heavy = {{"torch", "torchvision", "lightning_fabric"}} & set(sys.modules)
    assert not heavy, (words, heavy)
"""


def test_what_needs_no_torch_imports_none(tmp_path: Path) -> None:
    write_study(tmp_path, data={"images": "images", "train": "no.csv", "val": "train.csv"})
    write_study_folder(tmp_path / "done", make_grid(depths=(0, 52), seeds=(0,)))
    program = _PROGRAM.format(lines=LIGHT)
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("words", ["", "layers res", "run ", "init --back"])
def test_completion_imports_no_torch(words: str) -> None:
    program = (
        "import sys, os\n"
        "from frostline.cli import main\n"
        "sys.argv = ['frostline']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'frostline.config'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {
        "_FROSTLINE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"frostline {words}",
        "COMP_CWORD": str(max(1, len(words.split()))),
    }
    subprocess.run([sys.executable, "-c", program], env=os.environ | environment, check=True)
