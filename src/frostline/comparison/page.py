"""A comparison as a page that stands on its own."""

from markupsafe import Markup

from frostline.comparison.drawing import figure_svgs
from frostline.comparison.results import NoiseFloor, Result, Trajectory
from frostline.comparison.words import notes
from frostline.pages import render_page

__all__ = ["page"]

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
    wide, narrow = figure_svgs(result.drawing(), result.heading)
    return render_page(
        "comparison.html",
        {
            "title": result.heading,
            "meaning": _meaning(result),
            "wide": wide,
            "narrow": narrow,
            "words": _words(result),
            "notes": list(notes(result)),
            "table": Markup(result._repr_html_()),  # noqa: S704  (escaped, see ``notebook``)
        },
    )


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
