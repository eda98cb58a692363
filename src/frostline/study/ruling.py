"""Plans that threshold rules make of a study's finished trials."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.architectures import architecture_of
from frostline.config import PlanConfig, parse_plan
from frostline.errors import ConfigError, RecordError
from frostline.events import Outcome
from frostline.members import nearest
from frostline.records import FILES, TrialKey, TrialRecord, write_json
from frostline.rules import reference_keys, ruled_plan, write_ruled
from frostline.study.cells import StudyCells
from frostline.trial_folder import failure_in, record_in

__all__ = ["make_plans", "plan_of_rule"]


def make_plans(study: StudyCells, wanted: Collection[TrialKey]) -> dict[TrialKey, Outcome]:
    """Make the plans of rules whose references have ended.

    Args:
        study: the study.
        wanted: cells that are to run; references among them are yet to come.

    Returns:
        Outcomes of the cells whose plan never can be made; each has its failure in its folder.
    """
    impossible = {}
    for key in wanted:
        waits = study.waits_for(key)
        reason = _make_plan(study, key, waits, wanted) if waits else None
        if reason is not None:
            folder = study.trial_folder(key)
            write_json(folder / FILES.failure, {"error": "PlanError", "text": reason})
            impossible[key] = Outcome(key, False, reason)
    return impossible


def _make_plan(
    study: StudyCells, key: TrialKey, waits: Sequence[TrialKey], coming: Collection[TrialKey]
) -> str | None:
    """Make a cell's plan if its references have ended; why it never can be, else None."""
    records = _records(study, waits)
    for folder, record in records.items():
        collapsed = [flag for flag in record.flags if flag.startswith("collapsed")]
        if collapsed:
            return f"its plan cannot be made: reference {folder.name} {collapsed[0]}"
    for reference in waits:
        folder = study.trial_folder(reference)
        failed = folder not in records and (folder / FILES.failure).exists()
        if failed and reference not in coming:
            return (
                f"its plan cannot be made: reference {reference.slug} failed ({failure_in(folder)})"
            )
    if len(records) == len(waits):
        file = study.plan_file(key)
        assert file is not None, "of a rule"
        write_ruled(file, _ruled(study, key.plan, study.spec(key).plan, records))
    return None


def plan_of_rule(study: StudyCells, init: str, rule: str, t: float | str) -> dict[str, Any]:
    """See ``Study.plan_of_rule``."""
    if init not in study.config.inits:
        raise ConfigError(
            f"expected a start of the study ({', '.join(study.config.inits)}), got '{init}'"
            f"{nearest(init, study.config.inits)}"
        )
    wanted = parse_plan({"rule": rule, "t": t})
    records = _records(study, reference_keys(study.config, init))
    if not records:
        raise RecordError(
            f"expected finished trials of {init} with nothing frozen in {study.folder}, found "
            "none; a rule is made from them"
        )
    if t == "floor" and len(records) < 2:  # noqa: PLR2004 - to compare
        raise ConfigError("'floor' compares seeds: expected two finished trials, found one")
    return _ruled(study, f"{rule} {t}", wanted, records)


def _records(study: StudyCells, keys: Sequence[TrialKey]) -> dict[Path, TrialRecord]:
    """Folder -> record of the trials that have ended."""
    found = {study.trial_folder(key): record_in(study.trial_folder(key)) for key in keys}
    return {folder: record for folder, record in found.items() if isinstance(record, TrialRecord)}


def _ruled(
    study: StudyCells, label: str, wanted: PlanConfig, records: Mapping[Path, TrialRecord]
) -> dict[str, Any]:
    """A rule's plan from its references, as plain values."""
    from frostline.trial import prepare

    first = study.spec(next(iter(records.values())).key)
    return ruled_plan(
        label,
        wanted,
        study.layers(),
        records,
        lambda: prepare(first, study.splits()).before,
        batch_norm=first.model.batch_norm,
        prefix=architecture_of(study.config.model).prefix,
        version=study.plan_version,
    )
