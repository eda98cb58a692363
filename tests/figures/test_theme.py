"""Colours that can be told apart, on both backgrounds and without red-green vision."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import frostline
from frostline.figures import DARK, LIGHT, Theme
from frostline.figures.theme import css_palette


def luminance(color: str) -> float:
    """WCAG 2 relative luminance of ``#rrggbb``."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast(theme: Theme) -> None:
    for colors, least in ((theme.lines, 3.0), ((theme.ink, theme.muted, theme.alert), 4.5)):
        for color in colors:
            a, b = sorted((luminance(color), luminance(theme.paper)))
            assert (b + 0.05) / (a + 0.05) >= least, color


def deuteranope(color: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """What is left of a colour without the middle cones (Vienot, Brettel and Mollon 1999)."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]) ** 2.2
    matrix = [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]
    seen: np.ndarray[tuple[int], np.dtype[np.float64]] = np.clip(np.array(matrix) @ rgb, 0, 1) ** (
        1 / 2.2
    )
    return seen


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_first_colours_differ_without_red_green_vision(theme: Theme) -> None:
    for a, b in itertools.combinations(theme.lines[:2], 2):
        assert np.abs(deuteranope(a) - deuteranope(b)).max() > 0.25


def test_pages_take_their_colours_from_here() -> None:
    light, dark = css_palette().split("@media screen and (prefers-color-scheme: dark)")
    for text, theme in ((light, LIGHT), (dark, DARK)):
        found = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", text))
        assert [found[f"line-{n}"] for n in range(1, 7)] == list(theme.lines)
        assert (found["ink"], found["paper"]) == (theme.ink, theme.paper)
    for sheet in (Path(frostline.__file__).parent / "templates").glob("*.css"):
        defined = re.findall(r"--(ink|muted|grid|paper|alert|line-\d):", sheet.read_text())
        assert defined == [], sheet.name
