"""Colours, markers and sizes of text: the same start looks the same in every figure."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DARK", "LIGHT", "SMALL", "TEXT", "Theme", "css_palette", "label_of", "look"]

_MARKERS = ("o", "s", "^", "D", "v", "P")
TEXT, SMALL = 12.0, 10.5  # pt; a figure is laid out at 72 dpi, so 1 pt is 1 px of the page


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a figure, each ``#rrggbb``, ``paper`` also ``none``.

    Attributes:
        ink: text and axes.
        muted: stage names, the random reference.
        grid: grid and stage marks.
        paper: background.
        alert: marks of collapsed trials.
        lines: colours of the inits, in turn; told apart also by people with red-green blindness
            (after Okabe and Ito), with a contrast of at least 3:1 to the background.
    """

    ink: str
    muted: str
    grid: str
    paper: str
    alert: str
    lines: tuple[str, ...]


LIGHT = Theme(
    ink="#17202a",
    muted="#5b6774",
    grid="#d9dfe5",
    paper="#ffffff",
    alert="#b3123a",
    lines=("#0b6fb8", "#c8500a", "#00805e", "#a0408a", "#8a6a00", "#4a5a6a"),
)
DARK = Theme(
    ink="#e8eef4",
    muted="#9aa8b5",
    grid="#2e3944",
    paper="#10161c",
    alert="#ff7d98",
    lines=("#5cb8f2", "#ff9a52", "#3ed6a6", "#ea9ad3", "#e6c04a", "#b4c2d0"),
)


def css_palette() -> str:
    """The colours as CSS variables, ``--ink`` to ``--line-6``: light, and dark where asked for.

    Paper is always light.
    """
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}"


def _variables(theme: Theme) -> str:
    names = ("ink", "muted", "grid", "paper", "alert")
    colors = {name: getattr(theme, name) for name in names}
    colors |= {f"line-{n}": color for n, color in enumerate(theme.lines, start=1)}
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def look(inits: Sequence[str], init: str, ranked: bool, theme: Theme) -> tuple[str, str]:
    """Colour and marker of an init, the same in every figure of a study."""
    if not ranked:
        return theme.muted, "_"
    place = list(inits).index(init)
    turn, color = divmod(place, len(theme.lines))
    return theme.lines[color], _MARKERS[(color + turn) % len(_MARKERS)]


def label_of(init: str, ranked: bool) -> str:
    """What a figure calls an init."""
    return init if ranked else f"{init} (unranked)"
