"""The weight files of a folder of small failing cases, where ``FROSTLINE_CASES`` names it."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.checkpoints import open_checkpoint
from frostline.comparison import diff
from frostline.errors import CheckpointError

NAMES = ("not_weights", "archives", "weights_pickled", "sparse_and_meta", "resnet_names")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = os.environ.get("FROSTLINE_CASES")
    if not source:
        pytest.skip("FROSTLINE_CASES is not set")
    folder = tmp_path_factory.mktemp("cases")
    command = [sys.executable, str(Path(source) / "make_cases.py"), str(folder), *NAMES]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [("lfs.pth", "git lfs pull"), ("page.pth", "HTML page"), ("weights.tar.gz", "unpack it first")],
)
def test_not_weights(cases: Path, name: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(cases / "not_weights" / name)


@pytest.mark.parametrize(
    ("before", "after"),
    [("archives/plain.pth", "archives/script.pt"), ("archives/plain.pth", "archives/dcp"),
     *(("weights_pickled/plain.pth", f"weights_pickled/{name}")
       for name in ("enum.ckpt", "partial.ckpt", "slice.ckpt", "class_forward.pt")),
     ("weights_pickled/vit.pth", "weights_pickled/vit_whole.pt")],
)  # fmt: skip
def test_the_same_weights(cases: Path, before: str, after: str) -> None:
    result = diff(cases / before, cases / after, kind="all")
    assert (result.only_before, result.only_after) == ((), ())
    assert all(row.cosine == row.difference.relative_l2 == 0 for row in result.rows)


@pytest.mark.parametrize(("name", "why"), [("sparse", "sparse"), ("meta", "without values")])
def test_sparse_and_meta(cases: Path, name: str, why: str) -> None:
    folder = cases / "sparse_and_meta"
    result = diff(folder / "plain.pth", folder / f"{name}.pth", kind="all")
    assert [(row.name, row.cosine) for row in result.rows] == [("weight", 0), ("bias", 0)]
    assert why in result.left_out[1]["mask"]


def test_resnet_names(cases: Path) -> None:
    files = {
        name: cases / "resnet_names" / f"{name}.pth"
        for name in ("torchvision", "detr", "hf_detr", "hf_resnet")
    }
    values: list[Any] = []
    for one, two in itertools.permutations(files, 2):
        result = diff(files[one], files[two])
        assert sum(result.matched.values()) == 100
        assert (result.architecture, len(result.rows)) == ("resnet18", 20)
        assert [row.index for row in result.rows] == list(range(1, 21))
        if one == "torchvision":
            values.append([row.cosine for row in result.rows])
        elif two != "torchvision":
            assert all(row.cosine == 0 for row in result.rows)
    assert values[0] == values[1] == values[2]
    assert min(values[0]) > 0
