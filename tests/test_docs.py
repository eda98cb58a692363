"""The documentation: it builds without a warning, and what it shows works.

Which is tested how:

- Every ``frostline`` command in a block is parsed by the real command line, so a command or option
  that is not there fails. One in running text (`` `frostline diff --seeds` ``) is looked up.
- The ``frostline`` commands of a block under ``<!-- run -->`` are run, page by page in the order of
  the page, in a folder with a data set in ``photos``, two weight files, and ``demo`` as the demo
  leaves it. A study that a page's ``init`` wrote is made smaller before it is run.
- Commands of other programs are not run; ``make`` targets and extras must exist.
- Python under ``<!-- run -->`` is run in the same folder. All other Python is compiled, and what it
  imports, and what it takes from ``frostline``, must be there.
- A YAML block with ``inits:`` is read as a study.
- What the reference pages take from the code is looked for in the built pages.
"""

import ast
import dataclasses
import html
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel

import frostline
from frostline import config, records
from frostline.cli import app, main
from frostline.config import parse_study
from tests.helpers import TINY_MODEL, write_squares, write_start, write_study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
OTHER_PROGRAMS = {"chmod", "kaggle", "make", "pip", "python", "unzip"}
MUST_RUN = {"quickstart", "howto/checkpoint", "explanation/depth", "reference/python"}

_BLOCK = re.compile(r"^(<!-- run -->\n)?( *)```(\w+)\n(.*?)^\2```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`frostline ((?:--debug )?[a-z][^`\n]*)`(?!`)")
_ENVIRONMENT = re.compile(r"^([A-Z_]+=\S+ +)+")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    run: bool
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """The words of each command after a ``$``, without what a shell does to its output."""
        lines = self.text.replace("\\\n", " ").splitlines()
        shown = [_ENVIRONMENT.sub("", line[2:]) for line in lines if line.startswith("$ ")]
        return [shlex.split(re.split(r" [|>] ", line)[0], comments=True) for line in shown]


def _name(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


def _blocks(page: Path) -> Iterator[Block]:
    for run, _, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(_name(page), bool(run), language, textwrap.dedent(text))


BLOCKS = [block for page in PAGES for block in _blocks(page)]


# --- commands -------------------------------------------------------------------------------------


def _parse(words: list[str]) -> None:
    """Let the real command line read a command without running it; misuse raises."""
    group = typer.main.get_group(app)
    _disarm(group)
    group.main(args=words, prog_name="frostline", standalone_mode=False)


def _disarm(command: Any) -> None:
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        _disarm(below)


def test_every_command_is_understood() -> None:
    seen = 0
    for block in BLOCKS:
        for program, *words in block.commands():
            if program == "frostline":
                _parse(words)
                seen += 1
            else:
                assert program in OTHER_PROGRAMS, f"{block.page}: {program}"
    assert seen > 20


def test_a_wrong_command_is_not_understood() -> None:
    for words in (["runn"], ["run"], ["run", "a.yaml", "--worker", "2"], ["layers", "--format=x"]):
        with pytest.raises(Exception, match=r"No such|Missing|is not one of"):
            _parse(words)


def test_commands_in_running_text_exist() -> None:
    group: Any = typer.main.get_group(app)
    for page in PAGES:
        for shown in _INLINE.findall(page.read_text(encoding="utf-8")):
            command, words = group, shlex.split(shown)
            for word in words:
                if word.startswith("--"):
                    known = {name for p in command.params for name in p.opts}
                    assert word.partition("=")[0] in known, f"{_name(page)}: {shown}"
                elif hasattr(command, "commands"):
                    assert word in command.commands, f"{_name(page)}: {shown}"
                    command = command.commands[word]


def test_what_is_installed_and_made_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    for page in (*PAGES, ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.M)) <= set(targets), page.name
        for names in re.findall(r"""['"](?:frostline|\.)\[([\w,]+)\]""", text):
            assert set(names.split(",")) <= set(extras), page.name


# --- what is run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, weights and a finished study, all tiny, under the names that the pages use."""
    folder = tmp_path_factory.mktemp("workspace")
    write_squares(folder / "photos")
    starts = {name: {"source": f"{name}.safetensors"} for name in ("classification", "detection")}
    study = write_study(
        folder / "demo", inits=starts, depths=["all"], schedule={"epochs": 1, "batch_size": 2}
    )
    for seed, (name, own) in enumerate(zip(starts, ("mine", "theirs"), strict=True), start=1):
        write_start(folder / "demo" / f"{name}.safetensors", seed=seed)
        shutil.copy(folder / "demo" / f"{name}.safetensors", folder / f"{own}.safetensors")
    frostline.Study.from_yaml(study).run()
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it, as the working folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def _make_smaller(study: Path) -> None:
    """The study that ``init`` wrote, in seconds: one epoch, the deepest depth, one seed."""
    changes = {"depths": ["all"], "seeds": [0], "schedule": {"epochs": 1, "batch_size": 4}}
    content = yaml.safe_load(study.read_text())
    content["model"] |= {"image_size": TINY_MODEL["image_size"]}
    study.write_text(yaml.safe_dump(content | changes))


def _run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["frostline", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None), words
    if words[0] == "init":
        named = words[words.index("--out") + 1] if "--out" in words else "study.yaml"
        _make_smaller(Path(named))


@pytest.mark.slow
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.run}))
def test_blocks_marked_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in BLOCKS:
        if block.page != page or not block.run:
            continue
        if block.language == "python":
            exec(compile(block.text, page, "exec"), {"__name__": "page"})
        for program, *words in block.commands():
            if program == "frostline":
                _run(words, monkeypatch)


def test_the_pages_that_teach_by_doing_are_run() -> None:
    assert {block.page for block in BLOCKS if block.run} >= MUST_RUN
    first = next(b for b in BLOCKS if b.page == "quickstart" and b.run)
    assert len(first.commands()) == 5, "from install to report in five commands"
    assert first.commands()[-1][:2] == ["frostline", "report"]


# --- Python and YAML ------------------------------------------------------------------------------


def test_python_compiles_and_its_names_exist() -> None:
    blocks = [block for block in BLOCKS if block.language == "python"]
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block.text, block.page)):
            _require_names(node, block.page)


def _require_names(node: ast.AST, page: str) -> None:
    """What an import, or an attribute of ``frostline``, names must be there."""
    match node:
        case ast.Import(names=names):
            for alias in names:
                importlib.import_module(alias.name)
        case ast.ImportFrom(module=str(module), names=names):
            missing = [
                x.name for x in names if not hasattr(importlib.import_module(module), x.name)
            ]
            assert missing == [], page
        case ast.Attribute(value=ast.Name(id="frostline"), attr=name):
            assert hasattr(frostline, name), page


def test_studies_are_read() -> None:
    studies = [b for b in BLOCKS if b.language == "yaml" and "inits:" in b.text]
    assert len(studies) >= 3
    for block in studies:
        parse_study(yaml.safe_load(block.text), block.page)


# --- the built pages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet"]
    paths = [str(DOCS), str(folder / "html"), "-d", str(folder / "doctrees")]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, *paths],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def _text(page: Path) -> str:
    """What a reader sees."""
    article = page.read_text(encoding="utf-8").split("<article", 1)[1].split("</article>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", article))


def _sections(page: Path) -> dict[str, str]:
    """Heading of the second level -> the text below it."""
    parts = re.split(r"^(.+)¶$", _text(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {word}", below)


@pytest.mark.slow
def test_the_reference_has_every_option(site: Path) -> None:
    sections = _sections(site / "reference" / "cli.html")
    for name, command in _commands("frostline", typer.main.get_group(app)):
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert set(parameter.opts) <= set(sections[name].split()), name
                assert " ".join((parameter.help or "?").split()) in sections[name], name


def _models(module: Any) -> list[type[BaseModel]]:
    every = [getattr(module, name) for name in module.__all__]
    models = [m for m in every if isinstance(m, type) and issubclass(m, BaseModel)]
    return [m for m in models if not any(m in other.__mro__[1:] for other in models)]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "module"), [("study", config), ("records", records)])
def test_the_reference_has_every_field(site: Path, page: str, module: Any) -> None:
    path = site / "reference" / f"{page}.html"
    sections = _sections(path)
    for model in _models(module):
        (text,) = (sections[name] for name in sections if name.split()[-1] == model.__name__)
        assert set(model.model_fields) <= set(text.split()), model
    unexplained = re.findall(
        r"<tr[^>]*>(?:(?!</tr>).)*<td>(?:<p></p>)?</td>\s*</tr>", path.read_text(), re.S
    )
    assert unexplained == []


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert [name for name in frostline.__all__ if f'id="frostline.{name}"' not in text] == []


@pytest.mark.slow
def test_nothing_is_fetched_by_a_reader(site: Path) -> None:
    fetched = re.compile(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"(?:https?:)?//", re.I)
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style
