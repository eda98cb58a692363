"""``study.json``: what a study's folder says of itself, so that it can be read without the rest.

The configuration, where its paths resolve from here, and the layers that its depths count: status
and report need neither the data, nor the weights, nor the package that has the network.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from frostline.config import StudyConfig, parse_study
from frostline.depth import LayerTable
from frostline.errors import ConfigError, RecordError
from frostline.plans import PLAN_VERSION, PlanVersion
from frostline.records import TrialKey, write_json

__all__ = ["STUDY_FILE", "StudyFile"]

STUDY_FILE = "study.json"
_VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True)
class StudyFile:
    """A study as its folder keeps it.

    Attributes:
        config: what it ran.
        base: folder against which its paths resolve.
        table: the layers that its depths count; None in folders from before this was kept.
        plan_version: of the plans that the folder began with, see ``FreezePlan``.
        cells: keys of its trials, with every depth as a number; none in older folders.
    """

    config: StudyConfig
    base: Path
    table: LayerTable | None
    plan_version: PlanVersion = PLAN_VERSION
    cells: tuple[TrialKey, ...] = ()

    def write(self, folder: Path) -> None:
        """Write ``study.json``, whole or not at all; it holds no absolute path.

        Raises:
            RecordError: the folder cannot be written.
        """
        raw = {
            "schema_version": _VERSION,
            "base": _relative(self.base, folder),
            "config": self.config.model_dump(mode="json"),
            "layers": None if self.table is None else self.table.to_dict(),
            "plan_version": self.plan_version,
            "cells": [key.model_dump(mode="json") for key in self.cells],
        }
        write_json(folder / STUDY_FILE, raw)

    @classmethod
    def read(cls, folder: Path) -> "StudyFile":
        """Read ``study.json`` of this version or an earlier one.

        Raises:
            RecordError: the folder holds no study, or one that a later version wrote.
        """
        path = folder / STUDY_FILE
        if not path.exists():
            raise RecordError(
                f"{folder} holds no study: expected {STUDY_FILE}; "
                "`frostline run study.yaml` makes one"
            )
        try:
            return _parse(json.loads(path.read_bytes()), folder)
        except KeyError as error:
            text = f"it lacks {error}"
            raise RecordError(f"cannot read {path}: {text}; use --out for a new folder") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise RecordError(f"cannot read {path}: {text}; use --out for a new folder") from None


def _parse(raw: Mapping[str, Any], folder: Path) -> StudyFile:
    version = raw.get("schema_version", 1)
    if version == 1:  # the configuration alone; runs/<stem> lies beside the study's file
        return StudyFile(_config(raw), folder.resolve().parent.parent, None, 1)
    if version != _VERSION:
        raise RecordError(
            f"{folder} was written by a later frostline (study version {version}, expected up to "
            f"{_VERSION}); use that version, or --out for a new folder"
        )
    base, layers, plans = raw["base"], raw["layers"], raw["plan_version"]
    if plans not in get_args(PlanVersion):
        raise RecordError(
            f"{folder} has freeze plans of version {plans}, expected up to {PLAN_VERSION}; use the "
            "frostline that wrote it, or --out for a new folder"
        )
    return StudyFile(
        _config(raw["config"]),
        folder.resolve().parent.parent if base is None else (folder.resolve() / base).resolve(),
        None if layers is None else LayerTable.from_dict(layers),
        plans,
        tuple(TrialKey.model_validate(key) for key in raw.get("cells", ())),
    )


def _config(raw: object) -> StudyConfig:
    try:
        return parse_study(raw, "its study")
    except ConfigError as error:
        raise ValueError(error) from None


def _relative(base: Path, folder: Path) -> str | None:
    """The way from the folder to the base; None where there is none, as between two drives."""
    try:
        return Path(os.path.relpath(base.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return None
