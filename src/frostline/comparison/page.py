"""Comparisons as HTML: a table for notebooks, and a page that stands on its own."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from frostline.comparison.floor import NoiseFloor
from frostline.comparison.pairs import Comparison, TensorDifference
from frostline.comparison.steps import Trajectory
from frostline.comparison.words import notes, number_format
from frostline.notebook import table_html

__all__ = ["comparison_table", "floor_table", "heading", "page", "trajectory_table"]

Result = Comparison | Trajectory | NoiseFloor

_COMPARISON_WORDS = (
    ("1 - |cos|", "How far the weights turned: 0 is the same direction, 1 is orthogonal."),
    ("angle", "The same turn in degrees; 0 to 180, so that a reversal shows."),
    ("relative L2", "Length of the change over the length before."),
    ("norm ratio", "Length after over length before."),
    ("median filter", "1 - |cos| of the middle one of the layer's filters."),
    ("folded", "1 - |cos| of the weight as the network applies it, its BatchNorm included."),
)
_FLOOR_WORDS = (
    ("signal", "Angle between the start and the mean over seeds."),
    ("floor", "What that angle would be if the seeds had nothing in common."),
    ("agreement", "Mean cosine between the updates of two seeds: 1 is the same way, 0 is chance."),
    ("1 - |cos|", "Mean over seeds, against the start."),
    ("threshold t", "1 - |cos| of the mean over seeds beyond which a layer counts as moved."),
    ("control", "The angle of the control run; what optimisation alone moves."),
)


def page(result: Result) -> str:
    """A self-contained HTML document with the figure and the table of a result."""
    from frostline.comparison.drawing import figure_svgs

    title = heading(result)
    wide, narrow = figure_svgs(result, title)
    return _PAGE.format(
        title=escape(title),
        meaning=escape(_meaning(result)),
        wide=wide,
        narrow=narrow,
        words="".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>\n" for a, b in _words(result)),
        notes="".join(f"<li>{escape(note)}</li>\n" for note in notes(result)),
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
        "from 0 (same direction) to 1 (orthogonal), not how much that matters; learning rate, "
        "steps and weight decay move it too."
    )


def _words(result: Result) -> tuple[tuple[str, str], ...]:
    """The columns of the table, each with a sentence."""
    if isinstance(result, NoiseFloor):
        return _FLOOR_WORDS
    if isinstance(result, Trajectory):
        return (("a file's column", f"1 - |cos| of its layer against {result.base}."),)
    return _COMPARISON_WORDS


def comparison_table(result: Comparison) -> str:
    """The rows of a comparison as an HTML table."""
    head = ("#", "layer", "stage", "shape", "1 - |cos|", "angle / deg", "relative L2", "norm ratio",
            "median filter", "folded", "note")  # fmt: skip
    rows = (
        (
            _whole(row.index),
            row.name,
            row.stage,
            _shape(row.shape),
            row.difference.cosine,
            row.difference.angle,
            row.difference.relative_l2,
            _fixed(row.difference.norm_ratio, 6),
            row.difference.filters.median if row.difference.filters else "",
            row.folded.cosine if row.folded else "",
            row.difference.note,
        )
        for row in result.rows
    )
    return _table(f"{result.before} against {result.after}", head, rows)


def trajectory_table(result: Trajectory) -> str:
    """1 - |cos| of each tensor at every step as an HTML table."""
    values = [{row.name: row for row in step.rows} for step in result.steps]
    names = dict.fromkeys(row.name for step in result.steps for row in step.rows)
    rows = (
        (
            *_place(next(v[name] for v in values if name in v)),
            *(v[name].cosine if name in v else "" for v in values),
        )
        for name in names
    )
    head = ("#", "layer", "stage", *(step.after for step in result.steps))
    return _table(f"{result.base}, 1 - |cos|", head, rows)


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
            row.signal,
            row.floor,
            _fixed(row.agreement, 3),
            row.cosine,
            row.threshold,
            row.note or ("yes" if row.moved else "no"),
            "" if row.control is None else row.control,
        )
        for row in result.rows
    )
    return _table(heading(result), head, rows)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """Columns of text and numbers; a column without any value is left out."""
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    shown = [(name, cells) for name, cells in zip(head, columns, strict=False) if any(cells)]
    return table_html(
        caption, [name for name, _ in shown], zip(*(cells for _, cells in shown), strict=True)
    )


def _column(cells: Sequence[str | float]) -> list[str]:
    write = number_format(cells)
    return [cell if isinstance(cell, str) else write(cell) for cell in cells]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape) or "scalar"


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else ""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #17202a; --paper: #ffffff; --rule: #d9dfe5;
  --muted: #5b6774; --grid: #d9dfe5; --alert: #b3123a; --line-1: #0b6fb8; --line-2: #c8500a;
  --line-3: #00805e; --line-4: #a0408a; --line-5: #8a6a00; --line-6: #4a5a6a; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere; }}
p, li, dd {{ max-width: 80ch; }}
.figure svg {{ display: block; width: 100%; height: auto; font-family: inherit; }}
.narrow {{ display: none; max-width: 480px; }}
.notes, summary {{ color: var(--muted); font-size: .9rem; }}
.notes {{ padding-left: 1.2rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .9rem; }}
dt {{ font-weight: 600; }} dd {{ margin: 0; }}
.scroll {{ overflow-x: auto; margin-top: 1rem; }}
.scroll caption {{ display: none; }} /* the heading says it */
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .2rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; }}
td {{ white-space: nowrap; }}
th {{ max-width: 12rem; overflow-wrap: anywhere; vertical-align: bottom; }}
th:nth-child(2), td:nth-child(2), th:nth-child(3), td:nth-child(3) {{ text-align: left; }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8eef4; --paper: #10161c; --rule: #2e3944; --muted: #9aa8b5; --grid: #2e3944;
    --alert: #ff7d98; --line-1: #5cb8f2; --line-2: #ff9a52; --line-3: #3ed6a6;
    --line-4: #ea9ad3; --line-5: #e6c04a; --line-6: #b4c2d0; }}
}}
@media screen and (max-width: 720px) {{
  body {{ padding: .9rem; }}
  .wide {{ display: none; }} .narrow {{ display: block; }}
  dl {{ grid-template-columns: 1fr; }} dd {{ margin-bottom: .4rem; }}
  th:first-child, td:first-child, th:nth-child(3), td:nth-child(3) {{ display: none; }}
  th:nth-child(2), td:nth-child(2) {{ position: sticky; left: 0; background: var(--paper);
    padding-left: 0; min-width: 9.5rem; white-space: normal; overflow-wrap: anywhere; }}
}}
@media print {{
  .scroll {{ overflow: visible; }} table {{ font-size: 7.5pt; }} tr {{ break-inside: avoid; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{meaning}</p>
<div class="figure wide">{wide}</div>
<div class="figure narrow">{narrow}</div>
<ul class="notes">
{notes}</ul>
<details><summary>What the columns say</summary>
<dl>
{words}</dl>
</details>
<div class="scroll" tabindex="0" role="region" aria-label="Table">{table}</div>
</body>
</html>
"""
