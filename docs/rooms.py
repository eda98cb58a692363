"""The picture of the rooms: every module of the package once, in the order in which it imports."""

from collections.abc import Iterator, Sequence
from html import escape

__all__ = ["FLOORS", "draw"]

#: From the top down: what a floor is for, and its rooms. Imports go down, never up.
FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "what people type",
        (
            *("__main__", "cli", "api", "watching", "cli_init", "cli_plan", "cli_data", "cli_diff"),
            *("cli_advise", "cli_predict", "cli_progress", "cli_table"),
        ),
    ),
    (
        "what they see",
        ("demo", "reporting", "comparison", "pages", "predicting", "figures", "cells"),
    ),
    (
        "what runs next",
        (
            *("advising", "advice", "signals", "study", "study_file", "policy", "rules"),
            *("study_notes", "trial_folder", "rates", "prices", "estimate"),
        ),
    ),
    ("where it runs", ("engines", "attempt", "events")),
    ("one trial", ("judging", "trainers", "measuring", "trial", "training")),
    ("what is trained", ("tasks", "architectures", "backbones", "inits", "freezing", "lightning")),
    (
        "files in, files out",
        (
            *("datasets", "loading", "checkpoints", "difference", "evaluation", "hubs", "records"),
            *(
                "record_versions",
                "schema",
                "weights_header",
                "starter",
                "doctor",
                "scores",
                "detection_scores",
                "segmentation_scores",
            ),
        ),
    ),
    (
        "definitions",
        (
            *("config", "identity", "plans", "observing", "depth", "passage", "tracing"),
            *("attention", "layouts", "members", "extras", "variants"),
        ),
    ),
    ("the ground", ("errors", "notebook", "csv_text", "seeds", "boxes")),
)

_WIDTH, _TITLE, _ROOM, _LINE, _GAP = 900, 150, 26, 32, 8
_LETTER = 7.3  # px of a letter of the rooms' type


def draw() -> str:
    """The picture as SVG; it takes its colours from the page."""
    parts, top = [], 0
    for title, rooms in FLOORS:
        lines = list(_lines(rooms))
        height = len(lines) * _LINE + _GAP
        parts.append(
            f'<rect x="0.5" y="{top + 0.5}" width="{_WIDTH - 1}" height="{height}" rx="6" '
            'fill="none" stroke="currentColor" stroke-opacity="0.25"/>'
            f'<text x="12" y="{top + 25}" fill="currentColor" font-weight="600">{title}</text>'
        )
        parts += _boxes(lines, top)
        top += height + _GAP
    return (
        f'<svg viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="The rooms of frostline" '
        'xmlns="http://www.w3.org/2000/svg" style="width:100%;height:auto" '
        f'font-family="sans-serif" font-size="13">{"".join(parts)}</svg>'
    )


def _lines(rooms: Sequence[str]) -> Iterator[list[tuple[str, float, float]]]:
    """Rooms in lines that fit: name, left edge, width, px."""
    line: list[tuple[str, float, float]] = []
    left = float(_TITLE)
    for room in rooms:
        width = len(room) * _LETTER + 16
        if line and left + width > _WIDTH - 10:
            yield line
            line, left = [], float(_TITLE)
        line.append((room, left, width))
        left += width + _GAP
    yield line


def _boxes(lines: Sequence[Sequence[tuple[str, float, float]]], top: int) -> Iterator[str]:
    for n, line in enumerate(lines):
        y = top + 6 + n * _LINE
        for room, left, width in line:
            yield (
                f'<rect x="{left:.0f}" y="{y}" width="{width:.0f}" height="{_ROOM}" rx="4" '
                'fill="currentColor" fill-opacity="0.08"/>'
                f'<text x="{left + width / 2:.0f}" y="{y + 17}" text-anchor="middle" '
                f'fill="currentColor" font-family="monospace" font-size="12">{escape(room)}</text>'
            )
