"""What ``advise_live.py`` found, as a table: its pick by the grid's rows, its time, its kills."""

from collections.abc import Mapping
from pathlib import Path

from grid_plan import csv_rows
from grid_table import table

HEADER = [
    "data set", "spent", "pick", "regret", "chance", "expected [95 %]", "mean in the grid",
    "minutes", "exhaustive run", "killed", "the same pick and decisions",
]  # fmt: skip


def live_lines(folder: Path) -> list[str]:
    """A row for each data set that was advised on.

    The exhaustive run's minutes are its trainings, one seed, at the prices measured for the advice.
    """
    if not (folder / "live.csv").exists():
        return []
    killed = {row["data"]: row for row in csv_rows(folder / "killed.csv")}
    rows = [_row(row, killed.get(row["data"])) for row in csv_rows(folder / "live.csv")]
    return [
        "Constants without the data set's family, a seed that has no rows, one thread; AP, regret "
        "in points by the grid's seeds, spent of the budget in trainings. The mean in the grid is "
        "the pick's, on the images that score, where the same start, rate and depth ran there.",
        "",
        *table(HEADER, rows),
    ]


def _row(row: Mapping[str, str], kill: Mapping[str, str] | None) -> list[str]:
    unit = float(row["unit_seconds"]) / 60
    return [
        row["data"],
        f"{float(row['spent']):.2f} of {float(row['budget']):g}",
        row["pick"],
        f"{float(row['regret']):.2f}",
        f"{float(row['chance']):.0%}",
        " ".join((f"{float(row['expected']):.3f}",
                  f"[{float(row['low']):.3f}, {float(row['high']):.3f}]")),
        f"{float(row['mean_test_in_grid']):.3f}" if row["mean_test_in_grid"] else "",
        f"{float(row['wall_seconds']) / 60:.0f}",
        f"{float(row['grid_trainings']) * unit:.0f}",
        f"{kill['kills']} times" if kill else "",
        _same(kill) if kill else "",
    ]  # fmt: skip


def _same(kill: Mapping[str, str]) -> str:
    pick, decisions = kill["same_pick"] == "True", kill["same_decisions"] == "True"
    return "yes" if pick and decisions and kill["same_scores"] == "True" else "no"
