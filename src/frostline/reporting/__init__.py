"""The report of a study: one HTML page, figures as SVG and PNG, tables as CSV and JSON.

It reads downwards: ``report`` reads the records, ``answer`` says what they show, ``figures`` and
``tables`` hold the numbers, ``page`` puts them on one page.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from frostline.advice.result import Advice
from frostline.architectures import architecture_of
from frostline.cells import cell_plan
from frostline.datasets import DatasetIndex, Looks
from frostline.datasets.looks import LOOKS_FILE
from frostline.errors import DatasetError, RecordError
from frostline.figures import (
    DifferenceTable,
    Quantity,
    depth_table,
    depths_figure,
    difference_table,
    differences_figure,
    loss_table,
    losses_figure,
    svg_text,
    write_png,
)
from frostline.loading import load_data
from frostline.records import FILES, TrialRecord, atomic_write
from frostline.reporting.answer import (
    Answer,
    Cell,
    CellComparison,
    Noise,
    StartComparison,
    answer,
    comparison_row,
)
from frostline.reporting.examples import Example, example_images
from frostline.reporting.mask_examples import class_colours, mask_examples
from frostline.reporting.page import Contents, render
from frostline.reporting.tables import difference_rows, score_rows, trial_rows, write_table
from frostline.reporting.words import findings, headline
from frostline.scores import merged
from frostline.study import Study, open_study
from frostline.study_notes import notes_of

__all__ = [
    "Answer",
    "Cell",
    "CellComparison",
    "Noise",
    "ReportPaths",
    "StartComparison",
    "answer",
    "report",
]

_log = logging.getLogger(__name__)

_DRAWN = {"boxes": example_images, "masks": mask_examples}
_SPREAD_OVER = {"boxes": "the number of boxes", "masks": "the share of the first class"}
_QUANTITIES: tuple[Quantity, ...] = ("cosine", "angle", "folded")


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What a report wrote, and its answer in a few lines.

    Attributes:
        html: the page.
        figures: SVG and PNG files.
        tables: CSV and JSON files.
        lines: the headline and what goes with it, in plain text.
    """

    html: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "html": str(self.html),
            "figures": [str(path) for path in self.figures],
            "tables": [str(path) for path in self.tables],
            "lines": list(self.lines),
        }

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.lines)
        return f"{lines}<p>{escape(str(self.html))}</p>"


def report(
    study: Study | Path | str, *, base: Path | None = None, examples: int = 4
) -> ReportPaths:
    """Write the report of a study, finished or not, into its folder.

    Args:
        study: a study, or its output folder.
        base: folder against which the study's data paths resolve, for the example images; None:
            where the study's file lay, as its folder says it.
        examples: how many validation images to show, >= 0.

    Returns:
        The files written. Each is written whole or not at all.

    Raises:
        RecordError: the folder holds no study or no finished trial, or cannot be written.
    """
    if isinstance(study, Study):
        base = study.base if base is None else base
        study = study.folder
    folder = Path(study)
    study = open_study(folder)
    base = study.base if base is None else base
    records = study.records()
    if not records:
        raise RecordError(
            f"expected a finished trial in {folder}, found none; `frostline status` shows the rest"
        )
    declared = merged(record.task for record in records)
    charts = [score.key for score in declared.scores if score.ranks or score.chart]
    depths = tuple(depth_table(records, key) for key in charts)
    counted = architecture_of(study.config.model).counted
    found = answer(records, deepest=depths[0].deepest, counted=counted)
    differences = {quantity: difference_table(records, quantity) for quantity in _QUANTITIES}
    losses = loss_table(records)
    shown, note = _examples(study, records, found, base, examples)
    contents = Contents(
        name=folder.resolve().name,
        config=study.config,
        records=records,
        unfinished=tuple(state for state in study.status() if state.state != "done"),
        strays=study.strays(),
        notes=notes_of(study),
        answer=found,
        depths=depths,
        differences=differences,
        losses=losses,
        examples=shown,
        examples_note=note,
        advice=Advice.read(folder),
        tints=class_colours(records[0].data["val"].classes) if _segments(records) else (),
    )
    html = folder / "report.html"
    _write_text(html, render(contents))
    drawings: dict[str, Callable[[], Figure]] = {
        "figure3": lambda: depths_figure(depths),
        **_figure2_drawings(differences),
        "training": lambda: losses_figure(losses),
    }
    return ReportPaths(
        html,
        tuple(_write_figures(folder / "figures", drawings)),
        tuple(_write_tables(folder / "tables", records, found)),
        (headline(found), *findings(found)),
    )


def _segments(records: Sequence[TrialRecord]) -> bool:
    return records[0].task.examples == "masks"


def _figure2_drawings(
    tables: dict[Quantity, DifferenceTable],
) -> dict[str, Callable[[], Figure]]:
    """Figure 2 in each quantity; nothing if no trial with k = 0 has finished."""
    names: dict[Quantity, str] = {
        "cosine": "figure2",
        "angle": "figure2_angle",
        "folded": "figure2_folded",
    }
    return {
        names[quantity]: lambda table=table, quantity=quantity: differences_figure(  # type: ignore[misc]
            table, log=quantity != "angle"
        )
        for quantity, table in tables.items()
        if table.lines
    }


def _write_figures(folder: Path, drawings: dict[str, Callable[[], Figure]]) -> Iterator[Path]:
    for name, draw in drawings.items():
        svg, png = folder / f"{name}.svg", folder / f"{name}.png"
        _write_text(svg, svg_text(draw(), text_as_paths=True, salt=name))
        with atomic_write(png) as temporary:
            write_png(draw(), temporary)
        yield from (svg, png)


def _write_tables(folder: Path, records: Sequence[TrialRecord], found: Answer) -> Iterator[Path]:
    tables = {
        "trials": trial_rows(records),
        "cells": [comparison_row(comparison) for comparison in found.comparisons],
        "scores": score_rows(records),
        "differences": difference_rows(records),
    }
    for name, rows in tables.items():
        yield from write_table(folder, name, rows)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        # The names of example images need not be UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def _examples(
    study: Study, records: Sequence[TrialRecord], found: Answer, base: Path, count: int
) -> tuple[tuple[Example, ...], str]:
    """Example images, or none and the reason: a report never fails for want of its images."""
    if count < 1:
        return (), "No example images were asked for."
    trials = _shown_trials(records, found)
    kind = records[0].task.examples
    if kind is None:
        return (), "This task has no example images."
    if not trials:
        return (), "There are no example images: no ranked trial has a score that counts."
    try:
        index = _validation(study, records, base)
        files = [
            (title, record, study.trial_folder(record.key) / FILES.detections)
            for title, record in trials
        ]
        shown = _DRAWN[kind](index, files, count=count)
    except DatasetError as error:
        _log.info("no example images: %s", error)
        return (), (
            "There are no example images: the study's data could not be read from here, or has "
            "changed since. The option --base names the folder that holds study.yaml."
        )
    ends = sum(bool(example.note) for example in shown)
    text = (
        f"{len(shown)} of {len(index)} validation images, spread evenly over {_SPREAD_OVER[kind]} "
        "and picked without looking at what was found"
    )
    return shown, f"{text}; but for the last {ends}, which say why." if ends else f"{text}."


def _validation(study: Study, records: Sequence[TrialRecord], base: Path) -> DatasetIndex:
    looks = Looks.read(study.folder / LOOKS_FILE)
    index = load_data(study.config.data, base, masks=records[0].task.masks, looks=looks)["val"]
    if index.digest() != records[0].data["val"].digest:
        raise DatasetError("expected the validation images of the trials, the data has changed")
    return index


def _shown_trials(records: Sequence[TrialRecord], found: Answer) -> list[tuple[str, TrialRecord]]:
    """The first seed of the best cell, and the same start frozen whole (or not at all)."""
    best = found.best
    if best is None:
        return []
    own = [c.cell for c in found.within[best.init] if c.cell.values]
    deepest = max(own, key=lambda cell: cell.frozen.layers)
    other = deepest if deepest != best else own[0]
    cells = [best] if other == best else [best, other]
    by_key = {(r.key.init, cell_plan(r), r.key.seed): r for r in records}
    return [
        (f"{cell.name}, seed {cell.seeds[0]}", by_key[cell.init, cell.frozen, cell.seeds[0]])
        for cell in cells
    ]
