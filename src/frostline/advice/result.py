"""What ``frostline advise`` found: ``advice.json``, and the same as a value."""

import dataclasses
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.advice.words import price_cells, sentences, verdict
from frostline.errors import RecordError, one_line
from frostline.notebook import table_html
from frostline.records import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ADVICE_FILE", "ADVICE_VERSION", "Advice", "Cost", "Labels", "Other", "Pick"]

ADVICE_FILE = "advice.json"
ADVICE_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Pick:
    """The recommended cell, trained to its end.

    Attributes:
        init: the start.
        plan: label of what is frozen.
        variant: the rate, where there were several; None else.
        depth: how many of the backbone's convolutions (or blocks) are frozen.
        lr: peak learning rate.
        seed: with which it was trained.
        trial: name of its folder under ``trials/``.
        expected: score of a new seed on new images that are like the validation images.
        low: lower end of the 95 % interval of that.
        high: upper end.
        val: score of the trained weights on the validation images, which chose them; None where
            there is none.
        test: on ``data.test``, which chose nothing; None without one.
    """

    init: str
    plan: str
    variant: str | None
    depth: int
    lr: float
    seed: int
    trial: str
    expected: float
    low: float
    high: float
    val: float | None
    test: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Other:
    """A cell beside the best one with nothing frozen.

    Attributes:
        init: the start.
        plan: label of what is frozen.
        variant: the rate, where there were several; None else.
        depth: how many of the backbone's convolutions (or blocks) are frozen.
        trained: whether it was trained here at all, as far as the budget went; else what is said
            of it comes from other data sets and its start.
        change: expected score minus that of the best start with nothing frozen.
        low: lower end of the 95 % interval of the change, over seeds.
        high: upper end.
        price: seconds of one training over those of 1x.
        memory_mb: peak memory of a training; None where it is not known.
    """

    init: str
    plan: str
    variant: str | None
    depth: int
    trained: bool
    change: float
    low: float
    high: float
    price: float
    memory_mb: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.low <= 0 <= self.high


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What it cost.

    Attributes:
        budget: trainings that were allowed, ``x``.
        spent: trainings that ran, the winner's included, at the written prices.
        unit_seconds: seconds of 1x, a complete training with nothing frozen.
        grid: trainings that every start at every depth would have cost, with one seed.
        steps: each round in a line.
    """

    budget: float
    spent: float
    unit_seconds: float
    grid: float
    steps: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """Whether more labels would help more than more choosing; of one seed.

    Attributes:
        images: training images of a run with a share of them and as many steps.
        of_images: all training images.
        score: of that run on the validation images.
        of_score: of the best start with nothing frozen, on all of them.
        doubling: score that each doubling of the labels gave, between the two.
        low: lower end of the 95 % interval of that, over seeds.
        high: upper end.
        choosing: score of the best start minus the mean of the others; None where there is no
            other.
    """

    images: int
    of_images: int
    score: float
    of_score: float
    doubling: float
    low: float
    high: float
    choosing: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """The answer of ``frostline advise``; scores are shares, in [0, 1].

    Attributes:
        task: what was trained for.
        label: of the score that decides.
        prefer: ``accuracy`` or ``speed``.
        pick: the recommended cell.
        base: change 0: the best start with nothing frozen, which is the choice, if speed is not
            preferred.
        chance: probability that no other start (or rate) is better.
        regret: expected score lost against the best of them.
        others: every other start (or rate) with nothing frozen, the best first.
        prices: the price list: the start at every depth, from shallow to deep.
        images: validation images.
        resolution: difference of two trained models that these images can just tell: the half-width
            of a 95 % interval of a paired bootstrap over images; None where it was not measured.
        cost: what it cost.
        learned: whether the winner's training gave more than a constant prediction has.
        remarks: what else is to be known, in sentences.
        tool: who trains; ``frostline`` for our own loop.
        unit: what depth counts: ``convolution`` or ``block``.
        labels: what more labels would give; None where the budget did not reach for it.
    """

    task: str
    label: str
    prefer: str
    pick: Pick
    base: Other
    chance: float
    regret: float
    others: tuple[Other, ...]
    prices: tuple[Other, ...]
    images: int
    resolution: float | None
    cost: Cost
    learned: bool
    remarks: tuple[str, ...]
    tool: str = "frostline"
    unit: str = "convolution"
    labels: Labels | None = None

    @property
    def ties(self) -> tuple[Other, ...]:
        """What cannot be told from the best start with nothing frozen: starts, then depths."""
        return tuple(other for other in (*self.others, *self.prices) if not other.told_apart)

    @property
    def cheapest(self) -> Other | None:
        """The cheapest of the ties, where one is cheaper than the choice."""
        found = min(self.ties, key=lambda other: other.price, default=None)
        return found if found is not None and found.price < self.base.price else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``advice.json`` holds them."""
        return {"version": ADVICE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Advice":
        """The inverse of ``to_dict``.

        Raises:
            ValueError: it is of a later version.
            KeyError: something is missing.
        """
        if raw["version"] != ADVICE_VERSION:
            raise ValueError(f"version {raw['version']}, expected {ADVICE_VERSION}")
        rows = {name: tuple(Other(**row) for row in raw[name]) for name in ("others", "prices")}
        cost = Cost(**(raw["cost"] | {"steps": tuple(raw["cost"]["steps"])}))
        parts = {"pick": Pick(**raw["pick"]), "base": Other(**raw["base"]), "cost": cost}
        if raw.get("labels") is not None:
            parts["labels"] = Labels(**raw["labels"])
        rest = {name: value for name, value in raw.items() if name != "version"}
        return cls(**(rest | rows | parts | {"remarks": tuple(raw["remarks"])}))

    def write(self, folder: Path) -> None:
        """Write ``advice.json``, whole or not at all.

        Raises:
            RecordError: the folder cannot be written.
        """
        write_json(folder / ADVICE_FILE, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> "Advice | None":
        """Read ``advice.json``; None where a folder has none.

        Raises:
            RecordError: it cannot be read, or a later version wrote it.
        """
        path = folder / ADVICE_FILE
        if not path.exists():
            return None
        try:
            return cls.from_dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"cannot read {path}: {one_line(error)}; `frostline advise` writes it again"
            ) from None

    def plot(self, ax: "Axes") -> None:
        """Draw what every other start and depth is expected to change, on ``ax``.

        In points, with 95 % intervals; filled where it was trained here, open where what is said
        comes from other data.
        """
        rows = (*self.others, *self.prices)
        for place, row in enumerate(rows):
            change, low, high = (100 * value for value in (row.change, row.low, row.high))
            ax.plot([low, high], [place, place], color="C0", linewidth=1.5)
            face = "C0" if row.trained else "none"
            ax.plot([change], [place], "o", markerfacecolor=face, markeredgecolor="C0")
        ax.axvline(0.0, color="0.5", linewidth=1.0)
        ax.set_yticks(range(len(rows)), [_name(row) for row in rows])
        ax.set_ylim(max(1, len(rows)) - 0.5, -0.5)  # the first at the top
        ax.set_xlabel(f"{self.label} points against {self.base.init} with nothing frozen")

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in (verdict(self), *sentences(self)))
        if not self.prices:
            return lines
        rows = [price_cells(self, row) for row in self.prices]
        return lines + table_html(
            f"what freezing costs {self.base.init}", list(rows[0]), [[*r.values()] for r in rows]
        )


def _name(row: Other) -> str:
    what = "" if row.depth == 0 else f"k={row.depth}"
    return " ".join(filter(None, (row.init, row.variant, what)))
