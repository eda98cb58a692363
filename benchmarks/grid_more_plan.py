"""What ``grid_more.py`` runs, and in which order: breadth before seeds, all from committed rows."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from frostline.config import ScheduleConfig
from grid_plan import (
    COMMON_RATE,
    DATASETS,
    RATES,
    RESULTS,
    SEEDS,
    THREE,
    Arm,
    chosen_rates,
    csv_rows,
    rows_of,
)

MORE = RESULTS / "more"
DEPTHS = (0, 9, 30, 52)
SHARES = (0.1, 0.25)
LIKELY = (3e-4, 1e-3)
HIGH_RATE = 3e-3
EPOCHS = {"treecrowns_tiles": 60, "bccd_50": 31}
COMPLETE = ("bccd", "wheat29_tiles512", "playing_cards")
OWN = "own_"  # before the name of a data set: the winner that was trained on it


@dataclasses.dataclass(frozen=True)
class More:
    """One trial; the first six fields are those of ``Arm``.

    Attributes:
        init: name of the start.
        depth: frozen convolutions.
        seed: of head, order and augmentation.
        optimizer: ``adamw``.
        lr: peak learning rate.
        boxes: ``true``.
        share: of the epochs, rounded up to at least 2; warm-up is scaled with them.
        backbone_lr_scale: the backbone's rate, as a share of ``lr``.
        image_share: share of the training images, with the same number of steps.
    """

    init: str
    depth: int
    seed: int
    optimizer: str
    lr: float
    boxes: str = "true"
    share: float = 1.0
    backbone_lr_scale: float = 1.0
    image_share: float = 1.0

    @property
    def basic(self) -> Arm:
        """The arm of ``grid.py`` that this one varies."""
        return Arm(self.init, self.depth, self.seed, self.optimizer, self.lr, self.boxes)

    @property
    def plain(self) -> bool:
        """Whether nothing differs from ``grid.py``'s setting."""
        return self.share == self.backbone_lr_scale == self.image_share == 1

    @property
    def slug(self) -> str:
        """Folder name: as ``Arm``'s, with what differs after the rate."""
        varied = (("b", self.backbone_lr_scale), ("e", self.share), ("i", self.image_share))
        extra = "".join(f"-{letter}{value:g}" for letter, value in varied if value != 1)
        return self.basic.slug.replace(f"-k{self.depth:02d}-", f"{extra}-k{self.depth:02d}-")


def pair_of(row: Mapping[str, Any]) -> tuple[str, More]:
    """Data set and arm of a row."""
    numbers = {
        "depth": int, "seed": int, "lr": float,
        "share": float, "backbone_lr_scale": float, "image_share": float,
    }  # fmt: skip
    fields = [field.name for field in dataclasses.fields(More)]
    return row["data"], More(**{f: numbers.get(f, str)(row[f]) for f in fields})


def rows_of_more(name: str, table: str = "trials") -> list[dict[str, str]]:
    """Rows of one table of a data set."""
    return csv_rows(MORE / name / f"{table}.csv")


def settings(name: str, arm: More) -> tuple[int, float]:
    """Epochs and warm-up epochs of an arm."""
    full = EPOCHS.get(name, DATASETS[name].epochs)
    warmup = ScheduleConfig().warmup_epochs
    if arm.share != 1:
        epochs = max(2, math.ceil(arm.share * full))
        return epochs, warmup * epochs / full
    return round(full / arm.image_share), warmup / arm.image_share


@functools.cache
def has_backbone_scale() -> bool:
    """Whether this version of the engine can give the backbone a rate of its own."""
    return "backbone_lr_scale" in ScheduleConfig.model_fields


def selection(name: str) -> dict[More, float]:
    """Selection AP of everything that ran, by ``grid.py`` or here; diverged trials have 0."""
    found: dict[More, float] = {}
    for table in ("trials", "failures"):
        for row in rows_of(name, table):
            arm = More(**dataclasses.asdict(Arm.of_row(row)))
            found[arm] = float(row.get("select_ap") or 0)
    for table in ("trials", "failures"):
        for row in rows_of_more(name, table):
            found[pair_of(row)[1]] = float(row.get("select_ap") or 0)
    return found


def rate(name: str, init: str, done: Mapping[More, float]) -> float | None:
    """The start's rate: ``grid.py``'s choice, else of those with most seeds the best at seed 0.

    None while 3e-4 is missing. Rates with fewer seeds wait, so that a set of cells stays whole.
    """
    if init in DATASETS[name].starts and (chosen := chosen_rates(name, rows_of(name))):
        return chosen[init]
    seeds = {
        lr: sum(More(init, 0, seed, "adamw", lr) in done for seed in SEEDS)
        for lr in RATES
        if More(init, 0, 0, "adamw", lr) in done
    }
    if COMMON_RATE not in seeds:
        return None
    whole = [lr for lr, count in seeds.items() if count == max(seeds.values())]
    return max(whole, key=lambda lr: done[More(init, 0, 0, "adamw", lr)])


# Stages of one data set; each is a generator of arms, given what is done


def rates(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    yield from (More(init, 0, seed, "adamw", lr) for init in THREE for lr in RATES)


def searched(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """The starts that ``grid.py`` searched rates for."""
    starts = DATASETS[name].starts
    yield from (More(init, 0, seed, "adamw", lr) for init in starts for lr in RATES)


def common(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    yield from (More(init, 0, seed, "adamw", COMMON_RATE) for init in THREE)


def likely(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    yield from (More(init, 0, seed, "adamw", lr) for init in THREE for lr in LIKELY)


def best(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """Nothing frozen, at each start's rate."""
    yield from (arm for arm in depths(name, done, seed) if arm.depth == 0)


def ends(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """The frameworks' default depth, and all frozen."""
    yield from (arm for arm in depths(name, done, seed) if arm.depth in (9, 52))


def leading(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """The ends of the two starts that are highest with nothing frozen, seed 0."""
    scores = {arm.init: done.get(arm, 0.0) for arm in best(name, done, 0)}
    first = sorted(scores, key=lambda init: -scores[init])[:2]
    yield from (arm for arm in ends(name, done, seed) if arm.init in first)


def depths(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    for init in THREE:
        if lr := rate(name, init, done):
            yield from (More(init, depth, seed, "adamw", lr) for depth in DEPTHS)


def short(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    for share in SHARES:
        for init in THREE:
            yield from (More(init, 0, seed, "adamw", lr, share=share) for lr in RATES)


def brief(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """Short schedules at each start's rate."""
    for arm in best(name, done, seed):
        yield from (dataclasses.replace(arm, share=share) for share in SHARES)


def high(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """A rate above those that were searched: on wheat both starts chose the highest."""
    yield from (More(init, k, seed, "adamw", HIGH_RATE) for k in (0, 52) for init in THREE)


def backbone(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    for init in THREE:
        if has_backbone_scale() and (lr := rate(name, init, done)):
            yield from (More(init, 0, seed, "adamw", lr, backbone_lr_scale=s) for s in (0.1, 0.3))


def own(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """Winners of two other families as starts, backbone and neck, as a team has them."""
    inits = [OWN + other for other in OTHERS[name]]
    for init in inits if all(winner(other) for other in OTHERS[name]) else []:
        lr = rate(name, init, done)
        rates = LIKELY if seed == 0 else [lr] if lr else []
        yield from (More(init, 0, seed, "adamw", lr) for lr in rates)


def common_own(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    """The same at the common rate alone."""
    yield from (More(OWN + other, 0, seed, "adamw", COMMON_RATE) for other in OTHERS[name])


def winner(name: str) -> Arm | None:
    """The start of a complete set, at its rate, with the highest selection AP at seed 0.

    Of ``grid.py``'s rows alone: later ones must not make another file of a start.
    """
    chosen = chosen_rates(name, rows_of(name)) or {}
    arms = [Arm(init, 0, 0, "adamw", lr) for init, lr in chosen.items()]
    scores = {Arm.of_row(row): float(row["select_ap"] or 0) for row in rows_of(name)}
    return max(arms, key=lambda arm: scores[arm], default=None)


def images(name: str, done: Mapping[More, float], seed: int) -> Iterator[More]:
    for init in THREE:
        if lr := rate(name, init, done):
            yield More(init, 0, seed, "adamw", lr, image_share=0.25)


WHEAT, CARDS, CELLS = "wheat29_tiles512", "playing_cards", "bccd"
BOARDS, PEARS, TREES = "microcontrollers", "pear640", "treecrowns_tiles"
NEW = (BOARDS, TREES, PEARS)
OTHERS = {
    CELLS: (CARDS, WHEAT), CARDS: (CELLS, WHEAT), WHEAT: (CELLS, CARDS),
    BOARDS: (CARDS, CELLS), PEARS: (WHEAT, CARDS), TREES: (WHEAT, CELLS),
}  # fmt: skip
STAGES = (
    *((name, common, seed) for name in (BOARDS, TREES, PEARS) for seed in (0, 1)),
    (CELLS, searched, 1),
    *((BOARDS, leading, seed) for seed in (0, 1)),
    (CARDS, searched, 1),
    *((name, common_own, seed) for name in (BOARDS, CELLS) for seed in (0, 1)),
    *((name, leading, seed) for name in (TREES, PEARS) for seed in (0, 1)),
    (WHEAT, searched, 1),
    *((CARDS, common_own, seed) for seed in (0, 1)),
    *((name, ends, 0) for name in NEW),
    (WHEAT, likely, 0),
    *((name, ends, 1) for name in NEW),
    *((name, best, 2) for name in NEW),
    *((name, brief, 0) for name in (BOARDS, CELLS, CARDS)),
    *((WHEAT, best, seed) for seed in (1, 2)),
    *((name, likely, 0) for name in NEW),
    *((name, likely, 1) for name in (CELLS, CARDS)),
    *((name, own, 0) for name in (CELLS, CARDS, BOARDS)),
    *((name, likely, 2) for name in (CELLS, CARDS)),
    (WHEAT, ends, 0),
    (BOARDS, short, 0),
    (WHEAT, high, 0),
    *((name, rates, seed) for seed in (1, 2) for name in (CELLS, CARDS, WHEAT)),
    *((name, rates, 0) for name in NEW),
    *((name, depths, seed) for seed in (0, 1, 2) for name in (*NEW, WHEAT)),
    (WHEAT, high, 1),
    *((name, rates, 1) for name in NEW),
    *((name, short, 0) for name in (CELLS, CARDS, WHEAT, TREES, PEARS)),
    *((name, own, seed) for seed in (0, 1) for name in OTHERS),
    *((name, backbone, seed) for seed in (0, 1) for name in (BOARDS, CELLS, CARDS)),
    *((name, images, seed) for seed in (0, 1) for name in (BOARDS, CELLS, CARDS)),
    *(("bccd_50", stage, seed) for seed in (0, 1, 2) for stage in (rates, depths)),
)


def left() -> list[tuple[str, More]]:
    """What has not run, in order; stages whose rates are not known yet come as they become so."""
    done = {name: selection(name) for name in dict.fromkeys(name for name, _, _ in STAGES)}
    found = {
        (name, arm): None
        for name, stage, seed in STAGES
        for arm in stage(name, done[name], seed)
        if arm not in done[name]
    }
    return list(found)
