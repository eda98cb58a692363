"""The public surface: one sorted list, and nothing heavy until it is used."""

import subprocess
import sys

import pytest

import frostline

PUBLIC = [
    "FreezePlan",
    "FrostlineError",
    "Study",
    "StudyConfig",
    "advise",
    "diff",
    "evaluate",
    "freeze",
    "layers",
    "load",
    "open_checkpoint",
    "read_dataset",
    "report",
    "run",
]


def test_public_names() -> None:
    assert frostline.__all__ == sorted(frostline.__all__) == PUBLIC
    assert dir(frostline) == PUBLIC
    for name in PUBLIC:
        assert getattr(frostline, name).__doc__


def test_names_are_the_same_before_and_after_submodules_load() -> None:
    """A submodule of a public name's spelling would take its place once it is imported."""
    import importlib
    import pkgutil

    first = {name: getattr(frostline, name) for name in PUBLIC}
    for info in pkgutil.iter_modules(frostline.__path__, "frostline."):
        if info.name != "frostline.__main__":
            importlib.import_module(info.name)
    assert {name: getattr(frostline, name) for name in PUBLIC} == first
    assert callable(frostline.report)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'difff'"):
        _ = frostline.difff


@pytest.mark.parametrize(
    "code",
    [
        "import frostline",
        "from frostline import layers; layers('resnet50')",
        "from frostline.cli import app",
        "from frostline import open_checkpoint, diff, read_dataset, FreezePlan, StudyConfig",
    ],
)
def test_what_loads_no_framework(code: str) -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'huggingface_hub', 'matplotlib', 'lightning_fabric'}"
    text = f"import sys\n{code}\nassert not {heavy} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", text], check=True)


def test_every_module_says_what_is_public() -> None:
    import importlib
    import pkgutil

    for info in pkgutil.walk_packages(frostline.__path__, "frostline."):
        if info.name == "frostline.__main__":
            continue
        module = importlib.import_module(info.name)
        assert len(set(module.__all__)) == len(module.__all__), info.name
        assert all(hasattr(module, name) for name in module.__all__), info.name
