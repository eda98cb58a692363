"""``prices.json``: what a step of each cell costs here, measured once and then used throughout.

Decisions that depend on cost read them from this file, never from a clock: a study that was killed
decides the same again.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RecordError, one_line
from frostline.records import write_json

__all__ = ["PRICES_FILE", "Price", "PriceKey", "Prices"]

PRICES_FILE = "prices.json"
_VERSION = 1


class PriceKey(NamedTuple):
    """What a step's cost depends on; the start is no part of it.

    Attributes:
        network: architecture, backbone, preset and pixels in one phrase.
        plan: label of the freeze plan.
        batch_norm: its policy.
        batch_size: images a step.
        precision: ``fp32`` or ``bf16``.
    """

    network: str
    plan: str
    batch_norm: str
    batch_size: int
    precision: str


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """What was measured of one kind of cell.

    Attributes:
        key: which kind.
        step: seconds of a training step, > 0.
        image: seconds to evaluate one validation image, > 0.
        memory_mb: peak memory of a process that trains it, of the GPU where there is one; None
            where it cannot be measured.
        weights_mb: size of the weights.
    """

    key: PriceKey
    step: float
    image: float
    memory_mb: float | None
    weights_mb: float

    def epoch(self, images: int, val_images: int) -> float:
        """Seconds of an epoch with its evaluation.

        Args:
            images: training images.
            val_images: validation images.
        """
        return -(-images // self.key.batch_size) * self.step + val_images * self.image


@dataclasses.dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a study's folder.

    Attributes:
        measured: each kind of cell.
        device: where they were measured.
        threads: CPU threads of a trial, >= 1; 0 where nothing was measured.
    """

    measured: tuple[Price, ...] = ()
    device: str = ""
    threads: int = 0

    def of(self, key: PriceKey) -> Price | None:
        """The price of a kind of cell; None where it was not measured."""
        return next((price for price in self.measured if price.key == key), None)

    def missing(self, keys: Iterable[PriceKey]) -> tuple[PriceKey, ...]:
        """Those of the kinds that were not measured, each once."""
        return tuple(key for key in dict.fromkeys(keys) if self.of(key) is None)

    def write(self, folder: Path) -> None:
        """Write ``prices.json``, whole or not at all.

        Raises:
            RecordError: the folder cannot be written.
        """
        rows = [dataclasses.asdict(price) | {"key": price.key._asdict()} for price in self.measured]
        raw = {"version": _VERSION, "device": self.device, "threads": self.threads}
        write_json(folder / PRICES_FILE, raw | {"prices": rows})

    @classmethod
    def read(cls, folder: Path) -> "Prices":
        """Read ``prices.json``; none where there is no such file.

        Raises:
            RecordError: it cannot be read, or a later version wrote it.
        """
        path = folder / PRICES_FILE
        if not path.exists():
            return cls()
        try:
            raw = json.loads(path.read_bytes())
            if raw["version"] != _VERSION:
                raise ValueError(f"version {raw['version']}, expected {_VERSION}")
            rows = tuple(_price(row) for row in raw["prices"])
            return cls(rows, raw["device"], raw["threads"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"cannot read {path}: {one_line(error)}; delete it to measure again"
            ) from None


def _price(row: dict[str, Any]) -> Price:
    return Price(**(row | {"key": PriceKey(**row["key"])}))
