"""Comparisons as HTML: a table for notebooks, and a page that stands on its own."""

import math
from collections.abc import Sequence
from html import escape

from frostline.comparison.floor import NoiseFloor
from frostline.comparison.pairs import Comparison, TensorDifference
from frostline.comparison.steps import Trajectory
from frostline.notebook import table_html

__all__ = ["comparison_table", "floor_table", "heading", "page", "trajectory_table"]

Result = Comparison | Trajectory | NoiseFloor


def page(result: Result) -> str:
    """A self-contained HTML document with the figure and the table of a result."""
    from frostline.comparison.drawing import figure_svgs

    light, dark = figure_svgs(result)
    title = escape(heading(result))
    return _PAGE.format(
        title=title,
        meaning=escape(_meaning(result)),
        light=light,
        dark=dark,
        table=result._repr_html_(),
    )


def heading(result: Result) -> str:
    """One line that says what was compared."""
    if isinstance(result, NoiseFloor):
        return f"{result.base}: what {len(result.seeds)} seeds moved"
    if isinstance(result, Trajectory):
        return f"{result.base}: {len(result.steps)} steps away"
    return f"{result.before} against {result.after}"


def _meaning(result: Result) -> str:
    """What the numbers say, in words, below the heading."""
    if isinstance(result, NoiseFloor):
        return (
            f"{len(result.moved)} of {len(result.rows)} layers moved: the angle between the start "
            f"and the mean of the seeds exceeds {result.factor:g} times what the spread between "
            "seeds alone would give."
        )
    first = result.steps[0] if isinstance(result, Trajectory) else result
    order = (
        f"in forward order of the recognised {first.architecture}"
        if first.order == "forward"
        else "in file order, since no known backbone was recognised"
    )
    return (
        f"1 - |cos| between the weights before and after, {order}. It says how far a layer turned, "
        "not how much that matters; learning rate, steps and weight decay move it too."
    )


def comparison_table(result: Comparison) -> str:
    """The rows of a comparison as an HTML table."""
    head = ("#", "layer", "stage", "shape", "1 - |cos|", "angle / deg", "relative L2", "norm ratio",
            "median filter", "folded", "note")  # fmt: skip
    return table_html(f"{result.before} against {result.after}", head, map(_cells, result.rows))


def _cells(row: TensorDifference) -> tuple[str, ...]:
    d = row.difference
    return (
        _whole(row.index),
        row.name,
        row.stage,
        _shape(row.shape),
        _small(d.cosine),
        _small(d.angle),
        _small(d.relative_l2),
        _number(d.norm_ratio, ".6f"),
        _small(d.filters.median) if d.filters else "",
        _small(row.folded.cosine) if row.folded else "",
        d.note,
    )


def trajectory_table(result: Trajectory) -> str:
    """1 - |cos| of each tensor at every step as an HTML table."""
    values = [{row.name: row for row in step.rows} for step in result.steps]
    names = dict.fromkeys(row.name for step in result.steps for row in step.rows)
    rows = (
        (
            *_place(next(v[name] for v in values if name in v)),
            *(_small(v[name].cosine) if name in v else "" for v in values),
        )
        for name in names
    )
    head = ("#", "layer", "stage", *(step.after for step in result.steps))
    return table_html(f"{result.base}, 1 - |cos|", head, rows)


def _place(row: TensorDifference) -> tuple[str, str, str]:
    return _whole(row.index), row.name, row.stage


def floor_table(result: NoiseFloor) -> str:
    """Signal, floor and verdict of each tensor as an HTML table."""
    head = ("#", "layer", "stage", "signal / deg", "floor / deg", "agreement", "1 - |cos|",
            "threshold t", "moved", "control / deg")  # fmt: skip
    rows = (
        (
            _whole(row.index),
            row.name,
            row.stage,
            _small(row.signal),
            _small(row.floor),
            _number(row.agreement, ".3f"),
            _small(row.cosine),
            _small(row.threshold),
            row.note or ("yes" if row.moved else "no"),
            "" if row.control is None else _small(row.control),
        )
        for row in result.rows
    )
    return table_html(heading(result), head, rows)


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape) or "scalar"


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _small(value: float) -> str:
    return "0" if value == 0 else _number(value, ".2e")


def _number(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else ""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #17202a; --paper: #ffffff; --rule: #d9dfe5; }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere; }}
.figure {{ overflow-x: auto; }}
.figure svg {{ max-width: 100%; height: auto; }}
.dark {{ display: none; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding: .5rem 0; }}
th, td {{ padding: .2rem .6rem; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }}
th:nth-child(2), td:nth-child(2), th:nth-child(3), td:nth-child(3) {{ text-align: left; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8eef4; --paper: #10161c; --rule: #2e3944; }}
  .dark {{ display: block; }} .light {{ display: none; }}
}}
@media print {{
  :root {{ --ink: #000; --paper: #fff; }} .dark {{ display: none; }} .light {{ display: block; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{meaning}</p>
<div class="figure light">{light}</div>
<div class="figure dark" aria-hidden="true">{dark}</div>
<div class="scroll">{table}</div>
</body>
</html>
"""
