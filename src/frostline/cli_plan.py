"""``frostline plan``: a freeze plan of a study, to print, keep or give to ``frostline.freeze``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from frostline.records import TrialRecord
    from frostline.study import Study

__all__ = ["plan"]


def plan(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Output folder of a study.", show_default=False)
    ],
    cell: Annotated[
        str | None,
        typer.Option(metavar="SLUG", help="Cell, as imagenet-k09. (Without it: the best one.)"),
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start whose layers a rule looks at.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help="freeze-above or freeze-below, with --init.")
    ] = None,
    t: Annotated[
        str | None,
        typer.Option("--t", metavar="T", help="Of the rule: a number, median, q75 or floor."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
) -> None:
    """Print or write a freeze plan: of a study's best cell, of another, or of a rule."""
    from frostline.plans import FreezePlan
    from frostline.records import atomic_write
    from frostline.study import open_study

    asked = (init, rule, t)
    if any(asked) and not (all(asked) and cell is None):
        raise typer.BadParameter("--init, --rule and --t go together, and without --cell")
    study = open_study(folder)
    if init is not None and rule is not None and t is not None:
        values = study.plan_of_rule(init, rule, _number(t))
    else:
        values = _of_record(_record(study, cell))
    FreezePlan.from_dict(values)
    _tell_ends(values.get("rule"))
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(
        f"wrote {out}: plan {values['label']}, {len(values['tensors'])} tensors; "
        "frostline.freeze(model, frostline.FreezePlan.read(file)) applies it",
        err=True,
    )


def _tell_ends(rule: dict[str, Any] | None) -> None:
    """Say that a rule freezes nothing, or everything that it looked at."""
    if rule is None or rule["frozen_layers"] not in (0, rule["of_layers"]):
        return
    what = f"all {rule['of_layers']} layers" if rule["frozen_layers"] else "nothing"
    typer.echo(f"{rule['rule']} with t = {rule['t']} freezes {what}", err=True)


def _number(t: str) -> float | str:
    try:
        return float(t)
    except ValueError:
        return t


def _record(study: "Study", cell: str | None) -> "TrialRecord":
    """A finished trial of the cell, or of the report's best one."""
    records = study.records()
    if cell is None:
        from frostline.reporting import answer

        deepest = study.layers().max_depth(study.config.numbering)
        best = answer(records, deepest=deepest).best if records else None
        if best is None:
            raise RecordError(
                f"expected a ranked cell with a score that counts in {study.folder}, found none; "
                "name one with --cell"
            )
        found = [r for r in records if r.key.init == best.init and r.key.plan == best.frozen.label
                 and r.key.variant == best.frozen.variant]  # fmt: skip
        typer.echo(f"the plan of {found[0].key.cell}, the best cell", err=True)
        return found[0]
    found = [r for r in records if cell in (r.key.cell, r.key.slug)]
    if not found:
        from frostline.members import nearest

        known = list(dict.fromkeys(record.key.cell for record in records))
        raise ConfigError(
            f"expected a cell with a finished trial ({', '.join(known) or 'none yet'}), got "
            f"'{cell}'{nearest(cell, known)}"
        )
    return found[0]


def _of_record(record: "TrialRecord") -> dict[str, Any]:
    """The plan in force in a trial, as ``FreezePlan.to_dict`` gives it."""
    kept = record.plan.model_dump(mode="json")
    names = ("label", "tensors", "batch_norm", "depth", "numbering", "version", "unit", "digest")
    made = {name: kept[name] for name in names}
    return made if record.plan.rule is None else made | {"rule": record.plan.rule}
