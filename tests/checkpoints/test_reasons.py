"""What may be asked for, why, and that nothing of it is run."""

import enum
import functools
import importlib
import operator
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.checkpoints import known_calls, open_checkpoint
from frostline.checkpoints.reasons import REASONS, is_foreign_class, reason_of
from frostline.errors import UnsafeCheckpointError
from tests.checkpoints.builders import small_net, torch_zip


def test_every_call_has_its_reason_and_its_fuzz_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    fuzz_checkpoints = importlib.import_module("fuzz_checkpoints")
    assert all(len(reason) > 10 for reason in REASONS.values())
    assert set(known_calls._HANDLERS) <= set(REASONS)
    targets = fuzz_checkpoints.call_seeds()
    assert {name.removeprefix("call ") for name in targets} == set(REASONS)
    for name, data in targets.items():
        (tmp_path / "w.pth").write_bytes(data)
        assert "a" in open_checkpoint(tmp_path / "w.pth"), name


class Color(enum.Enum):
    red = "r"


class Level(enum.IntFlag):
    low, high = 1, 2


HARMLESS = {
    "enum": Color.red,
    "flags": Level.low | Level.high,
    "partial": functools.partial(torch.nn.ReLU, inplace=True),
    "slice": slice(0, 3),
    "range": range(4),
    "getter": operator.itemgetter("loss"),
    "generator": np.random.default_rng(0),
    "state": np.random.RandomState(0),
    "exception": torch.OutOfMemoryError("x"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HARMLESS)
def test_hyper_parameters(tmp_path: Path, name: str, protocol: Any) -> None:
    saved = {"state_dict": small_net().state_dict(), "hyper_parameters": {"x": HARMLESS[name]}}
    torch.save(saved, tmp_path / "last.ckpt", pickle_protocol=protocol)
    assert len(open_checkpoint(tmp_path / "last.ckpt")) == 9


@pytest.mark.parametrize(
    "name",
    ["os.system", "posix.system", "subprocess.Popen", "ctypes.CDLL", "builtins.eval", "nt.system",
     "__builtin__.eval", "commands.getoutput", "importlib.import_module", "runpy.run_path",
     "torch.load", "torch.hub.load", "numpy.load", "pip.main", "pickle.Unpickler",
     "code.Interpreter",
     "multiprocessing.Process", "threading.Thread", "shutil.rmtree", "io.FileIO", "os.PathLike",
     "torch.utils.cpp_extension.load", "sys.exit", "asyncio.run", "logging.FileHandler"],
)  # fmt: skip
def test_functions_and_the_own_library_are_refused(tmp_path: Path, name: str) -> None:
    module, _, last = name.rpartition(".")
    pickled = f"\x80\x02c{module}\n{last}\n(X\x01\0\0\0atR.".encode("latin-1")
    with pytest.raises(UnsafeCheckpointError, match=name.replace(".", r"\.")):
        open_checkpoint(torch_zip(tmp_path / "w.pth", pickled, {}))


def test_the_own_library_is_known_by_its_names() -> None:
    allowed = {name.partition(".")[0] for name in REASONS}
    for module in sys.stdlib_module_names:
        assert not is_foreign_class(f"{module}.Popen")
        if module not in allowed:
            assert reason_of(f"{module}.Anything") == ""
