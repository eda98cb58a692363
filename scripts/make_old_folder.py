"""Write the fixture of a folder that version 1 began: one finished trial, one half-trained.

    git worktree add ../old 5fd97fe
    PYTHONPATH=../old/src:../old python scripts/make_old_folder.py tests/fixtures/version_1.zip

Run with the code of commit 5fd97fe, the last one that wrote records of schema version 1 and
identities of the first form. Every file is as it wrote it, except that large tensors of the
checkpoint are zeros, so that the archive is small: it resumes all the same.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tests.helpers import write_study

from frostline.study import Study
from frostline.trial import FILES, run_trial

_SMALL = 1500  # elements; what the plan froze, BatchNorm, is smaller and must stay
_STEPS = 3


class _StoppedError(Exception):
    """The kill, in the middle of the second epoch."""


def _stop(progress: object) -> None:
    if getattr(progress, "step") == _STEPS + 1:  # noqa: B009  (a class of another version)
        raise _StoppedError


def _round(path: Path) -> None:
    """Few different values, which compress."""
    tensors = {name: np.round(tensor * 4) / 4 for name, tensor in load_file(path).items()}
    save_file({n: np.maximum(t, 0.25) if "var" in n else t for n, t in tensors.items()}, path)


def _shrink(path: Path) -> None:
    payload = torch.load(path, weights_only=True)
    _zero(payload["model"])
    for state in payload["optimizer"]["state"].values():
        _zero(state)
    torch.save(payload, path)


def _zero(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.numel() > _SMALL:
            tensors[name] = torch.zeros_like(tensor)


def main(target: Path) -> None:
    """Run the two trials and pack what they leave."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        schedule = {"epochs": 3, "batch_size": 1, "lr": 1e-3, "checkpoint_seconds": 0.0}
        inits = {"a": {"source": "a.safetensors"}}
        path = write_study(folder, inits=inits, depths=[0, "all"], schedule=schedule)
        (folder / "b.safetensors").unlink()
        _round(folder / "a.safetensors")
        study = Study.from_yaml(path)
        half, whole = study.cells()
        Study(study.config.model_copy(update={"depths": ("all",)}), folder, study.folder).run()
        try:
            run_trial(study.spec(half), study.trial_folder(half), on_step=_stop)
        except _StoppedError:
            _shrink(study.trial_folder(half) / FILES.checkpoint)
        (study.trial_folder(whole) / FILES.weights).unlink()
        shutil.make_archive(str(target.with_suffix("")), "zip", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
