"""The further rows as one table a data set: AP by start, rate, depth and what else varies.

    python benchmarks/grid_more_table.py      # prints, and writes results/grid/more/tables.md

Everything is computed from the committed rows; AP of the official val/test images, in points.
"""

import dataclasses
import statistics
from collections.abc import Mapping

from grid_more_plan import MORE, More, pair_of, rows_of_more
from grid_plan import DATASETS
from grid_table import points, table


def varied(arm: More) -> str:
    """What differs from a complete schedule on all images, in words."""
    named = (("share", "of the epochs"), ("backbone_lr_scale", "of the rate in the backbone"),
             ("image_share", "of the images"))  # fmt: skip
    return ", ".join(f"{getattr(arm, f):g} {words}" for f, words in named if getattr(arm, f) != 1)


def cells(name: str) -> dict[More, list[dict[str, str]]]:
    """Rows of each cell, as its arm with seed 0; the last of rows of the same trial."""
    last = {pair_of(row)[1]: row for row in rows_of_more(name)}
    found: dict[More, list[dict[str, str]]] = {}
    for arm, row in last.items():
        found.setdefault(dataclasses.replace(arm, seed=0), []).append(row)
    return found


def lines(name: str) -> list[str]:
    """The section of one data set."""
    rows = [
        [arm.init, f"{arm.lr:g}", arm.depth, varied(arm), len(found),
         *(points([float(row[column]) for row in found]) for column in ("select_ap", "ap")),
         _prices(name).get((arm.depth, arm.share), "")]
        for arm, found in sorted(cells(name).items(), key=lambda pair: dataclasses.astuple(pair[0]))
    ]  # fmt: skip
    header = ["start", "rate", "k", "varied", "seeds", "selection AP", "AP", "s a step, MiB"]
    diverged = [pair_of(row)[1].slug for row in rows_of_more(name, "failures")]
    return [f"## {name}", "", *table(header, rows),
            f"Diverged: {', '.join(diverged) or 'none'}.", ""]  # fmt: skip


def _prices(name: str) -> Mapping[tuple[int, float], str]:
    """(depth, share) -> median processor seconds of a step, and median peak memory."""
    found: dict[tuple[int, float], list[tuple[float, float]]] = {}
    for row in rows_of_more(name, "costs"):
        arm = pair_of(row)[1]
        price = float(row["step_cpu_seconds"]), float(row["peak_mib"])
        found.setdefault((arm.depth, arm.share), []).append(price)
    return {
        key: ", ".join(f"{statistics.median(v):{form}}" for v, form in
                       zip(zip(*prices, strict=True), (".3f", ".0f"), strict=True))
        for key, prices in found.items()
    }  # fmt: skip


def text() -> str:
    """The page."""
    names = [name for name in DATASETS if rows_of_more(name)]
    head = ["# Further rows", "", "Made by `make grid-table` from the rows beside it; 95 % "
            "intervals over seeds.", ""]  # fmt: skip
    return "\n".join([*head, *(line for name in names for line in lines(name))]).rstrip() + "\n"


if __name__ == "__main__":
    (MORE / "tables.md").write_text(text())
    print(text())
