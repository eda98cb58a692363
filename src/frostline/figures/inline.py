"""Figures as inline SVG that takes its colours and its font from the page around it.

The page defines the CSS variables ``--ink``, ``--muted``, ``--grid``, ``--alert`` and ``--line-1``
to ``--line-6``.
"""

import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from frostline.figures.files import svg_text
from frostline.figures.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE", "inline_svg"]

# Colours that nothing else has; each becomes a CSS variable, so one drawing serves light, dark
# and print.
PAGE = Theme(
    ink="#010e01",
    muted="#010e02",
    grid="#010e03",
    paper="none",
    alert="#010e04",
    lines=("#010e11", "#010e12", "#010e13", "#010e14", "#010e15", "#010e16"),
)
_VARIABLES = {
    PAGE.ink: "var(--ink)",
    PAGE.muted: "var(--muted)",
    PAGE.grid: "var(--grid)",
    PAGE.alert: "var(--alert)",
    **{color: f"var(--line-{n})" for n, color in enumerate(PAGE.lines, start=1)},
}

_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_SIZE = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>')
_FONT = re.compile(r"font: ([^;\"]*?)(\d+(?:\.\d+)?)px [^;\"]*")
_ID = re.compile(r' id="([^"]+)"')
_USE = re.compile(r'(url\(#|href="#)([^)"]+)')
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def inline_svg(figure: "Figure", *, name: str, title: str) -> Markup:
    """Markup of a figure that was drawn with the theme ``PAGE``.

    Args:
        figure: what to draw.
        name: goes in front of every id, so that two figures of a page share none.
        title: what a screen reader says.
    """
    text = svg_text(figure, salt=name)
    text = _STYLE.sub("", _METADATA.sub("", _PROLOGUE.sub("", text)))
    text = _COMMENT.sub("", text)
    used = {target for _, target in _USE.findall(text)}
    text = _ID.sub(lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = _USE.sub(lambda m: f"{m[1]}{name}-{m[2]}", text)
    text = _FONT.sub(_font, text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}">')
    box = _SIZE.search(text)
    assert box is not None, "matplotlib writes a viewBox"
    return opening.format(box[1], title) + Markup(text[box.end() :])  # noqa: S704  (our drawing)


def _font(match: re.Match[str]) -> str:
    """Size and weight of matplotlib's shorthand, leaving the family to the page."""
    weight = "; font-weight: 650" if re.search(r"bold|[6-9]00", match[1]) else ""
    return f"font-size: {match[2]}px{weight}"
