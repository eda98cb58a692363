"""What the documentation says about the code, made from the code each time it is built.

A page holds a line ``<!-- generated: cli -->``; before Sphinx reads the page, the function of that
name below puts Markdown in its place. So a page has its prose in the page, and no option, field,
depth or result is written down twice.
"""

import csv
import dataclasses
import enum
import gzip
import importlib
import inspect
import json
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer.main
from pydantic import BaseModel
from rooms import draw

import frostline
from frostline import config, records, scores
from frostline.cli import app
from frostline.datasets.codes import CODES
from frostline.depth import BACKBONES, layer_table
from frostline.reporting import answer
from frostline.schema import described_attributes

__all__ = ["GENERATORS", "fill", "setup"]

PAGES = Path(__file__).parent
RESULTS = PAGES.parent / "benchmarks" / "results" / "real_runs"
# What the public functions return, where a user goes on with it.
RETURNED = (
    "frostline.advice.result.Advice",
    "frostline.advice.result.Pick",
    "frostline.advice.result.Other",
    "frostline.advice.result.Cost",
    "frostline.comparison.Comparison",
    "frostline.comparison.TensorDifference",
    "frostline.comparison.noise_floor",
    "frostline.comparison.NoiseFloor",
    "frostline.comparison.LayerFloor",
    "frostline.comparison.trajectory",
    "frostline.depth.LayerTable",
    "frostline.depth.ConvLayer",
    "frostline.datasets.DatasetIndex",
    "frostline.evaluation.Evaluation",
    "frostline.freezing.Frozen",
    "frostline.reporting.ReportPaths",
)

_MARK = re.compile(r"^<!-- generated: (\w+)(?: (\S+))? -->$", re.MULTILINE)
_SPECIAL = re.compile(r"([\\*_<>\[\]|])")


def fill(text: str) -> str:
    """A page's text with every mark replaced.

    Raises:
        KeyError: a mark names no generator.
    """

    def made(mark: re.Match[str]) -> str:
        return GENERATORS[mark[1]](*filter(None, [mark[2]]))

    return _MARK.sub(made, text)


# --- Markdown -------------------------------------------------------------------------------------


def _prose(text: str) -> str:
    """Plain text of a docstring or help as Markdown: only code spans keep their meaning."""
    text = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", " ".join(text.split()))
    parts = re.split(r"(``.+?``|`.+?`)", text)
    return "".join(
        part.replace("|", "\\|") if n % 2 else _SPECIAL.sub(r"\\\1", part)
        for n, part in enumerate(parts)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: object) -> str:
    return "`" + str(text).replace("|", "\\|") + "`"


# --- the command line -----------------------------------------------------------------------------


def cli() -> str:
    """Every command with its usage, arguments and options."""
    return "\n\n".join(_commands("frostline", typer.main.get_group(app)))


def _commands(name: str, command: Any) -> Iterator[str]:
    yield f"## `{name}`"
    yield _prose(command.help or "")
    hints = get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    shown = [_Parameter.of(p, hints[p.name]) for p in command.params if p.name in hints]
    arguments = [parameter.names for parameter in shown if parameter.is_argument]
    words = [name, "[OPTIONS]", *arguments, *(["COMMAND"] if _below(command) else [])]
    yield f"```text\n{' '.join(words)}\n```"
    if shown:
        yield _table(_Parameter.HEAD, (parameter.row() for parameter in shown))
    for word, below in _below(command).items():
        yield from _commands(f"{name} {word}", below)


def _below(command: Any) -> dict[str, Any]:
    return getattr(command, "commands", {})


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """An argument or option: what Typer parses, and the annotation it parses it for."""

    HEAD = ("argument or option", "value", "default", "meaning")

    names: str
    is_argument: bool
    value: str
    default: str
    help: str

    @classmethod
    def of(cls, parameter: Any, annotation: Any) -> "_Parameter":
        is_argument = parameter.param_type_name == "argument"
        names = [(parameter.metavar or parameter.name).upper()] if is_argument else parameter.opts
        default = getattr(parameter.default, "value", parameter.default)
        shown = "" if default in (None, False) else str(default)
        return cls(
            ", ".join(names),
            is_argument,
            _value(annotation),
            "required" if parameter.required else shown and _code(shown),
            parameter.help or "",
        )

    def row(self) -> tuple[str, str, str, str]:
        names = ", ".join(map(_code, self.names.split(", ")))
        return names, self.value, self.default, _prose(self.help)


def _value(annotation: Any) -> str:
    """What may be given: choices, a kind of value with its bounds, or nothing (a switch)."""
    kind, info = get_args(annotation)[:2]
    several = get_origin(kind) is list or any(get_origin(a) is list for a in get_args(kind))
    while get_args(kind):  # X | None, list[X]
        kind = get_args(kind)[0]
    if issubclass(kind, enum.Enum):
        return ", ".join(_code(choice.value) for choice in kind)
    if kind is bool:
        return "switch"
    name = {Path: "path", int: "integer", float: "number"}.get(kind, "text")
    bounds = [f"{sign} {at}" for sign, at in (("≥", info.min), ("≤", info.max)) if at is not None]
    return ", ".join([name, *bounds, *(["several"] if several else [])])


# --- study.yaml and records -----------------------------------------------------------------------


def study() -> str:
    """Every section of ``study.yaml``."""
    return _models(config.StudyConfig, config)


def record() -> str:
    """Every part of a trial's record."""
    return _models(records.TrialRecord, records)


def _models(root: type[BaseModel], module: Any) -> str:
    """A model and all models in its fields, in the order in which a reader meets them."""
    schema = root.model_json_schema()
    places = {root.__name__: ""}

    def meet(properties: dict[str, Any], place: str) -> None:
        for field, part in properties.items():
            for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(part)):
                if name not in places:
                    below = f"{place}{field}." + ("NAME." if "additionalProperties" in part else "")
                    places[name] = below
                    meet(schema["$defs"][name]["properties"], below)

    meet(schema["properties"], "")
    both = {**vars(scores), **vars(module)}  # a record declares its scores
    models = [(both[name], place.removesuffix(".")) for name, place in places.items()]
    shown = (module.__name__, scores.__name__)
    own = [
        _model(model, place)
        for model, place in models
        if model.__module__.startswith(shown)  # a model of another room is on that room's page
    ]
    return "\n\n".join(own)


def _model(model: type[BaseModel], place: str) -> str:
    texts = described_attributes(model)
    schema = model.model_json_schema()
    rows = [
        (
            _code(name),
            _type(schema["properties"][name]),
            _default_of(schema["properties"][name], required=name in schema.get("required", ())),
            _prose(texts.get(name, "")),
        )
        for name in model.model_fields
    ]
    heading = f"`{place}`: {model.__name__}" if place else model.__name__
    first = inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:")[0]
    table = _table(("field", "value", "default", "meaning"), rows)
    target = f"({model.__name__.lower()})="
    return f"{target}\n## {heading}\n\n{_prose(first)}\n\n{table}"


def _type(part: dict[str, Any]) -> str:
    """The values a JSON Schema admits, in words."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in part:
        return _code(json.dumps(part["const"]))
    if "enum" in part:
        return ", ".join(_code(value) for value in part["enum"])
    for key, word in (("anyOf", " or "), ("allOf", ", ")):
        if key in part:
            return word.join(dict.fromkeys(_type(one) for one in part[key]))
    return _basic_type(part)


def _basic_type(part: dict[str, Any]) -> str:
    kind = part.get("type", "anything")
    if kind == "array":
        if "prefixItems" in part:
            return f"{len(part['prefixItems'])} of {_type(part['prefixItems'][0])}"
        return f"list of {_type(part.get('items', {}))}"
    if kind == "object":
        inner = part.get("additionalProperties")
        of = f" of {_type(inner)}" if isinstance(inner, dict) else ""
        return f"mapping{of}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {part[key]}" for key, sign in signs.items() if key in part]
    return ", ".join([{"string": "text"}.get(kind, kind), *bounds])


def _default_of(part: dict[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    value = part.get("default")
    if isinstance(value, dict) or "default" not in part:
        return "as below" if "$ref" in part else "none"
    return _code(json.dumps(value))


# --- depth ----------------------------------------------------------------------------------------


def stages(architecture: str) -> str:
    """Where the stages of a backbone end, in both numberings."""
    table = layer_table(architecture)
    paper = table.stage_ends("paper")
    rows = []
    before = 0
    for stage, end in table.stage_ends().items():
        projections = sum(x.role == "projection" for x in table.layers[before:end])
        counted = str(paper[stage]) if paper[stage] else "with the first"
        rows.append((_code(stage), str(end - before), str(projections), str(end), counted))
        before = end
    head = ("stage", "convolutions", "of these projections", "k, all", "k, paper")
    return _table(head, rows)


def backbones() -> str:
    """The known backbones and their stage ends."""
    rows = []
    for name in BACKBONES:
        ends = layer_table(name).stage_ends()
        steps = ", ".join(f"{stage} {end}" for stage, end in ends.items())
        rows.append((_code(name), str(len(layer_table(name))), steps))
    return _table(("backbone", "convolutions", "k at which each stage is completely frozen"), rows)


# --- pictures -------------------------------------------------------------------------------------


def screenshot(name: str) -> str:
    """``images/NAME_light.png`` and ``images/NAME_dark.png``, once both are there."""
    shades = ("light", "dark")
    if not all((PAGES / "images" / f"{name}_{shade}.png").is_file() for shade in shades):
        return ""
    return "\n\n".join(
        f"```{{image}} /images/{name}_{shade}.png\n:class: only-{shade}\n:alt: {name}\n```"
        for shade in shades
    )


# --- recorded results -----------------------------------------------------------------------------


def cells(name: str) -> str:
    """The cells of a recorded study: mean, seeds, and what can be told apart."""
    facts = json.loads((RESULTS / name / "facts.json").read_text(encoding="utf-8"))
    with (RESULTS / name / "tables" / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = [_cell(row) for row in csv.DictReader(file)]
    head = ("start", "k", "seeds", "AP, mean", "lowest, highest", "below the best by", "verdict")
    done = f"{facts['trials']} of {facts['planned']} planned trials are recorded."
    return f"{done}\n\n{_table(head, rows)}"


def _cell(row: dict[str, str]) -> tuple[str, ...]:
    points = {key: 100 * float(row[key]) for key in ("mean", "low", "high", "difference")}
    apart = "" if row["verdict"] == "best" else f"{-points['difference']:.1f} points"
    return (
        row["init"].replace("_", "\\_"),
        row["depth"],
        row["seeds"],
        f"{points['mean']:.1f}",
        f"{points['low']:.1f}, {points['high']:.1f}",
        apart,
        {"tie": "cannot tell", "unknown": "no measure of noise"}.get(
            row["verdict"], row["verdict"]
        ),
    )


def noise(name: str) -> str:
    """What seeds alone did in a recorded study, and what two cells must differ by."""
    found = answer(_records(name), deepest=0)
    trials = sum(len(comparison.cell.values) for comparison in found.comparisons)
    halves = [(c.high - c.low) / 2 for c in found.comparisons if c.verdict in ("tie", "lower")]
    return (
        f"In the recorded study `{name}`, {trials} trials in {len(found.comparisons)} cells give a "
        f"standard deviation of {100 * found.noise.sd:.2f} AP points with {found.noise.freedom} "
        "degrees of freedom. To be told from the best one, a cell must lie more than "
        f"{100 * min(halves):.1f} points below it."
    )


def starts(name: str) -> str:
    """How two recorded starts compare in AP, and how far their layers moved with nothing frozen."""
    trials = _records(name)
    found = answer(trials, deepest=0)
    moved = {
        init: statistics.fmean(_early_differences(trials, init))
        for init in dict.fromkeys(record.key.init for record in trials)
    }
    lines = [
        f"against {found.best.init if found.best else 'the best'}, `{start.init}` scores "
        f"{100 * start.difference:+.1f} AP points ({100 * start.low:+.1f} to "
        f"{100 * start.high:+.1f}) over the depths that both ran"
        for start in found.starts
    ]
    layers = ", ".join(f"{value:.1e} from `{init}`" for init, value in moved.items())
    return (
        f"In the recorded study `{name}`, {'; '.join(lines)}. With nothing frozen, 1 - \\|cos\\| "
        f"over the first two thirds of the layers is on average {layers}."
    )


def _records(name: str) -> list[records.TrialRecord]:
    with gzip.open(RESULTS / name / "records.jsonl.gz", "rt", encoding="utf-8") as file:
        return [records.TrialRecord.from_dict(json.loads(line)) for line in file]


def _early_differences(trials: Iterable[records.TrialRecord], init: str) -> Iterator[float]:
    for trial in trials:
        if (trial.key.init, trial.key.plan) == (init, "k00"):
            yield from (
                row["cosine"] for row in trial.differences[: len(trial.differences) * 2 // 3]
            )


# --- Python ---------------------------------------------------------------------------------------


def python() -> str:
    """The public names, by autodoc."""
    return "\n\n".join(_documented("frostline", name) for name in frostline.__all__)


def returned() -> str:
    """What the public functions return, by autodoc."""
    return "\n\n".join(_documented(*path.rsplit(".", 1)) for path in RETURNED)


def _documented(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    if not isinstance(value, type):
        directive = f".. autofunction:: {module}.{name}"
    elif issubclass(value, BaseModel | Exception):  # fields and kinds have pages of their own
        directive = f".. autoclass:: {module}.{name}()"
    else:
        directive = f".. autoclass:: {module}.{name}\n   :members:"
    return f"### {name}\n\n```{{eval-rst}}\n{directive}\n```"


def _escape_bars(*arguments: Any) -> None:
    """In docstrings ``|w|`` is a norm; to reStructuredText it would be a substitution."""
    lines: list[str] = arguments[-1]
    for n, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        lines[n] = "``".join(parts)


# --- Sphinx ---------------------------------------------------------------------------------------


def findings() -> str:
    """Kinds of findings of ``frostline data check``."""
    rows = ((f"`{code}`", *_described(text)) for code, text in sorted(CODES.items()))
    return _table(("finding", "what it means", "what to do"), rows)


def _described(text: tuple[str, str]) -> tuple[str, str]:
    means, advice = text
    return means, "" if advice == "nothing" else advice


def rooms() -> str:
    """The picture of the rooms."""
    return draw()


GENERATORS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        rooms,
        findings,
        cli,
        study,
        record,
        stages,
        backbones,
        screenshot,
        cells,
        noise,
        starts,
        python,
        returned,
    )
}


def _read(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def setup(sphinx: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    sphinx.connect("source-read", _read)
    sphinx.connect("autodoc-process-docstring", _escape_bars)
    return {"parallel_read_safe": True}
