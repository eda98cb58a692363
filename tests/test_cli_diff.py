"""``frostline diff`` as a command: output, exit codes, and what it does not import."""

import csv
import gc
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from frostline.cli_diff import command, diff, quick
from frostline.cli_diff.quick import parse, run_quickly
from frostline.cli_diff.running import Request
from frostline.cli_table import Format
from frostline.errors import AlignmentError, CheckpointError, ConfigError

app = typer.Typer(add_completion=False)
app.command()(diff)


def net(seed: Any) -> Any:
    g = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        + 1e-3 * torch.randn(4, 3, 3, 3, generator=g),
        "fc.weight": torch.randn(5, 4, generator=torch.Generator().manual_seed(0)),
        "=formula": torch.ones(2) * (seed + 1),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for seed in range(4):
        torch.save(net(seed), tmp_path / f"{seed}.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: Any) -> Any:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_table(folder: Any) -> None:
    result = run("0.pth", "1.pth")
    assert result.exit_code == 0
    assert "conv.weight" in result.stdout
    assert "1-|cos|" in result.stdout
    assert "file order: no known backbone" in result.stderr


def test_json(folder: Any) -> None:
    content = json.loads(run("0.pth", "1.pth", "--format", "json").stdout)
    assert content["before"] == "0.pth"
    assert [row["name"] for row in content["rows"]] == ["conv.weight"]
    assert content["rows"][0]["precision"] == "float64"


def test_csv(folder: Any) -> None:
    rows = list(
        csv.DictReader(
            io.StringIO(run("0.pth", "1.pth", "--format", "csv", "--kind", "all").stdout)
        )
    )
    assert [row["name"] for row in rows] == ["conv.weight", "fc.weight", "'=formula"]
    assert rows[0]["shape"] == "4x3x3x3"
    assert 0 < float(rows[0]["cosine"]) < 1e-4
    assert float(rows[1]["cosine"]) == 0
    assert float(rows[0]["filters_median"]) > 0


def test_several_files_are_a_trajectory(folder: Any) -> None:
    content = json.loads(run("0.pth", "1.pth", "2.pth", "--format", "json").stdout)
    assert content["steps"] == ["1.pth", "2.pth"]
    assert len(content["rows"][0]["cosine"]) == 2
    header = run("0.pth", "1.pth", "2.pth", "--format", "csv").stdout.splitlines()[0]
    assert "cosine 1.pth,cosine 2.pth" in header
    assert "2.pth" in run("0.pth", "1.pth", "2.pth").stdout


def test_seeds(folder: Any) -> None:
    result = run("0.pth", "1.pth", "2.pth", "--seeds", "--control", "3.pth", "--factor", "0.5")
    assert "moved" in result.stdout
    assert "of 1 moved: signal > 0.5 x floor" in result.stderr
    content = json.loads(run("0.pth", "1.pth", "2.pth", "--seeds", "--format", "json").stdout)
    assert content["rows"][0]["floor"] > 0


def test_figures_and_pages(folder: Any) -> None:
    run("0.pth", "1.pth", "--plot", "x.svg", "--html", "x.html")
    assert "<svg" in (folder / "x.svg").read_text()
    assert "conv.weight" in (folder / "x.html").read_text()


def test_names_that_are_not_unicode(folder: Any) -> None:
    torch.save({"half\ud800.weight": torch.ones(2, 2)}, "x.pth")
    Path("x.pth").rename("x\udcff.pth")
    for plot in ("x.svg", "x.png"):
        run("x\udcff.pth", "x\udcff.pth", "x\udcff.pth", "--plot", plot, "--html", "x.html")
    page = (folder / "x.html").read_text()
    assert r"half\ud800.weight" in page
    assert r"x\udcff.pth" in page


def test_files_that_cannot_be_written(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    for option, name in (("--plot", "x.svg"), ("--plot", "x.png"), ("--html", "x.html")):
        assert run_quickly(["0.pth", "1.pth", option, f"file/{name}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: cannot write file/x.")
        assert error.count("\n") == 1


def test_fail_above(folder: Any) -> None:
    assert run("0.pth", "1.pth", "--fail-above", "1e-3").exit_code == 0
    result = run("0.pth", "1.pth", "--fail-above", "1e-12")
    assert result.exit_code == 1
    assert "conv.weight" in result.stderr
    assert run("0.pth", "1.pth", "2.pth", "--fail-above", "1e-12").exit_code == 1
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, folder / "zero.pth")
    assert run("0.pth", "zero.pth", "--fail-above", "0.9").exit_code == 1


def test_map_and_show_map(folder: Any) -> None:
    torch.save({"other.weight": net(1)["conv.weight"], "more": torch.zeros(9)}, folder / "x.pth")
    args = ["0.pth", "x.pth", "--map", "conv=other", "--show-map", "--format", "json"]
    shown = json.loads(run(*args).stdout)["rows"]
    assert {"before": "conv.weight", "after": "other.weight", "how": "map"} in shown
    assert {"before": None, "after": "more", "how": None} in shown
    assert {"before": "fc.weight", "after": None, "how": None} in shown
    assert "conv.weight" in run("0.pth", "x.pth", "--show-map").stdout
    assert run("0.pth", "x.pth", "1.pth", "--show-map", "--format", "csv").stdout.startswith(
        "file,"
    )


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["0.pth", "gone.pth"], CheckpointError),
        (["0.pth", "1.pth", "--map", "nosign"], ConfigError),
        (["0.pth", "1.pth", "--map", "a=b"], AlignmentError),
        (["0.pth", "1.pth", "--plot", "x.jpg"], ConfigError),
        (["0.pth", "1.pth", "--control", "2.pth"], ConfigError),
        (["0.pth", "1.pth", "--seeds"], ConfigError),
        (["0.pth", "1.pth", "--include", "x*"], AlignmentError),
        (["0.pth", "1.pth", "--section", "model"], CheckpointError),
        (["0.pth", "1.pth", "--model", "resnet50"], AlignmentError),
    ],
)
def test_misuse_is_one_line(folder: Any, args: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        run(*args)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (folder / "x.jpg").exists()


def test_unknown_kind(folder: Any) -> None:
    assert run("0.pth", "1.pth", "--kind", "convs").exit_code == 2


def test_no_terminal_escapes_in_tables(folder: Any) -> None:
    torch.save({"\x1b[31mred.weight": torch.ones(2, 2)}, "evil.pth")
    assert "\x1b[31m" not in run("evil.pth", "evil.pth").stdout


# The parser that is used where it understands the arguments


def typer_params() -> Any:
    return {p.name: p for p in typer.main.get_command(app).params if p.name != "help"}


def test_both_parsers_know_the_same_options() -> None:
    options = {p.opts[0]: p.name for p in typer_params().values() if p.param_type_name == "option"}
    named = {option: field for option, (field, _) in (quick.CHOICES | quick.VALUES).items()}
    assert quick.FLAGS | quick.LISTS | named == options
    assert {"base", "others", *options.values()} == set(Request._fields)


def test_both_parsers_have_the_same_defaults_and_choices() -> None:
    request = parse(["a", "b"])
    assert request == Request(Path("a"), [Path("b")], include=[], exclude=[], rename=[])
    for option, kinds in (("--kind", command.Kind), ("--format", Format)):
        assert quick.CHOICES[option][1] == tuple(kind.value for kind in kinds)


ARGUMENTS = [
    ["0.pth", "1.pth"],
    ["0.pth", "1.pth", "2.pth", "--kind", "all", "--format", "json", "--exact"],
    ["--format=csv", "0.pth", "--include", "*conv*", "--include", "x", "1.pth", "--exclude", "y"],
    ["0.pth", "1.pth", "--eps", "1e-3", "--model", "resnet50", "--section", "model"],
    ["0.pth", "1.pth", "2.pth", "--seeds", "--control", "3.pth", "--factor", "3"],
    ["0.pth", "1.pth", "--map", "a=b", "--map", "c=d", "--show-map", "--fail-above", "0.5"],
    ["0.pth", "1.pth", "--plot", "x.svg", "--html", "x.html"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_both_parsers_read_the_same(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []
    monkeypatch.setattr(command, "run", lambda request: requests.append(request) or 0)  # type: ignore[func-returns-value]
    assert run(*arguments).exit_code == 0
    by_typer = requests[0]._replace(**{k: list(getattr(requests[0], k)) for k in LISTS})
    by_us = parse(arguments)
    assert by_us._replace(**{k: list(getattr(by_us, k)) for k in LISTS}) == by_typer  # type: ignore[arg-type,union-attr]


LISTS = ("others", "include", "exclude", "rename")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["a"], ["--help"], ["a", "b", "-h"], ["a", "b", "--kind", "convs"],
        ["a", "b", "--eps", "-1"], ["a", "b", "--eps", "nan"], ["a", "b", "--unknown"],
        ["a", "b", "--format", "xml"], ["a", "b", "--factor", "much"], ["a", "b", "--kin", "all"],
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_to_typer(arguments: Any) -> None:
    assert parse(arguments) is None
    assert run_quickly(arguments) is None


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The quick command turns the garbage collector off, for the rest of its process."""
    yield
    gc.enable()


def test_quick_exit_codes(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_quickly(["0.pth", "1.pth"]) == 0
    assert run_quickly(["0.pth", "1.pth", "--fail-above", "1e-12"]) == 1
    assert run_quickly(["0.pth", "gone.pth"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: gone.pth: expected")


def test_quick_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(request: pytest.FixtureRequest) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("frostline.cli_diff.quick.run", interrupted)
    assert run_quickly(["a", "b"]) == 130
    assert "interrupted" in capsys.readouterr().err


def frostline(*args: Any, **options: Any) -> Any:
    command_line = [sys.executable, "-m", "frostline", "diff", *args]
    return subprocess.run(command_line, capture_output=True, text=True, check=False, **options)


def test_as_a_command(folder: Any) -> None:
    assert frostline("0.pth", "1.pth", "--format", "json").returncode == 0
    missing = frostline("0.pth", "gone.pth")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.count("\n") == 1
    wrong = frostline("0.pth", "1.pth", "--kind", "convs")
    assert wrong.returncode == 2
    assert "convs" in wrong.stderr
    assert "Weights before" in frostline("--help").stdout


def test_a_reader_that_stops_reading(folder: Any) -> None:
    command_line = f"{sys.executable} -m frostline diff 0.pth 1.pth --kind all | true"
    done = subprocess.run(["sh", "-c", command_line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_a_full_disk_is_one_line(folder: Any, output: str) -> None:
    command_line = f"{sys.executable} -m frostline diff 0.pth 1.pth --format {output} > /dev/full"
    done = subprocess.run(["sh", "-c", command_line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


IMPORTS = """
import sys
from frostline.cli_diff.quick import run_quickly
assert run_quickly(sys.argv[1:]) == 0
print(*sorted(sys.modules), file=sys.stderr)
"""
HEAVY = {
    "torch", "matplotlib", "pydantic", "safetensors", "yaml", "jinja2", "PIL", "lightning_fabric",
    "typer", "zipfile", "logging", "hashlib", "asyncio", "concurrent.futures", "numpy.ma",
}  # fmt: skip
OURS = {"json": 39, "csv": 41, "table": 42}  # modules of frostline, packages included


@pytest.mark.parametrize("output", ["json", "csv", "table"])
def test_imports_are_counted(folder: Any, output: str) -> None:
    command_line = [sys.executable, "-c", IMPORTS, "0.pth", "1.pth", "--format", output]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    allowed = {"logging"} if output == "table" else set()  # rich's own
    assert not loaded & HEAVY - allowed
    ours = {name for name in loaded if name.startswith("frostline")}
    assert len(ours) <= OURS[output], sorted(ours)
    assert not {"frostline.difference.layers", "frostline.figures"} & ours
    if output != "table":
        assert not {name for name in loaded if name.startswith("rich")}


def test_a_vanished_layer_fails_unless_left_out(folder: Any) -> None:
    torch.save({k: v for k, v in net(0).items() if k != "fc.weight"}, "cut.pth")
    torch.save(net(0) | {"new.weight": torch.ones(2, 2)}, "grown.pth")
    cut = ("0.pth", "cut.pth", "--kind", "all", "--fail-above", "1")
    result = run(*cut)
    assert result.exit_code == 1
    assert "1 tensors have no counterpart, the first: fc.weight" in result.stderr
    assert run(*cut, "--exclude", "fc*").exit_code == 0
    assert run("0.pth", "cut.pth", "--fail-above", "1").exit_code == 0  # of another kind
    assert run("0.pth", "grown.pth", "--kind", "all", "--fail-above", "1").exit_code == 0


def test_remarks_say_which_part_and_what_was_left_out(folder: Any) -> None:
    torch.save({"model": net(1), "ema": net(2), "optimizer": {"m": torch.ones(2)}}, "both.pth")
    remarks = run("0.pth", "both.pth").stderr
    assert "both.pth: part model; it also has ema, optimizer (--section)" in remarks
    assert "1 of 3 matched tensors compared, kind conv (--kind)" in remarks
    other = json.loads(run("0.pth", "both.pth", "--section", "ema", "--format", "json").stdout)
    assert other["sections"] == [[], ["ema", "model", "optimizer"]]
    want = json.loads(run("0.pth", "2.pth", "--format", "json").stdout)
    assert other["rows"] == want["rows"]
    steps = ("0.pth", "both.pth", "--section", "ema", "--format", "json")
    first = json.loads(run(steps[0], "1.pth", *steps[1:]).stdout)["rows"][0]["cosine"]
    assert first[1] == want["rows"][0]["cosine"]


def test_remarks_say_what_was_guessed(folder: Any) -> None:
    torch.save({f"wrapped.up.{name}": value for name, value in net(1).items()}, "other.pth")
    assert "2 of 2 matched by how their names end" in run("0.pth", "other.pth").stderr
    assert "names end" not in run("0.pth", "1.pth").stderr


def other_net(seed: int) -> Any:
    """Another network: it shares the names and shapes of two small tensors with ``net``."""
    g = torch.Generator().manual_seed(seed)
    big = {f"stage{n}.conv.weight": torch.randn(8, 8, 3, 3, generator=g) for n in range(3)}
    return {"conv.weight": torch.randn(4, 3, 3, 3, generator=g)} | big


def test_two_different_networks_are_no_result(folder: Any) -> None:
    torch.save(net(0) | {"deep.weight": torch.ones(40, 40)}, "one.pth")
    torch.save(other_net(1), "two.pth")
    result = run("one.pth", "two.pth")
    assert result.exit_code == 1
    assert "one.pth and two.pth look like different networks" in result.stderr
    assert run("one.pth", "two.pth", "--allow-different").exit_code == 0
    content = json.loads(run("one.pth", "two.pth", "--format", "json").stdout)
    assert content["looks_different"] is True
    assert run("one.pth", "0.pth", "two.pth").exit_code == 1  # the second step
    assert run("0.pth", "1.pth").exit_code == 0
    assert run("0.pth", "one.pth").exit_code == 0  # all of the smaller file is in the larger


def test_seeds_of_another_network(folder: Any) -> None:
    torch.save(net(0) | {"deep.weight": torch.ones(40, 40)}, "one.pth")
    torch.save(other_net(1), "two.pth")
    torch.save(other_net(2), "three.pth")
    assert run("one.pth", "two.pth", "three.pth", "--seeds").exit_code == 1
    assert run("0.pth", "1.pth", "2.pth", "--seeds").exit_code == 0


def test_files_of_one_name_are_called_by_their_paths(folder: Any) -> None:
    for name, seed in (("before", 0), ("after", 1)):
        Path(name).mkdir()
        torch.save(net(seed), f"{name}/best.pth")
    content = json.loads(run("before/best.pth", "after/best.pth", "--format", "json").stdout)
    assert (content["before"], content["after"]) == ("before/best.pth", "after/best.pth")


def test_what_is_left_out_is_named(folder: Any) -> None:
    torch.save(net(1) | {"mask": torch.eye(3).to_sparse()}, "sparse.pth")
    result = run("0.pth", "sparse.pth")
    assert "sparse.pth: 1 tensor left out: mask (sparse)" in result.stderr
    content = json.loads(run("0.pth", "sparse.pth", "--format", "json").stdout)
    assert content["left_out"] == [{}, {"mask": "sparse"}]


def test_pairs_by_order_are_said_to_be_such(folder: Any) -> None:
    layers = [torch.randn(n + 2, 3, 3, 3) for n in range(10)]
    torch.save({f"one.{n}.weight": w for n, w in enumerate(layers)}, "one.pth")
    torch.save({f"l{n}.kernel.weight": w for n, w in enumerate(layers)}, "two.pth")
    result = run("one.pth", "two.pth", "--format", "json")
    content = json.loads(result.stdout)
    assert content["matched"] == {"order": 10}
    assert content["confidence"] == 1.0
    assert all(row["cosine"] == 0 for row in content["rows"])
    shown = run("one.pth", "two.pth").stderr
    assert "10 of 10 matched by order and shape" in shown
    assert "confidence 1.00 of 1" in shown
