"""What doctor finds, on machines that are made up."""

import dataclasses
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from frostline import doctor
from frostline.doctor import Fact, examine, import_problem, require_torch, unmet_requirements
from frostline.errors import DependencyError
from tests.provocations import run_here

MakeDistribution = Callable[..., None]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDistribution:
    """Write the metadata of a package that only these tests see."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, version: str, *lines: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (folder / "METADATA").write_text("\n".join([*head, *lines]) + "\n")

    return write


def test_this_installation_is_sound() -> None:
    facts = {fact.what: fact for fact in examine()}
    assert {"python", "torch", "torchvision", "cpu cores", "cuda", "weights cache"} <= set(facts)
    assert [fact for fact in facts.values() if fact.what.startswith("torch") and fact.problem] == []
    assert import_problem() == ""
    require_torch()


def test_versions_that_do_not_fit(distribution: MakeDistribution) -> None:
    distribution("needed_a", "2.8.0")
    distribution("needed_b", "3.1rc1")
    distribution(
        "asking",
        "1.0",
        "Requires-Dist: needed_a==2.9.0",
        "Requires-Dist: needed_b>=3.0",
        "Requires-Dist: absent>=1",
        "Requires-Dist: other; python_version < '3'",
        "Requires-Dist: only_with_extra; extra == 'x'",
        "Requires-Dist: ??? nonsense",
    )
    assert dict(unmet_requirements(["asking", "not-there"])) == {
        "needed_a": "asking 1.0 needs needed_a==2.9.0, found 2.8.0: "
        "pip install --upgrade needed_a asking",
        "absent": "asking 1.0 needs absent>=1, it is not installed: "
        "pip install --upgrade absent asking",
    }


def test_local_versions_fit(distribution: MakeDistribution) -> None:
    distribution("needed", "2.9.0+cu130")
    distribution("asking", "1.0", "Requires-Dist: needed==2.9.0")
    assert list(unmet_requirements(["asking"])) == []


def test_extras(distribution: MakeDistribution) -> None:
    distribution(
        "frostline",
        "0.1.0",
        "Provides-Extra: there",
        "Provides-Extra: missing",
        "Requires-Dist: numpy; extra == 'there'",
        "Requires-Dist: no_such_package>=2; extra == 'missing'",
        "Requires-Dist: numpy; extra == 'missing'",
    )
    facts = {fact.what: fact.value for fact in examine() if fact.what.startswith("extra ")}
    assert facts == {
        "extra there": f"numpy {metadata.version('numpy')}",
        "extra missing": "not installed: no_such_package (pip install 'frostline[missing]')",
    }


def test_a_broken_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name}: libcudart.so.13: cannot open\nshared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(DependencyError, match=r"torch cannot be imported \(OSError: torch: libcu"):
        require_torch()
    problems = [fact for fact in examine() if fact.problem]
    assert [fact.what for fact in problems] == ["torch imports"]
    assert "\n" not in problems[0].problem


def _cache_fact() -> Fact:
    return next(fact for fact in examine() if fact.what == "weights cache")


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "t"))
    assert "(0 files, " in _cache_fact().value
    cache = tmp_path / "t" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "a.pth").touch()
    assert _cache_fact().value.startswith(f"{cache} (1 file, ")
    monkeypatch.setattr(doctor, "_LEAST_FREE_GB", 1e9)
    assert "GB are free: make room, or set TORCH_HOME" in _cache_fact().problem
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written: set TORCH_HOME" in _cache_fact().problem


def test_the_owner_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert _cache_fact().value.startswith("~/.cache/torch/hub/checkpoints (")


def test_the_command_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (Fact("torch", "2.8.0", "does not fit: pip install it"), Fact("cuda", "none"))
    monkeypatch.setattr(doctor, "examine", lambda: facts)
    table = run_here(tmp_path, "doctor")
    assert table.code == 1
    assert table.out.rstrip().endswith("problem: torch: does not fit: pip install it")
    rows = json.loads(run_here(tmp_path, "doctor", "--format", "json").out)
    assert rows == [dataclasses.asdict(fact) for fact in facts]
    monkeypatch.setattr(doctor, "examine", lambda: facts[1:])
    assert run_here(tmp_path, "doctor", "--format", "csv").code == 0
