"""Threshold rules: which layers to freeze, from how far each moved where nothing was frozen.

A rule waits for its references, the trials of its start with nothing frozen. From them it makes one
plan, which is written once and used by all seeds of its cell.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.checkpoints import open_checkpoint
from frostline.config import PlanConfig, StudyConfig
from frostline.depth import LayerTable, depth_label
from frostline.difference.scatter import scatter
from frostline.errors import ConfigError, PlanError
from frostline.plans import BatchNormPolicy, FreezePlan, PlanVersion
from frostline.records import TrialKey, TrialRecord, write_json

__all__ = [
    "layers_above",
    "reference_keys",
    "require_rules",
    "rule_of_file",
    "ruled_plan",
    "threshold_of",
    "write_ruled",
]

FACTOR = 2.0  # c of the noise floor: a layer has moved where signal > c x floor
_LEAST_SEEDS = 2
_Tensors = Mapping[str, npt.NDArray[Any]]


def reference_keys(config: StudyConfig, init: str) -> tuple[TrialKey, ...]:
    """The trials that the rules of a start are made from: nothing frozen, every seed."""
    nothing = depth_label(0)
    return tuple(TrialKey(init=init, plan=nothing, seed=seed) for seed in config.seeds)


def require_rules(config: StudyConfig) -> None:
    """Refuse rules that could never be made.

    Raises:
        ConfigError: nothing is frozen in no cell, or ``floor`` has one seed.
    """
    for label, plan in config.plans.items():
        if plan.rule is None:
            continue
        if 0 not in config.depths:
            raise ConfigError(
                f"plans.{label}: a rule is made from trials with nothing frozen; put 0 among the "
                "depths"
            )
        if plan.t == "floor" and len(config.seeds) < _LEAST_SEEDS:
            raise ConfigError(
                f"plans.{label}: 't: floor' compares seeds, expected at least two, got "
                f"{len(config.seeds)}; add seeds, or give t as a number or quantile"
            )


def threshold_of(t: float | str, differences: Sequence[float]) -> float:
    """The number that ``t`` stands for.

    Args:
        t: a number, or a quantile of the differences: ``median``, ``q75``.
        differences: one a layer; NaN where a layer cannot be compared.

    Example:
        >>> threshold_of("q75", [0.0, 0.1, 0.2, 0.3, 0.4])
        0.3
    """
    if not isinstance(t, str):
        return t
    share = 0.5 if t == "median" else int(t.removeprefix("q")) / 100
    known = [value for value in differences if not math.isnan(value)]
    return float(np.quantile(known, share)) if known else math.nan


def layers_above(
    table: LayerTable, prefix: str, base: _Tensors, ends: Sequence[_Tensors]
) -> tuple[bool | None, ...]:
    """For each layer whether it has moved: further than the seeds are apart (``scatter``).

    Args:
        table: the layers.
        prefix: what stands before their names.
        base: weights before training.
        ends: the same after training, a mapping for each seed, at least two.

    Returns:
        One a layer; None where it cannot be told.
    """
    moved: list[bool | None] = []
    for layer in table.layers:
        name = f"{prefix}{layer.name}.weight"
        arrays = [side.get(name) for side in (base, *ends)]
        known = [array for array in arrays if array is not None and np.isfinite(array).all()]
        if len(known) < len(arrays):
            moved.append(None)
            continue
        found = scatter(known[0], known[1:], len(ends))
        lost = math.isnan(found.signal + found.floor)
        moved.append(None if lost else found.signal > FACTOR * found.floor)
    return tuple(moved)


def ruled_plan(
    label: str,
    wanted: PlanConfig,
    table: LayerTable,
    references: Mapping[Path, TrialRecord],
    base: Callable[[], _Tensors],
    *,
    batch_norm: BatchNormPolicy,
    prefix: str,
    version: PlanVersion,
) -> dict[str, Any]:
    """A rule's plan, and what it was made from, as plain values.

    ``freeze-above``: layers above t are not updated; ``freeze-below``: all others that could be
    compared are not.

    Args:
        label: of the plan.
        wanted: rule and t.
        table: the layers.
        references: folder of each reference -> its record.
        base: gives the weights before training; asked for with ``t: floor`` alone.
        batch_norm: the policy.
        prefix: what stands before the layers' names in the model.
        version: of the plan.

    Raises:
        CheckpointError: weights of a reference cannot be read.
    """
    t = wanted.t
    assert t is not None, "a rule has a t"
    rows = [record.differences[: len(table)] for record in references.values()]
    means = tuple(_mean([row[n].get("cosine") for row in rows]) for n in range(len(table)))
    threshold = None if t == "floor" else threshold_of(t, means)
    if threshold is None:
        ends = [_weights(folder) for folder in references]
        above = layers_above(table, prefix, base(), ends)
    else:
        above = tuple(None if math.isnan(mean) else mean > threshold for mean in means)
    frozen_if = wanted.rule == "freeze-above"
    layers = [x for x, moved in zip(table.layers, above, strict=True) if moved is frozen_if]
    plan = FreezePlan.of_layers(
        label, table, layers, batch_norm=batch_norm, prefix=prefix, version=version
    )
    listed = zip(table.layers, means, above, strict=True)
    return plan.to_dict() | {
        "rule": {
            "rule": wanted.rule,
            "t": t,
            "threshold": threshold,
            "frozen_layers": len(layers),
            "of_layers": len(table),
            "layers": [
                {"name": x.name, "difference": None if math.isnan(m) else m, "above": moved}
                for x, m, moved in listed
            ],
            "references": {folder.name: _digests(folder) for folder in references},
        }
    }


def write_ruled(path: Path, values: Mapping[str, Any]) -> None:
    """Write a rule's plan, whole or not at all.

    Raises:
        RecordError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(values))


def rule_of_file(path: Path) -> dict[str, Any]:
    """What a rule's plan was made from, out of its file.

    Raises:
        PlanError: the file is no plan of a rule.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())["rule"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"cannot read the rule of {path}: {type(error).__name__} {error}") from None
    return found


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else math.nan


def _weights(folder: Path) -> _Tensors:
    checkpoint = open_checkpoint(folder / "weights.safetensors")
    return {name: checkpoint[name].read() for name in checkpoint}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that the rule was made from."""
    files = ("record.json", "weights.safetensors")
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in files
        if (folder / name).exists()
    }
